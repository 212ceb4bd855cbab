"""Layouts take values apart and put them together again; bytes that are none of ours are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlops.errors import ProtocolError
from rlops.registry.remote.frames import (
    ALIGNED,
    HEADER,
    LARGEST_PAYLOAD,
    MAJOR,
    Frame,
    Layout,
    Layouts,
    dtype_as_json,
    dtype_from_json,
    layout_of,
    read_header,
)
from tests.registry.remote.comparing import assert_same

ARRAYS = hnp.arrays(
    st.one_of(hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.floating_dtypes(endianness="<", sizes=(32, 64))),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
VALUES = st.recursive(
    st.one_of(ARRAYS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def travelled(value, number=1):
    """Return ``value`` as it comes out at the other side."""
    layout, arrays = layout_of(value, number)
    there = Layout.from_json(json.loads(json.dumps(layout.as_json())))
    frame = Frame.allocated(layout.size)
    for place, array in zip(frame.arrays(layout), arrays, strict=True):
        place[...] = array
    return there.tree.build(Frame(frame.bytes).arrays(there))


@given(VALUES)
def test_any_value_comes_back_the_same(value):
    assert_same(value, travelled(value))


def test_final_observations_come_back_as_rows_and_nothing():
    rows = np.full(4, None, object)
    rows[1], rows[3] = np.arange(3.0), np.ones(3)
    assert_same(rows, travelled(rows))
    mixed = np.full(2, None, object)
    mixed[0], mixed[1] = {"a": np.ones(2)}, np.float32(1.5)
    assert_same(mixed, travelled(mixed))


def test_records_with_gaps_come_back_the_same():
    nested = np.dtype([("a", "i1"), ("b", "f8", (2, 3)), ("c", [("d", "?"), ("e", "u4")])], align=True)
    assert dtype_from_json(json.loads(json.dumps(dtype_as_json(nested)))) == nested
    records = np.zeros(3, nested)
    records["b"] = np.random.default_rng(0).random((3, 2, 3))
    assert_same(records, travelled(records))


@given(st.lists(ARRAYS, min_size=1, max_size=6))
def test_arrays_are_aligned_and_do_not_overlap(arrays):
    layout, _ = layout_of(arrays)
    end = 0
    for place in layout.places:
        assert place.offset % ALIGNED == 0
        assert place.offset >= end
        end = place.offset + place.nbytes
    assert end == layout.size


def test_an_array_that_occurs_twice_travels_once():
    mask = np.array([True, False])
    layout, arrays = layout_of({"_a": mask, "_b": mask, "_c": mask.copy()})
    assert len(arrays) == 2
    assert layout.take({"_a": mask, "_b": mask.copy(), "_c": mask}) is None, "they are two arrays now"


def test_a_layout_fits_only_what_it_was_made_for():
    value = (np.zeros(3), {"a": np.zeros(2, np.int8), "n": 1})
    layout, _ = layout_of(value)
    assert layout.take(value) is not None
    for other in (
        (np.zeros(4), value[1]),
        (np.zeros(3, np.float32), value[1]),
        (value[0], {"a": value[1]["a"]}),
        (value[0], {"n": 1, "a": value[1]["a"]}),
        (value[0], {"a": value[1]["a"], "n": 2}),
        (value[0], {"a": value[1]["a"], "n": True}),
        [value[0], value[1]],
    ):
        assert layout.take(other) is None


def test_layouts_are_declared_once_while_they_last():
    layouts = Layouts()
    assert layouts.fitting(np.zeros(3), keep=True)[1]
    assert not layouts.fitting(np.ones(3), keep=True)[1]
    for number in range(300):
        parts, new = layouts.fitting(number, keep=True)
        assert new
        assert (parts.layout.number > 0) is (number < 255)


def test_the_same_arrays_are_recognised_and_others_not():
    layouts, (one, other) = Layouts(), (np.zeros(3), np.zeros(3))
    value = {"a": one, "b": (other, None)}
    layouts.fitting(value, keep=True)
    seen, _ = layouts.fitting(value, keep=True)
    again, new = layouts.fitting({"a": one, "b": (other, None)}, keep=True)
    assert again is seen
    assert not new
    value["b"] = (one.copy(), None)
    changed, new = layouts.fitting(value, keep=True)
    assert changed.arrays[1] is value["b"][0]
    assert not new
    for different in ({"c": one, "b": (other, None)}, {"a": one, "b": [other, None]}, {"a": one, "b": (other, 1)}):
        parts, new = layouts.fitting(different, keep=True)
        assert new
        assert_same(different, parts.layout.tree.build(parts.arrays))


@pytest.mark.parametrize("scalar", [np.float64(1.0), np.array([np.zeros(2), None], object)], ids=["scalar", "rows"])
def test_what_is_read_out_of_arrays_is_never_recognised(scalar):
    layouts = Layouts()
    for _ in range(3):
        parts, _ = layouts.fitting((scalar,), keep=True)
    assert layouts.fitting((scalar,), keep=True)[0] is not parts


def test_what_cannot_travel_is_named():
    with pytest.raises(ProtocolError, match=r"got builtins\.set"):
        layout_of({"a": {1, 2}})
    deep: list = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(ProtocolError, match="nested"):
        layout_of(deep)


@pytest.mark.parametrize("numbers", [(1, 1), (0, 0), (1, 0), (0, 1), (1, 2)])
def test_a_frame_knows_whether_its_arrays_are_held(numbers):
    frame = Frame.allocated(1000)
    for number in numbers:
        layout, _ = layout_of((np.zeros(3), np.zeros((2, 2))), number)
        arrays = frame.arrays(layout)
        frame.lend(arrays)
        assert not frame.held
        kept = arrays[1]
        assert frame.held
        kept = kept[0]
        assert frame.held, "a view of a view counts"
        del kept
        assert not frame.held


def header(magic=b"RLOP", major=MAJOR, length=0, tail=0):
    buffer = bytearray(HEADER.size)
    HEADER.pack_into(buffer, 0, magic, major, 5, 0, 1, 1, 7, length, tail, 0, 0)
    return buffer


def test_a_header_reads_as_it_was_written():
    read = read_header(header(length=10, tail=4))
    assert (read.op, read.session, read.layout, read.sequence, read.length, read.tail) == (5, 1, 1, 7, 10, 4)
    assert HEADER.size == ALIGNED


@pytest.mark.parametrize(
    "wrong",
    [{"magic": b"HTTP"}, {"major": MAJOR + 1}, {"length": LARGEST_PAYLOAD + 1}, {"length": 3, "tail": 4}],
)
def test_a_header_of_something_else_is_refused(wrong):
    with pytest.raises(ProtocolError, match="must"):
        read_header(header(**wrong))


@pytest.mark.parametrize(
    "declared",
    [
        None,
        {},
        {"number": 1, "arrays": [[0, "<f8", [2]]], "tree": {"array": 1}},
        {"number": 1, "arrays": [[0, "<f8", [2]]], "tree": {"array": -1}},
        {"number": 1, "arrays": [[1, "<f8", [2]]], "tree": {"array": 0}},
        {"number": 1, "arrays": [[-64, "<f8", [2]]], "tree": {"array": 0}},
        {"number": 1, "arrays": [[0, "<f8", [-2]]], "tree": {"array": 0}},
        {"number": 1, "arrays": [[0, "|O", [2]]], "tree": {"array": 0}},
        {"number": 1, "arrays": [[0, "<f8", [2]], [64, "<f8", [3]]], "tree": {"rows": [0, 1]}},
        {"number": 1, "arrays": [], "tree": {"value": {}}},
        {"number": 1, "arrays": [], "tree": {"pickle": ""}},
        {"number": 1, "arrays": [], "tree": {"value": 1, "list": []}},
    ],
)
def test_a_layout_that_cannot_be_is_refused(declared):
    with pytest.raises(ProtocolError, match="must"):
        Layout.from_json(declared)
