"""What the verbs about images share: options, a progress bar, and how images are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from rlops.registry.references import Reference

if TYPE_CHECKING:
    from rlops.registry.oci import Descriptor
    from rlops.registry.store import Store

Image = Annotated[
    str,
    typer.Argument(metavar="IMAGE", help="For example dispatch:2.0.1, or with @sha256:….", show_default=False),
]
Layout = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR", help="OCI layout of images.", show_default="$RLOPS_REGISTRY, ~/.rlops/registry"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Speak without encryption, also to other machines.")]
Moving = Annotated[
    bool, typer.Option("--allow-moving", help="Take a name that may mean another image tomorrow: latest, 2, 2.0.")
]


def opened(folder: Path | None) -> Store:
    """Return the store in ``folder``, or the user's."""
    from rlops.registry.store import Store

    return Store(folder) if folder else Store.default()


def resolved(text: str, allow_moving: bool = True) -> Reference:
    """Return what the name of an image means; of a fixed meaning unless ``allow_moving``."""
    return Reference.parse(text).checked_fixed(allow_moving)


@contextmanager
def transfer_bar(console: Console, told: str, shown: bool) -> Iterator[Callable[[Descriptor, int], None]]:
    """Show how many bytes have gone, of those known to go; yield what is told of every piece."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(told, total=0)
        known: dict[str, int] = {}

        def progress(descriptor: Descriptor, count: int) -> None:
            known[descriptor.digest] = descriptor.size
            bar.update(task, total=sum(known.values()), advance=count)

        yield progress


def emit(document: Any) -> None:
    """Print a document as JSON."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False))


def entry(store: Store, reference: Reference, descriptor: Descriptor) -> dict[str, Any]:
    """Return what a list says of an image."""
    from rlops.errors import CorruptContent
    from rlops.registry.labels import about_image

    size = sum(part.size for part in store.closure(descriptor, referrers=False))
    told: dict[str, Any] = {"image": str(reference), "digest": descriptor.digest, "bytes": size}
    try:
        found = about_image(store, descriptor)
    except CorruptContent:
        return {**told, "environment": None, "fingerprint": None}
    return {**told, "environment": found.id, "fingerprint": found.fingerprint.as_json()}


def listed(entries: list[dict[str, Any]]) -> Table:
    """Return a table of images."""
    table = Table("image", "environment", "digest", "fingerprint")
    table.add_column("size", justify="right")
    for one in entries:
        fingerprint = (one["fingerprint"] or {}).get("exact", "")[:12]
        size = f"{one['bytes'] / 1e6:,.1f} MB"
        table.add_row(one["image"], one["environment"] or "", one["digest"][7:19], fingerprint, size)
    return table


def show_names(console: Console, names: list[str], as_json: bool) -> None:
    """Print the names of a registry's images, one a line."""
    if as_json:
        emit([{"image": name} for name in names])
        return
    for name in names:
        console.print(name, highlight=False)
