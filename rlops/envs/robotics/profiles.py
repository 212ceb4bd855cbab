"""Reality profiles: robots that are not quite those that a policy was trained on, for evaluation only.

A twin in another engine agrees with the first to the last digits wherever nothing touches, and says nothing about
reality there. A profile declares what reality adds: motors that lag and lose force to friction, commands and cameras
that are late or noisy, encoders with steps, something carried or off its centre. It is versioned like an environment:
one that has been published never changes. Never train or tune on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rlops.envs import parse_id
from rlops.errors import UnknownName


@dataclass(frozen=True)
class Profile:
    """What stands for reality.

    Attributes:
        name: Of the profile: a letter that names the reality, a number that names its version.
        reason: What it stands for.
        params: Parameters that differ from the nominal ones.
        engine: The engine that moves it.
    """

    name: str
    reason: str
    params: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    engine: str = "pybullet"

    def options(self) -> dict[str, Any]:
        """Return the construction options of an environment under this profile."""
        return {"engine": self.engine, "params": dict(self.params)}


_DRIVES = {"motor_gain": 0.93, "motor_lag_s": 0.025, "latency_s": 0.02, "dry_friction": 0.02}
_READINGS = {"position_noise": 0.0005, "velocity_noise": 0.01, "encoder_step": 0.0015}
_ARM = {
    **_DRIVES, **_READINGS, "camera_noise_m": 0.001, "upper_mass_kg": 1.6, "fore_mass_kg": 1.1, "joint_damping": 0.16,
}  # fmt: skip
_LOADED = "Geared motors, a load of 20 kg, a worn wheel, wet spots, an aged battery, a lidar that misses."
_WAREHOUSE = {
    **_DRIVES, "payload_kg": 20, "centre_m": 0.02, "grip": 0.5, "rolling_resistance": 0.022, "wheel_mismatch": 0.006,
    "battery_ohm": 0.2, "wet_share": 0.05, "slope_rad": 0.003, "position_noise_m": 0.015, "heading_noise_rad": 0.01,
    "odometry_noise": 0.15, "lidar_noise_m": 0.015, "lidar_dropout": 0.01,
}  # fmt: skip

PROFILES: dict[str, tuple[Profile, ...]] = {
    "CartBalance": (
        Profile(
            "a1",
            "A geared motor, encoders of 4,096 steps, a fitting at the tip of the pole, a rail that is not clean.",
            MappingProxyType({**_DRIVES, **_READINGS, "payload_kg": 0.03, "rail_damping": 0.35, "gust_n": 1.0}),
        ),
    ),
    "ArmReach": (
        Profile(
            "a1",
            "Geared joints, encoders of 4,096 steps, a tool of 150 g in the hand, a camera with a millimetre of noise.",
            MappingProxyType({**_ARM, "payload_kg": 0.15}),
        ),
    ),
    "ArmPush": (
        Profile(
            "a1",
            "Geared joints, encoders of 4,096 steps, a box that is heavier, off its centre, and slides less well.",
            MappingProxyType({**_ARM, "box_mass_kg": 0.6, "box_centre_m": 0.006, "friction": 0.6, "tip_friction": 0.4}),
        ),
    ),
    "WarehouseNav": (Profile("a1", _LOADED, MappingProxyType({**_WAREHOUSE, "battery_wh": 0.85})),),
    "WarehouseFleet": (Profile("a1", _LOADED, MappingProxyType({**_WAREHOUSE, "battery_wh": 2.5})),),
}
"""By family, the newest version of a reality last."""


def reality(id: str, name: str = "a1") -> Profile:
    """Return a reality profile of an environment.

    Args:
        id: For example ``rlops/ArmPush-v0``.
        name: Of the profile.

    Raises:
        UnknownName: If it has none of that name.
    """
    family, _ = parse_id(id)
    known = {profile.name: profile for profile in PROFILES.get(family.name, ())}
    if name not in known:
        raise UnknownName("reality profile", name, known, id)
    return known[name]
