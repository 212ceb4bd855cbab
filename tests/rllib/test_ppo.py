"""RLlib's PPO trains on the environments as they are: one at a time, as a vector, and with several agents.

It runs where RLlib is installed, as ``make rllib`` does: RLlib pins an older Gymnasium than the lock.
"""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import version

import gymnasium as gym
import numpy as np
import pytest

import rlops

if importlib.util.find_spec("tree") is None:
    pytest.skip("RLlib has an environment of its own: make rllib", allow_module_level=True)

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::UserWarning:gymnasium.*",
)
ID = "rlops/CartBalance-v0"
ROWS, STEPS = 4, 32


@pytest.fixture(scope="module", autouse=True)
def connected():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        "local", num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False,
        configure_logging=False,
    )  # fmt: skip
    yield
    ray.shutdown()


def config(mode, runners=0, rows=ROWS, **params):
    """Return PPO on an id that says where it comes from, so that every runner imports it."""
    return (
        PPOConfig()
        .environment(f"rlops:{ID}", env_config={"params": params} if params else {})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=rows, gym_env_vectorize_mode=mode)
        .rl_module(model_config={"fcnet_hiddens": [64, 64], "vf_share_layers": False})
        .training(lr=1e-3, lambda_=0.95, train_batch_size_per_learner=4096, minibatch_size=512, num_epochs=10)
        .debugging(seed=0)
    )


@pytest.fixture
def built():
    """Return a function that builds an algorithm, and stop it afterwards."""
    algorithms = []

    def build(chosen):
        algorithms.append(chosen.build_algo())
        return algorithms[-1]

    yield build
    for algorithm in algorithms:
        algorithm.stop()


def sampled(algorithm):
    return algorithm.env_runner.sample(num_timesteps=ROWS * STEPS, random_actions=True)


def test_the_gymnasium_that_rllib_pins_makes_the_environments():
    assert version("gymnasium") == "1.2.2"
    env, envs = gym.make(ID), gym.make_vec(ID, num_envs=2)
    obs, _ = env.reset(seed=1)
    rows, _ = envs.reset(seed=0)
    np.testing.assert_array_equal(rows[1], obs)
    action = env.action_space.sample()
    np.testing.assert_array_equal(envs.step(np.stack([action, action]))[0][1], env.step(action)[0])


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_samples_have_the_shapes_of_the_spaces_and_the_rewards_of_the_environment(mode, built):
    episodes = sampled(built(config(mode)))
    assert sum(map(len, episodes)) >= ROWS * STEPS
    for episode in episodes:
        obs, actions, rewards = episode.get_observations(), episode.get_actions(), episode.get_rewards()
        n = len(episode)
        assert (obs.shape, obs.dtype) == ((n + 1, 5), np.float32)
        assert actions.shape == (n, 1)
        assert rewards.shape == (n,)
        terms = [sum(info["reward_terms"].values()) for info in episode.get_infos()[1:]]
        np.testing.assert_allclose(rewards, terms, rtol=1e-6)
        batch = episode.get_sample_batch()
        assert (batch["obs"].shape, batch["actions"].shape, batch["rewards"].shape) == ((n, 5), (n, 1), (n,))


def test_no_episode_of_the_vector_goes_on_after_its_end(built):
    episodes = sampled(built(config("vector_entry_point", horizon_steps=20)))
    ended = [episode for episode in episodes if episode.is_done]
    assert len(ended) >= ROWS
    assert max(map(len, ended)) <= 20
    assert any(episode.is_truncated for episode in ended)


@pytest.mark.slow
@pytest.mark.parametrize("runners", [0, 1])
def test_the_mean_return_improves(runners, built):
    algorithm = built(config("vector_entry_point", runners, rows=16))
    returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(6)]
    assert returns[0] < 0
    assert returns[-1] > returns[0] + 40


@pytest.mark.parametrize(
    ("id", "shared"),
    [("rlops/Dispatch-v2", True), ("rlops/WarehouseFleet-v0", True), ("rlops/DatacenterCooling-v1", False)],
)
def test_agents_learn_together_from_the_parallel_face(id, shared, built):
    agents = rlops.envs.parallel_env(id).possible_agents
    register_env(id, lambda settings: ParallelPettingZooEnv(rlops.envs.parallel_env(id, **settings)))
    chosen = (
        PPOConfig()
        .environment(id)
        .multi_agent(
            policies={"shared"} if shared else set(agents),
            policy_mapping_fn=lambda agent, *_, **__: "shared" if shared else agent,
        )
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=64, minibatch_size=64, num_epochs=1)
    )
    result = built(chosen).train()
    counts = result["env_runners"]["num_module_steps_sampled"]
    steps = result["env_runners"]["num_env_steps_sampled"]
    assert counts == ({"shared": steps * len(agents)} if shared else dict.fromkeys(agents, steps))
    assert np.isfinite(result["learners"]["shared" if shared else agents[0]]["total_loss"])


def test_the_samples_of_agents_have_the_shapes_of_their_spaces(built):
    id = "rlops/DatacenterCooling-v1"
    face = rlops.envs.parallel_env(id)
    register_env(id, lambda settings: ParallelPettingZooEnv(rlops.envs.parallel_env(id, **settings)))
    agents = face.possible_agents
    chosen = (
        PPOConfig()
        .environment(id)
        .multi_agent(policies=set(agents), policy_mapping_fn=lambda agent, *_, **__: agent)
        .env_runners(num_env_runners=0)
    )
    episode, *_ = built(chosen).env_runner.sample(num_timesteps=STEPS, random_actions=True)
    for agent in agents:
        single = episode.agent_episodes[agent]
        n = len(single)
        assert n >= STEPS // len(agents)
        assert single.get_observations().shape == (n + 1, *face.observation_space(agent).shape)
        assert single.get_actions().shape == (n, *face.action_space(agent).shape)
