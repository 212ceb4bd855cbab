"""One call trains; the folder says all that the result depends on, and only a complete one has a model."""

from __future__ import annotations

import math
import sys
import types

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import DummyVecEnv

import rlops
from rlops.agents_baseline import agents, imitation, standardised
from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.train import OWN_SETTINGS, hyperparameters, read_hyperparameters, train
from rlops.agents_baseline.worlds import World
from rlops.envs.contract import bounds
from rlops.envs.cooling.load import Load
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidFile, InvalidValue, UnknownName
from rlops.randomization import levels, randomize, read
from rlops.wrappers.sb3 import ScaledReward
from tests.agents_baseline.policies import DoNothing

ID = "rlops/Dispatch-v0"
HALL = "rlops/DatacenterCooling-v0"
NUMBERED, OF_VECTORS = ("maskable_ppo", "ppo", "dqn"), ("ppo", "sac")
"""Algorithms whose actions are numbers, and vectors."""
SMALL = {
    "maskable_ppo": {
        "policy": "MlpPolicy",
        "n_steps": 50,
        "batch_size": 100,
        "n_epochs": 1,
        "policy_kwargs": {"net_arch": [8]},
    },
    "ppo": {"n_steps": 50, "batch_size": 100, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}},
    "dqn": {"policy": "MlpPolicy", "learning_starts": 50, "buffer_size": 1000, "policy_kwargs": {"net_arch": [8]}},
}


def small(algo, out, **options):
    settings = {"steps": 500, "num_envs": 4, "seed": 3, "hyperparameters": SMALL[algo], **options}
    return train(ID, algo, out=out, **settings)


def weights(path):
    return load_agent(path, ID).model.policy.state_dict()


@pytest.mark.parametrize("algo", NUMBERED)
def test_a_trained_agent_loads_and_acts(algo, tmp_path):
    told = []
    model = small(algo, tmp_path / "run", progress=told.append)
    assert model == tmp_path / "run" / "model.zip"
    weights = next(model.parent.glob("policy-*.npz")).name
    names = ["config.yaml", "model.zip", weights, "policy.json", "tensorboard"]
    assert sorted(p.name for p in model.parent.iterdir()) == names
    assert any((model.parent / "tensorboard").iterdir())
    assert told[-1].steps >= 500
    assert told[-1].total == 500
    assert 0 < told[-1].completion < 1
    assert not math.isnan(told[-1].mean_return)
    agent = load_agent(tmp_path / "run", ID)
    assert agent.name == f"{algo} run"
    assert agent.uses_masks is (algo != "ppo")
    played = evaluate(ID, agent, range(4), latency=False)
    assert (played.table["illegal"] == 0).all() or algo == "ppo"
    again = evaluate(ID, load_agent(model, ID), range(4), latency=False, max_rows=3)
    np.testing.assert_array_equal(again.table["return"], played.table["return"])


def test_the_randomization_of_a_training_is_saved_with_the_agent_and_its_schedule_goes_on(tmp_path):
    spec = {
        "env": ID,
        "params": {"speed_kmh": {"dist": "uniform", "low": 10, "high": 60}},
        "schedule": {"kind": "linear", "steps": 1000},
    }
    plain = weights(small("maskable_ppo", tmp_path / "plain"))
    randomized = small("maskable_ppo", tmp_path / "randomized", randomization=spec)
    assert not all(torch.equal(plain[name], weight) for name, weight in weights(randomized).items())
    saved = yaml.safe_load((randomized.parent / "config.yaml").read_text())["randomization"]
    assert saved["hash"] == read(spec).hash == read(saved["spec"]).hash
    share = min(saved["schedule"]["steps"] / 1000, 1)
    assert 0 < share < 1
    env = randomize(gym.make(ID), saved["spec"]).unwrapped
    env.load_schedule_state(saved["schedule"])
    assert env.schedule_state() == saved["schedule"]
    np.testing.assert_allclose(saved["schedule"]["ranges"]["speed_kmh"], [30 - 20 * share, 30 + 30 * share])
    assert "randomization" not in yaml.safe_load((tmp_path / "plain" / "config.yaml").read_text())


def test_demonstrations_are_given_in_the_randomized_world():
    level = levels(ID)["full"]
    rows = World(ID, {}, {}, level).rows(8, AutoresetMode.SAME_STEP)
    rows.reset(seed=0)
    assert np.ptp(rows.params["speed_kmh"]) > 0
    assert World(ID, {}, {"speed_kmh": 20}, None).rows(2, AutoresetMode.SAME_STEP).params["speed_kmh"].tolist() == [
        20,
        20,
    ]


def test_the_same_call_gives_the_same_weights(tmp_path):
    first, second, other = (
        weights(small("maskable_ppo", tmp_path / name, seed=seed)) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_training_leaves_the_threads_of_torch_as_they_were(tmp_path):
    before = torch.get_num_threads()
    small("dqn", tmp_path / "run")
    assert torch.get_num_threads() == before


def test_the_configuration_says_what_the_model_depends_on(tmp_path):
    model = small("ppo", tmp_path / "run", params={"speed_kmh": 20.0})
    config = yaml.safe_load((model.parent / "config.yaml").read_text())
    assert (config["id"], config["algo"], config["steps"], config["seed"]) == (ID, "ppo", 500, 3)
    assert config["params"] == {"speed_kmh": 20.0}
    assert config["hyperparameters"]["n_steps"] == 50
    assert config["hyperparameters"]["num_envs"] == 4
    assert config["hyperparameters"]["gamma"] == hyperparameters(ID, "ppo")["gamma"]
    assert config["versions"]["rlops"] == rlops.__version__
    assert config["versions"]["torch"] == torch.__version__


def test_a_model_is_replaced_only_on_purpose(tmp_path):
    model = small("maskable_ppo", tmp_path / "run")
    before = model.read_bytes()
    with pytest.raises(InvalidValue, match="must not exist yet"):
        small("maskable_ppo", tmp_path / "run")
    assert model.read_bytes() == before
    small("maskable_ppo", tmp_path / "run", seed=9, overwrite=True)
    assert model.read_bytes() != before


def test_an_interrupted_training_leaves_no_model(tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small("maskable_ppo", tmp_path / "run", progress=stop)
    assert not list((tmp_path / "run").glob("*.zip"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_training_may_end_after_a_time(tmp_path):
    told = []
    small("maskable_ppo", tmp_path / "run", steps=10**9, max_seconds=0.5, progress=told.append)
    assert told[-1].steps < 10**6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hyperparameters": {"n_stepz": 5}}, UnknownName, "no hyperparameter named 'n_stepz'.*n_steps"),
        (
            {"hyperparameters": {"learning_rate": {"from": 1}}},
            InvalidValue,
            "must be a number or have start and end",
        ),
        ({"hyperparameters": {"reward_scale": 0}}, InvalidValue, "reward_scale must be above 0"),
        ({"steps": 0}, InvalidValue, "steps must be a whole number"),
        ({"params": {"speed": 5}}, UnknownName, "no parameter named 'speed'"),
        ({"demand": "trips.csv"}, UnknownName, "no option named 'demand'"),
        ({"num_envs": 0}, InvalidValue, "num_envs must be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        small("maskable_ppo", tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_unknown_algorithm_lists_those_that_exist(tmp_path):
    with pytest.raises(UnknownName, match=r"no algorithm named 'a2c'.*dqn, maskable_ppo, ppo"):
        train(ID, "a2c", steps=1, out=tmp_path)


def test_an_algorithm_must_fit_the_actions(tmp_path):
    with pytest.raises(InvalidValue, match=r"an action is one of a number: the algorithm must be .*, got sac"):
        train(ID, "sac", steps=1, out=tmp_path / "run", hyperparameters={"num_envs": 1})
    with pytest.raises(InvalidValue, match="an action is a vector: the algorithm must be ppo or sac, got dqn"):
        train(HALL, "dqn", steps=1, out=tmp_path / "run", hyperparameters={"num_envs": 1})
    assert not (tmp_path / "run").exists()


SHIPPED = [
    *((f"rlops/Dispatch-v{version}", algo) for version in range(3) for algo in NUMBERED),
    *((f"rlops/DatacenterCooling-v{version}", algo) for version in range(2) for algo in OF_VECTORS),
    *(
        (f"rlops/{robot}-v0", algo)
        for robot in ("CartBalance", "ArmReach", "ArmPush", "WarehouseNav", "WarehouseFleet")
        for algo in OF_VECTORS
    ),
    ("rlops/DispatchReposition-v2", "maskable_ppo"),
    ("rlops/DispatchStatic-v2", "maskable_ppo"),
]


@pytest.mark.parametrize(("id", "algo"), SHIPPED)
def test_hyperparameters_are_shipped_and_known_to_the_algorithm(id, algo):
    import inspect

    settings = hyperparameters(id, algo)
    kind = agents.algorithm_class(algo)
    known = inspect.signature((kind.__mro__[1] if algo == "dqn" else kind).__init__).parameters
    assert set(settings) - set(OWN_SETTINGS) <= set(known)
    if "standardise" in settings:
        standardised.checked(settings["standardise"], id)
    if "demonstrations" in settings:
        make_controller(imitation.checked(settings["demonstrations"])["controller"], id)
    numbers = {name: value for name, value in settings.items() if name != "policy"}
    assert not any(isinstance(value, str) for value in numbers.values())  # 3e-4 without a point is a text in YAML


def test_hyperparameters_may_come_from_a_file(tmp_path):
    file = tmp_path / "h.yaml"
    file.write_text("ppo: {gamma: 0.5}\ndqn: {gamma: 0.6}\n")
    assert read_hyperparameters(file, "dqn") == {"gamma": 0.6}
    file.write_text("gamma: 0.7\n")
    assert read_hyperparameters(file, "dqn") == {"gamma": 0.7}
    file.write_text("- 1\n")
    with pytest.raises(InvalidFile, match="must map names"):
        read_hyperparameters(file, "dqn")
    with pytest.raises(InvalidFile, match="readable YAML or JSON file"):
        read_hyperparameters(tmp_path / "absent.yaml", "dqn")


def test_an_id_without_hyperparameters_says_how_to_give_them(tmp_path):
    with pytest.raises(InvalidValue, match="Pass your own"):
        train("rlops/DispatchStatic-v2", "dqn", steps=1, out=tmp_path / "run")


def test_a_model_without_its_configuration_is_recognised(tmp_path):
    for algo in agents.ALGORITHMS:
        model = cooled(algo, tmp_path / algo) if algo == "sac" else small(algo, tmp_path / algo)
        model.with_name("config.yaml").unlink()
        assert load_agent(model, HALL if algo == "sac" else ID).algo == algo


def test_a_model_of_other_spaces_is_refused(tmp_path):
    model = small("ppo", tmp_path / "run")
    with pytest.raises(InvalidValue, match=r"got \(122,\) and 201\. Train it on rlops/DispatchStatic-v2"):
        load_agent(model, "rlops/DispatchStatic-v2")


def test_a_stochastic_agent_draws(tmp_path):
    model = small("maskable_ppo", tmp_path / "run")
    best, drawn = load_agent(model, ID), load_agent(model, ID, deterministic=False)
    obs, masks = np.zeros((50, 122), np.float32), np.ones((50, 201), bool)
    assert len(set(best.actions(None, obs, masks))) == 1
    assert len(set(drawn.actions(None, obs, masks))) > 10


@pytest.fixture
def controllers(monkeypatch):
    module = types.ModuleType("rlops.agents_baseline.controllers")
    module.CONTROLLERS = {"do_nothing": DoNothing}
    module.make_controller = lambda name, id: module.CONTROLLERS[name]()
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_a_controller_loads_by_name_even_beside_a_folder_of_that_name(controllers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "do_nothing").mkdir()
    assert isinstance(load_agent("do_nothing", ID), DoNothing)


def test_an_unknown_agent_lists_the_controllers(controllers):
    with pytest.raises(UnknownName, match=r"no agent named 'do_nothin'\. Did you mean do_nothing"):
        load_agent("do_nothin", ID)


def test_files_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(InvalidFile, match=r"must contain model\.zip"):
        load_agent(tmp_path, ID)
    (tmp_path / "model.zip").write_text("no zip")
    with pytest.raises(InvalidFile, match="must be a model that Stable-Baselines3 saved"):
        load_agent(tmp_path, ID)


# --- vectors --------------------------------------------------------------------------------------------

DAY = {"horizon_min": 240}
VECTORS = {
    "ppo": {"n_steps": 30, "batch_size": 60, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, "demonstrations": None},
    "sac": {"learning_starts": 50, "buffer_size": 1000, "policy_kwargs": {"net_arch": [8]}, "train_freq": 8},
}


def cooled(algo, out, changed=None, **options):
    settings = {**VECTORS[algo], "standardise": {"controller": "tuned_fixed", "steps": 60}, **(changed or {})}
    given = {"steps": 300, "num_envs": 4, "seed": 3, "params": DAY, "hyperparameters": settings, **options}
    return train(HALL, algo, out=out, **given)


@pytest.mark.parametrize("algo", OF_VECTORS)
def test_an_agent_of_vectors_loads_and_acts(algo, tmp_path):
    model = cooled(algo, tmp_path / "run")
    agent = load_agent(tmp_path / "run", HALL)
    assert not agent.uses_masks
    played = evaluate(HALL, agent, range(3), params=DAY, latency=False)
    again = evaluate(HALL, agent, range(3), params=DAY, latency=False, max_rows=2)
    np.testing.assert_array_equal(again.table["return"], played.table["return"])
    as_model = evaluate(HALL, load_agent(model, HALL), range(3), params=DAY, latency=False)
    np.testing.assert_allclose(as_model.table["return"], played.table["return"], rtol=1e-5)
    obs = np.zeros((5, 10), np.float32)
    actions = agent.actions(None, obs, np.ones((5, 0), bool))
    assert actions.shape == (5, 2)
    assert actions.dtype == np.float64
    with pytest.raises(InvalidValue, match=r"actions of shape \(10,\) for rlops/DatacenterCooling-v1"):
        load_agent(model, "rlops/DatacenterCooling-v1")


@pytest.mark.parametrize("algo", OF_VECTORS)
def test_what_a_caller_asks_for_stays_as_it_was(algo, tmp_path):
    settings = {**VECTORS[algo], "policy_kwargs": {"net_arch": [8]}}
    cooled(algo, tmp_path / "run", settings)
    assert settings["policy_kwargs"] == {"net_arch": [8]}


def test_what_standardises_observations_is_fixed_in_the_model(tmp_path):
    model = load_agent(cooled("ppo", tmp_path / "run"), HALL).model
    seen = model.policy.features_extractor
    hall = VectorEnv("DatacenterCooling", 0, 4, params=DAY, autoreset_mode="SameStep")
    obs, _ = hall.reset(seed=0)
    agent, table = load_agent("tuned_fixed", HALL), []
    for _ in range(60):
        obs = hall.step(agent.actions(hall, obs, hall.action_masks()))[0].copy()
        table.append(obs)
    table = np.concatenate(table).astype(float)
    np.testing.assert_allclose(seen.mean.numpy(), table.mean(axis=0), rtol=1e-5, atol=1e-5)
    spread = (seen.scale.numpy() - table.std(axis=0)) / np.ptp(np.stack(bounds(hall.kernel.OBSERVATION)), axis=0)
    assert (spread > -1e-6).all()
    assert (np.maximum(table.std(axis=0) / 60.0, 0.05) <= 0.05).any()  # a column that hardly moves has the least scale
    far = torch.full((1, 10), 1e9)
    assert seen(far).abs().max() == 10.0


def test_what_a_catastrophe_costs_a_learner_is_cut_off_and_the_return_is_not(tmp_path):
    class Constant(DummyVecEnv):
        def step_wait(self):
            obs, _, dones, infos = super().step_wait()
            return obs, np.array([-1e6, -2.0], np.float32)[: self.num_envs], dones, infos

    env = ScaledReward(Constant([lambda: gym.make("CartPole-v1")] * 2), 0.5, -50.0)
    env.reset()
    _, rewards, *_ = env.step(np.array([0, 0]))
    assert rewards.tolist() == [-25.0, -1.0]
    model = cooled("ppo", tmp_path / "run", {"least_reward": -1.0})
    assert yaml.safe_load((model.parent / "config.yaml").read_text())["hyperparameters"]["least_reward"] == -1.0


def test_the_configuration_names_the_users_weather_and_load(tmp_path):
    load = Load("load.csv", np.full(48, 0.5), 60.0)
    model = cooled("ppo", tmp_path / "run", traces={"load": load})
    assert yaml.safe_load((model.parent / "config.yaml").read_text())["traces"] == {"load": str(load)}


def test_wrong_standardisation_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match="standardise must be a mapping"):
        cooled("ppo", tmp_path / "run", {"standardise": "tuned_fixed"})
    with pytest.raises(UnknownName, match=r"no key named 'step'\. Did you mean steps\?"):
        cooled("ppo", tmp_path / "run", {"standardise": {"step": 5}})
    assert not (tmp_path / "run").exists()
