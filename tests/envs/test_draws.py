"""Keyed draws: a pure function of four integers, with the right distribution."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from rlops.envs.draws import episode_key, exponential, integer, normal, stream_key, uniform


@njit
def _sample(key, step, stream, n, out):
    h = stream_key(key, step, stream)
    for i in range(n):
        out[0, i] = uniform(h, i)
        out[1, i] = normal(h, i)
        out[2, i] = exponential(h, i)
        out[3, i] = integer(h, i, 7)


def sample(key, step, stream, n=20000):
    out = np.zeros((4, n))
    _sample(np.uint64(key), step, stream, n, out)
    return out


def test_draws_have_the_distributions_that_they_name():
    from scipy import stats

    u, z, e, k = sample(3, 5, 2)
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert stats.kstest(e, "expon").pvalue > 1e-3
    assert stats.chisquare(np.bincount(k.astype(int), minlength=7)).pvalue > 1e-3


@settings(max_examples=30)
@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.integers(0, 100))
def test_neighbouring_keys_steps_and_streams_are_not_correlated(key, step, stream):
    here = sample(key, step, stream, 2000)[0]
    for other in (
        sample((key + 1) % 2**64, step, stream, 2000),
        sample(key, step + 1, stream, 2000),
        sample(key, step, stream + 1, 2000),
    ):
        assert abs(np.corrcoef(here, other[0])[0, 1]) < 0.12  # over five standard errors


def test_episodes_of_one_seed_and_neighbouring_seeds_have_different_keys():
    keys = {int(episode_key(np.uint64(seed), episode)) for seed in range(300) for episode in range(100)}
    assert len(keys) == 30000


def test_the_hash_is_that_of_splitmix64():
    from rlops.envs.draws import mixed

    state, seen = 0, []
    for _ in range(3):  # first outputs of SplitMix64 from state 0, as published with the generator
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        seen.append(int(mixed(np.uint64(state))))
    assert seen == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
