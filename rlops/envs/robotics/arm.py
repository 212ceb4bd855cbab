"""The arm of reach and push: a shoulder and an elbow about vertical axes, driven by velocity controllers.

The arm is told how fast its joints should turn; a controller with an explicit gain makes a torque of that, from the
velocity that the joint's sensor read. A joint slows down before the end of its range, as a drive's software limits do.
"""

import math

from numba import njit

from rlops.envs.compiling import compiled
from rlops.envs.draws import normal, stream_key
from rlops.envs.robotics.model import Body, Geom, box_inertia
from rlops.envs.robotics.motors import drive
from rlops.envs.robotics.params import SPARSE

HEIGHT_M = 0.4
"""[m] Of the arm above the floor."""
SHOULDER, ELBOW, QUILL = range(3)
"""Joints; push has no quill."""
FASTEST = (3.0, 4.0, 0.6)
"""[rad/s, rad/s, m/s]"""
STRONGEST = (12.0, 4.0, 25.0)
"""[N m, N m, N]"""
GAINS = (5.0, 1.0, 15.0)
"""[N m s/rad, N m s/rad, N s/m]"""
FELT = (0.3, 0.05, 0.5)
"""Inertia that a motor feels, about [kg m², kg m², kg]."""
LOWEST = (-2.4, -2.6, -0.1)
HIGHEST = (2.4, 2.6, 0.2)
"""Range of the joints [rad, rad, m]."""
SLOWING_S = 0.1
"""A joint does not go faster than would take it to the end of its range in this time."""
CAMERA = 0x428A2F98D728AE22
"""Stream of the camera's noise."""

_BLUE, _ORANGE = (0.16, 0.36, 0.58), (0.85, 0.49, 0.13)


def links(p, *, tip=()):
    """Return the upper arm and the forearm, the latter with further shapes ``tip``."""
    upper, fore = p.upper_length_m, p.fore_length_m
    column = Geom(
        "cylinder", (0.05, 0.5 * HEIGHT_M - 0.03), (0.0, 0.0, -0.5 * HEIGHT_M - 0.03), colour=(0.35, 0.35, 0.38)
    )
    return (
        Body(
            "shoulder", p.upper_mass_kg, box_inertia(p.upper_mass_kg, 0.5 * upper, 0.04, 0.03), "hinge", "z",
            at=(0.0, 0.0, HEIGHT_M), centre=(0.5 * upper, 0.0, 0.0), damping=p.joint_damping, driven=True,
            geoms=(
                column,
                Geom("box", (0.5 * upper, 0.04, 0.03), (0.5 * upper, 0.0, 0.0), colour=_BLUE),
                Geom("cylinder", (0.05, 0.04), colour=_BLUE),
            ),
        ),
        Body(
            "elbow", p.fore_mass_kg, box_inertia(p.fore_mass_kg, 0.5 * fore, 0.03, 0.02), "hinge", "z", "shoulder",
            at=(upper, 0.0, 0.0), centre=(0.5 * fore, 0.0, 0.0), damping=0.25 * p.joint_damping, driven=True,
            geoms=(
                Geom("box", (0.5 * fore, 0.03, 0.02), (0.5 * fore, 0.0, 0.055), colour=_ORANGE),
                Geom("cylinder", (0.035, 0.05), (0.0, 0.0, 0.03), colour=_ORANGE),
                *tip,
            ),
        ),
    )  # fmt: skip


@njit(error_model="numpy")
def drive_joint(p, s, j, share, holding):
    """Let joint ``j`` turn with a ``share`` (-1 … 1) of its greatest speed; ``holding`` [N or N m] is added."""
    wanted = share * FASTEST[j]
    wanted = min(max(wanted, (LOWEST[j] - s.read[0, j]) / SLOWING_S), (HIGHEST[j] - s.read[0, j]) / SLOWING_S)
    torque = p.servo_gain * GAINS[j] * (wanted - s.read[1, j]) + holding
    drive(p, s, j, torque, STRONGEST[j], s.qvel[j], FELT[j])


@njit(error_model="numpy")
def tip_x(p, s):
    """Return where the end of the forearm is [m]."""
    q = s.qpos[SHOULDER]
    return p.upper_length_m * math.cos(q) + p.fore_length_m * math.cos(q + s.qpos[ELBOW])


@njit(error_model="numpy")
def tip_y(p, s):
    """Return where the end of the forearm is [m]."""
    q = s.qpos[SHOULDER]
    return p.upper_length_m * math.sin(q) + p.fore_length_m * math.sin(q + s.qpos[ELBOW])


@njit(error_model="numpy")
def seen(p, s, time, k, place):
    """Return a coordinate as the camera sees it at the control step ``time``; ``k`` numbers the coordinates."""
    if p.camera_noise_m > 0.0:
        place += p.camera_noise_m * normal(stream_key(s.key, time, CAMERA), k)
    return place


@njit(error_model="numpy")
def goal_term(p, distance):
    """Return the reward [-] for a ``distance`` [m] from the goal.

    The dense one is logarithmic: from far away to the tolerance, each halving of the distance is worth as much.
    """
    near = distance <= p.tolerance_m
    if p.reward_mode == SPARSE:
        return 0.0 if near else -1.0
    return (1.0 if near else 0.0) - math.log1p(distance / p.tolerance_m)


@compiled
def goal_rewards(params, achieved, desired, out):
    """Write the reward (n,) of each pair of places (n, g), by the parameters (n,) of its row, or one for all."""
    for i in range(len(out)):
        square = 0.0
        for k in range(achieved.shape[1]):
            square += (achieved[i, k] - desired[i, k]) ** 2
        out[i] = goal_term(params[min(i, len(params) - 1)], math.sqrt(square))
