"""Demand from the user's own trips: files of bookings become days of Dispatch v1 and v2.

``read_trips`` reads a CSV (``.csv``, ``.csv.gz``) or Parquet file, ``sample_od`` draws days from a table of
trips between zones, ``data_from`` takes whatever ``gymnasium.make("rlops/Dispatch-v2", demand=...)`` got.
One row of a file is one booking:

======================================================  =====================================================
``request_time``                                        when the rider asked; without it, ``ready_time``
``ready_time``                                          when the rider can be picked up at the earliest;
                                                        without it, ``request_time``
``latest_time``                                         end of the pickup window; without it, ``window_min``
                                                        after ``ready_time``
``day``                                                 whole number or ISO date, only with times in minutes
``pickup_lat pickup_lon dropoff_lat dropoff_lon``       [deg], or
``pickup_x_km pickup_y_km dropoff_x_km dropoff_y_km``   [km] east and north, or
``pickup_zone dropoff_zone``                            ids in the table ``zones``
``party``                                               riders, from 1; 1 without it
``class``                                               ``ambulatory`` or ``wheelchair`` (one of the party has
                                                        a wheelchair); ambulatory without it
``ambulatory wheelchair``                               places, in place of ``party`` and ``class``
``prebooked``                                           0 or 1; without it, 1 if asked ``PREBOOKED_MIN`` ahead
======================================================  =====================================================

Times are ISO 8601 on the local clock (an offset is ignored) or minutes of the day. Trip records of the New
York City Taxi & Limousine Commission (yellow, green, for-hire) are recognised by their header. They know one
time only: it is request and ready time, nothing is prebooked. A missing passenger count is 1.

**Zones.** A CSV with ``zone_id``, ``x_km`` and ``y_km`` (or ``lat`` and ``lon``) and, optionally,
``area_km2``. An end of a trip is scattered uniformly over a disc of that area, so that trips within a zone
have a length. The draw belongs to ``seed`` and to the booking's content, not to its place in the file.

**Frame.** Kilometres from ``centre``, by default the median of the pickups. Degrees become kilometres by the
local equirectangular projection. ``rotate_deg`` turns the map counter-clockwise: 29 makes Manhattan's avenues
run north.

A file that breaks a rule is refused. What is well-formed but does not fit the day or the area is left out,
counted, and told by ``print(demand)``. The order of the rows does not matter.
"""

from __future__ import annotations

import csv
import gzip
import json
import logging
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rlops.envs.compiling import compiled
from rlops.envs.dispatch.city import DATA, DAY_START_HOUR, END_MIN, HORIZON_MIN, MAX_BOOKINGS
from rlops.envs.dispatch.params import PARAMETERS
from rlops.envs.draws import bits, mixed, stream_key, uniform
from rlops.errors import InvalidFile, InvalidValue, MissingExtra, UnknownName

__all__ = ["COLUMNS", "Demand", "Frame", "data_from", "read_demand", "read_trips", "sample_od"]

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

_CHUNK = 100_000  # rows that are parsed at a time
_DAY_MIN = 1440.0
_EPOCH = datetime(1970, 1, 1)
_PICKUP_ANGLE, _PICKUP_RADIUS, _DROPOFF_ANGLE, _DROPOFF_RADIUS, _THINNED = range(1, 6)
_QUARTER, _MINUTE, _PAIR = range(6, 9)
"""Streams of the draws of this module; their key is ``seed``, not an episode's."""

_TRIP = np.dtype(
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
_ENDS = ("pickup_x", "pickup_y", "dropoff_x", "dropoff_y")
_log = logging.getLogger("rlops")


# --- what comes back ------------------------------------------------------------------------------------


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


# --- reading files --------------------------------------------------------------------------------------


def _checked_file(path: str | os.PathLike[str], extensions: Sequence[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        got = "a folder" if file.is_dir() else "nothing there"
        raise InvalidFile(f"{file}: must be a file, got {got}. Check the path.")
    if not file.name.lower().endswith(tuple(extensions)):
        raise InvalidFile(
            f"{file}: the name must end in {', '.join(extensions)}, got {file.name!r}. Convert or rename the file."
        )
    return file


class _Table:
    """Rows of a file, some at a time, and what to say about a cell that breaks a rule."""

    def __init__(self, path: Path):
        self.path = path
        self.parquet = not path.name.lower().endswith((".csv", ".csv.gz"))
        self.header = self._parquet_header() if self.parquet else self._csv_header()
        twice = [name for name, n in Counter(self.header).items() if n > 1]
        if twice:
            raise InvalidFile(f"{path}, header: columns must be unique, got {twice[0]!r} twice. Rename one.")
        self.columns: dict[str, str] = {}  # our names to the file's
        self.labels: Sequence[int] = ()  # line or row number of each row of the chunk
        self.cells: dict[str, Any] = {}  # of the chunk, by the file's name

    def require(self, name: str, or_name: str = "") -> None:
        """Refuse the file unless column ``name`` (or ``or_name``) is known."""
        if name in self.columns or or_name in self.columns:
            return
        near = get_close_matches(name.lower(), [h.lower() for h in self.header], n=3, cutoff=0.5)
        nearest = [h for n in near for h in self.header if h.lower() == n]
        alternative = f" (or {or_name})" if or_name else ""
        raise InvalidFile(
            f"{self.path}, header: there must be a column {name}{alternative}, got {', '.join(self.header)}."
            f"{' Nearest: ' + ', '.join(nearest) + '.' if nearest else ''} "
            f"Rename a column, or say which it is: columns={{{name!r}: {(nearest or ['...'])[0]!r}}}."
        )

    def chunks(self) -> Iterator[int]:
        """Load some rows after the others and yield how many."""
        names = list(dict.fromkeys(self.columns.values()))
        return self._parquet_chunks(names) if self.parquet else self._csv_chunks(names)

    def _rows_of_csv(self) -> Iterator[tuple[int, list[str]]]:
        opened = gzip.open if self.path.name.lower().endswith(".gz") else open
        try:
            with opened(self.path, "rt", encoding="utf-8-sig", newline="") as lines:
                reader = csv.reader(lines, strict=True)
                for row in reader:
                    if row:
                        yield reader.line_num, row
        except UnicodeDecodeError as error:
            raise InvalidFile(f"{self.path}: must be UTF-8 text, got {error.reason}. Save it as UTF-8.") from None
        except (csv.Error, EOFError, OSError, zlib.error) as error:
            raise InvalidFile(f"{self.path}: must be readable as CSV, got: {error}. Save it anew.") from None

    def _csv_header(self) -> list[str]:
        for _, row in self._rows_of_csv():
            if len(row) == 1 and (";" in row[0] or "\t" in row[0]):
                raise InvalidFile(f"{self.path}, header: columns must be separated by commas, got {row[0]!r}.")
            return [name.strip() for name in row]
        raise InvalidFile(f"{self.path}: must have a header and at least one row, got an empty file.")

    def _csv_chunks(self, names: list[str]) -> Iterator[int]:
        index = [self.header.index(name) for name in names]
        rows = self._rows_of_csv()
        next(rows)
        while True:
            labels: list[int] = []
            cells: list[list[str]] = [[] for _ in names]
            for line, row in rows:
                if len(row) != len(self.header):
                    raise InvalidFile(
                        f"{self.path}, line {line}: must have {len(self.header)} fields as the header, got {len(row)}."
                    )
                labels.append(line)
                for values, i in zip(cells, index, strict=True):
                    values.append(row[i].strip())
                if len(labels) == _CHUNK:
                    break
            if not labels:
                return
            self.labels, self.cells = labels, dict(zip(names, cells, strict=True))
            yield len(labels)

    def _parquet_file(self) -> Any:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingExtra(f"Reading {self.path.name}", "data") from None
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise InvalidFile(f"{self.path}: must be a Parquet file, got: {error}") from None

    def _parquet_header(self) -> list[str]:
        with self._parquet_file() as file:
            return list(file.schema_arrow.names)

    def _parquet_chunks(self, names: list[str]) -> Iterator[int]:
        start = 0
        with self._parquet_file() as file:
            for batch in file.iter_batches(batch_size=_CHUNK, columns=names):
                self.labels = range(start, start + len(batch))
                self.cells = {name: self._from_arrow(name, batch.column(name)) for name in names}
                start += len(batch)
                if len(batch):
                    yield len(batch)

    def _from_arrow(self, name: str, values: Any) -> Any:
        """Return a column as datetimes, float64 or a list of texts."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = values.type
        if pa.types.is_timestamp(kind):
            if kind.tz is not None:
                values = pc.local_timestamp(values)
            return values.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if pa.types.is_boolean(kind):
            return values.cast(pa.int8()).cast(pa.float64()).to_numpy(zero_copy_only=False)
        try:
            return [(text or "").strip() for text in values.cast(pa.string()).to_pylist()]
        except pa.ArrowException:
            raise InvalidFile(
                f"{self.path}, column {name}: must hold texts, numbers or timestamps, got {kind}."
            ) from None

    # -- cells ---------------------------------------------------------------------------------------------

    def refuse(self, i: int, name: str, must: str, do: str = "Correct the row.") -> InvalidFile:
        """Return the error for row ``i`` of the chunk."""
        column = self.columns[name]
        got = self.cells[column][i]
        shown = repr(got) if isinstance(got, str) else "nothing" if got != got else str(got)
        row = "row" if self.parquet else "line"
        return InvalidFile(f"{self.path}, {row} {self.labels[i]}, column {column}: must be {must}, got {shown}. {do}")

    def check(self, right: np.ndarray, name: str, must: str, do: str = "Correct the row.") -> None:
        """Refuse the file at the first row that is not ``right``."""
        if not right.all():
            raise self.refuse(int(np.argmin(right)), name, must, do)

    def numbers(self, name: str, must: str, missing: float = math.nan) -> np.ndarray:
        """Return a column as finite numbers; an empty cell is ``missing`` if that is a number."""
        cells = self.cells[self.columns[name]]
        if isinstance(cells, list):
            if missing == missing:
                cells = [text or str(missing) for text in cells]
            values = self._parsed(cells, name, must)
        elif cells.dtype.kind == "f":
            values = np.where(np.isnan(cells), missing, cells)
        else:
            raise self.refuse(0, name, must)
        self.check(np.isfinite(values), name, must)
        return values

    def _parsed(self, texts: list[str], name: str, must: str) -> np.ndarray:
        try:
            return np.array(texts, float)
        except ValueError:
            for i, text in enumerate(texts):
                if not _is_number(text):
                    raise self.refuse(i, name, must) from None
            raise

    def texts(self, name: str) -> list[str]:
        """Return a column as texts, whole numbers without a decimal point."""
        cells = self.cells[self.columns[name]]
        if not isinstance(cells, list):
            cells = ["" if v != v else str(v)[:10] if cells.dtype.kind == "M" else repr(float(v)) for v in cells]
        return [text[:-2] if text.endswith(".0") else text for text in cells]

    def holds_numbers(self, name: str) -> bool:
        """Return whether the chunk's first cell of a column is a number."""
        cells = self.cells[self.columns[name]]
        return _is_number(cells[0]) if isinstance(cells, list) else cells.dtype.kind == "f"

    def clock_min(self, name: str) -> np.ndarray:
        """Return a column of ISO times as minutes since 1970."""
        must = "an ISO date and time such as 2019-01-15 08:30, as in the rows before"
        cells = self.cells[self.columns[name]]
        if not isinstance(cells, list):
            self.check(np.isfinite(cells), name, must)
            return np.asarray(cells.astype("M8[us]").astype(np.int64) / 6e7)
        minutes = np.empty(len(cells))
        for i, text in enumerate(cells):
            try:
                if len(text) <= len("2019-01-15"):
                    raise ValueError
                minutes[i] = (datetime.fromisoformat(text).replace(tzinfo=None) - _EPOCH) / timedelta(minutes=1)
            except ValueError:
                raise self.refuse(i, name, must) from None
        return minutes


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- zones ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Zones:
    index: Mapping[str, int]
    x: np.ndarray
    y: np.ndarray
    area_km2: np.ndarray
    degrees: bool


def _read_zones(path: str | os.PathLike[str]) -> _Zones:
    """Return the centroids of zones from a CSV or Parquet file."""
    table = _Table(_checked_file(path, (".csv", ".csv.gz", ".parquet")))
    known = ("zone_id", "x_km", "y_km", "lat", "lon", "area_km2")
    table.columns = {name: name for name in known if name in table.header}
    degrees = "lat" in table.columns and "lon" in table.columns
    for name in ("zone_id", *(() if degrees else ("x_km", "y_km"))):
        table.require(name)
    ids: list[str] = []
    x, y, area = [], [], []
    for n in table.chunks():
        x.append(table.numbers("lon" if degrees else "x_km", "a number"))
        y.append(table.numbers("lat" if degrees else "y_km", "a number"))
        area.append(table.numbers("area_km2", "an area in km2") if "area_km2" in table.columns else np.zeros(n))
        if "area_km2" in table.columns:
            table.check(area[-1] >= 0.0, "area_km2", "an area of at least 0 km2")
        for i, zone in enumerate(table.texts("zone_id")):
            if not zone or zone in ids:
                raise table.refuse(i, "zone_id", "an id that no other row has")
            ids.append(zone)
    if not ids:
        raise InvalidFile(f"{table.path}: must have at least one zone, got only a header.")
    return _Zones(
        {zone: i for i, zone in enumerate(ids)},
        np.concatenate(x),
        np.concatenate(y),
        np.concatenate(area),
        degrees,
    )


# --- bookings -------------------------------------------------------------------------------------------


def _choose_columns(table: _Table, columns: Mapping[str, str] | None) -> bool:
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


def _choose_place(table: _Table) -> tuple[str, ...]:
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
    """Parses a table of bookings chunk by chunk into records of dtype ``_TRIP``."""

    def __init__(self, table: _Table, tlc: bool, zones: _Zones | None, start_min: float):
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
        parts = [np.zeros(0, _TRIP)]
        for n in self.table.chunks():
            self.rows += n
            parts.append(self._chunk(n))
        if self.rows == 0:
            raise InvalidFile(f"{self.table.path}: must have at least one booking, got only a header.")
        return np.concatenate(parts)

    def _chunk(self, n: int) -> np.ndarray:
        trips = np.zeros(n, _TRIP)
        keep = np.ones(n, np.bool_)
        self._write_times(trips)
        into_day = trips["ready_min"] % _DAY_MIN - self.start_min
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
            end_min = trips["ready_min"] // _DAY_MIN * _DAY_MIN + self.start_min + END_MIN
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
            self.table.check((minutes >= 0.0) & (minutes < _DAY_MIN), name, must)
        if "day" not in self.table.columns:
            self.dated = False
            return minutes
        return minutes + _DAY_MIN * self._day_numbers()

    def _day_numbers(self) -> np.ndarray:
        texts = self.table.texts("day")
        if self.dated is None:
            self.dated = not _is_number(texts[0])
        must = "an ISO date" if self.dated else "a whole number"
        numbers = np.empty(len(texts))
        for i, text in enumerate(texts):
            try:
                numbers[i] = (date.fromisoformat(text) - _EPOCH.date()).days if self.dated else int(text)
            except ValueError:
                raise self.table.refuse(i, "day", f"{must}, as in the rows before") from None
        return numbers

    def day_name(self, number: int) -> str:
        """Return what a day is called."""
        dated = self.iso or self.dated
        return (_EPOCH.date() + timedelta(days=number)).isoformat() if dated else str(number)

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


# --- draws ----------------------------------------------------------------------------------------------


@compiled
def _hash_rows(words, out):  # type: ignore[no-untyped-def]
    """Write the hash of each row of ``words`` (n, k) uint64 to ``out`` (n,) uint64."""
    for i in range(words.shape[0]):
        h = np.uint64(words.shape[1])
        for j in range(words.shape[1]):
            h = mixed(stream_key(h, 0, j) ^ words[i, j])
        out[i] = h


@compiled
def _draw_uniforms(seed, stream, entities, out):  # type: ignore[no-untyped-def]
    """Write a draw from (0, 1) for each of ``entities`` (n,) uint64 to ``out`` (n,)."""
    h = stream_key(seed, 0, stream)
    for i in range(entities.shape[0]):
        out[i] = uniform(h, entities[i])


@compiled
def _draw_bits(seed, stream, entities, out):  # type: ignore[no-untyped-def]
    """Write 64 random bits for each of ``entities`` (n,) uint64 to ``out`` (n,) uint64."""
    h = stream_key(seed, 0, stream)
    for i in range(entities.shape[0]):
        out[i] = bits(h, entities[i])


def _uniforms(seed: int, stream: int, entities: np.ndarray) -> np.ndarray:
    out = np.empty(len(entities))
    _draw_uniforms(np.uint64(seed), stream, entities, out)
    return out


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


def _scattered_km(
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
            radius_km = np.sqrt(trips[f"{end}_km2"] / math.pi * _uniforms(seed, radii, entities))
            angle = 2.0 * math.pi * _uniforms(seed, angles, entities)
            x_km, y_km = x_km + radius_km * np.cos(angle), y_km + radius_km * np.sin(angle)
        ends += frame.turned(x_km, y_km)
    return ends[0], ends[1], ends[2], ends[3]


def _inside(ends: Sequence[np.ndarray], half_width_km: float) -> np.ndarray:
    return np.asarray(np.all([np.abs(end) <= half_width_km for end in ends], axis=0))


# --- from trips to days ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    """How trips become days; checked once for all readers."""

    half_width_km: float
    rotate_deg: float
    start_hour: int
    window_min: float
    lookahead_min: float | None
    sample_per_day: int | None
    seed: int

    def __post_init__(self) -> None:
        _check("half_width_km", self.half_width_km, 0.1, MAX_HALF_WIDTH_KM, " km")
        _check("rotate_deg", self.rotate_deg, -360.0, 360.0, " deg")
        _check("start_hour", self.start_hour, 0, 24 - int(HORIZON_MIN) // 60, " h", whole=True)
        _check("window_min", self.window_min, 0.0, END_MIN - HORIZON_MIN, " min")
        if self.lookahead_min is not None:
            _check("lookahead_min", self.lookahead_min, 0.0, math.inf, " min")
        if self.sample_per_day is not None:
            _check("sample_per_day", self.sample_per_day, 1, MAX_BOOKINGS, "", whole=True)
        _check("seed", self.seed, 0, 2**63 - 1, "", whole=True)


def _check(name: str, value: Any, low: float, high: float, unit: str, whole: bool = False) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise InvalidValue(f"{name} must be {kind} within [{low:g}, {high:g}]{unit}, got {value!r}.")


def _frame(trips: np.ndarray, degrees: bool, centre: tuple[float, float] | None, options: _Options) -> Frame:
    if centre is None:
        x, y = float(np.median(trips["pickup_x"])), float(np.median(trips["pickup_y"]))
        centre = (y, x) if degrees else (x, y)
    if len(centre) != 2 or not all(isinstance(c, (int, float)) and math.isfinite(c) for c in centre):
        form = "(latitude, longitude) in degrees" if degrees else "(x, y) in km"
        raise InvalidValue(f"centre must be {form}, got {centre!r}.")
    if degrees:
        _check("centre[0], the latitude,", centre[0], -90.0, 90.0, " deg")
        _check("centre[1], the longitude,", centre[1], -180.0, 180.0, " deg")
    return Frame(degrees, (float(centre[0]), float(centre[1])), options.half_width_km, options.rotate_deg)


def _bookings(trips: np.ndarray, day: np.ndarray, ends: Sequence[np.ndarray], options: _Options) -> np.ndarray:
    """Return trips as sorted records of dtype ``DATA``."""
    into = day * _DAY_MIN + 60.0 * options.start_hour
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


def _thinned(day: np.ndarray, entities: np.ndarray, options: _Options, path: Path, name: Any) -> np.ndarray:
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
    _draw_bits(np.uint64(options.seed), _THINNED, entities, lots)
    for number in numbers[counts > most]:
        rows = np.flatnonzero(day == number)
        keep[rows[np.argsort(lots[rows], kind="stable")[most:]]] = False
    return keep


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
        path: ``.csv``, ``.csv.gz`` or ``.parquet``; see the module for the columns.
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
    options = _Options(half_width_km, rotate_deg, start_hour, window_min, lookahead_min, sample_per_day, seed)
    file = _checked_file(path, (".csv", ".csv.gz", ".parquet"))
    table = _Table(file)
    tlc = _choose_columns(table, columns)
    if zones is None and _choose_place(table) == _PLACES[2]:
        what = "TLC location ids" if tlc else "zone ids"
        raise InvalidFile(
            f"{file}: a file with {what} needs their coordinates, got no table of zones. Pass zones=, a CSV "
            "with "
            "the columns zone_id, x_km, y_km (or lat, lon) and area_km2."
        )
    reader = _Bookings(table, tlc, None if zones is None else _read_zones(zones), 60.0 * start_hour)
    trips = reader.trips()
    keep = np.ones(len(trips), np.bool_)
    ends: tuple[np.ndarray, ...] = ()
    day = np.zeros(0, np.int64)
    frame = Frame(reader.degrees, (0.0, 0.0), half_width_km)
    if len(trips):
        frame = _frame(trips, reader.degrees, centre, options)
        entities = _entities(trips)
        day = np.floor(trips["ready_min"] / _DAY_MIN).astype(np.int64)
        ends = _scattered_km(trips, frame, seed, entities)
        reader.leave_out(keep, _inside(ends, half_width_km), f"outside the area of ±{half_width_km:g} km")
        long_enough = np.hypot(ends[2] - ends[0], ends[3] - ends[1]) >= LEAST_TRIP_KM
        reader.leave_out(keep, long_enough, f"shorter than {1000 * LEAST_TRIP_KM:g} m")
    if not keep.any():
        reasons = "; ".join(f"{n} {reason}" for reason, n in reader.left_out.items())
        raise InvalidFile(f"{file}: at least one booking must fit, got {reader.rows} rows, left out: {reasons}.")
    drawn = np.zeros(len(keep), np.bool_)
    drawn[np.flatnonzero(keep)[_thinned(day[keep], entities[keep], options, file, reader.day_name)]] = True
    reader.leave_out(keep, drawn, f"not drawn, sample_per_day is {sample_per_day}")
    rows = _bookings(trips[keep], day[keep], [end[keep] for end in ends], options)
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


# --- from a table of trips between zones ------------------------------------------------------------------

_OD_FILES = {
    "demand": ("demand_by_dow_quarter_hour.csv", ("dow", "t_15min", "n_trips")),
    "od": ("od_hourly_weekday_2018.csv.gz", ("hour", "puzone", "dozone", "n_trips")),
}
_ZONES_FILE = "zone_centroids_km.csv"


def _read_counts(folder: Path, which: str) -> dict[str, np.ndarray]:
    """Return the columns of a table of trip counts; ids of zones stay texts."""
    name, columns = _OD_FILES[which]
    table = _Table(_checked_file(folder / name, (".csv", ".csv.gz")))
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
    zones: _Zones
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
    zones = _read_zones(path / _ZONES_FILE)
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
    trips = np.zeros(len(entities), _TRIP)
    cumulated = np.cumsum(table.quarter_share)
    quarter = np.searchsorted(cumulated / cumulated[-1], _uniforms(seed, _QUARTER, entities))
    trips["ready_min"] = 60.0 * DAY_START_HOUR + 15.0 * (quarter + _uniforms(seed, _MINUTE, entities))
    trips["request_min"], trips["latest_min"] = trips["ready_min"], np.inf
    trips["ambulatory"], trips["prebooked"] = 1.0, -1.0
    lot = _uniforms(seed, _PAIR, entities)
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


def _od_frame(table: _TripTable, centre: tuple[float, float] | None, options: _Options) -> Frame:
    """Return the frame, around the median of the expected pickups unless ``centre`` is given."""
    if centre is None:
        hours = (table.hour >= DAY_START_HOUR) & (table.hour < DAY_START_HOUR + HORIZON_MIN / 60)
        weights, zone = table.n_trips[hours], table.pickup[hours]
        x, y = (_weighted_median(axis[zone], weights) for axis in (table.zones.x, table.zones.y))
        centre = (y, x) if table.zones.degrees else (x, y)
    return _frame(np.zeros(0, _TRIP), table.zones.degrees, centre, options)


_DRAWN_AT_ONCE = 4 * MAX_BOOKINGS


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
    _check("trips", trips, 1, MAX_BOOKINGS, "", whole=True)
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    if not seeds:
        raise InvalidValue("seed must be a whole number or several, got none.")
    table = _read_od(folder, day_of_week)
    days, left_out, drawn = [], 0, 0
    for number, one in enumerate(seeds):
        options = _Options(half_width_km, rotate_deg, DAY_START_HOUR, window_min, None, None, one)
        frame = _od_frame(table, centre, options)
        parts: list[np.ndarray] = []
        missing, first = int(trips), 0
        while missing:
            entities = np.arange(first, first + _DRAWN_AT_ONCE, dtype=np.uint64)
            candidates = _draw_trips(table, one, entities)
            ends = _scattered_km(candidates, frame, one, entities)
            long_enough = np.hypot(ends[2] - ends[0], ends[3] - ends[1]) >= LEAST_TRIP_KM
            taken = np.flatnonzero(_inside(ends, half_width_km) & long_enough)[:missing]
            if not len(taken):
                raise InvalidFile(
                    f"{table.path}: trips must stay within {frame}, got none of {_DRAWN_AT_ONCE} drawn. "
                    "Choose another centre or a larger half_width_km."
                )
            missing -= len(taken)
            seen = len(entities) if missing else int(taken[-1]) + 1
            drawn, left_out, first = drawn + seen, left_out + seen - len(taken), first + len(entities)
            day = np.full(len(taken), 0)
            parts.append(_bookings(candidates[taken], day, [end[taken] for end in ends], options))
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


# --- what an environment is given -------------------------------------------------------------------------


def read_demand(path: str | os.PathLike[str]) -> Demand:
    """Return the demand that one file describes.

    A ``.csv``, ``.csv.gz`` or ``.parquet`` file is read by :func:`read_trips` as it stands. A ``.yaml`` or
    ``.json`` file names it, with the arguments of :func:`read_trips`::

        trips: yellow_tripdata_2019-01.parquet
        zones: zone_centroids_km.csv
        rotate_deg: 29
        sample_per_day: 184

    or names the folder of :func:`sample_od`, with its arguments::

        od: nyc_manhattan_od
        trips: 184
        day_of_week: 4
        seed: [0, 1, 2]

    Relative paths count from the folder of the file.

    Raises:
        InvalidFile: If a file breaks a rule.
        UnknownName: If the description holds an option that does not exist.
        InvalidValue: If an option is out of range.
    """
    file = _checked_file(path, (".csv", ".csv.gz", ".parquet", ".yaml", ".yml", ".json"))
    if not file.name.lower().endswith((".yaml", ".yml", ".json")):
        return read_trips(file)
    options = _description(file)
    verb = sample_od if "od" in options else read_trips
    taken = list(signature(verb).parameters)[1:]
    source = "od" if "od" in options else "trips"
    for name in options:
        if name not in (*taken, source):
            raise UnknownName("option", name, (*taken, source), str(file))
    for name in (source, "zones"):
        if isinstance(options.get(name), str):
            options[name] = str(file.parent / options[name])
        elif name in options:
            raise InvalidFile(f"{file}, option {name}: must be a path, got {options[name]!r}.")
    if isinstance(options.get("centre"), list):
        options["centre"] = tuple(options["centre"])
    return verb(options.pop(source), **options)


def _description(file: Path) -> dict[str, Any]:
    """Return the options in a YAML or JSON file."""
    import yaml

    try:
        text = file.read_text("utf-8")
        options = json.loads(text) if file.suffix.lower() == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidFile(f"{file}: must be readable YAML or JSON, got: {error}") from None
    if not isinstance(options, dict) or not ("trips" in options or "od" in options):
        raise InvalidFile(
            f"{file}: must be a mapping with trips: FILE, or od: FOLDER, got {text.strip()[:40]!r}. Name the "
            "file of bookings."
        )
    return options


def data_from(value: Any) -> np.ndarray:
    """Return the records of dtype ``DATA`` that environments share, ``(n,)``.

    Args:
        value: A path (see :func:`read_demand`), a :class:`Demand`, or such records.

    Raises:
        InvalidFile: If a file breaks a rule.
        InvalidValue: If ``value`` is something else, or its records are not sorted or out of range.
    """
    if isinstance(value, (str, os.PathLike)):
        value = read_demand(value)
        _log.info("%s", value)
    if isinstance(value, Demand):
        return np.array(value.bookings)
    if not isinstance(value, np.ndarray) or value.dtype != DATA or value.ndim != 1:
        got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidValue(f"demand must be a path, a Demand or records of dtype DATA, got {got}.")
    rows = np.array(value).view(np.ndarray)
    _check_records(rows)
    return rows


def _check_records(rows: np.ndarray) -> None:
    """Refuse records that a kernel could not play."""
    for name in DATA.names or ():
        wrong = ~np.isfinite(rows[name])
        if name.endswith("_km"):
            wrong |= np.abs(rows[name]) > MAX_HALF_WIDTH_KM
        elif name.endswith("_min"):
            wrong |= (rows[name] < 0.0) | (rows[name] > END_MIN)
        else:
            wrong |= rows[name] < 0
        if wrong.any():
            limits = {"km": f"within ±{MAX_HALF_WIDTH_KM:g} km", "min": f"within 0 … {END_MIN:g} min"}
            must = limits.get(name.rsplit("_")[-1], "at least 0")
            raise _wrong_record(rows, int(np.argmax(wrong)), name, must)
    day, reveal_min = rows["day"], rows["reveal_min"]
    unsorted = (np.diff(day) < 0) | ((np.diff(day) == 0) & (np.diff(reveal_min) < 0))
    if unsorted.any():
        raise _wrong_record(rows, int(np.argmax(unsorted)) + 1, "reveal_min", "sorted by (day, reveal_min)")
    orderly = (rows["earliest_min"] >= reveal_min) & (rows["latest_min"] >= rows["earliest_min"])
    if not orderly.all():
        must = "such that reveal_min <= earliest_min <= latest_min"
        raise _wrong_record(rows, int(np.argmin(orderly)), "earliest_min", must)
    if not np.all(rows["ambulatory"] + rows["wheelchair"] > 0):
        empty = int(np.argmin(rows["ambulatory"] + rows["wheelchair"]))
        raise _wrong_record(rows, empty, "ambulatory", "such that a booking has a place")
    numbers, counts = np.unique(day, return_counts=True)
    if len(counts) and counts.max() > MAX_BOOKINGS:
        raise InvalidValue(
            f"demand must have at most {MAX_BOOKINGS} bookings a day, got {counts.max()} on day "
            f"{numbers[counts.argmax()]}."
        )


def _wrong_record(rows: np.ndarray, i: int, name: str, must: str) -> InvalidValue:
    return InvalidValue(f"demand, record {i}: {name} must be {must}, got {rows[name][i]}.")
