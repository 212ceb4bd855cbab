"""``rlops gap``: how far two physics engines are apart where a policy goes."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import Progress
from rich.table import Table

from rlops.cli.evaluate import evaluate_with_bar, headline_table
from rlops.cli.options import Id, Params, parameters, terminal
from rlops.errors import InvalidValue

if TYPE_CHECKING:
    from rlops.agents_baseline.engine_gap import Gap


def gap(
    id: Id,
    agent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|PATH", help="Controller or trained agent; repeatable. Default: the reference."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Whose states are compared, and which are played.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the first episode.")] = 0,
    param: Params = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the gap there.")] = None,
) -> None:
    """Measure the gap between MuJoCo and PyBullet: one-step error, equivalent parameters, returns in both."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.controllers import reference_for
    from rlops.agents_baseline.engine_gap import engine_gap
    from rlops.envs import parse_id

    family, number = parse_id(id)
    engines: tuple[str, ...] = getattr(family.kernel(number), "ENGINES", ())
    if len(engines) < 2:
        raise InvalidValue(f"{id} must have two physics engines to compare, got {len(engines)}. Choose a robot.")
    reference = reference_for(id, seed)
    agents = [load_agent(name, id) for name in agent] if agent else [reference] if reference else []
    console, params = terminal(), parameters(param)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("comparing", total=None)

        def tell(done: int, todo: int) -> None:
            bar.update(task, completed=done, total=todo)

        found = engine_gap(
            id, agents[0], (engines[0], engines[1]), episodes=episodes, seed=seed, params=params, progress=tell
        )
    console.print(gap_table(found))
    for line in told(found):
        console.print(line, highlight=False)
    for engine in engines:
        seeds = range(seed, seed + episodes)
        results = evaluate_with_bar(console, id, agents, seeds, params=params, engine=engine)
        table = headline_table(results)
        table.title = f"{id} in {engine}: {episodes} episodes from seed {seed}, mean \\[95 % interval]"
        console.print(table)
    if json is not None:
        json.write_text(json_text.dumps(asdict(found), indent=1), encoding="utf-8")
        console.print(f"[green]wrote[/green] {json}")


def gap_table(found: Gap) -> Table:
    """Return the one-step errors: one row a group of coordinates."""
    table = Table(
        title=f"{found.id}: {found.engines[1]} against {found.engines[0]}, {found.states} states of {found.agent}",
        caption="error: root mean square after one step; share: of what the step changes",
        box=SIMPLE_HEAD,
    )
    table.add_column("group")
    for heading in ("error", "worst", "a step", "share"):
        table.add_column(heading, justify="right")
    for group in found.groups:
        table.add_row(
            group.name, f"{group.error:.1e}", f"{group.worst:.1e}", f"{group.moved:.1e}", f"{group.share:.1e}"
        )
    table.add_section()
    table.add_row("all", "", "", "", f"{found.share:.1e}")
    return table


def told(found: Gap) -> list[str]:
    """Return what the gap amounts to, in sentences."""
    first, other = found.engines
    if not found.equivalents:
        return [f"The gap is round-off, or no parameter explains it: {other} says nothing that {first} does not."]
    return [f"{other} is as far from {first} as {first} with"] + [
        f"  {one.name} {one.value:.4g} {'' if one.unit == '-' else one.unit} instead of {one.nominal:g}"
        f" ({abs(one.share):.1%} of its plausible range)"
        for one in found.equivalents
    ]
