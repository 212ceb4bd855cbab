"""``rlops gc``: the store without what no image needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, emit, opened, resolved
from rlops.cli.options import terminal


def gc(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]…", help="Names to forget first.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Remove blobs and unpacked folders that no named image needs, and what killed processes have left."""
    from rlops.errors import InvalidValue

    if images and dry_run:
        raise InvalidValue("Names are forgotten for good, so --dry-run goes with none of them.")
    here, console = opened(store), terminal()
    for text in images or []:
        here.untag(resolved(text))
    with console.status("tidying"):
        removed = here.gc(dry_run=dry_run)
    if as_json:
        emit({**asdict(removed), "dry_run": dry_run})
        return
    told = f"{removed.blobs} blobs, {removed.unpacked} unpacked folders, {removed.unfinished} unfinished files"
    verb = "would remove" if dry_run else "removed"
    console.print(f"{verb} {told}: {removed.size / 1e6:,.1f} MB", highlight=False)
