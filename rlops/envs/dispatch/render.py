"""Pictures of Dispatch: a map with vehicles, plans and waiting riders, the clock, key figures and the fleet.

Sizes are in pixels. The same state always makes the same picture.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from rlops.envs.dispatch.scene import (
    AT_STOP,
    BROKEN_DOWN,
    DROPOFF,
    DUE,
    EARLY,
    LATE,
    MISSED,
    MODE_NAMES,
    OFF_SHIFT,
    ON_BREAK,
    PICKUP,
    PLACE,
    SERVED,
    TO_PICKUP,
    WAITING,
    WITH_RIDERS,
    Booking,
    Scene,
    Stop,
    Vehicle,
    scene,
)
from rlops.envs.drawing import (
    AMBER,
    CARD,
    FAINT_INK,
    GRID,
    HEIGHT,
    INK,
    MARGIN,
    PAPER,
    RED,
    RULE,
    SOFT_INK,
    WIDTH,
    Colour,
    Pen,
    blank,
    draw_figures,
    finished,
    mixed,
)

HOT = (252, 244, 230)
MODE_COLOURS: tuple[Colour, ...] = (
    (134, 144, 158),  # waiting
    (86, 154, 214),  # to pickup
    (24, 82, 150),  # with riders
    (23, 139, 121),  # at a stop
    (143, 116, 170),  # on break
    (32, 41, 56),  # broken down
    (205, 208, 212),  # off shift
)
LATE_COLOUR: Colour = RED
"""Marks a booking whose window is over, or will be when the vehicle is expected."""

_MAP = HEIGHT - 2 * MARGIN  # side of the map
_MAP_SHARE = 0.94  # of the side is service area
_LEFT, _RIGHT = MARGIN + _MAP + MARGIN, WIDTH - MARGIN  # of the panel beside it
_SPEED_TOP, _SPEED_BOTTOM = 96, 140
_FIGURES_TOP = 178
_FLEET_TOP, _FLEET_BOTTOM = 330, 560
_LEGEND_TOP = 578
_TRACK_MIN = 60.0
"""[min] Span of the plans beside the fleet."""
_TRACK_LEFT = _RIGHT - 118


def frame(kernel: ModuleType, p: Any, s: Any, d: Any) -> np.ndarray:
    """Return the picture of one row, ``(640, 960, 3)`` uint8.

    Args:
        kernel: The kernel module of Dispatch v0, v1 or v2.
        p: Parameter record of the row.
        s: State record of the row.
        d: Shared records of the kernel.

    Raises:
        InvalidValue: If the kernel is none of these.
    """
    return picture(scene(kernel, p, s, d))


def picture(shown: Scene) -> np.ndarray:
    """Return the picture of a scene, ``(640, 960, 3)`` uint8."""
    image = _background(
        shown.title, shown.half_width_km, shown.unit, shown.hot_spots, shown.hot_spot_km, shown.marks
    ).copy()
    pen = Pen(image)
    _draw_map(pen, shown)
    pen.text(_LEFT - 1, MARGIN + 28, shown.clock, 36, INK)
    if shown.expected_kmh:
        _draw_speed(pen, shown)
    draw_figures(pen, shown.figures, _LEFT, _RIGHT, _FIGURES_TOP)
    _draw_fleet(pen, shown)
    return finished(image)


# --- the map --------------------------------------------------------------------------------------------


def map_xy(half_width_km: float, x_km: float, y_km: float) -> tuple[float, float]:
    """Return where a point is in the picture [px]; points outside the map are moved to its edge."""
    px_per_km = 0.5 * _MAP_SHARE * _MAP / half_width_km
    limit = 0.5 * _MAP - 8.0
    middle = MARGIN + 0.5 * _MAP
    x, y = (min(max(px_per_km * km, -limit), limit) for km in (x_km, y_km))
    return middle + x, middle - y


@lru_cache(maxsize=8)
def _background(
    title: str,
    half_width_km: float,
    unit: str,
    hot_spots: tuple[tuple[float, float], ...],
    hot_spot_km: float,
    marks: tuple[tuple[int, str], ...],
) -> Any:
    """Return what stays the same all day: the empty map, headings and legend."""
    image = blank()
    pen = Pen(image)
    pen.box(MARGIN, MARGIN, MARGIN + _MAP, MARGIN + _MAP, CARD, 6)
    px_per_km = 0.5 * _MAP_SHARE * _MAP / half_width_km
    for x_km, y_km in hot_spots:
        x, y = map_xy(half_width_km, x_km, y_km)
        for share in (0.45, 0.7, 1.0):
            pen.disc(x, y, hot_spot_km * px_per_km * (1.45 - 0.45 * share), mixed(HOT, share))
    _draw_grid(pen, half_width_km, unit)
    pen.frame(MARGIN, MARGIN, MARGIN + _MAP, MARGIN + _MAP, RULE, 6)
    pen.text(_RIGHT, MARGIN + 28, title, 12, SOFT_INK, "rs")
    _draw_legend(pen, marks, bool(hot_spots))
    return image


def _draw_grid(pen: Pen, half_width_km: float, unit: str) -> None:
    step_km = next(step for step in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 1e9) if half_width_km / step < 6)
    n = int(half_width_km // step_km)
    low, high = MARGIN + 1, MARGIN + _MAP - 1
    for i in range(-n, n + 1):
        x, y = map_xy(half_width_km, i * step_km, i * step_km)
        colour = RULE if i == 0 else GRID
        pen.line([(x, low), (x, high)], colour)
        pen.line([(low, y), (high, y)], colour)
    x0, y = MARGIN + 16, MARGIN + _MAP - 18
    length = 0.5 * _MAP_SHARE * _MAP / half_width_km * step_km
    pen.box(x0 - 6, y - 18, x0 + length + 8, y + 8, CARD, 3)
    pen.line([(x0, y - 3), (x0, y), (x0 + length, y), (x0 + length, y - 3)], SOFT_INK)
    pen.text(x0 + 0.5 * length, y - 5, f"{step_km:g} {unit}".strip(), 10, SOFT_INK, "ms")
    x, y = MARGIN + _MAP - 20, MARGIN + 34
    pen.box(x - 9, y - 20, x + 9, y + 8, CARD, 3)
    pen.line([(x, y - 4), (x, y - 17)], SOFT_INK)
    pen.polygon([(x, y - 19), (x - 3, y - 13), (x + 3, y - 13)], SOFT_INK)
    pen.text(x, y + 7, "N", 10, SOFT_INK, "ms")


def _draw_map(pen: Pen, shown: Scene) -> None:
    half = shown.half_width_km
    for booking in shown.bookings:
        if booking.condition in (EARLY, DUE, LATE):
            _draw_wish(pen, half, booking)
    for vehicle in shown.vehicles:
        _draw_plan(pen, half, vehicle)
    for booking in shown.bookings:
        _draw_booking(pen, *map_xy(half, booking.x_km, booking.y_km), booking, half)
    numbered = sorted(enumerate(shown.vehicles), key=lambda pair: (-pair[1].mode, pair[0]))
    for number, vehicle in numbered:
        if vehicle.mode != OFF_SHIFT:
            x, y = map_xy(half, vehicle.x_km, vehicle.y_km)
            _draw_vehicle(pen, x, y, vehicle, str(number))


def _draw_wish(pen: Pen, half_width_km: float, booking: Booking) -> None:
    """Draw where a waiting rider wants to go."""
    x0, y0 = map_xy(half_width_km, booking.x_km, booking.y_km)
    x1, y1 = map_xy(half_width_km, booking.to_x_km, booking.to_y_km)
    colour = mixed(RED if booking.condition == LATE else AMBER, 0.45)
    pen.line([(x0, y0), (x1, y1)], colour)
    _draw_stop(pen, x1, y1, DROPOFF, colour)


def _draw_plan(pen: Pen, half_width_km: float, vehicle: Vehicle) -> None:
    """Draw a plan, from leg to leg paler, so that its direction shows."""
    if not vehicle.plan:
        return
    colour = MODE_COLOURS[TO_PICKUP if vehicle.mode in (WAITING, ON_BREAK, OFF_SHIFT) else vehicle.mode]
    here = map_xy(half_width_km, vehicle.x_km, vehicle.y_km)
    places = [map_xy(half_width_km, stop.x_km, stop.y_km) for stop in vehicle.plan]
    shares = [max(0.3, 0.85 - 0.12 * leg) for leg in range(len(places))]
    for leg in reversed(range(len(places))):
        start = places[leg - 1] if leg else here
        pen.line([start, places[leg]], mixed(colour, shares[leg]), 2.0 if leg == 0 else 1.5)
    for (x, y), stop, share in zip(places, vehicle.plan, shares, strict=True):
        _draw_stop(pen, x, y, stop.kind, RED if stop.late else mixed(colour, 0.15 + share))


def _draw_stop(pen: Pen, x: float, y: float, kind: int, colour: Colour, r: float = 4.0) -> None:
    """Draw a pickup as a ring, a drop-off as a square, a place as a cross."""
    if kind == PICKUP:
        pen.disc(x, y, r + 0.5, CARD, colour, 1.75)
    elif kind == DROPOFF:
        pen.box(x - r + 0.5, y - r + 0.5, x + r - 0.5, y + r - 0.5, colour, 1)
    elif kind == PLACE:
        pen.line([(x - r, y), (x + r, y)], colour, 1.5)
        pen.line([(x, y - r), (x, y + r)], colour, 1.5)


def _draw_booking(pen: Pen, x: float, y: float, booking: Booking, half_width_km: float = math.nan) -> None:
    """Draw a booking that waits, is late, was missed or was served."""
    if booking.condition == SERVED:
        if not math.isnan(half_width_km):
            x, y = map_xy(half_width_km, booking.to_x_km, booking.to_y_km)
        pen.line([(x - 4, y), (x - 1.2, y + 3), (x + 4.5, y - 4)], MODE_COLOURS[AT_STOP], 1.75)
    elif booking.condition == MISSED:
        pen.line([(x - 4, y - 4), (x + 4, y + 4)], RED, 2)
        pen.line([(x - 4, y + 4), (x + 4, y - 4)], RED, 2)
    elif booking.condition == LATE:
        pen.disc(x, y, 9, mixed(RED, 0.22))
        pen.disc(x, y, 5, RED, CARD)
    elif booking.condition == DUE:
        pen.disc(x, y, 5.5, AMBER, CARD)
    else:
        pen.disc(x, y, 5, mixed(AMBER, 0.25), AMBER, 1.25)


def _draw_vehicle(pen: Pen, x: float, y: float, vehicle: Vehicle, number: str) -> None:
    colour = MODE_COLOURS[vehicle.mode]
    riders = vehicle.ambulatory + vehicle.wheelchair
    if riders:
        wide = 5.0 * riders + 3
        pen.box(x - 0.5 * wide, y + 7, x + 0.5 * wide, y + 16, CARD, 3)
        _draw_riders(pen, x - 2.5 * (riders - 1), y + 12, 5.0, vehicle, (riders, 0), colour)
    pen.disc(x, y, 10, CARD)
    pen.disc(x, y, 9, colour)
    if vehicle.mode == BROKEN_DOWN:
        pen.line([(x - 9, y + 9), (x + 9, y - 9)], RED, 2)
    pen.text(x, y + 0.5, number, 10.5, CARD, "mm")


def _draw_riders(
    pen: Pen, x: float, y: float, pitch: float, vehicle: Vehicle, places: tuple[int, int], colour: Colour
) -> None:
    """Draw a dot for every rider on board, a square for one in a wheelchair; free places are pale."""
    pale = (218, 220, 224)
    dots = max(places[0], vehicle.ambulatory) if places[1] else vehicle.ambulatory
    dots = max(dots, places[0] - vehicle.wheelchair) if not places[1] else dots
    for i in range(dots):
        pen.disc(x + pitch * i, y, 1.9, colour if i < vehicle.ambulatory else pale)
    for i in range(max(places[1], vehicle.wheelchair)):
        at = x + pitch * (dots + i)
        pen.box(at - 2, y - 2, at + 2, y + 2, colour if i < vehicle.wheelchair else pale)


# --- the panel ------------------------------------------------------------------------------------------


def _draw_speed(pen: Pen, shown: Scene) -> None:
    """Draw the expected speed of the day as an area, what it truly was as a line, and now."""
    top, bottom = _SPEED_TOP, _SPEED_BOTTOM
    now_quarter = min(int(shown.now_min / shown.quarter_min), len(shown.expected_kmh) - 1)
    pen.text(_LEFT, top - 16, f"Expected speed {shown.expected_kmh[now_quarter]:.0f} km/h", 11, SOFT_INK)
    if shown.true_kmh:
        true_kmh = shown.true_kmh[now_quarter]
        pen.text(_RIGHT, top - 16, f"true {true_kmh:.0f} km/h", 11, MODE_COLOURS[WITH_RIDERS], "rs")
    high_kmh = 10.0 * math.ceil(max(shown.expected_kmh + shown.true_kmh) / 10.0)
    per_min = (_RIGHT - _LEFT) / shown.day_min
    x_now = _LEFT + per_min * min(shown.now_min, shown.day_min)
    width = per_min * shown.quarter_min
    truth: list[tuple[float, float]] = []
    for q, kmh in enumerate(shown.expected_kmh):
        x = _LEFT + width * q
        y = bottom - (bottom - top) * kmh / high_kmh
        over = min(max(x_now - x, 0.0), width)
        pen.box(x, y, x + width, bottom, (226, 229, 233))
        if over > 0:
            pen.box(x, y, x + over, bottom, (203, 210, 219))
        if over > 0 and shown.true_kmh:
            y = bottom - (bottom - top) * shown.true_kmh[q] / high_kmh
            truth += [(x, y), (x + over, y)]
    if truth:
        pen.line(truth, MODE_COLOURS[WITH_RIDERS], 1.5)
    pen.line([(_LEFT, bottom), (_RIGHT, bottom)], FAINT_INK)
    pen.line([(x_now, top - 6), (x_now, bottom)], RED, 1.5)
    first = math.ceil(shown.day_start_min / 60.0)
    for hour in range(first, int((shown.day_start_min + shown.day_min) // 60) + 1, 2):
        x = _LEFT + per_min * (60.0 * hour - shown.day_start_min)
        at_end = "ls" if x < _LEFT + 1 else "rs" if x > _RIGHT - 1 else "ms"
        pen.text(x, bottom + 13, f"{hour:02d}", 9.5, FAINT_INK, at_end)


def _draw_fleet(pen: Pen, shown: Scene) -> None:
    """Draw a line for every vehicle: what it does, who is on board, what it will do within an hour."""
    y = _FLEET_TOP
    pen.line([(_LEFT, y - 20), (_RIGHT, y - 20)], RULE)
    has_plans = shown.day_min > 0 and bool(shown.true_kmh)
    pen.text(_LEFT, y - 3, "Fleet", 11, SOFT_INK)
    pen.text(_LEFT + 96, y - 3, "riders", 11, SOFT_INK)
    if has_plans:
        pen.text(_TRACK_LEFT, y - 3, shown.time_of_day(shown.now_min), 9.5, FAINT_INK)
        pen.text(_RIGHT, y - 3, shown.time_of_day(shown.now_min + _TRACK_MIN), 9.5, FAINT_INK, "rs")
    pitch = min(27.0, (_FLEET_BOTTOM - _FLEET_TOP) / len(shown.vehicles))
    for number, vehicle in enumerate(shown.vehicles):
        middle = y + 6 + pitch * (number + 0.5)
        _draw_fleet_line(pen, shown, vehicle, str(number), middle, pitch)
        if has_plans:
            _draw_track(pen, shown, vehicle, middle)


def _draw_fleet_line(pen: Pen, shown: Scene, vehicle: Vehicle, number: str, y: float, height: float) -> None:
    r = min(7.5, 0.5 * height - 0.5)
    colour = MODE_COLOURS[vehicle.mode]
    off = vehicle.mode == OFF_SHIFT
    pen.disc(_LEFT + 7, y, r, colour)
    pen.text(_LEFT + 7, y + 0.5, number, min(9.0, 1.3 * r), CARD, "mm")
    pen.text(
        _LEFT + 21,
        y,
        vehicle.doing or MODE_NAMES[vehicle.mode],
        min(11.0, height),
        FAINT_INK if off else INK,
        "lm",
    )
    pitch = min(6.0, 72.0 / max(1, sum(shown.places)))
    if not off:
        _draw_riders(pen, _LEFT + 99, y, pitch, vehicle, shown.places, MODE_COLOURS[WITH_RIDERS])


def _draw_track(pen: Pen, shown: Scene, vehicle: Vehicle, y: float) -> None:
    """Draw the stops of a plan along the next hour."""
    per_min = (_RIGHT - _TRACK_LEFT) / _TRACK_MIN

    def x_of(t_min: float) -> float:
        return _TRACK_LEFT + per_min * min(max(t_min - shown.now_min, 0.0), _TRACK_MIN)

    pen.line([(_TRACK_LEFT, y), (_RIGHT, y)], RULE)
    colour = MODE_COLOURS[vehicle.mode]
    if vehicle.mode in (ON_BREAK, BROKEN_DOWN):
        pen.box(_TRACK_LEFT, y - 2, x_of(vehicle.busy_until_min), y + 2, mixed(colour, 0.7, PAPER))
    ahead = [stop for stop in vehicle.plan if stop.begin_min < shown.now_min + _TRACK_MIN]
    if ahead:
        pen.line([(_TRACK_LEFT, y), (x_of(vehicle.plan[-1].begin_min), y)], mixed(INK, 0.35, PAPER), 1.5)
    for stop in ahead:
        _draw_track_stop(pen, x_of(stop.begin_min), y, stop)


def _draw_track_stop(pen: Pen, x: float, y: float, stop: Stop) -> None:
    _draw_stop(pen, x, y, stop.kind, RED if stop.late else SOFT_INK, 3.0)


def _draw_legend(pen: Pen, marks: tuple[tuple[int, str], ...], with_hot_spots: bool) -> None:
    y = _LEGEND_TOP
    pen.line([(_LEFT, y - 8), (_RIGHT, y - 8)], RULE)
    entries: list[tuple[str, Any]] = [
        ("pickup", lambda x, y: _draw_stop(pen, x, y, PICKUP, SOFT_INK)),
        ("drop-off", lambda x, y: _draw_stop(pen, x, y, DROPOFF, SOFT_INK)),
    ]
    if with_hot_spots:
        entries.append(("hot spot", lambda x, y: pen.disc(x, y, 6, mixed(AMBER, 0.22))))
    for condition, name in marks:
        mark = Booking(condition, 0.0, 0.0, 0.0, 0.0)
        entries.append((name, lambda x, y, mark=mark: _draw_booking(pen, x, y, mark)))
    for i, (name, draw) in enumerate(entries):
        x = _LEFT + 7 + (_RIGHT - _LEFT + 12) / 3 * (i % 3)
        row = y + 6 + 17 * (i // 3)
        draw(x, row)
        pen.text(x + 14, row, name, 11, SOFT_INK, "lm")
