"""Cooling energy that trained agents save on a year held back, against the hand-written operators.

For every site and seed PPO is trained on the weather of 2020-2022 (unless ``--runs`` holds its model already), then it
plays days of 2024 beside the operators: the same days for all, the hourly load of a Google cluster of 2011. Prints
savings with their 95 % intervals over days, and kelvin minutes above 27 °C. A training takes about ten minutes.

Run ``python -m benchmarks.cooling_savings`` from the root of the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.cooling_pue import ID, LOAD, SITES, data_folder, per_cent
from benchmarks.rounds import show, write
from rlops.agents_baseline.agents import MODEL_FILE, load_agent
from rlops.agents_baseline.cooling_score import regret_score, saving
from rlops.agents_baseline.evaluate import Episodes, evaluate
from rlops.cli.train import train_with_bar
from rlops.envs.cooling.load import read_load
from rlops.envs.cooling.weather import read_weather

OPERATORS = ("tuned_fixed", "trim_and_respond", "linear_mpc", "hourly_optimum")
DATED = tuple(site for site, file in SITES.items() if file.startswith("weather/"))
"""Sites with weather of dated years."""
DAY = {"horizon_min": 1440}


def traces(site: str, part: str) -> dict[str, Any]:
    """Return the weather of a site's years to learn from (``train``) or held back (``test``), and the load."""
    weather = read_weather(data_folder() / SITES[site]).split(part)
    return {"weather": weather, "load": read_load(data_folder() / LOAD)}


def trained(console: Console, site: str, algo: str, seed: int, steps: int, runs: Path) -> Path:
    """Return the folder of the model of a site and a seed, trained if it is not there."""
    folder = runs / f"{algo}-{site.lower().replace(' ', '-')}-{seed}"
    if not (folder / MODEL_FILE).exists():
        console.print(f"training {folder.name}")
        train_with_bar(
            console, ID, algo, steps=steps, out=folder, seed=seed, params=DAY, traces=traces(site, "train")
        )  # fmt: skip
    return folder


def main() -> None:
    """Train, play, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sites", nargs="+", choices=DATED, default=["Frankfurt"], help="to train and to judge at")
    parser.add_argument("--also", nargs="*", choices=DATED, default=["London", "Philadelphia"], help="to judge at too")
    parser.add_argument("--algo", choices=("ppo", "sac"), default="ppo")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of every site")
    parser.add_argument("--steps", type=int, default=2_500_000, help="of a training")
    parser.add_argument("--days", type=int, default=52, help="of the year held back")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the models")
    asked = parser.parse_args()
    console = Console()
    result: dict[str, Any] = {}
    rows = []
    for home in asked.sites:
        folders = [trained(console, home, asked.algo, seed, asked.steps, asked.runs) for seed in range(asked.seeds)]
        for site in dict.fromkeys([home, *asked.also]):
            names = [*OPERATORS, *map(str, folders)]
            played: dict[str, Episodes] = {}
            given = traces(site, "test")
            with Progress(console=console, transient=True) as bar:
                for name in bar.track(names, description=site):
                    agent = load_agent(name, ID)
                    played[name] = evaluate(ID, agent, range(asked.days), params=DAY, traces=given, latency=False)
            tuned, trim, best = (played[name] for name in ("tuned_fixed", "trim_and_respond", "hourly_optimum"))
            for name, one in played.items():
                over = one.table["over_recommended_k_min"]
                score = regret_score(one, trim, best)
                savings = [saving(one, other) for other in (tuned, trim)]
                rows.append((
                    home if name not in OPERATORS else "", site, Path(name).name, f"{one.table['pue'].mean():.3f}",
                    *map(per_cent, savings), f"{over.mean():.1f}, {over.max():.1f}",
                    f"{score.mean:.2f} of {score.episodes}/{score.of}",
                ))  # fmt: skip
                result[f"{home}: {Path(name).name} at {site}"] = {
                    "against tuned_fixed": savings[0].tolist(), "against trim_and_respond": savings[1].tolist(),
                    "over_recommended_k_min": over.tolist(),
                }  # fmt: skip
    columns = (
        "trained at", "judged at", "operator", "PUE", "saves of tuned_fixed", "of trim_and_respond",
        "K min > 27 °C: mean, worst day", "score",
    )  # fmt: skip
    show("Cooling energy saved in 2024 (95 % interval over days)", columns, rows)
    write("cooling_savings", result)


if __name__ == "__main__":
    main()
