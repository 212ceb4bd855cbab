"""Cart balance: hold a pole upright on a cart that a motor moves along a rail.

The action is the motor's force as a share of its greatest, -1 … 1. An episode ends early when the pole has fallen or
the cart has left the rail. It succeeds if, over its last second, the pole has stood still in the middle.
"""

import math

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.draws import stream_key, uniform
from rlops.envs.robotics.model import Body, Geom, Model, box_inertia, cylinder_inertia, joined
from rlops.envs.robotics.motors import CONTROL_S, drive, engine_fields, read_joint
from rlops.envs.robotics.params import CART_PARAMETERS, DENSE

PARAMETERS = CART_PARAMETERS
ENGINES = ("mujoco", "pybullet")
RENDER = "rlops.envs.robotics.render"
RENDER_FPS = 50
STEP_MINUTES = CONTROL_S / 60
DERIVED = {"read": "observation"}
INFO = ("failed",)

TIMESTEP_S = 0.002
SUBSTEPS = round(CONTROL_S / TIMESTEP_S)

STRONGEST_N = 15.0
RAIL_M = 2.4
"""[m] The cart leaves the rail beyond it, on either side."""
FALLEN_RAD = 0.6
"""[rad] Beyond this angle the pole has fallen."""
STILL_M, STILL_RAD = 0.3, 0.1
"""The pole stands in the middle within these [m, rad]."""
STILL_STEPS = round(1.0 / CONTROL_S)
GUST_STEPS = round(0.1 / CONTROL_S)
GUSTS_PER_STEP = CONTROL_S / 1.0
FALL = -50.0
"""[-] Reward of a fall."""
START, GUST = 0x510E527FADE682D1, 0x9B05688C2B3E6C1F
"""Streams of draws."""

ACTION = (Column("force", "-", -1, 1, "of the motor, as a share of its greatest, 15 N"),)
OBSERVATION = (
    Column("position", "m", -3, 3, "of the cart, as read"),
    Column("velocity", "m/s", -20, 20, "of the cart, as read"),
    Column("angle", "rad", -1, 1, "of the pole from upright, as read"),
    Column("rate", "rad/s", -50, 50, "of the pole, as read"),
    Column("command", "-", -1, 1, "the last one"),
)
REWARD_TERMS = ("upright", "centred", "effort", "fall", "success")
KPIS = (
    Column("is_success", "-", 0, 1, "the pole stood still in the middle over the last second"),
    Column("upright_s", "s", 0, 100, "until the pole fell or the episode ended"),
    Column("angle_rms", "rad", 0, 1, "root mean square of the pole's angle"),
    Column("position_rms", "m", 0, 3, "root mean square of the cart's position"),
)
STATE = state_dtype(
    REWARD_TERMS,
    [
        *engine_fields(2, 2, 1, 2),
        ("still", "i8"),  # steps that the pole has stood still until now
        ("gust_left", "i8"),  # steps
        ("gust_n", "f8"),
        ("angle_square", "f8"),  # sums over the episode
        ("position_square", "f8"),
    ],
)

CART, POLE = range(2)
"""Joints."""


def build(p):
    """Return the cart with its pole."""
    length = p.pole_length_m
    pole = (p.pole_mass_kg, (0.0, 0.0, 0.5 * length), cylinder_inertia(p.pole_mass_kg, 0.02, 0.5 * length))
    payload = (p.payload_kg, (0.0, 0.0, length), (0.0, 0.0, 0.0))
    mass, centre, inertia = joined(pole, payload)
    cart = Body(
        "cart", p.cart_mass_kg, box_inertia(p.cart_mass_kg, 0.15, 0.1, 0.06), "slide", "x", at=(0.0, 0.0, 0.5),
        damping=p.rail_damping, driven=True,
        geoms=(Geom("box", (0.15, 0.1, 0.06), colour=(0.16, 0.36, 0.58)),),
    )  # fmt: skip
    hinged = Body(
        "pole", mass, inertia, "hinge", "y", "cart", centre=centre, damping=p.hinge_damping,
        geoms=(
            Geom("cylinder", (0.02, 0.5 * length), (0.0, 0.0, 0.5 * length), colour=(0.85, 0.49, 0.13)),
            Geom("sphere", (0.035,), (0.0, 0.0, length), colour=(0.75, 0.22, 0.17)),
        ),
    )  # fmt: skip
    rail = Geom("cylinder", (0.015, RAIL_M), (0.0, 0.0, 0.5), "x", (0.35, 0.35, 0.38))
    ends = tuple(
        Geom("box", (0.02, 0.08, 0.08), (side * RAIL_M, 0.0, 0.5), colour=(0.35, 0.35, 0.38)) for side in (-1, 1)
    )
    middle = Geom("cylinder", (0.03, STILL_M), (0.0, 0.0, 0.5), "x", (0.2, 0.62, 0.3))
    return Model("cart-balance", (cart, hinged), TIMESTEP_S, scenery=(rail, *ends, middle))


@njit(error_model="numpy")
def reset(p, s, d):
    """Begin with the cart off the middle and the pole off upright."""
    h = stream_key(s.key, 0, START)
    s.qpos[CART] = p.start_position_m * (2.0 * uniform(h, 0) - 1.0)
    s.qpos[POLE] = p.start_angle_rad * (2.0 * uniform(h, 1) - 1.0)
    _read(p, s, 0)


@njit(error_model="numpy")
def _read(p, s, time):
    for joint in range(2):
        read_joint(p, s, time, joint, s.qpos[joint], s.qvel[joint])


@njit(error_model="numpy")
def act(p, s, d, action):
    """Let the motor pull, and the wind."""
    drive(p, s, 0, STRONGEST_N * action[0], STRONGEST_N, s.qvel[CART], 1.1)
    h = stream_key(s.key, s.steps, GUST)
    if s.gust_left > 0:
        s.gust_left -= 1
    elif uniform(h, 0) < GUSTS_PER_STEP:
        s.gust_left = GUST_STEPS - 1
        s.gust_n = p.gust_n if uniform(h, 1) < 0.5 else -p.gust_n
    else:
        s.gust_n = 0.0
    s.force[0] += s.gust_n


@njit(error_model="numpy")
def step(p, s, d, action):
    """Judge where the cart and the pole have come."""
    position, angle = s.qpos[CART], s.qpos[POLE]
    fallen = abs(angle) > FALLEN_RAD or abs(position) > RAIL_M
    still = abs(angle) <= STILL_RAD and abs(position) <= STILL_M
    s.still = s.still + 1 if still else 0
    s.angle_square += angle * angle
    s.position_square += position * position
    s.terminated = fallen or s.failed
    s.truncated = not s.terminated and s.steps + 1 >= p.horizon_steps
    if p.reward_mode == DENSE:
        tilted, off = angle / FALLEN_RAD, position / RAIL_M
        s.terms[0] = 1.0 - tilted * tilted
        s.terms[1] = -0.5 * (off * off)
        s.terms[2] = -0.02 * action[0] * action[0]
        s.terms[3] = FALL if s.terminated else 0.0
    elif s.truncated and s.still >= min(STILL_STEPS, p.horizon_steps):
        s.terms[4] = 1.0
    _read(p, s, s.steps + 1)


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    out[0] = min(max(s.read[0, CART], -3.0), 3.0)
    out[1] = min(max(s.read[1, CART], -20.0), 20.0)
    out[2] = min(max(s.read[0, POLE], -1.0), 1.0)
    out[3] = min(max(s.read[1, POLE], -50.0), 50.0)
    out[4] = s.commands[0, 0] / STRONGEST_N


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    out[0] = 1.0 if s.truncated and s.still >= min(STILL_STEPS, p.horizon_steps) else 0.0
    out[1] = s.steps * CONTROL_S
    out[2] = math.sqrt(s.angle_square / s.steps)
    out[3] = math.sqrt(s.position_square / s.steps)
