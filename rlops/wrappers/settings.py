"""What the settings of a wrapper must be, and the streams from which it draws."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from rlops.errors import InvalidValue

_LARGEST = float(np.finfo(np.float64).max)


def float_box(owner: str, what: str, space: gym.Space[Any], hint: str) -> gym.spaces.Box:
    """Return ``space``, which ``what`` (``"observation"`` or ``"action"``) lies in; ``hint`` says what else to do.

    Raises:
        InvalidValue: If it is not a Box of one axis of float32 or float64.
    """
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1 or space.dtype not in (np.float32, np.float64):
        raise InvalidValue(
            f"{owner}: the {what} space must be a Box of one axis of float32 or float64, got {space}. {hint}"
        )
    return space


def per_column(owner: str, name: str, value: ArrayLike, columns: int, most: float = _LARGEST) -> np.ndarray:
    """Return a setting as one number a column, ``(columns,)`` float64.

    Raises:
        InvalidValue: If it is neither one number nor one for each column, or not within 0 … ``most``.
    """
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.full(1, np.nan)
    within = (numbers >= 0) & (numbers <= most)  # false for NaN
    if numbers.shape not in ((), (columns,)) or not within.all():
        limit = {math.inf: "not below 0", _LARGEST: "finite and not below 0"}.get(most, f"within 0 … {most:g}")
        each = f", or one for each of {columns} columns" if columns > 1 else ""
        raise InvalidValue(f"{owner}: {name} must be one number{each}, {limit}, got {value!r}.")
    return np.broadcast_to(numbers, columns)


def delay_range(owner: str, delay_steps: int | tuple[int, int]) -> tuple[int, int]:
    """Return the least and the largest delay of an episode [steps].

    Raises:
        InvalidValue: If ``delay_steps`` is neither a whole number nor an ascending pair of them, not below 0.
    """
    pair = tuple(delay_steps) if isinstance(delay_steps, (tuple, list)) else (delay_steps, delay_steps)
    whole = all(isinstance(steps, (int, np.integer)) and not isinstance(steps, bool) for steps in pair)
    if len(pair) != 2 or not whole or not 0 <= pair[0] <= pair[1]:
        raise InvalidValue(
            f"{owner}: delay_steps must be a whole number of at least 0, or a pair (low, high) of them, "
            f"got {delay_steps!r}."
        )
    return int(pair[0]), int(pair[1])


def streams(owner: str, count: int, stream: int) -> np.ndarray:
    """Return ``count`` streams of draws for the wrapper ``owner``, ``(count,)`` uint64.

    They depend on its name and on the number ``stream`` only, not on its place among other wrappers.

    Raises:
        InvalidValue: If ``stream`` is not a whole number.
    """
    if not isinstance(stream, (int, np.integer)) or isinstance(stream, bool):
        raise InvalidValue(f"{owner}: stream must be a whole number, got {stream!r}.")
    digest = hashlib.blake2b(f"{owner} {stream}".encode(), digest_size=8 * count, person=b"rlops-wrappers").digest()
    return np.frombuffer(digest, "<u8").astype(np.uint64)
