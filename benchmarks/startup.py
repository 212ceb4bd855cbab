"""How long a fresh process takes: ``import rlops``, and the first steps of Dispatch-v2, here and within its image.

Each figure is the median over fresh processes, timed inside them from their first statement. The interpreter's own
start is not part of it. One process before the measurement compiles, so that the others find the code.

The image is that of the store which ``RLOPS_BENCH_IMAGE`` names, for example ``dispatch:2.0.1``; from its name to the
first step it is looked up, its configuration verified, its server started and shaken hands with. Its layers have been
unpacked, or loaded by Docker, before. It is left out without a name, and Docker where there is none.

Run ``python -m benchmarks.startup`` from the root of the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.rounds import ROOT, arguments, median, ratio, show, write

BEGIN = "import time; begin = time.perf_counter(); "
END = "; print(time.perf_counter() - begin)"
FIRST_STEPS = (
    "import gymnasium, numpy, rlops; envs = gymnasium.make_vec('rlops/Dispatch-v2', num_envs=64); "
    "envs.reset(seed=0); envs.step(numpy.full(64, envs.single_action_space.n - 1))"
)
IMAGE = os.environ.get("RLOPS_BENCH_IMAGE", "")
FIRST_STEPS_IN_IMAGE = (
    "import numpy, rlops.registry; envs = rlops.registry.make({image!r}, 64, runtime={runtime!r}); "
    "envs.reset(seed=0); envs.step(numpy.full(64, envs.single_action_space.n - 1))"
)
SIDES = {
    "import rlops": ("import rlops", 1.0),
    "import rlops, make_vec Dispatch-v2, reset, step": (FIRST_STEPS, 2.0),
    "import gymnasium": ("import gymnasium", None),
    "import numba": ("import numba", None),
}
"""Statement, and the target [s]."""
OF_IMAGES = {
    f"make {IMAGE}, {runtime}, reset, step": (FIRST_STEPS_IN_IMAGE.format(image=IMAGE, runtime=runtime), target_s)
    for runtime, target_s in (("process", 2.0), ("docker", 3.0))
}


def seconds(statement: str) -> float:
    """Return how long ``statement`` takes in a fresh process [s]."""
    command = [sys.executable, "-c", BEGIN + statement + END]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ)
    return float(done.stdout)


def possible(sides: dict[str, tuple[str, float]]) -> dict[str, tuple[str, float]]:
    """Return the sides of an image that work here; their first run also unpacks or loads its layers."""
    found = {}
    for name, side in sides.items() if IMAGE else ():
        try:
            seconds(side[0])
        except subprocess.CalledProcessError as error:
            print(f"{name} is left out: {error.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        else:
            found[name] = side
    return found


def main() -> None:
    """Measure, print and write."""
    options = arguments(__doc__ or "")
    cold_s = seconds(FIRST_STEPS)
    sides = {**SIDES, **possible(OF_IMAGES)}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, (statement, _target) in sides.items():
            rates[name].append(1.0 / seconds(statement))
    result = {name: {"median_s": 1.0 / median(rates, name), "target_s": sides[name][1]} for name in sides}
    bare = ratio(rates, "import numba", "import rlops")
    show(
        f"Fresh processes, median of {options.rounds}",
        ("statement", "s", "target s"),
        [(name, f"{one['median_s']:.2f}", str(one["target_s"] or "-")) for name, one in result.items()],
    )
    print(f"the first process, which compiles what is not on disk: {cold_s:.1f} s")
    write("startup", {"fresh_processes": result, "first_process_s": cold_s, "rlops_over_numba_import": bare})


if __name__ == "__main__":
    main()
