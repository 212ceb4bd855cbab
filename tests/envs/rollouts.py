"""Episodes driven by a fixed legal policy: which action a row takes depends on its seed and step only."""

from __future__ import annotations

import hashlib

import numpy as np


def chosen(mask: np.ndarray, row_seed: int, step: int) -> int:
    """Return a legal action drawn from (row seed, step)."""
    legal = np.flatnonzero(mask)
    return int(legal[np.random.default_rng([row_seed, step]).integers(len(legal))])


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
