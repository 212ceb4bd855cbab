"""Where a parameter of Dispatch matters: some act only together with others, or on the user's bookings.

Where an episode is truncated: where vehicles are few and slow, and riders wait for them. And what is recorded because
it seldom happens by itself.
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
_DIRECTED: dict[str, Any] = {"demand_per_day": 280, "directional_am": 0.25, "demand_profile": 3}
_SHORT_RIDES: dict[str, Any] = {
    "demand_per_day": 280,
    "demand_profile": 1,
    "hotspot_share": 0.9,
    "hotspots": 1,
    "area_half_width_km": 5,
    "base_speed_kmh": 22,
    "board_amb_min": 1,
    "alight_amb_min": 0.5,
    "late_cancel": 0,
    "no_show": 0,
}
_LOW_RANGE: dict[str, Any] = {
    "ev_share": 1,
    "ev_range_km": 160,
    "ev_charge_kw": 22,
    "shift_min": 720,
    "demand_per_day": 280,
    "late_cancel": 0.15,
    "prebook_share": 1,
    "lookahead_min": 240,
    "patience_min": 10,
    "window_half_min": 10,
    "area_half_width_km": 9,
    "circuity": 1.45,
    "base_speed_kmh": 45,
}


def _three_days() -> np.ndarray:
    """Return bookings of three days: a few, as many as a day can hold, one."""
    from rlops.envs.dispatch.city import DATA, MAX_BOOKINGS

    rows = (4, MAX_BOOKINGS, 1)
    trips = np.zeros(sum(rows), DATA)
    trips["day"] = np.repeat(np.arange(3), rows)
    k = np.concatenate([np.arange(n) for n in rows])
    trips["reveal_min"] = 2.0 * k
    trips["earliest_min"] = trips["reveal_min"] + 5 + k % 3
    trips["latest_min"] = trips["earliest_min"] + 20 + k % 5
    trips["pickup_x_km"], trips["pickup_y_km"] = k % 7 - 3.5, 0.5 * (k % 11) - 2.0
    trips["dropoff_x_km"], trips["dropoff_y_km"] = 1.5 - k % 5, 0.25 * (k % 13) + 0.5
    trips["wheelchair"] = k % 4 == 1
    trips["ambulatory"] = 1 + k % 2 - trips["wheelchair"]
    trips["prebooked"] = k % 3 > 0
    return trips


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
    {"name": "the first day of a table", "params": {"demand_day": 0}, "data": _three_days, "last": 40, "seed": 355},
    {
        "name": "a day that ends as early as it may",
        "params": {"demand_day": 0},
        "data": _three_days,
        "waits": 1.0,
        "first": 716,
        "last": 725,
        "seed": 355,
    },
    {"name": "a table's day by chance", "data": _three_days, "last": 10, "seed": 351},
    {"name": "a full day of a table", "params": {"demand_day": 1}, "data": _three_days, "last": 3, "seed": 352},
    {
        "name": "no place for wheelchairs",
        "params": {"cap_wc": 0, "wc_share": 0.4, "prebook_share": 1},
        "any_action": 0.0,
        "last": 10,
        "seed": 353,
    },
    {"name": "the morning begins", "params": _DIRECTED, "last": 2, "seed": 491},
    {"name": "the afternoon begins", "params": _DIRECTED, "last": 2, "seed": 434},
)


def _no_request(depot: tuple[float, float], requests: int) -> dict[str, Any]:
    """Return an instance whose requests ask for nothing yet, around a depot that is not the origin."""
    nodes = 2 * requests + 1
    instance: dict[str, Any] = {name: np.zeros(nodes) for name in ("x", "y", "service", "earliest")}
    k = np.arange(nodes)
    instance["x"], instance["y"] = depot[0] + 1.5 * (k % 7) - 4.0, depot[1] + 1.25 * (k % 5) - 2.0
    instance["x"][0], instance["y"][0] = depot
    instance["service"][1:] = 2.0 + 0.5 * (k[1:] % 3)
    instance["load"] = np.concatenate([[0], *(sign * (1 + np.arange(requests) % 2) for sign in (1, -1))])
    instance["latest"] = np.full(nodes, 480.0)
    return instance | {"vehicles": 3, "capacity": 3}


def _largest_instance() -> np.ndarray:
    """Return an instance of 100 requests: odd ones are due at once, even ones are waited for at the delivery."""
    from rlops.envs.dispatch.static import data_from

    instance = _no_request((3.0, -2.0), 100)
    instance["latest"][1:101:2] = 30.0
    instance["earliest"][102::2] = 150.0
    return data_from(instance | {"max_ride_min": 40.0, "max_route_min": 480.0})


def _limited_instances() -> np.ndarray:
    """Return instances that limit rides, routes, or neither."""
    from rlops.envs.dispatch.static import data_from

    instance = _no_request((-4.0, 6.0), 6)
    instance["latest"][1::2] = 90.0
    instance["earliest"][8::2] = 60.0
    limits: tuple[dict[str, float], ...] = ({"max_ride_min": 25.0}, {"max_route_min": 75.0}, {})
    return data_from([instance | limit for limit in limits])


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
        {
            "name": "a ride of a minute",
            "params": _SHORT_RIDES,
            "any_action": 0.0,
            "first": 30,
            "last": 45,
            "seed": 402,
        },
    ),
    "Dispatch-v2": (
        *_CITY,
        {"name": "a crowded day", "params": {**_CROWDED, "n_vehicles": 16}, "waits": 0.5, "any_action": 0.0},
        {"name": "departures at once", "params": _BOOKED_AHEAD, "any_action": 0.0, "last": 6, "seed": 340},
        {
            "name": "agents with rewards of their own",
            "params": {"reward_sharing": 1, "demand_per_day": 280, "prebook_share": 1},
            "agents": True,
            "last": 60,
            "seed": 306,
        },
        {"name": "every booking is declined", "variant": "allow_decline", "waits": 1.0, "last": 20, "seed": 307},
        {"name": "nobody to decline", "variant": "allow_decline", "any_action": 1.0, "last": 40, "seed": 308},
        {"name": "breakdowns", "params": _BROKEN, "waits": 0.3, "seed": 302},
        {"name": "a breakdown", "params": _BROKEN, "waits": 0.3, "first": 336, "last": 344, "seed": 302},
        {"name": "electric vehicles", "params": _ELECTRIC, "waits": 0.3, "seed": 303},
        {"name": "a late break", "params": _ELECTRIC, "waits": 0.3, "first": 412, "last": 420, "seed": 303},
        {
            "name": "a charge and a shift's end",
            "params": _ELECTRIC,
            "waits": 0.3,
            "first": 575,
            "last": 590,
            "seed": 303,
        },
        {
            "name": "a range that still suffices",
            "params": {**_ELECTRIC, "ev_share": 1, "shift_min": 720, "demand_per_day": 280, "n_vehicles": 16},
            "waits": 0.3,
            "any_action": 0.0,
            "first": 417,
            "last": 425,
            "seed": 731,
        },
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
        {
            "name": "one place",
            "params": {"n_requests": 8, "vehicles": 1, "capacity": 1, "horizon_min": 240},
            "last": 2,
            "seed": 340,
        },
        {"name": "a hundred requests", "data": _largest_instance, "any_action": 0.0, "last": 6, "seed": 329},
        *(
            {"name": name, "data": _limited_instances, "any_action": 0.0, "seed": seed}
            for name, seed in (("limited rides", 310), ("limited routes", 315), ("no limits", 318))
        ),
    ),
    "DispatchReposition-v2": (
        {"name": "moves of electric vehicles", "params": {**_ELECTRIC, "n_vehicles": 16}, "waits": 0.3, "seed": 305},
        {
            "name": "moves before the end of a shift",
            "params": {**_ELECTRIC, "n_vehicles": 16},
            "waits": 0.3,
            "first": 838,
            "last": 858,
            "seed": 305,
        },
        {
            "name": "a booking withdrawn while the range is low",
            "params": _LOW_RANGE,
            "waits": 0.5,
            "any_action": 0.0,
            "first": 395,
            "last": 410,
            "seed": 2165,
        },
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
