"""``rlops diff``: what two versions declare differently, and what they do under the same seeds."""

from __future__ import annotations

import json as json_module
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rlops.cli.options import Params, parameters, terminal

if TYPE_CHECKING:
    from rlops.agents_baseline.evaluate import Interval
    from rlops.registry.dynamics.diff import Change, Diff

SHOWN = 12
"""Declared differences of a section that are shown without ``--full``."""


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Environment, for example rlops/Dispatch-v1.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that it is compared with.")],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of either.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Episode i has seed SEED + i.")] = 0,
    agent: Annotated[
        str | None, typer.Option(metavar="NAME", help="Controller that plays both; by chance without one.")
    ] = None,
    param: Params = None,
    full: Annotated[bool, typer.Option("--full", help="Show every difference that is declared.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw what they do into that picture.")] = None,
) -> None:
    """Compare two environments: what they declare, and what they do under the same seeds."""
    from rlops.registry.dynamics import diff as comparison

    found = comparison.diff(a, b, episodes=episodes, seed=seed, agent=agent, params=parameters(param))
    if out is not None:
        found.picture(out)
    if json:
        typer.echo(json_module.dumps(found.as_json(), indent=1))
        return
    console = terminal()
    console.print(_declared(found, full))
    console.print(f"{len(found.seeds)} episodes, seeds {found.seeds[0]} to {found.seeds[-1]}, {found.played}.")
    console.print(_first(found), markup=False, highlight=False)
    console.print(_figures(found))
    if out is not None:
        console.print(f"[green]wrote[/green] {out}")


def _declared(found: Diff, full: bool) -> Table | str:
    """Return a table of what is declared differently; of long sections the first only, unless ``full``."""
    if not found.declared:
        return "They declare the same."
    table = Table("", "", escape(found.a), escape(found.b), title="Declared differently", title_justify="left")
    left, last = Counter(change.section for change in found.declared), ""
    shown: Counter[str] = Counter()
    for change in found.declared:
        shown[change.section] += 1
        if not full and shown[change.section] > SHOWN:
            continue
        table.add_row(change.section if change.section != last else "", *_texts(change))
        last = change.section
        if not full and shown[last] == SHOWN and left[last] > SHOWN:
            table.add_row("", f"… and {left[last] - SHOWN} more: --full", "", "")
    return table


def _texts(change: Change) -> tuple[str, str, str]:
    a, b = (escape(text) or "[dim]none[/dim]" for text in (change.a, change.b))
    return escape(change.name), a, b


def _first(found: Diff) -> str:
    if not found.same_actions:
        return "Their steps are not compared, as the actions differ."
    if found.first is None:
        return "Not one bit of what they show or are differs."
    first = found.first
    where = f"First difference: step {first.step} of an episode {first.episode}, {first.variable}"
    return f"{where}: {first.golden!r} in {found.a}, {first.now!r} in {found.b}."


def _figures(found: Diff) -> Table:
    """Return every figure of both: means, and the paired difference where both have it."""
    table = Table(title="What they do: mean [95 % interval]", title_justify="left")
    for heading in ("figure", found.a, found.b, "B less A"):
        table.add_column(escape(heading), justify="left" if heading == "figure" else "right")
    for name, one in found.figures.items():
        style = "bold" if one.clear else ""
        table.add_row(name, f"{one.a.mean:,.5g}", f"{one.b.mean:,.5g}", _ranged(one.difference), style=style)
    for only, place in ((found.only_a, 1), (found.only_b, 2)):
        for name, interval in only.items():
            cells = [name, "", "", "only one has it"]
            cells[place] = f"{interval.mean:,.5g}"
            table.add_row(*cells, style="dim")
    return table


def _ranged(interval: Interval) -> str:
    return escape(f"{interval.mean:+,.4g} [{interval.low:+,.4g}, {interval.high:+,.4g}]")
