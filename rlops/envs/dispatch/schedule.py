"""When service begins at each stop of a route so that windows and ride times hold, and best insertions.

The functions work on a record ``g`` with the fields of :data:`NODE_FIELDS`: an instance, or the state of an
environment that holds one. Node 0 is the depot, nodes 1 to 100 are pickups, and node ``MAX_REQUESTS + i`` is
the delivery of request ``i``, whatever the number of requests. Distance is Euclidean and equals time: one
unit of length takes one minute.
"""

import math

import numpy as np
from numba import njit

MAX_REQUESTS = 100
"""Requests of an instance [-]: 96 in the largest of Cordeau's set a, 55 in the 100-customer class of Li &
Lim."""
MAX_VEHICLES = 25
"""Vehicles of an instance [-]: what every instance of Li & Lim offers."""
S_MAX = 64
"""Stops of one route [-], without the depot: the longest route of the best-known solutions has 52 (Li & Lim
lr207)."""
NODES = 2 * MAX_REQUESTS + 1
"""Nodes of an instance: depot, pickups, deliveries."""
PLACES = S_MAX + 3
"""Places of a route array: the depot twice, the stops, and one more for a trial."""
TOLERANCE_MIN = 1e-6
"""What a limit may be exceeded by [min]: rounding of sums of square roots stays far below."""

NODE_FIELDS = [
    ("requests", "i8"),
    ("vehicles", "i8"),
    ("capacity", "i8"),
    ("max_route_min", "f8"),
    ("max_ride_min", "f8"),
    ("x", "f8", (NODES,)),
    ("y", "f8", (NODES,)),
    ("service_min", "f8", (NODES,)),
    ("load", "i8", (NODES,)),
    ("earliest_min", "f8", (NODES,)),
    ("latest_min", "f8", (NODES,)),
]
"""Fields of a record that holds an instance."""
DATA = np.dtype(NODE_FIELDS, align=True)
"""Record dtype of one instance."""


@njit(inline="always")
def distance(g, a, b):
    """Return the distance from node ``a`` to node ``b``, which is also the travel time [min]."""
    dx = g.x[a] - g.x[b]
    dy = g.y[a] - g.y[b]
    return math.sqrt(dx * dx + dy * dy)


@njit(error_model="numpy")
def round_trip(g, request):
    """Return the length of the route that serves only ``request``."""
    drop_off = MAX_REQUESTS + request
    return distance(g, 0, request) + distance(g, request, drop_off) + distance(g, drop_off, 0)


@njit(error_model="numpy")
def begins_min(g, last, soonest_min, node):
    """Return when service at ``node`` can begin at the earliest after that at ``last`` [min]."""
    return max(soonest_min + g.service_min[last] + distance(g, last, node), g.earliest_min[node])


@njit(error_model="numpy")
def serve_from(g, route, first, length, begin_min, wait_min):
    """Serve every stop after place ``first`` as soon as possible, given when service begins there."""
    for k in range(first + 1, length):
        a, b = route[k - 1], route[k]
        arrival_min = begin_min[k - 1] + g.service_min[a] + distance(g, a, b)
        begin_min[k] = max(arrival_min, g.earliest_min[b])
        wait_min[k] = begin_min[k] - arrival_min


@njit(error_model="numpy")
def pickup_place(route, k):
    """Return the place of the pickup whose delivery stands at place ``k``, or -1 if that is no delivery."""
    if route[k] > MAX_REQUESTS:
        for i in range(k - 1, 0, -1):
            if route[i] == route[k] - MAX_REQUESTS:
                return i
    return -1


@njit(error_model="numpy")
def ride_min(g, route, k, begin_min):
    """Return the ride that ends at place ``k`` [min], from the end of boarding; -1 at other stops."""
    i = pickup_place(route, k)
    return begin_min[k] - begin_min[i] - g.service_min[route[i]] if i >= 0 else -1.0


@njit(error_model="numpy")
def long_ride(g, route, length, begin_min):
    """Return the place of the first delivery whose ride is longer than the limit, or -1."""
    for k in range(1, length):
        if ride_min(g, route, k, begin_min) > g.max_ride_min + TOLERANCE_MIN:
            return k
    return -1


@njit(error_model="numpy")
def late_stop(g, route, length, begin_min):
    """Return the first place where service begins after the window, or -1."""
    for k in range(length):
        if begin_min[k] > g.latest_min[route[k]] + TOLERANCE_MIN:
            return k
    return -1


@njit(error_model="numpy")
def delay_min(g, route, place, length, begin_min, wait_min):
    """Return by how much later service at ``place`` begins if it takes over the waiting after it [min].

    The forward time slack F of Cordeau & Laporte 2003, limited by the waiting that the delay
    removes. A ride counts only if it began before ``place``: one that begins later is delayed as a whole.
    """
    slack_min = math.inf
    waited_min = 0.0
    removable_min = 0.0
    for k in range(place, length):
        if k > place:
            waited_min += wait_min[k]
            if k < length - 1:
                removable_min += wait_min[k]
        room_min = g.latest_min[route[k]] - begin_min[k]
        i = pickup_place(route, k)
        if 0 <= i < place:
            ride = begin_min[k] - begin_min[i] - g.service_min[route[i]]
            room_min = min(room_min, g.max_ride_min - ride)
        slack_min = min(slack_min, waited_min + max(room_min, 0.0))
    return min(slack_min, removable_min)


@njit(error_model="numpy")
def scheduled(g, route, length, begin_min, wait_min):
    """Write when service begins at each place of a route, and return whether every limit on time holds.

    ``route[0]`` and ``route[length - 1]`` are the depot. Windows are hard; ride times and the duration of the
    route are brought down by departing later where the vehicle would wait anyway: the eight steps of Cordeau
    & Laporte 2003 ("A tabu search heuristic for the static multi-vehicle dial-a-ride problem"). A
    delivery whose pickup is not on the route has no ride.
    """
    begin_min[0] = g.earliest_min[0]
    wait_min[0] = 0.0
    serve_from(g, route, 0, length, begin_min, wait_min)  # steps 1 and 2
    if late_stop(g, route, length, begin_min) >= 0:
        return False
    if g.max_ride_min == math.inf and g.max_route_min == math.inf:
        return True
    begin_min[0] += delay_min(g, route, 0, length, begin_min, wait_min)  # steps 3 to 5
    serve_from(g, route, 0, length, begin_min, wait_min)
    if begin_min[length - 1] - begin_min[0] > g.max_route_min + TOLERANCE_MIN:
        return False
    place = 0
    while long_ride(g, route, length, begin_min) >= 0:  # steps 6 to 8
        place += 1
        while place < length and not 0 < route[place] <= MAX_REQUESTS:
            place += 1
        if place >= length:
            return False
        later_min = delay_min(g, route, place, length, begin_min, wait_min)
        if later_min > 0.0:
            begin_min[place] += later_min
            wait_min[place] += later_min
            serve_from(g, route, place, length, begin_min, wait_min)
    return True


@njit(error_model="numpy")
def insert(route, stops, request, i, j, out):
    """Write ``route`` with a pickup after place ``i`` and its delivery after ``j >= i`` to ``out``."""
    for k in range(stops + 1):
        out[k + (k > i) + (k > j)] = route[k]
    out[i + 1] = request
    out[j + 2] = MAX_REQUESTS + request
    out[stops + 3] = 0


@njit(error_model="numpy")
def added_distance(g, route, stops, request, i, j):
    """Return the distance that an insertion adds."""
    a, b, drop_off = route[i], route[i + 1] if i < stops else 0, MAX_REQUESTS + request
    if i == j:
        between = distance(g, request, drop_off) + distance(g, drop_off, b)
        return distance(g, a, request) + between - distance(g, a, b)
    c, e = route[j], route[j + 1] if j < stops else 0
    pickup = distance(g, a, request) + distance(g, request, b) - distance(g, a, b)
    return pickup + distance(g, c, drop_off) + distance(g, drop_off, e) - distance(g, c, e)


@njit(error_model="numpy")
def best_insertion(g, route, stops, request, trial, begin_min, wait_min):
    """Return the least distance that ``request`` adds to a route (inf: no room), and after which places."""
    best, at_pickup, at_delivery = math.inf, 0, 0
    if stops + 2 > S_MAX:
        return best, at_pickup, at_delivery
    soonest_min, taken = g.earliest_min[0], 0
    for i in range(stops + 1):
        if i > 0:
            soonest_min = begins_min(g, route[i - 1], soonest_min, route[i])
            taken += g.load[route[i]]
        if begins_min(g, route[i], soonest_min, request) > g.latest_min[request] + TOLERANCE_MIN:
            break  # later places are reached later still (triangle inequality)
        load = taken + g.load[request]
        for j in range(i, stops + 1):
            if j > i:
                load += g.load[route[j]]
            if load > g.capacity:
                break
            added = added_distance(g, route, stops, request, i, j)
            if added < best:
                insert(route, stops, request, i, j, trial)
                if scheduled(g, trial, stops + 4, begin_min, wait_min):
                    best, at_pickup, at_delivery = added, i, j
    return best, at_pickup, at_delivery
