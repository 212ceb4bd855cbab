"""Compile environments ahead: ``python -m rlops.envs.warming [ID …]``, in several processes, the longest first.

What is compiled is kept where ``RLOPS_CACHE_DIR`` says (:mod:`rlops.envs.compiling`), so that the first step of a
training, or of a test, comes at once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable

from rlops.envs import FAMILIES, parse_id
from rlops.errors import MissingExtra


def warm(id: str) -> None:
    """Let everything be compiled that an environment needs: rows on one thread and on several, agents, and engines."""
    import numpy as np

    from rlops.envs.batch import Batch

    family, number = parse_id(id)
    kernel = family.kernel(number)
    for variant in (None, *getattr(kernel, "VARIANTS", ())):
        for threads in (1, 2):
            batch = Batch(family, number, 4, threads=threads, variant=variant, agents=hasattr(kernel, "AGENTS"))
            batch.seed(np.arange(4), [0] * 4)
            batch.reset()
            batch.step(batch.actions, True)
            batch.context()
        batch.reset(override={})
        numbers = [k for k, parameter in enumerate(kernel.PARAMETERS) if parameter.dtype == "f8"]
        batch.numbers[:, numbers] = np.nextafter(batch.numbers[:, numbers], np.inf)  # for an engine, other models
        batch.step(batch.actions, True)
    for engine in getattr(kernel, "ENGINES", ())[1:]:
        with contextlib.suppress(MissingExtra):
            batch = Batch(family, number, 1, threads=1, engine=engine)
            batch.reset()
            batch.step(batch.actions, True)


def warm_all(ids: Iterable[str], processes: int) -> int:
    """Compile ``ids`` in so many processes at a time; return how many failed."""
    waiting, running, failed = list(ids), dict[str, subprocess.Popen[bytes]](), 0
    while waiting or running:
        while waiting and len(running) < processes:
            id = waiting.pop(0)
            running[id] = subprocess.Popen([sys.executable, "-m", "rlops.envs.warming", id])
        time.sleep(0.1)
        for id, process in list(running.items()):
            if process.poll() is not None:
                failed += process.returncode != 0
                del running[id]
    return failed


def main(ids: list[str]) -> int:
    """Compile the one id that is given, or all of several, or all there are; return an exit code."""
    if len(ids) == 1:
        warm(ids[0])
        return 0
    newest_first = [id for family in FAMILIES for id in reversed(family.ids)]
    return min(warm_all(ids or newest_first, os.cpu_count() or 1), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
