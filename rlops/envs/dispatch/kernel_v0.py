"""Dispatch v0, the historical task: ten drivers, twenty booking slots, 96 steps of five minutes.

What is wrong with it, and why it is kept: a booking is paid when it is assigned, and its driver then jumps to the
drop-off, so neither the ride nor its delay ever happens. It is here because figures were published for it.

Angles are offsets from the centre in degrees, as in the historical observation; times are minutes after 08:00.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.dispatch.params import V0_PARAMETERS
from rlops.envs.draws import integer, stream_key, uniform

PARAMETERS = V0_PARAMETERS

DRIVERS = 10
SLOTS = 20
DAY_START_MIN = 8 * 60
DAY_MIN = 480
STEP_MIN = 5
STEP_MINUTES = 5.0
CENTRE_NORTH_DEG = 46.2044
CENTRE_EAST_DEG = 6.1432
HALF_WIDTH_DEG = 0.1
KM_PER_DEG = 111.0
MAX_LOAD = 3

ARRIVES, HOW_MANY, PICKUP_NORTH, PICKUP_EAST, DROPOFF_NORTH, DROPOFF_EAST, PRIORITY, WINDOW, LOAD_ENDS = range(9)
"""Streams of the random draws. Bookings are entities of the step at which they arrive."""

ACTION = DRIVERS * SLOTS + 1
REWARD_TERMS = ("assignment", "near_pickup", "balance", "expired", "waiting", "illegal")
OBSERVATION = (
    *(
        column
        for _ in range(DRIVERS)
        for column in (
            Column("driver_north", "0.1 deg", -1, 1, "offset from the centre"),
            Column("driver_east", "0.1 deg", -1, 1, "offset from the centre"),
            Column("driver_available", "-", 0, 1, "1 if the driver has room for another load"),
            Column("driver_load", "10 loads", 0, 1, "loads on board, at most 3"),
        )
    ),
    *(
        column
        for _ in range(SLOTS)
        for column in (
            Column("pickup_north", "0.1 deg", -1, 1, "offset from the centre; 0 in an empty slot"),
            Column("pickup_east", "0.1 deg", -1, 1, "offset from the centre; 0 in an empty slot"),
            Column("priority", "5", 0, 1, "priority 1 … 5; 0 in an empty slot"),
            Column("minutes_left", "60 min", 0, 1, "until the window ends, not below 0"),
        )
    ),
    Column("time", "480 min", 0, 1, "since 08:00"),
    Column("traffic", "-", 0, 1, "0.8 in the rush hours, 0.5 at midday, else 0.3"),
)
KPIS = (
    Column("bookings", "-", 0, np.inf, "bookings that arrived"),
    Column("assigned", "-", 0, np.inf, "bookings that were assigned"),
    Column("expired", "-", 0, np.inf, "bookings whose window ended unassigned"),
    Column("completion_rate", "-", 0, 1, "assigned / arrived"),
    Column("lateness_share", "-", 0, 1, "assigned with a pickup over 5 min after the window / assigned"),
    Column("late_or_missed_share", "-", 0, 1, "(late + not assigned) / arrived"),
    Column("mean_distance_km", "km", 0, np.inf, "from the driver to the pickup, over assigned bookings"),
    Column("reward_per_step", "-", -np.inf, np.inf, "return / steps"),
    Column("illegal", "-", 0, np.inf, "actions that the mask excluded"),
)
INFO = ("illegal",)
DERIVED = {"total": "reward"}
RENDER = "rlops.envs.dispatch.render"
RENDER_FPS = 4

STATE = state_dtype(
    REWARD_TERMS,
    [
        ("driver_north_deg", "f8", (DRIVERS,)),
        ("driver_east_deg", "f8", (DRIVERS,)),
        ("load", "i4", (DRIVERS,)),
        ("open", "u1", (SLOTS,)),
        ("priority", "i4", (SLOTS,)),
        ("deadline_min", "i4", (SLOTS,)),  # end of the window
        ("pickup_north_deg", "f8", (SLOTS,)),
        ("pickup_east_deg", "f8", (SLOTS,)),
        ("dropoff_north_deg", "f8", (SLOTS,)),
        ("dropoff_east_deg", "f8", (SLOTS,)),
        ("now_min", "i4"),
        ("bookings", "i4"),
        ("assigned", "i4"),
        ("expired", "i4"),
        ("late", "i4"),
        ("illegal", "i4"),
        ("pickup_km", "f8"),  # summed over assignments
        ("total", "f8"),  # return so far
    ],
)


@njit(error_model="numpy")
def traffic(now_min):
    """Return the traffic level [-] at a time of day."""
    clock_min = DAY_START_MIN + now_min
    if 480 <= clock_min < 540 or 1020 <= clock_min < 1080:
        return 0.8
    if 720 <= clock_min < 840:
        return 0.5
    return 0.3


@njit(error_model="numpy")
def arrival_probability(p, now_min):
    """Return the probability that bookings arrive in a step [-]."""
    clock_min = DAY_START_MIN + now_min
    if 480 <= clock_min < 570 or 1020 <= clock_min < 1110:
        return p.arrival_rush
    if 720 <= clock_min < 840:
        return p.arrival_midday
    return p.arrival_else


@njit(error_model="numpy")
def distance_km(s, driver, slot):
    """Return the straight line from a driver to a pickup [km]; a degree counts 111 km in both directions."""
    north = s.driver_north_deg[driver] - s.pickup_north_deg[slot]
    east = s.driver_east_deg[driver] - s.pickup_east_deg[slot]
    return math.sqrt(north * north + east * east) * KM_PER_DEG


@njit(error_model="numpy")
def add_bookings(s, step, count):
    """Put up to ``count`` bookings of a step into free slots; those that find none are turned away."""
    placed = 0
    for slot in range(SLOTS):
        if placed == count:
            return
        if s.open[slot]:
            continue
        s.pickup_north_deg[slot] = HALF_WIDTH_DEG * (2 * uniform(stream_key(s.key, step, PICKUP_NORTH), placed) - 1)
        s.pickup_east_deg[slot] = HALF_WIDTH_DEG * (2 * uniform(stream_key(s.key, step, PICKUP_EAST), placed) - 1)
        s.dropoff_north_deg[slot] = HALF_WIDTH_DEG * (2 * uniform(stream_key(s.key, step, DROPOFF_NORTH), placed) - 1)
        s.dropoff_east_deg[slot] = HALF_WIDTH_DEG * (2 * uniform(stream_key(s.key, step, DROPOFF_EAST), placed) - 1)
        s.priority[slot] = 1 + integer(stream_key(s.key, step, PRIORITY), placed, 5)
        h = stream_key(s.key, step, WINDOW)
        if s.priority[slot] >= 4:
            s.deadline_min[slot] = s.now_min + 10 + integer(h, placed, 20)
        else:
            s.deadline_min[slot] = s.now_min + 20 + integer(h, placed, 40)
        s.open[slot] = 1
        s.bookings += 1
        placed += 1


@njit(error_model="numpy")
def reset(p, s, d):
    """Start at 08:00 with all drivers at the centre and three to seven bookings."""
    add_bookings(s, 0, 3 + integer(stream_key(s.key, 0, HOW_MANY), 0, 5))


@njit(error_model="numpy")
def assignable(s):
    """Return whether any assignment is legal."""
    has_room = False
    for driver in range(DRIVERS):
        has_room |= s.load[driver] < MAX_LOAD
    has_booking = False
    for slot in range(SLOTS):
        has_booking |= s.open[slot]
    return has_room and has_booking


@njit(error_model="numpy")
def load_deviation(s):
    """Return the standard deviation of the drivers' loads [-]."""
    total = 0
    squares = 0
    for driver in range(DRIVERS):
        total += s.load[driver]
        squares += s.load[driver] * s.load[driver]
    mean = total / DRIVERS
    return math.sqrt(max(0.0, squares / DRIVERS - mean * mean))


@njit(error_model="numpy")
def assign(p, s, driver, slot):
    """Pay for the assignment and let the driver jump to the drop-off."""
    km = distance_km(s, driver, slot)
    travel_min = km / p.speed_kmh * 60.0 * (1.0 + p.traffic_slowdown * traffic(s.now_min))
    late = s.now_min + travel_min > s.deadline_min[slot] + p.late_tolerance_min
    s.driver_north_deg[driver] = s.dropoff_north_deg[slot]
    s.driver_east_deg[driver] = s.dropoff_east_deg[slot]
    s.load[driver] += 1
    s.open[slot] = 0
    s.assigned += 1
    s.late += late
    s.pickup_km += km
    s.terms[0] = p.late_reward if late else p.assignment_reward
    if km < p.near_km:
        s.terms[1] = p.near_reward
    if load_deviation(s) < 1.0:
        s.terms[2] = p.balance_reward


@njit(error_model="numpy")
def step(p, s, d, action):
    """Assign or wait, then let five minutes pass: loads end, windows expire, bookings arrive."""
    driver = (action - 1) // SLOTS
    slot = (action - 1) % SLOTS
    legal = action > 0 and s.open[slot] and s.load[driver] < MAX_LOAD
    if legal:
        assign(p, s, driver, slot)
    elif action > 0:
        s.illegal += 1
        s.terms[5] = p.illegal_reward
    elif assignable(s):
        s.terms[4] = p.waiting_reward

    s.now_min += STEP_MIN
    number = s.now_min // STEP_MIN
    h = stream_key(s.key, number, LOAD_ENDS)
    for driver in range(DRIVERS):
        ended = 0
        for i in range(s.load[driver]):
            ended += uniform(h, driver * MAX_LOAD + i) < p.load_end_probability
        s.load[driver] -= ended
    for slot in range(SLOTS):
        if s.open[slot] and s.deadline_min[slot] <= s.now_min:
            s.open[slot] = 0
            s.expired += 1
            s.terms[3] += p.expired_reward
    if uniform(stream_key(s.key, number, ARRIVES), 0) < arrival_probability(p, s.now_min):
        add_bookings(s, number, 1 + integer(stream_key(s.key, number, HOW_MANY), 0, 3))
    s.terminated = s.now_min >= DAY_MIN
    for j in range(len(REWARD_TERMS)):
        s.total += s.terms[j]


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the 122 columns of the historical observation."""
    for driver in range(DRIVERS):
        out[4 * driver] = s.driver_north_deg[driver] / HALF_WIDTH_DEG
        out[4 * driver + 1] = s.driver_east_deg[driver] / HALF_WIDTH_DEG
        out[4 * driver + 2] = s.load[driver] < MAX_LOAD
        out[4 * driver + 3] = min(1.0, s.load[driver] / 10.0)
    for slot in range(SLOTS):
        start = 4 * (DRIVERS + slot)
        if s.open[slot]:
            out[start] = s.pickup_north_deg[slot] / HALF_WIDTH_DEG
            out[start + 1] = s.pickup_east_deg[slot] / HALF_WIDTH_DEG
            out[start + 2] = s.priority[slot] / 5.0
            out[start + 3] = max(0.0, (s.deadline_min[slot] - s.now_min) / 60.0)
        else:
            out[start : start + 4] = 0.0
    out[4 * (DRIVERS + SLOTS)] = s.now_min / DAY_MIN
    out[4 * (DRIVERS + SLOTS) + 1] = traffic(s.now_min)


@njit(error_model="numpy")
def mask(p, s, d, out):
    """Write 1 for waiting and for every pair of a driver with room and an open slot."""
    out[0] = 1
    for driver in range(DRIVERS):
        room = s.load[driver] < MAX_LOAD
        for slot in range(SLOTS):
            out[1 + driver * SLOTS + slot] = room and s.open[slot]


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of the day; shares of nothing are 0."""
    out[0] = s.bookings
    out[1] = s.assigned
    out[2] = s.expired
    out[3] = s.assigned / max(1, s.bookings)
    out[4] = s.late / max(1, s.assigned)
    out[5] = (s.late + s.bookings - s.assigned) / max(1, s.bookings)
    out[6] = s.pickup_km / max(1, s.assigned)
    out[7] = s.total / max(1, s.now_min // STEP_MIN)
    out[8] = s.illegal
