"""Exponential and logarithm in plain arithmetic, without a call and without a branch.

A compiler can then work out all zones of a hall side by side, which it cannot with the C library's functions, and the
result does not depend on that library. Relative errors are below 1e-15.
"""

import numpy as np
from numba import njit

_PER_LN_2 = 1.4426950408889634
_LN_2_HIGH = float.fromhex("0x1.62e42feep-1")
"""ln 2 to 32 bits, so that a whole number of them is exact, and the rest of it."""
_LN_2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_ROUND = 1.5 * 2.0**52
"""A double beside it has no fraction: to add it rounds, and its last bits are the whole number."""
_MANTISSA, _BIAS = np.int64(52), np.int64(1023)
_ROOT_HALF = np.int64(0x3FE6A09E667F3BCD)
"""The bits of the square root of 1/2."""
LEAST = 1e-300
"""Added to what may be 0 before it divides."""


@njit(error_model="numpy", inline="always")
def _parts(x):
    """Return 2^k and exp(r) - 1 of x = k ln 2 + r, -1/2 ln 2 ≤ r ≤ 1/2 ln 2; beyond ±700, of ±700."""
    x = min(max(x, -700.0), 700.0)
    rounded = x * _PER_LN_2 + _ROUND
    k = rounded - _ROUND
    r = (x - k * _LN_2_HIGH) - k * _LN_2_LOW
    r2 = r * r
    r4 = r2 * r2
    low = (1 / 2 + r * (1 / 6)) + r2 * (1 / 24 + r * (1 / 120))
    middle = (1 / 720 + r * (1 / 5040)) + r2 * (1 / 40320 + r * (1 / 362880))
    high = (1 / 3628800 + r * (1 / 39916800)) + r2 * (1 / 479001600 + r * (1 / 6227020800))
    power = np.int64((np.float64(rounded).view(np.int64) + _BIAS) << _MANTISSA).view(np.float64)
    return power, r + r2 * (low + r4 * (middle + r4 * high))


@njit(error_model="numpy", inline="always")
def exp(x):
    """Return the exponential.

    >>> round(float(exp(1.0)), 14)
    2.71828182845905
    """
    power, more = _parts(x)
    return power + power * more


@njit(error_model="numpy", inline="always")
def decayed(z):
    """Return 1 - exp(-z), exact to its last digits for small ``z`` too.

    >>> float(decayed(1e-12))
    9.999999999995e-13
    """
    power, more = _parts(-z)
    return (1.0 - power) - power * more


@njit(error_model="numpy", inline="always")
def log(x):
    """Return the natural logarithm of a normal positive number.

    >>> round(float(log(10.0)), 14)
    2.30258509299405
    """
    bits = np.float64(x).view(np.int64)
    k = (bits - _ROOT_HALF) >> _MANTISSA
    m = np.int64(bits - (k << _MANTISSA)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    s4 = s2 * s2
    low = (1 / 3 + s2 * (1 / 5)) + s4 * (1 / 7 + s2 * (1 / 9))
    high = (1 / 11 + s2 * (1 / 13)) + s4 * (1 / 15 + s2 * (1 / 17)) + s4 * s4 * (1 / 19 + s2 * (1 / 21))
    series = 2.0 * s + 2.0 * s * s2 * (low + s4 * s4 * high)
    return k * _LN_2_HIGH + (series + k * _LN_2_LOW)


@njit(error_model="numpy", inline="always")
def power(x, exponent):
    """Return a power of a positive number."""
    return exp(exponent * log(x))


@njit(error_model="numpy", inline="always")
def effectiveness(units, ratio):
    """Return the effectiveness of a counterflow exchanger (Incropera, table 11.4) [-].

    (1 - e^-d) / (1 - ratio e^-d) with d = units (1 - ratio), written so that it holds at equal flows, ratio 1, too.

    >>> float(effectiveness(1.0, 1.0))
    0.5
    """
    d = units * (1.0 - ratio) + LEAST
    gone = decayed(d)
    share = units * (gone / d)
    return share / (share + (1.0 - gone))
