"""``rlops check``: does what is installed still do what was released?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from rlops.cli.options import terminal
from rlops.envs import FAMILIES, parse_id

SAME, CHANGED, CANNOT_JUDGE = 0, 1, 2


def check(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]…", help="Environments; all without any.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the golden files.")] = Path("tests/golden"),
) -> None:
    """Replay the golden files of environments, and see that every parameter does what it declares.

    Exit codes: 0 the same, 1 changed, 2 cannot judge, as there is no golden file, or wrong use.
    """
    chosen = ids or [id for family in FAMILIES for id in family.ids]
    for id in chosen:
        parse_id(id)
    console = terminal()
    table = Table("environment", "golden file", "parameters")
    codes, faults = {SAME}, []
    for id in track(chosen, "checking", console=console, transient=True):
        code, replayed = _replayed(id, folder)
        total, wrong = _effects(id)
        codes |= {code, CHANGED if wrong else SAME}
        table.add_row(id, replayed, f"{total - len(wrong)} of {total} do what they declare")
        faults += wrong
    console.print(table)
    for fault in faults:
        console.print(fault, style="red", highlight=False, markup=False)
    raise typer.Exit(CHANGED if CHANGED in codes else max(codes))


def _replayed(id: str, folder: Path) -> tuple[int, str]:
    """Return the code of the golden file's replay, and what to say of it."""
    from rlops.envs import golden

    path = golden.golden_file(id, folder)
    if not path.exists():
        return CANNOT_JUDGE, f"[yellow]none[/yellow] at {path}"
    found = golden.replay(path)
    return (SAME, "[green]same[/green]") if found is None else (CHANGED, f"[red]changed[/red]: {found}")


def _effects(id: str) -> tuple[int, list[str]]:
    """Return how many parameters there are, and a line for each that does not do what it declares."""
    from rlops.envs.effects import effects

    found = effects(*parse_id(id))
    return len(found), [f"{id}: {one}" for one in found if not one.holds]
