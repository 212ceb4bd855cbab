"""``rlops load``: images from a file that ``rlops save`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, emit, opened
from rlops.cli.options import terminal


def load(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="Archive of an OCI layout.")],
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Bring the images of a file into the store, every byte of them verified."""
    from rlops.registry import bundles

    console = terminal()
    with console.status(f"reading {file}"):
        loaded = bundles.load(opened(store), file)
    if as_json:
        emit([{"image": str(one.reference), "digest": one.descriptor.digest} for one in loaded])
        return
    for one in loaded:
        console.print(f"[green]loaded[/green] {one.reference}@{one.descriptor.digest}", highlight=False, soft_wrap=True)
