"""Hand-written controllers of the warehouse's robots.

==================== ============== ==========================================================================
name                 environment    rule
==================== ============== ==========================================================================
random               all            any action, each as likely as another
pure_pursuit         WarehouseNav   along the map's shortest way, towards its next place (after Coulter 1992)
give_way             WarehouseFleet the same, but looks ahead a second and a half for what would be met, and gives way
                                    to robots of a lower number (dynamic window: Fox, Burgard, Thrun 1997)
==================== ============== ==========================================================================

They know the map, the goals and where the robots believe to be: what a traffic controller knows, and more than an agent
sees, who has the lidar instead. The truth of the state they do not look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.robot_control import RandomVector
from rlops.envs.compiling import compiled
from rlops.envs.robotics.amr import FASTEST_M_PER_S, FASTEST_RAD_PER_S, TURNED, X, Y
from rlops.envs.robotics.hall import RADIUS_M, clearance_m, next_place

TURN_PER_S = 3.0
"""[1/s] A robot turns so fast towards where it wants to go, for every rad that it looks past it."""
ASIDE_RAD = 0.7
"""It drives only if it looks past it by less,"""
BRAKING_M_PER_S2 = 0.6
"""and so that it can stop at the goal with this."""
SLOWEST_M_PER_S = 0.15

AHEAD, AHEAD_S = 8, 0.2
"""``give_way`` looks so many steps of this length ahead [s]."""
SPEEDS, TURNS = 6, 11
"""It tries so many speeds, from backwards to the greatest, and turns."""
BACKWARDS_M_PER_S = 0.4
LEAST_ROOM_M, ROOM_M = 0.05, 0.12
"""Nearer to anything it does not go, and keeps this from shelves and walls if that costs little,"""
ROOM_FOR_ALL_M, ROOM_FOR_FIRST_M = 0.15, 0.5
"""and this from robots that give way to it, and from those that it gives way to."""
ROOM_COST, TURN_COST = 2.0, 0.25
"""[-] What lacks of that room, and a rad that it looks past its next place, in metres of way."""


class PurePursuit:
    """Turns to the next place of the shortest way and drives there; slows down at the goal."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name``."""
        self.name, self.seed = name, seed

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, 2 · robots)`` float64 within -1 … 1."""
        n, robots = envs.state["wheel"].shape[:2]
        next_places = np.zeros((n, robots, 3))
        next_on_the_way(envs.state, next_places)
        pose = envs.state["read"][:, 0].reshape(n, robots, 3)
        wanted = np.stack(self.speed_and_turn(envs, pose, next_places), axis=2)
        return np.clip(wanted, -1.0, 1.0).reshape(n, 2 * robots)

    def speed_and_turn(self, envs: Any, pose: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return speed and turn of every robot, ``(n, robots)``, as shares of the greatest.

        Args:
            envs: The environment.
            pose: Where the robots believe to be: x, y [m], turned [rad], ``(n, robots, 3)``.
            places: What they are to go to next: x, y [m], and the whole way that is left [m], ``(n, robots, 3)``.
        """
        to = places[:, :, :2] - pose[:, :, :2]
        past = np.arctan2(to[:, :, Y], to[:, :, X]) - pose[:, :, TURNED]
        past = (past + np.pi) % (2.0 * np.pi) - np.pi
        speed = np.minimum(np.sqrt(2.0 * BRAKING_M_PER_S2 * places[:, :, 2]), FASTEST_M_PER_S)
        speed = np.maximum(speed, SLOWEST_M_PER_S) * np.clip(1.0 - np.abs(past) / ASIDE_RAD, 0.0, 1.0)
        return speed / FASTEST_M_PER_S, TURN_PER_S * past / FASTEST_RAD_PER_S


@compiled
def next_on_the_way(state, out):  # type: ignore[no-untyped-def]
    """Write the next place x, y of every robot and the length of its way [m], ``(n, robots, 3)``."""
    for i in range(len(state)):
        s = state[i]
        for r in range(out.shape[1]):
            x, y = s.read[0, 3 * r + X], s.read[0, 3 * r + Y]
            out[i, r, 0], out[i, r, 1], out[i, r, 2] = next_place(s, r, x, y)


class GiveWay:
    """Tries speeds and turns, and takes what brings a robot on and leaves room; low numbers go first."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name``."""
        self.name, self.seed = name, seed

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, 2 · robots)`` float64 within -1 … 1."""
        chosen = np.zeros((len(envs.state), envs.state["wheel"].shape[1], 2))
        ways_given(envs.state, chosen)
        return chosen.reshape(len(chosen), -1)


@compiled
def ways_given(state, out):  # type: ignore[no-untyped-def]
    """Write the speed and turn of every robot, as shares of the greatest, ``(n, robots, 2)``."""
    for i in range(len(state)):
        for r in range(out.shape[1]):
            out[i, r, 0], out[i, r, 1] = _best_move(state[i], r)


@njit(error_model="numpy")
def _best_move(s, r):  # type: ignore[no-untyped-def]
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
def _cost(s, r, x, y, turned, speed, turn):  # type: ignore[no-untyped-def]
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
def _lack_of_room(s, r, x, y, after_s):  # type: ignore[no-untyped-def]
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


WAREHOUSE: dict[str, dict[str, Callable[[str, int, int], Agent]]] = {
    "WarehouseNav": {"random": RandomVector, "pure_pursuit": PurePursuit},
    "WarehouseFleet": {"random": RandomVector, "give_way": GiveWay},
}
"""How each controller is made from its name, the version and a seed, by family, the simplest first."""
