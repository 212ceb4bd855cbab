"""Two versions side by side: what they declare, what they do, and the chart of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rlops.envs import contract as contracts
from rlops.envs.contract import Family, Version
from rlops.errors import InvalidValue, MissingExtra, UnknownName
from rlops.registry.dynamics import diff as module
from rlops.registry.dynamics.diff import Change, declared_differences, diff
from tests.envs import drift_kernel as kernel

FIRST = Version(0, "The first.", kernel.__name__)
DRIFT = Family("Drift", "A boat on a line.", (FIRST, FIRST.next("a stronger current", current=0.3)))
A, B = "rlops/Drift-v0", "rlops/Drift-v1"


@pytest.fixture(autouse=True)
def family(monkeypatch):
    monkeypatch.setattr(contracts, "_ADDED", [DRIFT])


def test_an_environment_does_not_differ_from_itself():
    found = diff(A, A, episodes=4)
    assert found.declared == []
    assert found.same_actions
    assert found.first is None
    assert all(one.difference.mean == 0 and not one.clear for one in found.figures.values())


def test_another_nominal_value_is_declared_and_drawn_from_another_range():
    changes = declared_differences(A, B)
    assert Change("parameters", "current", "nominal 0.2", "nominal 0.3") in changes
    assert {change.section for change in changes} == {"parameters", "randomization mild"}


def test_under_the_same_actions_the_first_step_that_differs_is_found_and_named():
    found = diff(A, B, episodes=4, seed=5)
    assert found.seeds == [5, 6, 7, 8]
    assert found.first.step == 1
    assert found.first.variable == "observation[0], x_m"
    assert found.first.episode == "of seed 5"
    assert found.first.now - found.first.golden == pytest.approx(0.01, rel=1e-3)
    assert "the same actions for both" in found.played


def test_a_difference_that_is_not_shown_is_found_in_the_state():
    found = diff(A, A, episodes=2)
    assert found.first is None
    side, other = (module._Side(A, [0, 1], None, None) for _ in range(2))
    other.envs.state["wave"][1] = 1e-15
    hidden = module._first_among(side, other, side.running, 0)
    assert (hidden.variable, hidden.step, hidden.episode) == ("state.wave", 0, "of seed 1")


def test_figures_are_paired_by_seed():
    found = diff(A, B, episodes=8)
    distance = found.figures["distance_m"]
    # the same pushes, and 0.1 m/s more current for 20 steps of 0.1 s, on whichever side of the start
    own = found.returns[1] - found.returns[0]
    assert found.figures["return"].difference.mean == pytest.approx(own.mean())
    assert found.figures["return"].difference.low <= own.mean() <= found.figures["return"].difference.high
    assert distance.difference.mean == pytest.approx(distance.b.mean - distance.a.mean)
    assert found.figures["reward.stay"].a.mean == pytest.approx(found.figures["return"].a.mean)
    assert found.so_far.shape == (2, 8, kernel.STEPS + 1)
    np.testing.assert_allclose(found.so_far[:, :, -1], found.returns)


def test_figures_are_those_of_an_evaluation_where_episodes_are_of_different_lengths():
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.evaluate import evaluate

    id = "rlops/Dispatch-v0"
    found = diff(id, "rlops/Dispatch-v1", episodes=4, seed=3, agent="nearest_idle")
    for name, returns in zip((id, "rlops/Dispatch-v1"), found.returns, strict=True):
        evaluated = evaluate(name, load_agent("nearest_idle", name), range(3, 7), latency=False)
        np.testing.assert_allclose(returns, evaluated.table["return"])
        mine = {**found.figures, **(found.only_a if name == id else found.only_b)}
        for figure, interval in evaluated.intervals().items():
            one = mine[figure.replace("term_", "reward.")]
            mean = one.mean if hasattr(one, "mean") else (one.a if name == id else one.b).mean
            assert mean == pytest.approx(interval.mean, nan_ok=True), figure


def test_parameters_hold_for_both():
    found = diff(A, B, episodes=2, params={"current": 0.1})
    assert found.first is None
    with pytest.raises(UnknownName):
        diff(A, B, episodes=2, params={"curent": 0.1})


def test_environments_that_take_other_actions_each_choose_their_own():
    found = diff("rlops/Dispatch-v0", "rlops/DispatchStatic-v2", episodes=2)
    assert not found.same_actions
    assert found.first is None
    assert "for each its own" in found.played
    assert "reward.distance" not in found.only_a or "reward.distance" not in found.only_b
    assert found.only_a
    sections = {change.section for change in found.declared}
    assert {"observation", "parameters", "reward terms"} <= sections


def test_a_controller_plays_both(monkeypatch):
    class Against:
        name = "against"

        def actions(self, envs, obs, masks):
            return -np.sign(obs)

    monkeypatch.setattr(module, "_controller", lambda name, id: Against() if name else None)
    found = diff(A, B, episodes=2, agent="against")
    assert not found.same_actions
    assert found.played.startswith("against")
    assert found.figures["safe"].a.mean == 1


def test_columns_are_compared_by_name_and_a_moved_one_is_told_by_what_it_follows():
    one = [
        ["x", "m", -1.0, 1.0, 1],
        ["vehicle_0_y", "m", 0.0, 1.0, 1],
        ["vehicle_1_y", "m", 0.0, 1.0, 1],
        ["z", "-", 0.0, 1.0, 2],
    ]
    columns = module._columns(one)
    assert columns["vehicle_#_y"] == {"columns": 2, "unit": "m", "bounds": [0.0, 1.0], "after": "x"}
    assert columns["z"]["columns"] == 2
    assert columns["x"]["after"] == "the beginning"


def test_what_only_one_has_is_empty_on_the_other_side():
    change = module._change("parameters", "tide", {"nominal": 1.0, "unit": "m"}, None)
    assert (change.a, change.b) == ("nominal 1, unit m", "")


def test_chance_depends_on_seed_and_step_only():
    seeds, steps = np.arange(1000, dtype=np.uint64), np.full(1000, 3)
    u = module._uniform(seeds, steps, 0)
    np.testing.assert_array_equal(u[500:], module._uniform(seeds[500:], steps[500:], 0))
    assert 0 <= u.min() < 0.01
    assert 0.99 < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.03
    assert len({*u, *module._uniform(seeds, steps + 1, 0), *module._uniform(seeds, steps, 1)}) == 3000


def test_illegal_actions_are_never_chosen_by_chance():
    import gymnasium as gym

    masks = np.zeros((64, 5), np.int8)
    masks[:, 3] = 1
    chosen = module._by_chance(gym.spaces.Discrete(5), masks, np.arange(64, dtype=np.uint64), np.zeros(64, np.int64))
    assert set(chosen.tolist()) == {3}


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidValue, match="episodes must be at least 1, got 0"):
        diff(A, B, episodes=0)
    with pytest.raises(InvalidValue, match="two environments of rlops"):
        diff("CartPole-v0", "CartPole-v1", agent="random")
    with pytest.raises(UnknownName):
        diff(A, "rlops/Drift-v9")


def test_environments_of_gymnasium_are_compared_as_far_as_they_show(tmp_path):
    pytest.importorskip("rlops.registry.dynamics.gymnasium_envs")
    found = diff("CartPole-v0", "CartPole-v1", episodes=2)
    assert found.same_actions
    assert found.first is None
    assert list(found.figures) == ["return", "steps"]
    assert "200" in [change.a for change in found.declared]
    assert found.picture(tmp_path / "chart.png").exists()


def test_the_json_form_holds_everything_and_no_nan():
    found = diff(A, B, episodes=3)
    broken = replace(found, returns=np.array([[np.nan, 1, 2], [0, 1, 2]]))
    text = json.dumps(broken.as_json(), allow_nan=False)
    named = json.loads(text)
    assert named["returns"][0] == [None, 1.0, 2.0]
    assert named["first"]["step"] == 1
    assert named["figures"]["return"]["clear"] in (True, False)
    assert named["declared"][0].keys() == {"section", "name", "a", "b"}


def test_the_chart_is_drawn_whole(tmp_path):
    from PIL import Image

    file = diff(A, B, episodes=4).picture(tmp_path / "new" / "chart.png")
    assert [one.name for one in file.parent.iterdir()] == ["chart.png"]
    with Image.open(file) as picture:
        assert picture.size == (1650, 935)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50


def test_a_chart_of_equal_environments_can_be_drawn(tmp_path):
    assert diff(A, A, episodes=1).picture(tmp_path / "same.png").exists()


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"rlops\[render\]"):
        diff(A, A, episodes=1).picture(tmp_path / "no.png")
    assert list(tmp_path.iterdir()) == []
