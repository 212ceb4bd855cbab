"""Hand-written controllers of static dispatch, where routes are built one after the other.

==================== ===========================================================================================
name                 rule
==================== ===========================================================================================
random               any legal stop, or the way home where that is legal, each as likely as another
nearest_neighbour    the request that can be delivered first, straight from its pickup, one at a time (a nearest
                     neighbour in time: Solomon 1987); home only if no stop is legal
cheapest_insertion   drives the routes that cheapest insertion builds of all requests
regret_insertion     drives those of regret-3 (Potvin and Rousseau 1993)
==================== ===========================================================================================

The last two plan anew before every stop, so all are functions of the row's present state alone. What a plan leaves out,
and where a row is not on its plan, is for the nearest neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from rlops.agents_baseline.agents import Agent
from rlops.envs.compiling import compiled
from rlops.envs.dispatch.kernel_static import CLOSE
from rlops.envs.dispatch.schedule import MAX_REQUESTS, NODES, PLACES, begins_min
from rlops.envs.dispatch.static import construct

REGRET_ROUTES = 3
"""[-] Routes that a regret compares."""


class NearestNeighbour:
    """Serves one request after another, that first which can be delivered first."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name``; it knows one version, and draws nothing."""
        self.name = name

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n,)`` int64."""
        chosen = np.zeros(len(masks), np.int64)
        self._choose(envs.state, np.ascontiguousarray(masks), chosen)
        return chosen

    def _choose(self, state: np.ndarray, masks: np.ndarray, chosen: np.ndarray) -> None:
        nearest_neighbours(state, masks, chosen)


class CheapestInsertion(NearestNeighbour):
    """Drives the routes that cheapest insertion builds."""

    compared = 0

    def _choose(self, state: np.ndarray, masks: np.ndarray, chosen: np.ndarray) -> None:
        planned_stops(state, self.compared, masks, chosen)


class RegretInsertion(CheapestInsertion):
    """Drives the routes that regret-3 builds."""

    compared = REGRET_ROUTES


STATIC: dict[str, Callable[[str, int, int], Agent]] = {
    "nearest_neighbour": NearestNeighbour,
    "cheapest_insertion": CheapestInsertion,
    "regret_insertion": RegretInsertion,
}
"""How each controller is made from its name, a version and a seed, the simplest first; besides ``random``."""


@njit(error_model="numpy")
def _nearest_neighbour(s: Any, mask: Any) -> int:
    """Return the legal stop of one row whose request can be delivered first, deliveries before pickups; or CLOSE."""
    chosen, first_min = CLOSE, math.inf
    for node in range(NODES - 1, 0, -1):
        if node == MAX_REQUESTS and chosen != CLOSE:
            break
        if mask[node]:
            begin_min = begins_min(s, s.routes[s.vehicle, s.stops], s.soonest_min, node)
            if node <= MAX_REQUESTS:
                begin_min = begins_min(s, node, begin_min, MAX_REQUESTS + node)
            if begin_min < first_min:
                chosen, first_min = node, begin_min
    return chosen


@compiled
def nearest_neighbours(state: Any, masks: Any, chosen: Any) -> None:
    """Write the choice of every row into ``chosen`` (n,)."""
    for i in range(state.shape[0]):
        chosen[i] = _nearest_neighbour(state[i], masks[i])


@njit(error_model="numpy")
def _driven(s: Any, routes: Any, stops: Any) -> bool:
    """Return whether the open route of one row is the beginning of a plan's."""
    if s.stops > stops[s.vehicle]:
        return False
    same = True
    for place in range(1, s.stops + 1):
        same &= s.routes[s.vehicle, place] == routes[s.vehicle, place]
    return same


@compiled
def planned_stops(state: Any, compared: int, masks: Any, chosen: Any) -> None:
    """Write the next stop of every row's plan into ``chosen`` (n,)."""
    for i in range(state.shape[0]):
        s = state[i]
        chosen[i] = CLOSE
        if s.terminated or s.truncated:
            continue
        routes, stops = np.zeros((s.vehicles, PLACES), np.int16), np.zeros(s.vehicles, np.int64)
        construct(s, compared, routes, stops)
        if stops[s.vehicle] > 0 and _driven(s, routes, stops):
            if s.stops < stops[s.vehicle]:
                chosen[i] = routes[s.vehicle, s.stops + 1]
            if masks[i, chosen[i]]:
                continue
        chosen[i] = _nearest_neighbour(s, masks[i])
