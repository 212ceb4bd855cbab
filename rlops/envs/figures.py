"""What pictures of any family say in words: key figures and the time of day."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A key figure as it is shown; ``bad`` figures are set apart when they are not zero."""

    label: str
    value: str
    unit: str = ""
    bad: bool = False


def time_of_day(minutes: float) -> str:
    """Return minutes after midnight as hours and minutes.

    >>> time_of_day(395.0)
    '06:35'
    """
    return f"{round(minutes) // 60 % 24:02d}:{round(minutes) % 60:02d}"
