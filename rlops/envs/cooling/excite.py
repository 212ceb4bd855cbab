"""Where a parameter of data-centre cooling matters: in short episodes of a lightly loaded hall on a mild day.

Actions by chance starve the coils of a full hall of water within the hour; a light load lets episodes last. And what is
recorded because it seldom happens by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

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


_IDLE: dict[str, Any] = {"load_mean": 0.1, "idle_w": 60, "busy_w": 260, "it_scale": 0.4}
"""Servers that no action by chance makes hot."""
_HOT: dict[str, Any] = {
    "air_mass": 0.6,
    "busy_w": 600,
    "bypass": 0,
    "coil_ua": 1.5,
    "fan_knee_c": 30,
    "fan_slew_s": 15,
    "hot_spot": 0,
    "it_scale": 1.3,
    "leak_per_k": 0.005,
    "load_mean": 0.95,
    "load_scale": 2,
    "recirculation": 0.15,
    "recirculation_lag_s": 10,
    "server_mass": 0.3,
    "valve_slew_s": 5,
    "chiller_capacity_w": 2e6,
    "loop_lag_s": 30,
}
"""Light, busy servers that nearly follow their air: whose inlets are too hot only every other minute, they are most."""
_COLD: dict[str, Any] = {
    "bypass": 0,
    "coil_ua": 1.5,
    "hot_spot": 0,
    "load_mean": 0.05,
    "loop_lag_s": 30,
    "recirculation": 0,
    "sensor_bias_k": -3,
    "sensor_noise_k": 1,
}


def _from_files(hours: int, samples: int) -> np.ndarray:
    """Return ``hours`` of weather beside ``samples`` of load, one every quarter."""
    from rlops.envs.cooling.site import DATA

    k = np.arange(max(hours, samples))
    rows = np.zeros(len(k), DATA)
    rows["hours"], rows["samples"], rows["sample_min"] = hours, samples, 15.0
    rows["dry_bulb_c"] = 12.0 + 0.25 * (k % 48) - 0.5 * (k % 11)
    rows["relative_humidity"] = 0.4 + 0.05 * (k % 12)
    rows["air_pa"] = 98e3 + 125.0 * (k % 17)
    rows["day_of_year"] = 100.0 + k // 24
    rows["utilisation"] = 0.1 + 0.025 * (k % 13)
    return rows


_five_days = partial(_from_files, 5 * 24, 5 * 96)
_an_hour = partial(_from_files, 1, 1)


def _of_every_hall(zones: int) -> tuple[dict[str, Any], ...]:
    """Return what is rare in a hall of one zone or four."""
    plant = (0.0, 0.5) if zones > 1 else ()

    def wanted(*fans_and_valves: tuple[float, float]) -> tuple[tuple[float, ...], ...]:
        return tuple((*(fan,) * zones, *(valve,) * zones, *plant) for fan, valve in fans_and_valves)

    return (
        {"name": "valves that hardly open", "params": {"valve_slew_s": 5}, "actions": wanted((0.5, -0.959)), "last": 4},
        {"name": "servers too hot before inlets", "params": _HOT, "actions": wanted((1.0, 1.0), (-1.0, 0.2))},
        {
            "name": "supply air too hot to be shown",
            "params": {**_HOT, "fan_gain": 1.1, "sensor_bias_k": 3, "sensor_lag_s": 1, "sensor_noise_k": 1},
            "actions": wanted(*((1.0, -0.95),) * 4, (1.0, -1.0)),
            "seed": 4,
        },
        {"name": "a wet bulb that is nearly close enough", "last": 1, "seed": 22794},
        {"name": "days from files", "params": {**_IDLE, "horizon_min": 60}, "data": _five_days, "seed": 314},
        {
            "name": "weather from a file",
            "params": _IDLE,
            "data": partial(_from_files, 5 * 24, 0),
            "last": 2,
            "seed": 301,
        },
        {"name": "load from a file", "params": _IDLE, "data": partial(_from_files, 0, 5 * 96), "last": 2, "seed": 301},
        {"name": "an hour from files", "params": _IDLE, "data": _an_hour, "last": 2, "seed": 301},
        {
            "name": "midnight, from files",
            "params": {**_IDLE, "horizon_min": 2880},
            "data": _five_days,
            "first": 1430,
            "last": 1445,
            "seed": 302,
        },
        {"name": "a weekend begins", "params": _IDLE, "first": 1430, "last": 1445, "seed": 308},
    )


def _agents_want(handler: tuple[float, float], plant: tuple[float, float]) -> np.ndarray:
    """Return what the agents of a hall of four zones want, all air handlers the same."""
    return np.array([handler] * 4 + [plant])


SITUATIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "DatacenterCooling-v0": _of_every_hall(1),
    "DatacenterCooling-v1": (
        *_of_every_hall(4),
        {
            "name": "loads that move every hour",
            "params": {**_IDLE, "shift_per_day": 24, "zone_skew": 0.6},
            "first": 55,
            "last": 65,
            "seed": 304,
        },
        {
            "name": "loads that may move",
            "params": {**_IDLE, "shift_per_day": 12, "zone_skew": 0.6},
            "first": 55,
            "last": 65,
            "seed": 314,
        },
        {
            "name": "agents with rewards of their own",
            "params": {"reward_mode": 1, "fan_slew_s": 300},
            "agents": True,
            "last": 10,
            "seed": 306,
        },
        {
            "name": "agents whose inlets are too hot to be shown",
            "params": {**_HOT, "sensor_bias_k": 3},
            "agents": True,
            "actions": (_agents_want((1.0, 1.0), (0.0, 0.5)), _agents_want((-1.0, 0.2), (0.0, 0.5))),
            "last": 16,
            "seed": 307,
        },
        {
            "name": "agents whose inlets are hardly warm enough to be shown",
            "params": {**_IDLE, **_COLD},
            "agents": True,
            "actions": (_agents_want((0.0, 1.0), (-1.0, 1.0)),),
            "first": 45,
            "last": 48,
            "seed": 181,
        },
    ),
}
"""What seldom happens by itself, by version: see :class:`rlops.registry.dynamics.scripts.Situation`."""


def excite(name: str) -> dict[str, Any]:
    """Return the construction options under which the parameter ``name`` matters, or an episode ends as ``name``.

    ``reference`` is the episode of a controller.
    """
    return {"params": _MATTERS_WITH.get(name, _LASTING)}
