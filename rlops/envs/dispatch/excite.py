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
