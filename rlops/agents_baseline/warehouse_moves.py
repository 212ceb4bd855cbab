"""What the warehouse's controllers compute for every robot: places on its way, and moves that leave room to others."""

import math

from numba import njit

from rlops.envs.compiling import compiled
from rlops.envs.robotics.amr import FASTEST_M_PER_S, FASTEST_RAD_PER_S, TURNED, X, Y
from rlops.envs.robotics.hall import RADIUS_M, clearance_m, next_place

BRAKING_M_PER_S2, SLOWEST_M_PER_S = 0.6, 0.15
"""A robot drives so fast that it can stop at its goal with this, but not more slowly."""
AHEAD, AHEAD_S = 8, 0.2
"""``give_way`` looks so many steps of this length ahead [s]."""
SPEEDS, TURNS = 4, 9
"""It tries so many speeds, from backwards to the greatest, and turns."""
BACKWARDS_M_PER_S = 0.4
LEAST_ROOM_M, ROOM_M = 0.05, 0.12
"""Nearer to anything it does not go, and keeps this from shelves and walls if that costs little,"""
ROOM_FOR_ALL_M, ROOM_FOR_FIRST_M = 0.15, 0.5
"""and this from robots that give way to it, and from those that it gives way to."""
ROOM_COST, TURN_COST = 2.0, 0.25
"""[-] What lacks of that room, and a rad that it looks past its next place, in metres of way."""


@compiled
def next_on_the_way(state, out):
    """Write the next place x, y of every robot and the length of its way [m], ``(n, robots, 3)``."""
    for i in range(len(state)):
        s = state[i]
        for r in range(out.shape[1]):
            x, y = s.read[0, 3 * r + X], s.read[0, 3 * r + Y]
            out[i, r, 0], out[i, r, 1], out[i, r, 2] = next_place(s, r, x, y)


@compiled
def ways_given(state, out):
    """Write the speed and turn of every robot, as shares of the greatest, ``(n, robots, 2)``."""
    for i in range(len(state)):
        for r in range(out.shape[1]):
            out[i, r, 0], out[i, r, 1] = _best_move(state[i], r)


@njit(error_model="numpy")
def _best_move(s, r):
    """Return the speed and turn of robot ``r`` that cost least over the time that it looks ahead."""
    x, y, turned = s.read[0, 3 * r + X], s.read[0, 3 * r + Y], s.read[0, 3 * r + TURNED]
    way = next_place(s, r, x, y)[2]
    fastest = min(FASTEST_M_PER_S, max(math.sqrt(2.0 * BRAKING_M_PER_S2 * way), SLOWEST_M_PER_S))
    best, best_speed, best_turn = math.inf, 0.0, 0.0
    for i in range(SPEEDS + 1):
        speed = -BACKWARDS_M_PER_S if i == 0 else fastest * (i - 1) / (SPEEDS - 1)
        for k in range(TURNS):
            turn = FASTEST_RAD_PER_S * (2.0 * k / (TURNS - 1) - 1.0)
            cost = _cost(s, r, x, y, turned, speed, turn)
            if cost < best:
                best, best_speed, best_turn = cost, speed, turn
    return best_speed / FASTEST_M_PER_S, best_turn / FASTEST_RAD_PER_S


@njit(error_model="numpy")
def _cost(s, r, x, y, turned, speed, turn):
    """Return what a speed and a turn cost robot ``r`` [m]: the way that is left, how it looks past it, lack of room.

    It turns for half the time that it looks ahead, and then goes straight on.
    """
    lack = 0.0
    for step in range(1, AHEAD + 1):
        turned += AHEAD_S * turn if 2 * step <= AHEAD else 0.0
        x += AHEAD_S * speed * math.cos(turned)
        y += AHEAD_S * speed * math.sin(turned)
        room = clearance_m(s, x, y)
        lack = max(lack, ROOM_M - room)
        if room < LEAST_ROOM_M:
            lack += 10.0 * (LEAST_ROOM_M - room)
        lack = max(lack, _lack_of_room(s, r, x, y, AHEAD_S * step))
    to_x, to_y, left = next_place(s, r, x, y)
    past = math.atan2(to_y - y, to_x - x) - turned
    past -= 2.0 * math.pi * math.floor((past + math.pi) / (2.0 * math.pi))
    return left + TURN_COST * abs(past) * min(left, 1.0) + ROOM_COST * lack


@njit(error_model="numpy")
def _lack_of_room(s, r, x, y, after_s):
    """Return how much a robot at x, y lacks of the room that it leaves to the others, after a time [m]."""
    lack = 0.0
    for other in range(s.wheel.shape[0]):
        if other != r:
            at = 3 * other
            speed, turned = s.read[1, at + X], s.read[0, at + TURNED]
            gone = speed * min(after_s, 0.5 if other > r else 1.0)
            off_x = s.read[0, at + X] + gone * math.cos(turned) - x
            off_y = s.read[0, at + Y] + gone * math.sin(turned) - y
            room = math.hypot(off_x, off_y) - 2.0 * RADIUS_M
            lack = max(lack, (ROOM_FOR_ALL_M if other > r else ROOM_FOR_FIRST_M) - room)
            if room < LEAST_ROOM_M:
                lack += 10.0 * (LEAST_ROOM_M - room)
    return lack
