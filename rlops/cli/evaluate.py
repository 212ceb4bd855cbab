"""``rlops evaluate``: the key figures of one or several agents over the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from rlops.cli.options import (
    Demand,
    Engine,
    LoadFile,
    Params,
    Played,
    Randomize,
    RealityProfile,
    WeatherFile,
    Years,
    environment,
    parameters,
    robot_options,
    terminal,
    user_data,
)
from rlops.cli.run import Runtime
from rlops.envs import parse_id

if TYPE_CHECKING:
    from rlops.agents_baseline.evaluate import Episodes, Interval

HEADLINES = {
    "is_success": "success",
    "distance_m": "m from goal",
    "at_goal_s": "s at goal",
    "upright_s": "s upright",
    "position_rms": "m off",
    "deliveries_per_hour": "deliveries per hour",
    "collisions": "collisions",
    "path_efficiency": "path efficiency",
    "pue": "PUE",
    "kwh_cooling": "kWh cooling",
    "over_recommended_k_min": "K min above 27 °C",
    "max_inlet_c": "hottest °C",
    "completion_rate": "completed",
    "served_share": "served",
    "cost": "distance",
    "vehicles_used": "vehicles",
    "min_class_completion": "least class",
    "late_or_missed_share": "late or missed",
    "mean_distance_km": "km each",
    "lateness_share": "late",
    "lateness_mean_min": "min late",
    "illegal": "illegal",
}
"""Key figures of the short table and their headings, those of them that an environment has."""


def evaluate(
    played: Played,
    agent: Annotated[
        list[str],
        typer.Option(
            metavar="NAME|PATH",
            help="Controller, trained agent or folder of several; repeatable, the first is the reference.",
        ),
    ],
    episodes: Annotated[int, typer.Option(min=1, help="Days, the same for every agent.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Day i has seed SEED + i.")] = 0,
    demand: Demand = None,
    weather: WeatherFile = None,
    years: Years = None,
    load: LoadFile = None,
    param: Params = None,
    randomize: Randomize = None,
    engine: Engine = None,
    profile: RealityProfile = None,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Trained agents draw their actions.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every key figure.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures there.")] = None,
    runtime: Runtime = "auto",
    any_dynamics: Annotated[
        bool, typer.Option("--any-dynamics", help="Let agents meet other dynamics than those they were trained in.")
    ] = False,
) -> None:
    """Let agents play the same episodes, in this process or within an image, and compare their key figures."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.evaluate import write_json
    from rlops.agents_baseline.seeds import trained_seeds

    id, image = environment(played)
    data = user_data(id, demand, weather, load, years)
    robot = robot_options(id, engine, profile)
    console = terminal()
    for line in data.told:
        console.print(line, highlight=False)
    family, number = parse_id(id)
    masked = hasattr(family.kernel(number), "mask")
    paths = [path for name in agent for path in trained_seeds(name).values() or [name]]
    agents = [load_agent(path, id, deterministic=not stochastic) for path in paths]
    for one in agents:
        if masked and not getattr(one, "uses_masks", True):
            console.print(f"{one.name} knows no action masks: what it does against them is counted as illegal.")
    results = evaluate_with_bar(
        console,
        id,
        agents,
        range(seed, seed + episodes),
        params={**data.params, **robot.pop("params", {}), **parameters(param)},
        randomization=randomize,
        image=image,
        runtime=runtime,
        any_dynamics=any_dynamics,
        **data.options,
        **robot,
    )
    if randomize is not None:
        console.print(f"Every episode draws its parameters: {randomize}, sha256 {results[0].randomization[:12]}.")
    console.print(figures_table(results) if full else headline_table(results))
    if json is not None:
        write_json(json, results)
        console.print(f"[green]wrote[/green] {json}")


def evaluate_with_bar(
    console: Console, id: str, agents: Sequence[Any], seeds: Sequence[int], **options: Any
) -> list[Episodes]:
    """Evaluate ``agents`` under a progress bar; ``options`` are those of ``evaluate``."""
    from rlops.agents_baseline import evaluate as evaluation

    results = []
    with Progress(console=console, transient=True) as bar:
        for one in agents:
            task = bar.add_task(one.name, total=len(seeds))
            tell = partial(_advance, bar, task)
            results.append(evaluation.evaluate(id, one, seeds, progress=tell, **options))
            bar.remove_task(task)
    return results


def _advance(bar: Progress, task: TaskID, ended: int) -> None:
    bar.update(task, completed=ended)


def headline_table(results: Sequence[Episodes]) -> Table:
    """Return the figures that matter first: one row an agent; differences are paired with the first agent."""
    from rlops.agents_baseline.evaluate import SERVED_ONLY, SUCCESS

    first = results[0]
    names = [name for name in HEADLINES if name in first.kpis]
    if not any(result.table[name].any() for result in results for name in names if "illegal" in name):
        names = [name for name in names if "illegal" not in name]
    notes = ["in brackets: share served"] if SERVED_ONLY.intersection(names) else []
    notes += ["≥: what success is at least, with 95 % confidence"] if SUCCESS in names else []
    table = Table(
        title=f"{first.id}: {len(first.table)} episodes from seed {first.table['seed'][0]}, mean [95 % interval]",
        caption="; ".join(
            [f"difference: in return to {first.agent}, episode by episode", *notes, "p50, p95: a decision"]
        ),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("agent", overflow="fold", no_wrap=True)
    for heading in ("return", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in (*(HEADLINES[name] for name in names), "p50, p95 ms"):
        table.add_column(heading, justify="right", overflow="fold", min_width=max(map(len, heading.split())))
    for result in results:
        intervals = result.intervals()
        difference = "" if result is first else ranged(result.difference(first)["return"], signed=True)
        table.add_row(
            result.agent,
            ranged(intervals["return"]),
            difference,
            *(_headline(result, name, intervals) for name in names),
            _latency(result).removesuffix(" ms"),
        )
    return table


def _headline(result: Episodes, name: str, intervals: Mapping[str, Interval]) -> str:
    """Return a key figure as text, with what it must not be shown without in a second line."""
    from rlops.agents_baseline.evaluate import SUCCESS, least_share, shown

    text = shown(name, intervals).replace(" (", "\n(").replace(" served)", ")")
    return text if name != SUCCESS else f"{text}\n≥ {least_share(*result.successes()):.1%}"


def figures_table(results: Sequence[Episodes]) -> Table:
    """Return every figure: one row a figure, one column an agent."""
    from rlops.agents_baseline.evaluate import shown

    first = results[0]
    intervals = [result.intervals() for result in results]
    table = Table(title=f"{first.id}: {len(first.table)} episodes from seed {first.table['seed'][0]}, means")
    table.add_column("figure")
    for result in results:
        table.add_column(result.agent, justify="right", overflow="fold")
    for name in intervals[0]:
        table.add_row(name.replace("_", " "), *(shown(name, one) for one in intervals))
    table.add_row("decision p50 / p95", *(_latency(result) for result in results))
    return table


def ranged(interval: Interval, signed: bool = False) -> str:
    """Return a mean and, in a second line, its interval as text."""
    sign = "+" if signed else ""
    return f"{interval.mean:{sign},.0f}\n[{interval.low:{sign},.0f}, {interval.high:{sign},.0f}]".replace("[", r"\[")


def _latency(result: Episodes) -> str:
    if result.latency is None or not result.latency.decisions:
        return "-"
    return f"{result.latency.p50_ms:.2f}\n{result.latency.p95_ms:.2f} ms"
