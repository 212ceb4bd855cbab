"""The learning curves of one or several trainings, drawn from what they logged.

``python -m rlops.agents_baseline.training_chart runs/one runs/other --out docs/robots_training.png`` draws one panel an
environment; trainings in the same environment share it. What is drawn is what the learner saw: its actions are drawn,
not the best ones, and its world is the randomized one if it had one.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rlops.agents_baseline.agents import CONFIG_FILE
from rlops.agents_baseline.charts import INK, RULE, SOFT_INK, save, styled
from rlops.agents_baseline.train import OUTCOMES, PROGRESS_FILE
from rlops.errors import InvalidFile

COLOURS = ("#29598f", "#d97d21", "#4a8f5b", "#9b4f8c", "#b3402f", "#3f9aa0")


@dataclass(frozen=True)
class Curve:
    """What a training logged.

    Attributes:
        id: Environment.
        name: Of the training's folder.
        steps: Environment steps, ``(t,)``.
        minutes: Since the first of them, ``(t,)``.
        done: Share of the recent episodes' task that was done, ``(t,)``.
    """

    id: str
    name: str
    steps: np.ndarray
    minutes: np.ndarray
    done: np.ndarray


def read_curve(run: str | Path) -> Curve:
    """Return the curve of a training's folder.

    Raises:
        InvalidFile: If the folder has no configuration or no log with outcomes of episodes.
    """
    run = Path(run)
    try:
        config = yaml.safe_load((run / CONFIG_FILE).read_text(encoding="utf-8"))
        with (run / PROGRESS_FILE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InvalidFile(
            f"{run} must be the folder of a training, with {CONFIG_FILE} and {PROGRESS_FILE}, got: {error}"
        ) from None
    outcome = next((name for name in OUTCOMES.values() if rows and name in rows[0]), None)
    told = [row for row in rows if outcome and row[outcome]]
    if outcome is None or not told:
        raise InvalidFile(f"{run / PROGRESS_FILE} must have one of {', '.join(OUTCOMES.values())}, got none.")
    steps, seconds, done = (
        np.array([float(row[name]) for row in told]) for name in ("time/total_timesteps", "time/time_elapsed", outcome)
    )
    return Curve(str(config["id"]), run.name, steps, seconds / 60.0, done)


def draw(curves: Sequence[Curve], path: str | Path) -> Path:
    """Draw one panel an environment into an image file, and return its path.

    Raises:
        MissingExtra: If Matplotlib is not installed.
    """
    ids = list(dict.fromkeys(curve.id for curve in curves))
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.9 * len(ids), 3.2), dpi=150, layout="constrained")
        panels = figure.subplots(1, len(ids), squeeze=False, sharey=True)[0]
        for panel, id in zip(panels, ids, strict=True):
            _draw_panel(panel, id, [curve for curve in curves if curve.id == id])
        panels[0].set_ylabel("of the last 100 episodes succeeded")
        return save(figure, path)


def _draw_panel(panel: Any, id: str, curves: Sequence[Curve]) -> None:
    panel.set_title(id, loc="left", color=INK, fontsize=10.5)
    panel.set_xlabel("environment steps, millions")
    panel.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    panel.set_ylim(-0.02, 1.03)
    panel.grid(axis="y", color=RULE, linewidth=0.8)
    panel.axhline(0.95, color=SOFT_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    for curve, colour in zip(curves, COLOURS, strict=False):
        panel.plot(curve.steps / 1e6, curve.done, color=colour, linewidth=1.6, label=curve.name)
    panel.legend(loc="lower right", frameon=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the trainings whose folders are named."""
    parser = argparse.ArgumentParser(description="The learning curves of trainings.")
    parser.add_argument("runs", nargs="+", help="Folders that rlops train wrote.")
    parser.add_argument("--out", required=True, help="Image file.")
    asked = parser.parse_args(arguments)
    print(f"wrote {draw([read_curve(run) for run in asked.runs], asked.out)}")


if __name__ == "__main__":
    main()
