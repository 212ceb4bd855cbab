"""What a real sensor does to an observation: delay, bias, drift, noise, rounding, drop-out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from rlops.errors import InvalidValue
from rlops.wrappers import loops
from rlops.wrappers.rows import Rows, Stage, row_count, row_spaces, staged
from rlops.wrappers.settings import delay_range, float_box, per_column, streams

AnyEnv = TypeVar("AnyEnv")


def sensors(
    env: AnyEnv,
    *,
    noise_sd: ArrayLike = 0.0,
    bias_sd: ArrayLike = 0.0,
    drift_sd: ArrayLike = 0.0,
    quantum: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    delay_steps: int | tuple[int, int] = 0,
    columns: Sequence[int] | None = None,
    stream: int = 0,
) -> AnyEnv:
    """Return ``env`` observed through imperfect sensors.

    In the order in which a sensor does it, a column shows what was true ``delay_steps`` ago; bias, drift and noise are
    added; the sum is rounded; it saturates at the bounds of the observation space, which therefore stays as it is; and
    it may be lost on its way, and then the value that was delivered last is shown again.

    Before ``delay_steps`` have passed, the first observation of the episode is shown, and that one is never lost.
    Every draw depends on the seed of ``reset``, the episode, the step and the column only: not on the actions, and not
    on what other columns or rows do.

    Args:
        env: A single or vector environment whose observations are a Box of one axis of float32 or float64.
        noise_sd: Standard deviation of white noise, a normal draw a step [unit of the column].
        bias_sd: Standard deviation of the bias, a normal draw an episode [unit of the column].
        drift_sd: Standard deviation of the change of the drift in a step, a random walk from 0 [unit of the column].
        quantum: Observations are rounded to multiples of it [unit of the column]; 0: not rounded.
        dropout: Probability that a value is lost in a step [-], each column for itself.
        delay_steps: Delay of all columns [steps], or a pair (low, high) from which each episode draws one.
        columns: Indices of the columns that have these sensors; by default all. Settings are one number, or one for
            each of these columns.
        stream: Number that tells this wrapper's draws from those of another ``sensors`` around the same environment.

    Raises:
        InvalidValue: If the observations are of another kind, or a setting is out of its range.
    """
    arguments = dict(
        noise_sd=noise_sd, bias_sd=bias_sd, drift_sd=drift_sd, quantum=quantum, dropout=dropout,
        delay_steps=delay_steps, columns=columns, stream=stream,
    )  # fmt: skip
    space = float_box("sensors", "observation", row_spaces(env)[0], "FlattenObservation of gymnasium may make one.")
    chosen = _chosen(columns, space.shape[0])
    table = np.zeros(len(chosen), loops.SENSOR)
    table["column"], table["low"], table["high"] = chosen, space.low[chosen], space.high[chosen]
    magnitudes = {"noise_sd": noise_sd, "bias_sd": bias_sd, "drift_sd": drift_sd, "quantum": quantum}
    for name, value in magnitudes.items():
        table[name] = per_column("sensors", name, value, len(chosen))
    table["dropout"] = per_column("sensors", "dropout", dropout, len(chosen), most=1.0)
    stage = Sensors(space, row_count(env), table, delay_range("sensors", delay_steps), stream)
    wrapped: AnyEnv = staged(env, stage, sensors, arguments)
    return wrapped


def _chosen(columns: Sequence[int] | None, count: int) -> np.ndarray:
    """Return the indices ``columns`` of an observation of ``count`` columns, all if None."""
    chosen = np.arange(count) if columns is None else np.array(columns)
    whole = chosen.ndim == 1 and chosen.dtype.kind in "iu" and len(chosen) > 0
    if not whole or chosen.min() < 0 or chosen.max() >= count or len(np.unique(chosen)) < len(chosen):
        raise InvalidValue(
            f"sensors: columns must be different indices within 0 … {count - 1}, got {columns!r}. "
            "Leave it out for all columns."
        )
    return chosen


class Sensors(Stage):
    """The sensors of all rows; made by :func:`sensors`."""

    observes = True

    def __init__(self, space: gym.spaces.Box, rows: int, table: np.ndarray, delay: tuple[int, int], stream: int):
        self._dtype, self._table, self._delay = space.dtype, table, delay
        self._streams = streams("sensors", 5, stream)
        self._history = np.zeros((rows, delay[1] + 1, len(table)))
        self._delays = np.zeros(rows, np.int64)
        self._offsets = np.zeros((rows, len(table)))
        self._delivered = np.zeros((rows, len(table)))

    def observe(self, obs: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return what the sensors deliver, ``(n, k)``."""
        delivered = np.array(obs, self._dtype, order="C")
        loops.sense(
            which, rows.seeds, rows.numbers, rows.steps, self._table, self._streams, *self._delay,
            delivered, self._history, self._delays, self._offsets, self._delivered,
        )  # fmt: skip
        return delivered
