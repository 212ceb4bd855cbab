"""A kernel for tests: a boat on a line that a current carries off, and that may push against it.

The boat is safe if it is within a metre at the end. Without a push that is so for currents below 0.5.
"""

import numpy as np
from numba import njit

from rlops.envs.contract import Column, Family, Parameter, Version, state_dtype

STEPS = 20
PARAMETERS = (
    Parameter("current", "m/s", 0.2, 0, 1, "physical", "test", plausible=(0.1, 0.4), effect="+distance_m"),
    Parameter("thrust", "m/s", 1, 0.5, 2, "actuation", "test", effect="+distance_m"),
    Parameter("colour", "-", 1, 0, 2, "physical", "test: nothing depends on it"),
    Parameter("tide", "m/s", 0, -1, 1, "physical", "test", engines=("wet",), effect="+distance_m"),
)
REWARD_TERMS = ("stay",)
ACTION = (Column("push", "-", -1, 1, "of the thrust"),)
OBSERVATION = (Column("x_m", "m", -np.inf, np.inf, "place"),)
STATE = state_dtype(REWARD_TERMS, [("x_m", "f8"), ("wave", "f8")])
KPIS = (Column("safe", "-", 0, 1, "1 if within a metre"), Column("distance_m", "m", 0, np.inf, "from the start"))


@njit(error_model="numpy")
def reset(p, s, d):
    s.x_m = 0.0


@njit(error_model="numpy")
def step(p, s, d, action):
    s.x_m += 0.1 * (p.current + p.tide + p.thrust * action[0])
    s.terms[0] = -abs(s.x_m)
    s.truncated = s.steps + 1 >= STEPS


@njit(error_model="numpy")
def observe(p, s, d, out):
    out[0] = s.x_m


@njit(error_model="numpy")
def kpis(p, s, d, out):
    out[0] = 1.0 if abs(s.x_m) < 1.0 else 0.0
    out[1] = abs(s.x_m)


DRIFT = Family("Drift", "A boat on a line.", (Version(0, "The first.", __name__),))
