"""Traces are packed without loss and compared to the last bit."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops.registry.dynamics.traces import (
    CHANGED,
    ROUND_OFF,
    SAME,
    compare,
    first_difference,
    leaves,
    pack,
    shortened,
    ulps,
    unpack,
)

DTYPES = st.sampled_from([np.float64, np.float32, np.int32, np.int8, np.bool_, np.uint64, np.int16])


@st.composite
def traces(draw):
    steps = draw(st.integers(1, 6))
    trace = {}
    for k in range(draw(st.integers(1, 4))):
        shape = draw(st.sampled_from([(steps + 1,), (steps + 1, 3), (steps + 1, 2, 2)]))
        trace[f"state.{k}"] = draw(arrays.arrays(draw(DTYPES), shape))
    trace["reward"] = draw(arrays.arrays(np.float64, (steps,)))
    return trace


@given(traces())
def test_what_is_packed_is_unpacked_bit_for_bit(trace):
    again = unpack(*pack(trace))
    assert list(again) == list(trace)
    for name, array in trace.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()


def test_what_stays_the_same_is_packed_once():
    state = np.zeros((1000, 500))
    state[:, 3] = np.arange(1000)
    _, packed = pack({"state.x": state})
    assert sum(array.nbytes for array in packed.values()) < 20_000 < state.nbytes / 100


@given(arrays.arrays(np.float64, (4, 3)))
def test_an_array_is_the_same_as_itself_even_with_nan(array):
    found = compare(array, array.copy())
    assert (found.status, found.worst, found.differs.any()) == (SAME, 0.0, False)


@pytest.mark.parametrize(
    ("error", "status"), [(1e-14, SAME), (5e-13, SAME), (2e-12, ROUND_OFF), (9e-10, ROUND_OFF), (2e-9, CHANGED)]
)
def test_an_error_is_judged_relative_to_the_largest_magnitude_of_its_field(error, status):
    golden = np.array([[1e3, 1e-8], [2e3, 0.0]])
    now = golden.copy()
    now[1, 1] = error * 2e3
    found = compare(golden, now)
    assert found.status == status
    assert found.differs.tolist() == [False, True]
    assert found.changed.tolist() == [False, status == CHANGED]


def test_whole_numbers_and_flags_never_round():
    assert compare(np.array([10**12]), np.array([10**12 + 1])).status == CHANGED
    assert compare(np.array([True, False]), np.array([True, True])).status == CHANGED


def test_an_infinity_is_not_near_any_number():
    golden = np.array([1.0, np.inf])
    assert compare(golden, np.array([1.0, np.inf])).status == SAME
    assert compare(golden, np.array([1.0, 1e300])).worst == np.inf
    assert compare(np.array([1.0, np.nan]), np.array([1.0, 1.0])).status == CHANGED


def test_float32_may_differ_by_two_units_in_the_last_place():
    golden = np.ones(2, np.float32)
    near = np.nextafter(golden, np.float32(2))
    assert compare(golden, near).status == ROUND_OFF
    assert compare(golden, golden + np.float32(1e-6)).status == CHANGED


def test_the_first_difference_names_step_place_and_size():
    golden = np.arange(12.0).reshape(4, 3)
    now = golden.copy()
    now[2, 1] = np.nextafter(7.0, 8.0)
    now[3] += 1
    found = first_difference("random", "state.x_km", golden, now, first_step=1)
    assert (found.step, found.variable, found.golden, found.ulps) == (3, "state.x_km[1]", 7.0, 1)
    assert found.scaled == pytest.approx(8.9e-16 / 11, rel=0.01)
    assert "episode random step 3, state.x_km[1]: golden 7.0 now 7.0000000000" in str(found)


@given(st.floats(allow_nan=False, allow_infinity=False, width=64, max_value=1e300))
def test_the_next_number_is_one_unit_in_the_last_place_away(x):
    x = np.float64(x)
    up = np.nextafter(x, np.inf)
    if np.isfinite(up) and up != x:
        assert ulps(x, up) == 1
    assert ulps(x, x) == 0
    assert ulps(x, np.float64(np.inf)) is None


def test_nested_records_have_dotted_names():
    dtype = np.dtype([("now", "f8"), ("bookings", [("status", "i4"), ("x", "f8")], (3,))])
    found = dict(leaves(np.zeros(5, dtype), "state"))
    assert {name: array.shape for name, array in found.items()} == {
        "state.now": (5,),
        "state.bookings.status": (5, 3),
        "state.bookings.x": (5, 3),
    }


def test_a_shortened_trace_keeps_one_moment_more_than_steps():
    trace = {"state.x": np.arange(11), "reward": np.arange(10), "params.a": np.zeros(1)}
    part = shortened(trace, 4, 7)
    assert part["state.x"].tolist() == [4, 5, 6, 7]
    assert part["reward"].tolist() == [4, 5, 6]
    assert part["params.a"].tolist() == [0]
