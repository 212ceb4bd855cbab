"""Where a parameter of the robots matters."""

from __future__ import annotations

from typing import Any

_MATTERS_WITH: dict[str, dict[str, Any]] = {"tolerance_m": {"horizon_steps": 1000}}
"""By chance alone, a hand comes near a goal only in a long episode."""


def excite(name: str) -> dict[str, Any]:
    """Return the construction options under which the parameter ``name`` matters, or an episode ends as ``name``.

    ``reference`` is the episode of a controller.
    """
    return {"params": _MATTERS_WITH.get(name, {})}
