"""``rlops golden``: record the episodes of a version once, to hold it to them ever after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from rlops.cli.options import terminal
from rlops.envs import FAMILIES, parse_id

golden = typer.Typer(help="Recorded episodes of released versions.", no_args_is_help=True)

FOLDER = Path("tests/golden")
Folder = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the golden files.")]


@golden.callback()
def verbs() -> None:
    """Recorded episodes of released versions."""


@golden.command("record")
def record(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]…",
            help="Environments, of rlops or any that Gymnasium knows; all of rlops that have none yet without any.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why there is this recording; by default the version's own reason.")
    ] = "",
    folder: Folder = FOLDER,
    returns: Annotated[
        int, typer.Option(metavar="N", min=0, help="Episodes whose returns are kept for the comparison of statistics.")
    ] = 256,
) -> None:
    """Record golden files. One that exists is never touched: asked for by its ID it is an error.

    ``rlops check`` then holds what is installed to them.
    """
    from rlops.agents_baseline.controllers import reference_for
    from rlops.registry.dynamics import golden as files
    from rlops.registry.dynamics.subjects import subject

    console = terminal()
    for id in track(
        ids or [id for family in FAMILIES for id in family.ids], "recording", console=console, transient=True
    ):
        one = subject(id)
        path = files.golden_file(one, folder)
        if not ids and path.exists():
            console.print(f"{path} stays as it is", highlight=False)
            continue
        files.record(one, reason or _own_reason(id), folder, reference_for(id), returns)
        console.print(f"[green]wrote[/green] {path}  {path.stat().st_size / 1000:.0f} kB", highlight=False)


def _own_reason(id: str) -> str:
    """Return the reason that a version of rlops declares."""
    if not id.startswith("rlops/"):
        return ""
    family, number = parse_id(id)
    return family.version(number).reason
