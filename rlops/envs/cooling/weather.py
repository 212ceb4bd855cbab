"""Hourly weather from a file: EPW, or CSV with a time, a temperature and a relative humidity."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from rlops.envs.user_tables import EPOCH, Table, checked_file, is_number
from rlops.errors import InvalidFile, InvalidValue, UnknownName

SPLIT_YEARS: Mapping[str, tuple[int, ...]] = {"train": (2020, 2021, 2022), "validation": (2023,), "test": (2024,)}
"""Which years are learnt from, chosen by, and held back. Sites are held back by naming them for ``test`` only."""
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "time_local", "timestamp", "datetime"),
    "dry_bulb_c": ("dry_bulb_c", "temperature_2m_C", "temperature_c", "temperature_2m"),
    "relative_humidity_pct": ("relative_humidity_pct", "relative_humidity_2m_pct", "relative_humidity_2m"),
    "pressure_pa": ("pressure_pa", "surface_pressure_pa"),
}
"""Names that a column of a CSV may have."""
STANDARD_PA = 101325.0
_EPW_HEADER = 8
_EPW_FIELDS = {"dry_bulb_c": 6, "relative_humidity_pct": 8, "pressure_pa": 9}
_LIMITS = {"dry_bulb_c": (-60.0, 60.0), "relative_humidity_pct": (0.0, 110.0), "pressure_pa": (31e3, 120e3)}
"""EnergyPlus Auxiliary Programs, Weather Converter: ranges of the fields; what is missing lies outside."""
_MUST = {
    "dry_bulb_c": "a temperature within -60 … 60 °C",
    "relative_humidity_pct": "a relative humidity within 0 … 110 %",
    "pressure_pa": "a pressure within 31000 … 120000 Pa",
}


@dataclass(frozen=True)
class Weather:
    """Weather of a site at full hours of local time, from a midnight on."""

    name: str
    begins: datetime
    dry_bulb_c: np.ndarray
    relative_humidity: np.ndarray
    """[-] 0 … 1."""
    air_pa: np.ndarray
    typical: bool = False
    """Whether it is a typical year, made of months of several years."""

    def __len__(self) -> int:
        return len(self.dry_bulb_c)

    def __str__(self) -> str:
        span = "a typical year" if self.typical else f"{len(self)} h from {self.begins:%Y-%m-%d}"
        return f"{self.name}: {span}, {self.dry_bulb_c.min():.1f} … {self.dry_bulb_c.max():.1f} °C"

    @property
    def day_of_year(self) -> np.ndarray:
        """Day of the year of every hour, from 0."""
        days = np.datetime64(self.begins, "h") + np.arange(len(self))
        from_new_year = days.astype("datetime64[D]") - days.astype("datetime64[Y]").astype("datetime64[D]")
        return np.asarray(from_new_year.astype(float))

    def years(self, *years: int) -> Weather:
        """Return the weather of consecutive ``years`` alone.

        Raises:
            InvalidValue: If they are not consecutive, not whole in the file, or it is a typical year.
        """
        wanted = sorted(years)
        has = "a typical year" if self.typical else f"{self.begins:%Y-%m-%d %H:%M} and {len(self)} h"
        if self.typical or not wanted or wanted != list(range(wanted[0], wanted[0] + len(wanted))):
            raise InvalidValue(f"{self.name}: years must be consecutive years of dated weather, got {years} of {has}.")
        first = (datetime(wanted[0], 1, 1) - self.begins) // timedelta(hours=1)
        last = (datetime(wanted[-1] + 1, 1, 1) - self.begins) // timedelta(hours=1)
        if first < 0 or last > len(self):
            raise InvalidValue(f"{self.name}: years must be whole years of the file, got {years} of {has}.")
        part = slice(first, last)
        return Weather(
            self.name, datetime(wanted[0], 1, 1), self.dry_bulb_c[part], self.relative_humidity[part], self.air_pa[part]
        )

    def split(self, name: str) -> Weather:
        """Return the years to learn from (``train``), to choose by (``validation``) or held back (``test``)."""
        if name not in SPLIT_YEARS:
            raise UnknownName("split", name, SPLIT_YEARS, self.name)
        return self.years(*SPLIT_YEARS[name])


def standard_pressure_pa(elevation_m: float) -> float:
    """Return the standard pressure at an elevation, ASHRAE Fundamentals 2017, ch. 1, eq. 3 [Pa].

    >>> round(standard_pressure_pa(1500.0))
    84556
    """
    return float(STANDARD_PA * (1.0 - 2.25577e-5 * elevation_m) ** 5.2559)


def read_weather(
    path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None, elevation_m: float = 0.0
) -> Weather:
    """Return the weather in a file.

    Args:
        path: An EPW file, or a CSV (``.csv``, ``.csv.gz``) with one row an hour and a header.
        columns: Of a CSV: our name to the file's, for names that :data:`COLUMNS` does not know.
        elevation_m: Of the site, for a CSV without a column of pressures.

    Raises:
        InvalidFile: If the file breaks a rule; it names the row and the column.
        UnknownName: If ``columns`` names a column that does not exist.
    """
    file = checked_file(path, (".epw", ".csv", ".csv.gz"))
    if file.name.lower().endswith(".epw"):
        return _read_epw(file)
    return _read_csv(file, columns or {}, standard_pressure_pa(elevation_m))


def known_columns(table: Table, names: Mapping[str, tuple[str, ...]], given: Mapping[str, str]) -> dict[str, str]:
    """Return which column of a file is which: those ``given``, else the first of ``names`` that it has."""
    for name, column in given.items():
        if name not in names:
            raise UnknownName("column", name, names, str(table.path))
        if column not in table.header:
            raise UnknownName("column", column, table.header, str(table.path))
    found = {name: next((c for c in also if c in table.header), "") for name, also in names.items()}
    return {name: column for name, column in {**found, **given}.items() if column}


def _read_csv(file: Path, columns: Mapping[str, str], standard_pa: float) -> Weather:
    table = Table(file)
    table.columns = known_columns(table, COLUMNS, columns)
    for name in ("time", "dry_bulb_c", "relative_humidity_pct"):
        table.require(name)
    times: list[np.ndarray] = []
    values: dict[str, list[np.ndarray]] = {name: [] for name in _LIMITS}
    for n in table.chunks():
        minutes = table.clock_min("time")
        after = np.concatenate([times[-1][-1:] if times else minutes[:1] - 60.0, minutes])
        table.check(np.diff(after) == 60.0, "time", "an hour after the row before", "Fill the gap.")
        times.append(minutes)
        for name, (low, high) in _LIMITS.items():
            if name in table.columns:
                column = table.numbers(name, _MUST[name])
                table.check((column >= low) & (column <= high), name, _MUST[name])
            else:
                column = np.full(n, standard_pa)
            values[name].append(column)
    if not times:
        raise InvalidFile(f"{file}: must have at least a day of hours, got only a header.")
    return _from_midnight(file, np.concatenate(times), {name: np.concatenate(v) for name, v in values.items()})


def _from_midnight(file: Path, minutes: np.ndarray, values: Mapping[str, np.ndarray]) -> Weather:
    """Return the weather of whole days."""
    first = int(-minutes[0] // 60 % 24)
    hours = (len(minutes) - first) // 24 * 24
    if hours < 24 or minutes[0] % 60:
        raise InvalidFile(
            f"{file}: must hold full hours of at least one day from 00:00 on, got {len(minutes)} rows. Add rows."
        )
    part = {name: column[first : first + hours] for name, column in values.items()}
    begins = EPOCH + timedelta(minutes=float(minutes[first]))
    humidity = np.clip(part["relative_humidity_pct"], 1.0, 100.0) / 100.0
    return Weather(file.name, begins, part["dry_bulb_c"], humidity, part["pressure_pa"])


def _read_epw(file: Path) -> Weather:
    """Return a typical year. EPW stamps are the ends of hours: the last row is the first midnight."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = [(line, row) for line, row in enumerate(csv.reader(lines), 1) if line > _EPW_HEADER and row]
    if len(rows) < 24 or len(rows) % 24:
        raise InvalidFile(f"{file}: must hold whole days of hours after {_EPW_HEADER} header lines, got {len(rows)}.")
    values = {name: np.array([_epw_number(file, line, row, name) for line, row in rows]) for name in _EPW_FIELDS}
    for (line, row), expected in zip(rows, np.arange(len(rows)) % 24 + 1, strict=True):
        if row[3].strip() != str(expected):
            raise InvalidFile(
                f"{file}, line {line}, column hour: must be {expected}, an hour after the row before, got {row[3]!r}."
            )
    rolled = {name: np.roll(column, 1) for name, column in values.items()}
    humidity = np.clip(rolled["relative_humidity_pct"], 1.0, 100.0) / 100.0
    begins = datetime(2001, int(rows[0][1][1]), int(rows[0][1][2]))
    return Weather(file.name, begins, rolled["dry_bulb_c"], humidity, rolled["pressure_pa"], typical=True)


def _epw_number(file: Path, line: int, row: list[str], name: str) -> float:
    """Return one field of a row as a number within its limits."""
    at = _EPW_FIELDS[name]
    text = row[at].strip() if len(row) > at else ""
    low, high = _LIMITS[name]
    if not is_number(text) or not low <= float(text) <= high:
        raise InvalidFile(f"{file}, line {line}, column {name}: must be {_MUST[name]}, got {text!r}. Correct the row.")
    return float(text)
