"""A policy against an earlier report: did it get worse, and where?

Both reports play the same seeds in the same worlds, so every episode has a twin. Twins are compared region by region of
the report; as many regions are looked at, the p-values are corrected for their number (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rlops.errors import InvalidValue
from rlops.robustness import statistics as s
from rlops.robustness.episodes import PLACE
from rlops.robustness.figures import Figures, told

FLIPS = 10_000
LEVEL = 0.05


def compared(figures: Figures, portable: str, earlier: Mapping[str, Any], before: np.ndarray) -> dict[str, Any]:
    """Return what became of a policy since an earlier report.

    Args:
        figures: Of the policy now.
        portable: Fingerprint of the dynamics now.
        earlier: The earlier report.
        before: Its episodes.

    Returns:
        ``regions`` with the paired differences of return and success, ``worse`` (any region is), and ``told``: a line
        for each region that got worse, the most certain first.

    Raises:
        InvalidValue: If the two reports have no episode in common, or play other dynamics.
    """
    header = earlier["header"]
    if header["fingerprint"]["portable"] != portable:
        raise InvalidValue(
            f"A baseline must be played on the same dynamics, got {header['fingerprint']['portable'][:12]} before and "
            f"{portable[:12]} now: see rlops check {figures.setting.id}. Write the baseline anew."
        )
    now, then = _twins(figures.table, before)
    if not len(now):
        raise InvalidValue(
            "A baseline must have played episodes of the same seeds and parameters, got none. Use the same "
            "specification for both reports."
        )
    regions = [
        {"part": part, "region": region, "figure": figure, **_change(figures, now[here], then[here], figure)}
        for part, region, here in _regions(figures, now)
        for figure in ("return", "success")
    ]
    for one, p in zip(regions, s.holm([one["p"] for one in regions]).tolist(), strict=True):
        one["p"], one["worse"] = p, p <= LEVEL
    worse = sorted((one for one in regions if one["worse"]), key=lambda one: (one["p"], one["figure"]))
    return {
        "policy": earlier["policies"]["a"],
        "rlops": header["rlops"],
        "episodes": len(now),
        "regions": regions,
        "worse": bool(worse),
        "told": [_told(one) for one in worse],
    }


def _twins(table: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the episodes of policy ``a`` that both tables have, in the same order."""
    known = set(before.dtype.names or ())
    params = [name for name in table.dtype.names or () if name.startswith("param_") and name in known]

    def keys(rows: np.ndarray) -> list[tuple[Any, ...]]:
        return list(zip(*(rows[name].tolist() for name in (*PLACE, "seed", *params)), strict=True))

    mine, theirs = table[table["policy"] == "a"], before[before["policy"] == "a"]
    place = {key: row for row, key in enumerate(keys(theirs))}
    found = [(row, place[key]) for row, key in enumerate(keys(mine)) if key in place]
    return mine[[row for row, _ in found]], theirs[[row for _, row in found]]


def _regions(figures: Figures, table: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield part, name and episodes of every region."""
    for part in dict.fromkeys(table["part"].tolist()):
        own = table["part"] == part
        if part == "curves":
            for name in dict.fromkeys(table["label"][own].tolist()):
                yield from _sides(figures, name, table, own & (table["label"] == name))
        else:
            for label in dict.fromkeys(table["label"][own].tolist()):
                yield part, label, own & (table["label"] == label)


def _sides(figures: Figures, name: str, table: np.ndarray, own: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield a curve below, within and above what was trained; without training below and above the nominal value."""
    nominal = figures.setting.nominal[name]
    low, high = figures.setting.trained_range(name) or (nominal, nominal)
    values = table[f"param_{name}"]
    unit = figures.setting.parameters[name].unit
    sides = ((f"< {low:g}", values < low), ("within training", (values >= low) & (values <= high)),
             (f"> {high:g}", values > high))  # fmt: skip
    for side, where in sides:
        if (own & where).any():
            yield "curves", f"{name} {side}{'' if unit == '-' or side[0] == 'w' else ' ' + unit}", own & where


def _change(figures: Figures, now: np.ndarray, then: np.ndarray, figure: str) -> dict[str, Any]:
    difference = figures.values(now, figure) - figures.values(then, figure)
    return {
        "episodes": len(now),
        "now": float(figures.values(now, figure).mean()),
        "before": float(figures.values(then, figure).mean()),
        "change": told(s.estimated(difference, lambda drawn: drawn.mean(axis=-1))),
        "p": fallen(difference),
    }


def fallen(difference: np.ndarray) -> float:
    """Return the one-sided p-value of paired differences ``(n,)`` below 0, by flipping their signs at random."""
    differs = difference[difference != 0]
    if not len(differs):
        return 1.0
    signs = np.random.default_rng(0).integers(0, 2, (FLIPS, len(differs)), dtype=np.int8) * 2 - 1
    flipped = signs @ np.abs(differs)
    return (1 + int((flipped <= differs.sum() + 1e-9 * np.abs(differs).sum()).sum())) / (1 + FLIPS)


def _told(one: Mapping[str, Any]) -> str:
    place = one["part"].replace("_", " ") + (f", {one['region']}" if one["region"] else "")
    change = one["change"]
    return (
        f"{place}: {one['figure']} {one['before']:.4g} → {one['now']:.4g}, change {change['value']:+.4g} "
        f"[{change['low']:+.4g}, {change['high']:+.4g}] over {one['episodes']} paired episodes"
    )
