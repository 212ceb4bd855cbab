"""The versions of the robots' environments: each a named difference and its reason. A released one never changes."""

from rlops.envs.contract import Version

CART_BALANCE_V0 = Version(
    0,
    "A motor with a limit moves a cart; its pole is to be held upright in the middle of the rail.",
    "rlops.envs.robotics.kernel_cart_balance",
)
ARM_REACH_V0 = Version(
    0,
    "An arm with a shoulder, an elbow and a quill brings its hand to a goal in space; nothing touches anything.",
    "rlops.envs.robotics.kernel_arm_reach",
)
ARM_PUSH_V0 = Version(
    0,
    "An arm with a shoulder and an elbow slides a box on the floor to a goal: contacts with dry friction.",
    "rlops.envs.robotics.kernel_arm_push",
)
WAREHOUSE_NAV_V0 = Version(
    0,
    "A robot with a lidar drives through a warehouse of drawn shelves to a goal: slip, payload, a battery that sags.",
    "rlops.envs.robotics.kernel_warehouse_nav",
)
WAREHOUSE_FLEET_V0 = Version(
    0,
    "Four such robots carry orders from the shelves to two docks, share the aisles, and are charged while they unload.",
    "rlops.envs.robotics.kernel_warehouse_fleet",
)
