"""The PettingZoo face."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

import rlops
from rlops.errors import EpisodeEnded, InvalidAction
from tests.envs.conftest import AGENT_IDS
from tests.envs.rollouts import chosen


@pytest.fixture(params=AGENT_IDS)
def agents_id(request):
    return request.param


def test_pettingzoos_own_tests_pass(agents_id):
    parallel_api_test(rlops.envs.parallel_env(agents_id), num_cycles=200)
    parallel_seed_test(lambda: rlops.envs.parallel_env(agents_id))


def test_whole_episodes_keep_the_contract(agents_id):
    env, twin = rlops.envs.parallel_env(agents_id), rlops.envs.parallel_env(agents_id)
    for seed in (0, 1):
        obs, infos = env.reset(seed=seed)
        twin_obs, _ = twin.reset(seed=seed)
        everyone = list(env.possible_agents)
        for step in range(2000):
            assert env.agents == everyone
            for number, agent in enumerate(everyone):
                space = env.observation_space(agent)
                assert space is env.observation_space(agent)
                assert env.action_space(agent) is env.action_space(agent)
                assert space.contains(obs[agent])
                assert obs[agent].dtype == np.float32
                np.testing.assert_array_equal(obs[agent], twin_obs[agent])
                mask = infos[agent]["action_mask"]
                assert mask.dtype == np.int8
                assert mask.shape == (env.action_space(agent).n,)
                assert mask[-1] == 1, f"agent {number} must always be allowed to pass"
            actions = {a: chosen(infos[a]["action_mask"], seed * 100 + n, step) for n, a in enumerate(everyone)}
            obs, rewards, terminated, truncated, infos = env.step(actions)
            twin_obs, twin_rewards, *_ = twin.step(actions)
            assert rewards == twin_rewards
            assert all(type(v) is float and np.isfinite(v) for v in rewards.values())
            assert len(set(terminated.values())) == len(set(truncated.values())) == 1
            assert obs.keys() == rewards.keys() == terminated.keys() == infos.keys() == set(everyone)
            total = sum(infos[everyone[0]]["reward_terms"].values())
            assert sum(rewards.values()) == pytest.approx(total, abs=1e-9)
            if any(terminated.values()) or any(truncated.values()):
                break
        assert env.agents == []
        assert "kpis" in infos[everyone[0]]


def test_missing_and_illegal_actions_are_named_and_move_nothing(agents_id):
    env = rlops.envs.parallel_env(agents_id)
    env.reset(seed=0)
    before = env.save_state()
    idle = {agent: env.kernel.AGENT_ACTION - 1 for agent in env.possible_agents}
    name = env.possible_agents[3]
    with pytest.raises(InvalidAction) as caught:
        env.step({a: v for a, v in idle.items() if a != name})
    assert str(caught.value) == (
        f"{agents_id}: every agent must have an action, but {name} has none at step 0. Give it its last action, "
        f"{env.kernel.AGENT_ACTION - 1}, to pass."
    )
    for action in (-1, env.kernel.AGENT_ACTION, 0.5, float("nan"), None):
        with pytest.raises(InvalidAction) as caught:
            env.step(idle | {name: action})
        assert str(caught.value) == (
            f"{agents_id}: the action of {name} must be an integer within 0 … {env.kernel.AGENT_ACTION - 1}, "
            f"got {action!r} at step 0."
        )
    assert env.save_state().tobytes() == before.tobytes()


def test_an_episode_must_run_to_be_stepped(agents_id):
    env = rlops.envs.parallel_env(agents_id)
    idle = {agent: env.kernel.AGENT_ACTION - 1 for agent in env.possible_agents}
    with pytest.raises(EpisodeEnded, match="reset must be called before step"):
        env.step(idle)
    env.reset(seed=0)
    while env.agents:
        env.step(idle)
    with pytest.raises(EpisodeEnded, match=r"it has ended\. Call reset"):
        env.step(idle)


def test_it_pickles_in_the_middle_of_an_episode(agents_id):
    env = rlops.envs.parallel_env(agents_id)
    env.reset(seed=4)
    idle = {agent: env.kernel.AGENT_ACTION - 1 for agent in env.possible_agents}
    for _ in range(100):
        env.step(idle)
    twin = pickle.loads(pickle.dumps(env))
    obs, twin_obs = env.step(idle)[0], twin.step(idle)[0]
    for agent in env.possible_agents:
        np.testing.assert_array_equal(obs[agent], twin_obs[agent])
    assert env.save_state().tobytes() == twin.save_state().tobytes()
