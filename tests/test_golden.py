"""Released dynamics do not move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rlops
from rlops.envs import golden
from rlops.errors import InvalidFile, InvalidValue

RECORDED = sorted((Path(__file__).parent / "golden").glob("*.npz"))
RELEASED = {id.removeprefix("rlops/") for family in rlops.envs.FAMILIES for id in family.ids}
ID = "rlops/Dispatch-v0"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_released_version_replays_its_golden_file(path):
    assert path.stem in RELEASED
    assert path.stat().st_size <= golden.SIZE_LIMIT
    assert golden.replay(path) is None


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return golden.record(ID, tmp_path_factory.mktemp("golden"))


def changed(path, tmp_path, **changes):
    """Copy a golden file with some arrays changed by functions."""
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    copy = tmp_path / "changed.npz"
    np.savez(copy, **arrays)
    return copy


def test_what_was_just_recorded_replays(recorded):
    assert recorded.name == "Dispatch-v0.npz"
    assert recorded.stat().st_size <= golden.SIZE_LIMIT
    assert golden.replay(recorded) is None


def test_a_recorded_file_is_never_overwritten(recorded):
    before = recorded.read_bytes()
    with pytest.raises(InvalidValue, match="a recorded version never changes"):
        golden.record(ID, recorded.parent)
    assert recorded.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "layer"),
    [("reward", "reward"), ("terms", "terms"), ("observation", "observation"), ("state", "state")],
)
def test_the_first_difference_is_found(recorded, tmp_path, name, layer):
    def change(array):
        array[7] += 1
        return array

    found = golden.replay(changed(recorded, tmp_path, **{f"1_{name}": change}))
    assert (found.seed, found.step, found.layer) == (golden.SEEDS[1], 7, layer)
    assert f"step 7: {layer} differs" in str(found)


def test_other_dynamics_are_found_and_the_field_named(recorded, monkeypatch):
    family = rlops.envs.parse_id(ID)[0]
    nominal = type(family).nominal

    def faster(self, number):
        row = nominal(self, number)
        row["load_end_probability"] = 0.9
        return row

    monkeypatch.setattr(type(family), "nominal", faster)
    found = golden.replay(recorded)
    assert found.layer == "state"
    assert found.step > 0


def test_a_difference_at_a_kept_state_names_the_fields(recorded, tmp_path):
    def change(array):
        array[0] ^= 1
        return array

    def first_byte(array):
        array[0, 0] ^= 1
        return array

    found = golden.replay(changed(recorded, tmp_path, **{"0_state": change, "0_rows": first_byte}))
    assert (found.step, found.detail) == (0, "seed")


def test_on_another_platform_numbers_may_round_but_not_change(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "_platform", lambda: {"machine": "another"})
    rounded = changed(
        recorded, tmp_path, **{"0_state": lambda a: a ^ np.uint64(1), "0_reward": lambda a: a * (1 + 1e-9)}
    )
    assert golden.replay(rounded) is None
    moved = changed(recorded, tmp_path, **{"0_reward": lambda a: a * (1 + 1e-3)})
    assert golden.replay(moved).layer == "reward"


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InvalidFile, match="must be a golden file"):
        golden.replay(path)
    with pytest.raises(InvalidFile, match="must be a golden file"):
        golden.replay(tmp_path / "absent.npz")


def test_a_hash_of_the_state_ignores_padding():
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, two = np.zeros(1, dtype), np.frombuffer(bytearray(b"\xff" * 16), dtype).copy()
    two["a"], two["b"] = 0, 0
    assert one.tobytes() != two.tobytes()
    assert golden.state_hash(one[0]) == golden.state_hash(two[0])
    two["a"] = 1
    assert golden.state_hash(one[0]) != golden.state_hash(two[0])
