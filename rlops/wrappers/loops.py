"""The compiled loops of the sensing and acting wrappers: what one step does to the columns of every row.

Axes: n rows, k columns, h remembered steps. A loop touches the rows ``which`` only, and begins the state of a row
anew at step 0 of its episode. Every draw is a hash of the row's seed, the number of its episode, the step and the
column (:mod:`rlops.envs.draws`), so that a row depends neither on the others nor on what is done to it.
"""

import numpy as np
from numba import njit

from rlops.envs.compiling import compiled
from rlops.envs.draws import episode_key, integer, normal, stream_key, uniform

SENSOR = np.dtype(
    [
        ("column", "i8"),  # its place in the observation, which names its draws
        ("noise_sd", "f8"),
        ("bias_sd", "f8"),
        ("drift_sd", "f8"),  # standard deviation of the change a step
        ("quantum", "f8"),  # 0: values are not rounded
        ("dropout", "f8"),  # probability [-]
        ("low", "f8"),  # where the sensor saturates
        ("high", "f8"),
    ]
)
"""One observed column, in the unit of that column."""

ACTUATOR = np.dtype(
    [
        ("rest", "f8"),  # what is applied before any action has arrived
        ("dead_band", "f8"),
        ("slew", "f8"),  # largest change a step
    ]
)
"""One column of the action, in the unit of that column."""

NOISE, BIAS, DRIFT, DROPOUT, DELAY = range(5)
"""The places of the streams of draws."""


@njit(inline="always")
def _delay_steps(key, stream, low, high):
    """Return the delay of an episode [steps], any of ``low`` … ``high``."""
    return low + integer(stream_key(key, 0, stream), 0, high - low + 1)


@njit(inline="always")
def _reading(sensor, value, noise):
    """Return what a sensor reads of a value: with noise, rounded, within its bounds."""
    if sensor["noise_sd"] > 0.0:
        value += sensor["noise_sd"] * normal(noise, sensor["column"])
    if sensor["quantum"] > 0.0:
        value = np.rint(value / sensor["quantum"]) * sensor["quantum"]
    if value < sensor["low"]:
        value = sensor["low"]
    elif value > sensor["high"]:
        value = sensor["high"]
    return value


@compiled
def sense(
    which, seeds, numbers, steps, sensors, streams, delay_low, delay_high, obs, history, delays, offsets, delivered
):  # fmt: skip
    """Put in place of what is true, in the columns of ``obs`` that have ``sensors`` (k,), what these deliver.

    Rows that are not among ``which`` show again what was delivered last.

    State: ``history`` (n, h, k) of what was true, ``delays`` (n,), ``offsets`` (n, k), which are bias and drift, and
    what was ``delivered`` (n, k).
    """
    remembered = history.shape[1]
    for i in range(len(which)):
        if not which[i]:
            for j in range(len(sensors)):
                obs[i, sensors[j]["column"]] = delivered[i, j]
            continue
        key = episode_key(seeds[i], numbers[i])
        step = steps[i]
        if step == 0:
            delays[i] = _delay_steps(key, streams[DELAY], delay_low, delay_high)
        latest = step % remembered
        for j in range(len(sensors)):
            history[i, latest, j] = obs[i, sensors[j]["column"]]
        shown = history[i, max(step - delays[i], 0) % remembered]
        noise = stream_key(key, step, streams[NOISE])
        bias = stream_key(key, 0, streams[BIAS])
        drift = stream_key(key, step, streams[DRIFT])
        dropout = stream_key(key, step, streams[DROPOUT])
        for j in range(len(sensors)):
            sensor = sensors[j]
            column = sensor["column"]
            if step == 0:
                offsets[i, j] = sensor["bias_sd"] * normal(bias, column) if sensor["bias_sd"] > 0.0 else 0.0
            elif sensor["drift_sd"] > 0.0:
                offsets[i, j] += sensor["drift_sd"] * normal(drift, column)
            lost = step > 0 and sensor["dropout"] > 0.0 and uniform(dropout, column) < sensor["dropout"]
            if not lost:
                delivered[i, j] = _reading(sensor, shown[j] + offsets[i, j], noise)
            obs[i, column] = delivered[i, j]


@compiled
def actuate(
    which, seeds, numbers, steps, actuators, streams, dropout, delay_low, delay_high, commands, history, delays, applied
):  # fmt: skip
    """Write into ``applied`` (n, k) what the ``actuators`` (k,) make of the ``commands`` (n, k).

    An action is lost with the probability ``dropout`` as a whole. State: ``history`` (n, h, k) of what was commanded,
    ``delays`` (n,), and ``applied`` itself.
    """
    remembered = history.shape[1]
    for i in range(len(which)):
        if not which[i]:
            continue
        key = episode_key(seeds[i], numbers[i])
        step = steps[i]
        if step == 0:
            delays[i] = _delay_steps(key, streams[DELAY], delay_low, delay_high)
            for j in range(len(actuators)):
                applied[i, j] = actuators[j]["rest"]
        history[i, step % remembered] = commands[i]
        if dropout > 0.0 and uniform(stream_key(key, step, streams[DROPOUT]), 0) < dropout:
            continue
        arrived = step - delays[i]
        for j in range(len(actuators)):
            actuator = actuators[j]
            command = history[i, arrived % remembered, j] if arrived >= 0 else actuator["rest"]
            if abs(command) < actuator["dead_band"]:
                command = 0.0
            change = command - applied[i, j]
            if change > actuator["slew"]:
                applied[i, j] += actuator["slew"]
            elif change < -actuator["slew"]:
                applied[i, j] -= actuator["slew"]
            else:
                applied[i, j] = command
