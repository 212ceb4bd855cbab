"""Plans of vehicles: where a booking fits into a sequence of stops, and what that is expected to cost.

A plan is a list of stops in the order of service. Stop 2b is the pickup of booking b, 2b + 1 its drop-off.
While a vehicle drives to its first stop or serves it, that stop is *committed*: nothing is put before it.

A plan's times are **beliefs**: expected speeds and mean service times, from the moment the vehicle is
expected to be free. A service begins at the arrival, a boarding not before the window opens. An insertion
costs what the reward would charge: kilometres, lateness of pickups (at most ``LATE_CAP_MIN`` each), ride time
above the limit.

An insertion is feasible if the places suffice on every leg, everybody is picked up before they give up and
before the vehicle's shift ends, nobody gets more than ``ADDED_LATENESS_MAX_MIN`` later, and nobody rides
longer than the limit. What is broken already (noise does that) must not get worse. The new rider's direct
ride is always allowed.
"""

import math

from numba import njit

from rlops.envs.dispatch.city import MAX_BOOKINGS, expected_arrival_min, road_km

V_MAX = 16
"""Vehicles of a row; those beyond ``n_vehicles`` never come on shift."""
K = 16
"""Visible bookings."""
S_MAX = 10
"""Stops of a plan."""
ADDED_LATENESS_MAX_MIN = 30.0
"""[min] A pickup later than 30 min counts as missed in FTA's practice."""
LATE_CAP_MIN = 30.0
"""[min] Lateness is charged up to here; beyond it the rider has given up."""
KWH_PER_KM = 0.30
"""[kWh/km] Consumption of an electric van with air conditioning. Assumption, WLTP plus a tenth."""
RESERVE_SHARE = 0.10
"""[-] Share of the range that no plan touches. Assumption."""

_EPS = 1e-9

IDLE, DRIVING, SERVING, BREAK, DOWN, OFF = range(6)
"""Modes of a vehicle. IDLE has time before its next departure; SERVING includes waiting at a stop."""

_V, _VS = (V_MAX,), (V_MAX, S_MAX)
PLAN_FIELDS = [
    ("x_km", "f8", _V),  # where the vehicle stands, or stood at its last departure
    ("y_km", "f8", _V),
    ("mode", "i4", _V),
    ("committed", "i4", _V),  # 1: the plan's first stop is being driven to or served
    ("believed_min", "f8", _V),  # when what the vehicle is doing is expected to end
    ("onboard_amb", "i4", _V),
    ("onboard_wc", "i4", _V),
    ("shift_end_min", "f8", _V),
    ("range_km", "f8", _V),  # electric vehicles: when it was last parked or departed
    ("parked_min", "f8", _V),  # electric vehicles: charging since
    ("stops", "i4", _V),
    ("plan", "i4", _VS),  # stop ids
    # of each stop in the plan, from the bookings
    ("stop_x_km", "f8", _VS),
    ("stop_y_km", "f8", _VS),
    ("leg_km", "f8", _VS),  # to the stop
    ("serve_min", "f8", _VS),  # expected
    ("opens_min", "f8", _VS),  # start of a pickup's window
    ("due_min", "f8", _VS),  # end of a pickup's window
    ("limit_min", "f8", _VS),  # pickups: when the rider gives up or the shift ends; drop-offs: ride limit
    ("picked_at", "i4", _VS),  # drop-offs: position of the pickup in the plan; -1 on board; pickups: -2
    ("left_amb", "i4", _VS),  # riders on board behind the stop
    ("left_wc", "i4", _VS),
    # the expected schedule
    ("begin_min", "f8", _VS),
    ("end_min", "f8", _VS),
    ("late_min", "f8", _VS),  # pickups
    ("ride_min", "f8", _VS),  # drop-offs
    ("excess_min", "f8", _V),  # ride time above the limits, of all riders
    ("trial_end_min", "f8", (S_MAX,)),  # working space of an insertion
    ("drop_km", "f8", (S_MAX + 1,)),  # the same
    # bookings
    ("aboard_min", "f8", (MAX_BOOKINGS,)),  # end of the first boarding
    # the best insertion of the booking in a row of the table into each plan
    ("pair_ok", "i1", (K, V_MAX)),
    ("pair_pickup", "i1", (K, V_MAX)),  # position of the pickup
    ("pair_dropoff", "i1", (K, V_MAX)),  # stops before the drop-off, the pickup not counted
    ("pair_usd", "f8", (K, V_MAX)),
    ("pair_begin_min", "f8", (K, V_MAX)),  # expected begin of boarding
    ("pair_late_min", "f8", (K, V_MAX)),  # the most that anybody gets later
]
"""State fields of the plans."""


@njit(error_model="numpy", inline="always")
def expected_board_min(p, s, b):
    """Return the expected boarding time of a booking [min]."""
    return p.board_wc_min if s.bookings[b].wheelchair > 0 else p.board_amb_min


@njit(error_model="numpy", inline="always")
def expected_alight_min(p, s, b):
    """Return the expected alighting time of a booking [min]."""
    return p.alight_wc_min if s.bookings[b].wheelchair > 0 else p.alight_amb_min


@njit(error_model="numpy", inline="always")
def ride_limit_min(p, s, b):
    """Return the longest ride [min] that costs nothing, from the end of boarding to the arrival."""
    return max(p.ride_limit_min, p.ride_limit_factor * s.bookings[b].direct_min)


@njit(error_model="numpy", inline="always")
def is_electric(p, v):
    """Return whether a vehicle is electric: the share is spread evenly over the fleet."""
    return int(p.ev_share * (v + 1) + _EPS) > int(p.ev_share * v + _EPS)


@njit(error_model="numpy")
def spare_km(p, s, v):
    """Return how many more kilometres a plan may take [km]; infinite unless the vehicle is electric."""
    if not is_electric(p, v):
        return math.inf
    km = range_at_km(p, s, v, s.now_min) - RESERVE_SHARE * p.ev_range_km
    for m in range(s.committed[v], s.stops[v]):
        km -= s.leg_km[v, m]
    return km


@njit(error_model="numpy")
def range_at_km(p, s, v, t_min):
    """Return the range of an electric vehicle [km]; it charges wherever it is parked."""
    if s.mode[v] == DRIVING or s.mode[v] == SERVING:
        return s.range_km[v]
    charged = max(0.0, t_min - s.parked_min[v]) * charge_km_per_min(p)
    return min(p.ev_range_km, s.range_km[v] + charged)


@njit(error_model="numpy", inline="always")
def charge_km_per_min(p):
    """Return the range that a minute of charging adds [km/min]."""
    return p.ev_charge_kw / (60.0 * KWH_PER_KM)


@njit(error_model="numpy")
def lay_out(p, s, v):
    """Write what the bookings say about each stop of a plan, and the loads; then its schedule."""
    x, y = s.x_km[v], s.y_km[v]
    amb, wc = s.onboard_amb[v], s.onboard_wc[v]
    for m in range(s.stops[v]):
        stop = s.plan[v, m]
        b = stop >> 1
        booking = s.bookings[b]
        if stop & 1:
            s.stop_x_km[v, m], s.stop_y_km[v, m] = booking.dropoff_x_km, booking.dropoff_y_km
            s.serve_min[v, m] = expected_alight_min(p, s, b)
            s.opens_min[v, m], s.due_min[v, m] = -math.inf, math.inf
            s.limit_min[v, m] = ride_limit_min(p, s, b)
            s.picked_at[v, m] = -1
            for q in range(m):
                if s.plan[v, q] == stop - 1:
                    s.picked_at[v, m] = q
            amb, wc = amb - booking.ambulatory, wc - booking.wheelchair
        else:
            s.stop_x_km[v, m], s.stop_y_km[v, m] = booking.pickup_x_km, booking.pickup_y_km
            s.picked_at[v, m] = -2
            if booking.vehicle == v:
                s.serve_min[v, m] = expected_board_min(p, s, b)
                s.opens_min[v, m], s.due_min[v, m] = booking.earliest_min, booking.latest_min
                s.limit_min[v, m] = min(booking.expires_min, s.shift_end_min[v])
                amb, wc = amb + booking.ambulatory, wc + booking.wheelchair
            else:  # withdrawn while the vehicle is on its way: it only drives there
                s.serve_min[v, m] = 0.0
                s.opens_min[v, m], s.due_min[v, m] = -math.inf, math.inf
                s.limit_min[v, m] = math.inf
        s.leg_km[v, m] = road_km(p, x, y, s.stop_x_km[v, m], s.stop_y_km[v, m])
        s.left_amb[v, m], s.left_wc[v, m] = amb, wc
        x, y = s.stop_x_km[v, m], s.stop_y_km[v, m]
    schedule(s, v)


@njit(error_model="numpy")
def schedule(s, v):
    """Write the expected times of a plan."""
    t_min = max(s.now_min, s.believed_min[v])
    s.excess_min[v] = 0.0
    for m in range(s.stops[v]):
        if m >= s.committed[v]:
            t_min = max(expected_arrival_min(s, t_min, s.leg_km[v, m]), s.opens_min[v, m])
            s.begin_min[v, m] = t_min
            t_min += s.serve_min[v, m]
        elif s.mode[v] == DRIVING:
            t_min = max(t_min, s.opens_min[v, m])
            s.begin_min[v, m] = t_min
            t_min += s.serve_min[v, m]
        # else the stop is being served: its begin has been written then, and t_min is its end
        s.end_min[v, m] = t_min
        s.late_min[v, m] = 0.0
        s.ride_min[v, m] = 0.0
        if s.picked_at[v, m] == -2:
            s.late_min[v, m] = max(0.0, s.begin_min[v, m] - s.due_min[v, m])
        else:
            s.ride_min[v, m] = s.begin_min[v, m] - _aboard_min(s, v, m)
            s.excess_min[v] += max(0.0, s.ride_min[v, m] - s.limit_min[v, m])


@njit(error_model="numpy", inline="always")
def _aboard_min(s, v, m):
    """Return when the rider of drop-off ``m`` is on board, by the plan."""
    picked_at = s.picked_at[v, m]
    b = s.plan[v, m] >> 1
    if picked_at < 0 or s.aboard_min[b] > 0.0:
        return s.aboard_min[b]
    return s.end_min[v, picked_at]


@njit(error_model="numpy")
def find_insertion(p, s, v, b, row):
    """Write the cheapest feasible insertion of ``b`` into the plan of ``v`` to a row of the pair table.

    Every pair of positions is tried, the pickup's first, later ones only if strictly cheaper. The
    kilometres of a trial are known beforehand and bound its cost from below, so that few schedules are
    computed to the end.
    """
    booking = s.bookings[b]
    s.pair_ok[row, v] = 0
    s.pair_usd[row, v] = 0.0
    s.pair_begin_min[row, v] = 0.0
    s.pair_late_min[row, v] = 0.0
    n, first = s.stops[v], s.committed[v]
    amb, wc = p.cap_amb - booking.ambulatory, p.cap_wc - booking.wheelchair  # riders there may be before the pickup
    if n + 2 > S_MAX or amb < 0 or wc < 0:
        return
    px, py, dx, dy = booking.pickup_x_km, booking.pickup_y_km, booking.dropoff_x_km, booking.dropoff_y_km
    direct_km = road_km(p, px, py, dx, dy)
    for m in range(first, n):
        s.drop_km[m] = road_km(p, dx, dy, s.stop_x_km[v, m], s.stop_y_km[v, m])
    x, y = s.x_km[v], s.y_km[v]
    t_min, load_amb, load_wc = max(s.now_min, s.believed_min[v]), s.onboard_amb[v], s.onboard_wc[v]
    if first == 1:
        x, y, t_min = s.stop_x_km[v, 0], s.stop_y_km[v, 0], s.end_min[v, 0]
        load_amb, load_wc = s.left_amb[v, 0], s.left_wc[v, 0]
    limit_min = ride_limit_min(p, s, b)
    waits_until_min = min(booking.expires_min, s.shift_end_min[v])
    spare = spare_km(p, s, v)
    to_pickup_km = road_km(p, x, y, px, py)
    best_usd = math.inf
    for i in range(first, n + 1):
        begin_min = max(expected_arrival_min(s, t_min, to_pickup_km), booking.earliest_min)
        late_min = max(0.0, begin_min - booking.latest_min)
        if late_min > ADDED_LATENESS_MAX_MIN or begin_min > waits_until_min:
            break  # further down the plan it only gets later
        from_pickup_km = road_km(p, px, py, s.stop_x_km[v, i], s.stop_y_km[v, i]) if i < n else 0.0
        if load_amb <= amb and load_wc <= wc:
            best_usd = _try_dropoffs(
                p, s, v, b, row, i, begin_min, late_min, limit_min, spare,
                to_pickup_km, from_pickup_km, direct_km, best_usd,
            )  # fmt: skip
        if i < n:
            t_min, load_amb, load_wc = s.end_min[v, i], s.left_amb[v, i], s.left_wc[v, i]
            to_pickup_km = from_pickup_km


@njit(error_model="numpy")
def _try_dropoffs(
    p, s, v, b, row, i, begin_min, late_min, limit_min, spare,
    to_pickup_km, from_pickup_km, direct_km, best_usd,
):  # fmt: skip
    """Try every drop-off for a pickup at ``i``, keep what is cheaper than ``best_usd``; return the cost."""
    n = s.stops[v]
    end_min = begin_min + expected_board_min(p, s, b)
    aboard_min = s.aboard_min[b] if s.aboard_min[b] > 0.0 else end_min
    cost_usd = p.late_cost_usd_per_min * min(late_min, LATE_CAP_MIN)  # of the riders up to stop j
    added_min = late_min
    t_min = end_min
    for j in range(i, n + 1):
        if j == i:
            added_km = to_pickup_km + direct_km
            leg_km = direct_km
            if i < n:
                added_km += s.drop_km[i] - s.leg_km[v, i]
        else:
            added_km = to_pickup_km + from_pickup_km - s.leg_km[v, i] + s.drop_km[j - 1]
            leg_km = s.drop_km[j - 1]
            if j < n:
                added_km += s.drop_km[j] - s.leg_km[v, j]
        bound_usd = p.km_cost_usd * added_km + cost_usd - p.ride_cost_usd_per_min * s.excess_min[v]
        if bound_usd < best_usd and added_km <= spare:
            arrive_min = expected_arrival_min(s, t_min, leg_km)
            ride_min = arrive_min - aboard_min
            if j > i and ride_min > limit_min + _EPS:
                break
            leave_min = arrive_min + expected_alight_min(p, s, b)
            usd, added = _rest_of_trial(p, s, v, i, j, leave_min)
            usd += p.km_cost_usd * added_km + cost_usd
            usd += p.ride_cost_usd_per_min * max(0.0, ride_min - limit_min)
            if usd < best_usd:
                best_usd = usd
                s.pair_ok[row, v] = 1
                s.pair_pickup[row, v], s.pair_dropoff[row, v] = i, j
                s.pair_usd[row, v] = usd
                s.pair_begin_min[row, v] = begin_min
                s.pair_late_min[row, v] = max(added, added_min)
        if j == n:
            break
        # stop j now lies between the pickup and the drop-off
        if (
            s.left_amb[v, j] + s.bookings[b].ambulatory > p.cap_amb
            or s.left_wc[v, j] + s.bookings[b].wheelchair > p.cap_wc
        ):
            break
        arrive_min = expected_arrival_min(s, t_min, from_pickup_km if j == i else s.leg_km[v, j])
        usd, added = _later_stop(p, s, v, j, i, arrive_min)
        if usd == math.inf or s.trial_end_min[j] - aboard_min > limit_min + _EPS:
            break
        cost_usd += usd
        added_min = max(added_min, added)
        t_min = s.trial_end_min[j]
    return best_usd


@njit(error_model="numpy")
def _rest_of_trial(p, s, v, i, j, leave_min):
    """Return cost [$] and greatest added lateness [min] of the stops from ``j`` on; infinite: infeasible."""
    usd_sum, added_max, t_min = 0.0, 0.0, leave_min
    for m in range(j, s.stops[v]):
        arrive_min = expected_arrival_min(s, t_min, s.drop_km[j] if m == j else s.leg_km[v, m])
        usd, added = _later_stop(p, s, v, m, i, arrive_min)
        if usd == math.inf:
            return usd, added
        usd_sum += usd
        added_max = max(added_max, added)
        t_min = s.trial_end_min[m]
    return usd_sum, added_max


@njit(error_model="numpy", inline="always")
def _later_stop(p, s, v, m, i, arrive_min):
    """Write the new end of stop ``m``; return what the delay costs [$] and adds to its lateness [min]."""
    begin_min = max(arrive_min, s.opens_min[v, m])
    s.trial_end_min[m] = begin_min + s.serve_min[v, m]
    picked_at = s.picked_at[v, m]
    if picked_at == -2:
        late_min = max(0.0, begin_min - s.due_min[v, m])
        added = late_min - s.late_min[v, m]
        if added > ADDED_LATENESS_MAX_MIN or begin_min > max(s.limit_min[v, m], s.begin_min[v, m]) + _EPS:
            return math.inf, 0.0
        capped = min(late_min, LATE_CAP_MIN) - min(s.late_min[v, m], LATE_CAP_MIN)
        return p.late_cost_usd_per_min * capped, added
    aboard_min = s.begin_min[v, m] - s.ride_min[v, m]
    if picked_at >= i and s.aboard_min[s.plan[v, m] >> 1] <= 0.0:
        aboard_min = s.trial_end_min[picked_at]
    ride_min, limit_min = begin_min - aboard_min, s.limit_min[v, m]
    if ride_min > max(limit_min, s.ride_min[v, m]) + _EPS:
        return math.inf, 0.0
    excess = max(0.0, ride_min - limit_min) - max(0.0, s.ride_min[v, m] - limit_min)
    return p.ride_cost_usd_per_min * excess, 0.0


@njit(error_model="numpy")
def insert(p, s, v, b, i, j):
    """Put the pickup of ``b`` at position ``i`` of a plan and its drop-off behind the stops up to ``j``."""
    for m in range(s.stops[v] - 1, j - 1, -1):
        s.plan[v, m + 2] = s.plan[v, m]
    s.plan[v, j + 1] = 2 * b + 1
    for m in range(j - 1, i - 1, -1):
        s.plan[v, m + 1] = s.plan[v, m]
    s.plan[v, i] = 2 * b
    s.stops[v] += 2
    lay_out(p, s, v)


@njit(error_model="numpy")
def drop_stop(s, v, stop):
    """Take a stop out of a plan if it is there; the caller lays the plan out again."""
    kept = 0
    for m in range(s.stops[v]):
        if s.plan[v, m] != stop:
            s.plan[v, kept] = s.plan[v, m]
            kept += 1
    s.stops[v] = kept
