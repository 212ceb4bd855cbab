"""What a model says in numbers, as formulas of its parameters that compiled code evaluates for many rows.

``build(p)`` of a kernel is run once with a ``p`` that notes what is done to it (:class:`Noted`). To run it for every
row that begins, with Python's floats or with NumPy's columns, takes longer than such a row's step of the physics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlops.envs.compiling import compiled

_PARAMETER, _CONSTANT, _ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = range(6)


def _both(operation: int) -> tuple[Any, Any]:
    """Return the methods for an ``operation`` with the number before it and after it."""
    return (
        lambda self, other: self.notes.note(operation, self, other),
        lambda self, other: self.notes.note(operation, other, self),
    )


class Noted:
    """A number that depends on parameters: the line of the notes that says how.

    It knows the four operations, whose results are the same everywhere; a power's last bit depends on who computes it.
    """

    def __init__(self, notes: Notes, line: int):
        self.notes, self.line = notes, line

    __add__, __radd__ = _both(_ADD)
    __sub__, __rsub__ = _both(_SUBTRACT)
    __mul__, __rmul__ = _both(_MULTIPLY)
    __truediv__, __rtruediv__ = _both(_DIVIDE)

    def __neg__(self) -> Noted:
        return self.notes.note(_MULTIPLY, -1.0, self)


class Notes:
    """Parameters of which everything is noted that is done to them."""

    def __init__(self, dtype: np.dtype):
        """Stand for records of parameters of this ``dtype``."""
        self._dtype = dtype
        self._lines: list[tuple[int, int, int]] = []
        self._constants: list[float] = []

    def __getattr__(self, name: str) -> Noted:
        if name.startswith("_") or name not in (self._dtype.names or ()):
            raise AttributeError(name)
        integer = np.issubdtype(self._dtype[name], np.integer)
        return self._line(_PARAMETER, list(self._dtype.names or ()).index(name), int(integer))

    def note(self, operation: int, one: Any, other: Any) -> Noted:
        """Note an ``operation`` on two numbers."""
        lines = [number.line if isinstance(number, Noted) else self._constant(number) for number in (one, other)]
        return self._line(operation, *lines)

    def _constant(self, number: float) -> int:
        self._constants.append(float(number))
        return self._line(_CONSTANT, len(self._constants) - 1, 0).line

    def _line(self, operation: int, one: int, other: int) -> Noted:
        self._lines.append((operation, one, other))
        return Noted(self, len(self._lines) - 1)

    def formulas(self, wanted: Sequence[Noted]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what :func:`evaluate` needs for ``wanted`` (k,): the notes, their constants, and which lines."""
        lines = np.array([number.line for number in wanted], np.int64)
        return np.array(self._lines, np.int64).reshape(-1, 3), np.array(self._constants), lines


@compiled
def evaluate(numbers, reals, notes, constants, wanted, values):
    """Write into ``values`` (k,) what the ``notes`` (l, 3) say of the ``wanted`` (k,) lines.

    ``numbers`` and ``reals`` (parameters,) are one record of parameters, read as int64 and as float64.
    """
    found = np.empty(len(notes))
    for i in range(len(notes)):
        operation, one, other = notes[i]
        if operation == _PARAMETER:
            found[i] = numbers[one] if other else reals[one]
        elif operation == _CONSTANT:
            found[i] = constants[one]
        elif operation == _ADD:
            found[i] = found[one] + found[other]
        elif operation == _SUBTRACT:
            found[i] = found[one] - found[other]
        elif operation == _MULTIPLY:
            found[i] = found[one] * found[other]
        else:
            found[i] = found[one] / found[other]
    for k in range(len(wanted)):
        values[k] = found[wanted[k]]
