"""What vehicles and riders do between two decisions: depart, arrive, serve, rest, break down, give up.

Each vehicle runs from event to event in continuous time; ``until_min`` is the true end of what it does now,
which nobody sees before it is there. Vehicles meet only through decisions, so one tick moves them one after
the other.

* An empty vehicle waits before it leaves for a pickup, until it is expected to arrive when the window opens;
  with riders on board it leaves at once. Without a plan it stays where it is.
* A no-show is found out after ``no_show_wait_min`` at the door. Whoever cancels or gives up while the vehicle
  is on its way is gone; the leg is driven to its end. A rider with the vehicle at the door stays.
* Shifts start staggered, the last ends at ``LAST_SHIFT_END_MIN``. At its end a vehicle gives back the pickups
  that it has not set out for, brings home whom it has on board and goes. It has one break, when it is empty
  and in time for its next pickup.
* A vehicle breaks down after an exponential distance (mean 1 / ``breakdown_per_km``) on its own odometer.
  Its bookings open again, riders on board as urgent ones at the side of the road.
"""

import math

from numba import njit

from rlops.envs.dispatch.city import (
    ASSIGNED,
    CANCELLED,
    DONE,
    FIRST_KERNEL_STREAM,
    HIDDEN,
    MAX_BOOKINGS,
    MISSED,
    NO_SHOW,
    ONBOARD,
    OPEN,
    arrival_min,
    expected_arrival_min,
    expected_departure_min,
    leg_factor,
    reveal,
)
from rlops.envs.dispatch.plan import (
    BREAK,
    DOWN,
    DRIVING,
    IDLE,
    LATE_CAP_MIN,
    OFF,
    PLAN_FIELDS,
    SERVING,
    V_MAX,
    charge_km_per_min,
    drop_stop,
    expected_alight_min,
    expected_board_min,
    is_electric,
    lay_out,
    range_at_km,
    ride_limit_min,
)
from rlops.envs.draws import exponential, stream_key, uniform

REWARD_TERMS = ("fare", "distance", "lateness", "excess_ride", "missed")
FARE, DISTANCE, LATENESS, EXCESS_RIDE, MISSES = range(5)

LAST_SHIFT_END_MIN = 750.0
"""[min] 18:30: the last window of a day closes half an hour after the last request. Assumption."""
BREAK_FROM_SHARE, BREAK_TO_SHARE = 0.45, 0.70
"""[-] Shares of the shift between which the break is taken; from the latter on the vehicle accepts nothing
before its break. Assumption: 10:30 to 13:00 for the first shift, in the lull between the two peaks."""
REPAIR_LOW, REPAIR_HIGH = 0.5, 1.5
"""[-] A repair takes uniformly 60-180 min around a nominal 120 min. Assumption."""
CHARGE_BELOW, CHARGE_TO = 0.25, 0.80
"""[-] An empty electric vehicle without a plan below the first share of its range charges to the second.
Assumption."""
EWMA_WEIGHT = 0.1
"""[-] Weight of the last leg in the mean of realised over expected leg times."""
RECENT_MIN = 30
"""[min] Span of the count of recent requests."""

BREAKDOWN, REPAIR = FIRST_KERNEL_STREAM, FIRST_KERNEL_STREAM + 1  # streams of random draws

_V, _N = (V_MAX,), (MAX_BOOKINGS,)
FLEET_FIELDS = [
    *PLAN_FIELDS,
    ("until_min", "f8", _V),  # true end of what the vehicle is doing, hidden
    ("since_min", "f8", _V),  # start of the leg or of the service
    ("leg_done_km", "f8", _V),  # of the leg under way, if the vehicle breaks down on it; hidden
    ("breaks_down", "i4", _V),  # 1: on the leg under way; hidden
    ("stop_at", "i4", _V),  # stop id of where the vehicle departs from
    ("odometer_km", "f8", _V),
    ("breakdown_at_km", "f8", _V),  # of the odometer; hidden
    ("breakdowns", "i4", _V),
    ("shift_start_min", "f8", _V),
    ("off_min", "f8", _V),  # when the vehicle went home; inf before
    ("break_done", "i4", _V),
    ("dirty", "i4", _V),  # 1: the plan or what the vehicle does has changed since its column was computed
    # bookings
    ("open_list", "i4", _N),  # open bookings by (latest, id)
    ("n_open", "i4"),
    ("attention_min", "f8"),  # nobody cancels or gives up before
    ("lateness_min", "f8", _N),  # of the pickups, capped; what has been charged
    ("excess_ride_min", "f8", _N),
    ("recent", "i4", (RECENT_MIN,)),  # requests by minute
    ("n_recent", "i4"),
    # totals of the episode
    ("n_completed", "i4"),
    ("n_missed", "i4"),
    ("n_no_show", "i4"),
    ("n_cancelled", "i4"),
    ("n_wasted", "i4"),  # legs to riders who were not there
    ("n_breakdowns", "i4"),
    ("km", "f8"),
    ("empty_km", "f8"),
    ("rider_km", "f8"),
    ("late_total_min", "f8"),
    ("excess_total_min", "f8"),
    ("busy_min", "f8"),  # driving or serving
    ("pace_ewma", "f8"),  # [-] realised over expected leg time
    ("vehicle_usd", "f8", _V),  # reward by vehicle, missed bookings left out
]
"""State fields of the plans and the fleet."""


@njit(error_model="numpy")
def place_fleet(p, s):
    """Put the vehicles of a new day at the centre, off shift."""
    s.attention_min = math.inf
    s.pace_ewma = 1.0
    for v in range(V_MAX):
        s.mode[v] = OFF
        s.stop_at[v] = 2 * MAX_BOOKINGS + v
        s.off_min[v] = math.inf
        s.until_min[v] = math.inf
        s.range_km[v] = p.ev_range_km
        s.breakdown_at_km[v] = _next_breakdown_km(p, s, v)
        if v < p.n_vehicles:
            spread = (LAST_SHIFT_END_MIN - p.shift_min) / (p.n_vehicles - 1)
            s.shift_start_min[v] = spread * v
            s.shift_end_min[v] = s.shift_start_min[v] + p.shift_min
            s.until_min[v] = s.shift_start_min[v]
    for v in range(p.n_vehicles):
        if s.until_min[v] <= 0.0:
            _event(p, s, v)


@njit(error_model="numpy")
def advance(p, s):
    """Move fleet and riders to the next minute; return whether something calls for a decision."""
    t_min = s.now_min + 1.0
    n_open, woken = s.n_open, False
    for v in range(p.n_vehicles):
        was_idle = s.mode[v] == IDLE and s.stops[v] == 0
        while s.until_min[v] <= t_min:
            _event(p, s, v)
        woken = woken or (s.mode[v] == IDLE and s.stops[v] == 0 and not was_idle)
    s.now_min = t_min
    reveal_bookings(p, s)
    woken = woken or s.n_open > n_open
    if t_min >= s.attention_min:
        _withdraw_gone(p, s)
    return woken or (s.n_open > 0 and t_min - 1.0 < s.bookings[s.open_list[0]].latest_min <= t_min)


@njit(error_model="numpy")
def reveal_bookings(p, s):
    """Open the bookings that have become known and list them."""
    minute = int(s.now_min) % RECENT_MIN
    s.n_recent -= s.recent[minute]
    s.recent[minute] = 0
    first = s.next_booking
    reveal(p, s)
    for b in range(first, s.next_booking):
        if s.bookings[b].status == OPEN:
            s.recent[minute] += 1
            _list_open(s, b)
        else:
            s.n_cancelled += 1
    s.n_recent += s.recent[minute]


# --- riders ---------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _list_open(s, b):
    """Put an open booking into the list, which is ordered by the end of the window."""
    booking = s.bookings[b]
    i = s.n_open
    while i > 0:
        other = s.open_list[i - 1]
        if s.bookings[other].latest_min < booking.latest_min or (
            s.bookings[other].latest_min == booking.latest_min and other < b
        ):
            break
        s.open_list[i] = other
        i -= 1
    s.open_list[i] = b
    s.n_open += 1
    s.attention_min = min(s.attention_min, min(booking.cancel_min, booking.expires_min))


@njit(error_model="numpy")
def unlist_open(s, b):
    """Take a booking out of the list of open ones."""
    kept = 0
    for i in range(s.n_open):
        if s.open_list[i] != b:
            s.open_list[kept] = s.open_list[i]
            kept += 1
    s.n_open = kept


@njit(error_model="numpy")
def _reopen(s, b):
    s.bookings[b].status = OPEN
    s.bookings[b].vehicle = -1
    _list_open(s, b)


@njit(error_model="numpy")
def _withdraw(p, s, b, t_min):
    """Close a booking whose rider has cancelled or given up by ``t_min`` and clear it from its plan."""
    booking = s.bookings[b]
    if booking.cancel_min <= booking.expires_min:
        booking.status = CANCELLED
        s.n_cancelled += 1
    else:
        charge_miss(p, s, b)
    v = booking.vehicle
    if v < 0:
        unlist_open(s, b)
        return
    booking.vehicle = -1
    drop_stop(s, v, 2 * b + 1)
    if s.committed[v] == 0 or s.plan[v, 0] != 2 * b:
        drop_stop(s, v, 2 * b)
    lay_out(p, s, v)
    s.dirty[v] = 1
    if s.mode[v] == IDLE:
        s.until_min[v] = min(s.until_min[v], t_min)


@njit(error_model="numpy")
def charge_miss(p, s, b):
    """Close a booking that was not served."""
    s.bookings[b].status = MISSED
    s.n_missed += 1
    s.terms[MISSES] -= p.miss_cost_usd


@njit(error_model="numpy")
def _withdraw_gone(p, s):
    """Withdraw everybody who has cancelled or given up by now, and find the next to do so."""
    now_min = s.now_min
    s.attention_min = math.inf
    for i in range(s.n_open - 1, -1, -1):
        b = s.open_list[i]
        gone_min = min(s.bookings[b].cancel_min, s.bookings[b].expires_min)
        if gone_min <= now_min:
            _withdraw(p, s, b, now_min)
        else:
            s.attention_min = min(s.attention_min, gone_min)
    for v in range(p.n_vehicles):
        at_the_door = 1 if s.mode[v] == SERVING else 0
        for m in range(s.stops[v] - 1, at_the_door - 1, -1):
            b = s.plan[v, m] >> 1
            if s.plan[v, m] & 1 or s.bookings[b].vehicle != v:
                continue
            gone_min = min(s.bookings[b].cancel_min, s.bookings[b].expires_min)
            if gone_min <= now_min:
                _withdraw(p, s, b, now_min)
            else:
                s.attention_min = min(s.attention_min, gone_min)


# --- vehicles -------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _event(p, s, v):
    """End what a vehicle is doing and begin what comes next."""
    t_min = s.until_min[v]
    s.dirty[v] = 1
    mode = s.mode[v]
    if mode == DRIVING:
        _end_leg(p, s, v, t_min)
    elif mode == SERVING:
        _end_service(p, s, v, t_min)
    elif mode != IDLE:  # back from a break or a repair, or the shift begins
        if mode != BREAK:
            s.parked_min[v] = t_min
        s.mode[v] = IDLE
        _decide(p, s, v, t_min)
    else:
        _decide(p, s, v, t_min)


@njit(error_model="numpy")
def _decide(p, s, v, t_min):
    """Choose what a vehicle without a task does from ``t_min`` on: go home, rest, charge, wait or leave."""
    s.believed_min[v] = t_min
    if t_min >= s.shift_end_min[v]:
        _give_back_pickups(p, s, v)
        if s.stops[v] == 0:
            s.mode[v] = OFF
            s.off_min[v] = t_min
            s.until_min[v] = math.inf
            return
    depart_min = math.inf if s.stops[v] == 0 else _departure_min(s, v, t_min)
    if s.onboard_amb[v] + s.onboard_wc[v] == 0:
        break_from_min = s.shift_start_min[v] + BREAK_FROM_SHARE * p.shift_min
        if s.break_done[v] == 0 and t_min >= break_from_min and depart_min - t_min >= p.break_min:
            s.break_done[v] = 1
            _pause(s, v, BREAK, t_min + p.break_min)
            return
        if s.stops[v] == 0 and is_electric(p, v):
            missing_km = CHARGE_TO * p.ev_range_km - range_at_km(p, s, v, t_min)
            if missing_km > (CHARGE_TO - CHARGE_BELOW) * p.ev_range_km:
                _pause(s, v, BREAK, t_min + missing_km / charge_km_per_min(p))
                return
        if s.break_done[v] == 0 and t_min < break_from_min:
            depart_min = min(depart_min, break_from_min)
    if depart_min > t_min:
        s.until_min[v] = min(depart_min, s.shift_end_min[v])
    else:
        leave(p, s, v, t_min)


@njit(error_model="numpy", inline="always")
def _pause(s, v, mode, end_min):
    s.mode[v] = mode
    s.until_min[v] = end_min
    s.believed_min[v] = end_min


@njit(error_model="numpy")
def _departure_min(s, v, t_min):
    """Return when a vehicle leaves for its first stop [min]."""
    if s.onboard_amb[v] + s.onboard_wc[v] > 0:
        return t_min
    return max(t_min, expected_departure_min(s, s.opens_min[v, 0], s.leg_km[v, 0]))


@njit(error_model="numpy")
def leave(p, s, v, t_min):
    """Send a vehicle to its first stop, unless the rider there has gone by then."""
    stop, km = s.plan[v, 0], s.leg_km[v, 0]
    b = stop >> 1
    if stop & 1 == 0 and min(s.bookings[b].cancel_min, s.bookings[b].expires_min) <= t_min:
        _withdraw(p, s, b, t_min)
        s.until_min[v] = t_min
        return
    s.range_km[v] = range_at_km(p, s, v, t_min) - km
    s.mode[v] = DRIVING
    s.committed[v] = 1
    s.since_min[v] = t_min
    s.believed_min[v] = expected_arrival_min(s, t_min, km)
    s.breaks_down[v] = 1 if s.odometer_km[v] + km > s.breakdown_at_km[v] else 0
    s.leg_done_km[v] = s.breakdown_at_km[v] - s.odometer_km[v] if s.breaks_down[v] else km
    s.until_min[v] = arrival_min(s, t_min, s.leg_done_km[v] * leg_factor(p, s, s.stop_at[v], stop))


@njit(error_model="numpy")
def drive(p, s, v):
    """Book the kilometres of the leg under way."""
    km = s.leg_done_km[v]
    riders = s.onboard_amb[v] + s.onboard_wc[v]
    s.odometer_km[v] += km
    s.km += km
    s.rider_km += km * riders
    if riders == 0:
        s.empty_km += km
    usd = p.km_cost_usd * km
    s.terms[DISTANCE] -= usd
    s.vehicle_usd[v] -= usd


@njit(error_model="numpy")
def _end_leg(p, s, v, t_min):
    drive(p, s, v)
    s.busy_min += t_min - s.since_min[v]
    if s.breaks_down[v]:
        _break_down(p, s, v, t_min)
        return
    stop = s.plan[v, 0]
    b = stop >> 1
    booking = s.bookings[b]
    expected_min = expected_arrival_min(s, s.since_min[v], s.leg_km[v, 0]) - s.since_min[v]
    if expected_min > 1.0:
        ratio = (t_min - s.since_min[v]) / expected_min
        s.pace_ewma += EWMA_WEIGHT * (ratio - s.pace_ewma)
    s.x_km[v], s.y_km[v] = s.stop_x_km[v, 0], s.stop_y_km[v, 0]
    s.stop_at[v] = stop
    s.mode[v] = SERVING
    s.since_min[v] = t_min
    if stop & 1:
        s.begin_min[v, 0] = t_min
        s.until_min[v] = t_min + booking.alight_min
        s.believed_min[v] = t_min + expected_alight_min(p, s, b)
        return
    if booking.vehicle == v and min(booking.cancel_min, booking.expires_min) <= t_min:
        _withdraw(p, s, b, t_min)
    if booking.vehicle != v:
        s.n_wasted += b < MAX_BOOKINGS  # beyond them are places where nobody was to wait
        _free(p, s, v, t_min)
        return
    begin_min = max(t_min, booking.earliest_min)
    s.begin_min[v, 0] = begin_min
    s.until_min[v] = begin_min + (p.no_show_wait_min if booking.no_show else booking.board_min)
    s.believed_min[v] = begin_min + expected_board_min(p, s, b)


@njit(error_model="numpy")
def _end_service(p, s, v, t_min):
    stop = s.plan[v, 0]
    b = stop >> 1
    booking = s.bookings[b]
    s.busy_min += t_min - s.since_min[v]
    if stop & 1:
        _set_down(p, s, v, b, t_min)
    elif booking.no_show:
        booking.status = NO_SHOW
        booking.vehicle = -1
        s.n_no_show += 1
        s.n_wasted += 1
        drop_stop(s, v, stop + 1)
    else:
        _take_up(p, s, v, b, t_min)
    _free(p, s, v, t_min)


@njit(error_model="numpy")
def _take_up(p, s, v, b, t_min):
    booking = s.bookings[b]
    booking.status = ONBOARD
    booking.picked_min = t_min
    if s.aboard_min[b] == 0.0:
        s.aboard_min[b] = t_min
    s.onboard_amb[v] += booking.ambulatory
    s.onboard_wc[v] += booking.wheelchair
    late_min = min(max(0.0, s.begin_min[v, 0] - booking.latest_min), LATE_CAP_MIN)
    s.lateness_min[b] += late_min
    s.late_total_min += late_min
    usd = p.late_cost_usd_per_min * late_min
    s.terms[LATENESS] -= usd
    s.vehicle_usd[v] -= usd


@njit(error_model="numpy")
def _set_down(p, s, v, b, t_min):
    booking = s.bookings[b]
    booking.status = DONE
    booking.dropped_min = t_min
    s.onboard_amb[v] -= booking.ambulatory
    s.onboard_wc[v] -= booking.wheelchair
    excess_min = max(0.0, s.begin_min[v, 0] - s.aboard_min[b] - ride_limit_min(p, s, b))
    s.excess_ride_min[b] = excess_min
    s.excess_total_min += excess_min
    s.n_completed += 1
    usd = p.ride_cost_usd_per_min * excess_min
    s.terms[FARE] += p.fare_usd
    s.terms[EXCESS_RIDE] -= usd
    s.vehicle_usd[v] += p.fare_usd - usd


@njit(error_model="numpy")
def _free(p, s, v, t_min):
    """Strike the first stop off the plan and go on."""
    s.committed[v] = 0
    s.mode[v] = IDLE
    s.parked_min[v] = t_min
    drop_stop(s, v, s.plan[v, 0])
    lay_out(p, s, v)
    _decide(p, s, v, t_min)


@njit(error_model="numpy")
def _give_back_pickups(p, s, v):
    """Open the bookings again that a vehicle at the end of its shift has not picked up."""
    for m in range(s.stops[v] - 1, -1, -1):
        stop = s.plan[v, m]
        if stop & 1 == 0:
            drop_stop(s, v, stop + 1)
            drop_stop(s, v, stop)
            _reopen(s, stop >> 1)
    lay_out(p, s, v)


@njit(error_model="numpy")
def _break_down(p, s, v, t_min):
    """Stop a vehicle on its leg; its riders wait at the side of the road."""
    share = s.leg_done_km[v] / s.leg_km[v, 0]
    s.x_km[v] += share * (s.stop_x_km[v, 0] - s.x_km[v])
    s.y_km[v] += share * (s.stop_y_km[v, 0] - s.y_km[v])
    s.stop_at[v] = 2 * MAX_BOOKINGS + v
    for m in range(s.stops[v]):
        b = s.plan[v, m] >> 1
        booking = s.bookings[b]
        if booking.status == ONBOARD:
            booking.pickup_x_km, booking.pickup_y_km = s.x_km[v], s.y_km[v]
            booking.earliest_min, booking.latest_min = t_min, t_min
            booking.expires_min = t_min + p.patience_min
            booking.cancel_min = math.inf
            _reopen(s, b)
        elif booking.status == ASSIGNED and s.plan[v, m] & 1:
            _reopen(s, b)
    s.stops[v] = 0
    s.committed[v] = 0
    s.onboard_amb[v], s.onboard_wc[v] = 0, 0
    s.n_breakdowns += 1
    s.breakdowns[v] += 1
    repair = stream_key(s.key, s.breakdowns[v], REPAIR)
    length_min = p.repair_min * (REPAIR_LOW + (REPAIR_HIGH - REPAIR_LOW) * uniform(repair, v))
    _pause(s, v, DOWN, t_min + length_min)
    s.believed_min[v] = t_min + p.repair_min
    s.breakdown_at_km[v] = _next_breakdown_km(p, s, v)


@njit(error_model="numpy")
def _next_breakdown_km(p, s, v):
    """Return the odometer reading at which a vehicle breaks down next [km]."""
    if p.breakdown_per_km == 0.0:
        return math.inf
    draw = stream_key(s.key, s.breakdowns[v], BREAKDOWN)
    return s.odometer_km[v] + exponential(draw, v) / p.breakdown_per_km


@njit(error_model="numpy")
def close_day(p, s):
    """Charge what is unresolved as missed and the legs under way in full."""
    for b in range(s.n_bookings):
        if s.bookings[b].status in (HIDDEN, OPEN, ASSIGNED, ONBOARD):
            charge_miss(p, s, b)
    for v in range(p.n_vehicles):
        if s.mode[v] == DRIVING:
            drive(p, s, v)
    s.n_open = 0
