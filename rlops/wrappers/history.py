"""The last observations side by side."""

from __future__ import annotations

from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from rlops.errors import InvalidValue
from rlops.wrappers.rows import Rows, Stage, row_count, row_spaces, staged
from rlops.wrappers.settings import float_box

AnyEnv = TypeVar("AnyEnv")


def frames(env: AnyEnv, n: int) -> AnyEnv:
    """Return ``env`` observed as its last ``n`` observations side by side, ``(n * k,)``, the oldest first.

    In the first steps of an episode its first observation stands for those before it. A single environment observes
    what Gymnasium's ``FrameStackObservation`` and ``FlattenObservation`` show; those have no vector version, and
    cannot be pickled.

    Args:
        env: A single or vector environment whose observations are a Box of one axis of float32 or float64.
        n: How many, at least 1.

    Raises:
        InvalidValue: If the observations are of another kind, or ``n`` is not a whole number of at least 1.
    """
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise InvalidValue(f"frames: n must be a whole number of at least 1, got {n!r}.")
    space = float_box("frames", "observation", row_spaces(env)[0], "FlattenObservation of gymnasium may make one.")
    wrapped: AnyEnv = staged(env, Frames(space, row_count(env), int(n)), frames, {"n": n})
    return wrapped


class Frames(Stage):
    """The last observations of all rows; made by :func:`frames`."""

    observes = True

    def __init__(self, space: gym.spaces.Box, rows: int, n: int):
        self._space = gym.spaces.Box(np.tile(space.low, n), np.tile(space.high, n), dtype=space.dtype.type)
        self._last = np.zeros((rows, n, *space.shape), space.dtype)

    def observation_space(self) -> gym.Space[Any]:
        """Return the bounds of one observation, ``n`` times."""
        return self._space

    def observe(self, obs: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return the last observations side by side, ``(rows, n * k)``."""
        shown = np.concatenate((self._last[:, 1:], obs[:, None]), axis=1, dtype=self._last.dtype)
        began = which & (rows.steps == 0)
        shown[began] = obs[began, None]
        shown[~which] = self._last[~which]
        self._last = shown
        return shown.reshape(len(shown), -1).copy()
