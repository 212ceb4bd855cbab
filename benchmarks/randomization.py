"""What randomizing every parameter costs: Dispatch and DatacenterCooling-v1 with all parameters drawn, against none.

To every parameter a number drawn between 0 and 0 is added, so that both sides live through the same days and differ by
the draws only. Both take whole days from the same spread of states, resets included.

Run ``python -m benchmarks.randomization`` from the root of the repository.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.dispatch import sampled_days, timed
from benchmarks.rounds import arguments, interleaved, median, per_second, ratio, show, write
from rlops.envs import parse_id
from rlops.envs.contract import width
from rlops.envs.faces import VectorEnv
from rlops.randomization import randomize

ROWS = 1024
VERSIONS = (0, 1, 2)
DAY_MIN = 1440
STEADY = [0.25] * 4 + [0.6] * 4 + [-0.3, 0.0]
"""A vector that cools the hall of v1 through a day."""
SCATTER = 0.3
"""By which actions scatter around it."""


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


def hall(randomized: bool) -> Callable[[float], float]:
    """Return the vector face of DatacenterCooling-v1 as a side: days, each row at another minute of its own."""
    env = VectorEnv("DatacenterCooling", 1, ROWS, threads=1, copy=False, params={"horizon_min": DAY_MIN})
    actions = STEADY + SCATTER * (np.random.default_rng(0).random((ROWS, width(env.kernel.ACTION))) - 0.5)
    saved = _spread_days(env, actions)
    if randomized:
        randomize(env, spec(env))
    env.reset(seed=0)

    def rate(seconds: float) -> float:
        env.load_state(saved)
        spent, calls = 0.0, 0
        while spent < seconds:
            begin = time.perf_counter()
            env.step(actions)
            spent += time.perf_counter() - begin
            calls += 1
        return calls * ROWS / spent

    return rate


def _spread_days(env: VectorEnv, actions: np.ndarray) -> np.ndarray:
    """Return a saved row of ``env`` for each row, at equal distances through a day."""
    env.reset(seed=0)
    saved = env.save_state()
    wanted = np.arange(ROWS) * DAY_MIN // ROWS
    for minute in range(DAY_MIN):
        rows = np.flatnonzero(wanted == minute)
        if len(rows):
            saved[rows] = env.save_state(rows)
        env.step(actions)
    return saved


def main() -> None:
    """Measure, print and write."""
    options = arguments(__doc__ or "")
    days = {version: sampled_days(version) for version in VERSIONS}
    made = {f"Dispatch-v{v}": partial(side, v, days[v]) for v in VERSIONS} | {"DatacenterCooling-v1": hall}
    result, rows = {}, []
    for name, make in made.items():
        rates = interleaved({"nominal": make(False), "randomized": make(True)}, options.rounds, options.seconds)
        cost = 1.0 - ratio(rates, "randomized", "nominal")
        result[name] = {"steps_per_s": {how: median(rates, how) for how in rates}, "cost": cost}
        family, number = parse_id(f"rlops/{name}")
        shown = [per_second(median(rates, how)) for how in rates]
        rows.append((name, str(len(family.kernel(number).PARAMETERS)), *shown, f"{100 * cost:.1f} %"))
    columns = ("environment", "parameters", "nominal", "randomized", "cost")
    show(f"{ROWS} rows, one thread, environment steps/s (target: cost at most 3 %)", columns, rows)
    write("randomization", result)


if __name__ == "__main__":
    main()
