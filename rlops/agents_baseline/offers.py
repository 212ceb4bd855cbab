"""What a controller chooses from: idle vehicles and open bookings, the same for all versions of Dispatch.

The tables are written by compiled loops over rows, from what the dispatcher knows: expected speeds, never the
true ones. Axes: ``n`` rows, ``k`` slots, ``v`` vehicles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from rlops.envs.compiling import compiled
from rlops.envs.dispatch import kernel_v0, kernel_v1, kernel_v2
from rlops.envs.dispatch.city import expected_arrival_min, road_km
from rlops.envs.dispatch.plan import IDLE as WITHOUT_TASK
from rlops.envs.dispatch.plan import V_MAX, K
from rlops.envs.draws import integer, stream_key

CONTROLLER = 1 << 20
"""Stream of the random controller's draws, far from those of the kernels."""
REGRET_CHOICES = 3
"""[-] Vehicles that a regret compares: regret-3."""
NO_CHOICE_USD = 1000.0
"""[$] Stands for the cost of a vehicle that cannot take a booking: bookings with few choices come first."""


@dataclass(frozen=True)
class Offers:
    """Pairs of an open booking and an idle vehicle."""

    legal: np.ndarray
    """``(n, k, v)`` int8: 1 if the mask allows the pair and the vehicle has nothing else to do."""
    km: np.ndarray
    """``(n, k, v)``: from the vehicle to the pickup [km]."""
    drive_min: np.ndarray
    """``(n, k, v)``: expected drive to the pickup [min]."""
    late_min: np.ndarray
    """``(n, k, v)``: expected lateness of the pickup [min]."""
    asked: np.ndarray
    """``(n, k)``: rank in the order of asking; all 0 where the state does not tell."""
    opens_min: np.ndarray
    """``(n, k)``: until the window opens, below 0 if it has [min]."""
    due_min: np.ndarray
    """``(n, k)``: until the window ends [min]."""
    direct_min: np.ndarray
    """``(n, k)``: expected ride [min]."""
    wheelchair: np.ndarray
    """``(n, k)``: places for wheelchairs."""

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return the arrays in the order of the fields."""
        return tuple(vars(self).values())


@dataclass(frozen=True)
class Layout:
    """Where a version keeps its pairs: their number, and the actions that take them."""

    slots: int
    vehicles: int
    write: Callable[..., None]
    wait: int
    """The action that assigns nothing."""
    by_vehicle: bool = False
    """Whether the action that takes (k, v) is 1 + v · slots + k; else it is k · vehicles + v."""

    def offers(self, envs: Any, masks: np.ndarray) -> Offers:
        """Return the pairs that the rows of a vector environment offer now."""
        pairs, slots = (len(masks), self.slots, self.vehicles), (len(masks), self.slots)
        offers = Offers(
            np.zeros(pairs, np.int8), np.zeros(pairs), np.zeros(pairs), np.zeros(pairs),
            np.zeros(slots), np.zeros(slots), np.zeros(slots), np.zeros(slots), np.zeros(slots),
        )  # fmt: skip
        self.write(envs.params, envs.state, np.ascontiguousarray(masks), *offers.arrays())
        return offers

    def actions(self, pairs: np.ndarray) -> np.ndarray:
        """Return the actions ``(n,)`` that take ``pairs`` (n,) of k · vehicles + v; -1 assigns nothing."""
        taken = 1 + pairs % self.vehicles * self.slots + pairs // self.vehicles if self.by_vehicle else pairs
        return np.where(pairs < 0, self.wait, taken)


@compiled
def _offer_v0(
    params: Any, state: Any, masks: Any, legal: Any, km: Any, drive_min: Any, late_min: Any,
    asked: Any, opens_min: Any, due_min: Any, direct_min: Any, wheelchair: Any,
) -> None:  # fmt: skip
    """Offer the drivers with room; the historical state does not tell who asked first."""
    slots = kernel_v0.SLOTS
    for i in range(state.shape[0]):
        p, s = params[i], state[i]
        min_per_km = 60.0 / p.speed_kmh * (1.0 + p.traffic_slowdown * kernel_v0.traffic(s.now_min))
        for k in range(slots):
            if not s.open[k]:
                continue
            opens_min[i, k] = 0.0
            due_min[i, k] = s.deadline_min[k] - s.now_min
            north = s.dropoff_north_deg[k] - s.pickup_north_deg[k]
            east = s.dropoff_east_deg[k] - s.pickup_east_deg[k]
            direct_min[i, k] = np.hypot(north, east) * kernel_v0.KM_PER_DEG * min_per_km
            for v in range(kernel_v0.DRIVERS):
                if masks[i, 1 + v * slots + k]:
                    legal[i, k, v] = 1
                    km[i, k, v] = kernel_v0.distance_km(s, v, k)
                    drive_min[i, k, v] = km[i, k, v] * min_per_km
                    late_min[i, k, v] = max(0.0, drive_min[i, k, v] - due_min[i, k])


@njit(error_model="numpy")
def _offer_booking(
    p: Any,
    s: Any,
    b: int,
    i: int,
    k: int,
    asked: Any,
    opens_min: Any,
    due_min: Any,
    direct_min: Any,
    wheelchair: Any,
) -> None:
    """Write what is known of booking ``b`` in slot ``k``; bookings are numbered as they become known."""
    asked[i, k] = b
    opens_min[i, k] = s.bookings[b].earliest_min - s.now_min
    due_min[i, k] = s.bookings[b].latest_min - s.now_min
    direct_min[i, k] = s.bookings[b].direct_min
    wheelchair[i, k] = s.bookings[b].wheelchair


@njit(error_model="numpy")
def _offer_pair(
    p: Any, s: Any, b: int, i: int, k: int, v: int, legal: Any, km: Any, drive_min: Any, late_min: Any
) -> None:
    """Write what there is to know of vehicle ``v`` going to booking ``b`` in slot ``k``."""
    legal[i, k, v] = 1
    km[i, k, v] = road_km(p, s.x_km[v], s.y_km[v], s.bookings[b].pickup_x_km, s.bookings[b].pickup_y_km)
    arrive_min = expected_arrival_min(s, s.now_min, km[i, k, v])
    drive_min[i, k, v] = arrive_min - s.now_min
    late_min[i, k, v] = max(0.0, arrive_min - s.bookings[b].latest_min)


@compiled
def _offer_v1(
    params: Any, state: Any, masks: Any, legal: Any, km: Any, drive_min: Any, late_min: Any,
    asked: Any, opens_min: Any, due_min: Any, direct_min: Any, wheelchair: Any,
) -> None:  # fmt: skip
    """Offer the idle vehicles; the mask of v1 knows no others."""
    for i in range(state.shape[0]):
        p, s = params[i], state[i]
        for k in range(min(s.n_open, kernel_v1.SLOTS)):
            b = s.open_booking[k]
            _offer_booking(p, s, b, i, k, asked, opens_min, due_min, direct_min, wheelchair)
            for v in range(kernel_v1.VEHICLES):
                if masks[i, kernel_v1.VEHICLES * k + v]:
                    _offer_pair(p, s, b, i, k, v, legal, km, drive_min, late_min)


@compiled
def _offer_v2(
    params: Any, state: Any, masks: Any, legal: Any, km: Any, drive_min: Any, late_min: Any,
    asked: Any, opens_min: Any, due_min: Any, direct_min: Any, wheelchair: Any,
) -> None:  # fmt: skip
    """Offer the vehicles that stand without a plan: no pooling, one booking at a time."""
    for i in range(state.shape[0]):
        p, s = params[i], state[i]
        for k in range(K):
            b = s.slot[k]
            if b < 0:
                continue
            _offer_booking(p, s, b, i, k, asked, opens_min, due_min, direct_min, wheelchair)
            for v in range(p.n_vehicles):
                if s.stops[v] == 0 and s.mode[v] == WITHOUT_TASK and masks[i, V_MAX * k + v]:
                    _offer_pair(p, s, b, i, k, v, legal, km, drive_min, late_min)


LAYOUTS = {
    0: Layout(kernel_v0.SLOTS, kernel_v0.DRIVERS, _offer_v0, 0, by_vehicle=True),
    1: Layout(kernel_v1.SLOTS, kernel_v1.VEHICLES, _offer_v1, kernel_v1.ADVANCE),
    2: Layout(K, V_MAX, _offer_v2, kernel_v2.ADVANCE),
}
"""By version of Dispatch."""


# --- rules that choose one pair -------------------------------------------------------------------------


@compiled
def best_pairs(legal: Any, by_slot: Any, by_pair: Any, out: Any) -> None:
    """Write the legal pair k · v_max + v with the least (``by_slot``, ``by_pair``) to ``out`` (n,).

    Ties go to the first slot, then to the first vehicle; -1: there is none.
    """
    for i in range(legal.shape[0]):
        out[i] = -1
        slot_value, pair_value = np.inf, np.inf
        for k in range(legal.shape[1]):
            if by_slot[i, k] > slot_value:
                continue
            for v in range(legal.shape[2]):
                better = by_slot[i, k] < slot_value or by_pair[i, k, v] < pair_value
                if legal[i, k, v] and better:
                    slot_value, pair_value = by_slot[i, k], by_pair[i, k, v]
                    out[i] = k * legal.shape[2] + v


@compiled
def random_actions(keys: Any, steps: Any, seed: int, masks: Any, out: Any) -> None:
    """Write a legal action drawn uniformly: a hash of the episode's key, the step and ``seed``."""
    for i in range(masks.shape[0]):
        n_legal = 0
        for action in range(masks.shape[1]):
            n_legal += masks[i, action]
        left = integer(stream_key(keys[i], steps[i], CONTROLLER), seed, n_legal)
        for action in range(masks.shape[1]):
            if masks[i, action]:
                if left == 0:
                    out[i] = action
                    break
                left -= 1


@compiled
def cheapest_insertions(state: Any, within_min: float, out: Any) -> None:
    """Write the pair of v2 whose insertion costs least, -1 if no booking fits anywhere.

    Bookings whose window does not open within ``within_min`` are left for later.
    """
    for i in range(state.shape[0]):
        s = state[i]
        out[i], best_usd = -1, np.inf
        for k in range(K):
            if s.slot[k] >= 0 and s.bookings[s.slot[k]].earliest_min - s.now_min <= within_min:
                row = s.row_of[s.slot[k]]
                for v in range(V_MAX):
                    if s.pair_ok[row, v] and s.pair_usd[row, v] < best_usd:
                        best_usd = s.pair_usd[row, v]
                        out[i] = k * V_MAX + v


@compiled
def regret_insertions(state: Any, out: Any) -> None:
    """Write the pair of v2 that would be regretted most if it were put off, -1 if no booking fits anywhere.

    The regret of a booking sums what its second and third best vehicles cost more than the best (regret-k,
    Potvin & Rousseau 1993; Ropke & Pisinger 2006). Ties go to the cheaper insertion, then to the first slot.
    """
    costs_usd = np.empty(REGRET_CHOICES)
    for i in range(state.shape[0]):
        s = state[i]
        out[i], most_usd, at_usd = -1, -np.inf, np.inf
        for k in range(K):
            if s.slot[k] < 0:
                continue
            row, best_v = s.row_of[s.slot[k]], -1
            costs_usd[:] = NO_CHOICE_USD
            for v in range(V_MAX):
                if not s.pair_ok[row, v]:
                    continue
                usd = s.pair_usd[row, v]
                if usd < costs_usd[0]:
                    best_v = v
                for h in range(REGRET_CHOICES):  # put it in its place among the cheapest
                    if usd < costs_usd[h]:
                        usd, costs_usd[h] = costs_usd[h], usd
            if best_v < 0:
                continue
            regret_usd = costs_usd.sum() - REGRET_CHOICES * costs_usd[0]
            if regret_usd > most_usd or (regret_usd == most_usd and costs_usd[0] < at_usd):
                most_usd, at_usd = regret_usd, costs_usd[0]
                out[i] = k * V_MAX + best_v
