"""Weather and IT load of the user, as the records that environments share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlops.envs.cooling.load import Load, read_load
from rlops.envs.cooling.site import DATA
from rlops.envs.cooling.weather import STANDARD_PA, Weather, read_weather
from rlops.errors import InvalidValue, UnknownName

SOURCES = ("weather", "load")


def data_from(value: Any) -> np.ndarray:
    """Return the records of dtype ``DATA`` that environments share, ``(n,)``.

    Args:
        value: A mapping with ``weather`` (a path or a :class:`Weather`), ``load`` (a path or a :class:`Load`) or both;
            what is left out is made up. Or such records.

    Raises:
        InvalidFile: If a file breaks a rule.
        UnknownName: If the mapping names something else.
        InvalidValue: If ``value`` is something else, or its records are out of range.
    """
    if isinstance(value, np.ndarray) and value.dtype == DATA and value.ndim == 1:
        rows = np.array(value).view(np.ndarray)
        _check_records(rows)
        return rows
    if not isinstance(value, Mapping):
        raise InvalidValue(
            f"traces must be a mapping such as {{'weather': 'site.epw', 'load': 'load.csv'}} or records of dtype DATA, "
            f"got {type(value).__name__}."
        )
    for name in value:
        if name not in SOURCES:
            raise UnknownName("source", name, SOURCES, "traces")
    weather, load = value.get("weather"), value.get("load")
    return records(
        read_weather(weather) if isinstance(weather, (str, os.PathLike)) else weather,
        read_load(load) if isinstance(load, (str, os.PathLike)) else load,
    )


def records(weather: Weather | None = None, load: Load | None = None) -> np.ndarray:
    """Return the records of ``weather`` and ``load``, side by side ``(n,)``.

    Raises:
        InvalidValue: If one is something else.
    """
    for name, value, kind in (("weather", weather, Weather), ("load", load, Load)):
        if value is not None and not isinstance(value, kind):
            raise InvalidValue(f"traces: {name} must be a path or a {kind.__name__}, got {type(value).__name__}.")
    hours, samples = len(weather or ()), len(load or ())
    rows = np.zeros(max(hours, samples), DATA)
    rows["hours"], rows["samples"], rows["air_pa"] = hours, samples, STANDARD_PA
    rows["sample_min"] = load.sample_min if load else 60.0
    if weather:
        rows["dry_bulb_c"][:hours] = weather.dry_bulb_c
        rows["relative_humidity"][:hours] = weather.relative_humidity
        rows["air_pa"][:hours] = weather.air_pa
        rows["day_of_year"][:hours] = weather.day_of_year
    if load:
        rows["utilisation"][:samples] = load.utilisation
    return rows


def _check_records(rows: np.ndarray) -> None:
    """Refuse records that a kernel could not play."""
    limits = {
        "hours": (0, len(rows)), "samples": (0, len(rows)), "sample_min": (1.0, 1440.0), "dry_bulb_c": (-60.0, 60.0),
        "relative_humidity": (0.0, 1.0), "air_pa": (31e3, 120e3), "day_of_year": (0.0, 366.0),
        "utilisation": (0.0, 1.0),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        right = (rows[name] >= low) & (rows[name] <= high)
        if name in ("hours", "samples", "sample_min"):
            right &= rows[name] == rows[name][:1]
        if not right.all():
            at = int(np.argmin(right))
            raise InvalidValue(
                f"traces, record {at}: {name} must be within {low:g} … {high:g}, the same in all records where it "
                f"counts them, got {rows[name][at]}."
            )
