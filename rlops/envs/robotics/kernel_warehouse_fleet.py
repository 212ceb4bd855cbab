"""A fleet of warehouse robots: four of them carry orders from shelves to docks, without running into each other.

Each wants a speed and a turn, as in :mod:`~rlops.envs.robotics.kernel_warehouse_nav`. It picks at a place in an aisle,
unloads at a dock, and so on; at either it has to stand for a while. Docks are shared, so robots queue; while unloading
they are charged. Bumpers let robots push off what they touch, which costs. An episode ends early only if a battery is
empty.
"""

import math
from dataclasses import replace

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.draws import integer, stream_key, uniform
from rlops.envs.robotics.amr import (
    DECISION_S,
    TICKS,
    X,
    Y,
    amr_bodies,
    amr_fields,
    draw_power,
    drive_robots,
    is_empty,
    observe_robot,
    sense,
    start,
)
from rlops.envs.robotics.hall import (
    FROM_WALL_M,
    PLACE,
    RADIUS_M,
    SIZE_M,
    clearance_m,
    find_ways,
    hall_fields,
    lay_out,
    next_place,
    place_in_aisle,
)
from rlops.envs.robotics.kernel_warehouse_nav import ACTION as ACTION_OF_ONE
from rlops.envs.robotics.kernel_warehouse_nav import CLOSE, CLOSE_M, FAILED, PROGRESS, STILL_M_PER_S
from rlops.envs.robotics.kernel_warehouse_nav import OBSERVATION as SEEN_BY_ONE
from rlops.envs.robotics.model import Model
from rlops.envs.robotics.motors import engine_fields
from rlops.envs.robotics.params import DENSE
from rlops.envs.robotics.params_warehouse import FLEET_PARAMETERS
from rlops.envs.robotics.rays import length

PARAMETERS = FLEET_PARAMETERS
ENGINES = ("mujoco", "pybullet")
RENDER = "rlops.envs.robotics.render_warehouse"
RENDER_FPS = 10
PARALLEL_ROWS_BESIDE_ENGINE = 128
STEP_MINUTES = DECISION_S / 60
DERIVED = {
    "read": "observation", "lidar": "observation", "command": "observation", "way_m": "reward", "drawn_wh": "reward",
    "pay": "reward",
}  # fmt: skip
INFO = ("failed",)

TIMESTEP_S = 0.01
SUBSTEPS = round(DECISION_S / TIMESTEP_S)

ROBOTS, DOCKS = 4, 2
TO_PICK, TO_DOCK = range(2)
"""Phases of a robot."""
SERVED, BUMPED = 10.0, -5.0
"""[-] Rewards of a pick or a delivery, and of every time that something is touched."""
ORDER = 0x1F6D9A3C5B7E2D11
"""Stream of draws."""

ACTION = tuple(replace(column, name=f"{column.name}_{r}") for r in range(ROBOTS) for column in ACTION_OF_ONE)
AGENTS = tuple(f"robot_{r}" for r in range(ROBOTS))
AGENT_ACTION = (ACTION_OF_ONE,) * ROBOTS
AGENT_OBSERVATION = (
    *SEEN_BY_ONE,
    Column("loaded", "-", 0, 1, "it goes to a dock, not to a shelf"),
    Column("served", "-", 0, 1, "share of the time that it has to stand there"),
    Column("other_distance", "m", 0, 12, "of the nearest other robot, from where both believe to be"),
    Column("other_cos", "-", -1, 1, "of its direction, from straight ahead"),
    Column("other_sin", "-", -1, 1, "of its direction"),
)
OF_ONE = sum(column.count for column in AGENT_OBSERVATION)
OBSERVATION = tuple(replace(column, name=f"{column.name}_{r}") for r in range(ROBOTS) for column in AGENT_OBSERVATION)
REWARD_TERMS = ("progress", "order", "collision", "closeness", "energy", "failure")
KPIS = (
    Column("deliveries", "-", 0, 1000, "orders that were unloaded at a dock; two robots begin with one"),
    Column("picks", "-", 0, 1000, "orders that were picked"),
    Column("deliveries_per_hour", "1/h", 0, 10000, "of all robots"),
    Column("collisions", "-", 0, 10000, "times that a robot touched something"),
    Column("path_efficiency", "-", 0, 1, "ways of the orders done, at their shortest, over what was driven"),
    Column("energy_wh", "Wh", 0, 100, "drawn by motors and computers"),
    Column("duration_s", "s", 0, 500, "of the episode"),
)
STATE = state_dtype(
    REWARD_TERMS,
    [
        *engine_fields(3 * ROBOTS, 3 * ROBOTS, 3 * ROBOTS, 3 * ROBOTS),
        *amr_fields(ROBOTS),
        *hall_fields(ROBOTS),
        ("phase", "i8", (ROBOTS,)),
        ("orders", "i8", (ROBOTS,)),  # places served
        ("served", "i8", (ROBOTS,)),  # steps that it has stood at its place
        ("in_touch", "i1", (ROBOTS,)),  # with something at the end of the last step
        ("bumps", "i8", (ROBOTS,)),
        ("way_m", "f8", (ROBOTS,)),  # that is left
        ("first_way_m", "f8", (ROBOTS,)),  # that this order had
        ("done_m", "f8", (ROBOTS,)),  # shortest ways of the orders done
        ("drawn_wh", "f8", (ROBOTS,)),  # until the last step
        ("pay", "f8", (ROBOTS,)),  # of the last step
    ],
)


def build(p):
    """Return the robots' bases; what stands in the hall is drawn for every episode, and belongs to the state."""
    return Model("warehouse", sum((amr_bodies(p, r) for r in range(ROBOTS)), ()), TIMESTEP_S)


@njit(error_model="numpy")
def reset(p, s, d):
    """Draw a hall, spread the robots over its aisles, and send every other one to a dock."""
    lay_out(p, s)
    h = stream_key(s.key, 0, PLACE)
    aisles = p.shelf_rows + 1
    for r in range(ROBOTS):
        half = (r // aisles + integer(h, 20 + r % aisles, 2)) % 2
        along, across = 0.55 * half + 0.45 * uniform(h, 2 * r), uniform(h, 2 * r + 1)
        x, y = place_in_aisle(p, s, r % aisles, along, across)
        start(p, s, r, x, y)
        s.phase[r] = TO_DOCK if r % 2 else TO_PICK
    for r in range(ROBOTS):
        _send(p, s, r)
        sense(p, s, r, 0)


@njit(error_model="numpy")
def _send(p, s, r):
    """Give robot ``r`` the place where it is to go next."""
    if s.phase[r] == TO_DOCK:
        dock = (r + s.orders[r] // 2) % DOCKS
        along, across = FROM_WALL_M, s.aisle[dock]
        s.goal[r, 0], s.goal[r, 1] = (across, along) if s.turned else (along, across)
    else:
        h = stream_key(s.key, s.orders[r], ORDER)
        aisle = integer(h, 3 * r, p.shelf_rows + 1)
        along = 0.3 + 0.7 * uniform(h, 3 * r + 1)  # away from the docks
        s.goal[r, 0], s.goal[r, 1] = place_in_aisle(p, s, aisle, along, uniform(h, 3 * r + 2))
    find_ways(s, r)
    s.served[r] = 0
    s.way_m[r] = s.first_way_m[r] = next_place(s, r, s.qpos[3 * r + X], s.qpos[3 * r + Y])[2]


@njit(error_model="numpy")
def act(p, s, d, action):
    """Let the wheels push."""
    drive_robots(p, s, action)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Judge where the robots have come."""
    dead = s.failed
    for r in range(ROBOTS):
        s.pay[r] = 0.0
        _serve(p, s, r)
        dead = dead or is_empty(s, r)
    for r in range(ROBOTS):
        sense(p, s, r, s.steps + 1)
    s.terminated = dead
    s.truncated = not dead and s.steps + 1 >= p.horizon_steps
    if dead:
        for r in range(ROBOTS):
            _pay(s, r, 5, FAILED / ROBOTS)


@njit(error_model="numpy")
def _pay(s, r, term, reward):
    """Give robot ``r`` a ``reward`` of one kind."""
    s.pay[r] += reward
    s.terms[term] += reward


@njit(error_model="numpy")
def _serve(p, s, r):
    """Judge one robot, and give it its next order if it has stood long enough at its place."""
    x, y = s.qpos[3 * r + X], s.qpos[3 * r + Y]
    speed = length(s.qvel[3 * r + X], s.qvel[3 * r + Y])
    s.driven_m[r] += 0.0 if s.failed else speed * DECISION_S
    before = s.way_m[r]
    s.way_m[r] = next_place(s, r, x, y)[2]
    clearance = min(clearance_m(s, x, y), room_m(s, r))
    touching = s.touched[r] > 0 or clearance < 0.0
    dense = p.reward_mode == DENSE
    if dense:
        _pay(s, r, 0, PROGRESS * (before - s.way_m[r]))
        _pay(s, r, 3, CLOSE * min(max(1.0 - clearance / CLOSE_M, 0.0), 1.0))
    if touching and s.in_touch[r] == 0:
        s.bumps[r] += 1
        if dense:
            _pay(s, r, 2, BUMPED)
    s.in_touch[r] = 1 if touching else 0
    standing = length(s.goal[r, 0] - x, s.goal[r, 1] - y) <= p.tolerance_m and speed <= STILL_M_PER_S
    s.served[r] = s.served[r] + 1 if standing else 0
    if standing and s.phase[r] == TO_DOCK:
        _charge(p, s, r)
    if s.served[r] * DECISION_S >= max(p.service_s, DECISION_S) - 1e-9:
        _pay(s, r, 1, SERVED if dense else 1.0)
        s.done_m[r] += s.first_way_m[r]
        s.orders[r] += 1
        s.phase[r] = 1 - s.phase[r]
        _send(p, s, r)
    if dense:
        _pay(s, r, 4, -p.energy_cost * (s.energy_wh[r] - s.drawn_wh[r]))
    s.drawn_wh[r] = s.energy_wh[r]


@njit(error_model="numpy")
def _charge(p, s, r):
    """Charge the battery of a robot that unloads, as long as it is not full."""
    energy = s.energy_wh[r]
    for _ in range(TICKS):
        if s.charge_wh[r] < p.battery_wh:
            draw_power(p, s, r, -p.charger_w)
    s.energy_wh[r] = energy  # what comes in is not what it draws
    s.charge_wh[r] = min(s.charge_wh[r], p.battery_wh)


@njit(error_model="numpy")
def room_m(s, r):
    """Return how far the hull of robot ``r`` is from that of the nearest other robot [m]."""
    nearest = SIZE_M
    for other in range(ROBOTS):
        if other != r:
            off_x = s.qpos[3 * other + X] - s.qpos[3 * r + X]
            off_y = s.qpos[3 * other + Y] - s.qpos[3 * r + Y]
            nearest = min(nearest, length(off_x, off_y) - 2.0 * RADIUS_M)
    return nearest


@njit(error_model="numpy")
def step_agents(p, s, d, actions, rewards):
    """Judge where the robots have come; each gets its own rewards, but for the part that all share alike."""
    s.moving = False
    step(p, s, d, actions.reshape(-1))
    total = 0.0
    for r in range(ROBOTS):
        total += s.pay[r]
    for r in range(ROBOTS):
        rewards[r] = (1.0 - p.reward_sharing) * s.pay[r] + p.reward_sharing * total / ROBOTS


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write what all robots see, one after another."""
    for r in range(ROBOTS):
        _observe(p, s, r, out, r * OF_ONE)


@njit(error_model="numpy")
def observe_agent(p, s, d, a, out):
    """Write what robot ``a`` sees."""
    _observe(p, s, a, out, 0)


@njit(error_model="numpy")
def _observe(p, s, r, out, at):
    at = observe_robot(s, r, out, at)
    out[at] = 1.0 if s.phase[r] == TO_DOCK else 0.0
    out[at + 1] = min(s.served[r] * DECISION_S / max(p.service_s, DECISION_S), 1.0)
    nearest, to_x, to_y = math.inf, 1.0, 0.0
    for other in range(ROBOTS):
        off_x = s.read[0, 3 * other + X] - s.read[0, 3 * r + X]
        off_y = s.read[0, 3 * other + Y] - s.read[0, 3 * r + Y]
        if other != r and length(off_x, off_y) < nearest:
            nearest, to_x, to_y = length(off_x, off_y), off_x, off_y
    direction = math.atan2(to_y, to_x) - s.read[0, 3 * r + 2]
    out[at + 2] = min(nearest, 12.0)
    out[at + 3], out[at + 4] = math.cos(direction), math.sin(direction)


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    out[:] = 0.0
    driven, done = 0.0, 0.0
    for r in range(ROBOTS):
        delivered = (s.orders[r] + r % 2) // 2
        out[0] += delivered
        out[1] += s.orders[r] - delivered
        out[3] += s.bumps[r]
        out[5] += s.energy_wh[r]
        driven += s.driven_m[r]
        done += s.done_m[r]
    out[6] = s.steps * DECISION_S
    out[2] = 3600.0 * out[0] / out[6]
    out[4] = min(done / max(driven, 1e-6), 1.0)
