"""The exponential and the logarithm of the hall against the C library, and the exchanger against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops.envs.compiling import compiled
from rlops.envs.cooling import elementary

EXACT = 1e-15


@given(st.floats(-700, 700))
def test_the_exponential_is_that_of_the_c_library(x):
    assert elementary.exp(x) == pytest.approx(math.exp(x), rel=EXACT, abs=0.0)


@given(st.floats(1e-300, 1e300))
def test_the_logarithm_is_that_of_the_c_library(x):
    assert elementary.log(x) == pytest.approx(math.log(x), rel=EXACT, abs=0.0)


@given(st.floats(1e-12, 700) | st.floats(-50, -1e-12))
def test_what_has_decayed_keeps_its_digits_however_little_it_is(z):
    assert elementary.decayed(z) == pytest.approx(-math.expm1(-z), rel=EXACT, abs=0.0)


def test_the_elementary_functions_hold_at_their_ends():
    assert elementary.exp(0.0) == 1.0
    assert elementary.log(1.0) == 0.0
    assert elementary.decayed(0.0) == 0.0
    assert elementary.decayed(1e9) == pytest.approx(1.0)
    assert 0.0 < elementary.exp(-1e9) < 1e-300


@given(st.floats(0.05, 10), st.floats(0.0, 0.9) | st.floats(1.1, 3.0))
def test_an_exchanger_has_the_effectiveness_of_its_definition(units, ratio):
    passed = math.exp(-units * (1.0 - ratio))
    by_definition = (1.0 - passed) / (1.0 - ratio * passed)
    assert elementary.effectiveness(units, ratio) == pytest.approx(by_definition, rel=1e-12)


@given(st.floats(0.05, 10))
def test_an_exchanger_of_equal_flows_is_the_limit_of_unequal_ones(units):
    assert elementary.effectiveness(units, 1.0) == pytest.approx(units / (1.0 + units), rel=1e-14)
    assert elementary.effectiveness(units, 1.0 - 1e-9) == pytest.approx(units / (1.0 + units), rel=1e-7)


@compiled
def _four(x, out):
    for i in range(len(x)):
        for z in range(4):
            out[i, z] = elementary.power(x[i, z], 0.8)


def test_four_numbers_at_a_time_give_what_one_gives():
    x = np.random.default_rng(0).uniform(0.01, 5.0, (100, 4))
    out = np.empty_like(x)
    _four(x, out)
    for row, results in zip(x, out, strict=True):
        assert [elementary.power(one, 0.8) for one in row] == list(results)
