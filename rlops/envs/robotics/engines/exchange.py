"""Rows that are handed to an engine and taken back, without anything allocated that grows with their number."""

import ctypes
import math

from rlops.envs.compiling import compiled, external

_c = ctypes.CDLL(None)
_c.memmove.restype, _c.memmove.argtypes = ctypes.c_ssize_t, (ctypes.c_ssize_t,) * 3
_c.memcmp.restype, _c.memcmp.argtypes = ctypes.c_int, (ctypes.c_ssize_t,) * 3
copy_bytes = external("memmove", _c.memmove)
"""Takes the address of the target, that of the source, and how many."""
compare_bytes = external("memcmp", _c.memcmp)
"""Takes two addresses and how many; returns 0 if they are the same."""


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


@compiled
def give(
    moving, numbers, columns, known, changed, qpos, qvel, warmstart, force, new_qpos, new_qvel, new_warmstart, new_force
):
    """Hand over where rows are and what their motors give; mark those that have :func:`changed <mark_changed>`.

    Return how many have changed, and how many are ``moving`` (n,).
    """
    count = 0
    for i in range(len(moving)):
        count += moving[i]
        for k in range(qpos.shape[1]):
            new_qpos[i, k] = qpos[i, k]
        for k in range(qvel.shape[1]):
            new_qvel[i, k] = qvel[i, k]
        for k in range(warmstart.shape[1]):
            new_warmstart[i, k] = warmstart[i, k]
        for k in range(force.shape[1]):
            new_force[i, k] = force[i, k]
    return mark_changed(moving, numbers, columns, known, changed), count


@compiled
def take(moving, failed, qpos, qvel, warmstart, new_qpos, new_qvel, new_warmstart):
    """Take over where the ``moving`` rows have come, unless their simulation ``failed`` or is no number any more.

    Return how many of them have failed.
    """
    count = 0
    for i in range(len(moving)):
        if not moving[i]:
            continue
        total = 0.0
        for k in range(qpos.shape[1]):
            total += new_qpos[i, k]
        for k in range(qvel.shape[1]):
            total += new_qvel[i, k]
        failed[i] |= not math.isfinite(total)
        if failed[i]:
            count += 1
            continue
        for k in range(qpos.shape[1]):
            qpos[i, k] = new_qpos[i, k]
        for k in range(qvel.shape[1]):
            qvel[i, k] = new_qvel[i, k]
        for k in range(warmstart.shape[1]):
            warmstart[i, k] = new_warmstart[i, k]
    return count


@compiled
def copy_rows(moving, source, target):
    """Copy the ``moving`` rows of ``source`` to ``target``, both ``(n, k)``."""
    for i in range(len(moving)):
        if moving[i]:
            for k in range(source.shape[1]):
                target[i, k] = source[i, k]


@compiled
def mark_elsewhere(moving, steps, servers, changed, qpos, qvel, left_qpos, left_qvel, elsewhere):
    """Mark the ``moving`` rows that have no server or are not where they were left; return how many.

    So are those that have ``changed`` or begin an episode. Positions and velocities are int64, compared bit by bit.
    Those of moving rows become where they were left.
    """
    count = 0
    for i in range(len(moving)):
        elsewhere[i] = moving[i] and (changed[i] or steps[i] == 0 or servers[i] == 0)
        if moving[i]:
            for now, left in ((qpos, left_qpos), (qvel, left_qvel)):
                for k in range(now.shape[1]):
                    elsewhere[i] |= now[i, k] != left[i, k]
                    left[i, k] = now[i, k]
        count += elsewhere[i]
    return count


@compiled
def read_told(moving, told, qpos_from, qvel_from, free, qpos, qvel):
    """Write what was ``told`` (n, t) of the ``moving`` worlds as positions (n, q) and velocities (n, v).

    ``qpos_from`` (q,) and ``qvel_from`` (v,) say where in ``told`` a number is; ``free`` (b, 2) where free bodies have
    their orientation (w, x, y, z) and their spin, which is told in the world's frame and written in the body's own.
    """
    for i in range(len(moving)):
        if not moving[i]:
            continue
        for k in range(len(qpos_from)):
            qpos[i, k] = told[i, qpos_from[k]]
        for k in range(len(qvel_from)):
            qvel[i, k] = told[i, qvel_from[k]]
        for b in range(len(free)):
            turn, spin = free[b]
            w, x, y, z = qpos[i, turn], qpos[i, turn + 1], qpos[i, turn + 2], qpos[i, turn + 3]
            p, q, r = qvel[i, spin], qvel[i, spin + 1], qvel[i, spin + 2]
            qvel[i, spin] = (1 - 2 * (y * y + z * z)) * p + 2 * (x * y + w * z) * q + 2 * (x * z - w * y) * r
            qvel[i, spin + 1] = 2 * (x * y - w * z) * p + (1 - 2 * (x * x + z * z)) * q + 2 * (y * z + w * x) * r
            qvel[i, spin + 2] = 2 * (x * z + w * y) * p + 2 * (y * z - w * x) * q + (1 - 2 * (x * x + y * y)) * r
