"""Hand-written controllers by name, and those of Dispatch: what a trained agent has to beat.

Those of data-centre cooling are in :mod:`rlops.agents_baseline.cooling_control`, those of the robots in
:mod:`rlops.agents_baseline.robot_control` and :mod:`rlops.agents_baseline.warehouse_control`, those of static dispatch
in :mod:`rlops.agents_baseline.static_control`. In Dispatch:

==================== ======== ================================================================================
name                 versions rule
==================== ======== ================================================================================
do_nothing           0 1 2    never assigns
random               0 1 2    any legal action, each as likely as another
cherry_pick          1 2      only what is easy: near, short, without wheelchair
nearest_idle         0 1 2    first come, first served, by the nearest idle vehicle
earliest_deadline    0 1 2    what is due first, by the idle vehicle that is there first
hungarian            0 1 2    idle vehicles and open bookings are matched at least total cost (Kuhn 1955)
cheapest_insertion   2        the cheapest insertion of any open booking into any plan
regret_insertion     2        the booking that would be regretted most if it were put off (regret-3)
late_insertion       2        the cheapest insertion of a booking whose window is about to open
rolling_horizon      2        OR-tools plans all open bookings again and again, and commits late
==================== ======== ================================================================================

Those from ``nearest_idle`` to ``hungarian`` give one booking at a time to a vehicle that has nothing else to
do, the last four pool riders. A controller knows what the dispatcher knows: the state's beliefs, never its
hidden truths. All but ``rolling_horizon`` are functions of the row's present state alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlops.agents_baseline import offers
from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.cooling_control import COOLING
from rlops.agents_baseline.offers import LAYOUTS, Offers
from rlops.agents_baseline.robot_control import ROBOTS
from rlops.agents_baseline.static_control import STATIC
from rlops.agents_baseline.warehouse_control import WAREHOUSE
from rlops.envs import parse_id
from rlops.errors import MissingExtra, UnknownName

CHERRY_DRIVE_MIN = 10.0
"""[min] The cherry-picker drives no longer to a pickup,"""
CHERRY_RIDE_MIN = 10.0
"""[min] and takes no longer ride."""
HUNGARIAN_MIN_PER_LATE_MIN = 1.0
"""[-] Minutes until boarding that a minute of lateness counts for in the matching, besides itself."""
LATE_WITHIN_MIN = 10.0
"""[min] Earlier than this before its window opens, ``late_insertion`` leaves a booking open: others may still come."""
UNMATCHED_MIN = 1e6
"""[min] Cost of a pair that the mask forbids: as many bookings as possible are matched."""


class Controller:
    """A rule that chooses at most one pair of booking and vehicle for every row."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name`` for one version of Dispatch; ``seed`` is for those that draw."""
        self.name, self.layout, self.seed = name, LAYOUTS[version], seed

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n,)`` int64."""
        return self.layout.actions(self.pairs(envs, masks))

    def pairs(self, envs: Any, masks: np.ndarray) -> np.ndarray:
        """Return k · vehicles + v for every row, ``(n,)`` int64; -1 assigns nothing."""
        return np.full(len(masks), -1)


class Random(Controller):
    """Draws a legal action by a hash of the episode's key and the step."""

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n,)`` int64."""
        chosen = np.zeros(len(masks), np.int64)
        keys, steps = (np.ascontiguousarray(envs.state[name]) for name in ("key", "steps"))
        offers.random_actions(keys, steps, self.seed, np.ascontiguousarray(masks), chosen)
        return chosen


class Greedy(Controller, ABC):
    """Takes the best offer, one at a time."""

    def pairs(self, envs: Any, masks: np.ndarray) -> np.ndarray:
        """Return k · vehicles + v for every row, ``(n,)`` int64; -1 assigns nothing."""
        chosen = np.empty(len(masks), np.int64)
        offers.best_pairs(*self.ranked(self.layout.offers(envs, masks)), chosen)
        return chosen

    @abstractmethod
    def ranked(self, o: Offers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pairs considered, and what must be least: first by ``(n, k)``, then by ``(n, k, v)``."""


class CherryPick(Greedy):
    """Serves what makes good figures of the served: near pickups, short rides, nobody in a wheelchair."""

    def ranked(self, o: Offers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rank easy pairs by the drive to the pickup."""
        easy = (o.direct_min < CHERRY_RIDE_MIN) & (o.wheelchair == 0)
        near = o.drive_min < CHERRY_DRIVE_MIN
        return o.legal * (near & easy[:, :, None]), np.zeros_like(o.due_min), o.drive_min


class NearestIdle(Greedy):
    """First come, first served, by the nearest idle vehicle; in v0 the nearest pair."""

    def ranked(self, o: Offers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rank bookings by the order of asking, vehicles by distance."""
        return o.legal, o.asked, o.km


class EarliestDeadline(Greedy):
    """What is due first, by the idle vehicle that is there first."""

    def ranked(self, o: Offers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rank bookings by the end of their window, vehicles by their drive."""
        return o.legal, o.due_min, o.drive_min


class Hungarian(Controller):
    """Matches idle vehicles and open bookings at the least total time until boarding, lateness counted twice.

    The matching is made from the present state before every action, and the pair of its first slot is taken.
    What is left of a best matching is a best matching of what is left, so one minute's actions carry out one
    matching.
    """

    def __init__(self, name: str, version: int, seed: int = 0):
        """Load the solver.

        Raises:
            MissingExtra: If scipy is not installed.
        """
        super().__init__(name, version, seed)
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as error:
            raise MissingExtra(f"The controller {name}", "solvers") from error
        self._matched = linear_sum_assignment

    def pairs(self, envs: Any, masks: np.ndarray) -> np.ndarray:
        """Return k · vehicles + v for every row, ``(n,)`` int64; -1 assigns nothing."""
        o = self.layout.offers(envs, masks)
        begin_min = np.maximum(o.drive_min, o.opens_min[:, :, None])
        cost_min = np.where(o.legal, begin_min + HUNGARIAN_MIN_PER_LATE_MIN * o.late_min, UNMATCHED_MIN)
        chosen = np.full(len(masks), -1)
        for i in np.flatnonzero(o.legal.any((1, 2))):
            for k, v in zip(*self._matched(cost_min[i]), strict=True):
                if o.legal[i, k, v]:
                    chosen[i] = k * self.layout.vehicles + v
                    break
        return chosen


class CheapestInsertion(Controller):
    """Puts the booking that costs least where it costs least."""

    within_min = np.inf
    """[min] Bookings whose window opens later than this are left for later."""

    def pairs(self, envs: Any, masks: np.ndarray) -> np.ndarray:
        """Return k · vehicles + v for every row, ``(n,)`` int64; -1 assigns nothing."""
        chosen = np.empty(len(masks), np.int64)
        offers.cheapest_insertions(envs.state, self.within_min, chosen)
        return chosen


class LateInsertion(CheapestInsertion):
    """Commits late: cheapest insertion, but of bookings whose window is about to open."""

    within_min = LATE_WITHIN_MIN


class RegretInsertion(Controller):
    """Puts the booking where it costs least that would be regretted most if it were put off."""

    def pairs(self, envs: Any, masks: np.ndarray) -> np.ndarray:
        """Return k · vehicles + v for every row, ``(n,)`` int64; -1 assigns nothing."""
        chosen = np.empty(len(masks), np.int64)
        offers.regret_insertions(envs.state, chosen)
        return chosen


def _rolling_horizon(name: str, version: int, seed: int = 0) -> Agent:
    from rlops.agents_baseline.rolling_horizon import RollingHorizon

    return RollingHorizon()


DISPATCH: dict[str, Callable[[str, int, int], Agent]] = {
    "do_nothing": Controller,
    "random": Random,
    "cherry_pick": CherryPick,
    "nearest_idle": NearestIdle,
    "earliest_deadline": EarliestDeadline,
    "hungarian": Hungarian,
    "cheapest_insertion": CheapestInsertion,
    "regret_insertion": RegretInsertion,
    "late_insertion": LateInsertion,
    "rolling_horizon": _rolling_horizon,
}
"""How each controller is made from its name, the version of Dispatch and a seed, the simplest first."""

_FAMILIES: dict[str, Mapping[str, Callable[[str, int, int], Agent]]] = {
    "Dispatch": DISPATCH,
    "DispatchReposition": DISPATCH,
    "DispatchStatic": {"random": Random, **STATIC},
    "DatacenterCooling": COOLING,
    **ROBOTS,
    **WAREHOUSE,
}
"""Where vehicles may be moved, none of Dispatch's but ``random`` moves any."""
CONTROLLERS = tuple(dict.fromkeys(name for known in _FAMILIES.values() for name in known))
"""Names of all controllers of all families."""

_VERSIONS = {
    "cherry_pick": (1, 2),
    "cheapest_insertion": (2,),
    "regret_insertion": (2,),
    "late_insertion": (2,),
    "rolling_horizon": (2,),
    "linear_mpc": (1,),
}
"""Of controllers that do not play every version of their family."""
_REFERENCES = {
    "Dispatch": ("nearest_idle", "earliest_deadline", "cheapest_insertion"),
    "DispatchReposition": ("nearest_idle", "earliest_deadline", "cheapest_insertion"),
    "DispatchStatic": ("", "", "cheapest_insertion"),
    "DatacenterCooling": ("pid", "trim_and_respond"),
    "CartBalance": ("lqr",),
    "ArmReach": ("inverse_kinematics",),
    "ArmPush": ("scripted_push",),
    "WarehouseNav": ("pure_pursuit",),
    "WarehouseFleet": ("give_way",),
}
"""By version."""


def controllers_for(id: str) -> tuple[str, ...]:
    """Return the names of the controllers of an environment, the simplest first.

    >>> controllers_for("rlops/Dispatch-v0")
    ('do_nothing', 'random', 'nearest_idle', 'earliest_deadline', 'hungarian')
    """
    family, version = parse_id(id)
    return tuple(name for name in _FAMILIES.get(family.name, ()) if version in _VERSIONS.get(name, (version,)))


def reference_for(id: str, seed: int = 0) -> Agent | None:
    """Return the controller that plays an environment in recordings, or None if it has none."""
    if not id.startswith("rlops/") or not controllers_for(id):
        return None
    family, version = parse_id(id)
    return make_controller(_REFERENCES[family.name][version], id, seed)


def make_controller(name: str, id: str, seed: int = 0) -> Agent:
    """Return a hand-written controller for an environment.

    Args:
        name: One of :func:`controllers_for` of the environment.
        id: For example ``rlops/Dispatch-v2``.
        seed: Of a controller that draws; two seeds draw independently.

    Raises:
        UnknownName: If the environment has no such controller. The message lists those it has.
        MissingExtra: If its solver is not installed.
    """
    known = controllers_for(id)
    if name not in known:
        raise UnknownName("controller", name, known, id)
    family, version = parse_id(id)
    return _FAMILIES[family.name][name](name, version, seed)
