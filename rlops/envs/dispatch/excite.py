"""Where a parameter of Dispatch matters: some act only together with others, or on the user's bookings.

And where an episode is truncated: where vehicles are few and slow, and riders wait for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MATTERS_WITH: dict[str, dict[str, float]] = {
    "alight_wc_min": {"wc_share": 0.4, "cap_wc": 3},
    "board_wc_min": {"wc_share": 0.4, "cap_wc": 3},
    "congestion_rho": {"congestion_sd": 0.15},
    "ev_charge_kw": {"ev_share": 1, "ev_range_km": 160},
    "ev_range_km": {"ev_share": 1},
    "ev_share": {"ev_range_km": 160, "ev_charge_kw": 22},
    "hotspots": {"hotspot_share": 0.9},
    "lookahead_min": {"prebook_share": 1},
    "repair_min": {"breakdown_per_km": 2e-3},
    "ride_limit_factor": {"leg_noise_sd": 0.35},
    "ride_limit_min": {"leg_noise_sd": 0.35, "ride_limit_factor": 1.2},
    "truncated": {
        "area_half_width_km": 9,
        "base_speed_kmh": 22,
        "board_amb_min": 5,
        "board_wc_min": 10,
        "circuity": 1.45,
        "congestion_rho": 0.98,
        "congestion_sd": 0.15,
        "late_cancel": 0,
        "leg_noise_sd": 0.35,
        "n_vehicles": 5,
        "no_show": 0,
        "patience_min": 60,
        "shift_min": 720,
        "traffic_day_sd": 0.25,
        "window_half_min": 30,
    },
}

_RUSH: dict[str, Any] = {"arrival_rush": 1, "arrival_midday": 1, "arrival_else": 1, "load_end_probability": 0.01}
_CROWDED: dict[str, Any] = {
    "demand_per_day": 280,
    "demand_day_cv": 0.3,
    "hotspots": 8,
    "hotspot_share": 0.9,
    "directional_am": 0.25,
    "late_cancel": 0.15,
    "no_show": 0.12,
    "wc_share": 0.4,
    "party2_share": 0.3,
    "patience_min": 60,
    "base_speed_kmh": 22,
}
_QUIET: dict[str, Any] = {"demand_per_day": 100, "patience_min": 10, "window_half_min": 10, "prebook_share": 1}
_BROKEN: dict[str, Any] = {"breakdown_per_km": 2e-3, "repair_min": 60, "leg_noise_sd": 0.35, "ride_limit_factor": 1.2}
_ELECTRIC: dict[str, Any] = {"ev_share": 0.5, "ev_range_km": 160, "ev_charge_kw": 22, "shift_min": 480}
_BOOKED_AHEAD: dict[str, Any] = {"prebook_share": 1, "demand_per_day": 280, "base_speed_kmh": 22}
_CITY: tuple[dict[str, Any], ...] = (
    *({"name": f"demand profile {k}", "params": {"demand_profile": k}, "last": 3, "seed": 310 + k} for k in (1, 2, 3)),
    {"name": "a full day", "params": {"demand_per_day": 280, "demand_day_cv": 0.3}, "last": 3, "seed": 325},
    {"name": "nobody drives", "params": _QUIET, "waits": 1.0, "seed": 320},
    {
        "name": "riders cancel",
        "params": {"demand_per_day": 280, "late_cancel": 0.15, "patience_min": 60},
        "waits": 1.0,
        "seed": 321,
    },
)
SITUATIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "Dispatch-v0": (
        {"name": "a full fleet", "params": _RUSH, "any_action": 0.0},
        {"name": "illegal actions", "any_action": 1.0, "seed": 301},
    ),
    "Dispatch-v1": (
        *_CITY,
        {"name": "a crowded day", "params": _CROWDED, "waits": 0.5, "any_action": 0.0},
        {"name": "departures at once", "params": _BOOKED_AHEAD, "any_action": 0.0, "last": 5, "seed": 330},
        {
            "name": "a rider who would have cancelled",
            "params": _CROWDED,
            "any_action": 0.0,
            "first": 110,
            "last": 150,
            "seed": 355,
        },
    ),
    "Dispatch-v2": (
        *_CITY,
        {"name": "a crowded day", "params": {**_CROWDED, "n_vehicles": 16}, "waits": 0.5, "any_action": 0.0},
        {"name": "departures at once", "params": _BOOKED_AHEAD, "any_action": 0.0, "last": 6, "seed": 340},
        {"name": "breakdowns", "params": _BROKEN, "waits": 0.3, "seed": 302},
        {"name": "electric vehicles", "params": _ELECTRIC, "waits": 0.3, "seed": 303},
        {"name": "from event to event", "params": {"event_driven": 1, "pooling": 0}, "waits": 0.5, "seed": 304},
    ),
    "DispatchStatic-v2": (
        {"name": "illegal actions", "any_action": 1.0, "seed": 301},
        {"name": "long rides", "params": {"max_ride_min": 20, "half_width_min": 20, "service_min": 0}, "seed": 302},
        {
            "name": "one vehicle",
            "params": {"n_requests": 30, "vehicles": 1, "capacity": 1},
            "any_action": 0,
            "seed": 303,
        },
    ),
    "DispatchReposition-v2": (
        {"name": "moves of electric vehicles", "params": {**_ELECTRIC, "n_vehicles": 16}, "waits": 0.3, "seed": 305},
    ),
}
"""What seldom happens by itself, by version: see :class:`rlops.registry.dynamics.scripts.Situation`."""


def excite(name: str) -> dict[str, Any]:
    """Return the construction options under which the parameter ``name`` matters, or an episode ends as ``name``."""
    if name == "demand_day":
        return {"demand": _two_days()}
    return {"params": _MATTERS_WITH.get(name, {})}


def _two_days() -> np.ndarray:
    """Return bookings of two days: a trip every half hour, on the second day longer ones."""
    from rlops.envs.dispatch.city import DATA

    trips = np.zeros((2, 20), DATA)
    trips["day"] = [[0], [1]]
    trips["reveal_min"] = 30.0 * np.arange(20)
    trips["earliest_min"], trips["latest_min"] = trips["reveal_min"] + 10, trips["reveal_min"] + 40
    trips["pickup_x_km"], trips["dropoff_x_km"] = [[-1.0], [-3.0]], [[1.0], [3.0]]
    trips["ambulatory"] = 1
    return trips.ravel()
