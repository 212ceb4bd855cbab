"""Parameters drawn where an episode begins: the compiled half of domain randomization.

A *plan* is a record array, one :data:`TERM` for every randomized parameter, and an array of numbers that the terms look
up. The loops apply it to a row where its episode begins and, if terms change within an episode, before every step. How
a plan is written and what it may say is the business of :mod:`rlops.randomization`.

Every draw is a hash of the row's key, the time index and the term's own stream (:mod:`rlops.envs.draws`): it depends
neither on the other terms nor on the batch. A value is made from the row's nominal one, never from the present one.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.draws import episode_key, stream_key, uniform

CONSTANT, UNIFORM, LOGUNIFORM, NORMAL, TABLE = range(5)
"""How a term makes a value from a number ``u`` within (0, 1), see :func:`value_at`."""

ABS, SCALE, ADD = range(3)
"""What a value does to the nominal one: takes its place, multiplies it, is added to it."""

EPISODE, STEP, INTERVAL = range(3)
"""When a term is drawn: once an episode, before every step, at intervals of random length."""

TERM = np.dtype(
    [
        ("stream", "u8"),
        ("parameter", "i8"),  # its place among the parameters
        ("whole", "i8"),  # 1: a whole number
        ("low", "f8"),  # hard bounds of the parameter
        ("high", "f8"),
        ("operation", "i8"),
        ("per", "i8"),
        ("every_low", "f8"),  # length of an INTERVAL [steps]
        ("every_high", "f8"),
        ("distribution", "i8"),
        ("a", "f8"),
        ("b", "f8"),
        ("c", "f8"),
        ("d", "f8"),
        ("table_at", "i8"),  # TABLE: ``entries`` values, and behind them their cumulated weights
        ("entries", "i8"),
        ("points_at", "i8"),  # a designed term: ``points`` numbers within (0, 1)
        ("points", "i8"),  # 0: drawn
        ("mix_at", "i8"),  # a correlated term: the weights of ``mixed`` standard normals,
        ("mixed", "i8"),  # which belong to as many terms from ``mix_first`` on; 0: not correlated
        ("mix_first", "i8"),
        ("pinned", "i8"),  # its place among the terms that may be pinned to a bound, or -1
    ]
)
"""One randomized parameter."""

HEAD = 3
"""The numbers of a plan begin with the probability that an episode has a pinned term, how many terms may be pinned, and
1 if a term changes within an episode."""

PIN_STREAM = np.uint64(0x14057B7EF767814F)
_SWITCH = np.uint64(0x5851F42D4C957F2D)

# Wichura 1988, algorithm AS 241 (PPND16): numerators and denominators of its three rational functions.
_CENTRE = np.array(
    [
        [3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
         4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3],
        [1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
         2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3],
    ]
)  # fmt: skip
_SIDE = np.array(
    [
        [1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
         1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4],
        [1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
         1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9],
    ]
)  # fmt: skip
_TAIL = np.array(
    [
        [6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
         2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
        [1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
         7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15],
    ]
)  # fmt: skip


@njit(error_model="numpy")
def _rational(coefficients, x):
    above, below = 0.0, 0.0
    for k in range(7, -1, -1):
        above = above * x + coefficients[0, k]
        below = below * x + coefficients[1, k]
    return above / below


@njit(error_model="numpy")
def normal_quantile(u):
    """Return the standard normal quantile of ``u`` within (0, 1), to about 1e-16 (Wichura 1988)."""
    q = u - 0.5
    if abs(q) <= 0.425:
        return q * _rational(_CENTRE, 0.180625 - q * q)
    r = math.sqrt(-math.log(u if q < 0.0 else 1.0 - u))
    z = _rational(_SIDE, r - 1.6) if r <= 5.0 else _rational(_TAIL, r - 5.0)
    return -z if q < 0.0 else z


@njit(error_model="numpy")
def normal_share(z):
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@njit(error_model="numpy")
def interval_at(term, key, step):
    """Return in which interval of its own, from 0, a term is at ``step``.

    The k-th interval ends at k times the mean length, moved by a draw of at most a quarter of the range either way; so
    every length lies within the range, and no state is needed.
    """
    mean, spread = 0.5 * (term.every_low + term.every_high), 0.5 * (term.every_high - term.every_low)
    h = stream_key(key, 0, term.stream ^ _SWITCH)
    number = max(int(step / mean) - 1, 0)
    while mean * (number + 1) + spread * (uniform(h, number + 1) - 0.5) <= step:
        number += 1
    return number


@njit(error_model="numpy")
def pinned_at(values, key):
    """Return which bound an episode is pinned to: 2 x place of the term, + 1 for the upper bound; -1 for none."""
    if values[1] == 0.0:
        return -1
    h = stream_key(key, 0, PIN_STREAM)
    return int(uniform(h, 1) * 2.0 * values[1]) if uniform(h, 0) < values[0] else -1


@njit(error_model="numpy")
def changes_within(values):
    """Return whether a plan has terms that change within an episode; a row without a plan has none."""
    return len(values) > 0 and values[2] > 0.0


@njit(error_model="numpy")
def number_at(plan, values, t, key, seed, episode, step):
    """Return the number within (0, 1) that term ``t`` makes its value from."""
    term = plan[t]
    if term.points > 0:
        return values[term.points_at + np.int64((seed + np.uint64(episode)) % np.uint64(term.points))]
    time = 0
    if term.per == STEP:
        time = step
    elif term.per == INTERVAL:
        time = interval_at(term, key, step)
    if term.mixed == 0:
        return uniform(stream_key(key, time, term.stream), 0)
    z = 0.0
    for k in range(term.mixed):
        u = uniform(stream_key(key, time, plan[term.mix_first + k].stream), 0)
        z += values[term.mix_at + k] * normal_quantile(u)
    return normal_share(z)


@njit(error_model="numpy")
def value_at(term, values, u):
    """Return what a term draws at ``u``.

    CONSTANT ``a``; UNIFORM from ``a`` to ``b``; LOGUNIFORM between ``exp(a)`` and ``exp(b)``; NORMAL with mean ``a``
    and standard deviation ``b``, between its quantiles ``c`` and ``d``; TABLE by its weights.
    """
    if term.distribution == CONSTANT:
        return term.a
    if term.distribution == UNIFORM:
        return term.a + (term.b - term.a) * u
    if term.distribution == LOGUNIFORM:
        return math.exp(term.a + (term.b - term.a) * u)
    if term.distribution == NORMAL:
        return term.a + term.b * normal_quantile(term.c + (term.d - term.c) * u)
    low, high = 0, term.entries - 1
    while low < high:
        middle = (low + high) // 2
        if u < values[term.table_at + term.entries + middle]:
            high = middle
        else:
            low = middle + 1
    return values[term.table_at + low]


@njit(error_model="numpy")
def draw_parameters(plan, values, numbers, usual, key, seed, episode, step):
    """Write what the terms draw into one row's parameters: at step 0 all, later those that change within an episode.

    ``numbers`` are the row's parameters and ``usual`` those that it has without a plan, ``(k,)`` float64; whole numbers
    are read and written as the int64 that they are.
    """
    wholes, usual_wholes = numbers.view(np.int64), usual.view(np.int64)
    pinned = pinned_at(values, key) if step == 0 else -1
    for t in range(plan.shape[0]):
        term = plan[t]
        if step > 0 and term.per == EPISODE:
            continue
        u = number_at(plan, values, t, key, seed, episode, step)
        if pinned >= 0 and term.pinned == pinned // 2:
            u = float(pinned % 2)
        value = value_at(term, values, u)
        k = term.parameter
        if term.operation != ABS:
            nominal = float(usual_wholes[k]) if term.whole else usual[k]
            value = nominal * value if term.operation == SCALE else nominal + value
        value = min(max(value, term.low), term.high)
        if term.whole:
            wholes[k] = np.int64(np.rint(value))
        else:
            numbers[k] = value


def draw_next(plan, values, numbers, usual, state, chosen):
    """Write the parameters that the next episode of the ``chosen`` rows draws."""
    for i in range(len(chosen)):
        if chosen[i]:
            seed, episode = state[i].seed, state[i].episode + 1
            draw_parameters(plan, values, numbers[i], usual[i], episode_key(seed, episode), seed, episode, 0)
