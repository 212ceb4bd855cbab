"""Where a parameter of data-centre cooling matters: in short episodes of a lightly loaded hall on a mild day.

Actions by chance starve the coils of a full hall of water within the hour; a light load lets episodes last.
"""

from __future__ import annotations

from typing import Any

_LASTING: dict[str, Any] = {"horizon_min": 180, "load_mean": 0.25, "weather_mean_c": 20.0}
_FULL: dict[str, Any] = {"horizon_min": 180, "load_mean": 0.6}
_GENTLE: dict[str, Any] = {"horizon_min": 60, "load_mean": 0.1}
_MATTERS_WITH: dict[str, dict[str, Any]] = {
    "bypass": _GENTLE,
    "coil_fouling": _GENTLE,
    "coil_ua": _GENTLE,
    "fan_gain": _GENTLE,
    "horizon_min": {"load_mean": 0.9},
    "hot_spot": _GENTLE,
    "over_allowable_usd": _FULL,
    "over_recommended_usd": _FULL,
    "rate_usd": _FULL,
    "recirculation": _GENTLE,
    "reference": {"horizon_min": 480},
    "truncated": _LASTING,
    "under_recommended_usd": {"horizon_min": 180, "load_mean": 0.05, "idle_w": 60.0},
    "weather_season_k": {**_LASTING, "start_day": 20},
}
"""Parameters that need something else than a light load. Under ``horizon_min`` a runaway ends the episode that its own
bound would let last a year."""


def excite(name: str) -> dict[str, Any]:
    """Return the construction options under which the parameter ``name`` matters, or an episode ends as ``name``.

    ``reference`` is the episode of a controller.
    """
    return {"params": _MATTERS_WITH.get(name, _LASTING)}
