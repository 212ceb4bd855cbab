"""Directions and distances of vectors in an observation, beside their components.

A network that sees the components of a vector alone, scaled by how far they scatter, tells little from little near
zero, where the direction is a ratio and half the distance may decide. So both are computed for it: the unit vector,
and the logarithm of the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlops.envs import parse_id
from rlops.envs.contract import Column
from rlops.errors import InvalidValue, UnknownName

NEAREST = 1e-3
"""Added to lengths, in their own unit: vectors that are much shorter have no direction, and all the same length."""
COMPONENTS = ("_x", "_y")
"""Endings of the names of two columns that are a vector."""
PER_DIRECTION = 3


def checked(directions: Any, id: str) -> tuple[str, ...]:
    """Return the names of vectors that ``id`` shows: of ``left``, the columns ``left_x`` and ``left_y``.

    Raises:
        InvalidValue: If they are no sequence of names that differ.
        UnknownName: If ``id`` shows no such vector.
    """
    named = isinstance(directions, (list, tuple)) and all(isinstance(name, str) for name in directions)
    if not named or len(set(directions)) < len(directions):
        raise InvalidValue(
            f"directions must be a list of different vectors such as [left], for left_x and left_y, got {directions!r}."
        )
    known = _vectors(_columns(id))
    for name in directions:
        if name not in known:
            raise UnknownName("vector", name, known, f"The observation of {id}")
    return tuple(directions)


def indices(directions: Sequence[str], id: str) -> np.ndarray:
    """Return where the components of vectors stand in an observation of ``id``, ``(2, m)`` int64."""
    vectors = _vectors(_columns(id))
    return np.array([vectors[name] for name in directions], np.int64).reshape(-1, 2).T


def appended(obs: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return observations ``(n, k)`` with what is computed of their vectors, ``(n, k + 3 m)``, float32.

    Args:
        obs: Observations, ``(n, k)`` float32.
        at: Where the vectors' components stand, ``(2, m)``, see :func:`indices`.
    """
    x, y = np.ascontiguousarray(obs[:, at[0]]), np.ascontiguousarray(obs[:, at[1]])
    length = np.sqrt(x * x + y * y) + np.float32(NEAREST)
    return np.concatenate([obs, x / length, y / length, np.log(length)], axis=1)


def ranges(low: np.ndarray, high: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return how far apart the bounds are of each column that :func:`appended` gives, ``(k + 3 m,)``.

    Args:
        low: Lower bounds of an observation, ``(k,)``.
        high: Upper bounds, ``(k,)``.
        at: Where the vectors' components stand, ``(2, m)``.
    """
    longest = np.hypot(*np.maximum(np.abs(low), np.abs(high))[at].astype(float))
    unit = np.full(at.shape[1], 2.0)
    return np.concatenate([(high - low).astype(float), unit, unit, np.log1p(longest / NEAREST)])


def _columns(id: str) -> tuple[Column, ...]:
    family, number = parse_id(id)
    columns: tuple[Column, ...] = family.kernel(number).OBSERVATION
    return columns


def _vectors(columns: tuple[Column, ...]) -> dict[str, tuple[int, int]]:
    """Return where the components of each vector stand, by its name."""
    starts = np.cumsum([0, *(c.count for c in columns)])
    single = {c.name: int(start) for c, start in zip(columns, starts[:-1], strict=True) if c.count == 1}
    along, across = COMPONENTS
    names = [name.removesuffix(along) for name in single if name.endswith(along)]
    return {name: (single[name + along], single[name + across]) for name in names if name + across in single}
