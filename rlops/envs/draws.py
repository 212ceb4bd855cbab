"""Random draws from (key, step, stream, entity): a hash, no generator state.

Every draw is a pure function of four integers. ``key`` belongs to one episode of one row, ``step`` is the
time index (0 where time plays no part), ``stream`` names the quantity (one constant per quantity,
never shared) and ``entity`` says which booking, vehicle or zone is meant. So a draw depends neither on the
policy nor on the batch size, the order of evaluation or the thread: two policies under the same key meet
the same world, and row ``i`` of a batch is the single environment with that key.

    h = stream_key(s.key, step, LEG_NOISE)   # once per (step, stream)
    factor = math.exp(sigma * normal(h, leg))

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators", variant 13 of Stafford), applied once per absorbed word.
"""

import math

import numpy as np
from numba import config, njit

if config.DISABLE_JIT:  # interpreted, NumPy warns where compiled 64-bit arithmetic wraps silently
    np.seterr(over="ignore")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0xD1B54A32D192ED03)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53
_HALF = 2.0**-54
_SECOND = np.uint64(0x632BE59BD9B4E019)


@njit(inline="always")
def mixed(word):
    """Return the 64-bit hash of one 64-bit word."""
    z = (word ^ (word >> _SHIFT_30)) * _MIX_1
    z = (z ^ (z >> _SHIFT_27)) * _MIX_2
    return z ^ (z >> _SHIFT_31)


@njit(inline="always")
def episode_key(seed, episode):
    """Return the key of the ``episode``-th episode (from 0) of a row with ``seed``."""
    return mixed(mixed(np.uint64(seed) + _GOLDEN) + np.uint64(episode) * _STEP)


@njit(inline="always")
def stream_key(key, step, stream):
    """Return the hash that all entities of one (key, step, stream) share."""
    return mixed(mixed(np.uint64(key) + np.uint64(stream) * _GOLDEN) + np.uint64(step) * _STEP)


@njit(inline="always")
def bits(h, entity):
    """Return 64 random bits of one ``entity`` from its ``stream_key``."""
    return mixed(h + np.uint64(entity) * _GOLDEN + _STEP)


@njit(inline="always")
def uniform(h, entity):
    """Return a draw from the open interval (0, 1) on a grid of 2^-53."""
    return float(bits(h, entity) >> _SHIFT_11) * _TO_UNIT + _HALF


@njit(inline="always")
def integer(h, entity, n):
    """Return a draw from 0 … n-1; the bias is below n / 2^53."""
    return np.int64(uniform(h, entity) * n)


@njit(inline="always")
def normal(h, entity):
    """Return a standard normal draw (Box & Muller 1958, the cosine branch)."""
    radius = math.sqrt(-2.0 * math.log(uniform(h, entity)))
    return radius * math.cos(2.0 * math.pi * uniform(h ^ _SECOND, entity))


@njit(inline="always")
def exponential(h, entity):
    """Return an exponential draw with mean 1."""
    return -math.log(uniform(h, entity))
