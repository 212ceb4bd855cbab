"""Files of trips: which column is which, and what each row asks for."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rlops.envs.compiling import compiled
from rlops.envs.dispatch.city import DAY_START_HOUR, END_MIN, HORIZON_MIN, MAX_BOOKINGS
from rlops.envs.dispatch.demand.days import (
    DAY_MIN,
    LEAST_TRIP_KM,
    MAX_AMBULATORY,
    MAX_HALF_WIDTH_KM,
    MAX_WHEELCHAIR,
    THINNED,
    TRIP,
    WINDOW_MIN,
    Demand,
    Frame,
    Options,
    bookings_of,
    frame_of,
    inside,
    scattered_km,
)
from rlops.envs.dispatch.demand.zones import Zones, read_zones
from rlops.envs.draws import bits, mixed, stream_key
from rlops.envs.user_tables import EPOCH, Table, checked_file, is_number
from rlops.errors import InvalidFile, UnknownName

COLUMNS = (
    *("request_time", "ready_time", "latest_time", "day"),
    *("pickup_lat", "pickup_lon", "dropoff_lat", "dropoff_lon"),
    *("pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km"),
    *("pickup_zone", "dropoff_zone"),
    *("party", "class", "ambulatory", "wheelchair", "prebooked"),
)
"""The columns that a file of bookings may have; others are not read."""
_PLACES = (COLUMNS[4:8], COLUMNS[8:12], COLUMNS[12:14])  # whichever is complete first is read

TLC_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ready_time": (
            "request_datetime",
            "tpep_pickup_datetime",
            "lpep_pickup_datetime",
            "pickup_datetime",
            "trip_pickup_datetime",
        ),
        "pickup_zone": ("pulocationid", "pickup_location_id"),
        "dropoff_zone": ("dolocationid", "dropoff_location_id"),
        "pickup_lat": ("pickup_latitude", "start_lat"),
        "pickup_lon": ("pickup_longitude", "start_lon"),
        "dropoff_lat": ("dropoff_latitude", "end_lat"),
        "dropoff_lon": ("dropoff_longitude", "end_lon"),
        "party": ("passenger_count",),
    }
)
"""What TLC trip records called these columns over the years, in lower case; the first found is read."""

CLASSES = {"ambulatory": 0, "amb": 0, "wheelchair": 1, "wc": 1}
"""Wheelchairs of a party, by class."""


def _choose_columns(table: Table, columns: Mapping[str, str] | None) -> bool:
    """Write into ``table`` which column is which and return whether the file is one of the TLC."""
    table.columns = {name: name for name in COLUMNS if name in table.header}
    for name, header in (columns or {}).items():
        if name not in COLUMNS:
            raise UnknownName("column of bookings", name, COLUMNS, "read_trips")
        if header not in table.header:
            raise InvalidFile(
                f"{table.path}, header: column {header!r}, named in columns[{name!r}], must exist, "
                f"got {', '.join(table.header)}."
            )
        table.columns[name] = header
    timed = "request_time" in table.columns or "ready_time" in table.columns
    if columns is None and not timed:
        lower = {name.lower(): name for name in table.header}
        found = {ours: [lower[t] for t in theirs if t in lower] for ours, theirs in TLC_COLUMNS.items()}
        tlc = {ours: headers[0] for ours, headers in found.items() if headers}
        if "ready_time" in tlc and any(all(name in tlc for name in place) for place in _PLACES):
            table.columns = tlc
            return True
    table.require("request_time", "ready_time")
    return False


def _choose_place(table: Table) -> tuple[str, ...]:
    """Return the columns that say where trips begin and end; forget the others."""
    complete = [place for place in _PLACES if all(name in table.columns for name in place)]
    if not complete:
        begun = max(_PLACES, key=lambda place: sum(name in table.columns for name in place))
        for name in begun:
            table.require(name)
    for place in _PLACES:
        for name in place:
            if place is not complete[0]:
                table.columns.pop(name, None)
    return complete[0]


class _Bookings:
    """Parses a table of bookings chunk by chunk into records of dtype ``TRIP``."""

    def __init__(self, table: Table, tlc: bool, zones: Zones | None, start_min: float):
        self.table, self.tlc, self.zones, self.start_min = table, tlc, zones, start_min
        self.place = _choose_place(table)
        self.degrees = zones.degrees if zones and len(self.place) == 2 else self.place == _PLACES[0]
        self.iso: bool | None = None  # whether times are ISO, from the first chunk
        self.dated: bool | None = None  # whether days are dates
        self.left_out: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()
        self.rows = 0
        for pair in (("party", "ambulatory"), ("class", "wheelchair")):
            if all(name in table.columns for name in pair):
                raise InvalidFile(
                    f"{table.path}, header: places must be given by party and class, or by ambulatory and "
                    "wheelchair, "
                    f"got {pair[0]} and {pair[1]}. Leave out one of them."
                )

    def trips(self) -> np.ndarray:
        """Return all bookings that ask for a time within the day, in known zones and with places."""
        parts = [np.zeros(0, TRIP)]
        for n in self.table.chunks():
            self.rows += n
            parts.append(self._chunk(n))
        if self.rows == 0:
            raise InvalidFile(f"{self.table.path}: must have at least one booking, got only a header.")
        return np.concatenate(parts)

    def _chunk(self, n: int) -> np.ndarray:
        trips = np.zeros(n, TRIP)
        keep = np.ones(n, np.bool_)
        self._write_times(trips)
        into_day = trips["ready_min"] % DAY_MIN - self.start_min
        hours = f"{self.start_min / 60:02.0f}-{(self.start_min + HORIZON_MIN) / 60:02.0f} h"
        self.leave_out(keep, (into_day >= 0.0) & (into_day < HORIZON_MIN), f"ready outside {hours}")
        self._check_latest(trips, keep)
        if len(self.place) == 2:
            self.leave_out(keep, self._write_zones(trips), "in a zone that the table of zones lacks")
        else:
            self._write_points(trips)
        self._write_places(trips)
        fits = (trips["ambulatory"] <= MAX_AMBULATORY) & (trips["wheelchair"] <= MAX_WHEELCHAIR)
        self.leave_out(keep, fits, "more places than the largest vehicle has")
        return trips[keep]

    def leave_out(self, keep: np.ndarray, fits: np.ndarray, reason: str) -> None:
        """Clear ``keep`` where a row does not fit, and count those it cleared."""
        n = int(np.sum(keep & ~fits))
        if n:
            self.left_out[reason] += n
        keep &= fits

    def _write_times(self, trips: np.ndarray) -> None:
        table = self.table
        names = [name for name in ("request_time", "ready_time", "latest_time") if name in table.columns]
        if self.iso is None:
            self.iso = not table.holds_numbers(names[0])
        minutes = {name: table.clock_min(name) if self.iso else self._day_minutes(name) for name in names}
        trips["ready_min"] = minutes.get("ready_time", minutes.get("request_time"))
        trips["request_min"] = minutes.get("request_time", trips["ready_min"])
        trips["latest_min"] = minutes.get("latest_time", np.inf)
        if len(names) > 1:
            late = "not before request_time"
            table.check(
                trips["ready_min"] >= trips["request_min"],
                "ready_time" if "ready_time" in names else names[1],
                late,
            )
        if "latest_time" in names:
            table.check(trips["latest_min"] >= trips["ready_min"], "latest_time", "not before ready_time")

    def _check_latest(self, trips: np.ndarray, keep: np.ndarray) -> None:
        if "latest_time" in self.table.columns:
            end_min = trips["ready_min"] // DAY_MIN * DAY_MIN + self.start_min + END_MIN
            late_h = END_MIN / 60.0
            must = f"within {late_h:g} h after the start of the day, when whatever is open is missed"
            self.table.check(~keep | (trips["latest_min"] <= end_min), "latest_time", must)

    def _day_minutes(self, name: str) -> np.ndarray:
        """Return a column of minutes of the day as minutes since day 0; a request may come days before."""
        must = (
            "minutes of the day within [0, 1440), as in the rows before"
            if name == "ready_time"
            else ("minutes of the day, as in the rows before")
        )
        minutes = self.table.numbers(name, must)
        if name == "ready_time" or "ready_time" not in self.table.columns:
            self.table.check((minutes >= 0.0) & (minutes < DAY_MIN), name, must)
        if "day" not in self.table.columns:
            self.dated = False
            return minutes
        return minutes + DAY_MIN * self._day_numbers()

    def _day_numbers(self) -> np.ndarray:
        texts = self.table.texts("day")
        if self.dated is None:
            self.dated = not is_number(texts[0])
        must = "an ISO date" if self.dated else "a whole number"
        numbers = np.empty(len(texts))
        for i, text in enumerate(texts):
            try:
                numbers[i] = (date.fromisoformat(text) - EPOCH.date()).days if self.dated else int(text)
            except ValueError:
                raise self.table.refuse(i, "day", f"{must}, as in the rows before") from None
        return numbers

    def day_name(self, number: int) -> str:
        """Return what a day is called."""
        dated = self.iso or self.dated
        return (EPOCH.date() + timedelta(days=number)).isoformat() if dated else str(number)

    def _write_points(self, trips: np.ndarray) -> None:
        for name in self.place:
            axis = "latitude" if name.endswith("lat") else "longitude" if name.endswith("lon") else ""
            limit = {"latitude": 90.0, "longitude": 180.0, "": math.inf}[axis]
            must = f"a {axis} within [-{limit:g}, {limit:g}]" if axis else "a finite number of km"
            values = self.table.numbers(name, must)
            self.table.check(np.abs(values) <= limit, name, must)
            end, side = name.split("_")[:2]
            trips[f"{end}_{'x' if side in ('lon', 'x') else 'y'}"] = values

    def _write_zones(self, trips: np.ndarray) -> np.ndarray:
        """Write the centroids of zones and return which rows have both, ``(n,)`` bool."""
        assert self.zones is not None
        known = np.ones(len(trips), np.bool_)
        for name in self.place:
            texts = self.table.texts(name)
            if not self.tlc:
                self.table.check(np.array([bool(t) for t in texts]), name, "the id of a zone")
            index = np.array([self.zones.index.get(text, -1) for text in texts])
            end = name.split("_")[0]
            known &= index >= 0
            trips[f"{end}_x"] = self.zones.x[index]
            trips[f"{end}_y"] = self.zones.y[index]
            trips[f"{end}_km2"] = self.zones.area_km2[index]
        return known

    def _write_places(self, trips: np.ndarray) -> None:
        table = self.table
        if "ambulatory" in table.columns or "wheelchair" in table.columns:
            for name in ("ambulatory", "wheelchair"):
                trips[name] = self._counts(name, 0) if name in table.columns else 0.0
            last = "wheelchair" if "wheelchair" in table.columns else "ambulatory"
            places = trips["ambulatory"] + trips["wheelchair"]
            table.check(places >= 1, last, "such that a booking has at least one place")
        else:
            party = self._party() if "party" in table.columns else np.ones(len(trips))
            trips["wheelchair"] = self._wheelchairs() if "class" in table.columns else 0.0
            trips["ambulatory"] = party - trips["wheelchair"]
        trips["prebooked"] = -1.0
        if "prebooked" in table.columns:
            trips["prebooked"] = table.numbers("prebooked", "0 or 1")
            table.check(np.isin(trips["prebooked"], (0, 1)), "prebooked", "0 or 1")

    def _party(self) -> np.ndarray:
        if not self.tlc:
            return self._counts("party", 1)
        party = self.table.numbers("party", "a whole number of at least 0", missing=0.0)
        self.table.check((party >= 0) & (party == np.floor(party)), "party", "a whole number of at least 0")
        if np.any(party == 0):
            self.assumed["one passenger where none is recorded"] += int(np.sum(party == 0))
        return np.asarray(np.maximum(party, 1.0))

    def _counts(self, name: str, least: int) -> np.ndarray:
        must = f"a whole number of at least {least}"
        values = self.table.numbers(name, must)
        self.table.check((values >= least) & (values == np.floor(values)), name, must)
        return values

    def _wheelchairs(self) -> np.ndarray:
        wheelchairs = np.array([CLASSES.get(text.lower(), -1) for text in self.table.texts("class")])
        self.table.check(wheelchairs >= 0, "class", "ambulatory or wheelchair")
        return wheelchairs


# --- what is drawn --------------------------------------------------------------------------------------


@compiled
def _hash_rows(words, out):  # type: ignore[no-untyped-def]
    """Write the hash of each row of ``words`` (n, k) uint64 to ``out`` (n,) uint64."""
    for i in range(words.shape[0]):
        h = np.uint64(words.shape[1])
        for j in range(words.shape[1]):
            h = mixed(stream_key(h, 0, j) ^ words[i, j])
        out[i] = h


def _entities(trips: np.ndarray) -> np.ndarray:
    """Return an id for each trip, from its content; equal trips are numbered."""
    words = np.ascontiguousarray(trips).view(np.uint64).reshape(len(trips), -1)
    hashes = np.empty(len(trips), np.uint64)
    _hash_rows(words, hashes)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = np.searchsorted(ordered, ordered)  # where each group of equals begins
    hashes[order] = ordered + (np.arange(len(trips)) - first).astype(np.uint64)
    return hashes


@compiled
def _draw_bits(seed, stream, entities, out):  # type: ignore[no-untyped-def]
    """Write 64 random bits for each of ``entities`` (n,) uint64 to ``out`` (n,) uint64."""
    h = stream_key(seed, 0, stream)
    for i in range(entities.shape[0]):
        out[i] = bits(h, entities[i])


def _thinned(day: np.ndarray, entities: np.ndarray, options: Options, path: Path, name: Any) -> np.ndarray:
    """Return which trips to keep, ``(n,)`` bool: at most ``sample_per_day`` of each day, drawn at random."""
    keep = np.ones(len(day), np.bool_)
    numbers, counts = np.unique(day, return_counts=True)
    most = options.sample_per_day or MAX_BOOKINGS
    if options.sample_per_day is None and counts.max() > most:
        raise InvalidFile(
            f"{path}: a day must have at most {MAX_BOOKINGS} bookings that fit, got {counts.max()} on "
            f"{name(int(numbers[np.argmax(counts)]))}. Draw some at random, for example sample_per_day=184, "
            "or choose a smaller area with centre and half_width_km."
        )
    lots = np.empty(len(day), np.uint64)
    _draw_bits(np.uint64(options.seed), THINNED, entities, lots)
    for number in numbers[counts > most]:
        rows = np.flatnonzero(day == number)
        keep[rows[np.argsort(lots[rows], kind="stable")[most:]]] = False
    return keep


# --- the reader -----------------------------------------------------------------------------------------


def read_trips(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    zones: str | os.PathLike[str] | None = None,
    centre: tuple[float, float] | None = None,
    half_width_km: float = MAX_HALF_WIDTH_KM,
    rotate_deg: float = 0.0,
    start_hour: int = DAY_START_HOUR,
    window_min: float = WINDOW_MIN,
    lookahead_min: float | None = None,
    sample_per_day: int | None = None,
    seed: int = 0,
) -> Demand:
    """Return the bookings of a CSV or Parquet file.

    Args:
        path: ``.csv``, ``.csv.gz`` or ``.parquet``; see :mod:`rlops.envs.dispatch.demand` for the columns.
        columns: Which column of the file is which, for example ``{"request_time": "Requested At"}``; those
            that are not named keep their own name.
        zones: Table of zones, if the file names zones.
        centre: (latitude, longitude) [deg] or (x, y) [km] of the service area; by default the median of the
            pickups.
        half_width_km: Half the side of the square service area [km], at most 9. Trips that leave it are left
            out.
        rotate_deg: Turn of the map about the centre, counter-clockwise [deg].
        start_hour: Hour of the day that is minute 0 [h]; traffic stays that of a day from 06:00.
        window_min: Pickup window after ``ready_time`` [min] where no ``latest_time`` is given.
        lookahead_min: Bookings show no longer than this before ``ready_time`` [min]; by default when asked.
        sample_per_day: Keep this many bookings of a day, drawn at random by ``seed``. Without it, a day with
            more than 320 is refused.
        seed: Of the scatter within zones and of ``sample_per_day``.

    Raises:
        InvalidFile: If the file breaks a rule; names row and column. Lines of CSV count from 1 with the
            header, rows of Parquet from 0.
        UnknownName: If ``columns`` names something that bookings do not have.
        InvalidValue: If another argument is out of range.
        MissingExtra: If a Parquet file is to be read without pyarrow.
    """
    options = Options(half_width_km, rotate_deg, start_hour, window_min, lookahead_min, sample_per_day, seed)
    file = checked_file(path, (".csv", ".csv.gz", ".parquet"))
    table = Table(file)
    tlc = _choose_columns(table, columns)
    if zones is None and _choose_place(table) == _PLACES[2]:
        what = "TLC location ids" if tlc else "zone ids"
        raise InvalidFile(
            f"{file}: a file with {what} needs their coordinates, got no table of zones. Pass zones=, a CSV "
            "with "
            "the columns zone_id, x_km, y_km (or lat, lon) and area_km2."
        )
    reader = _Bookings(table, tlc, None if zones is None else read_zones(zones), 60.0 * start_hour)
    trips = reader.trips()
    keep = np.ones(len(trips), np.bool_)
    ends: tuple[np.ndarray, ...] = ()
    day = np.zeros(0, np.int64)
    frame = Frame(reader.degrees, (0.0, 0.0), half_width_km)
    if len(trips):
        frame = frame_of(trips, reader.degrees, centre, options)
        entities = _entities(trips)
        day = np.floor(trips["ready_min"] / DAY_MIN).astype(np.int64)
        ends = scattered_km(trips, frame, seed, entities)
        reader.leave_out(keep, inside(ends, half_width_km), f"outside the area of ±{half_width_km:g} km")
        long_enough = np.hypot(ends[2] - ends[0], ends[3] - ends[1]) >= LEAST_TRIP_KM
        reader.leave_out(keep, long_enough, f"shorter than {1000 * LEAST_TRIP_KM:g} m")
    if not keep.any():
        reasons = "; ".join(f"{n} {reason}" for reason, n in reader.left_out.items())
        raise InvalidFile(f"{file}: at least one booking must fit, got {reader.rows} rows, left out: {reasons}.")
    drawn = np.zeros(len(keep), np.bool_)
    drawn[np.flatnonzero(keep)[_thinned(day[keep], entities[keep], options, file, reader.day_name)]] = True
    reader.leave_out(keep, drawn, f"not drawn, sample_per_day is {sample_per_day}")
    rows = bookings_of(trips[keep], day[keep], [end[keep] for end in ends], options)
    return Demand(
        rows,
        tuple(reader.day_name(int(number)) for number in np.unique(day[keep])),
        frame,
        f"{file.name}{', NYC TLC trip records' if tlc else ''}",
        reader.rows,
        dict(reader.left_out),
        dict(reader.assumed),
        start_hour,
    )
