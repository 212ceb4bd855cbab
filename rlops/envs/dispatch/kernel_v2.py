"""Dispatch v2: pooled dispatch of a fleet, one decision at a time.

An action ``k * V_MAX + v`` puts the booking in slot ``k`` into the plan of vehicle ``v`` where that is
cheapest, and takes no time; the last action, ADVANCE, moves the day to the next minute. Slots are the first
``K`` open bookings by the end of their window; within a minute they keep their places, one that is taken
stays empty. An action that the mask forbids is ADVANCE, and is counted.

The **pair table** holds the cheapest insertion of every visible booking into every plan. Its rows are kept
with their bookings and its columns with their vehicles, and only what has changed is computed anew.

The day ends when all bookings are resolved, not before 18:00; at 20:30 everything unresolved counts as
missed.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.contract import Column, state_dtype, width
from rlops.envs.dispatch.city import (
    ASSIGNED,
    CANCELLED,
    CITY_FIELDS,
    DATA,
    DAY_START_HOUR,
    DONE,
    END_MIN,
    HORIZON_MIN,
    MAX_BOOKINGS,
    NO_SHOW,
    OPEN,
    QUARTER_MIN,
    QUARTERS,
    demand_rate,
    draw_city,
    zone_of,
    zone_rate,
)
from rlops.envs.dispatch.demand import data_from
from rlops.envs.dispatch.fleet import (
    BREAK_TO_SHARE,
    FLEET_FIELDS,
    RECENT_MIN,
    REWARD_TERMS,
    advance,
    close_day,
    place_fleet,
    reveal_bookings,
    unlist_open,
)
from rlops.envs.dispatch.params import PARAMETERS
from rlops.envs.dispatch.plan import (
    ADDED_LATENESS_MAX_MIN,
    DOWN,
    IDLE,
    OFF,
    S_MAX,
    V_MAX,
    K,
    find_insertion,
    insert,
    is_electric,
    schedule,
)

__all__ = ["DATA", "PARAMETERS", "REWARD_TERMS", "data_from"]

DATA_OPTION = "demand"
RENDER = "rlops.envs.dispatch.render"
RENDER_FPS = 20

STEP_MINUTES = 1.0
EVENT_MAX_MIN = 5
"""[min] The longest ADVANCE of the option ``event_driven``."""
ADVANCE = K * V_MAX
ACTION = ADVANCE + 1
INFO = ("dt_min",)
DERIVED = {"vehicle_usd": "reward"}
AGENT_INFO = ("lost_bid",)
VARIANTS = {"allow_decline": "rlops.envs.dispatch.kernel_v2_decline"}

_K, _N = (K,), (MAX_BOOKINGS,)
STATE = state_dtype(
    REWARD_TERMS,
    [
        *CITY_FIELDS,
        *FLEET_FIELDS,
        ("dt_min", "f8"),  # length of the last step, for discounting
        ("slot", "i4", _K),  # visible bookings; -1: empty
        ("row_of", "i4", _N),  # row of a booking in the pair table; -1: none
        ("row_booking", "i4", _K),  # and back
        ("row_new", "i1", _K),  # 1: to be computed for every vehicle
        ("listed", "i1", (V_MAX,)),  # 1: the vehicle takes bookings, its column is valid
        ("centre_km", "f8", _N),  # of the pickup from the centre, straight
        ("n_illegal", "i4"),
        ("n_decisions", "i4"),  # steps of the episode so far
        ("lost_bid", "i4", (V_MAX,)),  # agents: 1 if another vehicle won the slot in the last step
    ],
)

# Scales of the observation: fixed, so that a number means the same whatever the parameters.
_KM, _HOUR_MIN, _DAY_KM = 10.0, 60.0, 300.0
_USD = 25.0
_MANY = 64.0  # bookings
_SPEED_KM_PER_MIN = 1.0

_VEHICLE = (
    Column("x", "10 km", -1, 1, "vehicle: where it stands or last departed from, east of the centre"),
    Column("y", "10 km", -1, 1, "vehicle: north of the centre"),
    Column("ready", "h", 0, 1, "vehicle: expected time until it is done with what it does"),
    Column("idle", "-", 0, 1, "vehicle: has time before its next departure"),
    Column("driving", "-", 0, 1, "vehicle: on a leg"),
    Column("serving", "-", 0, 1, "vehicle: at a stop"),
    Column("resting", "-", 0, 1, "vehicle: on its break or charging"),
    Column("down", "-", 0, 1, "vehicle: broken down; all modes zero: off shift"),
    Column("onboard_amb", "9 riders", 0, 1, "vehicle: ambulatory riders on board"),
    Column("onboard_wc", "3 riders", 0, 1, "vehicle: riders in wheelchairs on board"),
    Column("stops", "10 stops", 0, 1, "vehicle: stops in its plan"),
    Column("end_x", "10 km", -1, 1, "vehicle: last stop of its plan, or where it is"),
    Column("end_y", "10 km", -1, 1, "vehicle: the same, north"),
    Column("shift_left", "720 min", 0, 1, "vehicle: time until the shift ends"),
)
_SLOT = (
    Column("pickup_x", "10 km", -1, 1, "slot: pickup, east of the centre"),
    Column("pickup_y", "10 km", -1, 1, "slot: pickup, north"),
    Column("dropoff_x", "10 km", -1, 1, "slot: drop-off, east"),
    Column("dropoff_y", "10 km", -1, 1, "slot: drop-off, north"),
    Column("opens", "h", -1, 1, "slot: time until the window opens"),
    Column("due", "h", -1, 1, "slot: time until the window closes"),
    Column("expires", "2 h", 0, 1, "slot: time until the rider gives up"),
    Column("direct", "h", 0, 1, "slot: expected direct ride"),
    Column("ambulatory", "9 riders", 0, 1, "slot: ambulatory riders"),
    Column("wheelchair", "3 riders", 0, 1, "slot: riders in wheelchairs"),
    Column("prebooked", "-", 0, 1, "slot: booked ahead"),
    Column("age", "4 h", 0, 1, "slot: time since it became known"),
    Column("zone_rate", "6/h", 0, 1, "slot: bookings expected in the zone of the drop-off"),
    Column("best_cost", "25 $", -1, 1, "slot: cost of the cheapest feasible insertion"),
    Column("choices", "16 vehicles", 0, 1, "slot: vehicles with a feasible insertion"),
    Column("filled", "-", 0, 1, "slot: holds a booking"),
)
_PAIR = (
    Column("cost", "25 $", -1, 1, "pair: cost of the insertion; all three zero if not feasible"),
    Column("eta", "h", 0, 1, "pair: expected time until boarding begins"),
    Column("added_lateness", "30 min", 0, 1, "pair: the most that anybody gets later"),
)
_GLOBAL = (
    Column("time_sin", "-", -1, 1, "sine of the hour of the day"),
    Column("time_cos", "-", -1, 1, "cosine of the hour of the day"),
    Column("day_share", "-", 0, 1, "share of the time until 20:30 that has passed"),
    Column("open", "64", 0, 1, "open bookings"),
    Column("overflow", "64", 0, 1, "open bookings that no slot shows"),
    Column("idle_share", "-", 0, 1, "share of the fleet that is idle"),
    Column("pace", "-", -1, 1, "running mean of realised over expected leg time, minus 1"),
    Column("speed_now", "60 km/h", 0, 1, "expected speed"),
    Column("speed_1h", "60 km/h", 0, 1, "expected speed in an hour"),
    Column("requests", "-", -1, 1, "requests of the last 30 min less those expected, over their sum"),
    Column("km", "300 km per vehicle", 0, 1, "kilometres so far"),
    Column("missed", "64", 0, 1, "missed bookings so far"),
)


def _many(columns: tuple[Column, ...], count: int) -> tuple[Column, ...]:
    """Return ``columns``, in this order for each of ``count`` things."""
    return tuple(
        Column(f"{c.meaning.partition(':')[0]}_{i}_{c.name}", c.unit, c.low, c.high, c.meaning)
        for i in range(count)
        for c in columns
    )


OBSERVATION = (*_GLOBAL, *_many(_VEHICLE, V_MAX), *_many(_SLOT, K), *_many(_PAIR, K * V_MAX))
_G, _F, _S = len(_GLOBAL), len(_VEHICLE), len(_SLOT)

KPIS = (
    Column("bookings", "-", 0, MAX_BOOKINGS, "bookings of the day"),
    Column("eligible", "-", 0, MAX_BOOKINGS, "bookings less cancellations and no-shows"),
    Column("completion_rate", "-", 0, 1, "completed of eligible"),
    Column("on_time_15", "-", 0, 1, "completed and at most 15 min late, of eligible"),
    Column("on_time_30", "-", 0, 1, "completed and less than 30 min late, of eligible"),
    Column("late_or_missed_share", "-", 0, 1, "late at all or missed, of eligible"),
    Column("lateness_mean_min", "min", 0, 60, "mean lateness of completed pickups"),
    Column("lateness_p95_min", "min", 0, 60, "95th percentile of it"),
    Column("excess_ride_mean_min", "min", 0, np.inf, "mean ride above the limit, of completed"),
    Column("km_total", "km", 0, np.inf, "kilometres of the fleet"),
    Column("km_per_completed", "km", 0, np.inf, "kilometres per completed booking"),
    Column("deadhead_share", "-", 0, 1, "kilometres with nobody on board, of all"),
    Column("rider_km_per_km", "-", 0, np.inf, "rider kilometres per vehicle kilometre"),
    Column("trips_per_vehicle_hour", "1/h", 0, np.inf, "completed bookings per hour on shift"),
    Column("utilisation", "-", 0, 1, "time driving or at stops, of the time on shift"),
    Column("completion_amb", "-", 0, 1, "completion without wheelchair; 1 if there are none, as below"),
    Column("completion_wc", "-", 0, 1, "completion with wheelchair"),
    Column("completion_trip_q1", "-", 0, 1, "completion of the shortest quarter of trips"),
    Column("completion_trip_q2", "-", 0, 1, "completion of the second quarter"),
    Column("completion_trip_q3", "-", 0, 1, "completion of the third quarter"),
    Column("completion_trip_q4", "-", 0, 1, "completion of the longest quarter"),
    Column("completion_zone_q1", "-", 0, 1, "completion of the quarter with pickups nearest to the centre"),
    Column("completion_zone_q2", "-", 0, 1, "completion of the second quarter"),
    Column("completion_zone_q3", "-", 0, 1, "completion of the third quarter"),
    Column("completion_zone_q4", "-", 0, 1, "completion of the quarter farthest from the centre"),
    Column("min_class_completion", "-", 0, 1, "the least of these ten"),
    Column("completed", "-", 0, MAX_BOOKINGS, "bookings completed"),
    Column("missed", "-", 0, MAX_BOOKINGS, "bookings not served"),
    Column("no_shows", "-", 0, MAX_BOOKINGS, "no-shows met at the door"),
    Column("cancelled", "-", 0, MAX_BOOKINGS, "bookings cancelled"),
    Column("wasted_legs", "-", 0, np.inf, "legs to riders who were not there"),
    Column("breakdowns", "-", 0, np.inf, "breakdowns"),
    Column("illegal", "-", 0, np.inf, "actions against the mask"),
    Column("lateness_total_min", "min", 0, np.inf, "lateness charged"),
    Column("excess_ride_total_min", "min", 0, np.inf, "ride time above the limit charged"),
    Column("reward_per_step", "$", -np.inf, np.inf, "return over steps; read with completion_rate"),
    Column("mean_distance_km", "km", 0, np.inf, "km per completed booking; read with completion_rate"),
    Column("lateness_share", "-", 0, 1, "late pickups of the completed; read with completion_rate"),
)

CONTEXT = (
    Column("demand_factor", "-", 0, np.inf, "the day's demand over the expected"),
    Column("traffic_factor", "-", 0, np.inf, "the day's minutes per km over the expected"),
    Column("speed", "km/min", 0, np.inf, "true speed now"),
    Column("congestion", "-", -np.inf, np.inf, "log congestion now"),
    Column("hidden", "-", 0, MAX_BOOKINGS, "bookings not yet known"),
    Column("open_no_shows", "-", 0, MAX_BOOKINGS, "open or assigned bookings that nobody will show up for"),
    Column("open_cancels", "-", 0, MAX_BOOKINGS, "open or assigned bookings that will be cancelled"),
    Column("until", "min", 0, np.inf, "true time until each vehicle's next event; -1 if none", V_MAX),
)

AGENTS = tuple(f"vehicle_{v}" for v in range(V_MAX))
PASS = K
AGENT_ACTION = K + 1
NEAREST = 8
"""Other vehicles that an agent sees."""
AGENT_OBSERVATION = (
    *_GLOBAL,
    *(Column(f"own_{c.name}", c.unit, c.low, c.high, c.meaning) for c in _VEHICLE),
    *_many((*_SLOT[:-1], *_PAIR), K),
    *(
        Column(f"near_{c.name}", c.unit, c.low, c.high, f"{c.meaning}; nearest first, x and y from one's own")
        for c in _many(_VEHICLE, NEAREST)
    ),
)
assert width(OBSERVATION) == 1260
assert S_MAX == 10  # the unit of the column `stops`


# --- the day --------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def reset(p, s, d):
    """Write a new day."""
    draw_city(p, s, d)
    for b in range(s.n_bookings):
        s.row_of[b] = -1
        x_km, y_km = s.bookings[b].pickup_x_km, s.bookings[b].pickup_y_km
        s.centre_km[b] = math.sqrt(x_km * x_km + y_km * y_km)  # hypot differs between compiled and interpreted
    for k in range(K):
        s.slot[k] = -1
        s.row_booking[k] = -1
    place_fleet(p, s)
    reveal_bookings(p, s)
    _fill_slots(s)
    _refresh_pairs(p, s)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Assign a booking, or move the day on."""
    s.dt_min = 0.0
    s.n_decisions += 1
    k, v = action // V_MAX, action % V_MAX
    if k < K:
        if _is_legal(s, k, v):
            _assign(p, s, k, v)
            return
        s.n_illegal += 1
    for _ in range(EVENT_MAX_MIN if p.event_driven else 1):
        woken = advance(p, s)
        s.dt_min += 1.0
        close(p, s)
        if woken or s.terminated or s.truncated:
            break
    _fill_slots(s)
    _refresh_pairs(p, s)


@njit(error_model="numpy", inline="always")
def _is_legal(s, k, v):
    return s.slot[k] >= 0 and s.pair_ok[s.row_of[s.slot[k]], v] == 1


@njit(error_model="numpy")
def _assign(p, s, k, v):
    """Put the booking of a slot into a plan, where the pair table says."""
    b = s.slot[k]
    row = s.row_of[b]
    s.slot[k] = -1
    s.bookings[b].status = ASSIGNED
    s.bookings[b].vehicle = v
    unlist_open(s, b)
    insert(p, s, v, b, s.pair_pickup[row, v], s.pair_dropoff[row, v])
    if s.mode[v] == IDLE:
        s.until_min[v] = s.now_min
    free_row(s, row)
    s.dirty[v] = 1
    refresh_column(p, s, v)


@njit(error_model="numpy")
def close(p, s):
    """End the day if it is over."""
    resolved = s.n_completed + s.n_missed + s.n_no_show + s.n_cancelled
    s.terminated = s.now_min >= HORIZON_MIN and resolved == s.n_bookings
    s.truncated = not s.terminated and s.now_min >= END_MIN
    if s.terminated or s.truncated:
        close_day(p, s)


# --- slots and the pair table ---------------------------------------------------------------------------


@njit(error_model="numpy", inline="always")
def free_row(s, row):
    """Take a booking out of the pair table."""
    s.row_of[s.row_booking[row]] = -1
    s.row_booking[row] = -1


@njit(error_model="numpy")
def _fill_slots(s):
    """Show the first open bookings; the rows of the others become free, new ones take them."""
    shown = min(s.n_open, K)
    for row in range(K):
        b = s.row_booking[row]
        if b >= 0:
            rank = 0
            while rank < shown and s.open_list[rank] != b:
                rank += 1
            if rank == shown:
                free_row(s, row)
    free = 0
    for k in range(K):
        s.slot[k] = -1
        if k < shown:
            b = s.open_list[k]
            s.slot[k] = b
            if s.row_of[b] < 0:
                while s.row_booking[free] >= 0:
                    free += 1
                s.row_of[b] = free
                s.row_booking[free] = b
                s.row_new[free] = 1


@njit(error_model="numpy")
def _refresh_pairs(p, s):
    """Compute what time and events have changed in the pair table."""
    for v in range(p.n_vehicles):
        refresh_column(p, s, v)
    for row in range(K):
        s.row_new[row] = 0


@njit(error_model="numpy")
def takes_bookings(p, s, v):
    """Return whether a vehicle is on shift, not down and not overdue for its break."""
    if s.mode[v] == OFF or s.mode[v] == DOWN or s.now_min >= s.shift_end_min[v]:
        return False
    if p.pooling == 0 and (s.stops[v] > 0 or s.mode[v] != IDLE):
        return False
    return s.break_done[v] == 1 or s.now_min < s.shift_start_min[v] + BREAK_TO_SHARE * p.shift_min


@njit(error_model="numpy")
def refresh_column(p, s, v):
    """Compute one vehicle's column: everything if its plan or its start has moved, else only the new rows."""
    if not takes_bookings(p, s, v):
        if s.listed[v]:
            s.listed[v] = 0
            for row in range(K):
                s.pair_ok[row, v] = 0
        s.dirty[v] = 1
        return
    moved = s.mode[v] == IDLE or s.believed_min[v] < s.now_min or is_electric(p, v)
    everything = moved or s.dirty[v] == 1
    if everything:
        schedule(s, v)
        s.dirty[v] = 0
        s.listed[v] = 1
    for row in range(K):
        if s.row_booking[row] >= 0 and (everything or s.row_new[row] == 1):
            find_insertion(p, s, v, s.row_booking[row], row)


# --- what is seen ---------------------------------------------------------------------------------------


@njit(error_model="numpy", inline="always")
def _clip(x, low):
    return np.float32(min(max(x, low), 1.0))


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation (1260,): global, vehicles, slots, pairs."""
    out[:] = 0.0
    _see_day(p, s, out)
    at = _G
    for v in range(p.n_vehicles):
        _see_vehicle(s, v, out, at, 0.0, 0.0)
        at += _F
    at = _G + V_MAX * _F
    pairs = at + K * _S
    for k in range(K):
        if s.slot[k] >= 0:
            _see_slot(p, s, k, out, at)
            row = s.row_of[s.slot[k]]
            for v in range(p.n_vehicles):
                if s.pair_ok[row, v]:
                    _see_pair(s, row, v, out, pairs + 3 * v)
        at += _S
        pairs += 3 * V_MAX


@njit(error_model="numpy")
def _see_day(p, s, out):
    now_min = s.now_min
    angle = 2.0 * math.pi * (DAY_START_HOUR + now_min / 60.0) / 24.0
    out[0] = _clip(math.sin(angle), -1.0)
    out[1] = _clip(math.cos(angle), -1.0)
    out[2] = _clip(now_min / END_MIN, 0.0)
    out[3] = _clip(s.n_open / _MANY, 0.0)
    out[4] = _clip(max(0, s.n_open - K) / _MANY, 0.0)
    idle = 0
    for v in range(p.n_vehicles):
        idle += s.mode[v] == IDLE
    out[5] = _clip(idle / p.n_vehicles, 0.0)
    out[6] = _clip(s.pace_ewma - 1.0, -1.0)
    quarter = int(now_min / QUARTER_MIN)
    out[7] = _clip(s.expected_speed_km_per_min[min(quarter, QUARTERS - 1)] / _SPEED_KM_PER_MIN, 0.0)
    out[8] = _clip(s.expected_speed_km_per_min[min(quarter + 4, QUARTERS - 1)] / _SPEED_KM_PER_MIN, 0.0)
    expected = min(now_min, RECENT_MIN) * demand_rate(p, max(0.0, now_min - 0.5 * RECENT_MIN))
    out[9] = _clip((s.n_recent - expected) / max(1.0, s.n_recent + expected), -1.0)
    out[10] = _clip(s.km / (_DAY_KM * p.n_vehicles), 0.0)
    out[11] = _clip(s.n_missed / _MANY, 0.0)


@njit(error_model="numpy")
def _see_vehicle(s, v, out, at, x_km, y_km):
    """Write one vehicle, seen from (x_km, y_km)."""
    out[at] = _clip((s.x_km[v] - x_km) / _KM, -1.0)
    out[at + 1] = _clip((s.y_km[v] - y_km) / _KM, -1.0)
    if s.mode[v] != OFF:
        if s.mode[v] != IDLE:
            out[at + 2] = _clip((s.believed_min[v] - s.now_min) / _HOUR_MIN, 0.0)
        out[at + 3 + s.mode[v]] = 1.0
        out[at + 13] = _clip((s.shift_end_min[v] - s.now_min) / HORIZON_MIN, 0.0)
    out[at + 8] = _clip(s.onboard_amb[v] / 9.0, 0.0)
    out[at + 9] = _clip(s.onboard_wc[v] / 3.0, 0.0)
    n = s.stops[v]
    out[at + 10] = _clip(n / 10.0, 0.0)
    out[at + 11] = _clip(((s.stop_x_km[v, n - 1] if n else s.x_km[v]) - x_km) / _KM, -1.0)
    out[at + 12] = _clip(((s.stop_y_km[v, n - 1] if n else s.y_km[v]) - y_km) / _KM, -1.0)


@njit(error_model="numpy")
def _see_slot(p, s, k, out, at):
    b, now_min = s.slot[k], s.now_min
    booking = s.bookings[b]
    row = s.row_of[b]
    out[at] = _clip(booking.pickup_x_km / _KM, -1.0)
    out[at + 1] = _clip(booking.pickup_y_km / _KM, -1.0)
    out[at + 2] = _clip(booking.dropoff_x_km / _KM, -1.0)
    out[at + 3] = _clip(booking.dropoff_y_km / _KM, -1.0)
    out[at + 4] = _clip((booking.earliest_min - now_min) / _HOUR_MIN, -1.0)
    out[at + 5] = _clip((booking.latest_min - now_min) / _HOUR_MIN, -1.0)
    out[at + 6] = _clip((booking.expires_min - now_min) / (2.0 * _HOUR_MIN), 0.0)
    out[at + 7] = _clip(booking.direct_min / _HOUR_MIN, 0.0)
    out[at + 8] = _clip(booking.ambulatory / 9.0, 0.0)
    out[at + 9] = _clip(booking.wheelchair / 3.0, 0.0)
    out[at + 10] = _clip(booking.prebooked, 0.0)
    out[at + 11] = _clip((now_min - booking.reveal_min) / (4.0 * _HOUR_MIN), 0.0)
    zone = zone_of(p, booking.dropoff_x_km, booking.dropoff_y_km)
    out[at + 12] = _clip(zone_rate(p, s, zone, now_min) * 10.0, 0.0)
    best_usd, choices = math.inf, 0
    for v in range(p.n_vehicles):
        if s.pair_ok[row, v]:
            best_usd = min(best_usd, s.pair_usd[row, v])
            choices += 1
    out[at + 13] = _clip(best_usd / _USD if choices else 0.0, -1.0)
    out[at + 14] = _clip(choices / V_MAX, 0.0)
    out[at + 15] = 1.0


@njit(error_model="numpy", inline="always")
def _see_pair(s, row, v, out, at):
    out[at] = _clip(s.pair_usd[row, v] / _USD, -1.0)
    out[at + 1] = _clip((s.pair_begin_min[row, v] - s.now_min) / _HOUR_MIN, 0.0)
    out[at + 2] = _clip(s.pair_late_min[row, v] / ADDED_LATENESS_MAX_MIN, 0.0)


@njit(error_model="numpy")
def mask(p, s, d, out):
    """Write 1 for every legal action (257,)."""
    out[:] = 0
    for k in range(K):
        if s.slot[k] >= 0:
            row = s.row_of[s.slot[k]]
            for v in range(V_MAX):
                out[k * V_MAX + v] = s.pair_ok[row, v]
    out[ADVANCE] = 1


# --- key figures ----------------------------------------------------------------------------------------


@njit(error_model="numpy", inline="always")
def _share(part, whole, empty):
    return part / whole if whole > 0 else empty


@njit(error_model="numpy", inline="always")
def _is_eligible(s, b):
    return s.bookings[b].status != CANCELLED and s.bookings[b].status != NO_SHOW


@njit(error_model="numpy")
def _quarter_completion(s, rank_by, out, at):
    """Write the completion of the four quarters of eligible bookings by a quantity; ties by booking."""
    n = 0
    for b in range(s.n_bookings):
        n += _is_eligible(s, b)
    for quarter in range(4):
        done, counted = 0, 0
        for b in range(s.n_bookings):
            if _is_eligible(s, b):
                rank = 0
                for c in range(s.n_bookings):
                    if _is_eligible(s, c):
                        rank += rank_by[c] < rank_by[b] or (rank_by[c] == rank_by[b] and c < b)
                if rank * 4 // n == quarter:
                    counted += 1
                    done += s.bookings[b].status == DONE
        out[at + quarter] = _share(done, counted, 1.0)


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of the day."""
    eligible, late, on_time_15, on_time_30, wheelchairs, wheelchairs_done = 0, 0, 0, 0, 0, 0
    for b in range(s.n_bookings):
        booking = s.bookings[b]
        if _is_eligible(s, b):
            eligible += 1
            done = booking.status == DONE
            late += done and s.lateness_min[b] > 0.0
            on_time_15 += done and s.lateness_min[b] <= 15.0
            on_time_30 += done and s.lateness_min[b] < 30.0
            wheelchairs += booking.wheelchair > 0
            wheelchairs_done += done and booking.wheelchair > 0
    done = s.n_completed
    out[0] = s.n_bookings
    out[1] = eligible
    out[2] = _share(done, eligible, 0.0)
    out[3] = _share(on_time_15, eligible, 0.0)
    out[4] = _share(on_time_30, eligible, 0.0)
    out[5] = _share(late + eligible - done, eligible, 0.0)
    out[6], out[7], out[8] = _lateness(s)
    out[9] = s.km
    out[10] = _share(s.km, done, 0.0)
    out[11] = _share(s.empty_km, s.km, 0.0)
    out[12] = _share(s.rider_km, s.km, 0.0)
    on_shift_min = _on_shift_min(p, s)
    out[13] = _share(60.0 * done, on_shift_min, 0.0)
    out[14] = _share(s.busy_min, on_shift_min, 0.0)
    out[15] = _share(done - wheelchairs_done, eligible - wheelchairs, 1.0)
    out[16] = _share(wheelchairs_done, wheelchairs, 1.0)
    _quarter_completion(s, s.bookings["direct_min"], out, 17)
    _quarter_completion(s, s.centre_km, out, 21)
    out[25] = 1.0
    for i in range(15, 25):
        out[25] = min(out[25], out[i])
    out[26], out[27], out[28], out[29] = done, s.n_missed, s.n_no_show, s.n_cancelled
    out[30], out[31], out[32] = s.n_wasted, s.n_breakdowns, s.n_illegal
    out[33], out[34] = s.late_total_min, s.excess_total_min
    total_usd = p.fare_usd * done - p.km_cost_usd * s.km - p.late_cost_usd_per_min * s.late_total_min
    total_usd -= p.ride_cost_usd_per_min * s.excess_total_min + p.miss_cost_usd * s.n_missed
    out[35] = _share(total_usd, s.n_decisions, 0.0)
    out[36] = out[10]
    out[37] = _share(late, done, 0.0)


@njit(error_model="numpy")
def _lateness(s):
    """Return mean and 95th percentile (nearest rank) of lateness, and mean excess ride [min]."""
    late_min, excess_min, p95_min = 0.0, 0.0, math.inf
    n = s.n_completed
    for b in range(s.n_bookings):
        if s.bookings[b].status == DONE:
            late_min += s.lateness_min[b]
            excess_min += s.excess_ride_min[b]
            later = 0
            for c in range(s.n_bookings):
                later += s.bookings[c].status == DONE and s.lateness_min[c] > s.lateness_min[b]
            if 20 * later <= n:
                p95_min = min(p95_min, s.lateness_min[b])
    return _share(late_min, n, 0.0), p95_min if n else 0.0, _share(excess_min, n, 0.0)


@njit(error_model="numpy")
def _on_shift_min(p, s):
    """Return the time that the vehicles have been on shift so far, over-time included [min]."""
    total_min = 0.0
    for v in range(p.n_vehicles):
        total_min += max(0.0, min(s.now_min, s.off_min[v]) - s.shift_start_min[v])
    return total_min


@njit(error_model="numpy")
def context(p, s, d, out):
    """Write what the observation must not tell."""
    quarter = min(int(s.now_min / QUARTER_MIN), QUARTERS - 1)
    out[0], out[1] = s.demand_factor, s.traffic_factor
    out[2], out[3] = s.speed_km_per_min[quarter], s.congestion[quarter]
    out[4] = s.n_bookings - s.next_booking
    no_shows, cancels = 0, 0
    for b in range(s.next_booking):
        booking = s.bookings[b]
        if booking.status == OPEN or booking.status == ASSIGNED:
            no_shows += booking.no_show
            cancels += booking.cancel_min < booking.expires_min
    out[5], out[6] = no_shows, cancels
    for v in range(V_MAX):
        out[7 + v] = s.until_min[v] - s.now_min if s.until_min[v] < math.inf else -1.0


# --- agents ---------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _winner(s, bids, k):
    """Return the vehicle that wins slot ``k``: the lowest cost, then the lowest number; or -1."""
    winner, best_usd = -1, math.inf
    for v in range(V_MAX):
        if bids[v] == k and _is_legal(s, k, v):
            usd = s.pair_usd[s.row_of[s.slot[k]], v]
            if usd < best_usd:
                winner, best_usd = v, usd
    return winner


@njit(error_model="numpy")
def winning_actions(p, s, bids, out):
    """Write the single-agent actions of the bids that win, in the order of slots, and return their number.

    ``bids`` (16,) are slots or ``PASS``; ``out`` is (16,). A vehicle bids for one slot and a slot has one
    winner, so no winner's insertion changes another's. A bid against the mask is a pass.
    """
    n = 0
    for k in range(K):
        winner = _winner(s, bids, k)
        if winner >= 0:
            out[n] = k * V_MAX + winner
            n += 1
    return n


@njit(error_model="numpy")
def step_agents(p, s, d, actions, rewards):
    """Move the day on one tick: the winners of the bids are assigned, then the clock advances.

    Rewards add up to the team's. ``team``: equal parts. ``marginal``: each vehicle has its own fares,
    kilometres, lateness and excess ride; missed bookings are shared by all 16.
    """
    for v in range(V_MAX):
        rewards[v] = s.vehicle_usd[v]
        s.lost_bid[v] = 0
        if actions[v] < K and not _is_legal(s, actions[v], v):
            s.n_illegal += 1
    for k in range(K):
        winner = _winner(s, actions, k)
        for v in range(V_MAX):
            if actions[v] == k and v != winner and _is_legal(s, k, v):
                s.lost_bid[v] = 1
        if winner >= 0:
            step(p, s, d, k * V_MAX + winner)
    step(p, s, d, ADVANCE)
    team_usd, own_usd = 0.0, 0.0
    for i in range(s.terms.shape[0]):
        team_usd += s.terms[i]
    for v in range(V_MAX):
        rewards[v] = s.vehicle_usd[v] - rewards[v]
        own_usd += rewards[v]
    for v in range(V_MAX):
        rewards[v] = rewards[v] + (team_usd - own_usd) / V_MAX if p.reward_sharing else team_usd / V_MAX


@njit(error_model="numpy")
def observe_agent(p, s, d, a, out):
    """Write what vehicle ``a`` sees (426,): the day, itself, slots with its own pairs, the nearest others."""
    out[:] = 0.0
    _see_day(p, s, out)
    if a >= p.n_vehicles:
        return
    _see_vehicle(s, a, out, _G, 0.0, 0.0)
    at = _G + _F
    for k in range(K):
        if s.slot[k] >= 0:
            row = s.row_of[s.slot[k]]
            _see_slot(p, s, k, out, at)
            out[at + _S - 1] = 0.0  # the place of `filled`; the pair begins here
            if s.pair_ok[row, a]:
                _see_pair(s, row, a, out, at + _S - 1)
        at += _S + 2
    seen_km, seen_v = -1.0, -1
    for _ in range(NEAREST):
        next_km, next_v = math.inf, -1
        for v in range(p.n_vehicles):
            if v == a or s.mode[v] == OFF:
                continue
            east_km, north_km = s.x_km[v] - s.x_km[a], s.y_km[v] - s.y_km[a]
            km = math.sqrt(east_km * east_km + north_km * north_km)
            if (km > seen_km or (km == seen_km and v > seen_v)) and km < next_km:
                next_km, next_v = km, v
        if next_v < 0:
            return
        _see_vehicle(s, next_v, out, at, s.x_km[a], s.y_km[a])
        at += _F
        seen_km, seen_v = next_km, next_v


@njit(error_model="numpy")
def mask_agent(p, s, d, a, out):
    """Write 1 for every legal bid of vehicle ``a`` (17,); off shift or down it can only pass."""
    for k in range(K):
        out[k] = s.slot[k] >= 0 and s.pair_ok[s.row_of[s.slot[k]], a] == 1
    out[PASS] = 1
