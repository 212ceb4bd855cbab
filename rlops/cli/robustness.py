"""``rlops robustness``: what a policy is worth in worlds that are not quite the one that it was trained in."""

from __future__ import annotations

import hashlib
import json as json_text
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rlops.cli.options import (
    Demand,
    Engine,
    Id,
    LoadFile,
    Params,
    Ray,
    WeatherFile,
    Years,
    parameters,
    terminal,
    user_data,
)

if TYPE_CHECKING:
    from rlops.robustness.report import Data
    from rlops.robustness.spec import Spec

_COLOURS = {"pass": "green", "fail": "red", "cannot decide": "yellow"}


def robustness(
    id: Id,
    agent: Annotated[str, typer.Option(metavar="NAME|PATH", help="Controller or trained agent.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report; interrupted work goes on there.")],
    against: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Another one, in the same worlds.", show_default=False)
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is played and demanded; by default what is shipped.")
    ] = None,
    gates: Annotated[Path | None, typer.Option(metavar="FILE", help="Gates in place of the specification's.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="REPORT", help="Earlier report than which it must not be worse.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="A tenth of the episodes: to look at, not to release by.")
    ] = False,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Trained agents draw their actions.")] = False,
    engine: Engine = None,
    demand: Demand = None,
    weather: WeatherFile = None,
    years: Years = None,
    load: LoadFile = None,
    param: Params = None,
    ray: Ray = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict and the gates as JSON.")] = False,
) -> None:
    """Write a robustness report: a page, JSON, JUnit XML and a table of all episodes.

    Exit codes: 0 all gates pass, 1 one fails or the policy got worse than the baseline, 2 one cannot be decided, or
    wrong use, 3 internal error.
    """
    from rlops.agents_baseline.scale import cluster
    from rlops.robustness import report as reports
    from rlops.robustness.spec import read_gates, read_spec, shipped

    chosen = shipped(id) if spec is None else read_spec(spec, id)
    if gates is not None:
        chosen = read_gates(gates, chosen)
    if brief:
        chosen = chosen.brief()
    data = data_of(id, {"demand": demand, "weather": weather, "load": load}, years, parameters(param), engine)
    console = terminal()
    with nullcontext() if ray is None else cluster(ray, ids=[id]) as pool:
        found = robustness_with_bar(
            Console(stderr=True) if as_json else console, chosen, agent, out,
            against=against, deterministic=not stochastic, data=data, before=baseline, pool=pool,
        )  # fmt: skip
    if as_json:
        names = ("verdict", "gates", "baseline")
        typer.echo(json_text.dumps({"format": found["format"], **{name: found[name] for name in names}}))
    else:
        show(console, found, out)
    raise typer.Exit(reports.exit_code(found))


def robustness_with_bar(console: Console, spec: Spec, agent: str, out: Path, **options: Any) -> dict[str, Any]:
    """Write a report under a progress bar and return it; arguments are those of ``robustness``."""
    from rlops.robustness import report as reports

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fingerprint of the dynamics", total=None)

        def tell(what: str, done: int, todo: int) -> None:
            bar.update(task, description=what, completed=done, total=todo)

        return reports.robustness(spec, agent, out, tell=tell, **options)


def data_of(
    id: str, files: dict[str, Path | None], years: str | None, params: dict[str, Any], engine: str | None
) -> Data:
    """Return the user's data, with the digests of the files that they were read from."""
    from rlops.robustness.report import Data

    data = user_data(id, files["demand"], files["weather"], files["load"], years)
    told = {
        name: f"{path.absolute()} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for name, path in files.items()
        if path is not None
    }
    options = {**data.options, **({} if engine is None else {"engine": engine})}
    return Data(options, {**data.params, **params}, {**told, **({} if years is None else {"years": years})})


def show(console: Console, report: dict[str, Any], out: Path) -> None:
    """Print the verdict, the gates and where the report is."""
    from rlops.robustness.report import PAGE, spoken

    header = report["header"]
    console.print(
        f"{report['policies']['a']['name']} on {header['id']}: {header['episodes']} episodes", highlight=False
    )
    if report["gates"]:
        table = Table("gate", "answer", r"found \[one-sided bounds]", "episodes", "why undecided")
        for gate in report["gates"]:
            undecided = gate["reason"] if gate["answer"] == "cannot decide" else ""
            answer = Text(gate["answer"], style=_COLOURS[gate["answer"]])
            table.add_row(gate["name"], answer, Text(spoken(gate["estimate"])), str(gate["episodes"]), undecided)
        console.print(table)
    for line in (report["baseline"] or {"told": ()})["told"]:
        console.print(Text(f"worse than the baseline: {line}", style="red"), soft_wrap=True)
    console.print(Text(report["verdict"], style=f"bold {_COLOURS[report['verdict']]}"))
    console.print(f"[green]wrote[/green] {out / PAGE}", soft_wrap=True)
