"""Ranges that widen while an agent learns: in a line with the steps taken, or as far as its performance allows.

Both begin where every parameter has its nominal value and end at the ranges of the specification. A schedule only moves
the ends of the ranges that the compiled draw reads; what an episode draws within them is keyed as ever. Its state is
plain numbers, so it can be saved beside an agent and goes on bit for bit.

Automatic domain randomization: OpenAI et al. 2019, "Solving Rubik's Cube with a Robot Hand", section 5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rlops.envs.compiling import compiled
from rlops.envs.sampling import draw_parameters, pinned_at
from rlops.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from rlops.envs.batch import Batch
    from rlops.randomization.spec import Adr, Linear

LENGTH = "length"
"""The metric that every environment has: steps of the episode."""


@compiled
def _pinned_ends(plan, values, numbers, usual, keys, out):  # type: ignore[no-untyped-def]
    """Write to which end each of the episodes with ``keys`` is pinned; -1: to none, or to one that has moved since.

    ``numbers`` and ``usual`` are their parameters, ``(m, k)``, in force and without a plan.
    """
    for i in range(len(keys)):
        out[i] = pinned_at(values, keys[i])
        for t in range(len(plan)):
            if out[i] >= 0 and plan[t].pinned == out[i] // 2:
                now = numbers[i].copy()
                draw_parameters(plan, values, now, usual[i], keys[i], np.uint64(0), 0, 0)
                if now[plan[t].parameter] != numbers[i, plan[t].parameter]:
                    out[i] = -1


class Schedule(ABC):
    """The ends of the scheduled ranges, and what moves them.

    Attributes:
        names: The scheduled parameters, in the order of their places among the terms that may be pinned.
        low: Present lower ends, ``(m,)``, in what the terms are uniform in (logarithms for ``loguniform``).
        high: Present upper ends.
    """

    def __init__(self, names: tuple[str, ...], rows: np.ndarray, start: np.ndarray, low: np.ndarray, high: np.ndarray):
        """Schedule the terms of a plan at ``rows`` (m,) from ``start`` (m,) to ``low`` and ``high``."""
        self.names, self._rows = names, rows
        self._start, self._end_low, self._end_high = start, low, high
        self.low, self.high = start.copy(), start.copy()

    def write(self, terms: np.ndarray) -> None:
        """Write the present ends into the ``terms`` of a plan, from which the next episodes draw."""
        terms["a"][self._rows], terms["b"][self._rows] = self.low, self.high

    @abstractmethod
    def ended(self, batch: Batch, rows: np.ndarray) -> bool:
        """Take notice that the episodes of ``rows`` (n,) bool have ended; return whether ends have moved."""

    def state(self) -> dict[str, Any]:
        """Return all that the schedule remembers, ready for JSON."""
        ends = zip(self.names, self.low.tolist(), self.high.tolist(), strict=True)
        return {"ranges": {name: [low, high] for name, low, high in ends}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            InvalidValue: If it belongs to another schedule.
        """
        ranges = state.get("ranges", {})
        if set(ranges) != set(self.names) or set(state) != set(self.state()):
            raise InvalidValue(
                f"A schedule's state must be of the same kind and parameters, {', '.join(self.names)}, "
                f"got {', '.join(state)} of {', '.join(ranges) or 'none'}. Load it into the randomization it is from."
            )
        self.low = np.array([ranges[name][0] for name in self.names], float)
        self.high = np.array([ranges[name][1] for name in self.names], float)


class LinearSchedule(Schedule):
    """Widens in a line with the steps of the episodes that have ended."""

    def __init__(self, spec: Linear, *terms: Any):
        """Schedule ``terms`` (see :class:`Schedule`) over ``spec.steps`` steps."""
        super().__init__(*terms)
        self._over, self._steps = spec.steps, 0

    def ended(self, batch: Batch, rows: np.ndarray) -> bool:
        """See :meth:`Schedule.ended`."""
        before, self._steps = self._steps, self._steps + int(batch.state["steps"][rows].sum())
        share = min(self._steps / self._over, 1.0)
        self.low = self._start + share * (self._end_low - self._start)
        self.high = self._start + share * (self._end_high - self._start)
        return before < self._over

    def state(self) -> dict[str, Any]:
        """See :meth:`Schedule.state`."""
        return {**super().state(), "steps": self._steps}

    def load(self, state: Mapping[str, Any]) -> None:
        """See :meth:`Schedule.load`."""
        super().load(state)
        self._steps = int(state["steps"])


class AdrSchedule(Schedule):
    """Widens one end when the agent does well with the parameter at that very end, and narrows it when it does badly.

    A share of the episodes has one parameter pinned to one of its ends; their metric goes to that end's window. When
    the window is full, its mean decides, and it is emptied.
    """

    def __init__(self, spec: Adr, metric: int | None, *terms: Any):
        """Schedule ``terms`` (see :class:`Schedule`) by the key figure at ``metric``; None: by the episode's length."""
        super().__init__(*terms)
        self._spec, self._metric = spec, metric
        self._windows: list[list[float]] = [[] for _ in range(2 * len(self.names))]

    def ended(self, batch: Batch, rows: np.ndarray) -> bool:
        """See :meth:`Schedule.ended`."""
        pinned = np.empty(int(rows.sum()), np.int64)
        keys = batch.state["key"][rows]
        _pinned_ends(batch.plan, batch.plan_values, batch.numbers[rows], batch.usual[rows], keys, pinned)
        metric = batch.state["steps"][rows] if self._metric is None else batch.out.kpis[rows, self._metric]
        moved = False
        for end, value in zip(pinned.tolist(), metric.tolist(), strict=True):
            if end >= 0:
                self._windows[end].append(float(value))
                if len(self._windows[end]) == self._spec.window:
                    moved |= self._move(end // 2, end % 2)
        return moved

    def _move(self, term: int, upper: int) -> bool:
        """Widen or narrow one end by what its window says, and empty the window."""
        window = self._windows[2 * term + upper]
        mean = sum(window) / len(window)
        window.clear()
        direction = int(mean >= self._spec.high) - int(mean <= self._spec.low)
        step = self._spec.delta * (self._end_high[term] - self._end_low[term])
        if upper:
            before, wide = self.high[term], self.high[term] + direction * step
            self.high[term] = min(max(wide, self._start[term]), self._end_high[term])
            return bool(self.high[term] != before)
        before, wide = self.low[term], self.low[term] - direction * step
        self.low[term] = max(min(wide, self._start[term]), self._end_low[term])
        return bool(self.low[term] != before)

    def state(self) -> dict[str, Any]:
        """See :meth:`Schedule.state`."""
        return {**super().state(), "windows": [list(window) for window in self._windows]}

    def load(self, state: Mapping[str, Any]) -> None:
        """See :meth:`Schedule.load`."""
        super().load(state)
        self._windows = [[float(value) for value in window] for window in state["windows"]]


def metric_column(name: str, kpis: tuple[str, ...], id: str) -> int | None:
    """Return which key figure a metric is; None for the episode's length.

    Raises:
        UnknownName: If the environment has no such key figure.
    """
    if name == LENGTH:
        return None
    if name not in kpis:
        raise UnknownName("metric of the schedule", name, (LENGTH, *kpis), id)
    return kpis.index(name)
