"""Rows that are handed to an engine and taken back, without anything allocated that grows with their number."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

from rlops.envs.compiling import compiled


def bound(function: Any, *arguments: np.ndarray) -> Callable[[], Any]:
    """Return a compiled ``function`` that takes nothing and always works on ``arguments``, whatever they hold then.

    Numba's dispatcher would look at the types of all arrays in every call: with an engine's memory still in the caches
    of the core, that takes longer than what the functions here do with few rows.
    """
    if numba.config.DISABLE_JIT:
        return partial(function, *arguments)
    types = tuple(map(numba.typeof, arguments))
    function.compile(types)
    return partial(function.overloads[types].entry_point, *arguments)


@compiled
def give(moving, qpos, qvel, warmstart, force, new_qpos, new_qvel, new_warmstart, new_force):
    """Hand over where rows are and what their motors give; return how many are ``moving`` (n,)."""
    count = 0
    for i in range(len(moving)):
        count += moving[i]
        for k in range(qpos.shape[1]):
            new_qpos[i, k] = qpos[i, k]
        for k in range(qvel.shape[1]):
            new_qvel[i, k] = qvel[i, k]
            new_warmstart[i, k] = warmstart[i, k]
        for k in range(force.shape[1]):
            new_force[i, k] = force[i, k]
    return count


@compiled
def take(moving, failed, qpos, qvel, warmstart, new_qpos, new_qvel, new_warmstart):
    """Take over where the ``moving`` rows have come, unless their simulation ``failed`` or is no number any more."""
    for i in range(len(moving)):
        if not moving[i] or failed[i]:
            continue
        total = 0.0
        for k in range(qpos.shape[1]):
            total += new_qpos[i, k]
        for k in range(qvel.shape[1]):
            total += new_qvel[i, k]
        if not math.isfinite(total):
            failed[i] = True
            continue
        for k in range(qpos.shape[1]):
            qpos[i, k] = new_qpos[i, k]
        for k in range(qvel.shape[1]):
            qvel[i, k] = new_qvel[i, k]
            warmstart[i, k] = new_warmstart[i, k]


@compiled
def copy_rows(moving, source, target):
    """Copy the ``moving`` rows of ``source`` to ``target``, both ``(n, k)``."""
    for i in range(len(moving)):
        if moving[i]:
            for k in range(source.shape[1]):
                target[i, k] = source[i, k]


@compiled
def mark_changed(moving, numbers, columns, known, changed):
    """Mark the ``moving`` rows whose parameters in ``columns`` (k,) are not those ``known`` (n, k); return how many.

    ``numbers`` (n, parameters) and ``known`` are int64: parameters are compared bit by bit, whatever their type.
    """
    count = 0
    for i in range(len(moving)):
        changed[i] = False
        if moving[i]:
            for k in range(len(columns)):
                if numbers[i, columns[k]] != known[i, k]:
                    changed[i] = True
                    known[i, k] = numbers[i, columns[k]]
        count += changed[i]
    return count
