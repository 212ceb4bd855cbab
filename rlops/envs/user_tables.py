"""Tables from files, and what to say about a cell that breaks a rule: CSV and Parquet, any number of rows."""

from __future__ import annotations

import csv
import gzip
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from rlops.errors import InvalidFile, MissingExtra

CHUNK = 100_000
"""Rows that are parsed at a time."""
EPOCH = datetime(1970, 1, 1)


def checked_file(path: str | os.PathLike[str], extensions: Sequence[str]) -> Path:
    """Return ``path`` if it is a file with one of ``extensions``."""
    file = Path(path)
    if not file.is_file():
        got = "a folder" if file.is_dir() else "nothing there"
        raise InvalidFile(f"{file}: must be a file, got {got}. Check the path.")
    if not file.name.lower().endswith(tuple(extensions)):
        raise InvalidFile(
            f"{file}: the name must end in {', '.join(extensions)}, got {file.name!r}. Convert or rename the file."
        )
    return file


class Table:
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
                if len(labels) == CHUNK:
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
            for batch in file.iter_batches(batch_size=CHUNK, columns=names):
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
                if not is_number(text):
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
        return is_number(cells[0]) if isinstance(cells, list) else cells.dtype.kind == "f"

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
                minutes[i] = (datetime.fromisoformat(text).replace(tzinfo=None) - EPOCH) / timedelta(minutes=1)
            except ValueError:
                raise self.refuse(i, name, must) from None
        return minutes


def is_number(text: str) -> bool:
    """Return whether a cell reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
