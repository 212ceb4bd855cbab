"""IT load from a file: utilisation of servers at equal intervals, CSV."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlops.envs.cooling.weather import known_columns
from rlops.envs.user_tables import Table, checked_file
from rlops.errors import InvalidFile, InvalidValue

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "time_local", "timestamp", "datetime"),
    "utilisation": ("utilisation", "utilization", "cpu_load", "load", "value"),
}
"""Names that a column may have."""
DAY_MIN = 1440.0


@dataclass(frozen=True)
class Load:
    """Utilisation of a hall's servers, samples at equal intervals from a midnight on."""

    name: str
    utilisation: np.ndarray
    """[-] 0 … 1."""
    sample_min: float

    def __len__(self) -> int:
        return len(self.utilisation)

    def __str__(self) -> str:
        days = len(self) * self.sample_min / DAY_MIN
        return f"{self.name}: {days:.1f} d of samples every {self.sample_min:g} min, mean {self.utilisation.mean():.2f}"

    def between(self, first: float, last: float) -> Load:
        """Return the samples between two shares of the whole, 0 … 1: to learn from one part and judge by another.

        Raises:
            InvalidValue: Unless ``0 <= first < last <= 1``, and a day at least lies between.
        """
        per_day = round(DAY_MIN / self.sample_min)
        days = len(self) // per_day
        low, high = round(first * days), round(last * days)
        if not 0.0 <= first < last <= 1.0 or high <= low:
            raise InvalidValue(
                f"{self.name}: shares must be 0 <= first < last <= 1 with a day between, got {first} and {last} of "
                f"{days} d."
            )
        return Load(self.name, self.utilisation[low * per_day : high * per_day], self.sample_min)


def read_load(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    sample_min: float | None = None,
    percent: bool | None = None,
) -> Load:
    """Return the load in a CSV (``.csv``, ``.csv.gz``) with a header.

    Args:
        path: The file.
        columns: Our name (``time``, ``utilisation``) to the file's, for names that :data:`COLUMNS` does not know.
        sample_min: Minutes between rows, for a file without times; default: 60.
        percent: Whether values are per cent; default: if any is above 1.5.

    Raises:
        InvalidFile: If the file breaks a rule; it names the row and the column.
        InvalidValue: If ``sample_min`` is below a minute, or a day is not a whole number of samples.
        UnknownName: If ``columns`` names a column that does not exist.
    """
    table = Table(checked_file(path, (".csv", ".csv.gz")))
    table.columns = known_columns(table, COLUMNS, columns or {})
    table.require("utilisation")
    values: list[np.ndarray] = []
    times: list[np.ndarray] = []
    for _ in table.chunks():
        column = table.numbers("utilisation", "a number")
        table.check((column >= 0.0) & (column <= 100.0), "utilisation", "a utilisation within 0 … 1, or 0 … 100 %")
        values.append(column)
        if "time" in table.columns:
            times.append(_checked_times(table, times))
    if sum(map(len, values)) < 2:
        raise InvalidFile(f"{table.path}: must have at least two rows, got {sum(map(len, values))}.")
    return _load(table.path, np.concatenate(values), np.concatenate(times) if times else None, sample_min, percent)


def _checked_times(table: Table, before: list[np.ndarray]) -> np.ndarray:
    """Return the minutes of the chunk's rows, which must follow the rows ``before`` at the first interval."""
    minutes = table.clock_min("time")
    earlier = np.concatenate([*before, minutes])
    step = earlier[1] - earlier[0] if len(earlier) > 1 else 1.0
    gaps = np.diff(np.concatenate([earlier[: -len(minutes)][-1:], minutes]))
    right = np.concatenate([np.ones(len(minutes) - len(gaps), np.bool_), (gaps == step) & (gaps > 0.0)])
    table.check(right, "time", f"{step:g} min after the row before", "Fill the gap.")
    return minutes


def _load(
    file: Path, values: np.ndarray, minutes: np.ndarray | None, sample_min: float | None, percent: bool | None
) -> Load:
    """Return the load from a midnight on."""
    step = sample_min if sample_min is not None else 60.0
    first = 0
    if minutes is not None:
        step = float(minutes[1] - minutes[0])
        first = int(np.ceil((-minutes[0] % DAY_MIN) / step))
    if step < 1.0 or DAY_MIN % step:
        raise InvalidValue(
            f"{file}: the interval of samples must divide a day and be at least 1 min, got {step:g} min."
        )
    values = values[first:] if len(values) - first >= DAY_MIN / step else values
    scale = 0.01 if (values.max() > 1.5 if percent is None else percent) else 1.0
    if values.max() * scale > 1.0 + 1e-9:
        raise InvalidFile(
            f"{file}, column utilisation: must be at most 1, or at most 100 in per cent, got {values.max():g}. "
            "Say which it is: percent=True or False."
        )
    return Load(file.name, np.minimum(values * scale, 1.0), step)
