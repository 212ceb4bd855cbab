"""``rlops build``: the image of an environment, the same bytes on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, emit, opened
from rlops.cli.options import Id, terminal


def build(
    id: Id,
    release: Annotated[
        str,
        typer.Option(metavar="N.M.P", help="Version, for ever; without one the image gets the moving name N-dev."),
    ] = "",
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE@DIGEST|LAYOUT", help="Image under it, with a Python; without one it runs as a process only."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Build twice, under different conditions, and compare every byte first.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Use nothing that earlier builds have left.")] = False,
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of wheels.", show_default="$RLOPS_WHEELS")
    ] = None,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Build the image of an environment, without a container engine.

    Exit codes: 0 built, 1 two builds differ or the release is another image already, 2 wrong use, 3 internal error.
    """
    from rlops.registry import images
    from rlops.registry.rebuilding import rebuilt

    console = terminal()
    target = opened(store)
    with console.status("building") as status:

        def tell(told: str) -> None:
            if not as_json:
                status.update(f"building {id}: {told}")

        below = images.find_base(base, target) if base else None
        if check:
            built = rebuilt(target, id, release=release, base=base, wheels=wheels, tell=tell)
        else:
            built = images.build(target, id, release=release, base=below, wheels=wheels, fresh=fresh, tell=tell)
    told = {
        "image": str(built.reference),
        "digest": built.descriptor.digest,
        "layers": {name: {"digest": one.digest, "bytes": one.size} for name, one in built.layers.items()},
        "base": None if below is None else {"name": below.name, "digest": below.descriptor.digest},
        "reproduced": check,
    }
    if as_json:
        emit(told)
        return
    same = ", twice the same" if check else ""
    console.print(f"[green]built[/green] {built.reference}@{built.descriptor.digest}{same}", soft_wrap=True)
    for name, one in built.layers.items():
        console.print(f"  {name:13} {one.size / 1e6:8.1f} MB  {one.digest}", highlight=False)
    if below is None:
        console.print("It has no base, so no container engine can run it: rlops runs it as a process.")
