"""What trips are, and how they become days: kilometres, windows and places within the rules of the kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlops.envs.compiling import compiled
from rlops.envs.dispatch.city import DATA, DAY_START_HOUR, END_MIN, HORIZON_MIN, MAX_BOOKINGS
from rlops.envs.dispatch.params import PARAMETERS
from rlops.envs.draws import stream_key, uniform
from rlops.errors import InvalidValue

_BOUNDS = {p.name: p for p in PARAMETERS}
MAX_HALF_WIDTH_KM = _BOUNDS["area_half_width_km"].high
"""[km] The largest service area that ``area_half_width_km`` allows."""
MAX_AMBULATORY, MAX_WHEELCHAIR = int(_BOUNDS["cap_amb"].high), int(_BOUNDS["cap_wc"].high)
"""Places of the largest vehicle."""
NOMINAL_AMBULATORY = int(_BOUNDS["cap_amb"].nominal)
WINDOW_MIN = 2.0 * _BOUNDS["window_half_min"].nominal
"""[min] Pickup window of a booking that names only its start."""
PREBOOKED_MIN = 30.0
"""[min] Who asks this long ahead has booked ahead. Assumption: one pickup window."""
LEAST_TRIP_KM = 0.01
"""[km] Shorter trips count as zero length; the noise of a position is about as large."""
EARTH_RADIUS_KM = 6371.0088
"""[km] Mean radius R1, IUGG 1980 (Moritz 2000)."""
DAY_MIN = 1440.0

_PICKUP_ANGLE, _PICKUP_RADIUS, _DROPOFF_ANGLE, _DROPOFF_RADIUS, THINNED = range(1, 6)
QUARTER, MINUTE, PAIR = range(6, 9)
"""Streams of the draws of all readers; their key is ``seed``, not an episode's."""

TRIP = np.dtype(
    [
        ("ready_min", "f8"),  # since the day 0, as the others
        ("request_min", "f8"),
        ("latest_min", "f8"),  # inf: by the window
        ("pickup_x", "f8"),  # as in the file: degrees east or km
        ("pickup_y", "f8"),
        ("dropoff_x", "f8"),
        ("dropoff_y", "f8"),
        ("pickup_km2", "f8"),  # area to scatter over
        ("dropoff_km2", "f8"),
        ("ambulatory", "f8"),
        ("wheelchair", "f8"),
        ("prebooked", "f8"),  # -1: by PREBOOKED_MIN
    ]
)
"""A trip of a file, before its ends are kilometres and its day is known."""


@dataclass(frozen=True)
class Frame:
    """Where the kilometres of a demand count from.

    ``centre`` is (latitude, longitude) [deg] if ``degrees``, else (x, y) [km].
    """

    degrees: bool
    centre: tuple[float, float]
    half_width_km: float
    rotate_deg: float = 0.0

    def km(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return km east and north of the centre, before the turn of the map, of points of the file.

        ``x`` and ``y`` are kilometres, or degrees east and north.
        """
        if not self.degrees:
            return x - self.centre[0], y - self.centre[1]
        lat, lon = self.centre
        east_deg = (x - lon + 180.0) % 360.0 - 180.0
        per_degree = math.radians(1.0) * EARTH_RADIUS_KM
        return per_degree * math.cos(math.radians(lat)) * east_deg, per_degree * (y - lat)

    def turned(self, x_km: np.ndarray, y_km: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points turned counter-clockwise about the centre by ``rotate_deg``."""
        cos, sin = math.cos(math.radians(self.rotate_deg)), math.sin(math.radians(self.rotate_deg))
        return x_km * cos - y_km * sin, x_km * sin + y_km * cos

    def __str__(self) -> str:
        unit, (a, b) = ("°" if self.degrees else " km"), self.centre
        if self.degrees:
            place = f"{abs(a):.5f}° {'N' if a >= 0 else 'S'}, {abs(b):.5f}° {'E' if b >= 0 else 'W'}"
        else:
            place = f"x {a:.3f}{unit}, y {b:.3f}{unit}"
        turn = f", turned by {self.rotate_deg:g}°" if self.rotate_deg else ""
        return f"±{self.half_width_km:g} km around {place}{turn}"


@dataclass(frozen=True, eq=False)
class Demand:
    """Bookings of one or more days, ready for ``gymnasium.make(id, demand=demand, params=demand.params())``.

    Attributes:
        bookings: Records of dtype ``DATA``, sorted by (day, reveal_min); day ``i`` is ``days[i]``.
        days: What each day is called: its date, its number, or the seed it was drawn with.
        frame: Where the kilometres count from.
        source: The file or folder, and its format.
        rows: Rows read, or bookings drawn.
        left_out: How many rows were left out, by reason; a row counts for the first that applies.
        assumed: How many rows were completed, by what was assumed.
        start_hour: Hour of the day that is minute 0.
    """

    bookings: np.ndarray
    days: tuple[str, ...]
    frame: Frame
    source: str
    rows: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    assumed: Mapping[str, int] = field(default_factory=dict)
    start_hour: int = DAY_START_HOUR

    def __len__(self) -> int:
        return len(self.bookings)

    def params(self) -> dict[str, float]:
        """Return the parameters that describe this demand, within their hard bounds.

        ``area_half_width_km`` spans the zones and v1's observation, ``demand_per_day`` is what is expected
        and observed as such. An environment does not take them by itself: its parameters stay the caller's.
        """
        per_day = len(self.bookings) / len(self.days)
        values = {"area_half_width_km": self.frame.half_width_km, "demand_per_day": round(per_day, 1)}
        return {name: float(np.clip(v, _BOUNDS[name].low, _BOUNDS[name].high)) for name, v in values.items()}

    def __str__(self) -> str:
        b, counts = self.bookings, np.bincount(self.bookings["day"])
        km = np.hypot(b["dropoff_x_km"] - b["pickup_x_km"], b["dropoff_y_km"] - b["pickup_y_km"])
        days = f"{len(counts)} days, {counts.min()} to {counts.max()} each" if len(counts) > 1 else "1 day"
        span = self.days[0] if len(counts) == 1 else f"{self.days[0]} … {self.days[-1]}"
        hours = f"{self.start_hour:02d}-{self.start_hour + int(HORIZON_MIN) // 60:02d} h"
        lines = [
            ("source", self.source),
            ("bookings", f"{len(b)} of {self.rows} on {days} ({span}), {hours}"),
            *(("left out", f"{n}: {reason}") for reason, n in self.left_out.items()),
            *(("assumed", f"{n}: {what}") for what, n in self.assumed.items()),
            ("trips", f"{km.mean():.2f} km on average, median {np.median(km):.2f} km, straight line"),
            (
                "riders",
                f"wheelchair {np.mean(b['wheelchair'] > 0):.0%}, "
                f"two or more {np.mean(b['ambulatory'] + b['wheelchair'] > 1):.0%}, "
                f"prebooked {np.mean(b['prebooked']):.0%}",
            ),
            ("area", str(self.frame)),
        ]
        wide = int(np.sum(b["ambulatory"] > NOMINAL_AMBULATORY))
        if wide:
            lines.append(("note", f"{wide} need more than {NOMINAL_AMBULATORY} seats: raise cap_amb"))
        return "\n".join(f"{name:<10}{text}" for name, text in lines)


# --- draws ----------------------------------------------------------------------------------------------


@compiled
def _draw_uniforms(seed, stream, entities, out):  # type: ignore[no-untyped-def]
    """Write a draw from (0, 1) for each of ``entities`` (n,) uint64 to ``out`` (n,)."""
    h = stream_key(seed, 0, stream)
    for i in range(entities.shape[0]):
        out[i] = uniform(h, entities[i])


def uniforms(seed: int, stream: int, entities: np.ndarray) -> np.ndarray:
    """Return a draw from (0, 1) for each of ``entities`` (n,) uint64."""
    out = np.empty(len(entities))
    _draw_uniforms(np.uint64(seed), stream, entities, out)
    return out


# --- from trips to bookings -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """How trips become days; checked once for all readers."""

    half_width_km: float
    rotate_deg: float
    start_hour: int
    window_min: float
    lookahead_min: float | None
    sample_per_day: int | None
    seed: int

    def __post_init__(self) -> None:
        check_number("half_width_km", self.half_width_km, 0.1, MAX_HALF_WIDTH_KM, " km")
        check_number("rotate_deg", self.rotate_deg, -360.0, 360.0, " deg")
        check_number("start_hour", self.start_hour, 0, 24 - int(HORIZON_MIN) // 60, " h", whole=True)
        check_number("window_min", self.window_min, 0.0, END_MIN - HORIZON_MIN, " min")
        if self.lookahead_min is not None:
            check_number("lookahead_min", self.lookahead_min, 0.0, math.inf, " min")
        if self.sample_per_day is not None:
            check_number("sample_per_day", self.sample_per_day, 1, MAX_BOOKINGS, "", whole=True)
        check_number("seed", self.seed, 0, 2**63 - 1, "", whole=True)


def check_number(name: str, value: Any, low: float, high: float, unit: str, whole: bool = False) -> None:
    """Refuse an argument that is no number, or not within its bounds."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise InvalidValue(f"{name} must be {kind} within [{low:g}, {high:g}]{unit}, got {value!r}.")


def frame_of(trips: np.ndarray, degrees: bool, centre: tuple[float, float] | None, options: Options) -> Frame:
    """Return the frame around ``centre``, by default the median of the pickups."""
    if centre is None:
        x, y = float(np.median(trips["pickup_x"])), float(np.median(trips["pickup_y"]))
        centre = (y, x) if degrees else (x, y)
    if len(centre) != 2 or not all(isinstance(c, (int, float)) and math.isfinite(c) for c in centre):
        form = "(latitude, longitude) in degrees" if degrees else "(x, y) in km"
        raise InvalidValue(f"centre must be {form}, got {centre!r}.")
    if degrees:
        check_number("centre[0], the latitude,", centre[0], -90.0, 90.0, " deg")
        check_number("centre[1], the longitude,", centre[1], -180.0, 180.0, " deg")
    return Frame(degrees, (float(centre[0]), float(centre[1])), options.half_width_km, options.rotate_deg)


def scattered_km(
    trips: np.ndarray, frame: Frame, seed: int, entities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the ends of trips [km] from the centre, scattered over zones and turned: x0, y0, x1, y1."""
    ends: list[np.ndarray] = []
    for end, angles, radii in (
        ("pickup", _PICKUP_ANGLE, _PICKUP_RADIUS),
        ("dropoff", _DROPOFF_ANGLE, _DROPOFF_RADIUS),
    ):
        x_km, y_km = frame.km(trips[f"{end}_x"], trips[f"{end}_y"])
        if np.any(trips[f"{end}_km2"]):
            radius_km = np.sqrt(trips[f"{end}_km2"] / math.pi * uniforms(seed, radii, entities))
            angle = 2.0 * math.pi * uniforms(seed, angles, entities)
            x_km, y_km = x_km + radius_km * np.cos(angle), y_km + radius_km * np.sin(angle)
        ends += frame.turned(x_km, y_km)
    return ends[0], ends[1], ends[2], ends[3]


def inside(ends: Sequence[np.ndarray], half_width_km: float) -> np.ndarray:
    """Return which trips begin and end within the area, ``(n,)`` bool."""
    return np.asarray(np.all([np.abs(end) <= half_width_km for end in ends], axis=0))


def bookings_of(trips: np.ndarray, day: np.ndarray, ends: Sequence[np.ndarray], options: Options) -> np.ndarray:
    """Return trips as sorted records of dtype ``DATA``."""
    into = day * DAY_MIN + 60.0 * options.start_hour
    rows = np.zeros(len(trips), DATA)
    rows["day"] = np.unique(day, return_inverse=True)[1]
    rows["earliest_min"] = trips["ready_min"] - into
    by_window = rows["earliest_min"] + options.window_min
    rows["latest_min"] = np.where(np.isinf(trips["latest_min"]), by_window, trips["latest_min"] - into)
    reveal_min = np.maximum(0.0, trips["request_min"] - into)
    if options.lookahead_min is not None:
        reveal_min = np.maximum(reveal_min, rows["earliest_min"] - options.lookahead_min)
    rows["reveal_min"] = reveal_min
    for name, end in zip(("pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km"), ends, strict=True):
        rows[name] = end
    rows["ambulatory"], rows["wheelchair"] = trips["ambulatory"], trips["wheelchair"]
    ahead = trips["ready_min"] - trips["request_min"] >= PREBOOKED_MIN
    rows["prebooked"] = np.where(trips["prebooked"] < 0, ahead, trips["prebooked"])
    assert DATA.names is not None
    return rows[np.lexsort([rows[name] for name in reversed(DATA.names)])]
