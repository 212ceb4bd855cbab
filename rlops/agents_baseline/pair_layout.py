"""Where in the observations and actions of the dispatch environments vehicles, bookings and their pairs are."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from rlops.envs import parse_id
from rlops.errors import InvalidValue


@dataclass(frozen=True)
class Layout:
    """Which observed column and which action belongs to which vehicle, slot and pair.

    Attributes:
        whole: Columns of the whole, ``(g,)``.
        vehicles: Columns of each vehicle, ``(v, f)``.
        slots: Columns of each slot, ``(k, s)``.
        pairs: Columns of each pair, ``(k, v, c)``; ``c`` may be 0.
        actions: Action of each pair, ``(k, v)``.
        moves: Actions that send a vehicle somewhere, ``(v, m)``; ``m`` is 0 where there are none.
        wait: The action that waits.
        idle: Indices among the columns of a vehicle that is not idle where the first is 0 or the second is not: only an
            idle one may be sent somewhere.
        vehicle_there: Index among the columns of a vehicle that is 0 where it takes nothing, or -1.
        slot_filled: Index among the columns of a slot that is 0 where it is empty.
        sums_filled: Whether a summary adds up filled slots only: of many slots, most are empty.
        places: Indices of two coordinates of a vehicle and of the two of a slot's place that they are compared with;
            of the latter two alone where they are seen from the vehicle; empty where the pairs say how far it is.
    """

    whole: np.ndarray
    vehicles: np.ndarray
    slots: np.ndarray
    pairs: np.ndarray
    actions: np.ndarray
    moves: np.ndarray
    wait: int
    idle: tuple[int, int]
    vehicle_there: int
    slot_filled: int
    sums_filled: bool
    places: tuple[int, ...]


def layout(id: str) -> Layout:
    """Return the layout of a dispatch environment's observation and actions.

    Raises:
        InvalidValue: If its actions are neither pairs of slots and vehicles, one that waits, and moves of vehicles, nor
            the next stops of one vehicle and its way home.
    """
    family, number = parse_id(id)
    kernel = family.kernel(number)
    found: dict[str, list[int]] = {}
    at = 0
    for column in kernel.OBSERVATION:
        name = re.sub(r"_\d+_", "_", column.name)
        found.setdefault(name, []).extend(range(at, at + column.count))
        at += column.count
    if hasattr(kernel, "CLOSE"):
        return _layout_of_stops(found)
    vehicles = _block(found, ("vehicle_", "driver_"))
    slots = _block(found, ("slot_", "pickup_", "dropoff_", "priority", "minutes_left"))
    pairs = _block(found, ("pair_",))
    whole = [places[0] for places in found.values() if len(places) == 1]
    k, v = len(next(iter(slots.values()), ())), len(next(iter(vehicles.values()), ()))
    moves = getattr(kernel, "MOVES", 0)
    if not k or not v or k * v + 1 + v * moves != kernel.ACTION:
        raise InvalidValue(
            f"A pair policy needs one action for every slot and vehicle, one that waits, and moves of vehicles at "
            f"most, got {kernel.ACTION} actions of {id}. Use MlpPolicy for it."
        )
    waits_first = not hasattr(kernel, "ADVANCE")
    table = np.arange(k * v)
    return Layout(
        whole=np.array(whole),
        vehicles=np.array(list(vehicles.values())).T,
        slots=np.array(list(slots.values())).T,
        pairs=np.array(list(pairs.values()), int).reshape(-1, k, v).transpose(1, 2, 0),
        actions=1 + table.reshape(v, k).T if waits_first else table.reshape(k, v),
        moves=k * v + 1 + np.arange(v * moves).reshape(v, moves),
        wait=0 if waits_first else k * v,
        idle=(_index(vehicles, "vehicle_idle"), _index(vehicles, "vehicle_stops")),
        vehicle_there=_index(vehicles, "driver_available"),
        sums_filled=False,
        slot_filled=max(_index(slots, "slot_filled"), _index(slots, "priority")),
        places=() if pairs else (*_indices(vehicles, "driver_"), *_indices(slots, "pickup_")),
    )


_OPEN_VEHICLE = ("x", "y", "time", "load", "stops")
_AT_STOPS = ("x", "y", "earliest", "latest")


def _layout_of_stops(found: dict[str, list[int]]) -> Layout:
    """Return the layout where every request has two stops, its pickup and its delivery, and one vehicle is under way.

    A stop is a slot: first what is known of itself, then of the other stop of its request, then of both.
    """
    pickup, delivery = ([found[f"{stop}_{name}"] for name in _AT_STOPS] for stop in ("pickup", "delivery"))
    shared = [found[name] for name in ("places", "ride_left", "feasible")]
    waits, rides = found["open"], found["aboard"]
    slots = np.hstack([[waits, rides, *pickup, *delivery, *shared], [rides, waits, *delivery, *pickup, *shared]]).T
    whole = [places[0] for name, places in found.items() if len(places) == 1 and name not in _OPEN_VEHICLE]
    return Layout(
        whole=np.array(whole),
        vehicles=np.array([[found[name][0] for name in _OPEN_VEHICLE]]),
        slots=slots,
        pairs=np.empty((len(slots), 1, 0), int),
        actions=1 + np.arange(len(slots))[:, None],
        moves=np.empty((1, 0), int),
        wait=0,
        idle=(-1, -1),
        vehicle_there=-1,
        slot_filled=0,
        sums_filled=True,
        places=(2, 3),
    )


def _block(found: dict[str, list[int]], prefixes: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the columns whose name begins with one of ``prefixes``."""
    return {name: places for name, places in found.items() if name.startswith(prefixes) and len(places) > 1}


def _index(block: dict[str, list[int]], name: str) -> int:
    return list(block).index(name) if name in block else -1


def _indices(block: dict[str, list[int]], prefix: str) -> tuple[int, int]:
    """Return the indices of the two coordinates of a block."""
    return _index(block, f"{prefix}north"), _index(block, f"{prefix}east")
