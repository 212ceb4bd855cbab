"""A random legal action for every row, drawn in compiled code: the same cheap policy for every side of a comparison."""

import numpy as np
from numba import njit

from rlops.envs.draws import mixed


@njit(error_model="numpy")
def pick(mask, number, actions):
    """Write a random legal action of every row of ``mask`` (n, m) int8 into ``actions`` (n,) int64.

    The draw depends on the row, ``number`` and the mask only.
    """
    rows, width = mask.shape
    for i in range(rows):
        h = mixed(np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(i))
        legal = 0
        for a in range(width):
            legal += mask[i, a]
        chosen = np.int64(h >> np.uint64(33)) % legal
        for a in range(width):
            if mask[i, a]:
                if chosen == 0:
                    actions[i] = a
                    break
                chosen -= 1
