"""``rlops search``: images by what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlops.cli.images import AsJson, Layout, PlainHttp, emit, entry, listed, opened, show_names
from rlops.cli.options import terminal

if TYPE_CHECKING:
    from rlops.registry.store import Image, Store


def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Part of a name, an environment, a parameter, a digest.")],
    registry: Annotated[
        str | None, typer.Option(metavar="HOST", help="Look at the names in a registry instead of the store.")
    ] = None,
    plain_http: PlainHttp = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Look for images: in the store by all that their labels say, in a registry by name."""
    from rlops.registry.distribution import Registry

    console = terminal()
    if registry is not None:
        with Registry(registry, plain_http=plain_http) as there:
            found = [name for name in there.catalogue() if text.lower() in name]
            names = [f"{registry}/{name}:{tag}" for name in found for tag in there.tags(name)]
        show_names(console, names, as_json)
        return
    here = opened(store)
    entries = [
        entry(here, one.reference, one.descriptor)
        for one in here.images()
        if text.lower() in f"{one.reference}@{one.descriptor.digest} {_labels(here, one)}".lower()
    ]
    emit(entries) if as_json else console.print(listed(entries))


def _labels(store: Store, image: Image) -> str:
    """Return all that an image of rlops says of itself."""
    from rlops.errors import CorruptContent
    from rlops.registry.labels import about_image

    try:
        return " ".join(about_image(store, image.descriptor).labels.values())
    except CorruptContent:
        return ""
