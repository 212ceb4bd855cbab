"""One policy serves all agents of an environment: each gets what it alone would have got."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from gymnasium.vector import AutoresetMode

from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.policies import POLICY_FILE, Policy, PolicyAgent
from rlops.agents_baseline.sharing import part_of_each
from rlops.agents_baseline.train import train
from rlops.agents_baseline.worlds import World
from rlops.envs import parallel_env, parse_id
from rlops.envs.contract import width
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidFile, InvalidValue
from rlops.randomization import spec_of

FLEET = "rlops/WarehouseFleet-v0"
SHORT = {"steps": None, "n_steps": 16, "batch_size": 64, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
SHORT["standardise"] = {"controller": "random", "steps": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("fleet") / "run"
    train(FLEET, "ppo", steps=256, out=out, num_envs=2, hyperparameters=SHORT)
    return out


@pytest.fixture
def by_chance():
    """Return a shared policy with weights by chance, and its network's arrays."""
    part, rng = part_of_each(FLEET), np.random.default_rng(0)
    columns, outputs = width(part.columns), width(part.action)
    arrays = {
        "actor.0.weight": rng.normal(0, 0.3, (outputs, columns)),
        "actor.0.bias": np.zeros(outputs),
        "log_std": np.full(outputs, -1.0),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Policy(FLEET, "ppo", "gaussian", "layers", "tanh", False, arrays, shared=True)


def test_the_parts_of_four_robots_make_up_what_the_fleet_sees_and_does():
    part, envs = part_of_each(FLEET), VectorEnv(*parse_id(FLEET), 3)
    assert part.agents == 4
    assert envs.single_observation_space.shape == (4 * width(part.columns),)
    assert envs.single_action_space.shape == (4 * width(part.action),) == (8,)


@pytest.mark.parametrize("id", ["rlops/Dispatch-v2", "rlops/DatacenterCooling-v1", "rlops/CartBalance-v0"])
def test_agents_that_are_not_alike_or_not_there_or_choose_numbers_share_no_policy(id):
    with pytest.raises(InvalidValue, match=rf"A shared policy needs agents that are alike.*{id}.*without shared"):
        part_of_each(id)
    with pytest.raises(InvalidValue, match="A shared policy needs agents that are alike"):
        train(id, "ppo", steps=1, out="unused", hyperparameters={"shared": True})


def test_every_agent_gets_from_a_shared_policy_what_it_would_get_alone(by_chance):
    env = parallel_env(FLEET)
    seen, _ = env.reset(seed=3)
    envs = VectorEnv(*parse_id(FLEET), 2)
    obs, _ = envs.reset(seed=3)
    chosen = by_chance.actions(obs)
    assert chosen.shape == (2, 8)
    weight, bias = by_chance.arrays["actor.0.weight"], by_chance.arrays["actor.0.bias"]
    for number, agent in enumerate(env.agents):
        alone = np.clip(weight @ seen[agent] + bias, -1, 1)
        np.testing.assert_allclose(chosen[0, 2 * number : 2 * number + 2], alone, atol=1e-5)
    assert not np.array_equal(chosen[0], chosen[1])
    assert by_chance.actions(obs[:0]).shape == (0, 8)


def test_agents_of_a_shared_policy_draw_for_themselves(by_chance):
    envs = VectorEnv(*parse_id(FLEET), 6)
    obs, _ = envs.reset(seed=3)
    agent = PolicyAgent(by_chance, deterministic=False)
    off = agent.actions(envs, obs, envs.action_masks()) - by_chance.scores(obs)
    inside = off[np.abs(off + by_chance.scores(obs)) < 1.0]
    assert len(np.unique(inside)) == len(inside) > 4


def test_a_shared_policy_plays_the_same_from_its_arrays_and_from_its_model(run):
    played = [evaluate(FLEET, load_agent(path, FLEET), range(2), latency=False) for path in (run, run / "model.zip")]
    first, second = (one.table for one in played)
    assert (first["picks"] == second["picks"]).all()
    np.testing.assert_allclose(first["return"], second["return"], rtol=1e-3)


def test_a_shared_policy_says_so_in_its_file_and_is_held_to_it(run, tmp_path):
    Policy.read(run).write(tmp_path)
    about = json.loads((tmp_path / POLICY_FILE).read_text())
    assert about["shared"] is True
    for told, reason in ((False, "the arrays must be"), ("yes", "'shared' must be a bool")):
        (tmp_path / POLICY_FILE).write_text(json.dumps(about | {"shared": told}))
        with pytest.raises(InvalidFile, match=reason):
            Policy.read(tmp_path)


def test_older_files_that_do_not_say_it_are_not_shared(tmp_path, by_chance):
    own = {"actor.0.weight": np.zeros((1, 5), np.float32), "actor.0.bias": np.zeros(1, np.float32)}
    own["log_std"] = np.zeros(1, np.float32)
    Policy("rlops/CartBalance-v0", "ppo", "gaussian", "layers", "tanh", False, own).write(tmp_path)
    about = json.loads((tmp_path / POLICY_FILE).read_text())
    del about["shared"]
    (tmp_path / POLICY_FILE).write_text(json.dumps(about))
    assert Policy.read(tmp_path).shared is False


def test_training_writes_down_that_it_is_shared_and_standardises_by_what_one_agent_sees(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["hyperparameters"]["shared"] is True
    policy = Policy.read(run)
    columns = width(part_of_each(FLEET).columns)
    assert policy.arrays["mean"].shape == (columns,)
    envs = VectorEnv(*parse_id(FLEET), 2, autoreset_mode=AutoresetMode.SAME_STEP)
    obs, _ = envs.reset(seed=0)
    agent, seen = load_agent("random", FLEET), []
    for _ in range(8):
        obs = envs.step(agent.actions(envs, obs, envs.action_masks()))[0]
        seen.append(obs.reshape(-1, columns).copy())
    np.testing.assert_allclose(policy.arrays["mean"], np.concatenate(seen).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"demonstrations": {"controller": "give_way"}}, "demonstrations must be left out of a shared policy"),
        ({"standardise": {"directions": ["x"]}}, "has no vector"),
        ({"shared": "yes"}, "shared must be true or false, got 'yes'"),
    ],
)
def test_what_a_shared_policy_cannot_do_is_refused(settings, named):
    with pytest.raises((InvalidValue, KeyError, ValueError), match=named):
        train(FLEET, "ppo", steps=1, out="unused", hyperparameters=settings)


def test_a_shared_policy_may_do_without_standardising(tmp_path):
    train(FLEET, "ppo", steps=64, out=tmp_path, num_envs=1, hyperparameters=SHORT | {"standardise": None})
    assert set(Policy.read(tmp_path).arrays) == {
        "actor.0.weight",
        "actor.0.bias",
        "actor.1.weight",
        "actor.1.bias",
        "log_std",
    }


def test_agents_as_rows_draw_other_worlds_in_every_copy_and_follow_no_schedule():
    world = World(FLEET, randomization=spec_of(FLEET, "full"))
    rows = world.agents_as_rows(3, AutoresetMode.SAME_STEP)
    rows.reset(seed=0)
    drawn = {float(copy.params["base_mass_kg"][0]) for copy in rows.copies}
    assert len(drawn) == 3
    scheduled = SimpleNamespace(schedule=SimpleNamespace(kind="adr"))
    for refused in (World(FLEET, randomization=scheduled), World(FLEET, image="fleet:0.0.1")):
        with pytest.raises(InvalidValue, match="Agents are rows in this process, and draw without a schedule"):
            refused.agents_as_rows(2, AutoresetMode.SAME_STEP)
