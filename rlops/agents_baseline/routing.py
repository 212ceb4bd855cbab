"""The routing problem of one moment, solved by OR-tools in a process of its own.

``python -m rlops.agents_baseline.routing`` reads problems from standard input and writes answers to standard
output, one JSON document a line. A problem:

* ``limit_s``: how long the solver may take; ``km_per_min``, ``circuity``: one speed for all legs
* ``km_usd``, ``late_usd_per_min``, ``ride_usd_per_min``, ``refuse_usd``: prices
* ``vehicles``: ``x``, ``y``, ``start_min``, loads ``amb`` and ``wc``, capacities ``cap_amb`` and ``cap_wc``,
  and ``stops``: numbers of the stops of its plan, whose order stays
* ``stops``: ``x``, ``y``, ``serve_min``, ``opens_min``, ``due_min`` (soft, priced at ``usd_per_min``),
  ``last_min`` (hard), ``amb`` and ``wc`` (riders that get in), ``pickup`` (number of the pickup of a
  drop-off, or null), ``ride_min`` (longest ride from that pickup), ``vehicles`` (those that may take it, or
  null for a stop of a plan)

The answer is null, or for every stop the vehicle that serves it with the minute when its service begins, or
null.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

PER_MIN = 10
"""Units of time per minute: the solver counts in whole numbers."""
PER_USD = 1000
"""Units of cost per dollar."""
LATEST = 100_000
"""Units of time; no day is that long."""


def solved(problem: dict[str, Any]) -> list[list[float] | None] | None:
    """Return vehicle and minute of every stop (None: left out), or None if there is no solution."""
    from ortools.constraint_solver import pywrapcp

    stops, vehicles = problem["stops"], problem["vehicles"]
    n, fleet = len(stops), len(vehicles)
    home = n + fleet  # where every route ends, at no distance from anywhere
    manager = pywrapcp.RoutingIndexManager(home + 1, fleet, [n + v for v in range(fleet)], [home] * fleet)
    routing = pywrapcp.RoutingModel(manager)
    time = _add_time(routing, problem, home)
    _add_loads(routing, problem)
    index = [manager.NodeToIndex(i) for i in range(n)]
    for v, vehicle in enumerate(vehicles):
        time.CumulVar(routing.Start(v)).SetValue(_units(vehicle["start_min"]))
        for a, b in zip(vehicle["stops"], vehicle["stops"][1:], strict=False):
            served = time.CumulVar(index[a]) + _units(stops[a]["serve_min"])
            routing.solver().Add(time.CumulVar(index[b]) >= served)
        for i in vehicle["stops"]:
            routing.VehicleVar(index[i]).SetValue(v)
    for i, stop in enumerate(stops):
        _add_stop(routing, time, problem, index, i, stop)
    solution = _searched(routing, problem["limit_s"], [vehicle["stops"] for vehicle in vehicles])
    if solution is None:
        return None
    answer: list[list[float] | None] = [None] * n
    for v in range(fleet):
        at = solution.Value(routing.NextVar(routing.Start(v)))
        while not routing.IsEnd(at):
            answer[manager.IndexToNode(at)] = [v, solution.Min(time.CumulVar(at)) / PER_MIN]
            at = solution.Value(routing.NextVar(at))
    return answer


def _units(minutes: float) -> int:
    return min(round(minutes * PER_MIN), LATEST)


def _add_time(routing: Any, problem: dict[str, Any], home: int) -> Any:
    """Add distances with their cost, and times with waiting; return the dimension of time."""
    places = [(p["x"], p["y"]) for p in (*problem["stops"], *problem["vehicles"])]
    serve = [stop["serve_min"] for stop in problem["stops"]] + [0.0] * len(problem["vehicles"])
    cost = [[0] * (home + 1) for _ in range(home + 1)]
    minutes = [[0] * (home + 1) for _ in range(home + 1)]
    for a, (ax, ay) in enumerate(places):
        for b, (bx, by) in enumerate(places):
            km = problem["circuity"] * math.hypot(bx - ax, by - ay)
            cost[a][b] = round(km * problem["km_usd"] * PER_USD)
            minutes[a][b] = _units(serve[a] + km / problem["km_per_min"])
        minutes[a][home] = _units(serve[a])
    routing.SetArcCostEvaluatorOfAllVehicles(routing.RegisterTransitMatrix(cost))
    routing.AddDimension(routing.RegisterTransitMatrix(minutes), LATEST, LATEST, False, "time")
    return routing.GetDimensionOrDie("time")


def _add_loads(routing: Any, problem: dict[str, Any]) -> None:
    """Add the places that riders take."""
    vehicles = problem["vehicles"]
    for kind in ("amb", "wc"):
        riders = [stop[kind] for stop in problem["stops"]] + [0] * (len(vehicles) + 1)
        evaluator = routing.RegisterUnaryTransitVector(riders)
        routing.AddDimensionWithVehicleCapacity(evaluator, 0, [v[f"cap_{kind}"] for v in vehicles], False, kind)
        loads = routing.GetDimensionOrDie(kind)
        for v, vehicle in enumerate(vehicles):
            loads.CumulVar(routing.Start(v)).SetValue(vehicle[kind])


def _add_stop(routing: Any, time: Any, problem: dict[str, Any], index: list[int], i: int, stop: dict[str, Any]) -> None:
    """Add the times of one stop, its pairing, and what leaving it out costs."""
    begins = time.CumulVar(index[i])
    if stop["opens_min"] is not None:
        begins.SetMin(_units(stop["opens_min"]))
    if stop["last_min"] is not None:
        begins.SetMax(_units(stop["last_min"]))
    if stop["due_min"] is not None:
        per_unit = round(stop["usd_per_min"] * PER_USD / PER_MIN)
        time.SetCumulVarSoftUpperBound(index[i], _units(stop["due_min"]), per_unit)
    pickup = stop["pickup"]
    if pickup is not None:
        solver = routing.solver()
        routing.AddPickupAndDelivery(index[pickup], index[i])
        solver.Add(routing.VehicleVar(index[pickup]) == routing.VehicleVar(index[i]))
        boarded = time.CumulVar(index[pickup]) + _units(problem["stops"][pickup]["serve_min"])
        solver.Add(begins >= boarded)
        solver.Add(begins <= boarded + _units(stop["ride_min"]))
    if stop["vehicles"] is not None:
        routing.VehicleVar(index[i]).SetValues([-1, *stop["vehicles"]])
        refuse = round(problem["refuse_usd"] * PER_USD) if pickup is None else 0  # once a booking
        routing.AddDisjunction([index[i]], refuse)


def _searched(routing: Any, limit_s: float, routes: list[list[int]]) -> Any:
    """Return the best solution found, beginning with the present plans, which are feasible; or None."""
    from ortools.constraint_solver import pywrapcp, routing_enums_pb2

    parameters = pywrapcp.DefaultRoutingSearchParameters()
    parameters.time_limit.FromMilliseconds(max(1, round(limit_s * 1000)))
    strategy = routing_enums_pb2.FirstSolutionStrategy
    parameters.first_solution_strategy = strategy.PARALLEL_CHEAPEST_INSERTION
    # A descent ends by itself, so that its result does not depend on the clock.
    parameters.local_search_metaheuristic = routing_enums_pb2.LocalSearchMetaheuristic.GREEDY_DESCENT
    routing.CloseModelWithParameters(parameters)
    present = routing.ReadAssignmentFromRoutes(routes, True)
    if present is not None:
        return routing.SolveFromAssignmentWithParameters(present, parameters)
    return routing.SolveWithParameters(parameters)


def main() -> None:
    """Answer problems until the input ends."""
    for line in sys.stdin:
        print(json.dumps(solved(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
