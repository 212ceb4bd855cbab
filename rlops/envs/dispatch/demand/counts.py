"""Days drawn from counts of trips between zones: real places and hours, any number of bookings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlops.envs.dispatch.city import DATA, DAY_START_HOUR, HORIZON_MIN, MAX_BOOKINGS
from rlops.envs.dispatch.demand.days import (
    LEAST_TRIP_KM,
    MAX_HALF_WIDTH_KM,
    MINUTE,
    PAIR,
    QUARTER,
    TRIP,
    WINDOW_MIN,
    Demand,
    Frame,
    Options,
    bookings_of,
    check_number,
    frame_of,
    inside,
    scattered_km,
    uniforms,
)
from rlops.envs.dispatch.demand.zones import Zones, read_zones
from rlops.envs.user_tables import Table, checked_file
from rlops.errors import InvalidFile, InvalidValue

_OD_FILES = {
    "demand": ("demand_by_dow_quarter_hour.csv", ("dow", "t_15min", "n_trips")),
    "od": ("od_hourly_weekday_2018.csv.gz", ("hour", "puzone", "dozone", "n_trips")),
}
_ZONES_FILE = "zone_centroids_km.csv"
_DRAWN_AT_ONCE = 4 * MAX_BOOKINGS


def _read_counts(folder: Path, which: str) -> dict[str, np.ndarray]:
    """Return the columns of a table of trip counts; ids of zones stay texts."""
    name, columns = _OD_FILES[which]
    table = Table(checked_file(folder / name, (".csv", ".csv.gz")))
    table.columns = {column: column for column in columns if column in table.header}
    parts: dict[str, list[Any]] = {column: [] for column in columns}
    for column in columns:
        table.require(column)
    for _ in table.chunks():
        for column in columns:
            if column.endswith("zone"):
                parts[column] += table.texts(column)
                continue
            counts = table.numbers(column, "a whole number of at least 0")
            table.check((counts >= 0) & (counts == np.floor(counts)), column, "a whole number of at least 0")
            parts[column] += counts.tolist()
    return {column: np.array(values) for column, values in parts.items()}


@dataclass(frozen=True)
class _TripTable:
    """Trips between zones by hour, and by quarter of an hour in all; made by :func:`_read_od`."""

    path: Path
    zones: Zones
    quarter_share: np.ndarray  # (48,) [-], from 06:00
    hour: np.ndarray  # (m,) of each pair of zones
    pickup: np.ndarray  # (m,) index of a zone
    dropoff: np.ndarray
    n_trips: np.ndarray


def _read_od(folder: str | os.PathLike[str], day_of_week: int | None) -> _TripTable:
    path = Path(folder)
    if not path.is_dir():
        names = ", ".join([*(name for name, _ in _OD_FILES.values()), _ZONES_FILE])
        raise InvalidFile(f"{path}: must be a folder with {names}, got no folder. Check the path.")
    zones = read_zones(path / _ZONES_FILE)
    demand, od = _read_counts(path, "demand"), _read_counts(path, "od")
    days = sorted({int(day) for day in demand["dow"]})
    if day_of_week is not None and day_of_week not in days:
        raise InvalidValue(f"day_of_week must be None or one of {days}, 0 is Monday, got {day_of_week!r}.")
    first = DAY_START_HOUR * 4
    share = np.zeros(int(HORIZON_MIN) // 15)
    chosen = np.isin(demand["dow"], days if day_of_week is None else [day_of_week])
    chosen &= (demand["t_15min"] >= first) & (demand["t_15min"] < first + len(share))
    np.add.at(share, demand["t_15min"][chosen].astype(int) - first, demand["n_trips"][chosen])
    index = {end: np.array([zones.index.get(z, -1) for z in od[end]]) for end in ("puzone", "dozone")}
    unknown = (index["puzone"] < 0) | (index["dozone"] < 0)
    if unknown.any() or not share.sum():
        got = f"{int(unknown.sum())} rows with an unknown zone" if unknown.any() else "no trips from 06 to 18 h"
        raise InvalidFile(f"{path}: trips must be between zones of {_ZONES_FILE}, from 06 to 18 h, got {got}.")
    return _TripTable(path, zones, share / share.sum(), od["hour"], index["puzone"], index["dozone"], od["n_trips"])


def _draw_trips(table: _TripTable, seed: int, entities: np.ndarray) -> np.ndarray:
    """Return a trip for each of ``entities``: a quarter, a minute in it, a pair of zones of its hour."""
    trips = np.zeros(len(entities), TRIP)
    cumulated = np.cumsum(table.quarter_share)
    quarter = np.searchsorted(cumulated / cumulated[-1], uniforms(seed, QUARTER, entities))
    trips["ready_min"] = 60.0 * DAY_START_HOUR + 15.0 * (quarter + uniforms(seed, MINUTE, entities))
    trips["request_min"], trips["latest_min"] = trips["ready_min"], np.inf
    trips["ambulatory"], trips["prebooked"] = 1.0, -1.0
    lot = uniforms(seed, PAIR, entities)
    for hour in np.unique(quarter // 4):
        rows, pairs = quarter // 4 == hour, np.flatnonzero(table.hour == DAY_START_HOUR + hour)
        weight = np.cumsum(table.n_trips[pairs])
        if not len(pairs) or weight[-1] == 0:
            raise InvalidFile(f"{table.path}: hour {DAY_START_HOUR + hour} must have trips between zones, got none.")
        pair = pairs[np.searchsorted(weight / weight[-1], lot[rows])]
        for end, zone in (("pickup", table.pickup[pair]), ("dropoff", table.dropoff[pair])):
            trips[f"{end}_x"][rows], trips[f"{end}_y"][rows] = table.zones.x[zone], table.zones.y[zone]
            trips[f"{end}_km2"][rows] = table.zones.area_km2[zone]
    return trips


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, 0.5 * cumulated[-1])])


def _od_frame(table: _TripTable, centre: tuple[float, float] | None, options: Options) -> Frame:
    """Return the frame, around the median of the expected pickups unless ``centre`` is given."""
    if centre is None:
        hours = (table.hour >= DAY_START_HOUR) & (table.hour < DAY_START_HOUR + HORIZON_MIN / 60)
        weights, zone = table.n_trips[hours], table.pickup[hours]
        x, y = (_weighted_median(axis[zone], weights) for axis in (table.zones.x, table.zones.y))
        centre = (y, x) if table.zones.degrees else (x, y)
    return frame_of(np.zeros(0, TRIP), table.zones.degrees, centre, options)


def sample_od(
    folder: str | os.PathLike[str],
    *,
    trips: int = 184,
    day_of_week: int | None = None,
    seed: int | Sequence[int] = 0,
    centre: tuple[float, float] | None = None,
    half_width_km: float = MAX_HALF_WIDTH_KM,
    rotate_deg: float = 0.0,
    window_min: float = WINDOW_MIN,
) -> Demand:
    """Return days drawn from counts of trips between zones: real places and hours, any number of bookings.

    The quarter of an hour comes from all trips of the day of the week, the pair of zones from the trips of
    its hour. Every booking is for one rider who asks when he is ready. A trip that leaves the area is counted
    and drawn again.

    Args:
        folder: With ``demand_by_dow_quarter_hour.csv`` (dow, t_15min, n_trips),
            ``od_hourly_weekday_2018.csv.gz`` (hour, puzone, dozone, n_trips) and ``zone_centroids_km.csv``
            (see ``zones`` of :func:`read_trips`).
        trips: Bookings of a day, at most 320.
        day_of_week: 0 is Monday; None takes all days of the table together.
        seed: Of the day; several seeds make several days.
        centre: As in :func:`read_trips`; by default the median of the expected pickups.
        half_width_km: As in :func:`read_trips`.
        rotate_deg: As in :func:`read_trips`.
        window_min: As in :func:`read_trips`.

    Raises:
        InvalidFile: If the folder or a file in it cannot be used, or no trip stays within the area.
        InvalidValue: If another argument is out of range.
    """
    check_number("trips", trips, 1, MAX_BOOKINGS, "", whole=True)
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    if not seeds:
        raise InvalidValue("seed must be a whole number or several, got none.")
    table = _read_od(folder, day_of_week)
    days, left_out, drawn = [], 0, 0
    for number, one in enumerate(seeds):
        options = Options(half_width_km, rotate_deg, DAY_START_HOUR, window_min, None, None, one)
        frame = _od_frame(table, centre, options)
        parts: list[np.ndarray] = []
        missing, first = int(trips), 0
        while missing:
            entities = np.arange(first, first + _DRAWN_AT_ONCE, dtype=np.uint64)
            candidates = _draw_trips(table, one, entities)
            ends = scattered_km(candidates, frame, one, entities)
            long_enough = np.hypot(ends[2] - ends[0], ends[3] - ends[1]) >= LEAST_TRIP_KM
            taken = np.flatnonzero(inside(ends, half_width_km) & long_enough)[:missing]
            if not len(taken):
                raise InvalidFile(
                    f"{table.path}: trips must stay within {frame}, got none of {_DRAWN_AT_ONCE} drawn. "
                    "Choose another centre or a larger half_width_km."
                )
            missing -= len(taken)
            seen = len(entities) if missing else int(taken[-1]) + 1
            drawn, left_out, first = drawn + seen, left_out + seen - len(taken), first + len(entities)
            day = np.full(len(taken), 0)
            parts.append(bookings_of(candidates[taken], day, [end[taken] for end in ends], options))
        rows = np.sort(np.concatenate(parts), order=DATA.names)
        rows["day"] = number
        days.append(rows)
    what = "all its days" if day_of_week is None else f"day of the week {day_of_week}"
    reasons = {f"outside the area of ±{half_width_km:g} km, or within {1000 * LEAST_TRIP_KM:g} m": left_out}
    return Demand(
        np.concatenate(days),
        tuple(f"seed {one}" for one in seeds),
        frame,
        f"{table.path.name}, trips drawn between zones, {what}",
        drawn,
        reasons if left_out else {},
    )
