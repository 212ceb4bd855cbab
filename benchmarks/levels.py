"""Does training with randomization pay where the world is other than thought? Level ``full`` against none, on ``ood``.

Trains several seeds of MaskablePPO on Dispatch-v1 with the shipped hyperparameters, each once with the nominal
parameters and once with the level ``full``, and lets all play the same days nominal, ``full`` and ``ood``. An interval
is over training seeds (Student, 95 %). Takes about twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import scipy.stats
from rich.console import Console
from rich.progress import track
from rich.table import Table

ID = "rlops/Dispatch-v1"
TRAINED = {"nominal": None, "full": "full"}
PLAYED = ("off", "full", "ood")
FIRST_DAY = 20_000


def returns(seed: int, level: str | None, steps: int, days: int, folder: Path) -> dict[str, dict[str, float]]:
    """Train one agent and return its mean return and completion at every level of ``PLAYED``."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.evaluate import evaluate
    from rlops.agents_baseline.train import train

    out = folder / f"{level}-{seed}"
    if not (out / "model.zip").exists():
        train(ID, "maskable_ppo", steps=steps, out=out, seed=seed, randomization=level)
    agent = load_agent(out, ID)
    found = {}
    for played in PLAYED:
        result = evaluate(ID, agent, range(FIRST_DAY, FIRST_DAY + days), randomization=played, latency=False)
        found[played] = {name: float(result.table[name].mean()) for name in ("return", "completion_rate")}
    return found


def shown(values: Sequence[float], scale: float = 1.0, signed: bool = False) -> str:
    """Return mean and 95 % interval over training seeds as text."""
    mean = scale * statistics.fmean(values)
    sign = "+" if signed else ""
    if len(values) < 2:
        return f"{mean:{sign},.1f}"
    half = scale * statistics.stdev(values) / len(values) ** 0.5 * float(scipy.stats.t.ppf(0.975, len(values) - 1))
    return rf"{mean:{sign},.1f} \[{mean - half:{sign},.1f}, {mean + half:{sign},.1f}]"


def main() -> None:
    """Train, play and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600_000)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the agents here, and use those that are there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(asked.workers) as pool:
        folder = asked.folder or Path(scratch)
        runs = [(name, seed) for seed in range(asked.seeds) for name in TRAINED]
        jobs = [pool.submit(returns, seed, TRAINED[name], asked.steps, asked.days, folder) for name, seed in runs]
        played = {run: job.result() for run, job in zip(runs, track(jobs, "training", transient=True), strict=True)}
    table = Table(title=f"{ID}: MaskablePPO, {asked.steps:,} steps, {asked.seeds} seeds; {asked.days} days")
    for heading in ("played on", "figure", "trained nominal", "trained full", "full less nominal"):
        table.add_column(heading, justify="left" if heading in ("played on", "figure") else "right")
    for level in PLAYED:
        for figure, heading, scale in (("return", "return [$]", 1.0), ("completion_rate", "completed [%]", 100.0)):
            of = {name: [played[name, seed][level][figure] for seed in range(asked.seeds)] for name in TRAINED}
            gain = [full - nominal for nominal, full in zip(of["nominal"], of["full"], strict=True)]
            table.add_row(
                "nominal" if level == "off" else level, heading, shown(of["nominal"], scale), shown(of["full"], scale),
                shown(gain, scale, signed=True),
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
