"""Drawing as all pictures of environments share it: a pen, a palette, and the figures of a panel.

Everything is drawn at twice its size and averaged down, so that edges are smooth; sizes are in pixels of the finished
picture. Letters come with Pillow, so a picture does not depend on the fonts of a machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from rlops.envs.figures import Figure
from rlops.errors import MissingExtra

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError:
    raise MissingExtra("Rendering", "render") from None

Colour = tuple[int, int, int]

WIDTH, HEIGHT = 960, 640
"""[px] Size of a picture; multiples of 16, as video encoders like them."""
MARGIN = 24
_FINER = 2  # drawn so many times larger

PAPER, CARD, GRID, RULE = (245, 245, 242), (255, 255, 255), (240, 240, 236), (223, 223, 218)
INK, SOFT_INK, FAINT_INK = (32, 41, 56), (98, 106, 118), (156, 162, 171)
AMBER, RED = (230, 150, 30), (204, 41, 54)


def blank() -> Image.Image:
    """Return an empty picture to draw on."""
    return Image.new("RGB", (_FINER * WIDTH, _FINER * HEIGHT), PAPER)


def finished(image: Image.Image) -> np.ndarray:
    """Return a drawn picture at its own size, ``(640, 960, 3)`` uint8."""
    return np.array(image.reduce(_FINER))


class Pen:
    """Draws in pixels of the finished picture."""

    def __init__(self, image: Image.Image):
        self._draw = ImageDraw.Draw(image)

    def text(self, x: float, y: float, text: str, size: float, colour: Colour, anchor: str = "ls") -> None:
        """Write ``text``; ``anchor`` says what of it is at (x, y): l, m, r and baseline s, middle m."""
        glyphs, left, top = _glyphs(text, size, anchor)
        self._draw.bitmap((round(_FINER * x) + left, round(_FINER * y) + top), glyphs, colour)

    def line(self, points: list[tuple[float, float]], colour: Colour, width: float = 1.0) -> None:
        """Draw a line through ``points``."""
        joint = "curve" if len(points) > 2 else None
        xy = [(_FINER * x, _FINER * y) for x, y in points]
        self._draw.line(xy, colour, round(_FINER * width), joint)

    def disc(
        self,
        x: float,
        y: float,
        r: float,
        colour: Colour | None,
        rim: Colour | None = None,
        width: float = 1.0,
    ) -> None:
        """Draw a disc, filled if it has a colour, with a rim if that has one."""
        x, y, r = _FINER * x, _FINER * y, _FINER * r
        self._draw.ellipse((x - r, y - r, x + r, y + r), colour, rim, round(_FINER * width))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | None, radius: float = 0.0) -> None:
        """Draw a filled rectangle."""
        xy = (_FINER * x0, _FINER * y0, max(_FINER * x0, _FINER * x1 - 1), max(_FINER * y0, _FINER * y1 - 1))
        if radius > 0:
            self._draw.rounded_rectangle(xy, _FINER * radius, colour)
        else:
            self._draw.rectangle(xy, colour)

    def frame(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, radius: float = 0.0) -> None:
        """Draw the outline of a rectangle."""
        xy = (_FINER * x0, _FINER * y0, _FINER * x1 - 1, _FINER * y1 - 1)
        self._draw.rounded_rectangle(xy, _FINER * radius, None, colour, _FINER)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([(_FINER * x, _FINER * y) for x, y in points], colour)


@lru_cache(maxsize=32)
def _font(size: float) -> Any:
    return ImageFont.load_default(_FINER * size)


@lru_cache(maxsize=4096)
def _glyphs(text: str, size: float, anchor: str) -> tuple[Image.Image, int, int]:
    """Return a text as a mask, and where its corner is from the anchor; most texts come again and again."""
    left, top, right, bottom = _font(size).getbbox(text, anchor=anchor)
    left, top = math.floor(left), math.floor(top)
    mask = Image.new("L", (max(1, math.ceil(right) - left), max(1, math.ceil(bottom) - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, 255, _font(size), anchor)
    return mask, left, top


def text_width(text: str, size: float) -> float:
    """Return how wide a text is [px]."""
    return float(_font(size).getlength(text)) / _FINER


def mixed(colour: Colour, share: float, ground: Colour = CARD) -> Colour:
    """Return ``share`` of a colour on a ground."""
    r, g, b = (round(share * c + (1.0 - share) * under) for c, under in zip(colour, ground, strict=True))
    return r, g, b


def draw_figures(pen: Pen, figures: Sequence[Figure], left: float, right: float, top: float) -> None:
    """Draw key figures, three a row of 42 px."""
    for i, figure in enumerate(figures):
        x = left + (right - left + 12) / 3 * (i % 3)
        y = top + 42 * (i // 3)
        pen.text(x, y + 8, figure.label, 11, SOFT_INK)
        colour = RED if figure.bad and figure.value != "0" else INK
        pen.text(x, y + 29, figure.value, 20, colour)
        if figure.unit:
            pen.text(x + text_width(figure.value, 20) + 4, y + 29, figure.unit, 11, SOFT_INK)


def apart(wanted: Sequence[float], gap: float, least: float, most: float) -> list[tuple[int, float]]:
    """Return which label goes where within ``least`` … ``most``: ``gap`` apart, as near as may be to what is wanted.

    >>> apart([5.0, 5.0, 0.0], 2.0, 0.0, 10.0)
    [(2, 0.0), (0, 4.0), (1, 6.0)]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[float, int]] = []  # middle and number of labels that touch
    for i in order:
        middle, count = wanted[i], 1
        while True:
            half = 0.5 * gap * (count - 1)
            middle = max(least + half, min(middle, most - half))
            if not groups or groups[-1][0] + 0.5 * gap * (groups[-1][1] + count) <= middle:
                break
            before, many = groups.pop()
            middle = (before * many + middle * count) / (many + count)
            count += many
        groups.append((middle, count))
    places = [middle + gap * (k - 0.5 * (count - 1)) for middle, count in groups for k in range(count)]
    return list(zip(order, places, strict=True))
