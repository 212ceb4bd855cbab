"""What a picture of Dispatch shows: the state of any of its versions in one form, and no drawing.

Kilometres count east and north from the centre, minutes from the start of the version's day. A scene may show
what a dispatcher does not know, such as where on its leg a vehicle truly is; it is for people, not policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from rlops.envs.dispatch import city
from rlops.envs.figures import Figure, time_of_day
from rlops.errors import InvalidValue

WAITING, TO_PICKUP, WITH_RIDERS, AT_STOP, ON_BREAK, BROKEN_DOWN, OFF_SHIFT = range(7)
"""What a vehicle does, in the words of every version."""
MODE_NAMES = ("waiting", "to pickup", "with riders", "at a stop", "on break", "broken down", "off shift")

PICKUP, DROPOFF, DEPOT, PLACE = range(4)
"""Kind of a stop; PLACE is where a vehicle is sent though nobody waits."""

EARLY, DUE, LATE, MISSED, SERVED = range(5)
"""A booking: its window is to come, is open, is over; it was given up, it was served a moment ago."""
DAY_MARKS = ((EARLY, "rider early"), (DUE, "rider waiting"), (LATE, "late, or will be"), (MISSED, "missed"))

RECENT_MIN = 10.0
"""[min] How long a booking that was missed or served stays in the picture."""
_EPS_MIN = 1e-6


@dataclass(frozen=True)
class Stop:
    """A stop of a plan. ``begin_min``: when its service should begin; ``late``: that is after its window."""

    kind: int
    x_km: float
    y_km: float
    begin_min: float
    late: bool = False


@dataclass(frozen=True)
class Vehicle:
    """A vehicle where it is now. ``busy_until_min`` is the believed end of a break or a repair."""

    x_km: float
    y_km: float
    mode: int
    ambulatory: int
    wheelchair: int
    plan: tuple[Stop, ...] = ()
    busy_until_min: float = 0.0
    doing: str = ""  # in place of the name of the mode


@dataclass(frozen=True)
class Booking:
    """A booking that belongs to no plan, or was closed a moment ago."""

    condition: int
    x_km: float
    y_km: float
    to_x_km: float
    to_y_km: float


@dataclass(frozen=True)
class Scene:
    """One moment of a day."""

    title: str
    clock: str
    half_width_km: float
    day_start_min: float  # after midnight
    now_min: float
    day_min: float
    quarter_min: float
    expected_kmh: tuple[float, ...]  # by quarter
    true_kmh: tuple[float, ...]  # by quarter; only what is over is shown
    vehicles: tuple[Vehicle, ...]
    places: tuple[int, int]  # ambulatory, wheelchair
    bookings: tuple[Booking, ...]
    figures: tuple[Figure, ...]
    hot_spots: tuple[tuple[float, float], ...] = ()
    hot_spot_km: float = 0.0
    marks: tuple[tuple[int, str], ...] = DAY_MARKS  # of bookings, with their names
    unit: str = "km"

    def time_of_day(self, t_min: float) -> str:
        """Return a time of this day as hours and minutes."""
        return time_of_day(self.day_start_min + t_min)


def scene(kernel: ModuleType, p: Any, s: Any, d: Any) -> Scene:
    """Return what a picture of one row shows.

    Args:
        kernel: The kernel module of the version.
        p: Parameter record of the row.
        s: State record of the row.
        d: Shared records of the kernel; bookings of a table have no hot spots.

    Raises:
        InvalidValue: If the kernel is none of a day of dispatch.
    """
    fields = s.dtype.names
    if "driver_north_deg" in fields:
        return _historical(kernel, p, s)
    if "stop_x_km" in fields:
        return _day(kernel, p, s, d, vehicles_of_v2(kernel, p, s), _figures_of_v2(p, s))
    if "routes" in fields:
        return _routing(kernel, s)
    if hasattr(kernel, "HOLDING"):
        return _day(kernel, p, s, d, vehicles_of_v1(kernel, p, s), _figures_of_v1(s))
    raise InvalidValue(f"A picture needs the state of a version of Dispatch, got that of {kernel.__name__}.")


def vehicles(kernel: ModuleType, p: Any, s: Any) -> tuple[Vehicle, ...]:
    """Return the vehicles of a v1 or v2 state."""
    return vehicles_of_v2(kernel, p, s) if "stop_x_km" in s.dtype.names else vehicles_of_v1(kernel, p, s)


def _title(kernel: ModuleType) -> str:
    return f"Dispatch {kernel.__name__.rpartition('kernel_')[2].replace('_', ' ')}"


# --- v1 and v2 ------------------------------------------------------------------------------------------


def _day(kernel: ModuleType, p: Any, s: Any, d: Any, fleet: tuple[Vehicle, ...], figures: tuple[Figure, ...]) -> Scene:
    half_width_km = float(p["area_half_width_km"])
    spots = city.HOT_SPOTS[: int(p["hotspots"])] * half_width_km
    has_spots = len(d) == 0 and p["hotspot_share"] > 0
    shown = slice(0, int(city.HORIZON_MIN // city.QUARTER_MIN))
    return Scene(
        title=_title(kernel),
        clock=time_of_day(60.0 * city.DAY_START_HOUR + float(s["now_min"])),
        half_width_km=half_width_km,
        day_start_min=60.0 * city.DAY_START_HOUR,
        now_min=float(s["now_min"]),
        day_min=city.HORIZON_MIN,
        quarter_min=city.QUARTER_MIN,
        expected_kmh=tuple((60.0 * s["expected_speed_km_per_min"][shown]).tolist()),
        true_kmh=tuple((60.0 * s["speed_km_per_min"][shown]).tolist()),
        vehicles=fleet,
        places=(int(p["cap_amb"]), int(p["cap_wc"])),
        bookings=_bookings(s),
        figures=figures,
        hot_spots=tuple(map(tuple, spots.tolist())) if has_spots else (),
        hot_spot_km=2.0 * city.HOT_SPOT_SD_KM,
        marks=(*DAY_MARKS, (SERVED, "served")),
    )


def _bookings(s: Any) -> tuple[Booking, ...]:
    """Return the open bookings, and those that were missed or served a moment ago."""
    now_min = float(s["now_min"])
    known = s["bookings"][: int(s["next_booking"])]
    status = known["status"]
    is_open = status == city.OPEN
    is_missed = (status == city.MISSED) & (now_min - known["expires_min"] < RECENT_MIN)
    is_served = (status == city.DONE) & (now_min - known["dropped_min"] < RECENT_MIN)
    condition = np.select(
        [is_missed, is_served, now_min > known["latest_min"], now_min >= known["earliest_min"]],
        [MISSED, SERVED, LATE, DUE],
        EARLY,
    )
    rows = np.flatnonzero(is_open | is_missed | is_served)
    columns = [condition] + [known[f"{end}_{axis}_km"] for end in ("pickup", "dropoff") for axis in "xy"]
    return tuple(Booking(*row) for row in zip(*(c[rows].tolist() for c in columns), strict=True))


def vehicles_of_v2(kernel: ModuleType, p: Any, s: Any) -> tuple[Vehicle, ...]:
    """Return the vehicles of a v2 state."""
    return tuple(_pooling_vehicle(s, v) for v in range(int(p["n_vehicles"])))


def _pooling_vehicle(s: Any, v: int) -> Vehicle:
    from rlops.envs.dispatch import plan

    now_min, mode = float(s["now_min"]), int(s["mode"][v])
    x_km, y_km = float(s["x_km"][v]), float(s["y_km"][v])
    riders = int(s["onboard_amb"][v] + s["onboard_wc"][v])
    if mode == plan.DRIVING:
        lasts_min = float(s["until_min"][v] - s["since_min"][v])
        share = (now_min - float(s["since_min"][v])) / lasts_min if lasts_min > 0 else 1.0
        if s["leg_km"][v, 0] > 0:  # shorter than the leg if it ends in a breakdown
            share *= float(s["leg_done_km"][v] / s["leg_km"][v, 0])
        x_km, y_km = _between(x_km, y_km, float(s["stop_x_km"][v, 0]), float(s["stop_y_km"][v, 0]), share)
        shown = WITH_RIDERS if riders else TO_PICKUP
    else:
        shown = {
            plan.IDLE: WAITING,
            plan.SERVING: AT_STOP,
            plan.BREAK: ON_BREAK,
            plan.DOWN: BROKEN_DOWN,
        }.get(mode, OFF_SHIFT)
    n = int(s["stops"][v])
    stops = tuple(
        Stop(_kind(stop), x, y, begin, late > _EPS_MIN)
        for stop, x, y, begin, late in zip(
            *(s[name][v, :n].tolist() for name in ("plan", "stop_x_km", "stop_y_km", "begin_min", "late_min")),
            strict=True,
        )
    )
    moving = mode == plan.DRIVING and stops[0].kind == PLACE
    return Vehicle(
        x_km,
        y_km,
        shown,
        int(s["onboard_amb"][v]),
        int(s["onboard_wc"][v]),
        stops,
        float(s["believed_min"][v]),
        "moving" if moving else "",
    )


def _kind(stop: int) -> int:
    """Return the kind of a stop of a plan: pickups are even, stops behind those of the bookings are places."""
    if stop >= 2 * city.MAX_BOOKINGS:
        return PLACE
    return DROPOFF if stop & 1 else PICKUP


def vehicles_of_v1(kernel: ModuleType, p: Any, s: Any) -> tuple[Vehicle, ...]:
    """Return the vehicles of a v1 state."""
    return tuple(_single_load_vehicle(kernel, p, s, v) for v in range(min(kernel.VEHICLES, int(p["n_vehicles"]))))


def _single_load_vehicle(kernel: Any, p: Any, s: Any, v: int) -> Vehicle:
    now_min, mode, b = float(s["now_min"]), int(s["mode"][v]), int(s["booking"][v])
    booking = s["bookings"][b]
    x_km, y_km = float(s["x_km"][v]), float(s["y_km"][v])
    with_rider = mode in (kernel.RIDING, kernel.ALIGHTING)
    stops: list[Stop] = []
    if mode in (kernel.HOLDING, kernel.TO_PICKUP, kernel.AT_PICKUP):
        begin_min = float(booking["earliest_min"])
        if mode == kernel.TO_PICKUP:
            begin_min = max(begin_min, float(s["expected_min"][v]), now_min)
        elif mode == kernel.AT_PICKUP:
            begin_min = float(s["start_min"][v])
        late = begin_min > booking["latest_min"] + _EPS_MIN
        x_to_km, y_to_km = float(booking["pickup_x_km"]), float(booking["pickup_y_km"])
        stops.append(Stop(PICKUP, x_to_km, y_to_km, begin_min, bool(late)))
    if mode == kernel.VOID:
        stops.append(Stop(PICKUP, float(s["to_x_km"][v]), float(s["to_y_km"][v]), float(s["expected_min"][v])))
    elif b >= 0:
        alight_min = float(p["alight_wc_min" if booking["wheelchair"] > 0 else "alight_amb_min"])
        begin_min = float(s["free_min"][v]) - alight_min
        stops.append(Stop(DROPOFF, float(booking["dropoff_x_km"]), float(booking["dropoff_y_km"]), begin_min))
    if mode in (kernel.TO_PICKUP, kernel.RIDING, kernel.VOID):
        lasts_min = float(s["arrive_min"][v] - s["depart_min"][v])
        share = (now_min - float(s["depart_min"][v])) / lasts_min if lasts_min > 0 else 1.0
        x_km, y_km = _between(x_km, y_km, float(s["to_x_km"][v]), float(s["to_y_km"][v]), share)
    shown = {
        kernel.OFF: OFF_SHIFT,
        kernel.TO_PICKUP: TO_PICKUP,
        kernel.VOID: TO_PICKUP,
        kernel.AT_PICKUP: AT_STOP,
        kernel.RIDING: WITH_RIDERS,
        kernel.ALIGHTING: AT_STOP,
    }.get(mode, WAITING)
    ambulatory, wheelchair = (int(booking["ambulatory"]), int(booking["wheelchair"])) if with_rider else (0, 0)
    return Vehicle(x_km, y_km, shown, ambulatory, wheelchair, tuple(stops), float(s["free_min"][v]))


def _between(x0: float, y0: float, x1: float, y1: float, share: float) -> tuple[float, float]:
    share = min(max(share, 0.0), 1.0)
    return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def boarding_begin_min(s: Any) -> np.ndarray:
    """Return when the boarding of each known booking began [min]; nan if nobody has got in yet."""
    known = s["bookings"][: int(s["next_booking"])]
    return np.asarray(known["picked_min"] - known["board_min"])


def lateness_min(s: Any) -> np.ndarray:
    """Return how long after its window the boarding of each known booking began [min]; nan as above."""
    known = s["bookings"][: int(s["next_booking"])]
    if "lateness_min" in s.dtype.names:  # a breakdown has moved the window; what was charged stays
        return np.where(np.isnan(known["picked_min"]), math.nan, s["lateness_min"][: len(known)])
    return np.asarray(np.maximum(boarding_begin_min(s) - known["latest_min"], 0.0))


def _day_figures(
    s: Any, completed: int, missed: int, total_usd: float, km: float, empty_km: float, riders: int
) -> tuple[Figure, ...]:
    late_min = lateness_min(s)
    boarded = int(np.isfinite(late_min).sum())
    late = int((late_min > _EPS_MIN).sum())
    return (
        Figure("Completed", str(completed)),
        Figure("On time", _percent(boarded - late, boarded), "%"),
        Figure("Return", f"{total_usd:+,.0f}", "$"),
        Figure("Late", str(late), bad=True),
        Figure("Missed", str(missed), bad=True),
        Figure("Open", str(int(s["n_open"]))),
        Figure("Driven", f"{km:,.0f}", "km"),
        Figure("Empty", _percent(empty_km, km), "%"),
        Figure("On board", str(riders)),
    )


def _figures_of_v1(s: Any) -> tuple[Figure, ...]:
    known = s["bookings"][: int(s["next_booking"])]
    riding = known["status"] == city.ONBOARD
    places = known["ambulatory"] + known["wheelchair"]
    return _day_figures(
        s,
        int(s["completed"]),
        int(s["missed"]),
        float(s["return_usd"]),
        float(s["km"]),
        float(s["km"] - s["loaded_km"]),
        int(places[riding].sum()),
    )


def _figures_of_v2(p: Any, s: Any) -> tuple[Figure, ...]:
    return _day_figures(
        s,
        int(s["n_completed"]),
        int(s["n_missed"]),
        return_usd(p, s),
        float(s["km"]),
        float(s["empty_km"]),
        int(s["onboard_amb"].sum() + s["onboard_wc"].sum()),
    )


def return_usd(p: Any, s: Any) -> float:
    """Return the sum of rewards so far of a v2 state [$], from its totals."""
    return float(
        p["fare_usd"] * s["n_completed"]
        - p["km_cost_usd"] * s["km"]
        - p["late_cost_usd_per_min"] * s["late_total_min"]
        - p["ride_cost_usd_per_min"] * s["excess_total_min"]
        - p["miss_cost_usd"] * s["n_missed"]
    )


def _percent(part: float, whole: float) -> str:
    return f"{100.0 * part / whole:.0f}" if whole > 0 else "-"


# --- v0 -------------------------------------------------------------------------------------------------


def _historical(kernel: Any, p: Any, s: Any) -> Scene:
    km = kernel.KM_PER_DEG
    quarter_min = 15.0
    kmh = tuple(
        float(p["speed_kmh"] / (1.0 + p["traffic_slowdown"] * kernel.traffic(quarter_min * q)))
        for q in range(int(kernel.DAY_MIN // quarter_min))
    )
    drivers = tuple(
        Vehicle(km * east, km * north, WITH_RIDERS if load else WAITING, load, 0)
        for east, north, load in zip(
            *(s[name].tolist() for name in ("driver_east_deg", "driver_north_deg", "load")), strict=True
        )
    )
    slots = np.flatnonzero(s["open"])
    left_min = s["deadline_min"][slots] - s["now_min"]
    ends = [
        (km * s[f"{end}_{axis}_deg"][slots]).tolist() for end in ("pickup", "dropoff") for axis in ("east", "north")
    ]
    # the historical windows have no opening; a booking with its last step before it stands out
    conditions = np.where(left_min <= kernel.STEP_MIN, LATE, DUE).tolist()
    assigned, late = int(s["assigned"]), int(s["late"])
    return Scene(
        title=_title(kernel),
        clock=time_of_day(kernel.DAY_START_MIN + float(s["now_min"])),
        half_width_km=km * kernel.HALF_WIDTH_DEG,
        day_start_min=kernel.DAY_START_MIN,
        now_min=float(s["now_min"]),
        day_min=kernel.DAY_MIN,
        quarter_min=quarter_min,
        expected_kmh=kmh,
        true_kmh=(),
        vehicles=drivers,
        places=(kernel.MAX_LOAD, 0),
        bookings=tuple(Booking(*row) for row in zip(conditions, *ends, strict=True)),
        marks=((DUE, "rider waiting"), (LATE, "window ends")),
        figures=(
            Figure("Assigned", str(assigned)),
            Figure("On time", _percent(assigned - late, assigned), "%"),
            Figure("Return", f"{float(s['total']):+,.0f}"),
            Figure("Late", str(late), bad=True),
            Figure("Expired", str(int(s["expired"])), bad=True),
            Figure("Open", str(len(slots))),
            Figure("To pickup", f"{float(s['pickup_km']):,.0f}", "km"),
            Figure("Illegal", str(int(s["illegal"])), bad=True),
            Figure("On board", str(int(s["load"].sum()))),
        ),
    )


# --- static ---------------------------------------------------------------------------------------------


def _routing(kernel: Any, s: Any) -> Scene:
    """Return the routes so far; distances have the unit of the instance."""
    requests, first_delivery = int(s["requests"]), kernel.MAX_REQUESTS
    x, y = s["x"] - s["x"][0], s["y"] - s["y"][0]
    pickups, deliveries = slice(1, requests + 1), slice(first_delivery + 1, first_delivery + requests + 1)
    ends = (x[pickups], y[pickups], x[deliveries], y[deliveries])
    status = s["status"][pickups]
    bookings = []
    for state, condition in ((kernel.OPEN, DUE), (kernel.LOST, MISSED)):
        columns = (end[status == state].tolist() for end in ends)
        bookings += [Booking(condition, *row) for row in zip(*columns, strict=True)]
    fleet = tuple(_route(kernel, s, x.tolist(), y.tolist(), v) for v in range(int(s["vehicles"])))
    served = int((status == kernel.SERVED).sum())
    return Scene(
        title="Dispatch static",
        clock=f"{served} of {requests}",
        half_width_km=max(float(np.abs(end).max()) for end in ends),
        day_start_min=0.0,
        now_min=0.0,
        day_min=0.0,
        quarter_min=0.0,
        expected_kmh=(),
        true_kmh=(),
        vehicles=fleet,
        places=(int(s["capacity"]), 0),
        bookings=tuple(bookings),
        figures=(
            Figure("Distance", f"{float(s['cost']):,.1f}"),
            Figure("Served", f"{served}"),
            Figure("Routes", str(int(s["vehicles_used"]))),
            Figure("Open", str(int((status == kernel.OPEN).sum()))),
            Figure("On board", str(int((status == kernel.ABOARD).sum()))),
            Figure("Stranded", str(int((status == kernel.LOST).sum())), bad=True),
        ),
        marks=((DUE, "open request"), (MISSED, "stranded")),
        unit="",
    )


def _route(kernel: Any, s: Any, x: list[float], y: list[float], v: int) -> Vehicle:
    nodes = [n for n in s["routes"][v].tolist() if n]
    is_open = v == s["vehicle"]
    way = [*nodes] if is_open or not nodes else [*nodes, 0]
    stops = tuple(
        Stop(DEPOT if n == 0 else PICKUP if n <= kernel.MAX_REQUESTS else DROPOFF, x[n], y[n], 0.0) for n in way
    )
    doing = "at the depot" if not nodes else "on its way" if is_open else f"home, {len(nodes)} stops"
    taken = int(s["taken"]) if is_open else 0
    return Vehicle(0.0, 0.0, WITH_RIDERS if is_open else OFF_SHIFT, taken, 0, stops, doing=doing)
