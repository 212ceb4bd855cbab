"""``python -m tests.mutants.rebuilds``: does ``rlops check`` say *same* of every rebuild of what was released?

Each rebuild is a fresh copy of the package, whose check runs under another configuration: compiled or interpreted, on
one thread or two, with an empty cache of compiled code or with that of the rebuild before. In turn of the environments,
so that four times as many rebuilds as environments, the default, show every environment under every configuration.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.checking import Answer, check, copy_of_the_package
from tests.mutants.reach import IDS


@dataclass(frozen=True)
class Configuration:
    """How a rebuild is run."""

    name: str
    compiled: bool
    threads: int

    def environment(self, cache: Path) -> dict[str, str]:
        """Return the environment variables of a check that keeps compiled code in ``cache``."""
        return {
            "NUMBA_DISABLE_JIT": "0" if self.compiled else "1",
            "RLOPS_THREADS": "2",
            "RLOPS_CACHE_DIR": str(cache),
        }


CONFIGURATIONS = (
    Configuration("compiled, cold cache, 1 thread", compiled=True, threads=1),
    Configuration("compiled, warm cache, 1 thread", compiled=True, threads=1),
    Configuration("compiled, warm cache, 2 threads", compiled=True, threads=2),
    Configuration("interpreted", compiled=False, threads=1),
)
"""In this order: each environment begins with an empty cache, and the warm one is that of the first."""
TIMES = len(CONFIGURATIONS) * len(IDS)


def rebuilds(times: int) -> list[tuple[Configuration, str]]:
    """Return the configuration and the environment of each rebuild; an environment's follow one another."""
    every = [(configuration, id) for id in IDS for configuration in CONFIGURATIONS]
    return [every[k % len(every)] for k in range(times)]


def answers(times: int) -> Iterator[tuple[Configuration, str, Answer]]:
    """Yield what the check says of each rebuild."""
    with tempfile.TemporaryDirectory(prefix="rlops-rebuilds-") as where:
        for k, (configuration, id) in enumerate(rebuilds(times)):
            folder = copy_of_the_package(Path(where) / f"{k}")
            cache = Path(where) / f"cache-{k // len(CONFIGURATIONS)}"
            yield configuration, id, check(id, folder, configuration.threads, **configuration.environment(cache))


def table(found: list[tuple[Configuration, str, Answer]]) -> Table:
    """Return the verdicts by configuration and environment."""
    shown = Table("configuration", *(id.removeprefix("rlops/") for id in IDS))
    for configuration in CONFIGURATIONS:
        cells = []
        for id in IDS:
            verdicts = [answer.verdict for c, i, answer in found if (c, i) == (configuration, id)]
            cells.append(", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)))
        shown.add_row(configuration.name, *cells)
    return shown


def main() -> None:
    """Rebuild and check."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.rebuilds", description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, metavar="N", help="rebuilds")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    found = list(track(answers(given.times), "rebuilds", total=given.times, console=console))
    console.print(table(found))
    alarms = [one for one in found if one[2].verdict != "same"]
    for configuration, id, answer in alarms:
        said = f"{id}, {configuration.name}: {answer.verdict} {', '.join(answer.moved)} {answer.detail}"
        console.print(said, style="red", markup=False, soft_wrap=True)
    console.print(f"{len(alarms)} false alarms in {len(found)} rebuilds")
    sys.exit(1 if alarms else 0)


if __name__ == "__main__":
    main()
