"""``rlops train``: train an agent with Stable-Baselines3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rlops.cli.options import (
    Demand,
    LoadFile,
    Params,
    Played,
    Randomize,
    Ray,
    WeatherFile,
    Years,
    environment,
    parameters,
    terminal,
    user_data,
)
from rlops.cli.run import Runtime
from rlops.envs import parse_id
from rlops.errors import InvalidValue

if TYPE_CHECKING:
    from rlops.agents_baseline import train as training


class Algorithm(StrEnum):
    """The algorithms, as choices of the command line."""

    maskable_ppo = "maskable_ppo"
    ppo = "ppo"
    dqn = "dqn"
    sac = "sac"


def train(
    played: Played,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for model.zip, config.yaml and tensorboard/.")],
    algo: Annotated[
        Algorithm | None,
        typer.Option(
            help="MaskablePPO, PPO without masks, masked DQN, or SAC for vectors.",
            show_default="maskable_ppo; ppo for vectors",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Environment steps over all rows; by default those of the hyperparameters."),
    ] = None,
    num_envs: Annotated[
        int | None,
        typer.Option(min=1, help="Rows stepped together; by default those of the hyperparameters."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, exploration and environments.")] = 0,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="0-4",
            help="Several trainings, in DIR/seed_0 …; those that are complete are not done again.",
            show_default=False,
        ),
    ] = None,
    demand: Demand = None,
    weather: WeatherFile = None,
    years: Years = None,
    load: LoadFile = None,
    param: Params = None,
    randomize: Randomize = None,
    hyperparameters: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML with hyperparameters that differ from the shipped ones."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    runtime: Runtime = "auto",
    ray: Ray = None,
) -> None:
    """Train an agent and write its model, in this process or within an image; config.yaml says which."""
    from rlops.agents_baseline.scale import cluster
    from rlops.agents_baseline.seeds import parse_seeds
    from rlops.agents_baseline.train import read_hyperparameters

    id, image = environment(played)
    data = user_data(id, demand, weather, load, years)
    console = terminal()
    for line in data.told:
        console.print(line, highlight=False)
    family, number = parse_id(id)
    usual = Algorithm.maskable_ppo if isinstance(family.kernel(number).ACTION, int) else Algorithm.ppo
    name = (algo or usual).value
    options: dict[str, Any] = {
        "steps": steps,
        "out": out,
        "num_envs": num_envs,
        "params": {**data.params, **parameters(param)},
        "randomization": randomize,
        "hyperparameters": read_hyperparameters(hyperparameters, name) if hyperparameters else None,
        "overwrite": overwrite,
        "image": image,
        "runtime": runtime,
        **data.options,
    }
    if seeds is None and ray is not None:
        raise InvalidValue("A cluster trains several seeds side by side, but --ray was given without --seeds.")
    if seeds is None:
        written = [train_with_bar(console, id, name, seed=seed, **options)]
    else:
        with nullcontext() if ray is None else cluster(ray, ids=[id]) as pool:
            written = train_seeds_with_bar(console, id, name, parse_seeds(seeds), pool=pool, **options)
    for path in written:
        console.print(f"[green]wrote[/green] {path}")
    console.print(f"compare it: rlops evaluate {id} --agent {out} --agent random", highlight=False)


def train_with_bar(console: Console, id: str, algo: str, **options: Any) -> Path:
    """Train under a progress bar with speed, mean return and completion; arguments are those of ``train``."""
    from rlops.agents_baseline import train as training

    with training_bar(console) as bar:
        return training.train(
            id, algo, progress=partial(tell, bar, bar.add_task(f"{algo} on {id}", told="")), **options
        )


def train_seeds_with_bar(console: Console, id: str, algo: str, seeds: Sequence[int], **options: Any) -> list[Path]:
    """Train one agent a seed under progress bars; arguments are those of ``train_seeds``."""
    from rlops.agents_baseline.seeds import train_seeds

    with training_bar(console) as bar:
        tasks = {seed: bar.add_task(f"{algo} on {id}, seed {seed}", total=None, told="", start=False) for seed in seeds}

        def look(seed: int, progress: training.Progress) -> None:
            bar.start_task(tasks[seed])
            tell(bar, tasks[seed], progress)

        return train_seeds(id, algo, seeds, progress=look, **options)


def training_bar(console: Console) -> Progress:
    """Return a progress bar for trainings, which shows what :func:`tell` tells it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %  {task.fields[told]}"),
        TimeRemainingColumn(),
        console=console,
    )


def tell(bar: Progress, task: TaskID, progress: training.Progress) -> None:
    """Show how far a training is."""
    told = f"imitating {progress.imitating}" if progress.imitating else _told(progress)
    bar.update(task, total=progress.total, completed=min(progress.steps, progress.total), told=told)


def _told(progress: training.Progress) -> str:
    """Return speed, mean return and completion as text, as far as they are known."""
    parts = []
    if not math.isnan(progress.steps_per_s):
        parts.append(f"{progress.steps_per_s:,.0f} steps/s")
    if not math.isnan(progress.mean_return):
        parts.append(f"return {progress.mean_return:,.0f}")
    if not math.isnan(progress.completion):
        parts.append(f"completed {progress.completion:.1%}")
    return "  ".join(parts)
