"""Dispatch: which vehicle serves which booking, and when to decide.

See the README of this folder for the story, the equations and the tables.
"""

from rlops.envs.contract import Family
from rlops.envs.dispatch.versions import REPOSITION_V2, STATIC_V2, V0, V1, V2

_EXCITE = "rlops.envs.dispatch.excite"

DISPATCH = Family(
    "Dispatch", "A dispatcher assigns bookings of a day to the vehicles of a fleet.", (V0, V1, V2), _EXCITE
)
DISPATCH_REPOSITION = Family(
    "DispatchReposition",
    "A dispatcher assigns bookings of a day to the vehicles of a fleet, and sends idle ones where they may be needed.",
    (REPOSITION_V2,),
    _EXCITE,
)
DISPATCH_STATIC = Family(
    "DispatchStatic",
    "All requests are known in advance: the dial-a-ride and pickup-and-delivery problems with published optima.",
    (STATIC_V2,),
    _EXCITE,
)
