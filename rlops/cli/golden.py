"""``rlops golden``: record the episodes of a released version once, and replay them ever after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.options import terminal
from rlops.envs import FAMILIES

golden = typer.Typer(help="Recorded episodes of released versions.", no_args_is_help=True)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]…", help="Environments; all without any.", show_default=False),
]
Folder = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the golden files.")]

_FOLDER = Path("tests/golden")


@golden.command("record")
def record(ids: Ids = None, folder: Folder = _FOLDER) -> None:
    """Record golden files. One that exists is never touched: asked for by its ID it is an error."""
    from rlops.envs import golden as files

    console = terminal()
    for id in ids or [id for family in FAMILIES for id in family.ids]:
        path = files.golden_file(id, folder)
        if not ids and path.exists():
            console.print(f"{path} stays as it is", highlight=False)
            continue
        files.record(id, folder)
        console.print(f"[green]wrote[/green] {path}  {path.stat().st_size / 1000:.0f} kB", highlight=False)


@golden.command("replay")
def replay(ids: Ids = None, folder: Folder = _FOLDER) -> None:
    """Replay golden files; exit 1 at the first that diverges."""
    from rlops.envs import golden as files

    console = terminal()
    paths = [files.golden_file(id, folder) for id in ids] if ids else sorted(folder.glob("*.npz"))
    for path in paths:
        found = files.replay(path)
        if found is not None:
            console.print(f"[red]{found}[/red]", highlight=False)
            raise typer.Exit(1)
        console.print(f"[green]same[/green] {path}", highlight=False)
