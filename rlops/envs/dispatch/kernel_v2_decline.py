"""Dispatch v2 with ``allow_decline=True``: a booking may be refused, at once and at the full price of a miss.

Actions up to ADVANCE are those of v2. ``ADVANCE + 1 + k`` declines the booking in slot ``k``: it is closed as
missed and charged, which takes no time; its slot stays empty within the minute. To decline never pays more than never
to serve: whoever is left to wait costs the same, later, unless the rider cancels first.
"""

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.dispatch import kernel_v2
from rlops.envs.dispatch.city import MAX_BOOKINGS
from rlops.envs.dispatch.fleet import charge_miss, unlist_open
from rlops.envs.dispatch.kernel_v2 import (
    ADVANCE,
    CONTEXT,
    DATA,
    DATA_OPTION,
    DERIVED,
    INFO,
    OBSERVATION,
    PARAMETERS,
    RENDER,
    RENDER_FPS,
    REWARD_TERMS,
    STEP_MINUTES,
    close,
    context,
    data_from,
    free_row,
    observe,
)
from rlops.envs.dispatch.kernel_v2 import kpis as kpis_v2
from rlops.envs.dispatch.kernel_v2 import mask as mask_v2
from rlops.envs.dispatch.kernel_v2 import reset as reset_v2
from rlops.envs.dispatch.kernel_v2 import step as step_v2
from rlops.envs.dispatch.plan import K

__all__ = [
    "CONTEXT", "DATA", "DATA_OPTION", "DERIVED", "INFO", "OBSERVATION", "PARAMETERS", "RENDER", "RENDER_FPS",
    "REWARD_TERMS", "STEP_MINUTES", "context", "data_from", "observe",
]  # fmt: skip

ACTION = ADVANCE + 1 + K
KPIS = (*kernel_v2.KPIS, Column("declined", "-", 0, MAX_BOOKINGS, "bookings declined; they count as missed"))
_DECLINED = len(kernel_v2.KPIS)

_HEADER = state_dtype(REWARD_TERMS, []).names or ()
# The new field comes first: Numba takes a record that begins like another for a kind of it.
STATE = state_dtype(
    REWARD_TERMS,
    [
        ("n_declined", "i4"),
        *((name, kernel_v2.STATE[name]) for name in kernel_v2.STATE.names or () if name not in _HEADER),
    ],
)


@njit(error_model="numpy")
def reset(p, s, d):
    """Write a new day."""
    reset_v2(p, s, d)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Decline a booking, or do what v2 does."""
    if action > ADVANCE:
        k = action - ADVANCE - 1
        if s.slot[k] >= 0:
            s.dt_min = 0.0
            s.n_decisions += 1
            _decline(p, s, k)
            return
        s.n_illegal += 1
        action = ADVANCE
    step_v2(p, s, d, action)


@njit(error_model="numpy")
def _decline(p, s, k):
    """Close the booking of a slot as missed, and the day if it was the last."""
    b = s.slot[k]
    s.slot[k] = -1
    unlist_open(s, b)
    free_row(s, s.row_of[b])
    charge_miss(p, s, b)
    s.bookings[b].expires_min = s.now_min  # who has been told no does not wait
    s.n_declined += 1
    close(p, s)


@njit(error_model="numpy")
def mask(p, s, d, out):
    """Write 1 for every legal action (273,)."""
    mask_v2(p, s, d, out)
    for k in range(K):
        out[ADVANCE + 1 + k] = s.slot[k] >= 0


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of the day."""
    kpis_v2(p, s, d, out)
    out[_DECLINED] = s.n_declined
