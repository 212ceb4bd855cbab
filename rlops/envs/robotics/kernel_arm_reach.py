"""Arm reach: bring the hand of a SCARA arm to a goal in space, and hold it there.

The action wants the speed of the joints, -1 … 1 of their greatest. An episode succeeds if the hand is at the goal at
its end.
"""

import math

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.draws import stream_key, uniform
from rlops.envs.robotics.arm import (
    ELBOW,
    FASTEST,
    HEIGHT_M,
    QUILL,
    SHOULDER,
    drive_joint,
    goal_term,
    links,
    seen,
    tip_x,
    tip_y,
)
from rlops.envs.robotics.arm import (
    goal_rewards as goal_rewards,
)
from rlops.envs.robotics.model import GRAVITY, Body, Geom, Model, cylinder_inertia, joined
from rlops.envs.robotics.motors import CONTROL_S, engine_fields, read_joint
from rlops.envs.robotics.params import REACH_PARAMETERS

PARAMETERS = REACH_PARAMETERS
ENGINES = ("mujoco", "pybullet")
RENDER = "rlops.envs.robotics.render"
RENDER_FPS = 50
STEP_MINUTES = CONTROL_S / 60
DERIVED = {"read": "observation", "seen": "observation"}
INFO = ("failed",)
GOAL = ("hand", "goal", "left")
"""Beginnings of the names of the columns that say where the hand is, where it should be, and what is left to go."""

TIMESTEP_S = 0.002
SUBSTEPS = round(CONTROL_S / TIMESTEP_S)

JOINTS = 3
HAND_KG = 0.5
"""[kg] What the quill's drive holds against gravity, whatever it carries."""
HAND_M = 0.3
"""[m] The hand hangs so far below the arm when the quill is at 0."""
ABOVE_M = 0.16
"""[m] The quill stands so far above the arm then, which is only seen."""
NEAREST_M, FARTHEST_M = 0.2, 0.45
WIDEST_RAD = 1.4
LOWEST_M, HIGHEST_M = 0.05, 0.25
"""Goals lie between these radii, within this angle to either side, and between these heights: the arm reaches all of
them with its elbow on either side."""
FAILED = -100.0
"""[-] Reward of a step that the engine could not take."""
START, TARGET = 0x7137449123EF65CD, 0xB5C0FBCFEC4D3B2F
"""Streams of draws."""

ACTION = (
    Column("shoulder", "-", -1, 1, "speed of the shoulder, of 3 rad/s"),
    Column("elbow", "-", -1, 1, "speed of the elbow, of 4 rad/s"),
    Column("quill", "-", -1, 1, "speed of the quill, upwards, of 0.6 m/s"),
)
OBSERVATION = (
    Column("shoulder_cos", "-", -1, 1, "of its angle, as read"),
    Column("shoulder_sin", "-", -1, 1, "of its angle, as read"),
    Column("elbow_cos", "-", -1, 1, "of its angle, as read"),
    Column("elbow_sin", "-", -1, 1, "of its angle, as read"),
    Column("quill", "m", -1, 1, "as read"),
    Column("shoulder_speed", "-", -2, 2, "of its greatest, as read"),
    Column("elbow_speed", "-", -2, 2, "of its greatest, as read"),
    Column("quill_speed", "-", -2, 2, "of its greatest, as read"),
    Column("hand_x", "m", -1, 1, "of the hand, as seen"),
    Column("hand_y", "m", -1, 1, "of the hand, as seen"),
    Column("hand_z", "m", -1, 1, "of the hand, as seen"),
    Column("goal_x", "m", -1, 1, "of the goal"),
    Column("goal_y", "m", -1, 1, "of the goal"),
    Column("goal_z", "m", -1, 1, "of the goal"),
    Column("left_x", "m", -1, 1, "of the way from the hand, as seen, to the goal"),
    Column("left_y", "m", -1, 1, "of the way from the hand, as seen, to the goal"),
    Column("left_z", "m", -1, 1, "of the way from the hand, as seen, to the goal"),
)
REWARD_TERMS = ("goal", "effort", "failure")
KPIS = (
    Column("is_success", "-", 0, 1, "the hand was at the goal at the end"),
    Column("distance_m", "m", 0, 2, "from the goal, at the end"),
    Column("at_goal_s", "s", 0, 100, "spent at the goal"),
    Column("effort", "-", 0, 1, "mean square of the action"),
)
STATE = state_dtype(
    REWARD_TERMS,
    [
        *engine_fields(JOINTS, JOINTS, JOINTS, JOINTS),
        ("goal", "f8", (3,)),  # x, y, z [m]
        ("seen", "f8", (3,)),  # the hand, as the camera sees it
        ("distance", "f8"),  # of the hand from the goal
        ("at_goal", "i8"),  # steps
        ("effort", "f8"),  # sum over the episode
    ],
)


def build(p):
    """Return the arm with its quill and hand."""
    hand = (p.hand_mass_kg, (0.0, 0.0, -0.5 * HAND_M), cylinder_inertia(p.hand_mass_kg, 0.015, 0.5 * HAND_M))
    payload = (p.payload_kg, (0.0, 0.0, -HAND_M), (0.0, 0.0, 0.0))
    mass, centre, inertia = joined(hand, payload)
    quill = Body(
        "quill", mass, inertia, "slide", "z", "elbow", at=(p.fore_length_m, 0.0, 0.0), centre=centre, damping=1.0,
        driven=True,
        geoms=(
            Geom(
                "cylinder", (0.015, 0.5 * (ABOVE_M + HAND_M)), (0.0, 0.0, 0.5 * (ABOVE_M - HAND_M)),
                colour=(0.45, 0.45, 0.48),
            ),
            Geom("sphere", (0.025,), (0.0, 0.0, -HAND_M), colour=(0.75, 0.22, 0.17)),
        ),
    )  # fmt: skip
    return Model("arm-reach", (*links(p), quill), TIMESTEP_S)


@njit(error_model="numpy")
def reset(p, s, d):
    """Begin somewhere, with a goal elsewhere."""
    h = stream_key(s.key, 0, START)
    s.qpos[SHOULDER] = 2.0 * uniform(h, 0) - 1.0
    s.qpos[ELBOW] = 3.0 * uniform(h, 1) - 1.5
    s.qpos[QUILL] = 0.1 * uniform(h, 2)
    h = stream_key(s.key, 0, TARGET)
    radius = math.sqrt(NEAREST_M**2 + (FARTHEST_M**2 - NEAREST_M**2) * uniform(h, 0))
    angle = WIDEST_RAD * (2.0 * uniform(h, 1) - 1.0)
    s.goal[0] = radius * math.cos(angle)
    s.goal[1] = radius * math.sin(angle)
    s.goal[2] = LOWEST_M + (HIGHEST_M - LOWEST_M) * uniform(h, 2)
    _look(p, s, 0)


@njit(error_model="numpy")
def _look(p, s, time):
    """Read the joints, and see the hand."""
    for j in range(JOINTS):
        read_joint(p, s, time, j, s.qpos[j], s.qvel[j])
    x, y, z = tip_x(p, s), tip_y(p, s), HEIGHT_M - HAND_M + s.qpos[QUILL]
    off_x, off_y, off_z = x - s.goal[0], y - s.goal[1], z - s.goal[2]
    s.distance = math.sqrt(off_x * off_x + off_y * off_y + off_z * off_z)
    s.seen[0] = seen(p, s, time, 0, x)
    s.seen[1] = seen(p, s, time, 1, y)
    s.seen[2] = seen(p, s, time, 2, z)


@njit(error_model="numpy")
def act(p, s, d, action):
    """Let the joints' controllers work."""
    for j in range(JOINTS):
        drive_joint(p, s, j, action[j], HAND_KG * GRAVITY if j == QUILL else 0.0)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Judge where the hand has come."""
    _look(p, s, s.steps + 1)
    near = s.distance <= p.tolerance_m
    effort = (action[0] * action[0] + action[1] * action[1] + action[2] * action[2]) / JOINTS
    s.at_goal += near
    s.effort += effort
    s.terminated = s.failed
    s.truncated = not s.terminated and s.steps + 1 >= p.horizon_steps
    s.terms[0] = goal_term(p, s.distance)
    s.terms[1] = -p.effort_cost * effort
    s.terms[2] = FAILED if s.failed else 0.0


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    out[0], out[1] = math.cos(s.read[0, SHOULDER]), math.sin(s.read[0, SHOULDER])
    out[2], out[3] = math.cos(s.read[0, ELBOW]), math.sin(s.read[0, ELBOW])
    out[4] = min(max(s.read[0, QUILL], -1.0), 1.0)
    for j in range(JOINTS):
        out[5 + j] = min(max(s.read[1, j] / FASTEST[j], -2.0), 2.0)
    for k in range(3):
        out[8 + k] = min(max(s.seen[k], -1.0), 1.0)
        out[11 + k] = s.goal[k]
        out[14 + k] = min(max(s.goal[k] - s.seen[k], -1.0), 1.0)


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    out[0] = 1.0 if s.distance <= p.tolerance_m and not s.failed else 0.0
    out[1] = s.distance
    out[2] = s.at_goal * CONTROL_S
    out[3] = s.effort / s.steps
