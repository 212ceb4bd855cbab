"""Warehouse navigation: a robot drives to a goal in another aisle, with a lidar and without touching anything.

The action wants a speed and a turn, -1 … 1 of the greatest. An episode ends when the robot stands at the goal, when it
touches a shelf or a wall, or when its battery is empty. It succeeds if it stands at the goal.
"""

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.draws import integer, stream_key, uniform
from rlops.envs.robotics.amr import (
    BEAMS,
    DECISION_S,
    RANGE_M,
    amr_bodies,
    amr_fields,
    drive_robots,
    is_empty,
    observe_robot,
    sense,
    start,
)
from rlops.envs.robotics.hall import (
    PLACE,
    clearance_m,
    find_ways,
    hall_fields,
    lay_out,
    next_place,
    place_in_aisle,
)
from rlops.envs.robotics.model import Model
from rlops.envs.robotics.motors import engine_fields
from rlops.envs.robotics.params import DENSE
from rlops.envs.robotics.params_warehouse import NAV_PARAMETERS
from rlops.envs.robotics.rays import length

PARAMETERS = NAV_PARAMETERS
ENGINES = ("mujoco", "pybullet")
RENDER = "rlops.envs.robotics.render_warehouse"
RENDER_FPS = 10
PARALLEL_ROWS_BESIDE_ENGINE = 128
STEP_MINUTES = DECISION_S / 60
DERIVED = {
    "read": "observation", "lidar": "observation", "command": "observation", "way_m": "reward", "drawn_wh": "reward",
}  # fmt: skip
INFO = ("failed",)

TIMESTEP_S = 0.01
SUBSTEPS = round(DECISION_S / TIMESTEP_S)

STILL_M_PER_S = 0.5
"""[m/s] A robot that is slower stands at the goal."""
PROGRESS = 2.0
"""[1/m] Of the way to the goal."""
ARRIVED, TOUCHED, FAILED = 10.0, -15.0, -30.0
"""[-] Rewards of the goal, of a collision, and of a step that the engine could not take or an empty battery."""
DELAY = -0.02
"""[-] Of every step."""
CLOSE_M, CLOSE = 0.1, -0.2
"""A hull nearer than this to a shelf or a wall [m] costs up to this much a step."""

ACTION = (
    Column("speed", "-", -1, 1, "of 1.2 m/s"),
    Column("turn", "-", -1, 1, "of 2.5 rad/s, to the left"),
)
OBSERVATION = (
    Column("lidar", "m", 0, RANGE_M, "to what a beam meets, all round, the first straight ahead, to the left", BEAMS),
    Column("goal_distance", "m", 0, 12, "as the crow flies, from where it believes to be"),
    Column("goal_cos", "-", -1, 1, "of the goal's direction, from straight ahead"),
    Column("goal_sin", "-", -1, 1, "of the goal's direction"),
    Column("speed", "m/s", -2, 2, "as the wheels say"),
    Column("yaw_rate", "rad/s", -6, 6, "as the wheels say"),
    Column("speed_command", "-", -1, 1, "the last one"),
    Column("turn_command", "-", -1, 1, "the last one"),
    Column("voltage", "-", 0, 1, "of the battery under load, share of a full one's; below 0.5 nothing works"),
)
REWARD_TERMS = ("progress", "goal", "collision", "delay", "closeness", "energy", "failure")
KPIS = (
    Column("is_success", "-", 0, 1, "the robot stood at the goal"),
    Column("distance_m", "m", 0, 12, "from the goal, at the end"),
    Column("path_efficiency", "-", 0, 1, "how much shorter the way has become, over what was driven"),
    Column("collisions", "-", 0, 1, "that ended the episode"),
    Column("energy_wh", "Wh", 0, 20, "drawn by motors and computer"),
    Column("duration_s", "s", 0, 500, "of the episode"),
    Column("least_clearance_m", "m", -0.3, 4, "of the hull from shelves and walls"),
)
STATE = state_dtype(
    REWARD_TERMS,
    [
        *engine_fields(3, 3, 3, 3),
        *amr_fields(1),
        *hall_fields(1),
        ("way_m", "f8"),  # that is left
        ("first_way_m", "f8"),  # that was to go
        ("drawn_wh", "f8"),  # until the last step
        ("least_clearance_m", "f8"),
        ("arrived", "?"),
    ],
)


def build(p):
    """Return the robot's base; what stands in the hall is drawn for every episode, and belongs to the state."""
    return Model("warehouse", amr_bodies(p, 0), TIMESTEP_S)


@njit(error_model="numpy")
def reset(p, s, d):
    """Draw a hall, and a start and a goal in two of its aisles."""
    lay_out(p, s)
    h = stream_key(s.key, 0, PLACE)
    aisles = p.shelf_rows + 1
    first = integer(h, 0, aisles)
    x, y = place_in_aisle(p, s, first, uniform(h, 1), uniform(h, 2))
    start(p, s, 0, x, y)
    other = (first + 1 + integer(h, 3, aisles - 1)) % aisles
    s.goal[0, 0], s.goal[0, 1] = place_in_aisle(p, s, other, uniform(h, 4), uniform(h, 5))
    find_ways(s, 0)
    s.way_m = s.first_way_m = next_place(s, 0, x, y)[2]
    s.least_clearance_m = clearance_m(s, x, y)
    sense(p, s, 0, 0)


@njit(error_model="numpy")
def act(p, s, d, action):
    """Let the wheels push."""
    drive_robots(p, s, action)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Judge where the robot has come."""
    x, y = s.qpos[0], s.qpos[1]
    sense(p, s, 0, s.steps + 1)
    clearance = clearance_m(s, x, y)
    speed = length(s.qvel[0], s.qvel[1])
    s.driven_m[0] += 0.0 if s.failed else speed * DECISION_S
    s.least_clearance_m = min(s.least_clearance_m, clearance)
    if clearance < 0.0:
        s.touched[0] = 1
    distance = length(s.goal[0, 0] - x, s.goal[0, 1] - y)
    s.arrived = distance <= p.tolerance_m and speed <= STILL_M_PER_S and s.touched[0] == 0
    dead = s.failed or is_empty(s, 0)
    s.terminated = s.arrived or s.touched[0] > 0 or dead
    s.truncated = not s.terminated and s.steps + 1 >= p.horizon_steps
    _pay(p, s, clearance, dead)


@njit(error_model="numpy")
def _pay(p, s, clearance, dead):
    """Write the reward terms."""
    before, s.way_m = s.way_m, next_place(s, 0, s.qpos[0], s.qpos[1])[2]
    drawn = s.energy_wh[0] - s.drawn_wh
    s.drawn_wh = s.energy_wh[0]
    if p.reward_mode == DENSE:
        s.terms[0] = PROGRESS * (before - s.way_m)
        s.terms[1] = ARRIVED if s.arrived else 0.0
        s.terms[2] = TOUCHED if s.touched[0] else 0.0
        s.terms[3] = DELAY
        s.terms[4] = CLOSE * min(max(1.0 - clearance / CLOSE_M, 0.0), 1.0)
        s.terms[5] = -p.energy_cost * drawn
    else:
        s.terms[1] = 1.0 if s.arrived else 0.0
    s.terms[6] = FAILED if dead else 0.0


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    observe_robot(s, 0, out, 0)


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    out[0] = 1.0 if s.arrived else 0.0
    out[1] = length(s.goal[0, 0] - s.qpos[0], s.goal[0, 1] - s.qpos[1])
    out[2] = min(max((s.first_way_m - s.way_m) / max(s.driven_m[0], 1e-6), 0.0), 1.0)
    out[3] = 1.0 if s.touched[0] else 0.0
    out[4] = s.energy_wh[0]
    out[5] = s.steps * DECISION_S
    out[6] = s.least_clearance_m
