"""Centroids of zones from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlops.envs.user_tables import Table, checked_file
from rlops.errors import InvalidFile


@dataclass(frozen=True)
class Zones:
    """Centroids of zones [km], or degrees east and north."""

    index: Mapping[str, int]
    x: np.ndarray
    y: np.ndarray
    area_km2: np.ndarray
    degrees: bool


def read_zones(path: str | os.PathLike[str]) -> Zones:
    """Return the centroids of zones from a CSV or Parquet file."""
    table = Table(checked_file(path, (".csv", ".csv.gz", ".parquet")))
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
    return Zones(
        {zone: i for i, zone in enumerate(ids)},
        np.concatenate(x),
        np.concatenate(y),
        np.concatenate(area),
        degrees,
    )
