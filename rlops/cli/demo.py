"""``rlops demo``: in a few minutes: speed, training, controllers, a day as a picture, an image, a robustness report.

The image is built by a process beside the training, as it takes one core for minutes the first time.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlops.cli.evaluate import evaluate_with_bar, headline_table
from rlops.cli.options import terminal
from rlops.cli.robustness import robustness_with_bar, show
from rlops.cli.train import train_with_bar
from rlops.envs import parse_id
from rlops.registry.origins import installed_fingerprint

if TYPE_CHECKING:
    from rlops.agents_baseline.agents import Agent
    from rlops.registry.remote.client import RemoteVectorEnv

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
IMAGE_ROWS, IMAGE_STEPS = 64, 150
SHIPPED = "maskable_ppo"
"""Name of the agent whose robustness is reported; it comes with the package."""
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
    """Show speed, learning, controllers, a day of dispatch, its image, and whether an agent may be released."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.evaluate import write_json

    console = terminal()
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    console.rule(f"1  Speed of {ID}")
    with console.status("the first run compiles the environment (a minute or two), later ones load it"):
        _measured_steps(16, 1)
    console.print(_speed(console))

    with _building() as building:
        agent_file = _trained(console, out / "maskable_ppo", train_seconds, seed)
        written.append(agent_file)

        console.rule("3  The same days for everyone")
        agents = [load_agent(name, ID) for name in (*CONTROLLERS, agent_file)]
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

        console.rule(f"5  The image of {ID}, stepped beside this process")
        _image(console, building)

    console.rule(f"6  May the shipped {SHIPPED} of {ID} be released?")
    _report(console, out / "robustness")


def _report(console: Console, folder: Path) -> None:
    """Write the robustness report of a shipped agent, with a tenth of the episodes of a release."""
    from rlops.robustness.spec import shipped

    report = robustness_with_bar(console, shipped(ID).brief(), SHIPPED, folder)
    show(console, report, folder)
    console.print("So few episodes decide little: a release plays ten times as many, without --brief.")


def _trained(console: Console, folder: Path, seconds: float, seed: int) -> Path:
    """Train for a short while and return the model's file."""
    console.rule(f"2  MaskablePPO imitates late insertion, then learns for {seconds:.0f} s")
    with console.status("the first run takes the fingerprint of the dynamics for the checkpoint (a minute or two)"):
        installed_fingerprint(ID)
    model = train_with_bar(
        console, ID, "maskable_ppo", steps=1_000_000, out=folder, seed=seed, overwrite=True, max_seconds=seconds
    )
    console.print("So short a training shows that learning runs, not what it can reach.")
    return model


@contextlib.contextmanager
def _building() -> Iterator[subprocess.Popen[str]]:
    """Build the image in a process of its own, which does not outlive this one's demonstration."""
    command = [sys.executable, "-m", "rlops.cli", "build", ID, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _image(console: Console, building: subprocess.Popen[str]) -> None:
    """Wait for the image, verify it, and step it beside the environment in this process, bit for bit."""
    from rlops.registry import make
    from rlops.registry.references import Reference

    began_s = time.perf_counter()
    with console.status("building it, beside what came before (minutes the first time: it compiles)"):
        told, failure = building.communicate()
    waited_s = time.perf_counter() - began_s
    if building.returncode:
        console.print(Text(f"The image could not be built. {failure.strip()}", style="yellow"), soft_wrap=True)
        return
    built = json.loads(told)
    ref = str(Reference.parse(built["image"]).at(built["digest"]))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("image", ref)
    size = sum(layer["bytes"] for layer in built["layers"].values())
    table.add_row("its layers", f"{', '.join(built['layers'])}: {size / 1e6:,.0f} MB; waited for it {waited_s:.1f} s")
    with console.status("verifying it"):
        began_s = time.perf_counter()
        with make(ref, 1, runtime="process", verify=True) as one:
            isolation, fingerprint = str(one.isolation), one.identity.fingerprint["exact"]
        table.add_row("verified", f"every byte, fingerprint {fingerprint[:16]} replayed: {_since(began_s)}")
    with console.status("stepping both"):
        began_s = time.perf_counter()
        with make(ref, IMAGE_ROWS, runtime="process", autoreset_mode=AutoresetMode.NEXT_STEP) as there:
            there.reset(seed=0)
            table.add_row("started", f"to the first observation: {_since(began_s)}")
            same, ours_s, theirs_s = _beside(there)
    table.add_row("runs as", f"process ({isolation})")
    table.add_row("steps", f"{IMAGE_ROWS * IMAGE_STEPS:,} in {IMAGE_ROWS} rows: {_rates(ours_s, theirs_s)}")
    verdict = "[green]the same to the last bit[/green]" if same else "[red]not the same[/red]"
    table.add_row("results", f"observations, rewards, ends and infos are {verdict}")
    console.print(table, highlight=False)
    if not same:
        raise typer.Exit(1)


def _beside(there: RemoteVectorEnv) -> tuple[bool, float, float]:
    """Play the same actions here and within the image; return whether all is the same, and both times in ``step`` [s].

    Rows of the image have just been reset with seed 0.
    """
    from rlops.envs.faces import VectorEnv

    here = VectorEnv(*parse_id(ID), IMAGE_ROWS, autoreset_mode=AutoresetMode.NEXT_STEP)
    here.reset(seed=0)
    draws, same, spent_s = np.random.default_rng(0), True, [0.0, 0.0]
    for _ in range(IMAGE_STEPS):
        masks = here.action_masks()
        actions = np.where(masks, draws.random(masks.shape, np.float32), -1).argmax(axis=1)
        results = []
        for number, envs in enumerate((here, there)):
            before_s = time.perf_counter()
            results.append(envs.step(actions))
            spent_s[number] += time.perf_counter() - before_s
        same = same and _bits(results[0]) == _bits(results[1])
    return same, spent_s[0], spent_s[1]


def _bits(result: Any) -> tuple[str, list[bytes]]:
    """Return how a result is made up, dtypes, shapes and names included, and the bytes of its arrays."""
    from rlops.registry.remote.frames import layout_of

    layout, arrays = layout_of(result)
    return json.dumps(layout.as_json()), [array.tobytes() for array in arrays]


def _rates(ours_s: float, theirs_s: float) -> str:
    count = IMAGE_ROWS * IMAGE_STEPS
    return f"{count / ours_s:,.0f}/s here, {count / theirs_s:,.0f}/s within the image ({ours_s / theirs_s:.0%})"


def _since(began_s: float) -> str:
    return f"{time.perf_counter() - began_s:.1f} s"


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
