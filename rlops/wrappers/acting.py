"""What a real actuator does to an action: delay, drop-out, dead-band, slew limit."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from rlops.errors import InvalidAction, InvalidValue
from rlops.wrappers import loops
from rlops.wrappers.rows import Rows, Stage, row_count, row_spaces, staged
from rlops.wrappers.settings import delay_range, float_box, per_column, streams

AnyEnv = TypeVar("AnyEnv")


def actuators(
    env: AnyEnv,
    *,
    delay_steps: int | tuple[int, int] = 0,
    slew: ArrayLike = math.inf,
    dead_band: ArrayLike = 0.0,
    dropout: float = 0.0,
    rest: ArrayLike | None = None,
    stream: int = 0,
) -> AnyEnv:
    """Return ``env`` acted on through imperfect actuators.

    In the order in which it happens, an action arrives ``delay_steps`` late; it may be lost as a whole, and then what
    was applied last is applied again; components within the dead-band become 0; and what is applied follows no faster
    than the slew limit. An episode begins with ``rest`` applied, which also stands for the actions that were under way
    before it.

    An action mask speaks of the present state: an action that was legal when it was chosen may no longer be so when it
    arrives.

    Args:
        env: A single or vector environment whose actions are a Box of one axis of float32 or float64, or Discrete.
        delay_steps: Delay [steps], or a pair (low, high) from which each episode draws one.
        slew: Largest change of what is applied in a step [unit of the column], above 0; one number, or one for each
            column. Box only.
        dead_band: Components smaller than this, in either direction, are 0 [unit of the column]; one number, or one for
            each column. Box only.
        dropout: Probability that the action of a step is lost [-].
        rest: The action before any has arrived. For a Box it may be one number for all columns;
            by default 0, or the bound next to it.
        stream: Number that tells this wrapper's draws from those of another ``actuators`` around the same environment.

    Raises:
        InvalidValue: If the actions are of another kind, or a setting is out of its range.
    """
    arguments = dict(delay_steps=delay_steps, slew=slew, dead_band=dead_band, dropout=dropout, rest=rest, stream=stream)
    space = row_spaces(env)[1]
    discrete = isinstance(space, gym.spaces.Discrete)
    table = _of_discrete(space, slew, dead_band, rest) if discrete else _of_box(space, slew, dead_band, rest)
    lost = per_column("actuators", "dropout", dropout, 1, most=1.0).item()
    stage = Actuators(space, row_count(env), table, delay_range("actuators", delay_steps), lost, stream)
    wrapped: AnyEnv = staged(env, stage, actuators, arguments)
    return wrapped


def _of_discrete(space: gym.Space[Any], slew: ArrayLike, dead_band: ArrayLike, rest: ArrayLike | None) -> np.ndarray:
    """Return the one actuator of a Discrete action."""
    if np.any(np.asarray(slew) != math.inf) or np.any(np.asarray(dead_band) != 0):
        raise InvalidValue(
            f"actuators: a Discrete action can be delayed and lost only, got slew={slew!r}, dead_band={dead_band!r}. "
            "Leave them out."
        )
    if rest is None or not space.contains(rest):
        raise InvalidValue(
            f"actuators: a Discrete action needs rest=, the action before any has arrived, in {space}, got {rest!r}."
        )
    table = np.zeros(1, loops.ACTUATOR)
    table["rest"], table["slew"] = rest, math.inf
    return table


def _of_box(space: gym.Space[Any], slew: ArrayLike, dead_band: ArrayLike, rest: ArrayLike | None) -> np.ndarray:
    """Return the actuators of the columns of a Box."""
    box = float_box("actuators", "action", space, "Or it must be Discrete.")
    table = np.zeros(box.shape[0], loops.ACTUATOR)
    table["slew"] = per_column("actuators", "slew", slew, len(table), most=math.inf)
    table["dead_band"] = per_column("actuators", "dead_band", dead_band, len(table))
    if not (table["slew"] > 0).all():
        raise InvalidValue(f"actuators: slew must be above 0, got {slew!r}: nothing would ever move.")
    outside = (table["dead_band"] > 0) & ((box.low > 0) | (box.high < 0))
    if outside.any():
        raise InvalidValue(
            f"actuators: a column with a dead_band must have 0 within its bounds, but column {outside.argmax()} is "
            f"within {box.low[outside][0]:g} … {box.high[outside][0]:g}. Give it a dead_band of 0."
        )
    resting = np.clip(0.0, box.low, box.high) if rest is None else np.asarray(rest)
    fits = resting.dtype.kind in "iuf" and resting.shape in ((), box.shape)
    if not fits or not box.contains(np.broadcast_to(resting, box.shape).astype(box.dtype)):
        raise InvalidValue(f"actuators: rest must be an action in {box}, got {rest!r}.")
    table["rest"] = resting
    return table


class Actuators(Stage):
    """The actuators of all rows; made by :func:`actuators`."""

    acts = True

    def __init__(
        self, space: gym.Space[Any], rows: int, table: np.ndarray, delay: tuple[int, int], dropout: float, stream: int
    ):
        self._dtype, self._table, self._delay, self._dropout = space.dtype, table, delay, dropout
        self._shape = (rows, *(space.shape or ()))
        self._kinds = "iu" if space.shape == () else "iuf"
        self._streams = streams("actuators", 5, stream)
        self._history = np.zeros((rows, delay[1] + 1, len(table)))
        self._delays = np.zeros(rows, np.int64)
        self._applied = np.zeros((rows, len(table)))

    def act(self, actions: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return what the actuators apply, ``(n, ...)``; to rows that do not move what it was last.

        Raises:
            InvalidAction: If the actions have another shape or are no numbers.
        """
        if actions.shape != self._shape or actions.dtype.kind not in self._kinds:
            raise InvalidAction(
                f"actuators: an action must be {'a whole number' if self._kinds == 'iu' else 'numbers'} of shape "
                f"{self._shape[1:]}, got {actions.dtype} of shape {actions.shape[1:]}."
            )
        loops.actuate(
            which, rows.seeds, rows.numbers, rows.steps, self._table, self._streams, self._dropout, *self._delay,
            actions.reshape(len(which), -1).astype(np.float64), self._history, self._delays, self._applied,
        )  # fmt: skip
        return self._applied.reshape(self._shape).astype(self._dtype)
