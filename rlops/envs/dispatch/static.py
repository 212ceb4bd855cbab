"""Instances of static dispatch, insertion heuristics for them, and a judge of solutions.

Node 0 is the depot, request ``i`` is picked up at node ``i`` and delivered at node ``n + i``. A route is the
list of its nodes without the depot. Distances are Euclidean, and one unit of length takes one minute.

    instance = read_cordeau("a2-16.txt")
    routes = regret_insertion(instance)
    check_solution(instance, routes)             # raises if a rule is broken, else the cost
    environment.reset(options={"instance": instance})
    for action in actions(instance, routes):     # the environment's return is minus the cost
        environment.step(action)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numba import config, njit

from rlops.envs.compiling import compiled
from rlops.envs.dispatch.schedule import (
    DATA,
    MAX_REQUESTS,
    MAX_VEHICLES,
    PLACES,
    S_MAX,
    TOLERANCE_MIN,
    best_insertion,
    insert,
    scheduled,
)
from rlops.errors import InvalidFile, InvalidValue, UnknownName

Routes: TypeAlias = list[list[int]]
"""Routes as lists of nodes, without the depot."""

_NODE_ARRAYS = ("x", "y", "service", "load", "earliest", "latest")


@dataclass(frozen=True, eq=False)
class Instance:
    """One static problem: what a fleet has to serve.

    The arrays have ``2 n + 1`` entries in node order and are read-only copies.

    Raises: InvalidValue: If sizes, signs or windows do not fit, or if a request cannot be served even on a
        route of its own.
    """

    name: str
    vehicles: int
    """Vehicles [-], at most 25."""
    capacity: int
    """Places of each vehicle [-]."""
    max_route_min: float
    """Longest duration of a route [min]; inf if there is no limit."""
    max_ride_min: float
    """Longest ride [min], from the end of service at the pickup to its begin at the delivery; inf if there is
    none."""
    x: np.ndarray
    y: np.ndarray
    service: np.ndarray
    """Duration of service [min]."""
    load: np.ndarray
    """Places that a node takes (pickup, positive) or gives back (delivery, minus that of its pickup) [-]."""
    earliest: np.ndarray
    """Before this service does not begin; a vehicle waits [min]."""
    latest: np.ndarray
    """After this service must not begin [min]; that of the depot is the horizon."""
    file_nodes: np.ndarray | None = None
    """The number of each node in the file it came from; None if they are the same."""

    def __post_init__(self) -> None:
        for name in (*_NODE_ARRAYS, "file_nodes"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _read_only(self, name, value))
        _check_numbers(self)
        _check_nodes(self)
        i = _first_unservable(_records(self), np.zeros(PLACES, np.int16), np.zeros(PLACES), np.zeros(PLACES))
        if i > 0:
            raise InvalidValue(
                f"{self.name}: every request must be servable by a vehicle of its own, request {i} is not. "
                f"Check the windows of nodes {i} and {self.requests + i} and the limits on rides and routes."
            )

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.x) // 2

    def table(self) -> np.ndarray:
        """Return the instance as the record array ``(1,)`` that an environment reads."""
        rows = np.zeros(1, DATA)
        row = rows[0]
        for name in ("requests", "vehicles", "capacity", "max_route_min", "max_ride_min"):
            row[name] = getattr(self, name)
        places = [_place(self.requests, node) for node in range(len(self.x))]
        for name in _NODE_ARRAYS:
            field = name if name in DATA.names else f"{name}_min"  # type: ignore[operator]
            row[field][places] = getattr(self, name)
        return rows


def _read_only(instance: Instance, name: str, value: Any) -> np.ndarray:
    whole = name in ("load", "file_nodes")
    try:
        given = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise InvalidValue(f"{instance.name}: {name} must be an array of numbers, got {value!r}.") from None
    if given.ndim != 1 or len(given) != np.size(instance.x) or not np.isfinite(given).all():
        raise InvalidValue(
            f"{instance.name}: {name} must be {np.size(instance.x)} finite numbers, one a node as in x, "
            f"got shape {given.shape}{'' if np.isfinite(given).all() else ' with a value that is not'}."
        )
    if whole and (given != np.floor(given)).any():
        raise InvalidValue(f"{instance.name}: {name} must be whole numbers, got {given[given != np.floor(given)][0]}.")
    array = given.astype(np.int64) if whole else given
    array.setflags(write=False)
    return array


def _check_numbers(instance: Instance) -> None:
    def limit(what: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            raise InvalidValue(f"{instance.name}: {what} must be within [{low:g}, {high:g}], got {value!r}.")

    nodes = len(instance.x)
    if nodes % 2 == 0 or nodes < 3:
        raise InvalidValue(
            f"{instance.name}: an instance must have 2 n + 1 nodes (depot, pickups, deliveries), got {nodes}."
        )
    limit("the number of requests", instance.requests, 1, MAX_REQUESTS)
    for name, high in (("vehicles", float(MAX_VEHICLES)), ("capacity", 2.0**31)):
        value = getattr(instance, name)
        limit(name, value, 1, high)
        if value != int(value):
            raise InvalidValue(f"{instance.name}: {name} must be a whole number, got {value!r}.")
        object.__setattr__(instance, name, int(value))
    for name in ("max_route_min", "max_ride_min"):
        limit(name, getattr(instance, name), np.nextafter(0, 1), math.inf)


def _check_nodes(instance: Instance) -> None:
    def fail(node: int, must: str, got: object) -> NoReturn:
        raise InvalidValue(f"{instance.name}: node {node} must have {must}, got {got}.")

    n = instance.requests
    for node in range(2 * n + 1):
        if instance.service[node] < 0:
            fail(node, "a service time of at least 0 min", instance.service[node])
        if instance.earliest[node] > instance.latest[node]:
            fail(
                node,
                "a window that starts before it ends",
                f"[{instance.earliest[node]:g}, {instance.latest[node]:g}]",
            )
    if instance.load[0] != 0:
        fail(0, "load 0, being the depot", instance.load[0])
    if instance.latest[0] <= 0:
        fail(0, "a window that ends after 0 min, being the depot", instance.latest[0])
    for i in range(1, n + 1):
        if not 1 <= instance.load[i] <= instance.capacity:
            fail(i, f"a load of 1 ... {instance.capacity} (the capacity), being a pickup", instance.load[i])
        if instance.load[n + i] != -instance.load[i]:
            fail(n + i, f"load {-instance.load[i]}, being the delivery of node {i}", instance.load[n + i])


# --- places of nodes in a table --------------------------------------------------------------------------


def _place(requests: int, node: int) -> int:
    """Return where a node stands in a table: deliveries start after the pickups of the largest instance."""
    return node if node <= requests else MAX_REQUESTS + node - requests


def _node(requests: int, place: int) -> int:
    """Return the node at a place of a table."""
    return place if place <= MAX_REQUESTS else place - MAX_REQUESTS + requests


def actions(instance: Instance, routes: Iterable[Sequence[int]]) -> list[int]:
    """Return the actions that drive ``routes`` in the environment: the stops of each, and 0 to close it."""
    out = []
    for route in routes:
        if len(route):
            out += [_place(instance.requests, node) for node in route] + [0]
    return out


def data_from(value: Any) -> np.ndarray:
    """Return what an environment reads from ``options={"instance": value}``: one record per instance.

    Args: value: An :class:`Instance`, a mapping of its fields, records as this function returns them, the path of
        a file (:func:`read_instance`), or a list of these: each episode then draws one of them.

    Raises:
        InvalidValue: If it is none of these, or does not describe an instance.
    """
    if isinstance(value, Instance):
        return value.table()
    if isinstance(value, (str, Path)):
        return read_instance(value).table()
    if isinstance(value, Mapping):
        return _from_mapping(value).table()
    if isinstance(value, np.ndarray) and value.dtype == DATA and value.size:
        return np.concatenate([_from_record(one).table() for one in value.ravel()])
    if isinstance(value, Sequence) and len(value):
        return np.concatenate([data_from(one) for one in value])
    raise InvalidValue(
        f"instance must be an Instance, a mapping of its fields, records, a path, or a list of these, got {value!r}."
    )


def _from_record(row: np.void) -> Instance:
    """Return the instance that :meth:`Instance.table` made ``row`` of."""
    n = int(row["requests"])
    found: dict[str, Any] = {
        name: row[name].item() for name in ("vehicles", "capacity", "max_route_min", "max_ride_min")
    }
    for name in _NODE_ARRAYS:
        field = row[name if name in row.dtype.names else f"{name}_min"]  # type: ignore[operator]
        found[name] = np.concatenate([field[: n + 1], field[MAX_REQUESTS + 1 : MAX_REQUESTS + 1 + n]])
    return Instance("record", **found)


def _from_mapping(value: Mapping[str, Any]) -> Instance:
    known = [field.name for field in fields(Instance)]
    for name in value:
        if name not in known:
            raise UnknownName("field", name, known, "an instance")
    needed = [name for name in known if name not in ("name", "max_route_min", "max_ride_min", "file_nodes")]
    missing = [name for name in needed if name not in value]
    if missing:
        raise InvalidValue(
            f"a mapping that describes an instance must have {', '.join(needed)}; it lacks {missing[0]}."
        )
    return Instance(**{"name": "instance", "max_route_min": math.inf, "max_ride_min": math.inf, **value})


# --- files -----------------------------------------------------------------------------------------------


def _rows(path: str | Path) -> list[tuple[int, list[str]]]:
    """Return the lines of a text file that are not empty, as row numbers from 1 and words."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path}: must be a readable text file, got: {error}.") from None
    rows = [(k, line.split()) for k, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not rows:
        raise InvalidFile(f"{path}: must contain an instance, but is empty.")
    return rows


def _numbers(path: str | Path, row: int, words: list[str], columns: Sequence[str]) -> list[float]:
    """Return the words of one row as numbers, one for each of ``columns``."""
    if len(words) != len(columns):
        raise InvalidFile(
            f"{path}, row {row}: must have {len(columns)} columns ({' '.join(columns)}), got {len(words)}."
        )
    out = []
    for column, word in zip(columns, words, strict=True):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InvalidFile(f"{path}, row {row}, column {column}: must be a number, got {word!r}.")
        out.append(number)
    return out


def _checked(path: str | Path, **values: Any) -> Instance:
    try:
        return Instance(name=Path(path).stem, **values)
    except InvalidFile:
        raise
    except InvalidValue as error:
        raise InvalidFile(f"{path}: {error}") from None


def _numbered(path: str | Path, rows: list[tuple[int, list[str]]], columns: Sequence[str]) -> np.ndarray:
    """Return the node rows as numbers; their first column must count from 0."""
    table = []
    for expected, (row, words) in enumerate(rows):
        numbers = _numbers(path, row, words, columns)
        if numbers[0] != expected:
            raise InvalidFile(
                f"{path}, row {row}, column id: nodes must count from 0; expected {expected}, got {words[0]}."
            )
        table.append(numbers)
    return np.array(table).reshape(-1, len(columns))


def read_cordeau(path: str | Path) -> Instance:
    """Return a dial-a-ride instance in the format of Cordeau 2006.

    The first row is ``vehicles requests max_route capacity max_ride``, every other row a node: ``id x y
    service load earliest latest``; a copy of the depot at the end is ignored. Some files (a7-84, a8-96) state
    twice the number of requests and a depot that never closes, so requests are counted by their loads, and
    the depot's window is cut to ``[0, max_route]``.

    Raises:
        InvalidFile: If the file cannot be used; the message names row and column.
    """
    rows = _rows(path)
    vehicles, _, horizon, capacity, max_ride = _numbers(
        path, *rows[0], ("vehicles", "requests", "max_route", "capacity", "max_ride")
    )
    table = _numbered(path, rows[1:], ("id", "x", "y", "service", "load", "earliest", "latest"))
    n = int((table[:, 4] > 0).sum())
    if len(table) not in (2 * n + 1, 2 * n + 2):
        raise InvalidFile(
            f"{path}: {n} pickups (rows with a positive load) need {2 * n + 1} nodes, or one more for a "
            f"second depot, got {len(table)}."
        )
    table = table[: 2 * n + 1]
    table[0, 5], table[0, 6] = max(table[0, 5], 0.0), min(table[0, 6], horizon)
    return _checked(
        path,
        vehicles=vehicles,
        capacity=capacity,
        max_route_min=horizon,
        max_ride_min=max_ride,
        **dict(zip(_NODE_ARRAYS, table[:, 1:].T, strict=True)),
    )


def read_li_lim(path: str | Path) -> Instance:
    """Return a pickup-and-delivery instance in the format of Li & Lim 2001.

    The first row is ``vehicles capacity speed`` (the speed is 1, although many files say 0), every other row
    a node: ``id x y demand earliest latest service pickup delivery``. Its nodes are renumbered, pickups first
    in the order of the file; ``file_nodes`` keeps the numbers of the file.

    Raises:
        InvalidFile: If the file cannot be used; the message names row and column.
    """
    rows = _rows(path)
    vehicles, capacity, _ = _numbers(path, *rows[0], ("vehicles", "capacity", "speed"))
    columns = ("id", "x", "y", "demand", "earliest", "latest", "service", "pickup", "delivery")
    table = _numbered(path, rows[1:], columns)
    pickups = [k for k in range(1, len(table)) if table[k, 3] > 0]
    deliveries = [int(table[k, 8]) for k in pickups]
    for k, partner in zip(pickups, deliveries, strict=True):
        if not 0 < partner < len(table) or table[partner, 7] != k:
            raise InvalidFile(
                f"{path}, row {rows[1 + k][0]}, column delivery: must be a node whose pickup is {k}, got {partner}."
            )
    order = [0, *pickups, *deliveries]
    if sorted(order) != list(range(len(table))):
        lost = min(set(range(len(table))) - set(order), default=len(table) - 1)
        raise InvalidFile(
            f"{path}, row {rows[1 + lost][0]}, column demand: every node must be a pickup (positive demand) "
            f"or the delivery of one; node {lost} is neither."
        )
    table = table[order]
    arrays = {name: table[:, k] for name, k in zip(_NODE_ARRAYS, (1, 2, 6, 3, 4, 5), strict=True)}
    return _checked(
        path,
        vehicles=vehicles,
        capacity=capacity,
        max_route_min=math.inf,
        max_ride_min=math.inf,
        file_nodes=order,
        **arrays,
    )


def read_li_lim_solution(path: str | Path, instance: Instance) -> Routes:
    """Return the routes of a solution file (rows ``Route 1 : 81 78 104 …``) in the nodes of ``instance``.

    Raises:
        InvalidFile: If there is no route, or a stop is no node of the instance.
    """
    nodes = range(len(instance.x)) if instance.file_nodes is None else instance.file_nodes.tolist()
    node_of = {str(number): node for node, number in enumerate(nodes)}
    routes = []
    for row, words in _rows(path):
        found = re.fullmatch(r"route\s*\d+\s*:(.*)", " ".join(words), re.IGNORECASE)
        if not found:
            continue
        stops = found[1].split()
        for column, stop in enumerate(stops, 1):
            if node_of.get(stop, 0) == 0:
                raise InvalidFile(
                    f"{path}, row {row}, column {column} after the colon: must be a node of {instance.name} "
                    f"other than the depot, got {stop!r}."
                )
        routes.append([node_of[stop] for stop in stops])
    if not routes:
        raise InvalidFile(f"{path}: must have rows such as 'Route 1 : 3 75', got none.")
    return routes


def read_instance(path: str | Path) -> Instance:
    """Return an instance from a file of either format; the first row tells which (five numbers, or three).

    Raises:
        InvalidFile: If the file cannot be used; the message names row and column.
    """
    row, words = _rows(path)[0]
    if len(words) == 5:
        return read_cordeau(path)
    if len(words) == 3:
        return read_li_lim(path)
    raise InvalidFile(
        f"{path}, row {row}: must be 'vehicles requests max_route capacity max_ride' (Cordeau) or "
        f"'vehicles capacity speed' (Li & Lim), got {len(words)} columns."
    )


# --- judging solutions -----------------------------------------------------------------------------------


def route_cost(instance: Instance, routes: Iterable[Sequence[int]]) -> float:
    """Return the total distance of ``routes``, from the depot and back to it."""
    total = 0.0
    for route in routes:
        tour = [0, *route, 0]
        total += sum(
            math.hypot(instance.x[a] - instance.x[b], instance.y[a] - instance.y[b]) for a, b in pairwise(tour)
        )
    return total


def check_solution(instance: Instance, routes: Sequence[Sequence[int]]) -> float:
    """Return the cost of a solution that keeps every rule and serves every request.

    Raises: InvalidValue: At the first broken rule; the message names the route (from 1), the stop (from 1)
        and the rule.
    """
    used = [route for route in routes if len(route)]
    if len(used) > instance.vehicles:
        raise InvalidValue(
            f"{instance.name}: number of vehicles: at most {instance.vehicles} routes may have stops, got {len(used)}."
        )
    _check_served_once(instance, routes)
    for number, route in enumerate(routes, 1):
        _check_order(instance, number, route)
        _check_times(instance, number, route)
    return route_cost(instance, routes)


def _broken(instance: Instance, route: int, stop: int, node: int, rule: str) -> InvalidValue:
    return InvalidValue(f"{instance.name}, route {route}, stop {stop} (node {node}): {rule}")


def _check_served_once(instance: Instance, routes: Sequence[Sequence[int]]) -> None:
    seen: dict[int, int] = {}
    for number, route in enumerate(routes, 1):
        for stop, node in enumerate(route, 1):
            if not 1 <= node <= 2 * instance.requests or node != int(node):
                raise _broken(instance, number, stop, node, f"nodes: must be one of 1 ... {2 * instance.requests}.")
            if node in seen:
                raise _broken(instance, number, stop, node, f"served once: already a stop of route {seen[node]}.")
            seen[node] = number
    for node in range(1, 2 * instance.requests + 1):
        if node not in seen:
            raise InvalidValue(f"{instance.name}: served once: node {node} must be a stop of a route, but is on none.")


def _check_order(instance: Instance, number: int, route: Sequence[int]) -> None:
    """Check pairing, precedence and capacity of one route."""
    n, taken = instance.requests, 0
    if len(route) > S_MAX:
        raise InvalidValue(f"{instance.name}, route {number}: at most {S_MAX} stops, got {len(route)}.")
    for stop, node in enumerate(route, 1):
        partner = node + n if node <= n else node - n
        if partner not in route:
            raise _broken(instance, number, stop, node, f"pairing: node {partner} must be on the same route.")
        if node > n and partner in route[stop:]:
            raise _broken(instance, number, stop, node, f"precedence: its pickup (node {partner}) must come before.")
        taken += int(instance.load[node])
        if taken > instance.capacity:
            raise _broken(
                instance,
                number,
                stop,
                node,
                f"capacity: at most {instance.capacity} places, {taken} are taken.",
            )


def _check_times(instance: Instance, number: int, route: Sequence[int]) -> None:
    """Check windows, duration and rides of one route."""
    table, nodes, begin_min, wait_min = _work(instance, route)
    if _schedule(table, nodes, len(route) + 2, begin_min, wait_min):
        return
    for k, node in enumerate([0, *route, 0]):
        latest_min = instance.latest[node]
        if begin_min[k] > latest_min + TOLERANCE_MIN:
            rule = f"window: service must begin by {latest_min:.6g} min, {begin_min[k]:.6g} min is the earliest."
            raise _broken(instance, number, k, node, rule)
    duration_min = begin_min[len(route) + 1] - begin_min[0]
    if duration_min > instance.max_route_min + TOLERANCE_MIN:
        rule = f"route duration: at most {instance.max_route_min:.6g} min, got {duration_min:.6g} min."
        raise _broken(instance, number, len(route) + 1, 0, rule)
    for stop, node in enumerate(route, 1):
        pickup = node - instance.requests
        if pickup <= 0:
            continue
        ride_min = begin_min[stop] - begin_min[route.index(pickup) + 1] - instance.service[pickup]
        if ride_min > instance.max_ride_min + TOLERANCE_MIN:
            rule = f"ride time: at most {instance.max_ride_min:.6g} min, got {ride_min:.6g} min."
            raise _broken(instance, number, stop, node, rule)


def schedule(instance: Instance, route: Sequence[int]) -> np.ndarray | None:
    """Return when service begins at the depot, at each stop and at the depot again [min], ``(stops + 2,)``.

    None if no schedule keeps windows, ride times and route duration. It departs as late as it can without
    loss (Cordeau & Laporte 2003).
    """
    return _scheduled(instance, route)


def _scheduled(instance: Instance, route: Sequence[int]) -> np.ndarray | None:
    table, nodes, begin_min, wait_min = _work(instance, route)
    feasible = _schedule(table, nodes, len(route) + 2, begin_min, wait_min)
    return begin_min[: len(route) + 2] if feasible else None


def _work(instance: Instance, route: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Return the arrays that the compiled functions take: table, nodes of the route, begin and wait."""
    nodes = np.zeros(PLACES, np.int16)
    nodes[1 : len(route) + 1] = [_place(instance.requests, node) for node in route]
    return _records(instance), nodes, np.zeros(PLACES), np.zeros(PLACES)


def _records(instance: Instance) -> np.ndarray:
    table = instance.table()
    return table.view(np.recarray) if config.DISABLE_JIT else table


@compiled
def _schedule(table, route, length, begin_min, wait_min):  # type: ignore[no-untyped-def]
    return scheduled(table[0], route, length, begin_min, wait_min)


@compiled
def _first_unservable(table, route, begin_min, wait_min):  # type: ignore[no-untyped-def]
    """Return the first request that no vehicle of its own can serve, or 0."""
    for i in range(1, table[0].requests + 1):
        route[1], route[2], route[3] = i, MAX_REQUESTS + i, 0
        if not scheduled(table[0], route, 4, begin_min, wait_min):
            return i
    return 0


# --- insertion -------------------------------------------------------------------------------------------


def cheapest_insertion(instance: Instance) -> Routes:
    """Return routes built by inserting, again and again, the request that adds the least distance anywhere.

    Windows, capacity, ride times and route duration hold. Requests that fit nowhere stay out: compare the
    number of stops with ``2 * instance.requests``. Empty routes are left out.
    """
    return _inserted(instance, 0)


def regret_insertion(instance: Instance, k: int = 3) -> Routes:
    """Return routes built by inserting the request that would lose most if it waited.

    The k-regret of Potvin & Rousseau 1993: the loss of a request is the sum over its second to ``k``-th best
    route of what they cost more than its best. A route that cannot take it counts as :data:`NO_ROUTE_COST`.
    See :func:`cheapest_insertion` for what holds.

    Raises:
        InvalidValue: If ``k`` is below 2.
    """
    if k < 2:
        raise InvalidValue(f"k must be at least 2: regret compares the best route with others, got {k!r}.")
    return _inserted(instance, k)


NO_ROUTE_COST = 1e6
"""What a route that cannot take a request counts in its regret [distance]: far above any insertion."""


def _inserted(instance: Instance, k: int) -> Routes:
    routes = np.zeros((instance.vehicles, PLACES), np.int16)
    stops = np.zeros(instance.vehicles, np.int64)
    _construct(_records(instance), k, routes, stops)
    nodes = [[_node(instance.requests, int(place)) for place in routes[v, 1 : stops[v] + 1]] for v in range(len(stops))]
    return [route for route in nodes if route]


@njit(error_model="numpy")
def _sort(values):  # type: ignore[no-untyped-def]
    """Sort a few values upwards in place; NumPy's sort takes seconds to compile."""
    for k in range(1, len(values)):
        value, place = values[k], k
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@njit(error_model="numpy")
def _regret(costs, k):  # type: ignore[no-untyped-def]
    """Return what a request loses if its second to ``k``-th best route must take it; costs are sorted."""
    regret = 0.0
    for h in range(1, min(k, len(costs))):
        regret += min(costs[h], NO_ROUTE_COST) - costs[0]
    return regret


@compiled
def _construct(table, k, routes, stops):  # type: ignore[no-untyped-def]
    construct(table[0], k, routes, stops)


@njit(error_model="numpy")
def construct(g, k, routes, stops):  # type: ignore[no-untyped-def]
    """Insert requests one by one: by least added distance (``k = 0``) or by largest ``k``-regret.

    Args:
        g: Record with the fields of :data:`~rlops.envs.dispatch.schedule.NODE_FIELDS`.
        k: Routes that a regret compares, or 0.
        routes: Zeros, ``(vehicles, PLACES)`` int16; the places of the stops are written from column 1 on.
        stops: Zeros, ``(vehicles,)`` int64; how many stops each route has is written.
    """
    n, vehicles = g.requests, routes.shape[0]
    trial, begin_min, wait_min = np.zeros(PLACES, np.int16), np.zeros(PLACES), np.zeros(PLACES)
    cost = np.full((n + 1, vehicles), math.inf)
    place = np.zeros((n + 1, vehicles, 2), np.int64)
    costs = np.zeros(vehicles)
    waiting = np.ones(n + 1, np.bool_)
    changed_first, changed_last = 0, vehicles
    for _ in range(n):
        for v in range(changed_first, changed_last):
            for r in range(1, n + 1):
                if waiting[r]:
                    cost[r, v], place[r, v, 0], place[r, v, 1] = best_insertion(
                        g, routes[v], stops[v], r, trial, begin_min, wait_min
                    )
        chosen, chosen_regret, chosen_cost = 0, -1.0, math.inf
        for r in range(1, n + 1):
            if waiting[r]:
                for v in range(vehicles):
                    costs[v] = cost[r, v]
                _sort(costs)
                regret = _regret(costs, k)
                if costs[0] < math.inf and (
                    regret > chosen_regret or (regret == chosen_regret and costs[0] < chosen_cost)
                ):
                    chosen, chosen_regret, chosen_cost = r, regret, costs[0]
        if chosen == 0:
            return
        best = int(np.argmin(cost[chosen]))
        insert(routes[best], stops[best], chosen, place[chosen, best, 0], place[chosen, best, 1], trial)
        stops[best] += 2
        for stop in range(stops[best] + 1):
            routes[best, stop] = trial[stop]
        waiting[chosen] = False
        changed_first, changed_last = best, best + 1
