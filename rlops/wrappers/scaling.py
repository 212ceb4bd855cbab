"""Observations and actions scaled to [-1, 1] by their bounds, which never change.

The affine map is that of Gymnasium's ``RescaleObservation`` and ``RescaleAction``. Those wrappers themselves refuse
vector environments with SAME_STEP autoreset, take the rows one by one, cannot be pickled, and let rounding carry a
value just out of its bounds.
"""

from __future__ import annotations

from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.wrappers.utils import rescale_box

from rlops.errors import InvalidValue
from rlops.wrappers.rows import Rows, Stage, StagedEnv, StagedVectorEnv, row_spaces, staged
from rlops.wrappers.settings import float_box

AnyEnv = TypeVar("AnyEnv")


def scaled(env: AnyEnv, observations: bool = True, actions: bool = True) -> AnyEnv:
    """Return ``env`` with observations and actions scaled to [-1, 1] by the bounds of their spaces.

    A value that is outside of its bounds stays outside.

    Args:
        env: A single or vector environment; what is scaled must be a Box of one axis of float32 or float64.
        observations: Whether observations are scaled; :func:`unscaled` shows them in their own units.
        actions: Whether actions are.

    Raises:
        InvalidValue: If a space is of another kind, or a column has no finite bounds apart from each other.
    """
    of_observations, of_actions = row_spaces(env)
    stage = Scaling(
        _Scale(_bounded("observation", of_observations)) if observations else None,
        _Scale(_bounded("action", of_actions)) if actions else None,
    )
    wrapped: AnyEnv = staged(env, stage, scaled, {"observations": observations, "actions": actions})
    return wrapped


def unscaled(env: Any, obs: np.ndarray) -> np.ndarray:
    """Return observations of ``env`` in their own units.

    Args:
        env: An environment that :func:`scaled` made, also with other wrappers around it.
        obs: Scaled observations, ``(..., k)``.

    Raises:
        InvalidValue: If no observations are scaled in ``env``, or they have another number of columns.
    """
    scale = _scale_in(env)
    columns = scale.own.shape[0]
    if np.shape(obs)[-1:] != (columns,):
        raise InvalidValue(f"unscaled: obs must have {columns} columns on its last axis, got shape {np.shape(obs)}.")
    return scale.back(np.asarray(obs))


def _scale_in(env: Any) -> _Scale:
    """Return the scale of the outermost wrapper of ``env`` that scales observations."""
    while isinstance(env, (gym.Wrapper, gym.vector.VectorWrapper)):
        if isinstance(env, (StagedEnv, StagedVectorEnv)) and isinstance(env.stage, Scaling) and env.stage.observations:
            return env.stage.observations
        env = env.env
    raise InvalidValue(f"unscaled needs an environment with scaled observations, got {env}. Make it by scaled(env).")


def _bounded(what: str, space: gym.Space[Any]) -> gym.spaces.Box:
    """Return the Box ``space``, whose columns must all have an extent."""
    other = f"Pass {what}s=False to leave it as it is."
    box = float_box("scaled", what, space, other)
    wrong = np.flatnonzero(~(np.isfinite(box.low) & np.isfinite(box.high) & (box.low < box.high)))
    if len(wrong):
        listed = ", ".join(f"{column} ({box.low[column]:g} … {box.high[column]:g})" for column in wrong[:8])
        more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise InvalidValue(
            f"scaled: every column of the {what} space must have finite bounds, the lower below the upper, got "
            f"column {listed}{more}. {other}"
        )
    return box


class _Scale:
    """The affine map between a Box and [-1, 1]."""

    def __init__(self, own: gym.spaces.Box):
        one = own.dtype.type(1)
        self.own = own
        self.unit, self._forward, self._back = rescale_box(own, -one, one)
        self._rounding = 4 * np.spacing(one) * np.maximum(np.abs(own.low), np.abs(own.high))
        self._unit_rounding = self._rounding / ((own.high - own.low) / 2)

    def __reduce__(self) -> tuple[type[_Scale], tuple[gym.spaces.Box]]:
        return _Scale, (self.own,)  # Gymnasium's maps are closures

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return values ``(..., k)`` of the Box scaled to [-1, 1]."""
        return _settled(self._forward(values), self.unit, self._unit_rounding)

    def back(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values ``(..., k)`` in the units of the Box."""
        return _settled(self._back(values), self.own, self._rounding)


def _settled(values: np.ndarray, box: gym.spaces.Box, rounding: np.ndarray) -> np.ndarray:
    """Return ``values`` with those that only ``rounding`` has carried out of the ``box`` at its bound."""
    nearest = np.clip(values, box.low, box.high)
    settled: np.ndarray = np.where(np.abs(values - nearest) <= rounding, nearest, values).astype(box.dtype)
    return settled


class Scaling(Stage):
    """Scaled observations, actions or both; made by :func:`scaled`."""

    def __init__(self, observations: _Scale | None, actions: _Scale | None):
        self.observations, self._actions = observations, actions
        self.observes, self.acts = observations is not None, actions is not None

    def observation_space(self) -> gym.Space[Any] | None:
        """Return -1 … 1 for every column, where observations are scaled."""
        return self.observations.unit if self.observations else None

    def action_space(self) -> gym.Space[Any] | None:
        """Return -1 … 1 for every column, where actions are scaled."""
        return self._actions.unit if self._actions else None

    def observe(self, obs: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return scaled observations, ``(n, k)``."""
        assert self.observations
        return self.observations.forward(obs)

    def act(self, actions: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return actions in the units of the environment, ``(n, d)``."""
        assert self._actions
        return self._actions.back(actions)
