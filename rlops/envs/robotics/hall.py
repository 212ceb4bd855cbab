"""The warehouse: a square hall with rows of shelves, the aisles between them, and the shortest ways through them.

Rows of two shelves leave aisles between them, along the walls, and across in three places, so that every place can be
reached from every other. Where exactly they stand, and along which wall, is drawn for every episode.

The map knows the shelves' corners, moved away by a robot's radius and some room; a shortest way is a chain of them,
each in sight of the next (Lozano-Pérez, Wesley 1979).
"""

import math

import numpy as np
from numba import njit

from rlops.envs.draws import stream_key, uniform
from rlops.envs.robotics.rays import is_between, length, off_box

SIZE_M = 8.0
"""[m] Side of the hall."""
SHELF_DEPTH_M, SHELF_HEIGHT_M = 0.6, 1.2
MOST_SHELVES, MOST_AISLES, CORNERS = 6, 4, 24
RADIUS_M = 0.3
"""[m] Of a robot, seen from above."""
CORNER_M = 0.42
"""[m] Of the map's corners from the shelves."""
BLOCKING_M = 0.36
"""[m] A way is blocked by a shelf that is so much larger on every side."""
FROM_WALL_M = 0.6
"""[m] Of places that robots start from or go to."""
LAYOUT, PLACE = 0x243185BE4EE4B28C, 0x550C7DC3D5FFB4E2
"""Streams of draws."""


def hall_fields(robots):
    """Return the fields of the state that say how the hall is laid out and where ``robots`` are to go."""
    return [
        ("shelves", "f8", (MOST_SHELVES, 4)),  # centre x, y and half lengths x, y [m]
        ("shelf_count", "i8"),
        ("aisle", "f8", (MOST_AISLES,)),  # middles across the rows [m]
        ("turned", "?"),  # rows lie along y instead of x
        ("goal", "f8", (robots, 2)),  # x, y [m]
        ("to_goal", "f8", (robots, CORNERS)),  # way from each corner [m]
    ]


@njit(error_model="numpy")
def lay_out(p, s):
    """Place the shelves."""
    h = stream_key(s.key, 0, LAYOUT)
    s.turned = uniform(h, 0) < 0.5
    rows = p.shelf_rows
    spare = SIZE_M - rows * SHELF_DEPTH_M - (rows + 1) * p.aisle_m
    total = 0.0
    for k in range(rows + 1):
        total += uniform(h, 1 + k)
    at = 0.0
    for k in range(rows + 1):
        wide = p.aisle_m + spare * uniform(h, 1 + k) / total
        s.aisle[k] = at + 0.5 * wide
        at += wide + SHELF_DEPTH_M
        if k < rows:
            _fill_row(p, s, h, k, at - 0.5 * SHELF_DEPTH_M)
    s.shelf_count = 2 * rows


@njit(error_model="numpy")
def _fill_row(p, s, h, row, across):
    """Place the two shelves of a ``row`` whose middle is at ``across`` [m]."""
    first = 10 + 10 * row
    room = SIZE_M - 3.0 * p.aisle_m
    length = room * (0.7 + 0.3 * uniform(h, first))
    one = length * (0.35 + 0.3 * uniform(h, first + 1))
    before, between = uniform(h, first + 2), uniform(h, first + 3)
    spare = (room - length) / (before + between + uniform(h, first + 4))
    at = p.aisle_m + spare * before
    _place_shelf(s, 2 * row, at + 0.5 * one, across, 0.5 * one)
    at += one + p.aisle_m + spare * between
    _place_shelf(s, 2 * row + 1, at + 0.5 * (length - one), across, 0.5 * (length - one))


@njit(error_model="numpy")
def _place_shelf(s, k, along, across, half):
    """Write the shelf ``k``, given along and across the rows [m]."""
    first, second = (1, 0) if s.turned else (0, 1)
    s.shelves[k, first], s.shelves[k, second] = along, across
    s.shelves[k, 2 + first], s.shelves[k, 2 + second] = half, 0.5 * SHELF_DEPTH_M


@njit(error_model="numpy")
def place_in_aisle(p, s, aisle, share_along, share_across):
    """Return a place x, y [m] in an ``aisle``, at shares of its length and breadth, 0.4 m or more from shelves."""
    along = FROM_WALL_M + (SIZE_M - 2.0 * FROM_WALL_M) * share_along
    across = s.aisle[aisle] + (p.aisle_m - 0.8) * (share_across - 0.5)
    return (across, along) if s.turned else (along, across)


@njit(error_model="numpy")
def corner(s, k):
    """Return where the corner ``k`` of the map is [m]."""
    shelf = s.shelves[k // 4]
    x = shelf[0] + (shelf[2] + CORNER_M) * (1.0 if k % 2 else -1.0)
    y = shelf[1] + (shelf[3] + CORNER_M) * (1.0 if k % 4 > 1 else -1.0)
    return x, y


@njit(error_model="numpy")
def in_sight(s, x, y, to_x, to_y, margin):
    """Return whether a robot can go straight from one place to another, with a ``margin`` [m] to all shelves."""
    free = True
    for k in range(s.shelf_count):
        free = free and not is_between(x, y, to_x, to_y, s.shelves[k], margin)
    return free


@njit(error_model="numpy")
def find_ways(s, r):
    """Write the length of the shortest way from every corner to the goal of robot ``r`` (Dijkstra 1959)."""
    count = 4 * s.shelf_count
    ways, goal_x, goal_y = s.to_goal[r], s.goal[r, 0], s.goal[r, 1]
    done = np.zeros(CORNERS, np.bool_)
    for k in range(count):
        x, y = corner(s, k)
        ways[k] = length(goal_x - x, goal_y - y) if in_sight(s, x, y, goal_x, goal_y, BLOCKING_M) else math.inf
    for _ in range(count):
        nearest = -1
        for k in range(count):
            if not done[k] and (nearest < 0 or ways[k] < ways[nearest]):
                nearest = k
        done[nearest] = True
        x, y = corner(s, nearest)
        for k in range(count):
            other_x, other_y = corner(s, k)
            way = ways[nearest] + length(other_x - x, other_y - y)
            if way < ways[k] and in_sight(s, x, y, other_x, other_y, BLOCKING_M):
                ways[k] = way


@njit(error_model="numpy")
def next_place(s, r, x, y):
    """Return the next place on the shortest way of robot ``r`` from x, y, and how long the whole way is [m].

    A robot that is nearer to a shelf than the map allows looks past it; one within a shelf sees through it.
    """
    goal_x, goal_y = s.goal[r, 0], s.goal[r, 1]
    for margin in (BLOCKING_M, 0.0, -SIZE_M):
        if in_sight(s, x, y, goal_x, goal_y, margin):
            return goal_x, goal_y, length(goal_x - x, goal_y - y)
        best_x, best_y, best = goal_x, goal_y, math.inf
        for k in range(4 * s.shelf_count):
            at_x, at_y = corner(s, k)
            way = length(at_x - x, at_y - y) + s.to_goal[r, k]
            if way < best and in_sight(s, x, y, at_x, at_y, margin):
                best_x, best_y, best = at_x, at_y, way
        if best < math.inf:
            return best_x, best_y, best
    return goal_x, goal_y, length(goal_x - x, goal_y - y)


@njit(error_model="numpy")
def clearance_m(s, x, y):
    """Return how far the hull of a robot at x, y is from the nearest shelf or wall [m]; negative where they overlap."""
    nearest = min(min(x, SIZE_M - x), min(y, SIZE_M - y))
    for k in range(s.shelf_count):
        off_x, off_y = off_box(x, y, s.shelves[k])
        nearest = min(nearest, length(off_x, off_y))
    return nearest - RADIUS_M
