"""``rlops demo``: in a few minutes: speed, a short training, controllers beside it, a day as a picture."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.table import Table

from rlops.cli.evaluate import evaluate_with_bar, headline_table
from rlops.cli.options import terminal
from rlops.cli.train import train_with_bar
from rlops.envs import parse_id

if TYPE_CHECKING:
    from rlops.agents_baseline.agents import Agent

ID = "rlops/Dispatch-v2"
REFERENCE = "cheapest_insertion"
CONTROLLERS = (
    REFERENCE,
    "do_nothing",
    "random",
    "cherry_pick",
    "nearest_idle",
    "earliest_deadline",
    "hungarian",
    "regret_insertion",
    "late_insertion",
)
"""Those that decide fast enough for a demonstration; ``rolling_horizon`` searches for longer."""
_TRIPS = "dispatch/nyc_tlc/yellow_tripdata_sample_2019-01.csv"
_ZONES = "dispatch/nyc_manhattan_od/zone_centroids_km.csv"
_MANHATTAN_DEG = 29.0
"""Angle of Manhattan's avenues to north."""


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for what the demonstration writes.")] = Path("demo"),
    data: Annotated[
        Path,
        typer.Option(envvar="RLOPS_DATA", metavar="DIR", help="Folder with the New York trips; optional."),
    ] = Path("../shared/data"),
    train_seconds: Annotated[float, typer.Option(min=1, help="Time for learning.")] = 75.0,
    episodes: Annotated[int, typer.Option(min=2, help="Days that every agent plays.")] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Show speed, learning, controllers and a day of dispatch."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.evaluate import write_json

    console = terminal()
    out.mkdir(parents=True, exist_ok=True)
    written = []
    console.rule(f"1  Speed of {ID}")
    with console.status("the first run compiles the environment (a minute or two), later ones load it"):
        _measured_steps(16, 1)
    console.print(_speed(console))

    console.rule(f"2  MaskablePPO imitates late insertion, then learns for {train_seconds:.0f} s")
    folder = out / "maskable_ppo"
    train_with_bar(
        console,
        ID,
        "maskable_ppo",
        steps=1_000_000,
        out=folder,
        seed=seed,
        overwrite=True,
        max_seconds=train_seconds,
    )
    written.append(folder / "model.zip")
    console.print("So short a training shows that learning runs, not what it can reach.")

    console.rule("3  The same days for everyone")
    agents = [load_agent(name, ID) for name in (*CONTROLLERS, folder / "model.zip")]
    seeds = range(1000 + seed, 1000 + seed + episodes)
    for title, file, options in _demands(console, data):
        console.print(f"[bold]{title}[/bold]", highlight=False)
        results = evaluate_with_bar(console, ID, agents, seeds, **options)
        console.print(headline_table(results))
        write_json(out / file, results)
        written.append(out / file)

    console.rule("4  One day as a picture")
    written.append(_picture(out / "day.png", load_agent(REFERENCE, ID), seeds[0]))
    console.print("wrote " + "\n      ".join(str(path) for path in written), highlight=False)


def _speed(console: Console) -> Table:
    """Return a table of steps per second with random legal actions."""
    table = Table(title="random legal actions, time within step()")
    for name in ("rows", "environment steps/s", "us per step", "days of dispatch/s"):
        table.add_column(name, justify="right")
    for rows in (256, 1024):
        with console.status(f"{rows} rows"):
            spent_s, steps, days = _measured_steps(rows, 400)
        table.add_row(f"{rows}", f"{steps / spent_s:,.0f}", f"{1e6 * spent_s / steps:.2f}", f"{days / spent_s:,.1f}")
    return table


def _measured_steps(rows: int, steps: int) -> tuple[float, int, float]:
    """Return seconds within ``step``, environment steps, and days of twelve hours that went by."""
    from rlops.envs.faces import VectorEnv

    envs = VectorEnv(*parse_id(ID), rows, autoreset_mode=AutoresetMode.NEXT_STEP, copy=False)
    envs.reset(seed=0)
    draws = np.random.default_rng(0)
    spent_s, minutes = 0.0, 0.0
    for step in range(-1, steps):  # the first one compiles, or loads what is compiled
        masks = envs.action_masks()
        actions = np.where(masks, draws.random(masks.shape, np.float32), -1).argmax(axis=1)
        before_s = time.perf_counter()
        envs.step(actions)
        if step < 0:
            continue
        spent_s += time.perf_counter() - before_s
        minutes += float(envs.state["dt_min"].sum())
    return spent_s, rows * steps, minutes / 720


def _demands(console: Console, data: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the demands to evaluate on: title, name of the JSON file, options of ``evaluate``."""
    demands: list[tuple[str, str, dict[str, Any]]] = [("Synthetic demand", "synthetic.json", {})]
    trips, zones = data / _TRIPS, data / _ZONES
    if not (trips.is_file() and zones.is_file()):
        console.print(f"No trips of New York at {trips}: synthetic demand only. Name their folder: RLOPS_DATA=…")
        return demands
    from rlops.envs.dispatch.demand import read_trips

    demand = read_trips(trips, zones=zones, rotate_deg=_MANHATTAN_DEG)
    console.print(str(demand), highlight=False)
    return [
        *demands,
        ("Manhattan, January 2019", "manhattan.json", {"demand": demand, "params": demand.params()}),
    ]


def _picture(path: Path, agent: Agent, seed: int) -> Path:
    """Draw the day of ``seed`` under ``agent`` and return where the picture is."""
    from rlops.agents_baseline.day import record_day
    from rlops.envs.faces import Env

    record_day(Env(*parse_id(ID)), agent, seed).picture(path)
    return path
