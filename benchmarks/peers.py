"""The peers of rlops on CartPole: what :mod:`benchmarks.faces` measures our faces against.

Each function makes ``rows`` environments and returns them with their step, which takes ``(rows,)`` int32 actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


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
