"""PPO of Stable-Baselines3 end to end on Dispatch-v0 and v1: frames per second, and the environment's share of it.

The same algorithm with the same hyperparameters trains once through ``rlops.wrappers.to_sb3`` over the vector face and
once through SB3's ``DummyVecEnv`` over the single face. One round of a side is one roll-out with its updates; the time
within ``env.step`` is the environment's share. PyTorch has one thread.

Run ``python -m benchmarks.ppo`` from the root of the repository; it needs the extra ``agents``.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.rounds import arguments, interleaved, median, per_second, ratio, show, write
from rlops.agents_baseline.train import OWN_SETTINGS, hyperparameters
from rlops.envs.faces import Env, VectorEnv
from rlops.wrappers import to_sb3

VERSIONS = (0, 1)
SETTINGS: dict[str, dict[str, Any]] = {
    "8 rows": {"num_envs": 8, "n_steps": 256, "batch_size": 256, "n_epochs": 10},
    "64 rows": {"num_envs": 64, "n_steps": 128, "batch_size": 2048, "n_epochs": 4},
    "64 rows, shipped": {},
}
"""Hyperparameters beside SB3's defaults; SB3's network has two layers of 64. Nothing: those that rlops ships."""
TARGET_SHARE = 0.03


def vector_face(version: int, rows: int) -> VecEnv:
    """Return the vector face for SB3, as ``rlops train`` makes it."""
    return to_sb3(VectorEnv("Dispatch", version, rows, autoreset_mode=AutoresetMode.SAME_STEP, copy=False))


def one_by_one(version: int, rows: int) -> VecEnv:
    """Return SB3's own vector of single environments."""

    def make() -> Any:
        return Monitor(Env("Dispatch", version))

    return DummyVecEnv([make] * rows)


@dataclass
class Training:
    """One side: a model, and the time that its environment has taken so far."""

    model: PPO
    env_s: float = 0.0
    shares: tuple[float, ...] = ()

    def rollouts(self, seconds: float) -> float:
        """Train for about ``seconds``, at least one roll-out with its updates, and return frames per second."""
        size = self.model.n_envs * self.model.n_steps
        frames, before, begin = 0, self.env_s, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds or frames == 0:
            self.model.learn(size, reset_num_timesteps=False)
            frames += size
        self.shares = (*self.shares, (self.env_s - before) / spent)
        return frames / spent

    def timed(self, step: Callable[[Any], Any], actions: Any) -> Any:
        """Step and take the time."""
        begin = time.perf_counter()
        result = step(actions)
        self.env_s += time.perf_counter() - begin
        return result


def shipped(version: int) -> dict[str, Any]:
    """Return the shipped hyperparameters of PPO that SB3 knows, but for the rate, which does not matter for speed."""
    settings = hyperparameters(f"rlops/Dispatch-v{version}", "ppo")
    left_out = {*OWN_SETTINGS, "learning_rate"} - {"num_envs"}
    return {name: value for name, value in settings.items() if name not in left_out}


def training(env: VecEnv, settings: dict[str, Any]) -> Training:
    """Return PPO on ``env`` with SB3's other defaults."""
    own = {name: value for name, value in settings.items() if name != "num_envs"}
    made = Training(PPO("MlpPolicy", env, device="cpu", seed=0, **own))
    env.step = functools.partial(made.timed, env.step)  # type: ignore[method-assign]
    return made


def main() -> None:
    """Measure, print and write."""
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    rows = []
    for version in VERSIONS:
        for name, chosen in SETTINGS.items():
            settings = chosen or shipped(version)
            trainings = {
                "vector face": training(vector_face(version, settings["num_envs"]), settings),
                "DummyVecEnv": training(one_by_one(version, settings["num_envs"]), settings),
            }
            rates = interleaved(
                {side: one.rollouts for side, one in trainings.items()}, options.rounds, options.seconds
            )
            share = {side: statistics.median(one.shares[1:]) for side, one in trainings.items()}
            gain = ratio(rates, "vector face", "DummyVecEnv")
            fps = {side: median(rates, side) for side in rates}
            result[f"v{version}, {name}"] = {"settings": settings, "fps": fps, "gain": gain, "env_share": share}
            rows.append(
                (
                    f"v{version}, {name}",
                    *(per_second(value) for value in fps.values()),
                    f"{gain:.2f}x",
                    *(f"{100 * value:.1f} %" for value in share.values()),
                )
            )
    show(
        f"PPO, frames/s and the environment's share of the time (target through the vector face < {TARGET_SHARE:.0%})",
        ("Dispatch", "vector face", "DummyVecEnv", "gain", "share, vector face", "share, DummyVecEnv"),
        rows,
    )
    write("ppo", {"runs": result})


if __name__ == "__main__":
    main()
