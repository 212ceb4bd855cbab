"""Hand-written controllers of data-centre cooling: what a trained agent has to beat, and what it cannot.

==================== ======== ================================================================================
name                 versions rule
==================== ======== ================================================================================
random               0 1      any action, each as likely as another
legacy_fixed         0 1      fans at full speed, supply air 16 °C, chilled water 7 °C, tower fan at full speed
tuned_fixed          0 1      fans 0.85, supply air 20 °C, chilled water 10 °C, tower fan 0.8
pid                  0 1      as tuned_fixed, but the air of a handler follows the air of its servers
trim_and_respond     0 1      set points creep towards what is cheap until a zone or a coil asks for more cooling
linear_mpc           1        a plan of half an hour by a linearised model of the nominal hall, every five minutes
hourly_optimum       0 1      the cheapest steady state of every hour, with the true parameters: an upper bound
==================== ======== ================================================================================

The bound is one of operators that decide once an hour; who decides more often can spend as little on single days.

A controller sees what the operator sees, noise of the sensors and all; ``hourly_optimum`` alone reads parameters and
state. In v0 there is no chilled water to set and no tower fan. Those with memory keep it by row and begin anew where an
episode begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np

from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.cooling_loops import follow_point, planned_moves, random_vectors, worst_of_supplies
from rlops.envs.contract import parameter_dtype, width
from rlops.envs.cooling import DATACENTER_COOLING, kernel_v0, kernel_v1, steady
from rlops.envs.cooling.accounts import RECOMMENDED_C
from rlops.envs.cooling.site import DAY_MIN

VALVE_PER_K = 0.012
VALVE_PER_K_MIN = 0.008
"""Gains of the loop that holds the supply air: a valve moves supply air by 10 … 40 K a stroke within a minute or two,
so the loop settles in some minutes and stays damped at either end."""
LEAST_VALVE = 0.05
AIR_RATIO = 1.08
"""[-] Air of a handler over air of its servers: at 1 / (1 - bypass) = 1.053 and above nothing is recirculated."""
MOST_FAN_CHANGE = 1.25
"""[-] By which the loop of the air ratio moves a fan's speed within a minute."""
TOWER_PER_K = 0.04
TOWER_PER_K_MIN = 0.01
"""Gains of the loop that holds the tower's approach: its fan moves the condenser water by about 10 K a stroke."""
TOWER_APPROACH_K = 4.0
LEAST_CONDENSER_C = 16.0
"""[°C] Half a kelvin above where the tower is bypassed: below, its fan moves nothing."""

RESPOND_EVERY_MIN = 2
TRIM_K, RESPOND_K, MOST_RESPOND_K, IGNORED = 0.1, -0.3, -1.0, 1
"""Trim and respond, ASHRAE Guideline 36: what nobody asks for is trimmed, what more than IGNORED ask for is given."""
INLET_ASKS_C = (26.0, 26.5, 27.0)
"""[°C] Inlet of the worst rack from which a zone makes one, two, three requests for colder air."""
VALVE_ASKS, SUPPLY_ASKS_K = 0.90, (1.0, 2.0)
"""A coil makes a request for colder water above this opening, two further ones if its air is this far too warm."""
SUPPLY_RANGE_C, CHILLED_RANGE_C = (16.0, 26.0), (kernel_v1.COLDEST_SET_C, kernel_v1.WARMEST_SET_C)

OPTIMUM_MARGIN_K = 0.25
"""[K] That the optimum stays below 27 °C: the load moves within its hour, and valve and air follow a minute later."""
HOUR_MIN = 60
OPTIMUM_PACE = (0.02, 0.2, 0.1, 0.05)
"""Fan, inlet [K], chilled water [K] and tower fan may move this far in a minute from one hour's point to the next: 3 K
in 15 min, where 5 K are allowed, and water that the valves can follow."""

PLAN_EVERY_MIN, PLAN_BLOCKS = 5, 6
PLAN_LAG_MIN = 6.0
"""[min] First-order lag of the worst inlet behind its set points and its load."""
BIAS_UP_MIN, BIAS_DOWN_MIN = 10.0, 60.0
"""[min] Over which the model is corrected by what is measured: that it is hotter is believed sooner."""
PLAN_MARGIN_K = 0.3
"""[K] That the plan stays below 27 °C."""
PLAN_REACH = (0.04, 0.75, 1.0, 0.1)
"""Fan, inlet [K], chilled water [K] and tower fan may move this far in a block, evenly: there the model is nearly
linear, and a coil can follow the fan, which takes effect at once."""
STRAINED_VALVE, STRAINED_K = 0.95, 0.7
"""A coil that is open so far, or supplies air so far above its set point, cannot do what the model thinks it can,"""
RELIEF_K, RECOVERY_K = 0.2, 0.02
"""[K/min] so the water is made colder than planned, and later warmer again."""


@dataclass(frozen=True)
class SetPoints:
    """What a fixed operation holds.

    Attributes:
        fan: Speed of the handlers' fans [-]; None: the loop of the air ratio decides.
        supply_c: Supply air [°C].
        chilled_c: Chilled water [°C].
        tower_fan: Speed of the tower's fan [-].
    """

    fan: float | None
    supply_c: float
    chilled_c: float
    tower_fan: float


FIXED = {
    "legacy_fixed": SetPoints(1.0, 16.0, 7.0, 1.0),
    "tuned_fixed": SetPoints(0.85, 20.0, 10.0, 0.8),
    "pid": SetPoints(None, 20.0, 10.0, 0.8),
}


class CoolingController(ABC):
    """A rule for all rows of a hall.

    Attributes:
        name: Of the controller.
        zones: Of the hall.
    """

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name`` for one version; ``seed`` is for those that draw."""
        self.name, self.version, self.seed = name, version, seed
        self.kernel = DATACENTER_COOLING.kernel(version)
        self.zones: int = self.kernel.STATE["fan"].shape[0]
        self._columns: dict[str, slice] = {}
        at = 0
        for column in self.kernel.OBSERVATION:
            self._columns[column.name] = slice(at, at + column.count)
            at += column.count

    @abstractmethod
    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""

    def seen(self, obs: np.ndarray, name: str) -> np.ndarray:
        """Return the columns ``name`` of the observations, ``(n, zones)`` or ``(n, 1)`` float64."""
        return obs[:, self._columns[name]].astype(np.float64)

    def action(self, fan: Any, valve: Any, chilled_c: Any, tower_fan: Any) -> np.ndarray:
        """Return the actions that want speeds and openings 0 … 1 and chilled water in °C; out of range is clipped."""
        n = len(valve)
        least = self.kernel.LEAST_FAN
        parts = [(np.broadcast_to(fan, (n, self.zones)) - least) / (1.0 - least), valve]
        if self.version:
            low, high = CHILLED_RANGE_C
            parts.append((np.broadcast_to(np.reshape(chilled_c, (-1, 1)), (n, 1)) - low) / (high - low))
            parts.append((np.broadcast_to(np.reshape(tower_fan, (-1, 1)), (n, 1)) - least) / (1.0 - least))
        return np.clip(2.0 * np.concatenate(parts, axis=1) - 1.0, -1.0, 1.0)


class RandomVector(CoolingController):
    """Draws an action by a hash of the episode's key and the step."""

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""
        drawn = np.empty((len(obs), width(self.kernel.ACTION)))
        keys, steps = (np.ascontiguousarray(envs.state[name]) for name in ("key", "steps"))
        random_vectors(keys, steps, self.seed, drawn)
        return drawn


class Remembering(CoolingController):
    """A controller with memory, one record a row that begins anew where an episode does.

    A row goes on with its memory if it plays the same episode and one step has passed since; otherwise (another
    episode, a state that was loaded, another number of rows) it begins anew.
    """

    remembers: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Names of what is remembered: ``zone`` for one number a zone, ``hall`` for one a row, ``point`` for a point."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make a controller that remembers nothing yet."""
        super().__init__(name, version, seed)
        self._memory = self._blank(0)

    def _blank(self, n: int) -> np.ndarray:
        shapes = {"zone": (self.zones,), "hall": (), "point": (2 * self.zones + 2,)}
        fields: list[Any] = [("key", "u8"), ("steps", "i8")]
        return np.zeros(n, fields + [(name, "f8", shapes[kind]) for name, kind in self.remembers])

    def recalled(self, envs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the memory of every row ``(n,)``, to be written into, and which rows begin anew ``(n,)`` bool."""
        key, steps = envs.state["key"], envs.state["steps"]
        if len(self._memory) != len(key):
            self._memory = self._blank(len(key))
            self._memory["steps"] = -2
        memory = self._memory
        anew = (steps == 0) | (memory["key"] != key) | (memory["steps"] + 1 != steps)
        memory["key"], memory["steps"] = key, steps
        return memory, np.asarray(anew)


class SupplyLoops(Remembering):
    """Holds supply air with the valves and, where asked to, the air ratio with the fans."""

    remembers: ClassVar[tuple[tuple[str, str], ...]] = (("valve", "zone"), ("error_k", "zone"))

    def valves(self, memory: np.ndarray, anew: np.ndarray, obs: np.ndarray, supply_c: Any) -> np.ndarray:
        """Return the openings ``(n, zones)`` of a proportional-integral loop in velocity form: it cannot wind up."""
        error = self.seen(obs, "supply_c") - supply_c
        memory["valve"][anew] = self.seen(obs, "valve")[anew]
        memory["error_k"][anew] = error[anew]
        moved = VALVE_PER_K * (error - memory["error_k"]) + VALVE_PER_K_MIN * error
        memory["valve"] = np.clip(memory["valve"] + moved, LEAST_VALVE, 1.0)
        memory["error_k"] = error
        return np.array(memory["valve"])

    def fans(self, obs: np.ndarray, air_ratio: Any) -> np.ndarray:
        """Return the speeds ``(n, zones)`` at which the handlers give ``air_ratio`` times what their servers take."""
        wanted = air_ratio / np.maximum(self.seen(obs, "air_ratio"), 0.05)
        return np.asarray(self.seen(obs, "fan") * np.clip(wanted, 1.0 / MOST_FAN_CHANGE, MOST_FAN_CHANGE))


class Fixed(SupplyLoops):
    """Holds fixed set points."""

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""
        held = FIXED[self.name]
        memory, anew = self.recalled(envs)
        fan = self.fans(obs, AIR_RATIO) if held.fan is None else held.fan
        return self.action(fan, self.valves(memory, anew, obs, held.supply_c), held.chilled_c, held.tower_fan)


class TrimAndRespond(SupplyLoops):
    """Resets supply air and chilled water by trim and respond (ASHRAE Guideline 36-2021, 5.1.14).

    Every two minutes a set point is trimmed by 0.1 K towards what is cheap; where more than one request is made it
    responds by 0.3 K for every further one, 1 K at most. Zones ask by their worst inlet for colder air, coils by their
    opening and their air for colder water. Fans follow the air ratio, the tower's fan an approach of 4 K.
    """

    remembers = (*SupplyLoops.remembers, ("supply_set_c", "hall"), ("chilled_set_c", "hall"), ("tower_fan", "hall"),
                 ("approach_error_k", "hall"))  # fmt: skip

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""
        memory, anew = self.recalled(envs)
        memory["supply_set_c"][anew] = FIXED["tuned_fixed"].supply_c
        memory["chilled_set_c"][anew] = FIXED["tuned_fixed"].chilled_c
        due = ~anew & (memory["steps"] % RESPOND_EVERY_MIN == 0)
        inlet, supply = self.seen(obs, "inlet_c"), self.seen(obs, "supply_c")
        air = sum((inlet > asks).sum(axis=1) for asks in INLET_ASKS_C)
        over_k = supply - memory["supply_set_c"][:, None]
        water = (self.seen(obs, "valve") > VALVE_ASKS).sum(axis=1)
        water = water + sum((over_k > asks).sum(axis=1) for asks in SUPPLY_ASKS_K)
        for name, requests, (low, high) in (
            ("supply_set_c", air, SUPPLY_RANGE_C),
            ("chilled_set_c", water, CHILLED_RANGE_C),
        ):
            respond = np.maximum(RESPOND_K * (requests - IGNORED), MOST_RESPOND_K)
            moved = np.where(requests > IGNORED, respond, TRIM_K)
            memory[name] = np.clip(memory[name] + np.where(due, moved, 0.0), low, high)
        valve = self.valves(memory, anew, obs, memory["supply_set_c"][:, None])
        tower = self._tower(memory, anew, obs) if self.version else 0.0
        return self.action(self.fans(obs, AIR_RATIO), valve, memory["chilled_set_c"], tower)

    def _tower(self, memory: np.ndarray, anew: np.ndarray, obs: np.ndarray) -> np.ndarray:
        """Return the speeds ``(n,)`` of the tower's fan."""
        wanted = np.maximum(self.seen(obs, "wet_bulb_c")[:, 0] + TOWER_APPROACH_K, LEAST_CONDENSER_C)
        error = self.seen(obs, "condenser_c")[:, 0] - wanted
        memory["tower_fan"][anew] = FIXED["tuned_fixed"].tower_fan
        memory["approach_error_k"][anew] = error[anew]
        moved = TOWER_PER_K * (error - memory["approach_error_k"]) + TOWER_PER_K_MIN * error
        memory["tower_fan"] = np.clip(memory["tower_fan"] + moved, steady.LEAST_FAN, 1.0)
        memory["approach_error_k"] = error
        return np.array(memory["tower_fan"])


def _records(n: int) -> np.ndarray:
    """Return nominal parameters of v1, ``(n,)``."""
    rows = np.zeros(n, parameter_dtype(kernel_v1.PARAMETERS))
    rows[:] = DATACENTER_COOLING.nominal(1)
    return rows.view(np.recarray) if numba.config.DISABLE_JIT else rows


class OnModel(Remembering):
    """A controller with a model of the steady state (:mod:`rlops.envs.cooling.steady`)."""

    def _open(self, n: int) -> None:
        """Allocate what the model writes."""
        self._zones = np.zeros((n, self.zones, len(steady.OF_ZONE)))
        self._hall = np.zeros((n, len(steady.OF_HALL)))
        self._site = np.zeros((n, len(steady.SITE)))
        whole = bool(self.version)
        self._site[:, steady.PRESSURE], self._site[:, steady.EFFICIENCY] = 101325.0, 1.0
        self._site[:, steady.HALL_SHARE] = kernel_v1.WHOLE_HALL if whole else kernel_v0.HALL_SHARE
        self._site[:, steady.APPROACH] = np.nan if whole else kernel_v0.TOWER_APPROACH_K
        self._first = np.zeros(2 * self.zones + 2)
        self._first[: self.zones], self._first[self.zones : 2 * self.zones] = 0.5, 25.0
        self._first[2 * self.zones :] = 10.0 if whole else kernel_v0.CHILLED_SET_C, 0.7

    def _rescale(self, memory: np.ndarray, rows: np.ndarray, load: np.ndarray) -> None:
        """Let the fans of ``rows`` (n,) bool, wanted at one load, be those wanted at another: the same ratio of air."""
        grown = _fan_speeds(load[rows]) / _fan_speeds(memory["utilisation"][rows])
        for name in ("goal", "point"):
            memory[name][rows, : self.zones] = np.clip(memory[name][rows, : self.zones] * grown, steady.LEAST_FAN, 1.0)

    @property
    def _kinds(self) -> tuple[int, int, int, int]:
        """How many coordinates of a point there are of each kind."""
        return (self.zones, self.zones, 1, 1)


class HourlyOptimum(OnModel):
    """The cheapest steady state of the hour (:func:`rlops.envs.cooling.steady.search`), followed minute by minute.

    At every full hour the point is searched for the mean wet bulb of the hour and the load without its bursts, warm
    from the hour before, and set points move there at a pace that limits allow. Within the hour fans keep the ratio of
    air to that of the servers, and a valve is opened such that its zone's worst rack gets the air that the point says,
    by the inverted equations of aisles and coil. The search is one of patterns: of many that begin elsewhere the best
    finds points that are cheaper by 0.2 % of the cooling on average.

    With ``nominal=True`` it takes the parameters to be nominal, whatever they are: what not knowing them costs.
    """

    remembers = (("goal", "point"), ("point", "point"), ("utilisation", "zone"))

    def __init__(self, name: str, version: int, seed: int = 0, *, nominal: bool = False):
        """Make it for one version; see the class."""
        super().__init__(name, version, seed)
        self.nominal = nominal
        self._params = _records(0)

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""
        s, n = envs.state, len(obs)
        if len(self._params) != n:
            self._params = _records(n)
            self._open(n)
        memory, anew = self.recalled(envs)
        if not self.nominal:
            known = self._params.dtype.names or ()
            for parameter in envs.params.dtype.names:
                if parameter in known:
                    self._params[parameter] = envs.params[parameter]
            if not self.version:
                self._params["return_mixing"] = 0.0
        p = self._params
        due = anew | (memory["steps"] % HOUR_MIN == 0)
        if due.any():
            self._site[:, steady.WET_BULB] = 0.5 * (s["wet_bulb_0_c"] + s["wet_bulb_1_c"])
            self._site[:, steady.PRESSURE] = s["air_pa"]
            self._site[:, steady.EFFICIENCY] = 1.0 + p["chiller_drift"] * s["minute"] / (30.0 * DAY_MIN)
            self._site[:, steady.LIMIT] = RECOMMENDED_C - OPTIMUM_MARGIN_K
            expected = np.clip(s["utilisation"] - s["burst"], 0.02, 1.0)
            self._rescale(memory, due & ~anew, expected)
            memory["utilisation"] = np.where(due[:, None], expected, memory["utilisation"])
            memory["goal"][anew] = memory["point"][anew] = self._present(s)[anew]
            goals, loads = (np.ascontiguousarray(memory[name]) for name in ("goal", "utilisation"))
            steady.search_halls(p, loads, self._site, goals, anew, due, self._zones, self._hall)
            memory["goal"] = goals
        pace = np.repeat(OPTIMUM_PACE, self._kinds)
        memory["point"] += np.clip(memory["goal"] - memory["point"], -pace, pace)
        fan, valve = np.empty((n, self.zones)), np.empty((n, self.zones))
        points, loads = (np.ascontiguousarray(memory[name]) for name in ("point", "utilisation"))
        follow_point(p, s, points, loads, fan, valve)
        return self.action(fan, valve, memory["point"][:, -2], memory["point"][:, -1])

    @property
    def goal(self) -> np.ndarray:
        """The point of every row's present hour, ``(n, 2 zones + 2)``: fans, worst inlets, chilled water, tower fan."""
        return np.array(self._memory["goal"])

    def _present(self, s: np.ndarray) -> np.ndarray:
        """Return the points ``(n, d)`` at which rows are now."""
        present = np.tile(self._first, (len(s), 1))
        present[:, : self.zones], present[:, self.zones : 2 * self.zones] = s["fan"], s["worst_c"]
        if self.version:
            present[:, -2], present[:, -1] = s["chilled_c"], s["tower_fan"]
        return present


class LinearMpc(OnModel, SupplyLoops):
    """Model-predictive control with a linearised model of the nominal hall, corrected by what is measured.

    **Model.** Every five minutes the steady state of the nominal hall is differentiated at the present set points
    (fans, worst inlets, chilled water, tower fan), for the load and the wet bulb that are seen: first and second
    derivatives of the cost, the second made convex. A worst inlet follows its set point with one lag. The bill is
    the quadratic, the limit a steep cost of predicted inlets above 26.7 °C, and load and weather are expected to stay.

    **Plan.** Set points of six blocks of five minutes, each within reach of the block before, are found by coordinate
    descent; the first block is carried out.

    **Correction.** The difference of measured and modelled worst inlets, filtered, is taken off the model's set points,
    so that what the nominal parameters get wrong is no lasting error. Where a coil cannot give the air that the model
    thinks it can, the water is made colder than planned. Fans and valves follow the load from minute to minute.
    """

    remembers = (
        *SupplyLoops.remembers, ("goal", "point"), ("point", "point"), ("modelled_c", "zone"), ("bias_k", "zone"),
        ("measured_c", "zone"), ("utilisation", "zone"), ("load", "zone"), ("opening", "zone"), ("relief_k", "hall"),
    )  # fmt: skip

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make it for v1."""
        super().__init__(name, version, seed)
        self._params = _records(0)
        reach = np.repeat(PLAN_REACH, (self.zones, self.zones, 1, 1))
        self._reach = reach
        self._probes = _probes(len(reach)) * 0.2 * reach

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""
        n = len(obs)
        if len(self._params) != n:
            self._params = _records(n)
            self._open(n)
            self._site[:, steady.LIMIT] = np.inf  # the plan has its own
        memory, anew = self.recalled(envs)
        self._site[:, steady.WET_BULB] = self.seen(obs, "wet_bulb_c")[:, 0]
        load = np.clip(self.seen(obs, "utilisation"), 0.02, 1.0)
        self._correct(memory, anew, obs, load)
        due = anew | (memory["steps"] % PLAN_EVERY_MIN == 0)
        if due.any():
            self._rescale(memory, due & ~anew, load)
            memory["goal"][due] = self._planned(memory[due], load[due], self._site[due])
            memory["utilisation"][due] = load[due]
        pace = self._reach / PLAN_EVERY_MIN
        memory["point"] += np.clip(memory["goal"] - memory["point"], -pace, pace)
        point = self._modelled(memory["point"], memory["bias_k"])
        point[:, : self.zones] *= _fan_speeds(load) / _fan_speeds(memory["utilisation"])
        point[:, : self.zones] = np.clip(point[:, : self.zones], steady.LEAST_FAN, 1.0)
        steady.settle_halls(self._params, load, self._site, point, self._zones, self._hall)
        supply_c = self._zones[:, :, steady.COLD]
        self._feed_forward(memory, anew)
        valve = self.valves(memory, anew, obs, supply_c)
        strained = (self.seen(obs, "valve") > STRAINED_VALVE) & (self.seen(obs, "supply_c") > supply_c + STRAINED_K)
        memory["relief_k"] = np.clip(
            memory["relief_k"] + np.where(strained.any(axis=1), RELIEF_K, -RECOVERY_K), 0.0, 11.0
        )
        chilled_c = memory["point"][:, -2] - memory["relief_k"]
        fan = self.fans(obs, self._zones[:, :, steady.RATIO]) * _fan_speeds(load) / _fan_speeds(memory["load"])
        memory["load"] = load
        return self.action(fan, valve, chilled_c, memory["point"][:, -1])

    def _feed_forward(self, memory: np.ndarray, anew: np.ndarray) -> None:
        """Move the valves by what the model says that set points and load ask of them since the minute before."""
        opening = self._zones[:, :, steady.VALVE]
        memory["opening"][anew] = opening[anew]
        memory["valve"] = np.clip(memory["valve"] + opening - memory["opening"], LEAST_VALVE, 1.0)
        memory["opening"] = opening

    def _correct(self, memory: np.ndarray, anew: np.ndarray, obs: np.ndarray, load: np.ndarray) -> None:
        """Filter what is measured and by how much the model differs from it."""
        measured = self.seen(obs, "inlet_c")
        modelled = np.empty_like(measured)
        supply_c, fan = (np.ascontiguousarray(self.seen(obs, name)) for name in ("supply_c", "fan"))
        worst_of_supplies(self._params, load, fan, supply_c, modelled)
        begins = np.tile(self._first, (len(obs), 1))
        begins[:, : self.zones], begins[:, self.zones : 2 * self.zones] = fan, np.clip(measured, 20.0, None)
        begins[:, -2] = np.clip(self.seen(obs, "chilled_c")[:, 0], *CHILLED_RANGE_C)
        memory["goal"][anew] = memory["point"][anew] = begins[anew]
        memory["modelled_c"][anew], memory["measured_c"][anew] = modelled[anew], measured[anew]
        memory["bias_k"][anew] = memory["relief_k"][anew] = 0.0
        memory["load"][anew] = load[anew]
        lag = -np.expm1(-1.0 / PLAN_LAG_MIN)
        memory["modelled_c"] += lag * (modelled - memory["modelled_c"])
        memory["measured_c"] += 0.5 * (measured - memory["measured_c"])
        miss = memory["measured_c"] - memory["modelled_c"] - memory["bias_k"]
        memory["bias_k"] = np.clip(memory["bias_k"] + miss / np.where(miss > 0, BIAS_UP_MIN, BIAS_DOWN_MIN), -3.0, 5.0)

    def _modelled(self, point: np.ndarray, bias_k: np.ndarray) -> np.ndarray:
        """Return points ``(…, d)`` whose worst inlets are those of the model instead of the hall's."""
        modelled = np.array(point)
        modelled[..., self.zones : 2 * self.zones] -= bias_k
        return modelled

    def _planned(self, memory: np.ndarray, load: np.ndarray, site: np.ndarray) -> np.ndarray:
        """Return the set points of the first block of new plans, ``(m, d)``."""
        m, d, probes = len(memory), len(self._reach), len(self._probes)
        near = self._modelled(memory["goal"], memory["bias_k"])[:, None] + self._probes
        rows = m * probes
        zones, hall = np.zeros((rows, *self._zones.shape[1:])), np.zeros((rows, self._hall.shape[1]))
        repeated = [np.repeat(array, probes, axis=0) for array in (load, site)]
        steady.settle_halls(_records(rows), *repeated, near.reshape(rows, d), zones, hall)
        slope, curvature = _derivatives(hall[:, steady.USD].reshape(m, probes), 0.2 * self._reach)
        low = np.repeat([steady.LEAST_FAN, 20.0, *CHILLED_RANGE_C[:1], steady.LEAST_FAN], self._kinds)
        high = np.repeat([1.0, RECOMMENDED_C - PLAN_MARGIN_K, CHILLED_RANGE_C[1], 1.0], self._kinds)
        planned = np.array(memory["goal"])
        keeps = float(np.exp(-PLAN_EVERY_MIN / PLAN_LAG_MIN))
        measured = np.ascontiguousarray(memory["measured_c"])
        planned_moves(slope, curvature, low, high, self._reach, measured, high[self.zones], keeps, PLAN_BLOCKS, planned)
        return planned


def _fan_speeds(utilisation: np.ndarray) -> np.ndarray:
    """Return the speeds of the servers' fans below their knee [-], as ``hall.server_fan_speed`` does."""
    return 0.32 + 0.25 * utilisation


def _probes(d: int) -> np.ndarray:
    """Return where a function of ``d`` numbers is evaluated to differentiate it twice, in steps of one."""
    one = np.eye(d)
    pairs = [one[i] + one[j] for i in range(d) for j in range(i)]
    return np.array([np.zeros(d), *one, *-one, *pairs])


def _derivatives(values: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope ``(m, d)`` and convex curvature ``(m, d, d)`` from ``values`` (m, probes) of :func:`_probes`."""
    d = len(step)
    middle, up, down = values[:, :1], values[:, 1 : d + 1], values[:, d + 1 : 2 * d + 1]
    slope = (up - down) / (2.0 * step)
    curvature = np.zeros((len(values), d, d))
    at = 2 * d + 1
    for i in range(d):
        curvature[:, i, i] = up[:, i] - 2.0 * middle[:, 0] + down[:, i]
        for j in range(i):
            mixed = values[:, at] - up[:, i] - up[:, j] + middle[:, 0]
            curvature[:, i, j] = curvature[:, j, i] = mixed
            at += 1
    size, axes = np.linalg.eigh(curvature)
    curvature = np.einsum("mik,mk,mjk->mij", axes, np.maximum(size, 1e-4), axes)
    return slope, curvature / (step[:, None] * step)


COOLING: dict[str, Callable[[str, int, int], Agent]] = {
    "random": RandomVector,
    "legacy_fixed": Fixed,
    "tuned_fixed": Fixed,
    "pid": Fixed,
    "trim_and_respond": TrimAndRespond,
    "linear_mpc": LinearMpc,
    "hourly_optimum": HourlyOptimum,
}
"""How each controller is made from its name, the version of data-centre cooling and a seed, the simplest first."""
