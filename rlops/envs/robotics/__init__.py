"""Robots: one model source for two physics engines, and tasks that do not know which one moves them.

See the README of this folder for the story, the models and the tables.
"""

from rlops.envs.contract import Family
from rlops.envs.robotics.versions import (
    ARM_PUSH_V0,
    ARM_REACH_V0,
    CART_BALANCE_V0,
    WAREHOUSE_FLEET_V0,
    WAREHOUSE_NAV_V0,
)

_EXCITE = "rlops.envs.robotics.excite"

CART_BALANCE = Family("CartBalance", "A cart on a rail holds a pole upright.", (CART_BALANCE_V0,), _EXCITE)
ARM_REACH = Family("ArmReach", "An arm brings its hand to a goal in space.", (ARM_REACH_V0,), _EXCITE)
ARM_PUSH = Family("ArmPush", "An arm slides a box on the floor to a goal.", (ARM_PUSH_V0,), _EXCITE)
WAREHOUSE_NAV = Family("WarehouseNav", "A robot drives through a warehouse.", (WAREHOUSE_NAV_V0,), _EXCITE)
WAREHOUSE_FLEET = Family("WarehouseFleet", "Robots carry orders through a warehouse.", (WAREHOUSE_FLEET_V0,), _EXCITE)

ROBOTICS = (CART_BALANCE, ARM_REACH, ARM_PUSH, WAREHOUSE_NAV, WAREHOUSE_FLEET)
