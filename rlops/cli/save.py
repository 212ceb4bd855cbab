"""``rlops save``: images in one file, for where no registry reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, emit, opened, resolved
from rlops.cli.options import terminal


def save(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Images of the store.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE.tar", help="File to write.")],
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Write images, and what refers to them, into a file that ``rlops load``, skopeo and podman read."""
    from rlops.registry import bundles

    console = terminal()
    with console.status(f"writing {out}"):
        saved = bundles.save(opened(store), [resolved(text) for text in images], out)
    if as_json:
        emit({"file": str(out), "bytes": out.stat().st_size, "images": [str(one.reference) for one in saved]})
        return
    console.print(f"[green]wrote[/green] {out}  {out.stat().st_size / 1e6:,.1f} MB", highlight=False)
