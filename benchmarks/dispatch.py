"""Dispatch here against Gymnasium's SyncVectorEnv and AsyncVectorEnv over the same single environment.

Environment steps per second of v0, v1 and v2 by rows; the gain of a second thread at 1,024 rows; and how the cost of
a step of v2 grows with the fleet and with open bookings.

Every side takes random legal actions from the same compiled picker, which is not timed. Every round begins from the
same rows: states spread evenly over days that the same policy has lived, so no side measures only quiet mornings.

Run ``python -m benchmarks.dispatch`` from the root of the repository.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.picker import pick
from benchmarks.rounds import Rates, arguments, interleaved, median, per_second, ratio, show, write
from rlops.envs.batch import Batch
from rlops.envs.dispatch import DISPATCH
from rlops.envs.faces import Env, VectorEnv
from rlops.envs.loops import STEP_OR_RESET

VERSIONS = (0, 1, 2)
ROWS = (1, 16, 64, 1024, 4096)
SYNC_ROWS, ASYNC_ROWS = 1024, 16
"""Largest number of rows at which a peer is measured: one step of more takes seconds, or a process a row."""
SAMPLED = 64
"""Rows whose days the starting states are taken from."""
KERNEL_STEPS = 64
"""Steps in a row that the kernel takes without anybody choosing between them."""
FLEETS, DEMANDS = (5, 8, 12, 16), (100, 184, 280)
V2_ROWS = 256

Actions = Callable[[np.ndarray, int, np.ndarray], None]


def sampled_days(version: int, params: dict[str, Any] | None = None, choose: Actions = pick) -> np.ndarray:
    """Return ``SAMPLED`` saved rows, each at another share of a day lived under ``choose``."""
    env = VectorEnv("Dispatch", version, SAMPLED, params=params, copy=False, threads=1)
    actions = np.zeros(SAMPLED, np.int64)
    length = np.zeros(SAMPLED, np.int64)
    saved = env.save_state()
    for second_time in (False, True):
        _, infos = env.reset(seed=0)
        wanted = (length * (np.arange(SAMPLED) + 0.5) / SAMPLED).astype(np.int64)
        running = np.ones(SAMPLED, np.bool_)
        for number in itertools.count():
            for row in np.flatnonzero(wanted == number) if second_time else ():
                saved[row] = env.save_state([int(row)])[0]
            choose(infos["action_mask"], number, actions)
            _, _, terminated, truncated, infos = env.step(actions)
            running &= ~(terminated | truncated)
            if not second_time:
                length += running
            if not running.any() or (second_time and number > wanted.max()):
                break
    return saved


def timed(
    step: Callable[[np.ndarray], Any], start: Callable[[], np.ndarray], rows: int, choose: Actions = pick
) -> Callable[[float], float]:
    """Return a side: begin from ``start``, which returns the masks, and step; only ``step`` is timed."""
    actions, numbers = np.zeros(rows, np.int64), itertools.count()

    def rate(seconds: float) -> float:
        mask, spent, calls = start(), 0.0, 0
        while spent < seconds:
            choose(mask, next(numbers), actions)
            begin = time.perf_counter()
            infos = step(actions)[4]
            spent += time.perf_counter() - begin
            mask = infos["action_mask"]
            calls += 1
        return calls * rows / spent

    return rate


def vector_side(
    version: int, rows: int, saved: np.ndarray, threads: int | None = 1, **kwargs: Any
) -> Callable[[float], float]:
    """Return the vector face as a side."""
    choose = kwargs.pop("choose", pick)
    env = VectorEnv("Dispatch", version, rows, threads=threads, **kwargs)
    env.reset(seed=0)

    def start() -> np.ndarray:
        env.load_state(np.resize(saved, rows))
        return env.action_masks().astype(np.int8)

    return timed(env.step, start, rows, choose)


def sync_side(version: int, rows: int, saved: np.ndarray) -> Callable[[float], float]:
    """Return Gymnasium's SyncVectorEnv over the single face as a side."""
    env = gym.vector.SyncVectorEnv([functools.partial(Env, "Dispatch", version)] * rows)
    env.reset(seed=0)

    def start() -> np.ndarray:
        for row, one in enumerate(env.envs):
            one.unwrapped.load_state(saved[[row % SAMPLED]])
        return np.stack(env.call("action_masks")).astype(np.int8)

    return timed(env.step, start, rows)


def async_side(version: int, rows: int, saved: np.ndarray) -> tuple[Any, Callable[[float], float]]:
    """Return Gymnasium's AsyncVectorEnv over the single face, and it as a side.

    All its rows begin a round from one state, another one in every round: its ``call`` gives all workers the same.
    """
    env = gym.vector.AsyncVectorEnv([functools.partial(Env, "Dispatch", version)] * rows)
    env.reset(seed=0)
    turns = itertools.count(SAMPLED // 2, SAMPLED // 3)

    def start() -> np.ndarray:
        env.call("load_state", saved[[next(turns) % SAMPLED]])
        return np.stack(env.call("action_masks")).astype(np.int8)

    return env, timed(env.step, start, rows)


def measured_version(version: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure one version at all sizes."""
    saved, result = sampled_days(version), {}
    for rows in ROWS:
        sides = {"one thread": vector_side(version, rows, saved), "default": vector_side(version, rows, saved, None)}
        workers = None
        if rows <= SYNC_ROWS:
            sides["Sync"] = sync_side(version, rows, saved)
        if rows <= ASYNC_ROWS:
            workers, sides["Async"] = async_side(version, rows, saved)
        rates = interleaved(sides, rounds, seconds)
        if workers is not None:
            workers.close()
        result[str(rows)] = {
            "steps_per_s": {name: median(rates, name) for name in rates},
            "ratios": {name: ratio(rates, "default", name) for name in rates},
        }
    return result


def kernel_side(version: int, rows: int, saved: np.ndarray, threads: int) -> Callable[[float], float]:
    """Return the kernel past the face as a side: the same legal steps again and again, from the same states."""
    batch, steps = (
        Batch(DISPATCH, version, rows, threads=threads),
        [np.zeros(rows, np.int64) for _ in range(KERNEL_STEPS)],
    )
    batch.seed(np.arange(rows), list(range(rows)))
    batch.reset()
    batch.load(np.resize(saved, rows))
    begin = batch.save()
    for number, one in enumerate(steps):
        pick(batch.out.mask, number, one)
        batch._step(batch.out.address, id(one), STEP_OR_RESET)

    def rate(seconds: float) -> float:
        spent, calls = 0.0, 0
        while spent < seconds:
            batch.load(begin)
            start = time.perf_counter()
            for one in steps:
                batch._step(batch.out.address, id(one), STEP_OR_RESET)
            spent += time.perf_counter() - start
            calls += len(steps)
        return calls * rows / spent

    return rate


def apart_side(version: int, rows: int, saved: np.ndarray) -> Callable[[float], float]:
    """Return the kernel on two threads that never wait for each other: what a second core is worth here."""
    halves = [kernel_side(version, rows // 2, saved, threads=1) for _ in range(2)]
    pool = ThreadPoolExecutor(len(halves))

    def rate(seconds: float) -> float:
        return sum(pool.map(lambda side: side(seconds), halves))

    return rate


def measured_threads(version: int, rounds: int, seconds: float, rows: int = 1024) -> dict[str, dict[str, Any]]:
    """Measure one and two threads: of the kernel alone, and of the face with somebody who chooses between its steps."""
    saved, found = sampled_days(version), {}
    for name, side in (("kernel", kernel_side), ("face", functools.partial(vector_side, copy=False))):
        sides = {str(n): side(version, rows, saved, threads=n) for n in (1, 2)}
        sides |= {"apart": apart_side(version, rows, saved)} if name == "kernel" else {}
        rates = interleaved(sides, rounds, seconds)
        found[name] = {"steps_per_s": {n: median(rates, n) for n in rates}}
        found[name]["gain"] = {n: ratio(rates, n, "1") for n in rates if n != "1"}
    return found


def waiting(mask: np.ndarray, number: int, actions: np.ndarray) -> None:
    """Let time pass in every row: bookings stay open until they expire."""
    actions[:] = mask.shape[1] - 1


def measured_growth(rounds: int, seconds: float) -> dict[str, Any]:
    """Measure v2 at ``V2_ROWS`` rows, one thread, by vehicles and by bookings a day, served and left open."""
    sides, open_slots = {}, {}
    for policy, choose in (("random legal", pick), ("nobody assigns", waiting)):
        for vehicles, demand in [(n, 184) for n in FLEETS] + [(8, n) for n in DEMANDS if n != 184]:
            params = {"n_vehicles": vehicles, "demand_per_day": demand}
            name = f"{vehicles} vehicles, {demand} bookings, {policy}"
            saved = sampled_days(2, params, choose)
            open_slots[name] = float(np.minimum(saved["state"]["n_open"], 16).mean())
            sides[name] = vector_side(2, V2_ROWS, saved, params=params, copy=False, choose=choose)
    rates: Rates = interleaved(sides, rounds, seconds)
    return {
        name: {
            "steps_per_s": median(rates, name),
            "us_per_step": 1e6 / median(rates, name),
            "filled_slots": open_slots[name],
        }
        for name in rates
    }


def main() -> None:
    """Measure, print and write."""
    options = arguments(__doc__ or "")
    versions = {f"v{v}": measured_version(v, options.rounds, options.seconds) for v in VERSIONS}
    ours, peers = ("one thread", "default"), ("Sync", "Async")
    show(
        "Dispatch, environment steps/s, random legal actions; default: the face's own choice of threads "
        "(targets at 1024 rows: v0, v1 ≥ 50 x Sync)",
        ("version and rows", *ours, *peers, *(f"default over {peer}" for peer in peers)),
        [
            (
                f"{version} {rows}",
                *(per_second(one["steps_per_s"][s]) if s in one["steps_per_s"] else "-" for s in (*ours, *peers)),
                *(f"{one['ratios'][s]:.1f}x" if s in one["ratios"] else "-" for s in peers),
            )
            for version, sizes in versions.items()
            for rows, one in sizes.items()
        ],
    )
    threads = {f"v{v}": measured_threads(v, options.rounds, options.seconds) for v in VERSIONS}
    show(
        f"1024 rows, {os.cpu_count()} cores (target of v1's kernel ≥ 1.7x); apart: two threads that never wait",
        ("version", "1 thread", "2 threads", "gain", "apart"),
        [
            (
                f"{v} {name}",
                *(per_second(one["steps_per_s"][n]) for n in ("1", "2")),
                *(f"{one['gain'][n]:.2f}x" if n in one["gain"] else "-" for n in ("2", "apart")),
            )
            for v, both in threads.items()
            for name, one in both.items()
        ],
    )
    growth = measured_growth(options.rounds, options.seconds)
    show(
        f"v2, {V2_ROWS} rows, one thread (target ≥ 30 k steps/s)",
        ("fleet, demand, policy", "steps/s", "us a step", "filled slots"),
        [
            (name, per_second(one["steps_per_s"]), f"{one['us_per_step']:.1f}", f"{one['filled_slots']:.1f}")
            for name, one in growth.items()
        ],
    )
    write("dispatch", {"versions": versions, "threads_1024": threads, "v2_growth": growth})


if __name__ == "__main__":
    main()
