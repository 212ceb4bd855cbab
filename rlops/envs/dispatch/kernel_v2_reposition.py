"""Dispatch v2 with moves: an idle vehicle may be sent to another part of the town before anybody asks for it.

Actions up to ADVANCE are those of v2. ``ADVANCE + 1 + v * MOVES + m`` sends vehicle ``v`` to the centre of a zone: of
the 3 x 3 zones around its own, from the south-west, eastwards first; ``m = 4`` is its own. The decision takes no time.

A move is a leg like any other: expected and true speed, noise, breakdowns, range, kilometres that are paid. It is
driven to its end; meanwhile bookings may be put into the plan behind it, from its target on. A vehicle may be moved
while it stands without a plan, takes bookings (on shift, not down, not overdue for its break), has the range, is
expected to arrive before its shift ends, and does not stand there already. A move under way at the end of the day is
paid in full.

To the functions of v2 a centre is the pickup of a booking that nobody made: rows behind ``MAX_BOOKINGS`` hold the
centres, no vehicle is theirs, so a vehicle that arrives finds nobody and is free.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.contract import Column
from rlops.envs.dispatch import kernel_v2
from rlops.envs.dispatch.city import MAX_BOOKINGS, ZONES, expected_arrival_min, road_km, zone_of
from rlops.envs.dispatch.fleet import leave
from rlops.envs.dispatch.kernel_v2 import (
    ADVANCE,
    CONTEXT,
    DATA,
    DATA_OPTION,
    DERIVED,
    INFO,
    OBSERVATION,
    RENDER,
    RENDER_FPS,
    REWARD_TERMS,
    STEP_MINUTES,
    context,
    data_from,
    observe,
    refresh_column,
    takes_bookings,
)
from rlops.envs.dispatch.kernel_v2 import kpis as kpis_v2
from rlops.envs.dispatch.kernel_v2 import mask as mask_v2
from rlops.envs.dispatch.kernel_v2 import reset as reset_v2
from rlops.envs.dispatch.kernel_v2 import step as step_v2
from rlops.envs.dispatch.params import PARAMETERS as V2_PARAMETERS
from rlops.envs.dispatch.plan import IDLE, V_MAX, lay_out, spare_km

__all__ = [
    "CONTEXT", "DATA", "DATA_OPTION", "DERIVED", "INFO", "OBSERVATION", "RENDER", "RENDER_FPS", "REWARD_TERMS",
    "STEP_MINUTES", "context", "data_from", "observe",
]  # fmt: skip

PARAMETERS = tuple(parameter for parameter in V2_PARAMETERS if parameter.name != "reward_sharing")
"""Parameters: those of v2 but for how agents share a reward, as there are none."""
MOVES = 9
"""Zones that a vehicle may be sent to: its own and those around it."""
ACTION = ADVANCE + 1 + V_MAX * MOVES
FIRST_PLACE = MAX_BOOKINGS + V_MAX // 2
"""Row of the first zone's centre; stops 2 MAX_BOOKINGS + v are where vehicles start."""
_ROWS = FIRST_PLACE + ZONES
_ZONES_A_SIDE = 4

KPIS = (*kernel_v2.KPIS, Column("moves", "-", 0, np.inf, "moves of idle vehicles"))
_MOVED = len(kernel_v2.KPIS)


def _with_places(field: np.dtype) -> np.dtype:
    """Return the type of a field of v2; those that have a row for every booking get rows for the centres."""
    return np.dtype((field.base, (_ROWS,))) if field.shape == (MAX_BOOKINGS,) else field


STATE = np.dtype(
    [(name, _with_places(kernel_v2.STATE[name])) for name in kernel_v2.STATE.names or ()] + [("n_moves", "i4")],
    align=True,
)


@njit(error_model="numpy")
def reset(p, s, d):
    """Write a new day, and the centres of the zones."""
    reset_v2(p, s, d)
    side_km = 2.0 * p.area_half_width_km / _ZONES_A_SIDE
    for zone in range(ZONES):
        place = FIRST_PLACE + zone
        s.bookings[place].pickup_x_km = (zone % _ZONES_A_SIDE + 0.5) * side_km - p.area_half_width_km
        s.bookings[place].pickup_y_km = (zone // _ZONES_A_SIDE + 0.5) * side_km - p.area_half_width_km
        s.bookings[place].vehicle = -1
        s.bookings[place].cancel_min = math.inf
        s.bookings[place].expires_min = math.inf


@njit(error_model="numpy")
def step(p, s, d, action):
    """Move an idle vehicle, or do what v2 does."""
    if action > ADVANCE:
        v, m = (action - ADVANCE - 1) // MOVES, (action - ADVANCE - 1) % MOVES
        place = legal_place(p, s, v, m) if may_move(p, s, v) else -1
        if place >= 0:
            s.dt_min = 0.0
            s.n_decisions += 1
            _move(p, s, v, place)
            return
        s.n_illegal += 1
        action = ADVANCE
    step_v2(p, s, d, action)


@njit(error_model="numpy")
def may_move(p, s, v):
    """Return whether a vehicle stands without a plan and takes bookings."""
    return s.mode[v] == IDLE and s.stops[v] == 0 and takes_bookings(p, s, v)


@njit(error_model="numpy")
def legal_place(p, s, v, m):
    """Return the row of the centre that move ``m`` of an idle vehicle leads to, or -1 if it is not legal."""
    zone = zone_of(p, s.x_km[v], s.y_km[v])
    east, north = zone % _ZONES_A_SIDE + m % 3 - 1, zone // _ZONES_A_SIDE + m // 3 - 1
    if min(east, north) < 0 or max(east, north) >= _ZONES_A_SIDE:
        return -1
    place = FIRST_PLACE + _ZONES_A_SIDE * north + east
    km = road_km(p, s.x_km[v], s.y_km[v], s.bookings[place].pickup_x_km, s.bookings[place].pickup_y_km)
    if km == 0.0 or km > spare_km(p, s, v):
        return -1
    return place if expected_arrival_min(s, s.now_min, km) <= s.shift_end_min[v] else -1


@njit(error_model="numpy")
def _move(p, s, v, place):
    """Send a vehicle off."""
    s.plan[v, 0] = 2 * place
    s.stops[v] = 1
    lay_out(p, s, v)
    leave(p, s, v, s.now_min)
    s.n_moves += 1
    s.dirty[v] = 1
    refresh_column(p, s, v)


@njit(error_model="numpy")
def mask(p, s, d, out):
    """Write 1 for every legal action (401,)."""
    mask_v2(p, s, d, out)
    for v in range(p.n_vehicles):
        if may_move(p, s, v):
            for m in range(MOVES):
                out[ADVANCE + 1 + v * MOVES + m] = legal_place(p, s, v, m) >= 0


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of the day."""
    kpis_v2(p, s, d, out)
    out[_MOVED] = s.n_moves
