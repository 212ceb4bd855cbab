"""Pictures of data-centre cooling: the hall with its air, the plant with its water, the bill, the last hour.

Sizes are in pixels. Colours of air and water are temperatures, widths of ducts and pipes are flows. The same state
always makes the same picture.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from rlops.envs.cooling.accounts import HISTORY_MIN, RUNAWAY_C
from rlops.envs.cooling.scene import (
    COLD,
    CONDITIONS,
    CONSUMER_NAMES,
    HOT,
    LIMITS_C,
    RUNAWAY,
    WARM,
    WITHIN,
    Plant,
    Scene,
    Zone,
    number,
    scene,
    short,
)
from rlops.envs.drawing import (
    CARD,
    FAINT_INK,
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
    apart,
    blank,
    draw_figures,
    finished,
    mixed,
    text_width,
)

CONSUMER_COLOURS: tuple[Colour, ...] = (
    (134, 144, 158),  # processors
    (190, 197, 206),  # server fans
    (24, 82, 150),  # handler fans
    (86, 154, 214),  # pumps
    (23, 139, 121),  # tower fan
    (143, 116, 170),  # chiller
    (222, 158, 62),  # power supply
    (238, 212, 160),  # lights
)
ZONE_COLOURS: tuple[Colour, ...] = ((0, 114, 178), (74, 80, 90), (0, 140, 105), (150, 80, 150))
CONDITION_COLOURS: dict[int, Colour] = {
    WITHIN: INK, COLD: (24, 82, 150), WARM: (172, 100, 0), HOT: RED, RUNAWAY: RED,
}  # fmt: skip

_SCALE = (
    (6.0, 0.46, 0.120, 255.0),
    (18.0, 0.78, 0.065, 240.0),
    (23.0, 0.89, 0.045, 102.0),
    (27.0, 0.86, 0.085, 85.0),
    (32.0, 0.75, 0.125, 60.0),
    (40.0, 0.56, 0.170, 32.0),
    (50.0, 0.38, 0.130, 25.0),
)
"""Colours of temperatures [°C]: lightness, chroma and hue [°] of Oklab (Ottosson 2020). Lightest at 23 °C, darker
either way: the two sides differ in hue from blue to orange, which no common colour blindness confuses."""
_LEAST_C, _MOST_C, _PER_K = 0.0, 60.0, 10

_CARD_RIGHT = 640
_LEFT, _RIGHT = 664, WIDTH - MARGIN  # of the panel
_HALL_TOP, _HALL_BOTTOM = 56, 428
_MOST_ROW = 212
_SUPPLY_X, _RETURN_X = 38, 55  # risers of the chilled water
_HANDLER, _COLD_AISLE, _SERVERS, _HOT_AISLE = (76, 168), (222, 268), (280, 380), (392, 438)
_GAUGE = (458, 624)
_GAUGE_C = (14.0, 42.0)
_PX_PER_AIR, _PX_PER_WATER = 0.4, 0.25
"""[px s/kg] Widths of ducts and pipes."""
_PIPES_HIGH, _PIPES_LOW = 506, 566
_CHILLER, _TOWER = (172, 296), (398, 496)
_CHART = (686, 446, 918, 540)


def frame(kernel: ModuleType, p: Any, s: Any, d: Any) -> np.ndarray:
    """Return the picture of one row, ``(640, 960, 3)`` uint8.

    Args:
        kernel: The kernel module of DatacenterCooling v0 or v1.
        p: Parameter record of the row.
        s: State record of the row.
        d: Shared records of the kernel.

    Raises:
        InvalidValue: If the kernel is none of these.
    """
    return picture(scene(kernel, p, s, d))


def picture(shown: Scene) -> np.ndarray:
    """Return the picture of a scene, ``(640, 960, 3)`` uint8."""
    image = _background(shown.title, len(shown.zones)).copy()
    pen = Pen(image)
    _draw_risers(pen, shown)
    for z, zone in enumerate(shown.zones):
        _draw_zone(pen, zone, z, zone_box(len(shown.zones), z))
    _draw_plant(pen, shown)
    _draw_time(pen, shown)
    draw_figures(pen, shown.figures, _LEFT, _RIGHT, 104)
    _draw_consumers(pen, shown)
    _draw_last_hour(pen, shown)
    return finished(image)


def zone_box(zones: int, z: int) -> tuple[int, int, int, int]:
    """Return the part of the picture that shows zone ``z`` alone: left, top, right, bottom [px]."""
    height = min((_HALL_BOTTOM - _HALL_TOP) // zones, _MOST_ROW)
    top = (_HALL_TOP + _HALL_BOTTOM - zones * height) // 2 + z * height
    return _HANDLER[0] - 2, top, _CARD_RIGHT - 4, top + height


# --- colours of temperatures ----------------------------------------------------------------------------


def temperature_colour(t_c: float) -> Colour:
    """Return the colour of a temperature; those beyond 0 … 60 °C look like the ends."""
    at = round(_PER_K * (min(max(t_c, _LEAST_C), _MOST_C) - _LEAST_C))
    return _temperature_colours()[at]


@lru_cache(maxsize=1)
def _temperature_colours() -> tuple[Colour, ...]:
    """Return colours every tenth of a kelvin, straight lines through ``_SCALE`` in Oklab."""
    at_c, light, chroma, hue = np.array(_SCALE).T
    t_c = np.arange(_PER_K * (_MOST_C - _LEAST_C) + 1) / _PER_K + _LEAST_C
    axes = (light, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue)))
    lightness, a, b = (np.interp(t_c, at_c, axis) for axis in axes)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cones**3, 0.0, 1.0)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return tuple((int(r), int(g), int(b)) for r, g, b in np.rint(255.0 * coded).T)


def _ink_on(ground: Colour) -> Colour:
    """Return what can be read on a ground."""
    return CARD if 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2] < 140 else INK


# --- what stays -----------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _background(title: str, zones: int) -> Any:
    """Return what stays the same all day: cards, headings, scales."""
    image = blank()
    pen = Pen(image)
    pen.box(MARGIN, MARGIN, _CARD_RIGHT, HEIGHT - MARGIN, CARD, 6)
    pen.frame(MARGIN, MARGIN, _CARD_RIGHT, HEIGHT - MARGIN, RULE, 6)
    headings = (
        (_HANDLER, "air handler"),
        (_COLD_AISLE, "cold aisle"),
        (_SERVERS, "servers"),
        (_HOT_AISLE, "hot aisle"),
        (_GAUGE, "inlet of the worst rack"),
    )
    first = zone_box(zones, 0)[1]
    for (x0, x1), name in headings:
        pen.text(0.5 * (x0 + x1), first - 10, name, 10.5, SOFT_INK, "ms")
    for z in range(1, zones):
        top = zone_box(zones, z)[1]
        pen.line([(_HANDLER[0], top), (_CARD_RIGHT - 16, top)], (240, 240, 236))
    pen.line([(MARGIN + 1, _HALL_BOTTOM + 4), (_CARD_RIGHT - 1, _HALL_BOTTOM + 4)], RULE)
    pen.text(_RIGHT, MARGIN + 28, title, 12, SOFT_INK, "rs")
    for y in (238, 420, 572):
        pen.line([(_LEFT, y), (_RIGHT, y)], RULE)
    pen.text(_LEFT, 256, "Power by consumer", 11, SOFT_INK)
    pen.text(_RIGHT - 112, 256, "share", 9.5, FAINT_INK, "rs")
    pen.text(_RIGHT - 62, 256, "kW", 9.5, FAINT_INK, "rs")
    pen.text(_RIGHT, 256, "kWh so far", 9.5, FAINT_INK, "rs")
    for i, (name, colour) in enumerate(zip(CONSUMER_NAMES, CONSUMER_COLOURS, strict=True)):
        pen.box(_LEFT, _consumer_y(i) - 4, _LEFT + 8, _consumer_y(i) + 4, colour, 1)
        pen.text(_LEFT + 15, _consumer_y(i), name, 11, INK, "lm")
    pen.text(_LEFT, 437, "Worst inlets of the last hour, °C", 11, SOFT_INK)
    _draw_scale(pen)
    return image


def _draw_scale(pen: Pen) -> None:
    """Draw which colour is which temperature, with the limits of the inlets."""
    low, high = 5.0, 50.0
    pen.text(_LEFT, 588, "Air and water, °C", 11, SOFT_INK)
    left = _LEFT + 100
    per_k = (_RIGHT - left) / (high - low)
    for half_px in range(2 * left, 2 * _RIGHT):
        x = 0.5 * half_px
        pen.box(x, 579, x + 0.5, 589, temperature_colour(low + (x - left) / per_k))
    for t_c in (5.0, *LIMITS_C, 40.0, 50.0):
        x = left + per_k * (t_c - low)
        is_limit = t_c in LIMITS_C
        pen.line([(x, 577 if is_limit else 589), (x, 592)], INK if is_limit else FAINT_INK, 1.0)
        at = "ls" if t_c == low else "rs" if t_c == high else "ms"
        pen.text(x, 602, f"{t_c:g}", 9.5, INK if is_limit else FAINT_INK, at)
    pen.text(_RIGHT, 614, "inlets: 18-27 °C recommended, to 32 °C allowable", 9.5, FAINT_INK, "rs")


# --- the hall -------------------------------------------------------------------------------------------


def _draw_risers(pen: Pen, shown: Scene) -> None:
    """Draw the chilled water up to the coils and back, as wide as what flows at a height."""
    zones, plant = shown.zones, shown.plant
    below = _PIPES_LOW, _PIPES_HIGH
    left = [sum(_finite(zone.water_kg_per_s) for zone in zones[: z + 1]) for z in range(len(zones))]
    for x, t_c, bottom, side in (
        (_SUPPLY_X, plant.chilled_c, below[0], 0.72),
        (_RETURN_X, plant.chilled_return_c, below[1], 0.42),
    ):
        colour = temperature_colour(t_c) if not math.isnan(t_c) else RULE
        for z, zone in enumerate(zones):
            _, top, _, end = zone_box(len(zones), z)
            y = top + side * (end - top)
            y_next = zone_box(len(zones), z + 1)[1] + side * (end - top) if z + 1 < len(zones) else bottom
            _pipe(pen, [(x, y), (_HANDLER[0], y)], colour, zone.water_kg_per_s)
            _pipe(pen, [(x, y), (x, y_next)], colour, left[z])


def _pipe(pen: Pen, points: list[tuple[float, float]], colour: Colour, kg_per_s: float) -> None:
    width = max(1.5, _PX_PER_WATER * _finite(kg_per_s))
    pen.line(points, colour, width)


def _finite(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _draw_zone(pen: Pen, zone: Zone, z: int, box: tuple[int, int, int, int]) -> None:
    """Draw a zone with its air going round: handler, cold aisle, servers, hot aisle, back above."""
    _, top, _, bottom = box
    high, low = top + 21, bottom - 17
    middle = 0.5 * (high + low)
    _draw_return(pen, zone, top + 9, high)
    _draw_handler(pen, zone, high, low)
    _draw_flow(pen, _HANDLER[1] + 3, _COLD_AISLE[0] - 3, middle, zone.supply_c, zone.air_kg_per_s)
    for (x0, x1), t_c in ((_COLD_AISLE, zone.cold_c), (_HOT_AISLE, zone.hot_c)):
        _draw_aisle(pen, x0, x1, high, low, t_c)
    _draw_servers(pen, zone, high, low)
    _draw_back(pen, zone, bottom - 7, low)
    _draw_gauge(pen, zone, z, middle)


def _draw_return(pen: Pen, zone: Zone, y: float, high: float) -> None:
    """Draw the return duct, from the hot aisle to the handler."""
    x0, x1 = 0.5 * sum(_HANDLER), 0.5 * sum(_HOT_AISLE)
    width = max(1.0, _PX_PER_AIR * _finite(zone.air_kg_per_s))
    colour = temperature_colour(zone.return_c)
    half = 0.5 * width
    pen.box(x0 - half, y - half, x1 + half, y + half, colour)
    pen.box(x1 - half, y - half, x1 + half, high, colour)
    pen.box(x0 - half, y - half, x0 + half, high - 3, colour)
    pen.polygon([(x0 - half - 3, high - 5), (x0 + half + 3, high - 5), (x0, high - 0.5)], colour)
    text = f"{number(zone.return_c, 1)} °C"
    wide = text_width(text, 10) + 8
    x = 0.5 * (_HANDLER[1] + _COLD_AISLE[0])
    pen.box(x - 0.5 * wide, y - 6, x + 0.5 * wide, y + 6, CARD)
    pen.text(x, y + 0.5, text, 10, SOFT_INK, "mm")


def _draw_handler(pen: Pen, zone: Zone, high: float, low: float) -> None:
    x0, x1 = _HANDLER
    pen.box(x0, high, x1, low, PAPER, 3)
    pen.frame(x0, high, x1, low, RULE, 3)
    middle = 0.5 * (high + low)
    for y, name, share, right in (
        (middle - 13, "fan", zone.fan, f"{number(zone.handler_fan_kw, 1)} kW"),
        (
            middle + 13,
            "valve",
            min(max(zone.valve, 0.0), 1.0),
            f"{number(zone.water_kg_per_s, 1 if zone.water_kg_per_s < 9.95 else 0)} kg/s",
        ),
    ):
        pen.text(x0 + 6, y - 1, f"{name} {number(100 * share)} %", 9.5, INK)
        pen.text(x1 - 5, y - 1, right, 8.5, SOFT_INK, "rs")
        _draw_bar(pen, x0 + 6, x1 - 6, y + 3, share)


def _draw_bar(pen: Pen, x0: float, x1: float, y: float, share: float, colour: Colour = SOFT_INK) -> None:
    """Draw a share as a bar, 4 px high."""
    pen.box(x0, y, x1, y + 4, (226, 228, 230))
    if share > 0.0:
        pen.box(x0, y, x0 + min(share, 1.0) * (x1 - x0), y + 4, colour)


def _draw_flow(pen: Pen, x0: float, x1: float, y: float, t_c: float, kg_per_s: float) -> None:
    """Draw supply air as an arrow, its temperature above and its flow below."""
    colour = temperature_colour(t_c)
    half = max(0.5, 0.5 * _PX_PER_AIR * _finite(kg_per_s))
    _draw_arrow(pen, x0, x1, y, half, colour)
    x = 0.5 * (x0 + x1)
    pen.text(x, y - 11, f"{number(t_c, 1)} °C", 10, INK, "ms")
    pen.text(x, y + 19, f"{number(kg_per_s, 1)} kg/s", 9.5, SOFT_INK, "ms")


def _draw_arrow(pen: Pen, x0: float, x1: float, y: float, half: float, colour: Colour) -> None:
    """Draw a horizontal arrow from ``x0`` to ``x1``, in either direction."""
    back = math.copysign(min(5.0, abs(x1 - x0)), x0 - x1)
    pen.box(min(x0, x1 + back), y - half, max(x0, x1 + back), y + half, colour)
    pen.polygon([(x1 + back, y - half - 3), (x1, y), (x1 + back, y + half + 3)], colour)


def _draw_aisle(pen: Pen, x0: float, x1: float, high: float, low: float, t_c: float) -> None:
    colour = temperature_colour(t_c)
    pen.box(x0, high, x1, low, colour, 3)
    middle, x = 0.5 * (high + low), 0.5 * (x0 + x1)
    pen.text(x, middle + 2, number(t_c, 1), 14, _ink_on(colour), "ms")
    pen.text(x, middle + 15, "°C", 9.5, _ink_on(colour), "ms")


def _draw_servers(pen: Pen, zone: Zone, high: float, low: float) -> None:
    """Draw ten racks, filled as far as they are used, between air of the inlets' temperature and exhaust."""
    x0, x1 = _SERVERS
    middle = 0.5 * (high + low)
    half = max(0.5, 0.5 * _PX_PER_AIR * _finite(zone.server_kg_per_s))
    _draw_arrow(pen, _COLD_AISLE[1] + 1, x0 - 1, middle, half, temperature_colour(zone.inlet_c))
    _draw_arrow(pen, x1 + 1, _HOT_AISLE[0] - 1, middle, half, temperature_colour(zone.hot_c))
    pen.box(x0, high, x1, low, (60, 68, 82), 3)
    racks, gap = 10, 2.0
    wide = (x1 - x0 - 8 + gap) / racks - gap
    lit_top, lit_bottom = low - max(20.0, 0.5 * (low - high)), low - 5
    for rack in range(racks):
        left = x0 + 4 + (wide + gap) * rack
        pen.box(left, lit_top, left + wide, lit_bottom, (92, 101, 116))
        pen.box(left, lit_bottom - zone.utilisation * (lit_bottom - lit_top), left + wide, lit_bottom, (190, 205, 224))
    text = 0.5 * (high + lit_top)
    pen.text(x0 + 6, text, f"{number(100 * zone.utilisation)} %", 13, CARD, "lm")
    pen.text(x1 - 6, text - 7, f"{number(zone.it_kw)} kW", 10, CARD, "rm")
    pen.text(x1 - 6, text + 7, f"{number(zone.server_kg_per_s, 1)} kg/s", 9.5, (198, 204, 212), "rm")


def _draw_back(pen: Pen, zone: Zone, y: float, low: float) -> None:
    """Draw the hot air that comes back to the inlets, below the servers."""
    x0, x1 = 0.5 * sum(_COLD_AISLE), 0.5 * sum(_HOT_AISLE)
    half = max(0.5, 0.5 * _PX_PER_AIR * _finite(zone.back_kg_per_s))
    half = min(half, 4.0)
    colour = temperature_colour(zone.hot_c)
    pen.box(x0 - half, y - half, x1 + half, y + half, colour)
    pen.box(x1 - half, low, x1 + half, y + half, colour)
    pen.box(x0 - half, low + 4, x0 + half, y + half, colour)
    pen.polygon([(x0 - half - 3, low + 5), (x0 + half + 3, low + 5), (x0, low + 0.5)], colour)
    text = f"{number(zone.back_kg_per_s, 1)} kg/s recirculated"
    wide = text_width(text, 9.5) + 8
    x = 0.5 * sum(_SERVERS)
    pen.box(x - 0.5 * wide, y - 6, x + 0.5 * wide, y + 6, CARD)
    pen.text(x, y, text, 9.5, SOFT_INK, "mm")


def _draw_gauge(pen: Pen, zone: Zone, z: int, middle: float) -> None:
    """Draw the inlets of a zone against the limits: the worst rack as a mark, the mean as a line."""
    x0, x1 = _GAUGE
    colour = CONDITION_COLOURS[zone.condition]
    _draw_badge(pen, x0 + 7, middle - 17, z, 8)
    value = number(zone.worst_c, 1)
    pen.text(x0 + 21, middle - 10, value, 19, colour)
    pen.text(x0 + 24 + text_width(value, 19), middle - 10, "°C", 11, colour)
    pen.text(x1, middle - 25, CONDITIONS[zone.condition], 10, colour, "rs")
    pen.text(x1, middle - 10, f"mean {number(zone.inlet_c, 1)} °C", 10, SOFT_INK, "rs")

    def x_of(t_c: float) -> float:
        low, high = _GAUGE_C
        return x0 + (x1 - x0) * (min(max(t_c, low), high) - low) / (high - low)

    top, bottom = middle + 3, middle + 11
    edges = (_GAUGE_C[0], *LIMITS_C, _GAUGE_C[1])
    for left, right, ground in zip(
        edges, edges[1:], ((214, 226, 240), (228, 231, 228), (247, 226, 186), (240, 196, 190)), strict=False
    ):
        pen.box(x_of(left), top, x_of(right), bottom, ground)
    for t_c in LIMITS_C:
        pen.line([(x_of(t_c), top), (x_of(t_c), bottom + 3)], SOFT_INK)
        pen.text(x_of(t_c), bottom + 13, f"{t_c:g}", 9.5, SOFT_INK, "ms")
    x = x_of(zone.inlet_c)
    pen.line([(x, top - 1), (x, bottom + 1)], INK, 1.5)
    x = x_of(zone.worst_c)
    pen.polygon([(x - 5, top - 5), (x + 5, top - 5), (x, top + 4)], colour)


def _draw_badge(pen: Pen, x: float, y: float, z: int, r: float) -> None:
    pen.disc(x, y, r, ZONE_COLOURS[z % len(ZONE_COLOURS)])
    pen.text(x, y + 0.5, str(z), 1.25 * r, CARD, "mm")


# --- the plant ------------------------------------------------------------------------------------------


def _draw_plant(pen: Pen, shown: Scene) -> None:
    """Draw the chilled water, the chiller, the condenser water, the tower and the air outdoors."""
    plant = shown.plant
    chilled, condenser = plant.water_kg_per_s, plant.condenser_kg_per_s
    for y, x, t_c in ((_PIPES_HIGH, _RETURN_X, plant.chilled_return_c), (_PIPES_LOW, _SUPPLY_X, plant.chilled_c)):
        colour = RULE if math.isnan(t_c) else temperature_colour(t_c)
        overlap = 0.5 * max(1.5, _PX_PER_WATER * _finite(chilled))
        _pipe(pen, [(x - overlap, y), (_CHILLER[0], y)], colour, chilled)
        _draw_towards(pen, 0.5 * (_CHILLER[0] + x) + 40, y, 1 if y == _PIPES_HIGH else -1)
    for y, t_c in ((_PIPES_HIGH, plant.condenser_return_c), (_PIPES_LOW, plant.condenser_c)):
        colour = RULE if math.isnan(t_c) else temperature_colour(t_c)
        _pipe(pen, [(_CHILLER[1], y), (_TOWER[0], y)], colour, condenser)
        _draw_towards(pen, 0.5 * (_CHILLER[1] + _TOWER[0]), y, 1 if y == _PIPES_HIGH else -1)
    middle = 0.5 * (_RETURN_X + _CHILLER[0]) + 4
    _draw_loop(pen, middle, "chilled water", plant.chilled_return_c, plant.chilled_c, chilled, plant.chilled_pump_kw)
    pen.text(middle, _PIPES_LOW + 33, f"set {number(plant.chilled_set_c, 1)} °C", 10, SOFT_INK, "ms")
    middle = 0.5 * (_CHILLER[1] + _TOWER[0])
    warm, cool = plant.condenser_return_c, plant.condenser_c
    _draw_loop(pen, middle, "condenser water", warm, cool, condenser, plant.condenser_pump_kw)
    _draw_chiller(pen, plant)
    _draw_tower(pen, plant)
    _draw_outdoors(pen, shown)


def _draw_towards(pen: Pen, x: float, y: float, way: int) -> None:
    """Draw which way water flows."""
    pen.polygon([(x - 3 * way, y - 3), (x + 3 * way, y), (x - 3 * way, y + 3)], SOFT_INK)


def _draw_loop(pen: Pen, x: float, name: str, warm_c: float, cool_c: float, kg_per_s: float, pump_kw: float) -> None:
    """Write what is known of a loop of water, between and beside its pipes."""
    pen.text(x, 462, name, 10.5, SOFT_INK, "ms")
    pen.text(x, _PIPES_HIGH - 12, f"{number(warm_c, 1)} °C", 11, INK, "ms")
    pen.text(x, _PIPES_LOW + 19, f"{number(cool_c, 1)} °C", 11, INK, "ms")
    pen.text(x, 534, f"{number(kg_per_s, 1)} kg/s", 10, SOFT_INK, "ms")
    pen.text(x, 548, f"pump {number(pump_kw, 1)} kW", 10, SOFT_INK, "ms")


def _draw_chiller(pen: Pen, plant: Plant) -> None:
    x0, x1 = _CHILLER
    pen.text(0.5 * (x0 + x1), 462, "chiller", 10.5, SOFT_INK, "ms")
    pen.box(x0, 472, x1, 604, PAPER, 4)
    pen.frame(x0, 472, x1, 604, RULE, 4)
    value = number(plant.compressor_kw)
    pen.text(x0 + 12, 499, value, 19, INK)
    pen.text(x0 + 16 + text_width(value, 19), 499, "kW", 11, SOFT_INK)
    lines = (
        ("part load", f"{number(100 * plant.load)} %"),
        ("takes", f"{number(plant.evaporator_kw)} kW"),
        ("COP", number(plant.cop, 1)),
    )
    for y, (name, text) in zip((522, 556, 578), lines, strict=True):
        pen.text(x0 + 12, y, name, 11, SOFT_INK)
        pen.text(x1 - 12, y, text, 11, INK, "rs")
    _draw_bar(pen, x0 + 12, x1 - 12, 529, _finite(plant.load), CONSUMER_COLOURS[5])


def _draw_tower(pen: Pen, plant: Plant) -> None:
    x0, x1 = _TOWER
    middle = 0.5 * (x0 + x1)
    has_fan = not math.isnan(plant.tower_fan)
    pen.text(middle, 462, "tower" if has_fan else "ideal tower", 10.5, SOFT_INK, "ms")
    pen.polygon([(x0, 604), (x0, 530), (x0 + 10, 480), (x1 - 10, 480), (x1, 530), (x1, 604)], RULE)
    pen.polygon([(x0 + 1, 603), (x0 + 1, 530), (x0 + 11, 481), (x1 - 11, 481), (x1 - 1, 530), (x1 - 1, 603)], PAPER)
    if has_fan:
        pen.box(x0 + 18, 476, x1 - 18, 480, SOFT_INK, 1)
        pen.text(x0 + 18, 522, f"fan {number(100 * plant.tower_fan)} %", 11, INK)
        _draw_bar(pen, x0 + 18, x1 - 18, 529, plant.tower_fan)
        pen.text(x0 + 18, 556, f"{number(plant.tower_fan_kw, 1)} kW", 11, INK)
    else:
        pen.text(middle, 535, "4 K above", 11, SOFT_INK, "ms")
        pen.text(middle, 550, "the wet bulb", 11, SOFT_INK, "ms")


def _draw_outdoors(pen: Pen, shown: Scene) -> None:
    x0, x1 = _TOWER[1] + 22, _CARD_RIGHT - 16
    pen.text(0.5 * (x0 + x1), 462, "outdoors", 10.5, SOFT_INK, "ms")
    for y, name, t_c in ((488, "dry bulb", shown.dry_bulb_c), (508, "wet bulb", shown.wet_bulb_c)):
        pen.box(x0, y - 8, x0 + 8, y, temperature_colour(t_c), 1)
        pen.text(x0 + 14, y, name, 11, SOFT_INK)
        pen.text(x1, y, f"{number(t_c, 1)} °C", 11, INK, "rs")
    pen.text(x0, 548, "heat to the air", 11, SOFT_INK)
    value = number(shown.plant.tower_kw)
    pen.text(x0, 568, value, 15, INK)
    pen.text(x0 + 4 + text_width(value, 15), 568, "kW", 11, SOFT_INK)
    _draw_arrow(pen, _TOWER[1] + 2, x0 - 6, 563, 2.0, SOFT_INK)


# --- the panel ------------------------------------------------------------------------------------------


def _draw_time(pen: Pen, shown: Scene) -> None:
    """Draw the clock, the day, and how much of the episode is over."""
    pen.text(_LEFT - 1, MARGIN + 28, shown.clock, 36, INK)
    pen.text(_LEFT, 74, shown.day, 11, SOFT_INK)
    pen.text(_RIGHT, 74, shown.ending, 11, RED if "runaway" in shown.ending else INK, "rs")
    over = min(shown.minute / max(1, shown.horizon_min), 1.0)
    _draw_bar(pen, _LEFT, _RIGHT, 82, over)


def _consumer_y(i: int) -> float:
    return 290 + 16.5 * i


def _draw_consumers(pen: Pen, shown: Scene) -> None:
    """Draw who has which share of the power, and how much of it."""
    total_kw = sum(shown.power_kw)
    pen.box(_LEFT, 264, _RIGHT, 276, (226, 228, 230), 0)
    x = float(_LEFT)
    for i, (kw, kwh) in enumerate(zip(shown.power_kw, shown.energy_kwh, strict=True)):
        if total_kw > 0:
            wide = (_RIGHT - _LEFT) * kw / total_kw
            pen.box(x, 264, x + wide, 276, CONSUMER_COLOURS[i])
            x += wide
        pen.text(_RIGHT - 62, _consumer_y(i), number(kw, 1), 11, INK, "rm")
        pen.text(_RIGHT, _consumer_y(i), number(kwh) if kwh < 1e6 else short(kwh), 11, SOFT_INK, "rm")
        if total_kw > 0:
            pen.text(_RIGHT - 112, _consumer_y(i), f"{number(100 * kw / total_kw, 1)} %", 11, SOFT_INK, "rm")


def _draw_last_hour(pen: Pen, shown: Scene) -> None:
    """Draw the worst inlets of the last hour, a line a zone, with the limits."""
    x0, top, x1, bottom = _CHART
    past_c = [zone.past_c for zone in shown.zones]
    low = min(16.0, 2.0 * math.floor((min(map(min, past_c)) - 0.5) / 2.0))
    high = max(34.0, 2.0 * math.ceil((max(map(max, past_c)) + 0.5) / 2.0))

    def y_of(t_c: float) -> float:
        return bottom - (bottom - top) * (t_c - low) / (high - low)

    pen.box(x0, top, x1, bottom, CARD)
    pen.box(x0, y_of(LIMITS_C[1]), x1, y_of(LIMITS_C[0]), (241, 243, 240))
    for t_c, colour in zip((*LIMITS_C, RUNAWAY_C), (COLD, WARM, HOT, RUNAWAY), strict=True):
        if t_c < high:
            pen.line([(x0, y_of(t_c)), (x1, y_of(t_c))], mixed(CONDITION_COLOURS[colour], 0.45))
            pen.text(x0 - 5, y_of(t_c), f"{t_c:g}", 10, CONDITION_COLOURS[colour], "rm")
    pen.line([(x0, bottom), (x1, bottom)], FAINT_INK)
    per_min = (x1 - x0) / (HISTORY_MIN - 1)
    for back in (60, 45, 30, 15, 0):
        x = x1 - (x1 - x0) * back / 60
        pen.text(x, bottom + 13, f"-{back} min" if back else "now", 9.5, FAINT_INK, "ms")
    for z, line in enumerate(past_c):
        points = [(x1 - per_min * (len(line) - 1 - i), y_of(t_c)) for i, t_c in enumerate(line)]
        if len(points) > 1:
            pen.line(points, ZONE_COLOURS[z % len(ZONE_COLOURS)], 1.5)
    for z, y in apart([y_of(line[-1]) for line in past_c], 13.0, top + 6, bottom - 6):
        pen.line([(x1, y_of(past_c[z][-1])), (x1 + 6, y)], ZONE_COLOURS[z % len(ZONE_COLOURS)])
        _draw_badge(pen, x1 + 11, y, z, 6)
