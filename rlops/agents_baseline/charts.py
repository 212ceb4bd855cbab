"""What the charts of a day have in common: ink, paper, and a file that appears when it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlops.errors import MissingExtra
from rlops.files import written

PAPER, INK, SOFT_INK, RULE = "#f5f5f2", "#202938", "#626a76", "#dfdfda"
_STYLE: Any = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER,
    "axes.labelcolor": SOFT_INK,
    "xtick.color": SOFT_INK,
    "ytick.color": SOFT_INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def styled() -> Any:
    """Return a context in which figures are drawn alike.

    Raises:
        MissingExtra: If Matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise MissingExtra("The picture of a day", "render") from None
    return rc_context(_STYLE)


def save(figure: Any, path: str | Path) -> Path:
    """Write a figure into an image file whose suffix says the format, and return its path."""
    with written(path) as partial:
        figure.savefig(partial, facecolor=PAPER)
    return Path(path)
