"""Arm push: slide a box on the floor to a goal, with the tip of an arm that can push but not grasp.

The action wants the speed of the joints, -1 … 1 of their greatest. An episode succeeds if the box is at the goal at its
end. The box lies on the floor with dry friction; where it is touched off its middle, it turns.
"""

import math

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.draws import stream_key, uniform
from rlops.envs.robotics.arm import (
    ELBOW,
    FASTEST,
    HEIGHT_M,
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
from rlops.envs.robotics.model import FLOOR, Body, Contact, Geom, Model, box_inertia
from rlops.envs.robotics.motors import CONTROL_S, engine_fields, read_joint
from rlops.envs.robotics.params import DENSE, PUSH_PARAMETERS
from rlops.envs.robotics.rays import length

PARAMETERS = PUSH_PARAMETERS
ENGINES = ("mujoco", "pybullet")
RENDER = "rlops.envs.robotics.render"
RENDER_FPS = 50
STEP_MINUTES = CONTROL_S / 60
DERIVED = {"read": "observation", "seen": "observation"}
INFO = ("failed",)
GOAL = ("box", "goal", "left")
"""Beginnings of the names of the columns that say where the box is, where it should be, and what is left to go."""

TIMESTEP_S = 0.002
SUBSTEPS = round(CONTROL_S / TIMESTEP_S)

JOINTS = 2
TIP_RADIUS_M, TIP_HALF_M = 0.02, 0.03
TIP_HEIGHT_M = 0.05
ROD_M = 0.055
"""[m] The rod that holds the tip ends so far above the arm's joints, within the forearm, which is only seen."""
BOX_START = (0.28, 0.34, 0.5)
GOAL_START = (0.40, 0.48, 0.4)
"""The box begins, and the goal lies, between two radii [m] and within an angle [rad]: the box's to either side of the
middle, the goal's to either side of the box."""
APPROACH = -5.0
"""[1/m] Of the tip's distance from where it would push the box straight to the goal."""
FAILED = -100.0
"""[-] Reward of a step that the engine could not take."""
START, TARGET = 0xE9B5DBA58189DBBC, 0x3956C25BF348B538
"""Streams of draws."""

ACTION = (
    Column("shoulder", "-", -1, 1, "speed of the shoulder, of 3 rad/s"),
    Column("elbow", "-", -1, 1, "speed of the elbow, of 4 rad/s"),
)
OBSERVATION = (
    Column("shoulder_cos", "-", -1, 1, "of its angle, as read"),
    Column("shoulder_sin", "-", -1, 1, "of its angle, as read"),
    Column("elbow_cos", "-", -1, 1, "of its angle, as read"),
    Column("elbow_sin", "-", -1, 1, "of its angle, as read"),
    Column("shoulder_speed", "-", -2, 2, "of its greatest, as read"),
    Column("elbow_speed", "-", -2, 2, "of its greatest, as read"),
    Column("tip_x", "m", -1, 1, "of the tip, as seen"),
    Column("tip_y", "m", -1, 1, "of the tip, as seen"),
    Column("box_x", "m", -1, 1, "of the box, as seen"),
    Column("box_y", "m", -1, 1, "of the box, as seen"),
    Column("box_cos", "-", -1, 1, "of four times the angle that the box has turned, which looks alike every quarter"),
    Column("box_sin", "-", -1, 1, "of four times the angle that the box has turned"),
    Column("box_speed_x", "m/s", -3, 3, "of the box, as seen"),
    Column("box_speed_y", "m/s", -3, 3, "of the box, as seen"),
    Column("goal_x", "m", -1, 1, "of the goal"),
    Column("goal_y", "m", -1, 1, "of the goal"),
    Column("left_x", "m", -1, 1, "of the way from the box, as seen, to the goal"),
    Column("left_y", "m", -1, 1, "of the way from the box, as seen, to the goal"),
    Column("gap_x", "m", -1, 1, "from the tip, as seen, to the box"),
    Column("gap_y", "m", -1, 1, "from the tip, as seen, to the box"),
)
REWARD_TERMS = ("goal", "approach", "effort", "failure")
KPIS = (
    Column("is_success", "-", 0, 1, "the box was at the goal at the end"),
    Column("distance_m", "m", 0, 10, "of the box from the goal, at the end"),
    Column("at_goal_s", "s", 0, 100, "that the box was at the goal"),
    Column("effort", "-", 0, 1, "mean square of the action"),
)
BOX = JOINTS
"""Where the box's positions and velocities begin."""
STATE = state_dtype(
    REWARD_TERMS,
    [
        *engine_fields(JOINTS + 7, JOINTS + 6, JOINTS, JOINTS),
        ("goal", "f8", (2,)),  # x, y [m]
        ("seen", "f8", (4,)),  # tip and box, as the camera sees them
        ("distance", "f8"),  # of the box from the goal
        ("at_goal", "i8"),  # steps
        ("effort", "f8"),  # sum over the episode
    ],
)


def build(p):
    """Return the arm with its tip, and the box."""
    down = TIP_HEIGHT_M - HEIGHT_M
    tip = (
        Geom(
            "cylinder", (0.01, 0.5 * (ROD_M - down)), (p.fore_length_m, 0.0, 0.5 * (ROD_M + down)),
            colour=(0.45, 0.45, 0.48),
        ),
        Geom(
            "cylinder", (TIP_RADIUS_M, TIP_HALF_M), (p.fore_length_m, 0.0, down), colour=(0.75, 0.22, 0.17),
            touches=True,
        ),
    )  # fmt: skip
    half = p.box_half_m
    box = Body(
        "box", p.box_mass_kg, box_inertia(p.box_mass_kg, half, half, half), "free", at=(BOX_START[1], 0.0, half),
        centre=(p.box_centre_m, 0.0, 0.0),
        geoms=(Geom("box", (half, half, half), colour=(0.78, 0.62, 0.42), touches=True),),
    )  # fmt: skip
    contacts = (Contact(("box", FLOOR), p.friction), Contact(("elbow", "box"), p.tip_friction))
    return Model("arm-push", (*links(p, tip=tip), box), TIMESTEP_S, contacts)


@njit(error_model="numpy")
def reset(p, s, d):
    """Begin with the arm folded behind the box, and the goal beyond it."""
    h = stream_key(s.key, 0, START)
    radius = BOX_START[0] + (BOX_START[1] - BOX_START[0]) * uniform(h, 0)
    angle = BOX_START[2] * (2.0 * uniform(h, 1) - 1.0)
    turned = 0.5 * math.pi * (uniform(h, 2) - 0.5)
    s.qpos[BOX], s.qpos[BOX + 1], s.qpos[BOX + 2] = radius * math.cos(angle), radius * math.sin(angle), p.box_half_m
    s.qpos[BOX + 3], s.qpos[BOX + 6] = math.cos(0.5 * turned), math.sin(0.5 * turned)
    s.qpos[SHOULDER] = angle - 1.2 + 0.2 * (2.0 * uniform(h, 3) - 1.0)
    s.qpos[ELBOW] = 2.45
    h = stream_key(s.key, 0, TARGET)
    radius = GOAL_START[0] + (GOAL_START[1] - GOAL_START[0]) * uniform(h, 0)
    angle += GOAL_START[2] * (2.0 * uniform(h, 1) - 1.0)
    s.goal[0], s.goal[1] = radius * math.cos(angle), radius * math.sin(angle)
    _look(p, s, 0)


@njit(error_model="numpy")
def _look(p, s, time):
    """Read the joints, and see the tip and the box."""
    for j in range(JOINTS):
        read_joint(p, s, time, j, s.qpos[j], s.qvel[j])
    s.distance = length(s.qpos[BOX] - s.goal[0], s.qpos[BOX + 1] - s.goal[1])
    s.seen[0] = seen(p, s, time, 0, tip_x(p, s))
    s.seen[1] = seen(p, s, time, 1, tip_y(p, s))
    s.seen[2] = seen(p, s, time, 2, s.qpos[BOX])
    s.seen[3] = seen(p, s, time, 3, s.qpos[BOX + 1])


@njit(error_model="numpy")
def act(p, s, d, action):
    """Let the joints' controllers work."""
    for j in range(JOINTS):
        drive_joint(p, s, j, action[j], 0.0)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Judge where the box has come."""
    _look(p, s, s.steps + 1)
    effort = (action[0] * action[0] + action[1] * action[1]) / JOINTS
    s.at_goal += s.distance <= p.tolerance_m
    s.effort += effort
    s.terminated = s.failed
    s.truncated = not s.terminated and s.steps + 1 >= p.horizon_steps
    s.terms[0] = goal_term(p, s.distance)
    s.terms[1] = APPROACH * _astray(p, s) if p.reward_mode == DENSE else 0.0
    s.terms[2] = -p.effort_cost * effort
    s.terms[3] = FAILED if s.failed else 0.0


@njit(error_model="numpy")
def _astray(p, s):
    """Return how far the tip is [m] from touching the box on the side away from the goal; 0 once the box is there."""
    if s.distance <= p.tolerance_m:
        return 0.0
    back = 1.0 + (p.box_half_m + TIP_RADIUS_M) / s.distance
    x = s.goal[0] + back * (s.qpos[BOX] - s.goal[0])
    y = s.goal[1] + back * (s.qpos[BOX + 1] - s.goal[1])
    return length(tip_x(p, s) - x, tip_y(p, s) - y)


@njit(error_model="numpy")
def box_angle(s):
    """Return how far the box has turned about the vertical [rad]."""
    w, x, y, z = s.qpos[BOX + 3], s.qpos[BOX + 4], s.qpos[BOX + 5], s.qpos[BOX + 6]
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    out[0], out[1] = math.cos(s.read[0, SHOULDER]), math.sin(s.read[0, SHOULDER])
    out[2], out[3] = math.cos(s.read[0, ELBOW]), math.sin(s.read[0, ELBOW])
    for j in range(JOINTS):
        out[4 + j] = min(max(s.read[1, j] / FASTEST[j], -2.0), 2.0)
    for k in range(4):
        out[6 + k] = min(max(s.seen[k], -1.0), 1.0)
    turned = 4.0 * box_angle(s)
    out[10], out[11] = math.cos(turned), math.sin(turned)
    out[12] = min(max(s.qvel[BOX], -3.0), 3.0)
    out[13] = min(max(s.qvel[BOX + 1], -3.0), 3.0)
    for k in range(2):
        out[14 + k] = s.goal[k]
        out[16 + k] = min(max(s.goal[k] - s.seen[2 + k], -1.0), 1.0)
        out[18 + k] = min(max(s.seen[2 + k] - s.seen[k], -1.0), 1.0)


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    out[0] = 1.0 if s.distance <= p.tolerance_m and not s.failed else 0.0
    out[1] = s.distance
    out[2] = s.at_goal * CONTROL_S
    out[3] = s.effort / s.steps
