"""The versions of data-centre cooling: each a named difference and its reason. A released one never changes."""

from rlops.envs.contract import Version

V0 = Version(
    0,
    "One zone with a fan and a valve; chilled water of 12 °C and a tower that comes within 4 K of the wet bulb. To "
    "learn what air flow and water flow do.",
    "rlops.envs.cooling.kernel_v0",
)
V1 = V0.next(
    "Four zones that share their return air, unequal loads, a chiller with a set point and a tower with a fan.",
    kernel="rlops.envs.cooling.kernel_v1",
)
