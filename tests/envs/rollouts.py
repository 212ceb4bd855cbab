"""Episodes driven by a fixed legal policy: which action a row takes depends on its seed and step only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

FIRM = 0.6
"""Vectors by chance lie in the upper part of their range: what cools a hall, so that its episodes last."""


def chosen(legal: np.ndarray | gym.spaces.Box, row_seed: int, step: int) -> Any:
    """Return an action drawn from (row seed, step): a legal number of a mask, or a vector of a box."""
    rng = np.random.default_rng([row_seed, step])
    if isinstance(legal, gym.spaces.Box):
        return (legal.high - (1 - FIRM) * (legal.high - legal.low) * rng.random(legal.shape)).astype(legal.dtype)
    numbers = np.flatnonzero(legal)
    return int(numbers[rng.integers(len(numbers))])


def options(env: Any, info: Mapping[str, Any]) -> Any:
    """Return what a face may do next, for :func:`chosen`: masks where it has any, its rows first; else its space."""
    if "action_mask" in info:
        return info["action_mask"]
    if isinstance(env, gym.vector.VectorEnv):
        return [env.single_action_space] * env.num_envs
    return env.action_space


def digest(*arrays: np.ndarray) -> str:
    """Return a hash of the bytes of ``arrays``."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def state_bytes(env) -> np.ndarray:
    """Return the state records of a face as ``(n, bytes)``."""
    state = env.unwrapped.state
    return np.ascontiguousarray(state).view(np.uint8).reshape(len(state), -1).copy()
