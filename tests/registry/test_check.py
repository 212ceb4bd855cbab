"""The check finds what moved, says where first, and which layer."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from rlops.errors import UnknownName
from rlops.registry.dynamics import check, reports
from rlops.registry.dynamics.check import check_id, combined
from rlops.registry.dynamics.golden import golden_file, read, write
from rlops.registry.dynamics.kernels import KernelSubject
from tests.registry.conftest import ID

MUJOCO_3_17 = Path(__file__).parent / "data"


@pytest.fixture
def regolden(folder, tmp_path):
    """Return a function that copies the golden file with the trace of one episode changed."""

    def regolden(episode, **changes):
        found = read(golden_file(KernelSubject(ID), folder))
        one = next(one for one in found.recordings if one.episode.name == episode)
        for name, change in changes.items():
            one.trace[name] = one.trace[name].copy()
            change(one.trace[name])
        manifest = {name: found.manifest[name] for name in found.manifest if name not in ("episodes", "sha256")}
        write(golden_file(KernelSubject(ID), tmp_path), manifest, found.recordings, found.returns)
        return tmp_path

    return regolden


@pytest.fixture
def elsewhere(monkeypatch):
    """Let this be another platform than the recorded one."""
    monkeypatch.setattr(KernelSubject, "platform", lambda self: {"cpu": "another"})


def test_what_was_just_recorded_is_the_same_at_all_levels(folder):
    result = check_id(ID, folder, check.LEVELS)
    assert (result.verdict, result.moved, result.first) == ("same", (), None)
    assert [level.status for level in result.levels] == ["same"] * 5


def test_a_changed_default_names_the_version_the_parameter_and_the_first_step_that_moved(folder, redeclare):
    redeclare("load_end_probability", nominal=0.3)
    result = check_id(ID, folder)
    assert (result.verdict, result.moved) == ("changed", ("parameters",))
    told = str(result)
    assert told.startswith(f"{ID}: changed: parameters moved")
    assert "parameters.load_end_probability.nominal: golden 0.1 now 0.3" in told
    assert result.first.step > 0
    assert f"first divergence: episode random step {result.first.step}, state." in told


def test_single_steps_say_that_only_the_parameter_moved(folder, redeclare):
    redeclare("speed_kmh", nominal=30.00003)
    result = check_id(ID, folder)
    assert result.layers["dynamics"] == "same"
    assert (result.first.step, result.first.variable) == (0, "params.speed_kmh")
    assert 1e-7 < result.first.scaled < 1e-6


def test_another_range_of_randomization_moves_the_randomization_only(folder, redeclare):
    redeclare("speed_kmh", plausible=(24, 36 * (1 + 1e-6)))
    result = check_id(ID, folder)
    assert (result.verdict, result.moved) == ("changed", ("randomization",))


def add(by):
    def change(array):
        array[7] += by

    return change


@pytest.mark.parametrize(
    ("name", "layer", "variable"),
    [
        ("state.pickup_km", "dynamics", "state.pickup_km"),
        ("state.total", "reward", "state.total"),
        ("terms.expired", "reward", "terms.expired"),
        ("observation", "observation", "observation["),
        ("mask", "mask", "mask["),
    ],
)
def test_the_layer_that_moved_and_its_first_step_are_named(regolden, name, layer, variable):
    result = check_id(ID, regolden("full", **{name: add(1)}))
    assert result.verdict == "changed"
    assert result.moved == (layer,)
    step = 7 if not name.startswith("terms") else 8
    assert (result.first.episode, result.first.step) == ("full", step)
    assert result.first.variable.startswith(variable)


def test_a_reset_that_moved_is_told_from_moved_dynamics(regolden):
    def first(array):
        array[0] += 1e-6

    result = check_id(ID, regolden("mild", **{"state.pickup_north_deg": first}))
    assert "reset" in result.moved
    assert result.first.step == 0


def test_an_end_that_moved_is_termination_alone(regolden):
    def never(array):
        array[-1] = False

    result = check_id(ID, regolden("random", **{"ended.terminated": never}))
    assert result.moved == ("termination",)


def test_key_figures_that_moved_are_told_from_the_rest(regolden):
    def more(array):
        array += 1

    result = check_id(ID, regolden("random", **{"key figures.completion_rate": more}))
    assert result.moved == ("key figures",)


def test_on_the_recorded_platform_every_bit_counts(regolden):
    def ulp(array):
        array[7:] = np.nextafter(array[7:], np.inf)

    result = check_id(ID, regolden("excited", **{"state.driver_north_deg": ulp}))
    assert result.verdict == "changed"
    assert "by round-off only" in result.told
    assert result.layers["dynamics"] == "round-off"


@pytest.mark.parametrize(("error", "verdict"), [(1e-14, "round-off"), (1e-10, "round-off"), (1e-6, "changed")])
@pytest.mark.usefixtures("elsewhere")
def test_on_another_platform_numbers_may_round_but_not_change(regolden, error, verdict):
    def shift(array):
        array[7] += error * np.abs(array).max()

    result = check_id(ID, regolden("excited", **{"state.pickup_km": shift}))
    assert result.verdict == verdict
    assert result.moved == (("dynamics",) if verdict == "changed" else ())


def test_a_brief_check_comes_to_the_same_verdict(regolden):
    changed = regolden("full", observation=add(1))
    brief, whole = (check_id(ID, changed, brief=brief) for brief in (True, False))
    assert (brief.verdict, brief.moved, brief.first) == (whole.verdict, whole.moved, whole.first)


def test_one_and_two_threads_make_the_same(folder):
    golden = read(golden_file(KernelSubject(ID), folder))
    one = golden.recordings[0]
    steps = np.arange(len(one.episode.actions))
    single, double = (KernelSubject(ID, threads).forced(one.episode, one.trace, steps) for threads in (1, 2))
    assert all(np.array_equal(single[name], double[name]) for name in single)


def test_without_a_golden_file_it_cannot_judge(tmp_path):
    result = check_id(ID, tmp_path)
    assert result.verdict == "cannot judge"
    assert f"rlops golden record {ID}" in result.told


def test_a_damaged_golden_file_cannot_judge(tmp_path):
    golden_file(KernelSubject(ID), tmp_path).write_bytes(b"x")
    assert check_id(ID, tmp_path).verdict == "cannot judge"


def test_an_internal_error_is_a_verdict_of_its_own(folder, monkeypatch):
    def broken(self, *arguments):
        raise ZeroDivisionError("in here")

    monkeypatch.setattr(KernelSubject, "play", broken)
    result = check_id(ID, folder)
    assert result.verdict == "error"
    assert "in here" in result.told


def test_a_state_of_another_layout_cannot_be_judged(regolden, folder, monkeypatch):
    real = KernelSubject.play

    def renamed(self, episode, expected=None):
        trace = real(self, episode, expected)
        trace["state.renamed"] = trace.pop("state.pickup_km")
        return trace

    monkeypatch.setattr(KernelSubject, "play", renamed)
    result = check_id(ID, folder)
    assert result.verdict == "cannot judge"
    assert "state.pickup_km is not there any more" in str(result)


def test_what_is_only_added_is_no_change(folder, monkeypatch):
    real = KernelSubject.specification

    def more(self):
        found = real(self)
        found["info"] = {**found["info"], "extra": "float64"}
        return found

    monkeypatch.setattr(KernelSubject, "specification", more)
    result = check_id(ID, folder)
    assert result.verdict == "same"
    assert "info.extra has been added" in str(result)


def test_what_is_gone_is_a_change(folder, monkeypatch):
    real = KernelSubject.specification
    monkeypatch.setattr(KernelSubject, "specification", lambda self: {**real(self), "info": {}})
    result = check_id(ID, folder)
    assert (result.verdict, result.moved) == ("changed", ("spec",))


def test_statistics_of_other_returns_are_a_change(folder, monkeypatch):
    assert check_id(ID, folder, ["L4"]).verdict == "same"
    real = KernelSubject.returns
    monkeypatch.setattr(KernelSubject, "returns", lambda self, *a: real(self, *a) + 500.0)
    result = check_id(ID, folder, ["L4"])
    assert result.verdict == "changed"
    assert "mean return" in result.levels[0].told


def test_an_unknown_level_is_refused(folder):
    with pytest.raises(UnknownName, match="L5"):
        check_id(ID, folder, ["L5"])


def test_verdicts_are_combined_by_the_gravest():
    assert [combined(v) for v in (["same", "round-off"], ["cannot judge"], ["cannot judge", "changed"])] == [0, 2, 1]
    assert combined(["changed", "error"]) == 3


def test_ant_is_changed_on_every_step_by_a_release_of_mujoco_and_the_chaos_of_half_cheetah_is_not():
    ant = check_id("Ant-v5", MUJOCO_3_17)
    assert (ant.verdict, ant.moved) == ("changed", ("dynamics",))
    assert "against golden mujoco 3.17.0" in ant.told
    assert "100 % of random 0, random 1, sine" in {level.name: level.told for level in ant.levels}["L2"]
    cheetah = check_id("HalfCheetah-v5", MUJOCO_3_17)
    assert (cheetah.verdict, cheetah.moved) == ("round-off", ())
    assert {level.name: level.status for level in cheetah.levels}["L2"] == "same"


def test_a_result_is_told_in_json_and_junit(regolden, tmp_path):
    results = [check_id(ID, regolden("full", observation=add(1))), check_id(ID, tmp_path / "none")]
    told = json.loads(json.dumps(reports.as_json(results)))
    assert told["format"] == 1
    assert [one["verdict"] for one in told["results"]] == ["changed", "cannot judge"]
    assert told["results"][0]["first"]["variable"].startswith("observation[")
    reports.write_junit(results, tmp_path / "check.xml")
    first, second = ET.parse(tmp_path / "check.xml").getroot()
    assert (first.get("name"), first.get("tests"), first.get("failures")) == (ID, "4", "3")
    assert [case.get("name") for case in first if case.find("failure") is not None] == ["L1", "L2", "L3"]
    assert second.get("skipped") == "1"


@pytest.mark.parametrize(("growth", "status"), [(10.0, "round-off"), (1e12, "changed")])
@pytest.mark.usefixtures("elsewhere")
def test_free_episodes_tell_round_off_that_grows_from_state_that_is_not_recorded(folder, monkeypatch, growth, status):
    real = KernelSubject.play

    def drifting(self, episode, expected=None):
        trace = real(self, episode)
        reward = trace["reward"].copy()
        reward[4:] += np.minimum(1e-13 * growth ** np.minimum(np.arange(len(reward) - 4), 20), 1.0)
        trace["reward"] = reward
        return trace

    monkeypatch.setattr(KernelSubject, "play", drifting)
    free = {level.name: level for level in check_id(ID, folder).levels}["L3"]
    assert free.status == status
