"""Rays of a lidar against boxes, circles and the walls of a hall, and distances to them: plain geometry.

It is the same for every engine; a test holds it to MuJoCo's and Bullet's own rays. All lengths in m, directions of
length one.
"""

import math

from numba import njit

NEVER = 1e30
"""[m] Distance of what a ray does not meet."""
_PARALLEL = 1e-12


@njit(error_model="numpy", inline="always")
def length(x, y):
    """Return the length of a vector, rounded as everywhere: Python's and C's ``hypot`` differ in the last bit."""
    return math.sqrt(x * x + y * y)


@njit(error_model="numpy", inline="always")
def ray_to_box(x, y, along_x, along_y, box):
    """Return how far a ray goes to a ``box`` (centre x, y, half lengths x, y); 0 from within, NEVER past it."""
    near, far = 0.0, NEVER
    for axis in range(2):
        along = along_x if axis == 0 else along_y
        off = box[axis] - (x if axis == 0 else y)
        half = box[2 + axis]
        if abs(along) < _PARALLEL:
            if abs(off) > half:
                return NEVER
            continue
        one, other = (off - half) / along, (off + half) / along
        near, far = max(near, min(one, other)), min(far, max(one, other))
    return near if near <= far else NEVER


@njit(error_model="numpy")
def ray_to_circle(x, y, along_x, along_y, centre_x, centre_y, radius):
    """Return how far a ray goes to a circle; 0 from within, NEVER past it."""
    to_x, to_y = centre_x - x, centre_y - y
    along = to_x * along_x + to_y * along_y
    square = to_x * to_x + to_y * to_y - radius * radius
    if square <= 0.0:
        return 0.0
    inside = along * along - square
    return along - math.sqrt(inside) if along > 0.0 and inside >= 0.0 else NEVER


@njit(error_model="numpy")
def ray_to_walls(x, y, along_x, along_y, size):
    """Return how far a ray from within goes to the walls of a square hall from the origin to ``size``."""
    far = NEVER
    if abs(along_x) > _PARALLEL:
        far = ((size if along_x > 0.0 else 0.0) - x) / along_x
    if abs(along_y) > _PARALLEL:
        far = min(far, ((size if along_y > 0.0 else 0.0) - y) / along_y)
    return max(far, 0.0)


@njit(error_model="numpy")
def is_between(x, y, to_x, to_y, box, margin):
    """Return whether a ``box``, larger by ``margin`` on every side, is on the straight way between two places.

    Nothing is left of a box that is smaller by more than its half lengths.
    """
    near, far = 0.0, 1.0
    for axis in range(2):
        way = to_x - x if axis == 0 else to_y - y
        off = box[axis] - (x if axis == 0 else y)
        half = box[2 + axis] + margin
        if half < 0.0:
            return False
        if abs(way) < _PARALLEL:
            if abs(off) >= half:
                return False
            continue
        one, other = (off - half) / way, (off + half) / way
        near, far = max(near, min(one, other)), min(far, max(one, other))
    return near < far


@njit(error_model="numpy")
def off_box(x, y, box):
    """Return the vector from the nearest place of a ``box`` to a place: both zero within it."""
    beyond_x, beyond_y = x - box[0], y - box[1]
    return (
        beyond_x - min(max(beyond_x, -box[2]), box[2]),
        beyond_y - min(max(beyond_y, -box[3]), box[3]),
    )
