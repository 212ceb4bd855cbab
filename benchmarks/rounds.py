"""What all benchmarks share: interleaved rounds, medians, ratios of the same round, a table and a JSON file.

Every side of a comparison runs in the same process (or under the same parent) and the sides take turns, so that a
disturbance of the machine falls on all alike. A ratio is the median of the ratios of single rounds: what two neighbours
in time say of each other is worth more than two medians minutes apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "bench"
os.environ.setdefault("RLOPS_CACHE_DIR", str(ROOT / ".cache" / "rlops"))

Rates = dict[str, list[float]]
"""Units per second of each side, one number a round."""


def arguments(about: str) -> argparse.Namespace:
    """Return the command line that every benchmark understands: ``rounds`` and ``seconds``."""
    parser = argparse.ArgumentParser(description=about.strip().partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of which the median is taken")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one side in one round, about")
    return parser.parse_args()


def interleaved(sides: Mapping[str, Callable[[float], float]], rounds: int, seconds: float) -> Rates:
    """Return the rates of ``sides``, each a function of the seconds to spend that returns units per second."""
    for side in sides.values():  # compiles, fills caches
        side(seconds / 4)
    rates: Rates = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            rates[name].append(sides[name](seconds))
    return rates


def repeated(call: Callable[[], Any], units: float) -> Callable[[float], float]:
    """Return a side that repeats ``call``, which does ``units`` of work."""

    def rate(seconds: float) -> float:
        calls, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            call()
            calls += 1
        return calls * units / spent

    return rate


def median(rates: Rates, side: str) -> float:
    """Return the median rate of a side."""
    return statistics.median(rates[side])


def ratio(rates: Rates, ours: str, theirs: str) -> float:
    """Return the median over rounds of the ratio of two sides' rates."""
    return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=max(100, Console().width)).print(table)


def per_second(rate: float) -> str:
    """Return a rate as text."""
    for size, unit in ((1e6, "M/s"), (1e3, "k/s")):
        if rate >= size:
            return f"{rate / size:.3g} {unit}"
    return f"{rate:.3g} /s"


def write(name: str, result: Mapping[str, Any]) -> None:
    """Write ``result`` with what it depends on to ``.cache/bench/<name>.json``."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine(), **result}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Return what the figures depend on; ``load`` above the number of sides that run means a disturbed measurement."""
    import numpy as np

    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
