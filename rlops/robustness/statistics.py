"""The statistics of a robustness report: few numbers, each with what it is worth.

Two questions that must not be mixed. *May this policy be released?* is asked of one policy over many episodes: exact
binomial gates, paired differences, the mean of the worst. *Is method A better than B?* is asked over training seeds:
interquartile mean, probability of improvement and performance profiles with intervals by stratified bootstrap, as in
Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", whose definitions these
are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlops.errors import InvalidValue

RESAMPLES = 4000
CONFIDENCE = 0.95
CVAR_LEAST = 200
"""Episodes below which an interval of the mean of the worst covers it far too seldom: .72 at 50, .86 at 100, .89 at
200 and .93 at 500 of the promised .95."""
_CELLS = 4_000_000
"""Resampled numbers that are held at once."""

Answer = Literal["pass", "fail", "cannot decide"]
Statistic = Callable[[np.ndarray], np.ndarray]
"""Reduces the last axis of an array."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; ``low`` and ``high`` are NaN where none is given."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Decision:
    """What a gate says.

    Attributes:
        answer: ``pass``, ``fail`` or ``cannot decide``.
        p_broken: Probability of a result at least as good if the claim only just failed; a pass needs a small one.
        p_holds: Probability of a result at least as bad if the claim only just held; a fail needs a small one.
    """

    answer: Answer
    p_broken: float
    p_holds: float


# -- figures of one sample ---------------------------------------------------------------------------------------------


def iqm(scores: np.ndarray) -> np.ndarray:
    """Return the interquartile mean along the last axis: that of the middle half.

    >>> float(iqm(np.array([-100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 900.0])))
    3.5
    """
    ordered = np.sort(np.asarray(scores, float), axis=-1)
    n = ordered.shape[-1]
    cut = n // 4
    middle: np.ndarray = ordered[..., cut : n - cut].mean(axis=-1)
    return middle


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
    """Return by how much scores fall short of ``target`` on average, along the last axis; more than it counts as it."""
    gap: np.ndarray = target - np.minimum(scores, target).mean(axis=-1)
    return gap


def cvar(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Return the mean of the worst ``share`` along the last axis; the last of them may count in part.

    >>> float(cvar(np.arange(100.0), 0.05)), float(cvar(np.arange(10.0), 0.15))
    (2.0, 0.3333333333333333)
    """
    if not 0.0 < share <= 1.0:
        raise InvalidValue(f"The share of the worst must be above 0 and at most 1, got {share:g}.")
    ordered = np.sort(np.asarray(values, float), axis=-1)
    weights = np.clip(share * ordered.shape[-1] - np.arange(ordered.shape[-1]), 0.0, 1.0)
    worst: np.ndarray = ordered @ weights / weights.sum()
    return worst


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of runs that score above each threshold, ``(len(thresholds),)``, all environments alike.

    Args:
        scores: ``(seeds, environments)``.
        thresholds: ``(k,)``.
    """
    above: np.ndarray = (np.asarray(scores)[..., None] > thresholds).mean(axis=(0, 1))
    return above


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> float:
    """Return how probable it is that a run beats one of ``others`` on an environment drawn at random; ties count half.

    Args:
        scores: ``(seeds, environments)``.
        others: ``(other seeds, environments)``.
    """
    ours, theirs = np.asarray(scores)[:, None], np.asarray(others)[None]
    if ours.shape[2:] != theirs.shape[2:]:
        raise InvalidValue(
            f"Both methods must be run on the same environments, got {ours.shape[2:]} and {theirs.shape[2:]}."
        )
    return float(((ours > theirs) + 0.5 * (ours == theirs)).mean())


# -- intervals ---------------------------------------------------------------------------------------------------------


def resampled(values: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return ``statistic`` of ``resamples`` draws of the ``(n,)`` values with replacement, ``(resamples,)``."""
    values = np.asarray(values, float)
    draws, n = np.random.default_rng(seed), len(values)
    at_once = max(1, _CELLS // n)
    parts = [
        statistic(values[draws.integers(n, size=(min(at_once, resamples - first), n))])
        for first in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)


def between(draws: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the ends of the central interval of some draws; NaN if one of them is."""
    low, high = np.percentile(draws, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


def estimated(
    values: np.ndarray, statistic: Statistic = iqm, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> Estimate:
    """Return ``statistic`` of ``(n,)`` values with its percentile bootstrap interval over them."""
    return Estimate(
        float(statistic(np.asarray(values, float))), *between(resampled(values, statistic, resamples), confidence)
    )


def cvar_estimated(values: np.ndarray, share: float = 0.05, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of the worst ``share``, with an interval if there are episodes enough for one.

    Below ``CVAR_LEAST`` episodes the interval is NaN: it would promise more than it keeps.
    """
    if len(values) < CVAR_LEAST:
        return Estimate(float(cvar(values, share)))
    return estimated(values, lambda drawn: cvar(drawn, share), confidence)


def stratified_bootstrap(
    scores: np.ndarray, statistic: Callable[[np.ndarray], float], resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return ``statistic`` of a method's scores with its interval over training seeds, drawn in each environment apart.

    Args:
        scores: ``(seeds, environments)``, or ``(seeds, environments, episodes)``: then the episodes of a drawn seed
            are drawn too, and their mean is its score.
        statistic: Of scores ``(seeds, environments)``.
        resamples: How often all is drawn.
        seed: Of the draws.

    Raises:
        InvalidValue: If the scores have other axes, or there are fewer than two seeds, over which alone a claim about
            a method can be made.
    """
    scores = np.asarray(scores, float)
    if scores.ndim not in (2, 3) or len(scores) < 2:
        raise InvalidValue(
            f"scores must be (seeds, environments[, episodes]) with two seeds or more, got {scores.shape}. "
            "Train more seeds: episodes do not replace them."
        )
    draws = np.random.default_rng(seed)
    nested = scores if scores.ndim == 3 else scores[..., None]
    seeds, environments, episodes = nested.shape
    columns = np.arange(environments)[None, :, None]

    def once() -> float:
        rows = draws.integers(seeds, size=(seeds, environments, 1))
        inner = draws.integers(episodes, size=(seeds, environments, episodes)) if episodes > 1 else 0
        return float(statistic(nested[rows, columns, inner].mean(axis=-1)))

    return Estimate(float(statistic(nested.mean(axis=-1))), *between(np.array([once() for _ in range(resamples)])))


def nested_bootstrap(scores: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return ``statistic`` of all episodes of all training seeds, with an interval over seeds and their episodes.

    Seeds are drawn with replacement, then episodes of each that was drawn. Of one seed, as a hand-written controller
    has it, the interval is over episodes alone.

    Args:
        scores: ``(seeds, episodes)``.
        statistic: Over the last axis.
        resamples: How often all is drawn.
        seed: Of the draws.
    """
    scores = np.asarray(scores, float)
    draws, (seeds, episodes) = np.random.default_rng(seed), scores.shape

    def once() -> float:
        rows = draws.integers(seeds, size=(seeds, 1))
        return float(statistic(scores[rows, draws.integers(episodes, size=scores.shape)].ravel()))

    return Estimate(float(statistic(scores.ravel())), *between(np.array([once() for _ in range(resamples)])))


# -- exact gates over success ------------------------------------------------------------------------------------------


def _log_binomial(n: int, p: float) -> np.ndarray:
    """Return the logarithms of the probabilities of 0 … n successes."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(k > 0, k * np.log(p), 0.0) + np.where(k < n, (n - k) * np.log1p(-p), 0.0)
    result: np.ndarray = logs[n] - logs - logs[::-1] + terms
    return result


def at_least(successes: int, n: int, p: float) -> float:
    """Return the probability of ``successes`` or more of ``n`` at rate ``p``."""
    return min(1.0, float(np.exp(_log_binomial(n, p)[successes:]).sum()))


def at_most(successes: int, n: int, p: float) -> float:
    """Return the probability of ``successes`` or fewer of ``n`` at rate ``p``."""
    return min(1.0, float(np.exp(_log_binomial(n, p)[: successes + 1]).sum()))


def rate_estimated(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return a success rate with its exact interval (Clopper and Pearson 1934).

    Raises:
        InvalidValue: If there are not ``0 … n`` successes, or no episodes.
    """
    _check_counts(successes, n)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _root(lambda p: at_least(successes, n, p) - tail)
    high = 1.0 if successes == n else _root(lambda p: tail - at_most(successes, n, p))
    return Estimate(successes / n, low, high)


def _check_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n or n < 1:
        raise InvalidValue(f"Successes must be within 0 … {n} of at least one episode, got {successes}.")


def _root(rising: Callable[[float], float]) -> float:
    """Return where a function that rises over (0, 1) becomes 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def rate_gate(successes: int, n: int, claim: float, confidence: float = CONFIDENCE) -> Decision:
    """Decide whether the success rate is at least ``claim``, by exact one-sided binomial tests in both directions.

    >>> rate_gate(59, 59, 0.95).answer, rate_gate(58, 58, 0.95).answer, rate_gate(40, 59, 0.95).answer
    ('pass', 'cannot decide', 'fail')
    """
    _check_counts(successes, n)
    if not 0.0 < claim < 1.0:
        raise InvalidValue(f"A claimed success rate must be above 0 and below 1, got {claim:g}.")
    return decided(at_least(successes, n, claim), at_most(successes, n, claim), 1 - confidence)


def episodes_needed(failure_rate: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Return how many episodes show that failures are rarer than ``failure_rate``, if ``failures`` of them fail.

    >>> [[episodes_needed(rate, f) for f in (0, 1, 2, 5)] for rate in (0.1, 0.05)]
    [[29, 46, 61, 103], [59, 93, 124, 208]]
    """
    if not 0.0 < failure_rate < 1.0 or failures < 0:
        raise InvalidValue(
            f"A failure rate must be above 0 and below 1 and failures not negative, got {failure_rate:g}, {failures}."
        )
    below, above = failures, failures + 1
    while at_most(failures, above, failure_rate) > 1 - confidence:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        enough = at_most(failures, middle, failure_rate) <= 1 - confidence
        below, above = (below, middle) if enough else (middle, above)
    return above


# -- deciding ----------------------------------------------------------------------------------------------------------


def decided(p_broken: float, p_holds: float, alpha: float) -> Decision:
    """Return what two one-sided p-values say at level ``alpha``."""
    answer: Answer = "pass" if p_broken <= alpha else "fail" if p_holds <= alpha else "cannot decide"
    return Decision(answer, p_broken, p_holds)


def threshold_gate(
    draws: np.ndarray, *, at_least: float | None = None, at_most: float | None = None, alpha: float = 1 - CONFIDENCE
) -> Decision:
    """Decide whether a figure keeps a threshold, from bootstrap draws ``(b,)`` of it; a draw on the threshold keeps it.

    A p-value is never below 1 / (b + 1), and NaN among the draws decides nothing.

    Raises:
        InvalidValue: If not exactly one threshold is given.
    """
    if (at_least is None) == (at_most is None):
        raise InvalidValue("A threshold must be either at_least or at_most, got both or neither.")
    if np.isnan(draws).any():
        return Decision("cannot decide", 1.0, 1.0)
    broken = int((draws < at_least).sum() if at_least is not None else (draws > at_most).sum())
    return decided((1 + broken) / (1 + len(draws)), (1 + len(draws) - broken) / (1 + len(draws)), alpha)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted for that several are looked at (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def paired_difference(values: np.ndarray, others: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of ``values - others``, pair by pair, with its bootstrap interval over pairs.

    Raises:
        InvalidValue: If the two do not have the same length.
    """
    values, others = np.asarray(values, float), np.asarray(others, float)
    if values.shape != others.shape:
        raise InvalidValue(f"Pairs must be of the same episodes, got {values.shape} and {others.shape}.")
    return estimated(values - others, lambda drawn: drawn.mean(axis=-1), confidence)
