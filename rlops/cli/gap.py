"""``rlops gap``: how far two physics engines are apart where a policy goes, and what it is worth in other worlds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import Progress
from rich.table import Table

from rlops.cli.evaluate import ranged
from rlops.cli.options import Id, Params, parameters, terminal
from rlops.errors import InvalidValue

if TYPE_CHECKING:
    from rich.console import Console

    from rlops.agents_baseline.agents import Agent
    from rlops.agents_baseline.engine_gap import Gap
    from rlops.agents_baseline.evaluate import Episodes, Interval
    from rlops.agents_baseline.transfer import World

COMPARED_EPISODES = 16
"""Whose states are compared: the one-step error needs no more."""


def gap(
    id: Id,
    agent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|PATH", help="Controller or trained agent; repeatable. Default: the reference."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Played by every agent in every world.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the first episode.")] = 0,
    param: Params = None,
    randomize: Annotated[
        str, typer.Option(metavar="LEVEL|FILE", help="What the second world draws its parameters from.")
    ] = "full",
    profile: Annotated[str, typer.Option(metavar="NAME", help="The reality that is the last world.")] = "a1",
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the gap and the matrix there.")] = None,
) -> None:
    """Measure the gap between MuJoCo and PyBullet, and play agents in both, in randomized worlds, in a reality."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.controllers import reference_for
    from rlops.agents_baseline.engine_gap import engine_gap
    from rlops.agents_baseline.evaluate import save_json
    from rlops.agents_baseline.transfer import cells, worlds

    where = worlds(id, randomize, profile)
    reference = reference_for(id, seed)
    agents = [load_agent(name, id) for name in agent] if agent else [reference] if reference else []
    if not agents:
        raise InvalidValue(f"{id} has no reference controller: name at least one agent, got none. Use --agent.")
    console, params = terminal(), parameters(param)
    engines = (where[0].options["engine"], where[2].options["engine"])
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("comparing", total=None)

        def tell(done: int, todo: int) -> None:
            bar.update(task, completed=done, total=todo)

        found = engine_gap(
            id, agents[0], engines, episodes=min(episodes, COMPARED_EPISODES), seed=seed, params=params, progress=tell
        )
    console.print(gap_table(found))
    for line in told(found):
        console.print(line, highlight=False)
    matrix = _played(console, id, agents, range(seed, seed + episodes), where, params)
    console.print(transfer_table(id, matrix, where))
    if json is not None:
        save_json(json, {"gap": asdict(found), "transfer": cells(matrix, where)})
        console.print(f"[green]wrote[/green] {json}")


def _played(
    console: Console,
    id: str,
    agents: Sequence[Agent],
    seeds: range,
    where: Sequence[World],
    params: dict[str, float | str],
) -> list[list[Episodes]]:
    """Return the transfer matrix, made under a progress bar."""
    from rlops.agents_baseline.transfer import transfer

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("playing", total=len(agents) * len(where) * len(seeds))
        ended: dict[tuple[str, str], int] = {}

        def tell(agent: str, world: str, count: int) -> None:
            ended[agent, world] = count
            bar.update(task, description=f"{agent} in {world}", completed=sum(ended.values()))

        return transfer(id, agents, seeds, where, params=params, progress=tell)


def transfer_table(id: str, matrix: Sequence[Sequence[Episodes]], where: Sequence[World]) -> Table:
    """Return success and return: one row an agent, one column a world."""
    from rlops.agents_baseline.evaluate import SUCCESS

    seeds = matrix[0][0].table["seed"]
    table = Table(
        title=f"{id}: {len(seeds)} episodes from seed {seeds[0]} in every world",
        caption="success and return, each with its 95 % interval: of success exact, of the return by bootstrap",
        box=SIMPLE_HEAD,
    )
    table.add_column("agent", overflow="fold")
    for world in where:
        table.add_column(world.name, justify="right", no_wrap=True)
    for row in matrix:
        intervals = [played.intervals() for played in row]
        table.add_row(
            row[0].agent,
            *(f"{share(one[SUCCESS])}\n{ranged(one['return']).replace(chr(10), ' ')}" for one in intervals),
            end_section=True,
        )
    return table


def share(interval: Interval) -> str:
    """Return a share with its interval as text, in percent."""
    return rf"{interval.mean:.1%} \[{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


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
