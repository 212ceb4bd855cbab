"""Goals apart: what is relabelled earns what the environment would have paid, and nothing else tells it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import rlops  # noqa: F401
from rlops.errors import InvalidValue
from rlops.wrappers import goals

IDS = ["rlops/ArmReach-v0", "rlops/ArmPush-v0"]
MODES = ["dense", "sparse"]
SINGLE_PRECISION = 2e-5
"""Of a reward whose distances are taken from observations: these are single floats."""


def _vector(id, mode="dense", rows=3, **params):
    params = {"reward_mode": mode, **params}
    return goals(gym.make_vec(id, num_envs=rows, params=params, autoreset_mode="SameStep"))


def _swung(envs, steps):
    """Yield what ``steps`` random actions give."""
    draws = np.random.default_rng(3)
    for _ in range(steps):
        yield envs.step(draws.uniform(-1, 1, envs.action_space.shape).astype(np.float32))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", IDS)
def test_rewards_are_the_goal_term_of_every_row_also_where_an_episode_ends(id, mode):
    envs = _vector(id, mode, horizon_steps=12, tolerance_m=0.2 if id == "rlops/ArmReach-v0" else 0.13, rows=8)
    envs.reset(seed=0)
    ended, earned = 0, set()
    for _, rewards, _, truncated, infos in _swung(envs, 60):
        last = infos["final_info"] if truncated.any() else infos  # the rows end together
        np.testing.assert_allclose(rewards, last["reward_terms"]["goal"], rtol=0, atol=SINGLE_PRECISION)
        ended += truncated.sum()
        earned |= set(rewards.round(3))
    assert ended == 40
    assert len(earned) > (1 if mode == "sparse" else 20)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", IDS)
def test_a_batch_of_goals_earns_what_its_members_earn_whatever_its_shape(id, mode):
    env = goals(gym.make(id, params={"reward_mode": mode}))
    obs, _ = env.reset(seed=1)
    draws = np.random.default_rng(0)
    achieved = obs["achieved_goal"] + draws.uniform(-0.04, 0.04, (4, 5, len(obs["achieved_goal"])))
    desired = np.broadcast_to(obs["achieved_goal"], achieved.shape)
    many = env.compute_reward(achieved, desired, {})
    assert many.shape == (4, 5)
    assert len(np.unique(many)) > 1
    for i, j in np.ndindex(4, 5):
        assert env.compute_reward(achieved[i, j], desired[i, j], {}) == many[i, j]


@pytest.mark.parametrize("id", IDS)
def test_what_is_observed_beside_the_goal_does_not_depend_on_it(id):
    shown = []
    for moved in (0.0, 0.07):
        envs = _vector(id)
        envs.reset(seed=4)
        envs.unwrapped.state["goal"] += moved
        shown.append([obs for obs, *_ in _swung(envs, 10)])
    for one, other in zip(*shown, strict=True):
        np.testing.assert_array_equal(one["observation"], other["observation"])
        np.testing.assert_array_equal(one["achieved_goal"], other["achieved_goal"])
        assert (np.abs(other["desired_goal"] - one["desired_goal"] - 0.07) < 1e-6).all()


@pytest.mark.parametrize("id", IDS)
def test_row_i_is_the_single_environment_with_seed_s_plus_i(id):
    envs = _vector(id, horizon_steps=10)
    singles = [goals(gym.make(id, params={"horizon_steps": 10})) for _ in range(3)]
    rows, _ = envs.reset(seed=7)
    for i, env in enumerate(singles):
        obs, _ = env.reset(seed=7 + i)
        assert envs.single_observation_space.contains(obs)
        for part in obs:
            np.testing.assert_array_equal(obs[part], rows[part][i])
    for step in range(10):
        actions = np.full(envs.action_space.shape, np.float32(np.sin(step)))
        _, rewards, _, truncated, infos = envs.step(actions)
        for i, env in enumerate(singles):
            obs, reward, *_ = env.step(actions[i])
            assert reward == rewards[i]
            if truncated[i]:
                for part in obs:
                    np.testing.assert_array_equal(obs[part], infos["final_obs"][i][part])
    assert truncated.all()


def test_hindsight_replay_turns_failures_into_successes():
    from stable_baselines3 import SAC
    from stable_baselines3.her import HerReplayBuffer

    env = goals(gym.make("rlops/ArmReach-v0", params={"reward_mode": "sparse", "horizon_steps": 25}))
    model = SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        policy_kwargs={"net_arch": [16]},
        learning_starts=80,
        batch_size=64,
        seed=0,
        device="cpu",
    )
    model.learn(100)
    seen = model.replay_buffer.sample(400)
    assert model.replay_buffer.rewards[:75].max() == -1.0
    np.testing.assert_array_equal(
        seen.rewards.numpy()[:, 0],
        env.compute_reward(
            seen.next_observations["achieved_goal"].numpy(), seen.next_observations["desired_goal"].numpy(), {}
        ),
    )
    assert 0.1 < (seen.rewards == 0.0).float().mean() < 0.9


def test_an_environment_without_a_goal_is_refused_with_some_that_have_one():
    with pytest.raises(InvalidValue, match=r"goals needs an environment with a goal.*ArmReach"):
        goals(gym.make("rlops/CartBalance-v0"))
