"""The chart of two environments' behaviour: reward so far, return by return, and what makes the difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlops.errors import MissingExtra
from rlops.files import written

if TYPE_CHECKING:
    from rlops.registry.dynamics.diff import Contrast, Diff

_PAPER, _INK, _SOFT_INK, _RULE = "#f5f5f2", "#202938", "#626a76", "#dfdfda"
_A, _B, _UNCLEAR = "#185296", "#e6961e", "#9ca2ab"
_KEY_FIGURES = 12
"""Key figures that are drawn, those that differ most; others are in the table."""


def draw(diff: Diff, path: Path) -> Path:
    """Draw ``diff`` into an image file whose suffix says the format, all or nothing, and return its path.

    Raises:
        MissingExtra: If Matplotlib is not installed.
    """
    with written(path) as partial:
        _figure(diff).savefig(partial, facecolor=_PAPER)
    return path


def _figure(diff: Diff) -> Any:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("The chart of a diff", "render") from None

    style: dict[Any, Any] = {
        "font.size": 9.5, "text.color": _INK, "axes.edgecolor": _RULE, "axes.facecolor": _PAPER,
        "axes.labelcolor": _SOFT_INK, "xtick.color": _SOFT_INK, "ytick.color": _INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 10.5,
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(15, 8.5), dpi=110)
        figure.text(0.045, 0.95, f"{diff.a} and {diff.b}", fontsize=17)
        figure.text(0.045, 0.935, _summary(diff), color=_SOFT_INK, fontsize=10.5, va="top", linespacing=1.4)
        terms = {name.removeprefix("reward."): c for name, c in diff.figures.items() if name.startswith("reward.")}
        own = {"return", "steps"} | {f"reward.{name}" for name in terms}
        key_figures = _most_different({name: c for name, c in diff.figures.items() if name not in own})
        wide = 0.42 if terms or key_figures else 0.86
        _draw_course(figure.add_axes((0.06, 0.525, wide, 0.325)), diff)
        _draw_returns(figure.add_axes((0.06, 0.08, wide, 0.34)), diff)
        height = 0.71 * (len(terms) + 1) / max(len(terms) + len(key_figures) + 2, 1)
        if terms:
            axes = figure.add_axes((0.65, 0.85 - height, 0.245, height))
            _draw_differences(axes, diff, {"return": diff.figures["return"], **terms}, scaled=False)
            axes.set_title("Return and reward terms in common")
        if key_figures:
            top = 0.74 - height if terms else 0.85
            axes = figure.add_axes((0.65, 0.08, 0.245, top - 0.08))
            _draw_differences(axes, diff, key_figures, scaled=True)
            axes.set_title("Key figures in common, those that differ most")
    return figure


def _summary(diff: Diff) -> str:
    between = diff.figures["return"].difference
    by = diff.played if diff.played.startswith("by ") else f"by {diff.played}"
    more = f"Return of {_short(diff, diff.b)} less that of {_short(diff, diff.a)}: {between.mean:+,.4g}"
    return (
        f"{len(diff.seeds)} episodes of either, seeds {diff.seeds[0]} to {diff.seeds[-1]}, {by}.\n"
        f"{more} [{between.low:+,.4g}, {between.high:+,.4g}], mean and 95 % interval"
    )


def _draw_course(axes: Any, diff: Diff) -> None:
    """Draw the reward so far, step by step: the mean, and the band that 80 % of the episodes lie in."""
    steps = np.arange(diff.so_far.shape[2])
    ends = [float(one.mean(axis=0)[-1]) for one in diff.so_far]
    for so_far, colour in zip(diff.so_far, (_A, _B), strict=True):
        low, high = np.percentile(so_far, [10, 90], axis=0)
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(steps, so_far.mean(axis=0), color=colour, linewidth=1.8)
    gap = 0.07 * float(np.ptp(diff.so_far)) or 1.0
    middle, apart = sum(ends) / 2, max(abs(ends[0] - ends[1]), gap) / 2
    upper = int(ends[1] > ends[0])
    for k, (name, colour) in enumerate(((diff.a, _A), (diff.b, _B))):
        at = middle + (apart if k == upper else -apart)
        axes.annotate(f"  {_short(diff, name)}", (steps[-1], at), color=colour, va="center", annotation_clip=False)
    axes.set(xlabel="step", xlim=(0, steps[-1]))
    axes.set_title("Reward so far: mean, and the band of 80 % of the episodes")
    axes.grid(axis="y", color=_RULE, linewidth=0.6)


def _short(diff: Diff, name: str) -> str:
    """Return the version alone where the family is the same."""
    same = diff.a.rpartition("-v")[0] == diff.b.rpartition("-v")[0]
    return "v" + name.rpartition("-v")[2] if same and diff.a != diff.b else name.rpartition("/")[2]


def _draw_returns(axes: Any, diff: Diff) -> None:
    """Draw the return of every episode, a against b."""
    a, b = diff.returns
    low, high = float(diff.returns.min()), float(diff.returns.max())
    margin = 0.06 * (high - low) or 1.0
    span = (low - margin, high + margin)
    axes.plot(span, span, color=_SOFT_INK, linewidth=0.8)
    axes.scatter(
        a, b, s=30, facecolor=np.select([b > a, b < a], [_B, _A], _UNCLEAR), edgecolor="white", linewidth=0.6, zorder=3
    )
    more, less = int((b > a).sum()), int((b < a).sum())
    for k, (count, where, colour) in enumerate(((more, (0.03, 0.95), _B), (less, (0.97, 0.05), _A))):
        name = _short(diff, (diff.b, diff.a)[k])
        said = f"{count} of {len(a)}: more with {name}"
        sides: dict[str, Any] = {"ha": ("left", "right")[k], "va": ("top", "bottom")[k]}
        axes.text(*where, said, color=colour, transform=axes.transAxes, **sides)
    axes.set(xlim=span, ylim=span, xlabel=f"return in {diff.a}", ylabel=f"return in {diff.b}")
    axes.set_title("Return of every episode, seed by seed")


def _most_different(figures: dict[str, Contrast]) -> dict[str, Contrast]:
    """Return the figures that vary, the most different for their spread, at most as many as can be read."""
    sizes = {name: abs(c.difference.mean) / c.spread for name, c in figures.items() if c.spread > 0}
    chosen = sorted((name for name, size in sizes.items() if np.isfinite(size)), key=lambda name: -sizes[name])
    return {name: figures[name] for name in chosen[:_KEY_FIGURES]}


def _draw_differences(axes: Any, diff: Diff, contrasts: dict[str, Contrast], scaled: bool) -> None:
    """Draw b less a for every figure with its interval; ``scaled``: in standard deviations of the figure."""
    for place, contrast in enumerate(contrasts.values()):
        unit = contrast.spread if scaled else 1.0
        mean, low, high = (value / unit for value in vars(contrast.difference).values())
        colour = _UNCLEAR if not contrast.clear else _B if mean > 0 else _A
        axes.barh(place, mean, height=0.62, color=colour, alpha=0.85, linewidth=0)
        axes.plot((low, high), (place, place), color=_INK, linewidth=1.2)
        told = f"{contrast.a.mean:,.4g} → {contrast.b.mean:,.4g}"
        axes.text(1.03, place, told, transform=axes.get_yaxis_transform(), va="center", color=_SOFT_INK)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_yticks(range(len(contrasts)), [name.replace("_", " ") for name in contrasts])
    axes.set_ylim(len(contrasts) - 0.4, -0.6)
    between = f"{_short(diff, diff.b)} less {_short(diff, diff.a)}"
    axes.set_xlabel(f"{between}, in standard deviations of the figure" if scaled else f"{between}, in units of reward")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
