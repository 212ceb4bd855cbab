"""From a table of episodes to the figures of a report: plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlops.agents_baseline.evaluate import bootstrap
from rlops.robustness import statistics as s
from rlops.robustness.parts import SEVERITIES, Setting
from rlops.robustness.spec import figures_of, succeeded

BAND = (5.0, 95.0)
"""Percentiles of the returns of single episodes."""
WORST = 0.05


def of_part(table: np.ndarray, part: str, policy: str, label: str | None = None) -> np.ndarray:
    """Return the episodes of a policy in a part of the report, or at a label of it."""
    chosen = (table["part"] == part) & (table["policy"] == policy)
    return np.asarray(table[chosen if label is None else chosen & (table["label"] == label)])


def told(estimate: Any) -> dict[str, float]:
    """Return an estimate or an interval as value, low and high."""
    value = estimate.value if isinstance(estimate, s.Estimate) else estimate.mean
    return {"value": value, "low": estimate.low, "high": estimate.high}


class Figures:
    """The figures of a report over one table of episodes."""

    def __init__(self, setting: Setting, table: np.ndarray):
        """Take the episodes ``table`` of all parts that have been played."""
        self.setting, self.table = setting, table
        assert setting.spec.success is not None
        self.success = setting.spec.success
        self.policies = tuple(sorted(set(table["policy"].tolist())))

    def succeeded(self, episodes: np.ndarray) -> np.ndarray:
        """Return which episodes were successes, ``(n,)`` bool."""
        return succeeded(self.success, episodes)

    def rate(self, episodes: np.ndarray) -> s.Estimate:
        """Return the share of successes with its exact interval."""
        return s.rate_estimated(int(self.succeeded(episodes).sum()), len(episodes))

    def summary(self, episodes: np.ndarray) -> dict[str, Any]:
        """Return how many episodes there are, how many succeed, and their mean return with its band."""
        low, high = np.percentile(episodes["return"], BAND)
        return {
            "episodes": len(episodes),
            "success": told(self.rate(episodes)),
            "return": told(bootstrap({"return": episodes["return"]})["return"]),
            "band": [float(low), float(high)],
        }

    # -- parts ---------------------------------------------------------------------------------------------------------

    def nominal(self, policy: str) -> dict[str, Any]:
        """Return the floor: what the policy does in the world as it is declared."""
        episodes = of_part(self.table, "nominal", policy)
        figures = {name: episodes[name] for name in figures_of(self.setting.id)}
        means = {name: told(interval) for name, interval in bootstrap(figures).items()}
        return {**self.summary(episodes), "iqm": told(s.estimated(episodes["return"])), "figures": means}

    def in_distribution(self, policy: str) -> dict[str, Any]:
        """Return what the policy does in worlds like those of its training, and how far it falls below the floor."""
        episodes = of_part(self.table, "in_distribution", policy)
        return {
            **self.summary(episodes),
            "iqm": told(s.estimated(episodes["return"])),
            "cvar5": told(s.cvar_estimated(episodes["return"])),
            "lost_return": self._lost(episodes, policy, "return"),
            "lost_success": self._lost(episodes, policy, "success"),
        }

    def paired(self, episodes: np.ndarray, policy: str, figure: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a figure of episodes and of the nominal episodes of the same seeds; those without one are left out."""
        nominal = of_part(self.table, "nominal", policy)
        place = {seed: row for row, seed in enumerate(nominal["seed"].tolist())}
        mine = [row for row, seed in enumerate(episodes["seed"].tolist()) if seed in place]
        theirs = [place[seed] for seed in episodes["seed"][mine].tolist()]
        return self.values(episodes[mine], figure), self.values(nominal[theirs], figure)

    def values(self, episodes: np.ndarray, figure: str) -> np.ndarray:
        """Return a figure of episodes as numbers, ``(n,)``; ``success`` is 1 or 0."""
        chosen = self.succeeded(episodes) if figure == "success" else episodes[figure]
        return np.asarray(chosen, float)

    def _lost(self, episodes: np.ndarray, policy: str, figure: str) -> dict[str, float]:
        here, floor = self.paired(episodes, policy, figure)
        return told(s.paired_difference(floor, here))

    def curves(self) -> list[dict[str, Any]]:
        """Return one curve a parameter, for every policy."""
        return [self._curve(name) for name in self.setting.swept]

    def _curve(self, name: str) -> dict[str, Any]:
        parameter = self.setting.parameters[name]
        curve: dict[str, Any] = {
            "name": name,
            "unit": parameter.unit,
            "bounds": [parameter.low, parameter.high],
            "nominal": self.setting.nominal[name],
            "trained": self._trained(name),
            "choices": list(parameter.choices),
            "policies": {},
        }
        for policy in self.policies:
            episodes = of_part(self.table, "curves", policy, name)
            at = episodes[f"param_{name}"]
            points = [{"at": value, **self.summary(episodes[at == value])} for value in np.unique(at).tolist()]
            floor = float(np.mean(self.paired(episodes, policy, "success")[1]))  # of the same seeds
            curve["policies"][policy] = {
                "points": points,
                "margin": margin(points, curve["nominal"], floor, floor * self.setting.spec.curves.floor),
                "sensitivity": self._sensitivity(episodes, policy),
            }
        return curve

    def _trained(self, name: str) -> list[float] | None:
        ends = self.setting.trained_range(name)
        return None if ends is None else list(ends)

    def _sensitivity(self, episodes: np.ndarray, policy: str) -> list[float]:
        """Return what a parameter costs, a mean over its bounds: in success, and in standard deviations of return."""
        at = episodes[f"param_{episodes['label'][0]}"]
        lost = []
        for figure in ("success", "return"):
            here, floor = self.paired(episodes, policy, figure)
            spread = 1.0 if figure == "success" else max(float(np.std(floor)), 1e-12)
            points = [max(0.0, float(np.mean(floor[at == value] - here[at == value]))) for value in np.unique(at)]
            lost.append(float(np.mean(points)) / spread)
        return lost

    def most_sensitive(self, policy: str = "a") -> tuple[str, ...]:
        """Return the swept parameters, the costliest first: by success lost in whole percent, then by return lost."""
        cost = {
            name: self._sensitivity(of_part(self.table, "curves", policy, name), policy) for name in self.setting.swept
        }
        return tuple(sorted(cost, key=lambda name: (round(cost[name][0], 2), cost[name][1]), reverse=True))

    def heatmap(self, pair: Sequence[str]) -> dict[str, Any]:
        """Return success over two parameters."""
        axes = [
            {
                "name": name,
                "unit": self.setting.parameters[name].unit,
                "nominal": self.setting.nominal[name],
                "trained": self._trained(name),
                "values": self.setting.values(name, self.setting.spec.heatmap.points).tolist(),
            }
            for name in pair
        ]
        cells = {}
        for policy in self.policies:
            episodes = of_part(self.table, "heatmap", policy)
            x, y = (episodes[f"param_{name}"] for name in pair)
            cells[policy] = [
                [self.summary(episodes[(x == across) & (y == up)]) for across in axes[0]["values"]]
                for up in axes[1]["values"]
            ]
        return {"axes": axes, "cells": cells}

    def battery(self) -> list[dict[str, Any]]:
        """Return every disturbance at its severities."""
        rows = []
        for name in self.setting.disturbing:
            parameter = self.setting.parameters[name]
            row: dict[str, Any] = {
                "name": name, "unit": parameter.unit, "kind": parameter.kind, "nominal": self.setting.nominal[name],
                "policies": {},
            }  # fmt: skip
            for policy in self.policies:
                row["policies"][policy] = [
                    {"severity": severity, "at": value, **self._against_floor("battery", f"{name} {severity}", policy)}
                    for severity, value in zip(SEVERITIES, self.setting.severities(name), strict=True)
                ]
            rows.append(row)
        return rows

    def _against_floor(self, part: str, label: str, policy: str) -> dict[str, Any]:
        episodes = of_part(self.table, part, policy, label)
        return {**self.summary(episodes), "lost_return": self._lost(episodes, policy, "return")}

    def transfer(self) -> dict[str, Any]:
        """Return every policy in every column of the transfer matrix."""
        labels = list(dict.fromkeys(self.table["label"][self.table["part"] == "transfer"].tolist()))
        cells = {
            policy: [self._against_floor("transfer", label, policy) for label in labels] for policy in self.policies
        }
        return {"columns": labels, "cells": cells}

    def worst(self, policy: str) -> dict[str, Any]:
        """Return the mean of the worst 5 % in distribution, the box of their parameters, and a rule that tells them."""
        episodes = of_part(self.table, "in_distribution", policy)
        drawn = [name for name in sorted(self.setting.trained.params) if np.ptp(episodes[f"param_{name}"]) > 0]
        count = max(1, round(WORST * len(episodes)))
        worst = np.zeros(len(episodes), np.bool_)
        worst[np.argsort(episodes["return"], kind="stable")[:count]] = True
        columns = {name: episodes[f"param_{name}"] for name in drawn}
        return {
            "share": WORST,
            "count": count,
            "cvar": told(s.cvar_estimated(episodes["return"], WORST)),
            "returns": np.sort(episodes["return"]).tolist(),
            "box": [self._side(name, values, worst) for name, values in columns.items()],
            "rule": rule(columns, worst),
        }

    def _side(self, name: str, values: np.ndarray, worst: np.ndarray) -> dict[str, Any]:
        """Return where a parameter lay in the worst episodes, and how far their median rank is moved (-0.5 … 0.5)."""
        ranks = (np.argsort(np.argsort(values, kind="stable"), kind="stable") + 0.5) / len(values)
        return {
            "name": name,
            "unit": self.setting.parameters[name].unit,
            "worst": [float(values[worst].min()), float(values[worst].max())],
            "all": [float(values.min()), float(values.max())],
            "shift": float(np.median(ranks[worst]) - 0.5),
        }

    def comparison(self) -> dict[str, Any] | None:
        """Return the first policy less the second, episode by episode in the same worlds; None without a second."""
        if self.policies != ("a", "b"):
            return None
        found = {}
        for part in ("nominal", "in_distribution"):
            mine, theirs = (of_part(self.table, part, policy) for policy in ("a", "b"))
            found[part] = {
                **{
                    figure: told(s.paired_difference(self.values(mine, figure), self.values(theirs, figure)))
                    for figure in ("return", "success")
                },
                "better": s.probability_of_improvement(
                    np.sign(mine["return"] - theirs["return"])[None], np.zeros((1, len(mine)))
                ),
            }
        return found


def margin(points: Sequence[Mapping[str, Any]], nominal: float, floor: float, least: float) -> dict[str, float | None]:
    """Return how far a parameter may go from its nominal value before success falls below ``least``.

    Args:
        points: With ``at`` and ``success``, ascending.
        nominal: Where success is ``floor``.
        floor: Success there.
        least: What success must not fall below; between points it is taken to go in a line.

    Returns:
        ``below`` and ``above``: the distance; None where success never falls below within the bounds.
    """
    ends: dict[str, float | None] = {}
    for side, sign in (("below", -1.0), ("above", 1.0)):
        way = sorted(
            (sign * (p["at"] - nominal), p["success"]["value"]) for p in points if sign * (p["at"] - nominal) > 0
        )
        before, rate = 0.0, floor
        ends[side] = None
        for distance, found in way:
            if found < least:
                ends[side] = before + (distance - before) * (rate - least) / (rate - found)
                break
            before, rate = distance, found
    return ends


_CUTS = 10
_SHUFFLES = 200


def rule(columns: Mapping[str, np.ndarray], worst: np.ndarray) -> dict[str, Any] | None:
    """Return the one or two conditions on parameters that best tell the worst episodes from the others.

    Every threshold between tenths is tried, alone and with every other; the best has the greatest F1 score. As the
    best of so many would be found in noise too, ``p`` is the share of shuffled episodes in which a rule as good is.

    Args:
        columns: Parameters by name, ``(n,)`` each.
        worst: Which episodes are to be told, ``(n,)`` bool.

    Returns:
        ``conditions``, ``covers`` (share of the worst), ``precision`` (share of worst among those that it holds for),
        ``p``; None if nothing was drawn.
    """
    if not columns:
        return None
    named, holds = _conditions(columns)
    both = (holds @ holds.T).astype(float)
    draws = np.random.default_rng(0)
    best, (i, j) = _best(holds, both, worst)
    as_good = sum(_best(holds, both, draws.permutation(worst))[0] >= best for _ in range(_SHUFFLES))
    chosen = holds[i] * holds[j] > 0
    return {
        "conditions": [named[k] for k in dict.fromkeys((i, j))],
        "covers": float((chosen & worst).sum() / worst.sum()),
        "precision": float((chosen & worst).sum() / max(chosen.sum(), 1)),
        "p": (1 + as_good) / (1 + _SHUFFLES),
    }


def _conditions(columns: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return all conditions, and where they hold, ``(k, n)`` float32 of 0 and 1."""
    named, holds = [], []
    for name, values in columns.items():
        for cut in np.unique(np.quantile(values, np.arange(1, _CUTS) / _CUTS)).tolist():
            for sign, where in (("<", values < cut), (">", values > cut)):
                named.append({"name": name, "sign": sign, "at": cut})
                holds.append(where)
    return named, np.array(holds, np.float32)


def _best(holds: np.ndarray, both: np.ndarray, worst: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Return the greatest F1 score of two conditions together, and which; one alone is itself twice."""
    of_worst = holds[:, worst]
    score = 2 * (of_worst @ of_worst.T) / (both + worst.sum())
    score[np.diag_indices_from(score)] += 1e-6  # of equals the shorter
    i, j = np.unravel_index(int(score.argmax()), score.shape)
    return float(score[i, j]), (int(i), int(j))
