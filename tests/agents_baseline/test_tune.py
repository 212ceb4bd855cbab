"""A search finds what is better, goes on where it was, and says what it gained by other trainings."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
import yaml

from rlops.agents_baseline import tune as tuning
from rlops.agents_baseline.train import Progress, read_hyperparameters
from rlops.agents_baseline.tune import BEST_FILE, Search, gained, read_space, suggested, tune
from rlops.errors import InvalidFile, InvalidValue, UnknownName

ID = "rlops/CartBalance-v0"
SMALL = {"num_envs": 2, "n_steps": 16, "batch_size": 32, "n_epochs": 1, "standardise": None}
SMALL |= {"policy_kwargs": {"net_arch": [4]}}
SPACE = {"gamma": {"low": 0.9, "high": 0.999, "scale": "to_one"}, "n_epochs": {"low": 1, "high": 3}}


def search(**changed):
    given = {"steps": 64, "episodes": 2, "space": SPACE, "hyperparameters": SMALL, **changed}
    return Search(ID, "ppo", **given)


def states(folder):
    study = optuna.load_study(storage=f"sqlite:///{folder / 'study.db'}", study_name="study")
    return [trial.state.name for trial in study.trials]


def test_a_search_goes_on_where_it_was_and_counts_no_trial_that_was_interrupted(tmp_path, monkeypatch):
    tune(search(), 1, out=tmp_path)
    monkeypatch.setattr(tuning, "evaluate", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(search(), 2, out=tmp_path)
    monkeypatch.undo()
    told = []
    best = tune(search(), 3, out=tmp_path, told=told.append)
    assert states(tmp_path) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.number for trial in told] == [2, 3]
    assert tune(search(), 3, out=tmp_path) == best
    assert len(states(tmp_path)) == 4


def _interrupted(*given, **options):
    raise KeyboardInterrupt


def test_the_best_of_the_trials_is_written_as_hyperparameters(tmp_path, monkeypatch):
    class Played:
        def __init__(self, gamma):
            self.table = np.array([(gamma,)], [("return", "f8")])

    def played(id, agent, seeds, **options):
        return Played(agent.policy.trained["hyperparameters"]["gamma"])

    monkeypatch.setattr(tuning, "evaluate", played)
    best = tune(search(), 4, out=tmp_path)
    study = optuna.load_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="study")
    assert best["gamma"] == pytest.approx(max(trial.value for trial in study.trials))
    assert best["n_steps"] == 16
    assert read_hyperparameters(tmp_path / BEST_FILE, "ppo") == best


def test_a_trial_that_falls_behind_is_broken_off():
    reports = []

    class Behind:
        def report(self, value, step):
            reports.append((value, step))

        def should_prune(self):
            return len(reports) == 2

    look = tuning._look(optuna, Behind(), 1000, None)
    look(Progress(50, 1000, mean_return=1.0))
    look(Progress(100, 1000, mean_return=float("nan")))
    look(Progress(120, 1000, mean_return=2.0))
    look(Progress(180, 1000, mean_return=3.0))
    assert reports == [(2.0, 1)]
    with pytest.raises(optuna.TrialPruned):
        look(Progress(400, 1000, mean_return=4.0))
    assert reports[-1] == (4.0, 4)


def test_a_folder_of_another_search_is_refused(tmp_path):
    tune(search(), 1, out=tmp_path)
    with pytest.raises(InvalidValue, match="one that differs in steps, episodes"):
        tune(search(steps=96, episodes=3), 1, out=tmp_path)


def test_what_a_search_gained_is_said_over_other_trainings(tmp_path):
    found, shipped, gain = gained(search(), {**SMALL, "gamma": 0.9}, out=tmp_path, seeds=2, episodes=2)
    assert gain.value == pytest.approx(found.value - shipped.value)
    assert found.low <= found.value <= found.high
    configs = sorted(path.parent for path in tmp_path.glob("*/*/config.yaml"))
    assert [f"{c.parent.name}/{c.name}" for c in configs] == [
        "found/seed_100", "found/seed_101", "shipped/seed_100", "shipped/seed_101",
    ]  # fmt: skip
    gammas = [yaml.safe_load((c / "config.yaml").read_text())["hyperparameters"]["gamma"] for c in configs]
    assert gammas == [0.9, 0.9, 0.98, 0.98]


def test_suggestions_lie_in_their_space():
    trial = optuna.trial.FixedTrial({"1 - gamma": 0.01, "n_epochs": 2, "learning_rate": 1e-3, "batch_size": 64})
    space = {**SPACE, "learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}, "batch_size": [64, 128]}
    assert suggested(space, trial) == {
        "gamma": pytest.approx(0.99), "n_epochs": 2, "learning_rate": {"start": 1e-3, "end": 5e-5}, "batch_size": 64,
    }  # fmt: skip


@pytest.mark.parametrize("algo", sorted(tuning.SPACES))
def test_what_is_usually_searched_are_hyperparameters_that_exist(algo):
    id = ID if algo in ("ppo", "sac") else "rlops/Dispatch-v0"
    Search(id, algo, 10, 2, tuning.SPACES[algo], {"num_envs": 4})


@pytest.mark.parametrize(
    "values",
    [[], 3, {"low": 1}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "scale": "log"}, {"low": 0, "high": 1, "step": 1},
     {"low": 0.5, "high": 1.5, "scale": "to_one"}, {"low": "a", "high": "b"}, {"low": 0, "high": 1, "scale": "odd"}],
)  # fmt: skip
def test_a_space_that_cannot_be_searched_is_refused(values):
    with pytest.raises(InvalidValue, match="The space of gamma must be a list of values, or have low and high"):
        search(space={"gamma": values})


def test_a_space_of_what_is_no_hyperparameter_is_refused_before_the_first_trial(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean gamma"):
        search(space={"gama": [0.9]})
    file = tmp_path / "space.yaml"
    file.write_text("- gamma")
    with pytest.raises(InvalidFile, match="must map hyperparameters to what is searched"):
        read_space(file)
    file.write_text("gamma: [0.9, 0.99]")
    assert read_space(file) == {"gamma": [0.9, 0.99]}
