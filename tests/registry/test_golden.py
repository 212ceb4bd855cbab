"""Golden files hold everything that an episode was, and are written once."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from rlops.envs import FAMILIES
from rlops.errors import InvalidFile, InvalidValue
from rlops.registry.dynamics import golden, scripts
from rlops.registry.dynamics.golden import golden_file, manifest_of, read, record, write
from rlops.registry.dynamics.kernels import KernelSubject
from rlops.registry.dynamics.scripts import Situation, scripted
from tests.registry.conftest import ID


@pytest.fixture
def path(folder):
    return golden_file(KernelSubject(ID), folder)


def test_a_file_holds_states_actions_parameters_observations_rewards_and_every_term(path):
    found = read(path)
    names = [one.episode.name for one in found.recordings]
    assert names[:6] == ["random", "reference nearest_idle", "excited", "mild", "full", "ood"]
    assert "situation illegal actions" in names
    kernel = KernelSubject(ID).kernel
    for one in found.recordings:
        steps = len(one.episode.actions)
        assert one.trace["state.driver_north_deg"].shape == (steps + 1, kernel.DRIVERS)
        assert one.trace["state.driver_north_deg"].dtype == np.float64
        assert one.trace["observation"].shape == (steps + 1, 122)
        assert one.trace["mask"].shape == (steps + 1, kernel.ACTION)
        assert {f"params.{p.name}" for p in kernel.PARAMETERS} <= set(one.trace)
        terms = sum(one.trace[f"terms.{name}"] for name in kernel.REWARD_TERMS)
        np.testing.assert_allclose(terms, one.trace["reward"], rtol=1e-15)
        assert one.trace["ended.terminated"].tolist() == [False] * (steps - 1) + [True]
        assert f"key figures.{kernel.KPIS[0].name}" in one.trace
    assert set(found.returns) == {"random", "reference"}


def test_the_manifest_says_what_was_recorded_why_and_where(path):
    manifest = manifest_of(path)
    assert (manifest["id"], manifest["reason"], manifest["engine"]) == (ID, "For tests.", "")
    assert {"machine", "system", "libc", "cpu", "numpy", "numba", "llvmlite"} == set(manifest["platform"])
    assert manifest["specification"]["parameters"]["speed_kmh"]["nominal"] == 30
    assert len(manifest["fingerprint"]["exact"]) == 64


def test_a_recorded_file_is_never_overwritten(path):
    before = path.read_bytes()
    with pytest.raises(InvalidValue, match="a recorded version never changes"):
        record(KernelSubject(ID), "Again.", path.parent)
    assert path.read_bytes() == before
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_recording_has_a_reason(tmp_path):
    with pytest.raises(InvalidValue, match="must have a reason"):
        record(KernelSubject(ID), " ", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_content_makes_the_same_bytes(path, tmp_path):
    found = read(path)
    manifest = {name: found.manifest[name] for name in found.manifest if name not in ("episodes", "sha256")}
    write(tmp_path / "again.npz", manifest, found.recordings, found.returns)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_what_is_read_is_what_was_recorded(path):
    subject = KernelSubject(ID)
    found = {one.episode.name: one for one in read(path).recordings}
    assert len(found) > len(scripted(subject)) > 4
    for episode in scripted(subject):
        recorded = found[episode.name]
        assert np.array_equal(recorded.episode.actions, episode.actions)
        assert recorded.episode.params == episode.params
        now = subject.play(recorded.episode)
        assert list(now) == list(recorded.trace)
        assert all(np.array_equal(now[name], array) for name, array in recorded.trace.items())


def rewritten(path, target, change):
    """Copy a zip archive with its contents changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_a_file_that_was_tampered_with_is_refused(path, tmp_path):
    def flip(name, content):
        return content[:-1] + bytes([content[-1] ^ 1]) if name == "0/actions.npy" else content

    with pytest.raises(InvalidFile, match=r"0/actions\.npy has changed"):
        read(rewritten(path, tmp_path / "x.npz", flip))


def test_a_file_of_another_format_is_refused(path, tmp_path):
    def older(name, content):
        return json.dumps({**json.loads(content), "format": 1}).encode() if name == "manifest.json" else content

    with pytest.raises(InvalidFile, match="must be of format 2, got 1"):
        read(rewritten(path, tmp_path / "x.npz", older))


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    (tmp_path / "y.npz").write_bytes(b"no archive")
    for name in ("x.npz", "y.npz", "absent.npz"):
        with pytest.raises(InvalidFile, match="must be a golden file"):
            read(tmp_path / name)


@pytest.mark.parametrize("id", [id for family in FAMILIES for id in family.ids])
def test_the_episodes_of_a_released_version_depend_on_every_parameter(id):
    subject = KernelSubject(id)
    recordings = read(golden_file(subject, golden.FOLDER)).recordings
    excited = set()
    for one in recordings:
        if one.episode.start is None:
            excited |= set(subject.excited(one.episode))
    assert excited == {p.name for p in subject.kernel.PARAMETERS}


def test_episodes_of_versions_end_in_every_way_that_was_found():
    ends = {id: set() for family in FAMILIES for id in family.ids}
    for id, seen in ends.items():
        for one in read(golden_file(KernelSubject(id), golden.FOLDER)).recordings:
            seen |= {end for end in ("terminated", "truncated") if one.trace[f"ended.{end}"].any()}
    only_an_engine_ends_them = {"rlops/ArmReach-v0", "rlops/ArmPush-v0"}
    assert {id for id, seen in ends.items() if "terminated" not in seen} == only_an_engine_ends_them
    assert {id for id, seen in ends.items() if "truncated" in seen} >= {"rlops/Dispatch-v1", "rlops/Dispatch-v2"}


def test_a_situation_with_actions_takes_them_in_turn():
    one = Situation("illegal in turn", actions=(0, 1, 200), last=5)
    assert scripts._situation(KernelSubject(ID), one).episode.actions.tolist() == [0, 1, 200, 0, 1]


COOLING = [id for family in FAMILIES for id in family.ids if "Cooling" in id]


@pytest.mark.parametrize("id", COOLING)
def test_what_is_recorded_of_a_hall_as_rare_did_happen(id):
    recordings = read(golden_file(KernelSubject(id), golden.FOLDER)).recordings
    seen = {one.episode.name.removeprefix("situation "): one.trace for one in recordings}
    valve = seen["valves that hardly open"]["state.valve"]
    assert ((valve > 0.02) & (valve < 0.021)).any()
    hot = seen["servers too hot before inlets"]
    assert hot["ended.terminated"][-1]
    assert hot["state.server_c"][-1].max() >= 85 > hot["state.server_c"][:-1].max()
    assert hot["state.hot_s"].max() < 60
    assert seen["supply air too hot to be shown"]["state.read_c"][:, 0].max() > 60
    midnight, weekend = seen["midnight, from files"], seen["a weekend begins"]
    assert midnight["state.minute"].min() < 1440 < midnight["state.minute"].max()
    assert weekend["state.weekday"][0] == 4
    assert seen["days from files"]["state.first_sample"][0] > 0


def test_what_is_recorded_of_agents_of_a_hall_as_rare_did_happen():
    recordings = read(golden_file(KernelSubject("rlops/DatacenterCooling-v1"), golden.FOLDER)).recordings
    seen = {one.episode.name.removeprefix("situation "): one.trace for one in recordings}
    assert seen["agents whose inlets are too hot to be shown"]["state.read_c"][:, 1].max() > 60
    assert seen["agents whose inlets are hardly warm enough to be shown"]["state.read_c"][:, 1].min() < 0.25
    assert (np.ptp(seen["agents with rewards of their own"]["rewards.agents"], axis=1) > 0).all()
    moved = seen["loads that move every hour"]["state.share"]
    assert len(np.unique(moved, axis=0)) == 2
