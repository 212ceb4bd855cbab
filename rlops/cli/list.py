"""``rlops list``: the images of the store, or of a registry."""

from __future__ import annotations

from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, PlainHttp, emit, entry, listed, opened, show_names
from rlops.cli.options import terminal


def list(
    registry: Annotated[
        str | None, typer.Argument(metavar="[HOST[/NAME]]", help="Registry; the store of this machine without any.")
    ] = None,
    plain_http: PlainHttp = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """List images: those of the store with their environments, those of a registry by name."""
    from rlops.registry.distribution import Registry

    console = terminal()
    if registry is None:
        here = opened(store)
        entries = [entry(here, one.reference, one.descriptor) for one in here.images()]
        emit(entries) if as_json else console.print(listed(entries))
        return
    host, _, name = registry.partition("/")
    with Registry(host, plain_http=plain_http) as there:
        names = [f"{host}/{each}:{tag}" for each in ([name] if name else there.catalogue()) for tag in there.tags(each)]
    show_names(console, names, as_json)
