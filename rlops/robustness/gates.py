"""Gates: what a policy must keep to be released, and whether the episodes show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlops.errors import UnknownName
from rlops.robustness import statistics as s
from rlops.robustness.figures import Figures, of_part, told
from rlops.robustness.spec import Gate

PASS, FAIL, UNDECIDED = "pass", "fail", "cannot decide"
EXIT = {PASS: 0, FAIL: 1, UNDECIDED: 2}


def judged(figures: Figures, policy: str = "a") -> list[dict[str, Any]]:
    """Return what each gate of the specification says, in its order.

    Both p-values of a gate are corrected for the number of gates (Holm 1979), unless one gate is primary.

    Raises:
        UnknownName: If a gate asks about a place that the report does not have.
    """
    gates = figures.setting.spec.gates
    found = [_evidence(gate, figures, policy) for gate in gates.require]
    if gates.primary is None and found:
        for name in ("p_broken", "p_holds"):
            for one, p in zip(found, s.holm([one[name] for one in found]).tolist(), strict=True):
                one[name] = p
    for gate, one in zip(gates.require, found, strict=True):
        one["answer"] = s.decided(one["p_broken"], one["p_holds"], 1 - gates.confidence).answer
        one["decides"] = gates.primary in (None, gate.title)
    return found


def verdict(found: Sequence[dict[str, Any]]) -> str:
    """Return what the gates that decide say together: a fail before a doubt, a doubt before a pass."""
    answers = [one["answer"] for one in found if one["decides"]]
    return next((answer for answer in (FAIL, UNDECIDED) if answer in answers), PASS)


def _evidence(gate: Gate, figures: Figures, policy: str) -> dict[str, Any]:
    """Return a gate's figure, its two p-values, and its one-sided bounds in both directions as an interval."""
    between = 2 * figures.setting.spec.gates.confidence - 1
    episodes = _episodes(gate, figures, policy)
    told_gate = {
        "name": gate.title, "figure": gate.figure, "statistic": gate.kind, "where": gate.where,
        "at_least": gate.at_least, "at_most": gate.at_most, "episodes": len(episodes), "reason": "",
    }  # fmt: skip
    if gate.kind == "rate":
        assert gate.at_least is not None
        count = int(figures.succeeded(episodes).sum())
        decision = s.rate_gate(count, len(episodes), gate.at_least)
        needed = s.episodes_needed(1 - gate.at_least, len(episodes) - count, figures.setting.spec.gates.confidence)
        reason = f"by itself {needed} episodes with {len(episodes) - count} failures would show it"
        estimate = s.rate_estimated(count, len(episodes), between)
    else:
        value, draws = _draws(gate, figures, episodes, policy)
        decision = s.threshold_gate(draws, at_least=gate.at_least, at_most=gate.at_most)
        estimate, reason = s.Estimate(value, *s.between(draws, between)), "the interval holds the threshold"
        if gate.kind == "cvar5" and len(episodes) < s.CVAR_LEAST:
            decision, estimate = s.Decision("cannot decide", 1.0, 1.0), s.Estimate(value)
            reason = f"the mean of the worst needs {s.CVAR_LEAST} episodes for an interval, got {len(episodes)}"
    return {
        **told_gate,
        "estimate": told(estimate),
        "p_broken": decision.p_broken,
        "p_holds": decision.p_holds,
        "reason": reason,
    }


def _episodes(gate: Gate, figures: Figures, policy: str) -> np.ndarray:
    part, _, label = gate.where.partition("/")
    places = dict.fromkeys(
        f"{p}/{label}" if p in ("battery", "transfer") else p
        for p, label in zip(figures.table["part"].tolist(), figures.table["label"].tolist(), strict=True)
        if p not in ("curves", "heatmap")
    )
    if gate.where not in places:
        raise UnknownName("place", gate.where, places, f"The gate {gate.title!r}: the report")
    return of_part(figures.table, part, policy, label or None)


def _draws(gate: Gate, figures: Figures, episodes: np.ndarray, policy: str) -> tuple[float, np.ndarray]:
    """Return the value of a gate's figure, and bootstrap draws of it."""
    if gate.kind == "degradation":
        here, floor = figures.paired(episodes, policy, gate.figure)
        pairs = np.arange(len(here))

        def fallen(drawn: np.ndarray) -> np.ndarray:
            rows = drawn.astype(np.int64)
            usual = floor[rows].mean(axis=-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                share: np.ndarray = (usual - here[rows].mean(axis=-1)) / np.abs(usual)
            return share

        return float(fallen(pairs)), s.resampled(pairs, fallen)
    statistics: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mean": lambda drawn: drawn.mean(axis=-1),
        "iqm": s.iqm,
        "cvar5": s.cvar,
    }
    values = figures.values(episodes, gate.figure)
    return float(statistics[gate.kind](values)), s.resampled(values, statistics[gate.kind])
