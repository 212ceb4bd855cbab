"""The PettingZoo face."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

import rlops
from rlops.errors import EpisodeEnded, InvalidAction
from tests.envs.conftest import AGENT_IDS
from tests.envs.rollouts import chosen

SPLIT = {"rlops/DatacenterCooling-v1": {"reward_mode": "local", "horizon_min": 300}}
"""Parameters with which the agents' rewards are parts of the whole, and episodes short, where nominally not."""


def discrete(space):
    return isinstance(space, gym.spaces.Discrete)


def idle_actions(env):
    """Return an action for every agent that ends no episode early: to pass, or to cool."""
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    return {a: int(s.n) - 1 if discrete(s) else np.minimum(s.high, 0.5) for a, s in spaces.items()}


@pytest.fixture(params=AGENT_IDS)
def agents_id(request):
    return request.param


def test_pettingzoos_own_tests_pass(agents_id):
    parallel_api_test(rlops.envs.parallel_env(agents_id), num_cycles=200)
    parallel_seed_test(lambda: rlops.envs.parallel_env(agents_id))


def test_whole_episodes_keep_the_contract(agents_id):
    env, twin = (rlops.envs.parallel_env(agents_id, params=SPLIT.get(agents_id)) for _ in range(2))
    for seed in (0, 1):
        obs, infos = env.reset(seed=seed)
        twin_obs, _ = twin.reset(seed=seed)
        everyone = list(env.possible_agents)
        for step in range(2000):
            assert env.agents == everyone
            actions = {}
            for number, agent in enumerate(everyone):
                space = env.observation_space(agent)
                assert space is env.observation_space(agent)
                assert env.action_space(agent) is env.action_space(agent)
                assert space.contains(obs[agent])
                assert obs[agent].dtype == np.float32
                np.testing.assert_array_equal(obs[agent], twin_obs[agent])
                if discrete(env.action_space(agent)):
                    mask = infos[agent]["action_mask"]
                    assert mask.dtype == np.int8
                    assert mask.shape == (env.action_space(agent).n,)
                    assert mask[-1] == 1, f"agent {number} must always be allowed to pass"
                legal = infos[agent].get("action_mask", env.action_space(agent))
                actions[agent] = chosen(legal, seed * 100 + number, step)
            obs, rewards, terminated, truncated, infos = env.step(actions)
            twin_obs, twin_rewards, *_ = twin.step(actions)
            assert rewards == twin_rewards
            assert all(type(v) is float and np.isfinite(v) for v in rewards.values())
            assert len(set(terminated.values())) == len(set(truncated.values())) == 1
            assert obs.keys() == rewards.keys() == terminated.keys() == infos.keys() == set(everyone)
            total = sum(infos[everyone[0]]["reward_terms"].values())
            assert sum(rewards.values()) == pytest.approx(total, rel=1e-9, abs=1e-9)
            if any(terminated.values()) or any(truncated.values()):
                break
        else:
            pytest.fail(f"episode {seed} must end within 2,000 steps")
        assert env.agents == []
        assert "kpis" in infos[everyone[0]]


def test_missing_and_illegal_actions_are_named_and_move_nothing(agents_id):
    env = rlops.envs.parallel_env(agents_id)
    env.reset(seed=0)
    before = env.save_state()
    idle = idle_actions(env)
    name = env.possible_agents[3]
    space = env.action_space(name)
    hint = f" Give it its last action, {space.n - 1}, to pass." if discrete(space) else ""
    with pytest.raises(InvalidAction) as caught:
        env.step({a: v for a, v in idle.items() if a != name})
    assert str(caught.value) == (f"{agents_id}: every agent must have an action, but {name} has none at step 0.{hint}")
    for action, said in wrong_actions(space):
        with pytest.raises(InvalidAction) as caught:
            env.step(idle | {name: action})
        assert str(caught.value) == f"{agents_id}: {said.format(name=name)}"
    assert env.save_state().tobytes() == before.tobytes()


def wrong_actions(space):
    """Return actions outside ``space``, and what must be said of each."""
    if discrete(space):
        said = f"the action of {{name}} must be an integer within 0 … {space.n - 1}, got {{action!r}} at step 0."
        return [(one, said.replace("{action!r}", repr(one))) for one in (-1, space.n, 0.5, float("nan"), None)]
    within = "component {k} of the action of {{name}} must be within [-1, 1], got {got} at step 0."
    return [
        ([0.0, 1.5], within.format(k=1, got=1.5)),
        (np.array([np.nan, 0.0]), within.format(k=0, got="nan")),
        ([0.0], "the action of {name} must have shape (2,), got (1,)."),
        (["full", "shut"], "the action of {name} must be numbers, got dtype <U4."),
    ]


def test_an_episode_must_run_to_be_stepped(agents_id):
    env = rlops.envs.parallel_env(agents_id)
    idle = idle_actions(env)
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
    idle = idle_actions(env)
    for _ in range(100):
        env.step(idle)
    twin = pickle.loads(pickle.dumps(env))
    obs, twin_obs = env.step(idle)[0], twin.step(idle)[0]
    for agent in env.possible_agents:
        np.testing.assert_array_equal(obs[agent], twin_obs[agent])
    assert env.save_state().tobytes() == twin.save_state().tobytes()
