"""Gymnasium's ``Pusher-v5`` as a kernel of ours: its model, observation and reward, on our engine.

A kernel of a model that somebody else wrote names its file and asks the engine for fields of ``MjData``. Places of
bodies are those that Gymnasium observes: of the last substep but one, since a step of MuJoCo ends with moving joints.
"""

import math
from pathlib import Path

import gymnasium
import numpy as np
from numba import njit

from rlops.envs.contract import Column, Family, Parameter, Version, state_dtype
from rlops.envs.draws import stream_key, uniform
from rlops.envs.robotics.motors import engine_fields

MJCF = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "pusher_v5.xml"
MJDATA = ("xpos",)
ENGINES = ("mujoco",)
SUBSTEPS = 5
PARAMETERS = (
    Parameter("horizon_steps", "steps", 100, 1, 10_000, "reset", "Gymnasium Pusher-v5: 5 s", integer=True),
    Parameter("near_weight", "1/m", 0.5, 0, 10, "reset", "Gymnasium Pusher-v5"),
    Parameter("distance_weight", "1/m", 1.0, 0, 10, "reset", "Gymnasium Pusher-v5"),
    Parameter("control_weight", "-", 0.1, 0, 10, "reset", "Gymnasium Pusher-v5"),
)
JOINTS, POSITIONS, BODIES = 7, 11, 13
TIPS, OBJECT, GOAL = 10, 11, 12
"""Numbers of bodies in the model."""
TIPS_START, OBJECT_AT, GOAL_Z = (0.821, -0.6, 0.0), (0.45, -0.05, -0.275), -0.323
"""[m] Where the tips are when all joints are at zero, and where object and goal are at the zero of their slides."""
START = 0x6A09E667F3BCC908
"""Stream of the draws at the start."""
ACTION = tuple(Column(f"torque_{j}", "N m", -2, 2, f"of joint {j}") for j in range(JOINTS))
OBSERVATION = (
    Column("position", "rad", -np.inf, np.inf, "of the joints", count=JOINTS),
    Column("velocity", "rad/s", -np.inf, np.inf, "of the joints", count=JOINTS),
    Column("tips", "m", -np.inf, np.inf, "place of the arm's tips", count=3),
    Column("object", "m", -np.inf, np.inf, "place of the object", count=3),
    Column("goal", "m", -np.inf, np.inf, "place of the goal", count=3),
)
REWARD_TERMS = ("near", "distance", "control", "failure")
STATE = state_dtype(
    REWARD_TERMS,
    [*engine_fields(POSITIONS, POSITIONS, JOINTS, JOINTS), ("xpos", "f8", (3 * BODIES,))],
)


@njit(error_model="numpy")
def reset(p, s, d):
    """Begin with the arm stretched and the object away from the goal."""
    h = stream_key(s.key, 0, START)
    draw = np.uint64(0)
    x, y = 0.0, 0.0
    while math.hypot(x, y) <= 0.17:
        x, y = -0.3 * uniform(h, draw), 0.4 * uniform(h, draw + np.uint64(1)) - 0.2
        draw += np.uint64(2)
    s.qpos[JOINTS], s.qpos[JOINTS + 1] = x, y
    for j in range(JOINTS):
        s.qvel[j] = 0.01 * uniform(h, draw + np.uint64(j)) - 0.005
    for k in range(3):
        s.xpos[3 * TIPS + k] = TIPS_START[k]
        s.xpos[3 * OBJECT + k] = s.xpos[3 * GOAL + k] = OBJECT_AT[k]
    s.xpos[3 * OBJECT] += y
    s.xpos[3 * OBJECT + 1] += x
    s.xpos[3 * GOAL + 2] = GOAL_Z


@njit(error_model="numpy")
def act(p, s, d, action):
    """Give the joints their torques."""
    for j in range(JOINTS):
        s.force[j] = action[j]


@njit(error_model="numpy")
def gap(s, other):
    """Return how far the object is from another body [m]."""
    square = 0.0
    for k in range(3):
        square += (s.xpos[3 * OBJECT + k] - s.xpos[3 * other + k]) ** 2
    return math.sqrt(square)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Pay for nearness of tips and goal to the object, and charge for torque."""
    square = 0.0
    for j in range(JOINTS):
        square += action[j] ** 2
    s.terminated = s.failed
    s.truncated = s.steps + 1 >= p.horizon_steps
    s.terms[0] = -p.near_weight * gap(s, TIPS)
    s.terms[1] = -p.distance_weight * gap(s, GOAL)
    s.terms[2] = -p.control_weight * square
    s.terms[3] = -100.0 if s.failed else 0.0


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write joints and places."""
    for j in range(JOINTS):
        out[j], out[JOINTS + j] = s.qpos[j], s.qvel[j]
    for k in range(9):
        out[2 * JOINTS + k] = s.xpos[3 * TIPS + k]


PUSHER = Family(
    "Pusher",
    "Gymnasium's arm that pushes a cylinder; here to measure what the faces cost.",
    (Version(5, "Gymnasium's Pusher-v5.", __name__),),
)
