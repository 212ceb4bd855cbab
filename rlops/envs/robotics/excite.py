"""Where a parameter of the robots matters."""

from __future__ import annotations

from typing import Any

_MATTERS_WITH: dict[str, dict[str, Any]] = {
    "tolerance_m": {"horizon_steps": 1000},
    "service_s": {"tolerance_m": 2.0, "horizon_steps": 1000},
    "charger_w": {"tolerance_m": 2.0, "service_s": 0.1, "horizon_steps": 1000},
}
"""By chance alone, a hand or a robot comes near a goal only in a long episode, or if near is far away."""
SITUATIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "WarehouseNav-v0": (
        {"name": "a wall", "actions": ((1.0, 0.0),), "last": 80},
        {
            "name": "a spill on a slope", "actions": ((1.0, 0.2), (1.0, 0.2), (-1.0, 0.5)), "last": 60,
            "params": {"wet_share": 0.5, "slope_rad": 0.03, "grip": 0.3, "centre_m": 0.05},
        },
        {
            "name": "an empty battery", "actions": ((0.3, 1.0),), "last": 120,
            "params": {"battery_wh": 0.3, "battery_ohm": 0.5, "idle_w": 100, "start_charge": 0.35},
        },
    ),
    "WarehouseFleet-v0": (
        {
            "name": "orders", "last": 150, "seed": 301,
            "params": {"tolerance_m": 2.0, "service_s": 0.2, "shelf_rows": 1, "lidar_dropout": 0.1},
        },
        {"name": "a push", "actions": ((1.0, 0.1) * 4,), "last": 60, "params": {"wet_share": 0.3}},
    ),
}  # fmt: skip
"""What by chance is rare."""


def excite(name: str) -> dict[str, Any]:
    """Return the construction options under which the parameter ``name`` matters, or an episode ends as ``name``.

    ``reference`` is the episode of a controller.
    """
    return {"params": _MATTERS_WITH.get(name, {})}
