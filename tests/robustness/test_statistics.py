"""The statistics equal published tables, SciPy, and what brute force finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from rlops.errors import InvalidValue
from rlops.robustness import statistics as s

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
SAMPLES = arrays.arrays(float, st.integers(1, 40), elements=NUMBERS)


@pytest.mark.parametrize(
    ("rate", "needed"),
    [
        (0.10, [29, 46, 61, 103]),
        (0.05, [59, 93, 124, 208]),
        (0.02, [149, 236, 313, 523]),
        (0.01, [299, 473, 628, 1049]),
    ],
)
def test_the_episodes_that_a_claim_needs_are_those_of_the_published_table(rate, needed):
    assert [s.episodes_needed(rate, failures) for failures in (0, 1, 2, 5)] == needed


def test_one_episode_fewer_than_needed_cannot_decide():
    for failures in (0, 1, 2, 5):
        n = s.episodes_needed(0.05, failures)
        assert s.rate_gate(n - failures, n, 0.95).answer == "pass"
        assert s.rate_gate(n - 1 - failures, n - 1, 0.95).answer == "cannot decide"


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.01, 0.99))
def test_binomial_tails_and_intervals_are_those_of_scipy(n, part, p):
    k = round(part * n)
    assert s.at_least(k, n, p) == pytest.approx(stats.binomtest(k, n, p, "greater").pvalue, rel=1e-8, abs=1e-12)
    assert s.at_most(k, n, p) == pytest.approx(stats.binomtest(k, n, p, "less").pvalue, rel=1e-8, abs=1e-12)
    theirs = stats.binomtest(k, n).proportion_ci(0.95, "exact")
    ours = s.rate_estimated(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-8)


def test_a_rate_far_below_its_claim_fails_and_one_near_it_is_left_open():
    assert s.rate_gate(80, 100, 0.95).answer == "fail"
    assert s.rate_gate(95, 100, 0.95).answer == "cannot decide"
    assert s.rate_gate(100, 100, 0.95).answer == "pass"


@given(arrays.arrays(float, st.integers(1, 60), elements=NUMBERS))
def test_the_interquartile_mean_is_scipys_trimmed_mean(values):
    assert float(s.iqm(values)) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-9, abs=1e-6)


def test_figures_over_runs_are_those_of_their_definitions():
    scores = np.array([[0.2, 1.4], [0.6, 0.9], [1.1, 0.3]])
    others = np.array([[0.2, 0.9], [0.4, 2.0]])
    assert s.optimality_gap(scores.ravel()) == pytest.approx((0.8 + 0 + 0.4 + 0.1 + 0 + 0.7) / 6)
    assert s.performance_profile(scores, np.array([0.0, 0.6, 1.2])).tolist() == pytest.approx([1.0, 0.5, 1 / 6])
    by_hand = [
        np.mean([(x > y) + 0.5 * (x == y) for x, y in itertools.product(scores[:, e], others[:, e])]) for e in (0, 1)
    ]
    assert s.probability_of_improvement(scores, others) == pytest.approx(np.mean(by_hand))
    mann_whitney = [stats.mannwhitneyu(scores[:, e], others[:, e]).statistic / 6 for e in (0, 1)]
    assert s.probability_of_improvement(scores, others) == pytest.approx(np.mean(mann_whitney))


@given(SAMPLES, st.floats(0.01, 1.0))
def test_the_mean_of_the_worst_lies_between_the_least_and_the_mean(values, share):
    worst = float(s.cvar(values, share))
    tolerance = 1e-9 * (1 + np.abs(values).max())
    assert values.min() - tolerance <= worst <= values.mean() + tolerance


@given(SAMPLES, NUMBERS, st.floats(0.1, 10.0))
def test_the_mean_of_the_worst_moves_and_grows_with_its_sample(values, shift, factor):
    moved = float(s.cvar(values * factor + shift, 0.1))
    assert moved == pytest.approx(float(s.cvar(values, 0.1)) * factor + shift, rel=1e-6, abs=1e-3)


def test_the_mean_of_the_worst_has_no_interval_below_two_hundred_episodes():
    values = np.random.default_rng(0).normal(size=200)
    assert np.isnan(s.cvar_estimated(values[:199]).low)
    enough = s.cvar_estimated(values)
    assert enough.low < enough.value < enough.high
    assert enough.value == pytest.approx(np.sort(values)[:10].mean())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_is_the_step_down_procedure(p_values):
    adjusted = s.holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for k, index in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[index] * (len(p_values) - k) > level:
                break
            rejected.add(int(index))
        assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected


def test_pairing_by_common_worlds_makes_the_interval_narrower():
    draws = np.random.default_rng(3)
    world = draws.normal(0, 10, 300)
    first, second = world + draws.normal(1, 1, 300), world + draws.normal(0, 1, 300)
    paired = s.paired_difference(first, second)
    assert paired.low < 1 < paired.high
    shuffled = s.paired_difference(first, draws.permutation(second))
    assert shuffled.high - shuffled.low > 4 * (paired.high - paired.low)
    with pytest.raises(InvalidValue, match="same episodes"):
        s.paired_difference(first, second[1:])


def test_the_bootstrap_of_the_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(5).normal(size=400)
    found = s.estimated(values, lambda drawn: drawn.mean(axis=-1))
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06)


def test_the_stratified_bootstrap_draws_seeds_within_each_environment():
    levels = np.array([[0.0, 100.0], [2.0, 104.0], [4.0, 108.0]])
    found = s.stratified_bootstrap(levels, lambda drawn: float(drawn[:, 0].mean()), resamples=400)
    assert found.value == 2.0
    assert 0.0 <= found.low < found.high <= 4.0  # never a score of the other environment
    nested = levels[..., None] + np.random.default_rng(0).normal(0, 5, (3, 2, 20))
    wider = s.stratified_bootstrap(nested, lambda drawn: float(drawn[:, 0].mean()), resamples=400)
    assert wider.high - wider.low > 0.9 * (found.high - found.low)
    alike = np.tile(np.arange(10.0), (3, 2, 1))  # seeds that do not differ, episodes that do
    inner = s.stratified_bootstrap(alike, np.mean, resamples=200)
    assert inner.low < inner.value == 4.5 < inner.high
    with pytest.raises(InvalidValue, match="Train more seeds"):
        s.stratified_bootstrap(levels[:1], np.mean)


def test_the_stratified_bootstrap_covers_as_often_as_it_says():
    draws, covered = np.random.default_rng(7), 0
    for _ in range(120):
        scores = draws.normal(3.0, 1.0, (15, 3))
        found = s.stratified_bootstrap(scores, np.mean, resamples=200)
        covered += found.low <= 3.0 <= found.high
    assert 0.86 <= covered / 120 <= 0.99


def test_a_threshold_is_kept_broken_or_left_open():
    draws = np.linspace(-1, 1, 1001)
    assert s.threshold_gate(draws, at_least=-2).answer == "pass"
    assert s.threshold_gate(draws, at_least=0).answer == "cannot decide"
    assert s.threshold_gate(draws, at_least=2).answer == "fail"
    assert s.threshold_gate(draws, at_most=2).answer == "pass"
    assert s.threshold_gate(draws, at_most=-2).answer == "fail"
    assert s.threshold_gate(np.zeros(999), at_least=0).answer == "pass"
    assert s.threshold_gate(np.append(draws, np.nan), at_least=-2).answer == "cannot decide"
    with pytest.raises(InvalidValue, match="both or neither"):
        s.threshold_gate(draws)


@pytest.mark.parametrize("wrong", [lambda: s.rate_gate(3, 2, 0.9), lambda: s.rate_gate(0, 0, 0.9)])
def test_more_successes_than_episodes_are_refused(wrong):
    with pytest.raises(InvalidValue, match="Successes must be within"):
        wrong()


@pytest.mark.parametrize("claim", [0.0, 1.0, 95.0])
def test_a_claim_that_no_episodes_can_decide_is_refused(claim):
    with pytest.raises(InvalidValue, match="above 0 and below 1"):
        s.rate_gate(1, 2, claim)
