"""Pictures of the warehouse: shelves and goals as the row's state has them, and where the lidar's beams end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlops.envs.robotics.amr import BEAMS, RANGE_M, TURNED, X, Y
from rlops.envs.robotics.hall import SHELF_HEIGHT_M, SIZE_M
from rlops.envs.robotics.model import Geom
from rlops.envs.robotics.render import GREEN, pictured

SHELF, FRAME, BOARD = (0.42, 0.5, 0.6), (0.3, 0.34, 0.4), (0.75, 0.6, 0.42)
HIT = (0.85, 0.15, 0.12)
WALL = (0.9, 0.9, 0.88)
BEAM_HEIGHT_M, WALL_HEIGHT_M, WALL_M = 0.22, 0.25, 0.05
BOARDS = 3
"""Of a shelf, one above the other."""


def frame(kernel: Any, p: Any, s: Any, d: Any, engine: str = "mujoco") -> np.ndarray:
    """Return a picture of one row, ``(480, 640, 3)`` uint8.

    Raises:
        MissingExtra: If neither MuJoCo nor PyBullet can draw here.
    """
    return pictured(kernel, p, s, marks(p, s), engine)


def marks(p: Any, s: Any) -> tuple[Geom, ...]:
    """Return what the row's state has besides its robots: walls, shelves, goals and the lidars' hits."""
    shelves = [geom for k in range(int(s["shelf_count"])) for geom in _shelf(np.asarray(s["shelves"][k]))]
    robots = range(len(s["wheel"]))
    goals = [_goal(s["goal"][r], float(p["tolerance_m"])) for r in robots]
    hits = [hit for r in robots for hit in _hits(s["qpos"][3 * r : 3 * r + 3], s["lidar"][r])]
    return (*_walls(), *shelves, *goals, *hits)


def _walls() -> tuple[Geom, ...]:
    half, high = 0.5 * SIZE_M, 0.5 * WALL_HEIGHT_M
    return tuple(
        Geom("box", size, at, colour=WALL)
        for side in (-WALL_M, SIZE_M + WALL_M)
        for size, at in (
            ((WALL_M, half + 2 * WALL_M, high), (side, half, high)),
            ((half, WALL_M, high), (half, side, high)),
        )
    )


def _shelf(shelf: np.ndarray) -> list[Geom]:
    """Return the boards of a shelf (centre x, y, half lengths), with cartons on the lower ones."""
    x, y, half_x, half_y = (float(value) for value in shelf)
    high = 0.5 * SHELF_HEIGHT_M / BOARDS
    boards = []
    for k in range(BOARDS):
        base = 2 * high * k
        boards.append(Geom("box", (half_x, half_y, 0.03), (x, y, base + 0.03), colour=FRAME))
        inset = (half_x - 0.06, half_y - 0.05, 0.7 * high)
        boards.append(Geom("box", inset, (x, y, base + 0.06 + 0.7 * high), colour=BOARD if k % 2 else SHELF))
    return boards


def _goal(goal: Any, reach: float) -> Geom:
    return Geom("cylinder", (reach, 0.004), (float(goal[0]), float(goal[1]), 0.004), colour=GREEN)


def _hits(pose: Any, lidar: Any) -> list[Geom]:
    """Return a mark where every beam of a robot ends that meets something."""
    found = []
    for k, far in enumerate(lidar):
        if far < RANGE_M:
            angle = pose[TURNED] + 2.0 * math.pi * k / BEAMS
            at = (float(pose[X] + far * math.cos(angle)), float(pose[Y] + far * math.sin(angle)), BEAM_HEIGHT_M)
            found.append(Geom("sphere", (0.045,), at, colour=HIT))
    return found
