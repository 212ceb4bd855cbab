"""What randomizing every parameter costs: Dispatch-v2 with all parameters drawn, against none.

To every parameter a number drawn between 0 and 0 is added, so that both sides live through the same days and differ by
the draws only. Both take whole days from the same spread of states, resets included.

Run ``python -m benchmarks.randomization`` from the root of the repository.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.dispatch import sampled_days, timed
from benchmarks.rounds import arguments, interleaved, median, per_second, ratio, show, write
from rlops.envs.dispatch import DISPATCH
from rlops.envs.faces import VectorEnv
from rlops.randomization import randomize

ROWS = 1024
VERSIONS = (0, 1, 2)


def spec(env: VectorEnv) -> dict[str, object]:
    """Return a specification that draws every parameter and changes none."""
    unchanged = {"op": "add", "dist": "uniform", "low": 0, "high": 0}
    first = {"dist": "choice", "values": [0]}
    terms = {p.name: first if p.choices else unchanged for p in env.kernel.PARAMETERS}
    return {"env": f"rlops/{env.family.name}-v{env.version}", "params": terms}


def side(version: int, saved: np.ndarray, randomized: bool) -> Callable[[float], float]:
    """Return the vector face as a side."""
    env = VectorEnv("Dispatch", version, ROWS, threads=1, copy=False)
    if randomized:
        randomize(env, spec(env))
    env.reset(seed=0)

    def start() -> np.ndarray:
        env.load_state(np.resize(saved, ROWS))
        return env.action_masks().astype(np.int8)

    return timed(env.step, start, ROWS)


def main() -> None:
    """Measure, print and write."""
    options = arguments(__doc__ or "")
    result, rows = {}, []
    for version in VERSIONS:
        saved = sampled_days(version)
        sides = {name: side(version, saved, name == "randomized") for name in ("nominal", "randomized")}
        rates = interleaved(sides, options.rounds, options.seconds)
        cost = 1.0 - ratio(rates, "randomized", "nominal")
        result[f"v{version}"] = {"steps_per_s": {name: median(rates, name) for name in rates}, "cost": cost}
        shown = [per_second(median(rates, name)) for name in rates]
        rows.append((f"v{version}", str(len(DISPATCH.kernel(version).PARAMETERS)), *shown, f"{100 * cost:.1f} %"))
    columns = ("version", "parameters", "nominal", "randomized", "cost")
    show(f"Dispatch, {ROWS} rows, one thread, environment steps/s (target: cost at most 3 %)", columns, rows)
    write("randomization", result)


if __name__ == "__main__":
    main()
