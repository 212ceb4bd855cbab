"""``rlops push``: an image to a registry, unless its dynamics are not those of its version."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Image, Layout, PlainHttp, emit, opened, resolved, transfer_bar
from rlops.cli.options import terminal
from rlops.errors import InvalidReference
from rlops.registry.references import Reference


def push(
    image: Image,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="HOST/NAME:VERSION there; HOST or HOST/NAMESPACE for the same name."),
    ] = None,
    plain_http: PlainHttp = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Take an image, and what refers to it, to a registry.

    The code in a release is run for its fingerprint, which must be that of its label and of the registry's other
    releases of the same N.

    Exit codes: 0 it is there, 1 its dynamics moved or the version is another image there, 2 wrong use or no answer.
    """
    from rlops.registry.distribution import Registry
    from rlops.registry.identity import check_push
    from rlops.registry.transfers import push as take

    source = resolved(image)
    there = destination(source, target)
    console = terminal()
    here = opened(store)
    descriptor = here.resolve(source)
    with Registry(there.host, plain_http=plain_http) as registry:
        if there.release is not None:
            with console.status("running the image's code for its fingerprint"):
                check_push(here, descriptor, registry, there)
        with transfer_bar(console, f"pushing {there}", not as_json) as progress:
            new = take(here, registry, source, there, progress)
    if as_json:
        emit({"image": str(there.at(descriptor.digest)), "new": new})
        return
    console.print(
        f"[green]{'pushed' if new else 'there already'}[/green] {there.at(descriptor.digest)}", soft_wrap=True
    )


def destination(source: Reference, target: str | None) -> Reference:
    """Return where an image goes: to its own name if that has a host, else to ``target``.

    Raises:
        InvalidReference: If no registry is named.
    """
    if target is None:
        there = replace(source, digest="")
    elif target.count("/") == 0 or (":" not in target.partition("/")[2] and not target.endswith(source.name)):
        there = Reference.parse(f"{target}/{source.name}:{source.version}")
    else:
        there = Reference.parse(target)
        there = there if there.version else replace(there, version=source.version)
    if not (there.host and there.version):
        raise InvalidReference(
            f"A push must go to HOST/NAME:VERSION, for example localhost:5000/{source}, got {there}."
        )
    return there
