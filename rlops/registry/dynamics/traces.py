"""What happened in an episode as named arrays: packed small, and compared to the last bit.

A trace is a dict of arrays by name, all with time as their first axis. Names begin with what they belong to
(:func:`clock`): ``state.x_km`` is one field of the state, ``terms.fare`` a term of the reward. Arrays of ``T + 1``
moments begin with the reset, those of ``T`` steps with the first step, those of one entry hold for the episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Trace = dict[str, np.ndarray]

ONCE, MOMENTS, STEPS = "once", "moments", "steps"
_CLOCKS = {
    "params": ONCE,
    "key figures": ONCE,
    "state": MOMENTS,
    "observation": MOMENTS,
    "mask": MOMENTS,
    "context": MOMENTS,
    "agents": MOMENTS,
    "ended": STEPS,
    "terms": STEPS,
    "reward": STEPS,
    "rewards": STEPS,
}

SAME, ROUND_OFF, CHANGED = "same", "round-off", "changed"
SAME_WITHIN, ROUND_OFF_WITHIN = 1e-12, 1e-9
"""Scaled error of float64 numbers up to which they are the same, and up to which libraries only round differently: of
all measured cases of either kind none lies between 2.2e-13 and 1e-8."""
_FLOAT32_WITHIN = 2.0**-22
"""Scaled error of float32 numbers that rounding a slightly different float64 number explains: two units in the last
place."""


@dataclass(frozen=True)
class Difference:
    """Where a number first differs from the recorded one.

    Attributes:
        episode: Name of the episode.
        step: Steps taken, 0 being the reset.
        variable: For example ``state.x_km[3]``.
        golden, now: The recorded and the present number.
        ulps: Units in the last place between them; None if either is not finite, or they are whole numbers.
        scaled: Their distance over the largest recorded magnitude of the field.
    """

    episode: str
    step: int
    variable: str
    golden: float
    now: float
    ulps: int | None
    scaled: float

    def __str__(self) -> str:
        apart = f"|d| = {abs(self.now - self.golden):.3g}, scaled {self.scaled:.2g}"
        apart += "" if self.ulps is None else f", {self.ulps:.3g} ulp" if self.ulps > 999 else f", {self.ulps} ulp"
        where = f"episode {self.episode} step {self.step}, {self.variable}"
        return f"{where}: golden {self.golden!r} now {self.now!r} ({apart})"

    def as_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """How one array compares with the recorded one.

    Attributes:
        worst: Worst scaled error; 0 if all bits are equal.
        status: ``same``, ``round-off`` or ``changed``, by the scaled error.
        changed: For every moment whether it changed.
        differs: For every moment whether any bit differs.
    """

    worst: float
    status: str
    changed: np.ndarray
    differs: np.ndarray


def clock(name: str) -> str:
    """Return whether the array of this name has an entry for every moment, for every step, or one.

    >>> clock("state.x_km")
    'moments'
    """
    return _CLOCKS[name.partition(".")[0]]


def leaves(records: np.ndarray, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the fields of structured ``records`` (T,) as plain arrays ``(T, …)`` (views), by dotted name."""
    if records.dtype.names is None:
        yield name, records
        return
    for field in records.dtype.names:
        yield from leaves(records[field], f"{name}.{field}")


def compare(golden: np.ndarray, now: np.ndarray, scale: float | None = None) -> Comparison:
    """Compare two arrays of the same shape ``(T, …)``.

    Args:
        golden: What was recorded.
        now: What is.
        scale: What errors are divided by; default: the largest magnitude in ``golden``.
    """
    equal = (golden == now) | ((golden != golden) & (now != now))
    differs = np.asarray(~equal.reshape(len(golden), -1).all(axis=1))
    if not differs.any():
        return Comparison(0.0, SAME, differs, differs)
    error = scaled_error(golden, now, scale or largest(golden) or 1.0)
    same, round_off = (0.0, _FLOAT32_WITHIN) if golden.dtype == np.float32 else (SAME_WITHIN, ROUND_OFF_WITHIN)
    worst = float(error.max())
    status = SAME if worst <= same else ROUND_OFF if worst <= round_off else CHANGED
    return Comparison(worst, status, np.asarray((error > round_off).reshape(len(golden), -1).any(axis=1)), differs)


def largest(array: np.ndarray) -> float:
    """Return the largest finite magnitude of floating-point numbers; 0 without any."""
    sizes = np.abs(array[np.isfinite(array)]) if array.dtype.kind == "f" else np.zeros(0)
    return float(sizes.max(initial=0.0))


def scaled_error(golden: np.ndarray, now: np.ndarray, scale: float) -> np.ndarray:
    """Return the distance of every number over ``scale``; infinite where whole numbers or infinities differ."""
    equal = (golden == now) | ((golden != golden) & (now != now))
    if golden.dtype.kind != "f":
        return np.where(equal, 0.0, np.inf)
    with np.errstate(invalid="ignore"):
        error = np.abs(now.astype(np.float64) - golden.astype(np.float64)) / scale
    return np.where(equal, 0.0, np.where(np.isfinite(error), error, np.inf))


def first_difference(
    episode: str, name: str, golden: np.ndarray, now: np.ndarray, first_step: int = 0, scale: float | None = None
) -> Difference:
    """Return the first difference of two arrays that differ.

    Args:
        episode: Its name.
        name: That of the arrays.
        golden: What was recorded, ``(T, …)``.
        now: What is.
        first_step: Step of the first entry.
        scale: What errors are divided by; default: the largest magnitude in ``golden``.
    """
    equal = (golden == now) | ((golden != golden) & (now != now))
    moment = int(np.argmax(~equal.reshape(len(golden), -1).all(axis=1)))
    error = np.atleast_1d(scaled_error(golden[moment], now[moment], scale or largest(golden) or 1.0))
    place = np.unravel_index(int(np.argmax(error)), error.shape)
    a, b = np.atleast_1d(golden[moment])[place], np.atleast_1d(now[moment])[place]
    index = "".join(f"[{i}]" for i in place) if golden.ndim > 1 else ""
    return Difference(episode, first_step + moment, name + index, a.item(), b.item(), ulps(a, b), float(error.max()))


def ulps(a: Any, b: Any) -> int | None:
    """Return how many floating-point numbers lie between ``a`` and ``b``, counting one end.

    >>> ulps(np.float64(1.0), np.nextafter(1.0, 2.0))
    1
    >>> ulps(np.float64(-0.0), np.float64(5e-324))
    1
    """
    if a.dtype.kind != "f" or not (np.isfinite(a) and np.isfinite(b)):
        return None
    return abs(_order(a) - _order(b))


def _order(x: Any) -> int:
    """Return the place of a floating-point number among all of its type."""
    bits = int(x.view(f"i{x.dtype.itemsize}"))
    return bits if bits >= 0 else -(bits & ((1 << (8 * x.dtype.itemsize - 1)) - 1))


# -- packing: a state of tens of kilobytes moves in a few words a step ------------------------------------


def pack(trace: Mapping[str, np.ndarray]) -> tuple[list[list[Any]], dict[str, np.ndarray]]:
    """Return a layout, ready for JSON, and arrays that together say what ``trace`` says.

    Arrays of equal length and word size are put side by side; of the later moments only the words are kept that differ
    from the moment before.
    """
    layout: list[list[Any]] = []
    groups: dict[str, list[np.ndarray]] = {}
    for name, array in trace.items():
        contiguous = np.ascontiguousarray(array)
        group = f"{len(array)}x{8 * contiguous.itemsize}"
        layout.append([name, contiguous.dtype.str, list(contiguous.shape), group])
        words = contiguous.view(f"<u{contiguous.itemsize}").reshape(len(array), -1)
        groups.setdefault(group, []).append(words)
    packed = {}
    for group, parts in groups.items():
        words = np.concatenate(parts, axis=1)
        differs = words[1:] != words[:-1]
        at = np.nonzero(differs)[1]
        packed[f"{group}/first"] = words[:1]
        packed[f"{group}/count"] = differs.sum(axis=1).astype(np.uint32)
        packed[f"{group}/at"] = at.astype(np.uint16 if words.shape[1] <= 1 << 16 else np.uint32)
        packed[f"{group}/words"] = words[1:][differs]
    return layout, packed


def unpack(layout: Iterable[list[Any]], packed: Mapping[str, np.ndarray]) -> Trace:
    """Return the trace that :func:`pack` packed."""
    trace: Trace = {}
    groups: dict[str, np.ndarray] = {}
    used: dict[str, int] = {}
    for name, dtype, shape, group in layout:
        if group not in groups:
            groups[group], used[group] = _words(group, packed), 0
        columns = int(np.prod(shape[1:], dtype=np.int64))
        words = groups[group][:, used[group] : used[group] + columns]
        used[group] += columns
        trace[name] = np.ascontiguousarray(words).view(dtype).reshape(shape)
    return trace


def _words(group: str, packed: Mapping[str, np.ndarray]) -> np.ndarray:
    first, count, at, changed = (packed[f"{group}/{part}"] for part in ("first", "count", "at", "words"))
    words = np.empty((len(count) + 1 if len(first) else 0, first.shape[1]), first.dtype)
    words[:1] = first
    ends = np.concatenate([[0], np.cumsum(count, dtype=np.int64)]).astype(np.int64)
    for moment in range(1, len(words)):
        words[moment] = words[moment - 1]
        span = slice(ends[moment - 1], ends[moment])
        words[moment, at[span]] = changed[span]
    return words


def shortened(trace: Mapping[str, np.ndarray], first: int, last: int) -> Trace:
    """Return the steps from moment ``first`` to moment ``last`` of a trace."""
    spans = {MOMENTS: slice(first, last + 1), STEPS: slice(first, last), ONCE: slice(None)}
    return {name: array[spans[clock(name)]] for name, array in trace.items()}
