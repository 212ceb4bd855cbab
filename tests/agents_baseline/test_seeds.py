"""Several seeds are several trainings: each the same as alone, none done twice, none mistaken for another."""

from __future__ import annotations

import pytest
import yaml

from rlops.agents_baseline import seeds as several
from rlops.agents_baseline.policies import Policy
from rlops.agents_baseline.seeds import parse_seeds, train_seeds, trained_seeds
from rlops.agents_baseline.train import hyperparameters, train
from rlops.errors import InvalidFile, InvalidValue

ID = "rlops/CartBalance-v0"
SMALL = {
    "steps": 64,
    "num_envs": 2,
    "hyperparameters": {
        "n_steps": 16, "batch_size": 32, "n_epochs": 1, "standardise": None, "policy_kwargs": {"net_arch": [4]}
    },
}  # fmt: skip


def weights(folder):
    return {name: array.tobytes() for name, array in Policy.read(folder).arrays.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("several")
    train_seeds(ID, "ppo", [0, 1], out=out, **SMALL)
    return out


def test_seeds_are_named_by_numbers_and_ranges():
    assert parse_seeds("0-2,7") == [0, 1, 2, 7]
    assert parse_seeds("4") == [4]


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1", "0-2,1"])
def test_what_names_no_seeds_or_one_twice_is_refused(text):
    with pytest.raises(InvalidValue, match="got"):
        parse_seeds(text)


def test_each_seed_gives_what_it_gives_alone(trained, tmp_path):
    assert list(trained_seeds(trained)) == [0, 1]
    train(ID, "ppo", out=tmp_path / "alone", seed=1, **SMALL)
    assert weights(trained / "seed_1") == weights(tmp_path / "alone")
    assert weights(trained / "seed_0") != weights(trained / "seed_1")


def test_what_is_complete_is_not_trained_again_and_what_was_interrupted_is(trained, monkeypatch):
    interrupted = trained / "seed_1" / "model.zip"
    before, content = weights(trained / "seed_1"), interrupted.read_bytes()
    interrupted.unlink()  # a model appears last
    again = []

    def noted(*given, seed, **options):
        again.append(seed)
        return train(*given, seed=seed, **options)

    monkeypatch.setattr(several, "train", noted)
    assert train_seeds(ID, "ppo", [0, 1], out=trained, **SMALL) == [trained / "seed_0", trained / "seed_1"]
    assert again == [1]
    assert weights(trained / "seed_1") == before
    interrupted.write_bytes(content)


def test_what_is_there_already_is_told_of_as_complete(trained):
    told = []
    train_seeds(ID, "ppo", [0, 1], out=trained, progress=lambda *one: told.append(one), **SMALL)
    assert [(seed, one.steps, one.total) for seed, one in told] == [(0, 64, 64), (1, 64, 64)]


def test_another_training_that_is_there_is_named_and_kept_unless_it_may_be_replaced(trained, tmp_path):
    before = weights(trained / "seed_0")
    with pytest.raises(InvalidValue, match=r"seed_0 must have no other training, .* differs in steps, hyperparameters"):
        train_seeds(ID, "ppo", [0], out=trained, **{**SMALL, "steps": 96, "hyperparameters": {"gamma": 0.5}})
    assert weights(trained / "seed_0") == before
    with pytest.raises(InvalidValue, match="differs in randomization"):
        train_seeds(ID, "ppo", [0], out=trained, randomization="mild", **SMALL)
    out = tmp_path / "copy"
    train_seeds(ID, "ppo", [0], out=out, randomization="mild", **SMALL)
    assert train_seeds(ID, "ppo", [0], out=out, randomization="mild", **SMALL) == [out / "seed_0"]
    train_seeds(ID, "ppo", [0], out=out, overwrite=True, **SMALL)
    assert weights(out / "seed_0") == before


def test_a_configuration_that_cannot_be_read_is_named(trained, tmp_path):
    out = tmp_path / "seed_0"
    out.mkdir()
    (out / "model.zip").write_bytes((trained / "seed_0" / "model.zip").read_bytes())
    with pytest.raises(InvalidFile, match=r"config\.yaml must say what was trained"):
        train_seeds(ID, "ppo", [0], out=tmp_path, **SMALL)


def test_no_seed_or_one_twice_is_refused(tmp_path):
    for wrong in ([], [1, 1]):
        with pytest.raises(InvalidValue, match="seeds must be at least one and differ"):
            train_seeds(ID, "ppo", wrong, out=tmp_path, **SMALL)


def test_hyperparameters_say_how_many_steps_suffice(tmp_path):
    enough = hyperparameters(ID, "ppo")["steps"]
    assert several.planned(ID, "ppo", seed=0)["steps"] == enough
    assert several.planned(ID, "ppo", seed=0, steps=5)["steps"] == 5
    with pytest.raises(InvalidValue, match="steps must be given"):
        train("rlops/DispatchStatic-v2", "ppo", out=tmp_path, hyperparameters={"num_envs": 1})
    small = train(ID, "ppo", out=tmp_path, **SMALL)
    assert "steps" not in yaml.safe_load(small.with_name("config.yaml").read_text())["hyperparameters"]
