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

import json
import logging
import os
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from rlops.envs.dispatch.city import DATA, END_MIN, MAX_BOOKINGS
from rlops.envs.dispatch.demand.counts import sample_od
from rlops.envs.dispatch.demand.days import MAX_AMBULATORY, MAX_HALF_WIDTH_KM, MAX_WHEELCHAIR, Demand, Frame
from rlops.envs.dispatch.demand.trips import COLUMNS, read_trips
from rlops.envs.user_tables import checked_file
from rlops.errors import InvalidFile, InvalidValue, UnknownName

__all__ = ["COLUMNS", "Demand", "Frame", "data_from", "read_demand", "read_trips", "sample_od"]

_log = logging.getLogger("rlops")


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
    file = checked_file(path, (".csv", ".csv.gz", ".parquet", ".yaml", ".yml", ".json"))
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
    places = {"ambulatory": MAX_AMBULATORY, "wheelchair": MAX_WHEELCHAIR}
    for name in DATA.names or ():
        wrong = ~np.isfinite(rows[name])
        if name.endswith("_km"):
            wrong |= np.abs(rows[name]) > MAX_HALF_WIDTH_KM
        elif name.endswith("_min"):
            wrong |= (rows[name] < 0.0) | (rows[name] > END_MIN)
        elif name in places:
            wrong |= (rows[name] < 0) | (rows[name] > places[name])
        else:
            wrong |= rows[name] < 0
        if wrong.any():
            limits = {"km": f"within ±{MAX_HALF_WIDTH_KM:g} km", "min": f"within 0 … {END_MIN:g} min"}
            must = limits.get(name.rsplit("_")[-1], f"within 0 … {places[name]}" if name in places else "at least 0")
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
