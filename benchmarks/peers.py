"""CartPole, stepped by the peers of rlops: steps per second at 1, 16, 256, 1024 and 4096 rows.

Run by ``make bench`` in its own environment, never as a test. Every peer gets the same random actions, made
beforehand; the rounds of all peers are interleaved and the median is reported, so that a disturbance of the
machine falls on all alike. The result is printed, and written to ``.cache/bench/peers.json``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS = (1, 16, 256, 1024, 4096)
ROUNDS = 5
ROUND_S = 0.4
ACTION_SETS = 16
RESULT = Path(__file__).resolve().parent.parent / ".cache" / "bench" / "peers.json"


def gymnasium_vector(rows: int) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """Return Gymnasium's own array CartPole and its step."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", num_envs=rows, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    return env, env.step


def gymnasium_sync(rows: int) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """Return Gymnasium's CartPole stepped one after another, and its step."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", num_envs=rows, vectorization_mode="sync")
    env.reset(seed=0)
    return env, env.step


def envpool(rows: int) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """Return EnvPool's CartPole in synchronous mode, and its step."""
    import envpool as peer

    env = peer.make("CartPole-v1", env_type="gymnasium", num_envs=rows, seed=0)
    env.reset()
    return env, env.step


def pufferlib(rows: int) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """Return PufferLib's C CartPole, which collects its log every 128 steps, and its step."""
    from pufferlib.ocean.cartpole.cartpole import Cartpole

    env = Cartpole(num_envs=rows, render_mode=None, report_interval=128, continuous=False, seed=1)
    env.reset(seed=1)
    return env, env.step


PEERS = {
    "gymnasium vector": gymnasium_vector,
    "gymnasium sync": gymnasium_sync,
    "EnvPool": envpool,
    "PufferLib C": pufferlib,
}


def main() -> None:
    """Measure every peer at every size, print the table and write it."""
    result: dict[str, Any] = {"machine": machine(), "round_s": ROUND_S, "rounds": ROUNDS, "steps_per_s": {}}
    for rows in ROWS:
        with made(rows) as steps:
            rates = measured(steps, rows)
        for peer, rate in rates.items():
            result["steps_per_s"].setdefault(peer, {})[str(rows)] = rate
        print(f"{rows:5d} rows  " + "  ".join(f"{peer} {rate / 1e6:.3f} M/s" for peer, rate in rates.items()))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


@contextlib.contextmanager
def made(rows: int) -> Iterator[dict[str, Callable[[np.ndarray], Any]]]:
    """Make every peer that is installed, and close them all at the end."""
    steps, open_envs = {}, []
    for name, make in PEERS.items():
        try:
            # On import PufferLib links a folder into the working directory, gym prints that it has retired.
            with contextlib.chdir(tempfile.gettempdir()), contextlib.redirect_stderr(io.StringIO()):
                env, step = make(rows)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        steps[name] = step
        open_envs.append(env)
    try:
        yield steps
    finally:
        for env in open_envs:
            env.close()


def measured(steps: dict[str, Callable[[np.ndarray], Any]], rows: int) -> dict[str, float]:
    """Return the median rate of each peer [environment steps/s] over interleaved rounds."""
    actions = list(np.random.default_rng(0).integers(0, 2, (ACTION_SETS, rows)).astype(np.int32))
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for name, step in steps.items():
        one_round(step, actions, ROUND_S / 4)
        rates[name].clear()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            rates[name].append(one_round(step, actions, ROUND_S) * rows)
    return {name: statistics.median(values) for name, values in rates.items()}


def one_round(step: Callable[[np.ndarray], Any], actions: list[np.ndarray], seconds: float) -> float:
    """Return calls of ``step`` per second over about ``seconds``."""
    calls = 0
    begin = time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        for action in actions:
            step(action)
        calls += len(actions)
    return calls / spent


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
