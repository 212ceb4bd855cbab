"""Static dispatch: all requests are known, windows are hard, and routes are built one after the other.

An action is the next stop of the open route: ``i`` picks up request ``i``, ``100 + i`` delivers it, and 0
closes the route: the vehicle drives home, and the next one starts at the depot. So a route of the literature
is replayed as its list of stops and a 0 (:func:`rlops.envs.dispatch.static.actions`).

* A stop is legal if precedence, capacity and the 64 stops of a route allow it, and if the route with it can
  still be scheduled within windows, ride time and route duration: with the delivery of each rider on board
  *alone* and the way home. All riders together may still turn out to be impossible to deliver.
* Closing is legal if nobody is on board of a vehicle that has stopped somewhere, or if nothing else is legal:
  then the riders on board are stranded and count as missed.

An illegal action changes nothing and is counted. An episode terminates when everything is served and the
vehicle is home, or when the last vehicle is home; it is truncated after twice as many steps as the longest
legal episode has, ``2 (2 requests + vehicles)``, and the open vehicle then drives home.

The reward is minus the distance driven, and at the end minus a charge for every request that was not served:
``miss_factor`` times the length of a route for it alone. Appending a request to any route costs at most that
length (triangle inequality), so closing where one could still be served never pays.

Instances come from the user (``options={"instance": ...}``: anything :func:`data_from` takes; of several,
each episode draws one). Without one, each episode draws requests as set a of Cordeau 2006 was made, half of
them with a window at the delivery and half at the pickup, such that the fleet can serve them all (unless
there are far too many for it).
"""

import math

import numpy as np
from numba import njit

from rlops.envs.contract import Column, Parameter, state_dtype
from rlops.envs.dispatch.schedule import (
    DATA,
    MAX_REQUESTS,
    MAX_VEHICLES,
    NODE_FIELDS,
    NODES,
    PLACES,
    S_MAX,
    TOLERANCE_MIN,
    begins_min,
    best_insertion,
    distance,
    insert,
    pickup_place,
    ride_min,
    round_trip,
    scheduled,
)
from rlops.envs.dispatch.static import data_from
from rlops.envs.draws import integer, stream_key, uniform

__all__ = ["DATA", "data_from"]

CORDEAU = "Cordeau 2006, set a"

# fmt: off
PARAMETERS = (
    Parameter("n_requests", "-", 16, 1, MAX_REQUESTS, "demand", f"{CORDEAU}: 16 (a2-16) ... 96",
              integer=True, effect="+requests"),
    Parameter("vehicles", "-", 2, 1, MAX_VEHICLES, "physical", f"{CORDEAU}: 2 (a2-16) ... 8",
              integer=True, effect="+vehicles_used"),
    Parameter("capacity", "-", 3, 1, 9, "physical", f"{CORDEAU}: 3 places", integer=True),
    Parameter("half_width_min", "min", 10, 5, 20, "demand", f"{CORDEAU}: coordinates within [-10, 10]^2, speed 1",
              plausible=(8, 12), effect="+cost"),
    Parameter("horizon_min", "min", 480, 240, 1440, "demand", f"{CORDEAU}: 480 (a2-16), 240 ... 720"),
    Parameter("max_ride_min", "min", 30, 20, 90, "demand", f"{CORDEAU}: 30; other sets 45 and 90",
              effect="+longest_ride_min"),
    Parameter("service_min", "min", 3, 0, 10, "physical", f"{CORDEAU}: 3 at each stop; set R of 2003: 10",
              plausible=(2, 5)),
    Parameter("window_min", "min", 15, 5, 60, "demand", f"{CORDEAU}: 15", plausible=(10, 25)),
    Parameter("miss_factor", "-", 2, 1, 10, "demand", "above 1, serving beats refusing (triangle inequality)",
              effect="-reward.missed"),
)
# fmt: on
"""Parameters. All but ``miss_factor`` describe the drawn instance and mean nothing where one is given."""

FIRST_DROP_OFF_MIN = 60.0
"""The earliest end of a delivery window, and how long before the horizon a pickup window starts [min]:
Cordeau 2006."""

ATTEMPTS = 20
"""Draws of one request [-] before it stays although the plan has no room for it, as with more requests than a
fleet can serve."""

WHICH, PICKUP_X, PICKUP_Y, DELIVERY_X, DELIVERY_Y, WINDOW = range(6)
"""Streams of the random draws; the entity is the request and the attempt."""

OPEN, ABOARD, SERVED, LOST = range(4)
"""Status of a request; lost is who was on board when a route had to be closed."""

CLOSE = 0
ACTION = NODES

REWARD_TERMS = ("distance", "missed")

_VEHICLE = (
    Column("x", "radius", -1, 1, "of the vehicle, from the depot"),
    Column("y", "radius", -1, 1, "of the vehicle, from the depot"),
    Column("time", "horizon", 0, 1, "when its last service can begin at the earliest"),
    Column("load", "capacity", 0, 1, "places taken"),
    Column("stops", "64 stops", 0, 1, "stops on the open route"),
    Column("vehicles_left", "vehicles", 0, 1, "vehicles that have not started"),
    Column("open_share", "requests", 0, 1, "requests that nobody has picked up"),
    Column("served_share", "requests", 0, 1, "requests delivered"),
    Column("requests", "100", 0, 1, "requests of the instance"),
    Column("max_ride", "horizon", 0, 1, "ride-time limit; 1 if there is none"),
    Column("may_close", "-", 0, 1, "1 if closing the route is legal"),
)
_REQUEST = (
    Column("pickup_x", "2 radius", -1, 1, "from the vehicle; like all columns of a request 0 if there is none"),
    Column("pickup_y", "2 radius", -1, 1, "from the vehicle"),
    Column("delivery_x", "2 radius", -1, 1, "from the vehicle"),
    Column("delivery_y", "2 radius", -1, 1, "from the vehicle"),
    Column("pickup_earliest", "horizon", -1, 1, "start of the window, from the time above"),
    Column("pickup_latest", "horizon", -1, 1, "end of the window"),
    Column("delivery_earliest", "horizon", -1, 1, "start of the window"),
    Column("delivery_latest", "horizon", -1, 1, "end of the window"),
    Column("places", "capacity", 0, 1, "places it takes"),
    Column("open", "-", 0, 1, "1 if nobody has picked it up"),
    Column("aboard", "-", 0, 1, "1 if it is on board"),
    Column("ride_left", "horizon", -1, 1, "minutes of ride left if the pickup was not delayed; 0 if not on board"),
    Column("feasible", "-", 0, 1, "1 if its next stop is legal"),
)
REQUEST_COLUMNS = len(_REQUEST)
OBSERVATION = _VEHICLE + _REQUEST * MAX_REQUESTS
"""The vehicle, then the requests in their order: columns of request ``i`` belong to the actions ``i`` and
``100 + i``.

The radius is the largest distance of a coordinate from the depot's; the horizon is the end of the depot's
window.
"""

KPIS = (
    Column(
        "cost",
        "distance",
        0,
        np.inf,
        "distance of all routes; comparable with the literature if all are served",
    ),
    Column("requests", "-", 0, MAX_REQUESTS, "requests of the instance"),
    Column("served", "-", 0, MAX_REQUESTS, "requests delivered"),
    Column("served_share", "-", 0, 1, "served / requests"),
    Column("stranded", "-", 0, MAX_REQUESTS, "requests on board when their route was closed"),
    Column("vehicles_used", "-", 0, MAX_VEHICLES, "routes with a stop"),
    Column("cost_per_served", "distance", 0, np.inf, "cost / served; 0 if none is"),
    Column("mean_ride_min", "min", 0, np.inf, "ride time, from the end of boarding, over the served"),
    Column("longest_ride_min", "min", 0, np.inf, "longest ride time of the served"),
    Column("illegal", "-", 0, np.inf, "actions that the mask excluded"),
)
INFO = ("illegal",)
DERIVED = {"legal": "mask", "cost": "reward"}
DATA_OPTION = "instance"
RENDER = "rlops.envs.dispatch.render"
RENDER_FPS = 4

STATE = state_dtype(
    REWARD_TERMS,
    [
        *NODE_FIELDS,
        ("vehicle", "i8"),  # of the open route, from 0
        ("stops", "i8"),  # on the open route
        ("soonest_min", "f8"),  # when the last service of the open route can begin at the earliest
        ("taken", "i8"),  # places taken
        ("status", "i1", (MAX_REQUESTS + 1,)),  # by request, from 1
        ("picked_min", "f8", (MAX_REQUESTS + 1,)),  # when its boarding can begin at the earliest
        ("legal", "i1", (NODES,)),
        ("routes", "i2", (MAX_VEHICLES, PLACES)),  # nodes; the depot first, 0 after the last stop
        ("trial", "i2", (PLACES,)),  # work space of reset, as is plan_stops
        ("plan_stops", "i8", (MAX_VEHICLES,)),
        ("begin_min", "f8", (PLACES,)),  # work space of the schedule, as is wait_min
        ("wait_min", "f8", (PLACES,)),
        ("cost", "f8"),
        ("vehicles_used", "i8"),
        ("ride_sum_min", "f8"),
        ("ride_max_min", "f8"),
        ("illegal", "i8"),
    ],
)


@njit(error_model="numpy")
def copy_instance(s, g):
    """Copy an instance into the state, so that a row is complete in itself."""
    s.requests, s.vehicles, s.capacity = g.requests, g.vehicles, g.capacity
    s.max_route_min, s.max_ride_min = g.max_route_min, g.max_ride_min
    for node in range(NODES):
        s.x[node], s.y[node] = g.x[node], g.y[node]
        s.service_min[node], s.load[node] = g.service_min[node], g.load[node]
        s.earliest_min[node], s.latest_min[node] = g.earliest_min[node], g.latest_min[node]


@njit(error_model="numpy")
def draw_request(p, s, i, attempt):
    """Draw request ``i``: two points, and a window at the delivery (odd ``i``) or at the pickup (even)."""
    j = MAX_REQUESTS + i
    one = i + NODES * attempt
    w = p.half_width_min
    s.x[i] = w * (2.0 * uniform(stream_key(s.key, 0, PICKUP_X), one) - 1.0)
    s.y[i] = w * (2.0 * uniform(stream_key(s.key, 0, PICKUP_Y), one) - 1.0)
    s.x[j] = w * (2.0 * uniform(stream_key(s.key, 0, DELIVERY_X), one) - 1.0)
    s.y[j] = w * (2.0 * uniform(stream_key(s.key, 0, DELIVERY_Y), one) - 1.0)
    direct_min = distance(s, i, j)
    if direct_min > p.max_ride_min:  # never at the nominal values: the diagonal is 28.3 min
        shrink = p.max_ride_min / direct_min
        s.x[j] = s.x[i] + shrink * (s.x[j] - s.x[i])
        s.y[j] = s.y[i] + shrink * (s.y[j] - s.y[i])
        direct_min = distance(s, i, j)
    for node in (i, j):
        s.service_min[node] = p.service_min
        s.earliest_min[node] = 0.0
        s.latest_min[node] = p.horizon_min
    s.load[i], s.load[j] = 1, -1
    share = uniform(stream_key(s.key, 0, WINDOW), one)
    out_min, home_min = distance(s, 0, i), distance(s, j, 0) + p.service_min
    if i % 2 == 1:
        first_min = max(FIRST_DROP_OFF_MIN, p.window_min, out_min + p.service_min + direct_min)
        last_min = p.horizon_min - home_min
        s.latest_min[j] = first_min + share * max(last_min - first_min, 0.0)
        s.earliest_min[j] = s.latest_min[j] - p.window_min
    else:
        first_min = max(0.0, out_min - p.window_min)
        last_min = p.horizon_min - max(FIRST_DROP_OFF_MIN, p.window_min, p.service_min + direct_min + home_min)
        s.earliest_min[i] = first_min + share * max(last_min - first_min, 0.0)
        s.latest_min[i] = s.earliest_min[i] + p.window_min


@njit(error_model="numpy")
def planned(s, request):
    """Insert ``request`` where it adds least to the plan in ``s.routes``; return False if it fits nowhere."""
    least, vehicle, at_pickup, at_delivery = math.inf, 0, 0, 0
    for v in range(s.vehicles):
        if v == 0 or s.plan_stops[v - 1] > 0:  # of several empty vehicles the first is enough
            added, i, j = best_insertion(s, s.routes[v], s.plan_stops[v], request, s.trial, s.begin_min, s.wait_min)
            if added < least:
                least, vehicle, at_pickup, at_delivery = added, v, i, j
    if least == math.inf:
        return False
    insert(s.routes[vehicle], s.plan_stops[vehicle], request, at_pickup, at_delivery, s.trial)
    s.plan_stops[vehicle] += 2
    for k in range(PLACES):
        s.routes[vehicle, k] = s.trial[k]
        s.trial[k] = 0
    return True


@njit(error_model="numpy")
def draw_instance(p, s):
    """Draw an instance as set a of Cordeau 2006 was made: the depot in the centre of a square.

    Each request is drawn anew, up to ``ATTEMPTS`` times, until it fits into a plan for the fleet that is then
    thrown away: so there is a solution.
    """
    s.requests, s.vehicles, s.capacity = p.n_requests, p.vehicles, p.capacity
    s.max_route_min, s.max_ride_min = p.horizon_min, p.max_ride_min
    s.latest_min[0] = p.horizon_min
    for i in range(1, s.requests + 1):
        for attempt in range(ATTEMPTS):
            draw_request(p, s, i, attempt)
            if planned(s, i):
                break
    s.routes[:] = 0
    s.plan_stops[:] = 0


@njit(error_model="numpy")
def in_time(s, last, soonest_min, node):
    """Return whether ``node`` and then the depot can follow ``last`` within their windows."""
    begin_min = begins_min(s, last, soonest_min, node)
    if begin_min > s.latest_min[node] + TOLERANCE_MIN:
        return False
    return begins_min(s, node, begin_min, 0) <= s.latest_min[0] + TOLERANCE_MIN


@njit(error_model="numpy")
def can_end(s, route, length):
    """Return whether the first ``length`` places of ``route`` and then the depot can be scheduled."""
    route[length] = 0
    return scheduled(s, route, length + 1, s.begin_min, s.wait_min)


@njit(error_model="numpy")
def can_append(s, route, node):
    """Return whether ``node`` can follow the open route, as the head of this module defines it."""
    last = route[s.stops]
    if not in_time(s, last, s.soonest_min, node):
        return False
    begin_min = begins_min(s, last, s.soonest_min, node)
    request = node if node <= MAX_REQUESTS else node - MAX_REQUESTS
    picks_up = node <= MAX_REQUESTS
    aboard = 0
    for i in range(1, s.requests + 1):  # windows first: cheap, and exact where nothing else limits a route
        if (s.status[i] == ABOARD and i != request) or (picks_up and i == request):
            aboard += 1
            if not in_time(s, node, begin_min, MAX_REQUESTS + i):
                return False
    if s.stops + 1 + aboard > S_MAX:
        return False
    if s.max_ride_min == math.inf and s.max_route_min == math.inf:
        return True
    route[s.stops + 1] = node
    possible = True
    if aboard == 0:
        possible = can_end(s, route, s.stops + 2)
    for i in range(1, s.requests + 1):
        if possible and ((s.status[i] == ABOARD and i != request) or (picks_up and i == request)):
            route[s.stops + 2] = MAX_REQUESTS + i
            possible = can_end(s, route, s.stops + 3)
    route[s.stops + 1 : s.stops + 4] = 0
    return possible


@njit(error_model="numpy")
def write_legal(s):
    """Write which actions are legal now."""
    s.legal[:] = 0
    if s.terminated or s.truncated:
        s.legal[CLOSE] = 1  # no action counts any more, but a mask without any is a trap
        return
    route = s.routes[s.vehicle]
    aboard = False
    any_stop = False
    for i in range(1, s.requests + 1):
        if s.status[i] == OPEN and s.taken + s.load[i] <= s.capacity:
            s.legal[i] = can_append(s, route, i)
        elif s.status[i] == ABOARD:
            aboard = True
            s.legal[MAX_REQUESTS + i] = can_append(s, route, MAX_REQUESTS + i)
        any_stop |= s.legal[i] == 1 or s.legal[MAX_REQUESTS + i] == 1
    s.legal[CLOSE] = (s.stops > 0 and not aboard) or not any_stop


@njit(error_model="numpy")
def start_vehicle(s):
    """Put the next vehicle at the depot."""
    s.stops = 0
    s.taken = 0
    s.soonest_min = s.earliest_min[0]


@njit(error_model="numpy")
def append(s, node):
    """Append a stop to the open route."""
    route = s.routes[s.vehicle]
    last = route[s.stops]
    s.soonest_min = begins_min(s, last, s.soonest_min, node)
    s.stops += 1
    route[s.stops] = node
    s.taken += s.load[node]
    if node <= MAX_REQUESTS:
        s.status[node] = ABOARD
        s.picked_min[node] = s.soonest_min
    else:
        s.status[node - MAX_REQUESTS] = SERVED
    return distance(s, last, node)


@njit(error_model="numpy")
def close_route(s):
    """Drive home and return the distance; who is still on board is lost."""
    route = s.routes[s.vehicle]
    for i in range(1, s.requests + 1):
        if s.status[i] == ABOARD:
            s.status[i] = LOST
    scheduled(s, route, s.stops + 2, s.begin_min, s.wait_min)
    for k in range(1, s.stops + 1):
        if pickup_place(route, k) >= 0:
            ride = ride_min(s, route, k, s.begin_min)
            s.ride_sum_min += ride
            s.ride_max_min = max(s.ride_max_min, ride)
    s.vehicles_used += s.stops > 0
    return distance(s, route[s.stops], 0)


@njit(error_model="numpy")
def with_status(s, status):
    """Return how many requests have a status."""
    count = 0
    for i in range(1, s.requests + 1):
        count += s.status[i] == status
    return count


@njit(error_model="numpy")
def miss_charge(p, s):
    """Return what the requests that were not served cost, a positive number."""
    charge = 0.0
    for i in range(1, s.requests + 1):
        if s.status[i] != SERVED:
            charge += p.miss_factor * round_trip(s, i)
    return charge


@njit(error_model="numpy")
def reset(p, s, d):
    """Take one of the given instances, or draw one, and put the first vehicle at the depot."""
    if d.shape[0] > 0:
        copy_instance(s, d[integer(stream_key(s.key, 0, WHICH), 0, d.shape[0])])
    else:
        draw_instance(p, s)
    start_vehicle(s)
    write_legal(s)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Append a stop, or close the route; charge what was not served when the episode ends."""
    driven = 0.0
    if s.legal[action] == 0:
        s.illegal += 1
    elif action == CLOSE:
        driven = close_route(s)
        s.vehicle += 1
        start_vehicle(s)
        s.terminated = s.vehicle >= s.vehicles or with_status(s, OPEN) == 0
    else:
        driven = append(s, action)
    if not s.terminated and s.steps + 1 >= 2 * (2 * s.requests + s.vehicles):
        s.truncated = True
        driven += close_route(s)
    s.cost += driven
    s.terms[0] = -driven
    if s.terminated or s.truncated:
        s.terms[1] = -miss_charge(p, s)
    write_legal(s)


@njit(error_model="numpy")
def clipped(value):
    """Return ``value`` within [-1, 1]."""
    return min(1.0, max(-1.0, value))


@njit(error_model="numpy")
def radius(s):
    """Return the largest distance of a coordinate from the depot's."""
    widest = 1e-9
    for i in range(1, s.requests + 1):
        for node in (i, MAX_REQUESTS + i):
            widest = max(widest, abs(s.x[node] - s.x[0]), abs(s.y[node] - s.y[0]))
    return widest


@njit(error_model="numpy")
def observe_request(s, i, x, y, width, horizon_min, out):
    """Write the columns of request ``i``, seen from a vehicle at ``x``, ``y``."""
    j = MAX_REQUESTS + i
    now_min = s.soonest_min
    out[0] = clipped((s.x[i] - x) / (2.0 * width))
    out[1] = clipped((s.y[i] - y) / (2.0 * width))
    out[2] = clipped((s.x[j] - x) / (2.0 * width))
    out[3] = clipped((s.y[j] - y) / (2.0 * width))
    out[4] = clipped((s.earliest_min[i] - now_min) / horizon_min)
    out[5] = clipped((s.latest_min[i] - now_min) / horizon_min)
    out[6] = clipped((s.earliest_min[j] - now_min) / horizon_min)
    out[7] = clipped((s.latest_min[j] - now_min) / horizon_min)
    out[8] = s.load[i] / s.capacity
    out[9] = s.status[i] == OPEN
    out[10] = s.status[i] == ABOARD
    out[11] = 0.0
    if s.status[i] == ABOARD:
        ridden_min = now_min - s.picked_min[i] - s.service_min[i]
        out[11] = clipped((s.max_ride_min - ridden_min) / horizon_min)
    out[12] = s.legal[i] | s.legal[j]


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the vehicle, then every request."""
    out[:] = 0.0
    width = radius(s)
    horizon_min = s.latest_min[0]
    last = s.routes[min(s.vehicle, s.vehicles - 1)][s.stops]
    x, y = s.x[last], s.y[last]
    out[0] = clipped((x - s.x[0]) / width)
    out[1] = clipped((y - s.y[0]) / width)
    out[2] = clipped(s.soonest_min / horizon_min)
    out[3] = s.taken / s.capacity
    out[4] = s.stops / S_MAX
    out[5] = max(s.vehicles - 1 - s.vehicle, 0) / s.vehicles
    out[6] = with_status(s, OPEN) / s.requests
    out[7] = with_status(s, SERVED) / s.requests
    out[8] = s.requests / MAX_REQUESTS
    out[9] = clipped(s.max_ride_min / horizon_min)
    out[10] = s.legal[CLOSE]
    for i in range(1, s.requests + 1):
        first = 11 + REQUEST_COLUMNS * (i - 1)
        observe_request(s, i, x, y, width, horizon_min, out[first : first + REQUEST_COLUMNS])


@njit(error_model="numpy")
def mask(p, s, d, out):
    """Write 1 for every legal action."""
    for action in range(ACTION):
        out[action] = s.legal[action]


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures."""
    served = with_status(s, SERVED)
    out[0] = s.cost
    out[1] = s.requests
    out[2] = served
    out[3] = served / s.requests
    out[4] = with_status(s, LOST)
    out[5] = s.vehicles_used
    out[6] = s.cost / served if served > 0 else 0.0
    out[7] = s.ride_sum_min / served if served > 0 else 0.0
    out[8] = s.ride_max_min
    out[9] = s.illegal
