"""``rlops lock``: digests and fingerprints of the images that a project depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, Moving, emit, opened, resolved
from rlops.cli.options import terminal


def lock(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Images of the store.", show_default=False)],
    file: Annotated[Path, typer.Option(metavar="FILE", help="The lock.")] = Path("rlops.lock"),
    allow_moving: Moving = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Write what images are into a lock, beside those that it holds; ``rlops pull --locked`` holds them to it."""
    from rlops.registry.locks import lock_image, read_lock, write_lock

    here, console = opened(store), terminal()
    entries = dict(read_lock(file)) if file.exists() else {}
    added = [lock_image(here, resolved(text, allow_moving)) for text in images]
    write_lock({**entries, **{one.resolved_from: one for one in added}}, file)
    if as_json:
        emit({"file": str(file), "locked": [str(one.reference) for one in added]})
        return
    for one in added:
        console.print(f"[green]locked[/green] {one.reference}", highlight=False, soft_wrap=True)
