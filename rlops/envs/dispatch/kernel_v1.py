"""Dispatch v1: eight vehicles, one booking at a time, in a stochastic city; paid when the rider gets out.

An action ``8 k + v`` sends the idle vehicle ``v`` to the booking in slot ``k`` and takes no time; the last
action lets a minute pass. The slots show the open bookings that are due first. A vehicle leaves so that it
is expected at the pickup when the window opens, boards the rider, drives to the drop-off, helps out, and is
idle there. A no-show is found out at the door, after a wait; a cancellation may come while the vehicle is on
its way, which then drives to the end of its leg. A rider who has not been reached by the end of the window
plus patience is missed. The clock of every event is exact, the minute only says when the dispatcher looks.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.dispatch.city import (
    ASSIGNED,
    CANCELLED,
    CITY_FIELDS,
    DAY_START_HOUR,
    DONE,
    END_MIN,
    HORIZON_MIN,
    MAX_BOOKINGS,
    MISSED,
    NO_SHOW,
    ONBOARD,
    OPEN,
    QUARTER_MIN,
    QUARTERS,
    arrival_min,
    demand_rate,
    draw_city,
    expected_arrival_min,
    expected_departure_min,
    leg_factor,
    quarter_at,
    reveal,
    road_km,
)
from rlops.envs.dispatch.city import DATA as DATA
from rlops.envs.dispatch.demand import data_from as data_from
from rlops.envs.dispatch.params import V1_PARAMETERS

PARAMETERS = V1_PARAMETERS
DATA_OPTION = "demand"
RENDER = "rlops.envs.dispatch.render"
RENDER_FPS = 20
STEP_MINUTES = 1.0

VEHICLES = 8
SLOTS = 8
PAIRS = SLOTS * VEHICLES
ADVANCE = PAIRS
"""The action that lets a minute pass."""
ACTION = PAIRS + 1
INFO = ("dt_min",)
DERIVED = {"seen": "observation", "pair_legal": "mask", "n_legal": "mask", "return_usd": "reward"}

OFF, IDLE, HOLDING, TO_PICKUP, AT_PICKUP, RIDING, ALIGHTING, VOID = range(8)
"""Mode of a vehicle. HOLDING: assigned, not left yet. VOID: driving to a pickup where nobody waits now."""

FARE, DISTANCE, LATENESS, EXCESS_RIDE, MISS = range(5)
REWARD_TERMS = ("fare", "distance", "lateness", "excess_ride", "missed")

LATE_CAP_MIN = 30.0
"""[min] Lateness beyond is not charged: the rider would have been missed, FTA missed-trip practice."""
PACE_WEIGHT = 0.1
"""[-] Weight of the newest leg in the moving average of realised over expected minutes. Assumption."""
PACE_LEAST_MIN = 1.0
"""[min] Shorter legs say nothing about the traffic."""
RECENT_MIN = 30
"""[min] Requests within this time are compared with the expected ones."""

# Rows of ``slot``: what deciding needs of a visible booking.
PICKUP_X, PICKUP_Y, EARLIEST, LATEST, EXPIRES, AMBULATORY, WHEELCHAIR = range(7)
SLOT_ROWS = 7

# Where the columns of the observation begin.
_AT_FLEET, _FREE_IN, _AT_TIMES, _AT_ETA, _AT_LATE, _WIDTH = 12, 44, 124, 188, 252, 316
# The same in ``seen``, which begins with the fleet.
_SEEN_MODE, _SEEN_SLOTS, _SEEN = 40, 80, _AT_ETA - _AT_FLEET

_CLOCK = 2.0 * math.pi * (np.arange(END_MIN + 1.0) + 60.0 * DAY_START_HOUR) / 1440.0
_CLOCK_SIN, _CLOCK_COS = np.sin(_CLOCK), np.cos(_CLOCK)

# Scales of the observation; what exceeds them is clipped.
_PER_WINDOW_MIN = 1.0 / 120.0
_PER_HOUR_MIN = 1.0 / 60.0
_PER_LATE_MIN = 1.0 / LATE_CAP_MIN
_PER_OPEN = 1.0 / 40.0
_PER_FLEET_KM = 1.0 / 2400.0
_PER_MISSED = 1.0 / 100.0
_PER_PLACE = 1.0 / 4.0

_V = (VEHICLES,)
STATE = state_dtype(
    REWARD_TERMS,
    [
        ("dt_min", "f8"),  # that the last step took, 0 or 1
        ("next_reveal_min", "f8"),
        ("next_cancel_min", "f8"),  # of an open booking, or earlier; hidden
        ("n_open", "i4"),
        ("n_idle", "i4"),
        ("n_legal", "i4"),  # legal pairs
        ("n_resolved", "i4"),  # bookings that are done, missed, no-shows or cancelled
        # totals of the episode
        ("completed", "i4"),
        ("missed", "i4"),
        ("no_shows", "i4"),
        ("cancelled", "i4"),
        ("wasted_legs", "i4"),  # to a pickup where nobody got in
        ("illegal", "i4"),
        ("requests", "i4"),  # within the last RECENT_MIN
        ("km", "f8"),
        ("loaded_km", "f8"),
        ("rider_km", "f8"),
        ("late_min", "f8"),  # charged
        ("excess_min", "f8"),
        ("busy_min", "f8"),  # of vehicles that are idle again
        ("return_usd", "f8"),
        ("pace", "f8"),  # [-] moving average of realised over expected minutes
        ("requests_by_minute", "i2", (RECENT_MIN,)),
        # vehicles
        ("mode", "i4", _V),
        ("booking", "i4", _V),
        ("stop", "i4", _V),  # where it was last, see leg_factor
        ("to_stop", "i4", _V),
        ("event_min", "f8", _V),  # when its mode changes next; hidden
        ("x_km", "f8", _V),  # where it was last
        ("y_km", "f8", _V),
        ("to_x_km", "f8", _V),
        ("to_y_km", "f8", _V),
        ("free_x_km", "f8", _V),  # where it will be free
        ("free_y_km", "f8", _V),
        ("free_min", "f8", _V),  # expected
        ("depart_min", "f8", _V),
        ("arrive_min", "f8", _V),  # true; hidden
        ("expected_min", "f8", _V),  # expected arrival of the leg
        ("start_min", "f8", _V),  # of boarding
        ("busy_from_min", "f8", _V),
        ("slot", "f8", (SLOT_ROWS, SLOTS)),
        ("pair_legal", "i1", (PAIRS,)),
        ("seen", "f4", (_SEEN,)),  # fleet and slots in the observation, but for what the clock moves
        ("open_booking", "i4", (MAX_BOOKINGS,)),  # by (latest_min, index)
        *CITY_FIELDS,
    ],
)

OBSERVATION = (
    Column("time_sin", "-", -1, 1, "sine of the hour of the day"),
    Column("time_cos", "-", -1, 1, "cosine of the hour of the day"),
    Column("day_share", "-", 0, 1, "share of the longest possible day that is over"),
    Column("open", "40", 0, 1, "open bookings"),
    Column("overflow", "40", 0, 1, "open bookings beyond the slots"),
    Column("idle_share", "-", 0, 1, "share of the fleet that is idle"),
    Column("pace", "-", -1, 1, "moving average of realised over expected leg minutes, less 1"),
    Column("speed", "km/min", 0, 1, "expected speed now"),
    Column("speed_next_hour", "km/min", 0, 1, "expected speed in an hour"),
    Column("requests", "-", -1, 1, "requests n of the last 30 min against the m expected: (n - m) / (n + m + 1)"),
    Column("km", "2400 km", 0, 1, "driven so far"),
    Column("missed", "100", 0, 1, "bookings missed so far"),
    Column("vehicle_x", "half width", -1, 1, "where it was last", VEHICLES),
    Column("vehicle_y", "half width", -1, 1, "where it was last", VEHICLES),
    Column("vehicle_free_x", "half width", -1, 1, "where it will be free", VEHICLES),
    Column("vehicle_free_y", "half width", -1, 1, "where it will be free", VEHICLES),
    Column("vehicle_free_in", "120 min", 0, 1, "expected minutes until it is free", VEHICLES),
    Column("vehicle_idle", "-", 0, 1, "1 if idle", VEHICLES),
    Column("vehicle_to_pickup", "-", 0, 1, "1 if on its way to a rider, or about to leave", VEHICLES),
    Column("vehicle_at_pickup", "-", 0, 1, "1 if at the door", VEHICLES),
    Column("vehicle_with_rider", "-", 0, 1, "1 if a rider is on board", VEHICLES),
    Column("vehicle_void", "-", 0, 1, "1 if on its way to a pickup where nobody waits any more", VEHICLES),
    Column("slot_pickup_x", "half width", -1, 1, "pickup", SLOTS),
    Column("slot_pickup_y", "half width", -1, 1, "pickup", SLOTS),
    Column("slot_dropoff_x", "half width", -1, 1, "drop-off", SLOTS),
    Column("slot_dropoff_y", "half width", -1, 1, "drop-off", SLOTS),
    Column("slot_earliest_in", "120 min", -1, 1, "minutes until the window opens", SLOTS),
    Column("slot_latest_in", "120 min", -1, 1, "minutes until the window closes", SLOTS),
    Column("slot_expires_in", "120 min", -1, 1, "minutes until the booking is missed", SLOTS),
    Column("slot_direct", "60 min", 0, 1, "expected direct ride", SLOTS),
    Column("slot_ambulatory", "4 places", 0, 1, "places asked for", SLOTS),
    Column("slot_wheelchair", "4 places", 0, 1, "wheelchair places asked for", SLOTS),
    Column("slot_prebooked", "-", 0, 1, "1 if booked ahead", SLOTS),
    Column("slot_filled", "-", 0, 1, "1 if it shows a booking", SLOTS),
    Column(
        "pair_eta",
        "60 min",
        0,
        1,
        "expected until pickup; 0 if illegal; by slot, then vehicle",
        PAIRS,
    ),
    Column("pair_late", "30 min", 0, 1, "expected lateness; 0 if illegal; by slot, then vehicle", PAIRS),
)

KPIS = (
    Column("bookings", "-", 0, MAX_BOOKINGS, "bookings"),
    Column("eligible", "-", 0, MAX_BOOKINGS, "bookings less cancellations and no-shows"),
    Column("completed", "-", 0, MAX_BOOKINGS, "bookings served"),
    Column("completion_rate", "-", 0, 1, "completed over eligible"),
    Column("on_time_15", "-", 0, 1, "completed and at most 15 min late, of eligible"),
    Column("on_time_30", "-", 0, 1, "completed and less than 30 min late, of eligible"),
    Column("late_or_missed_share", "-", 0, 1, "eligible that were late or not served"),
    Column("lateness_mean_min", "min", 0, math.inf, "lateness of the completed after the window"),
    Column("lateness_p95_min", "min", 0, math.inf, "95th percentile of it"),
    Column("excess_ride_mean_min", "min", 0, math.inf, "ride above the limit, of the completed"),
    Column("km_total", "km", 0, math.inf, "driven"),
    Column("km_per_completed", "km", 0, math.inf, "driven over completed"),
    Column("deadhead_share", "-", 0, 1, "kilometres without a rider"),
    Column("rider_km_per_km", "-", 0, math.inf, "rider-kilometres over vehicle-kilometres"),
    Column("trips_per_vehicle_hour", "1/h", 0, math.inf, "completed over hours of the fleet"),
    Column("utilisation", "-", 0, 1, "share of the fleet's time with an assignment"),
    Column("completion_amb", "-", 0, 1, "completed over eligible, without wheelchair"),
    Column("completion_wc", "-", 0, 1, "completed over eligible, with wheelchair"),
    *(
        Column(f"completion_trip_q{q}", "-", 0, 1, f"completed of eligible, quarter {q} by trip length")
        for q in (1, 2, 3, 4)
    ),
    *(
        Column(f"completion_zone_q{q}", "-", 0, 1, "the same, by the pickup's distance from the centre")
        for q in (1, 2, 3, 4)
    ),
    Column("min_class_completion", "-", 0, 1, "the least of these ten"),
    Column("missed", "-", 0, MAX_BOOKINGS, "bookings missed"),
    Column("no_shows", "-", 0, MAX_BOOKINGS, "met at the door"),
    Column("cancelled", "-", 0, MAX_BOOKINGS, "bookings cancelled by riders"),
    Column("wasted_legs", "-", 0, math.inf, "legs to a pickup where nobody got in"),
    Column("illegal", "-", 0, math.inf, "illegal actions"),
    Column("clipped", "-", 0, math.inf, "bookings beyond what a day can hold"),
    Column("return_usd", "$", -math.inf, math.inf, "sum of rewards"),
    Column("reward_per_step", "$", -math.inf, math.inf, "return over steps; says little without completion_rate"),
    Column("mean_distance_km", "km", 0, math.inf, "driven over completed; says little without completion_rate"),
    Column("lateness_share", "-", 0, 1, "completed that were late; says little without completion_rate"),
)

CONTEXT = (
    Column("demand_factor", "-", 0, math.inf, "of the day"),
    Column("traffic_factor", "-", 0, math.inf, "of the day's minutes per km"),
    Column("congestion", "-", -math.inf, math.inf, "log AR(1) of minutes per km, now"),
    Column("true_speed", "km/min", 0, math.inf, "now"),
    Column("bookings", "-", 0, MAX_BOOKINGS, "of the day"),
    Column("unrevealed", "-", 0, MAX_BOOKINGS, "bookings to come"),
    Column("slot_no_show", "-", 0, 1, "1 if the rider will not be there", SLOTS),
    Column("slot_cancels_in", "min", -math.inf, math.inf, "minutes until the rider cancels; inf: never", SLOTS),
    Column(
        "vehicle_event_in",
        "min",
        -math.inf,
        math.inf,
        "true minutes until the mode changes; inf: idle",
        VEHICLES,
    ),
    Column("vehicle_no_show", "-", 0, 1, "1 if the rider it goes to will not be there", VEHICLES),
)


@njit(error_model="numpy")
def _clipped(x, low, high):
    return min(max(x, low), high)


@njit(error_model="numpy")
def fleet(p):
    """Return how many vehicles there are."""
    return min(VEHICLES, p.n_vehicles)


@njit(error_model="numpy")
def _mean_board_min(p, wheelchair):
    return p.board_wc_min if wheelchair else p.board_amb_min


@njit(error_model="numpy")
def _mean_alight_min(p, wheelchair):
    return p.alight_wc_min if wheelchair else p.alight_amb_min


# --- the four verbs -------------------------------------------------------------------------------------


@njit(error_model="numpy")
def reset(p, s, d):
    """Draw a day and put the fleet at its depot, the centre."""
    draw_city(p, s, d)
    s.pace = 1.0
    for v in range(VEHICLES):
        s.mode[v] = IDLE if v < fleet(p) else OFF
        s.booking[v] = -1
        s.stop[v] = 2 * MAX_BOOKINGS + v
        s.event_min[v] = np.inf
        _show_vehicle(p, s, v)
    s.n_idle = fleet(p)
    s.next_cancel_min = np.inf
    s.next_reveal_min = s.bookings[0].reveal_min if s.n_bookings > 0 else np.inf
    _reveal(p, s)
    _write_legal(p, s)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Send a vehicle, or let a minute pass."""
    if 0 <= action < PAIRS and s.pair_legal[action]:
        s.dt_min = 0.0
        _assign(p, s, action // VEHICLES, action % VEHICLES)
    else:
        s.dt_min = 1.0
        if action != ADVANCE:
            s.illegal += 1
        _advance(p, s)
    for term in range(5):
        s.return_usd += s.terms[term]
    _write_legal(p, s)


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    for column in range(_AT_FLEET, _AT_ETA):
        out[column] = s.seen[column - _AT_FLEET]
    _observe_city(p, s, out)
    now_min = s.now_min
    for v in range(VEHICLES):
        out[_FREE_IN + v] = _clipped((s.free_min[v] - now_min) * _PER_WINDOW_MIN, 0.0, 1.0)
    for row in range(3):
        at = _AT_TIMES + SLOTS * row
        for k in range(SLOTS):
            minutes = s.slot[EARLIEST + row, k] - now_min
            out[at + k] = _clipped(minutes * _PER_WINDOW_MIN, -1.0, 1.0) if k < s.n_open else 0.0
    for column in range(_AT_ETA, _WIDTH):
        out[column] = 0.0
    if s.n_legal > 0:
        _observe_pairs(p, s, out)


@njit(error_model="numpy")
def mask(p, s, d, out):
    """Write 1 for every legal action."""
    for pair in range(out.shape[0] - 1):  # a constant number would be unrolled, which keeps it from being vectorised
        out[pair] = s.pair_legal[pair]
    out[ADVANCE] = 1


# --- the clock ------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _advance(p, s):
    """Let a minute pass."""
    s.now_min += 1.0
    minute = int(s.now_min) % RECENT_MIN
    s.requests -= s.requests_by_minute[minute]
    s.requests_by_minute[minute] = 0
    if s.next_reveal_min <= s.now_min:
        _reveal(p, s)
    if s.next_cancel_min <= s.now_min:
        _cancel_open(p, s)
    while s.n_open > 0 and s.slot[EXPIRES, 0] <= s.now_min:  # the list is in the order of expiry
        b = s.open_booking[0]
        _remove_open(p, s, 0)
        _lose(p, s, b)
    for v in range(VEHICLES):
        while s.event_min[v] <= s.now_min:
            _next_event(p, s, v)
    if s.now_min >= HORIZON_MIN and s.n_resolved == s.n_bookings:
        s.terminated = True
    elif s.now_min >= END_MIN:
        s.truncated = True
        _miss_the_rest(p, s)


@njit(error_model="numpy")
def _reveal(p, s):
    """Put the bookings that have become known into the list of open ones."""
    first = s.next_booking
    reveal(p, s)
    minute = int(s.now_min) % RECENT_MIN
    for b in range(first, s.next_booking):
        if s.bookings[b].status == OPEN:
            _insert_open(p, s, b)
            s.requests += 1
            s.requests_by_minute[minute] += 1
            s.next_cancel_min = min(s.next_cancel_min, s.bookings[b].cancel_min)
        else:
            s.cancelled += 1
            s.n_resolved += 1
    s.next_reveal_min = s.bookings[s.next_booking].reveal_min if s.next_booking < s.n_bookings else np.inf


@njit(error_model="numpy")
def _cancel_open(p, s):
    """Take the bookings from the list that their riders have cancelled."""
    s.next_cancel_min = np.inf
    for at in range(s.n_open - 1, -1, -1):
        b = s.open_booking[at]
        if s.bookings[b].cancel_min <= s.now_min:
            _remove_open(p, s, at)
            _lose(p, s, b)
        else:
            s.next_cancel_min = min(s.next_cancel_min, s.bookings[b].cancel_min)


@njit(error_model="numpy")
def _lose(p, s, b):
    """Close a booking that was cancelled or has expired, whichever came first."""
    booking = s.bookings[b]
    s.n_resolved += 1
    if booking.cancel_min <= booking.expires_min:
        booking.status = CANCELLED
        s.cancelled += 1
    else:
        _miss(p, s, b)


@njit(error_model="numpy")
def _miss(p, s, b):
    s.bookings[b].status = MISSED
    s.missed += 1
    s.terms[MISS] -= p.miss_cost_usd


@njit(error_model="numpy")
def _miss_the_rest(p, s):
    """Charge everything that the end of the day finds unresolved."""
    for b in range(s.n_bookings):
        if s.bookings[b].status <= ONBOARD:
            _miss(p, s, b)
            s.n_resolved += 1


@njit(error_model="numpy")
def _insert_open(p, s, b):
    """Put a booking into the list of open ones, in the order (latest_min, index), and into the slots."""
    at = s.n_open
    while at > 0 and s.bookings[s.open_booking[at - 1]].latest_min > s.bookings[b].latest_min:
        s.open_booking[at] = s.open_booking[at - 1]
        at -= 1
    s.open_booking[at] = b
    for k in range(min(s.n_open, SLOTS - 1), at, -1):
        _move_slot(s, k, k - 1)
    if at < SLOTS:
        _fill_slot(p, s, at, b)
    s.n_open += 1


@njit(error_model="numpy")
def _remove_open(p, s, at):
    """Take a booking from the list of open ones; the later ones move up."""
    s.n_open -= 1
    for i in range(at, s.n_open):
        s.open_booking[i] = s.open_booking[i + 1]
    for k in range(at, min(s.n_open, SLOTS - 1)):
        _move_slot(s, k, k + 1)
    if at < SLOTS:
        if s.n_open >= SLOTS:
            _fill_slot(p, s, SLOTS - 1, s.open_booking[SLOTS - 1])
        else:
            _clear_slot(s, s.n_open)


@njit(error_model="numpy")
def _move_slot(s, to, k):
    for row in range(SLOT_ROWS):
        s.slot[row, to] = s.slot[row, k]
    for column in range(_SEEN_SLOTS, _SEEN, SLOTS):
        s.seen[column + to] = s.seen[column + k]


@njit(error_model="numpy")
def _clear_slot(s, k):
    for row in range(SLOT_ROWS):
        s.slot[row, k] = 0.0
    for column in range(_SEEN_SLOTS, _SEEN, SLOTS):
        s.seen[column + k] = 0.0


@njit(error_model="numpy")
def _fill_slot(p, s, k, b):
    """Show the booking ``b`` in slot ``k``."""
    booking = s.bookings[b]
    s.slot[PICKUP_X, k] = booking.pickup_x_km
    s.slot[PICKUP_Y, k] = booking.pickup_y_km
    s.slot[EARLIEST, k] = booking.earliest_min
    s.slot[LATEST, k] = booking.latest_min
    s.slot[EXPIRES, k] = booking.expires_min
    s.slot[AMBULATORY, k] = booking.ambulatory
    s.slot[WHEELCHAIR, k] = booking.wheelchair
    per_km = 1.0 / p.area_half_width_km
    at = _SEEN_SLOTS + k
    s.seen[at] = _clipped(booking.pickup_x_km * per_km, -1.0, 1.0)
    s.seen[at + 8] = _clipped(booking.pickup_y_km * per_km, -1.0, 1.0)
    s.seen[at + 16] = _clipped(booking.dropoff_x_km * per_km, -1.0, 1.0)
    s.seen[at + 24] = _clipped(booking.dropoff_y_km * per_km, -1.0, 1.0)
    s.seen[at + 56] = min(booking.direct_min * _PER_HOUR_MIN, 1.0)
    s.seen[at + 64] = min(booking.ambulatory * _PER_PLACE, 1.0)
    s.seen[at + 72] = min(booking.wheelchair * _PER_PLACE, 1.0)
    s.seen[at + 80] = booking.prebooked
    s.seen[at + 88] = 1.0


@njit(error_model="numpy")
def _speed_and_rest(s):
    """Return the expected speed [km/min], and the kilometres that are driven at it before it changes."""
    quarter = quarter_at(s.now_min)
    speed = s.expected_speed_km_per_min[quarter]
    return speed, speed * (QUARTER_MIN * (quarter + 1) - s.now_min)


@njit(error_model="numpy")
def _pickup_min(p, s, v, k, speed, rest_km):
    """Return when the idle vehicle ``v`` is expected at the pickup in slot ``k``, if it leaves now."""
    km = road_km(p, s.x_km[v], s.y_km[v], s.slot[PICKUP_X, k], s.slot[PICKUP_Y, k])
    return s.now_min + km / speed if km <= rest_km else expected_arrival_min(s, s.now_min, km)


@njit(error_model="numpy")
def _write_legal(p, s):
    """Write which idle vehicle may take which visible booking."""
    if s.n_legal > 0:
        for pair in range(PAIRS):
            s.pair_legal[pair] = 0
        s.n_legal = 0
    if s.n_idle == 0 or s.n_open == 0:
        return
    speed, rest_km = _speed_and_rest(s)
    for v in range(VEHICLES):
        if s.mode[v] != IDLE:
            continue
        for k in range(min(s.n_open, SLOTS)):
            if s.slot[AMBULATORY, k] > p.cap_amb or s.slot[WHEELCHAIR, k] > p.cap_wc:
                continue
            if _pickup_min(p, s, v, k, speed, rest_km) <= s.slot[EXPIRES, k]:
                s.pair_legal[VEHICLES * k + v] = 1
                s.n_legal += 1


# --- a vehicle's errand ---------------------------------------------------------------------------------


@njit(error_model="numpy")
def _assign(p, s, k, v):
    """Give the booking in slot ``k`` to the idle vehicle ``v``; it leaves when it must, at once if late."""
    b = s.open_booking[k]
    booking = s.bookings[b]
    _remove_open(p, s, k)
    s.n_idle -= 1
    booking.status = ASSIGNED
    booking.vehicle = v
    s.booking[v] = b
    s.busy_from_min[v] = s.now_min
    km = road_km(p, s.x_km[v], s.y_km[v], booking.pickup_x_km, booking.pickup_y_km)
    depart_min = max(s.now_min, expected_departure_min(s, booking.earliest_min, km))
    s.depart_min[v] = depart_min
    s.free_x_km[v] = booking.dropoff_x_km
    s.free_y_km[v] = booking.dropoff_y_km
    s.free_min[v] = _expected_free_min(p, s, b, expected_arrival_min(s, depart_min, km))
    s.mode[v] = HOLDING
    s.event_min[v] = min(depart_min, booking.cancel_min)
    if s.event_min[v] <= s.now_min:
        _next_event(p, s, v)
    else:
        _show_vehicle(p, s, v)


@njit(error_model="numpy")
def _expected_free_min(p, s, b, arrive_min):
    """Return when a vehicle that arrives at the pickup of ``b`` at ``arrive_min`` is expected to be free."""
    booking = s.bookings[b]
    wheelchair = booking.wheelchair > 0
    leave_min = max(arrive_min, booking.earliest_min) + _mean_board_min(p, wheelchair)
    km = road_km(p, booking.pickup_x_km, booking.pickup_y_km, booking.dropoff_x_km, booking.dropoff_y_km)
    return expected_arrival_min(s, leave_min, km) + _mean_alight_min(p, wheelchair)


@njit(error_model="numpy")
def _next_event(p, s, v):
    """Carry out the event that ends the vehicle's present mode."""
    b = s.booking[v]
    booking = s.bookings[b]
    mode = s.mode[v]
    now_min = s.event_min[v]
    if mode == HOLDING:
        if booking.cancel_min <= s.depart_min[v]:
            _lose(p, s, b)
            _become_idle(s, v, now_min)
        else:
            _leave(p, s, v, now_min, booking.pickup_x_km, booking.pickup_y_km, 2 * b)
            s.mode[v] = TO_PICKUP
            s.event_min[v] = min(s.arrive_min[v], booking.cancel_min, booking.expires_min)
    elif mode == TO_PICKUP:
        if s.arrive_min[v] <= now_min:
            _arrive(s, v)
            _begin_pickup(p, s, v, b, now_min)
        else:
            _lose(p, s, b)
            s.wasted_legs += 1
            s.mode[v] = VOID
            s.event_min[v] = s.arrive_min[v]
            s.free_x_km[v], s.free_y_km[v] = s.to_x_km[v], s.to_y_km[v]
            s.free_min[v] = s.expected_min[v]
    elif mode == AT_PICKUP:
        _end_pickup(p, s, v, b, now_min)
    elif mode == RIDING:
        _arrive(s, v)
        limit_min = max(p.ride_limit_min, p.ride_limit_factor * booking.direct_min)
        excess_min = max(0.0, now_min - booking.picked_min - limit_min)
        s.excess_min += excess_min
        s.terms[EXCESS_RIDE] -= p.ride_cost_usd_per_min * excess_min
        s.mode[v] = ALIGHTING
        s.event_min[v] = now_min + booking.alight_min
        s.free_min[v] = now_min + _mean_alight_min(p, booking.wheelchair > 0)
    elif mode == ALIGHTING:
        booking.status = DONE
        booking.dropped_min = now_min
        s.n_resolved += 1
        s.completed += 1
        s.terms[FARE] += p.fare_usd
        _become_idle(s, v, now_min)
    else:
        _arrive(s, v)
        _become_idle(s, v, now_min)
    _show_vehicle(p, s, v)


@njit(error_model="numpy")
def _begin_pickup(p, s, v, b, now_min):
    """Begin to board, not before the window opens; the vehicle cannot know yet whether anybody comes."""
    booking = s.bookings[b]
    s.mode[v] = AT_PICKUP
    s.start_min[v] = max(now_min, booking.earliest_min)
    s.free_min[v] = _expected_free_min(p, s, b, now_min)
    if booking.cancel_min < s.start_min[v]:
        s.event_min[v] = booking.cancel_min
    elif booking.no_show:
        s.event_min[v] = s.start_min[v] + p.no_show_wait_min
    else:
        s.event_min[v] = s.start_min[v] + booking.board_min


@njit(error_model="numpy")
def _end_pickup(p, s, v, b, now_min):
    """Leave with the rider, or without: cancelled at the door or a no-show."""
    booking = s.bookings[b]
    if now_min < s.start_min[v] or booking.no_show:
        cancelled = now_min < s.start_min[v]
        booking.status = CANCELLED if cancelled else NO_SHOW
        s.cancelled += cancelled
        s.no_shows += not cancelled
        s.n_resolved += 1
        s.wasted_legs += 1
        _become_idle(s, v, now_min)
        return
    late_min = _clipped(s.start_min[v] - booking.latest_min, 0.0, LATE_CAP_MIN)
    s.late_min += late_min
    s.terms[LATENESS] -= p.late_cost_usd_per_min * late_min
    booking.status = ONBOARD
    booking.picked_min = now_min
    km = _leave(p, s, v, now_min, booking.dropoff_x_km, booking.dropoff_y_km, 2 * b + 1)
    s.loaded_km += km
    s.rider_km += km * (booking.ambulatory + booking.wheelchair)
    s.mode[v] = RIDING
    s.event_min[v] = s.arrive_min[v]
    s.free_min[v] = s.expected_min[v] + _mean_alight_min(p, booking.wheelchair > 0)


@njit(error_model="numpy")
def _leave(p, s, v, depart_min, x_km, y_km, stop):
    """Drive off to a stop and return its kilometres, which are paid now."""
    km = road_km(p, s.x_km[v], s.y_km[v], x_km, y_km)
    s.to_x_km[v], s.to_y_km[v], s.to_stop[v] = x_km, y_km, stop
    s.depart_min[v] = depart_min
    s.arrive_min[v] = arrival_min(s, depart_min, km * leg_factor(p, s, s.stop[v], stop))
    s.expected_min[v] = expected_arrival_min(s, depart_min, km)
    s.km += km
    s.terms[DISTANCE] -= p.km_cost_usd * km
    return km


@njit(error_model="numpy")
def _arrive(s, v):
    """End a leg and learn from it how the traffic is."""
    s.x_km[v], s.y_km[v], s.stop[v] = s.to_x_km[v], s.to_y_km[v], s.to_stop[v]
    expected_min = s.expected_min[v] - s.depart_min[v]
    if expected_min >= PACE_LEAST_MIN:
        pace = (s.arrive_min[v] - s.depart_min[v]) / expected_min
        s.pace += PACE_WEIGHT * (pace - s.pace)


@njit(error_model="numpy")
def _become_idle(s, v, now_min):
    s.mode[v] = IDLE
    s.booking[v] = -1
    s.n_idle += 1
    s.event_min[v] = np.inf
    s.free_x_km[v], s.free_y_km[v], s.free_min[v] = s.x_km[v], s.y_km[v], now_min
    s.busy_min += now_min - s.busy_from_min[v]


# --- what is seen ---------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _observe_city(p, s, out):
    now_min = s.now_min
    quarter = quarter_at(now_min)
    expected = RECENT_MIN * demand_rate(p, now_min)
    out[0] = _CLOCK_SIN[int(now_min)]
    out[1] = _CLOCK_COS[int(now_min)]
    out[2] = min(now_min * (1.0 / END_MIN), 1.0)
    out[3] = min(s.n_open * _PER_OPEN, 1.0)
    out[4] = _clipped((s.n_open - SLOTS) * _PER_OPEN, 0.0, 1.0)
    out[5] = s.n_idle / fleet(p)
    out[6] = _clipped(s.pace - 1.0, -1.0, 1.0)
    out[7] = min(s.expected_speed_km_per_min[quarter], 1.0)
    out[8] = min(s.expected_speed_km_per_min[min(quarter + 4, QUARTERS - 1)], 1.0)
    out[9] = (s.requests - expected) / (s.requests + expected + 1.0)
    out[10] = min(s.km * _PER_FLEET_KM, 1.0)
    out[11] = min(s.missed * _PER_MISSED, 1.0)


@njit(error_model="numpy")
def _observe_pairs(p, s, out):
    """Write of every legal pair when it is expected at the pickup, and how late."""
    speed, rest_km = _speed_and_rest(s)
    for v in range(VEHICLES):
        if s.mode[v] != IDLE:
            continue
        for k in range(min(s.n_open, SLOTS)):
            pair = VEHICLES * k + v
            if not s.pair_legal[pair]:
                continue
            arrive_min = _pickup_min(p, s, v, k, speed, rest_km)
            eta_min = max(arrive_min, s.slot[EARLIEST, k]) - s.now_min
            out[_AT_ETA + pair] = min(eta_min * _PER_HOUR_MIN, 1.0)
            out[_AT_LATE + pair] = _clipped((arrive_min - s.slot[LATEST, k]) * _PER_LATE_MIN, 0.0, 1.0)


@njit(error_model="numpy")
def _show_vehicle(p, s, v):
    """Show where a vehicle is and what it does."""
    per_km = 1.0 / p.area_half_width_km
    at, mode = v, s.mode[v]
    s.seen[at] = _clipped(s.x_km[v] * per_km, -1.0, 1.0)
    s.seen[at + 8] = _clipped(s.y_km[v] * per_km, -1.0, 1.0)
    s.seen[at + 16] = _clipped(s.free_x_km[v] * per_km, -1.0, 1.0)
    s.seen[at + 24] = _clipped(s.free_y_km[v] * per_km, -1.0, 1.0)
    at = _SEEN_MODE + v
    s.seen[at] = 1.0 if mode == IDLE else 0.0
    s.seen[at + 8] = 1.0 if mode in (HOLDING, TO_PICKUP) else 0.0
    s.seen[at + 16] = 1.0 if mode == AT_PICKUP else 0.0
    s.seen[at + 24] = 1.0 if mode in (RIDING, ALIGHTING) else 0.0
    s.seen[at + 32] = 1.0 if mode == VOID else 0.0


@njit(error_model="numpy")
def context(p, s, d, out):
    """Write what the dispatcher does not know."""
    quarter = quarter_at(s.now_min)
    out[0] = s.demand_factor
    out[1] = s.traffic_factor
    out[2] = s.congestion[quarter]
    out[3] = s.speed_km_per_min[quarter]
    out[4] = s.n_bookings
    out[5] = s.n_bookings - s.next_booking
    for k in range(SLOTS):
        b = s.open_booking[k]
        shown = k < s.n_open
        out[6 + k] = s.bookings[b].no_show if shown else 0.0
        out[14 + k] = s.bookings[b].cancel_min - s.now_min if shown else np.inf
    for v in range(VEHICLES):
        b = s.booking[v]
        before = HOLDING <= s.mode[v] <= AT_PICKUP
        out[22 + v] = s.event_min[v] - s.now_min
        out[30 + v] = s.bookings[b].no_show if before else 0.0


# --- key figures ----------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _ratio(a, b):
    return a / b if b > 0 else 0.0


@njit(error_model="numpy")
def _is_eligible(s, b):
    return s.bookings[b].status != CANCELLED and s.bookings[b].status != NO_SHOW


@njit(error_model="numpy")
def _completion_by_quartile(s, value, out, first):
    """Write the completion by quartile of ``value`` among eligible bookings; the least is returned."""
    chosen = np.empty(MAX_BOOKINGS)
    n = 0
    for b in range(s.n_bookings):
        if _is_eligible(s, b):
            chosen[n] = value[b]
            n += 1
    ordered = np.sort(chosen[:n])
    least = 1.0
    for quartile in range(4):
        low = ordered[n * quartile // 4] if n > 0 else 0.0
        high = ordered[n * (quartile + 1) // 4] if quartile < 3 and n > 0 else np.inf
        eligible, done = 0, 0
        for b in range(s.n_bookings):
            if _is_eligible(s, b) and low <= value[b] < high:
                eligible += 1
                done += s.bookings[b].status == DONE
        out[first + quartile] = _ratio(done, eligible)
        if eligible > 0:
            least = min(least, out[first + quartile])
    return least


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures; rates are over the eligible bookings, so refusing never looks good."""
    late = np.empty(MAX_BOOKINGS)
    length_km, distance_km = np.empty(MAX_BOOKINGS), np.empty(MAX_BOOKINGS)
    n_late, on_time_15, on_time_30 = 0, 0, 0
    eligible_wc, done_wc, eligible_amb, done_amb, done = 0, 0, 0, 0, 0
    for b in range(s.n_bookings):
        booking = s.bookings[b]
        length_km[b] = math.hypot(
            booking.dropoff_x_km - booking.pickup_x_km, booking.dropoff_y_km - booking.pickup_y_km
        )
        distance_km[b] = math.hypot(booking.pickup_x_km, booking.pickup_y_km)
        if not _is_eligible(s, b):
            continue
        is_done = booking.status == DONE
        if booking.wheelchair > 0:
            eligible_wc += 1
            done_wc += is_done
        else:
            eligible_amb += 1
            done_amb += is_done
        if is_done:
            start_min = booking.picked_min - booking.board_min
            late[done] = max(0.0, start_min - booking.latest_min)
            n_late += late[done] > 1e-9
            on_time_15 += late[done] <= 15.0
            on_time_30 += late[done] < 30.0
            done += 1
    eligible = eligible_wc + eligible_amb
    late_ordered = np.sort(late[:done])
    late_min = 0.0
    for k in range(done):  # NumPy's own sum adds in another order when this runs interpreted
        late_min += late_ordered[k]
    busy_min = s.busy_min
    for v in range(VEHICLES):
        if s.mode[v] > IDLE:
            busy_min += s.now_min - s.busy_from_min[v]
    fleet_min = fleet(p) * s.now_min
    out[0] = s.n_bookings
    out[1] = eligible
    out[2] = done
    out[3] = _ratio(done, eligible)
    out[4] = _ratio(on_time_15, eligible)
    out[5] = _ratio(on_time_30, eligible)
    out[6] = _ratio(n_late + eligible - done, eligible)
    out[7] = _ratio(late_min, done)
    out[8] = late_ordered[min(int(0.95 * done), done - 1)] if done > 0 else 0.0
    out[9] = _ratio(s.excess_min, done)
    out[10] = s.km
    out[11] = _ratio(s.km, done)
    out[12] = _ratio(s.km - s.loaded_km, s.km)
    out[13] = _ratio(s.rider_km, s.km)
    out[14] = _ratio(60.0 * done, fleet_min)
    out[15] = _ratio(busy_min, fleet_min)
    out[16] = _ratio(done_amb, eligible_amb)
    out[17] = _ratio(done_wc, eligible_wc)
    least = min(_completion_by_quartile(s, length_km, out, 18), _completion_by_quartile(s, distance_km, out, 22))
    if eligible_amb > 0:
        least = min(least, out[16])
    if eligible_wc > 0:
        least = min(least, out[17])
    out[26] = least
    out[27] = s.missed
    out[28] = s.no_shows
    out[29] = s.cancelled
    out[30] = s.wasted_legs
    out[31] = s.illegal
    out[32] = s.n_clipped
    out[33] = s.return_usd
    out[34] = _ratio(s.return_usd, s.steps)
    out[35] = out[11]
    out[36] = _ratio(n_late, done)
