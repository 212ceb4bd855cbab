"""``rlops check``: does what is installed still do what was released?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from rlops.cli.golden import FOLDER, Folder
from rlops.cli.options import terminal
from rlops.envs import FAMILIES

_COLOURS = {"same": "green", "round-off": "green", "changed": "red", "cannot judge": "yellow", "error": "red"}


def check(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]…",
            help="Environments, of rlops or any that Gymnasium knows; all of rlops without any.",
            show_default=False,
        ),
    ] = None,
    folder: Folder = FOLDER,
    levels: Annotated[
        str,
        typer.Option(metavar="L0,L1,…", help="What is compared, L0 to L4, and N: what must hold of any environment."),
    ] = "L0,L1,L2,L3,N",
    brief: Annotated[
        bool, typer.Option("--brief", help="Stop at the first episode that differs, the shortest first.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads on which environments of rlops are stepped.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the result as JUnit XML.")] = None,
) -> None:
    """Hold environments to their golden files, and to what must hold of any environment.

    Exit codes: 0 the same, 1 changed, 2 cannot judge, or wrong use, 3 internal error.
    """
    from rlops.agents_baseline.controllers import reference_for
    from rlops.registry.dynamics import reports
    from rlops.registry.dynamics.check import combined

    wanted = [level.strip() for level in levels.split(",") if level.strip()]
    chosen = ids or [id for family in FAMILIES for id in family.ids]
    console = terminal()
    results = [
        reports.examined(
            id, folder, wanted, brief=brief, reference=reference_for(id) if "L4" in wanted else None, threads=threads
        )
        for id in track(chosen, "checking", console=console, transient=True, disable=as_json)
    ]
    if junit is not None:
        reports.write_junit(results, junit)
    if as_json:
        typer.echo(json.dumps(reports.as_json(results)))
    else:
        _show(console, results)
    raise typer.Exit(combined(result.verdict for result in results))


def _show(console: Any, results: list[Any]) -> None:
    names = list(dict.fromkeys(level.name for result in results for level in result.levels))
    table = Table("environment", "verdict", *names, "seconds")
    for result in results:
        status = {level.name: level.status for level in result.levels}
        cells = [Text(status.get(name, ""), style=_COLOURS.get(status.get(name, ""), "")) for name in names]
        verdict = Text(result.verdict, style=_COLOURS[result.verdict])
        table.add_row(result.id, verdict, *cells, f"{result.seconds:.1f}")
    console.print(table)
    for result in results:
        if result.verdict != "same":
            console.print(Text(str(result), style=_COLOURS[result.verdict]), soft_wrap=True)
