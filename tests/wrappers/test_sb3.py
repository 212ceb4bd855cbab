"""Training through the adapter is training through SB3's own vector environment, only faster."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import rlops  # noqa: F401
from rlops.errors import InvalidValue
from rlops.randomization import randomize
from rlops.wrappers import privileged, to_sb3
from rlops.wrappers.sb3 import ScaledReward

pytestmark = pytest.mark.usefixtures("one_torch_thread")

ID = "rlops/Dispatch-v0"
ROWS = 3
EPISODE = 96


def adapted(rows=ROWS, **options):
    return to_sb3(gym.make_vec(ID, num_envs=rows, autoreset_mode=AutoresetMode.SAME_STEP, **options))


def dummy(rows=ROWS, **options):
    return DummyVecEnv([lambda: gym.make(ID, **options)] * rows)


def with_parameters(env):
    """Return ``env`` with observations that are dicts, which differ between episodes and within them."""
    spec = {"env": ID, "params": {"speed_kmh": {"dist": "uniform", "low": 20, "high": 40},
            "near_km": {"dist": "uniform", "low": 1, "high": 9, "per": "step"}}}  # fmt: skip
    return privileged(randomize(env, spec), spec["params"])


def adapted_dicts(rows=ROWS):
    return to_sb3(with_parameters(gym.make_vec(ID, num_envs=rows, autoreset_mode=AutoresetMode.SAME_STEP)))


def dummy_dicts(rows=ROWS):
    return DummyVecEnv([lambda: with_parameters(gym.make(ID))] * rows)


def random_legal(env, generator):
    return np.array([generator.choice(np.flatnonzero(mask)) for mask in get_action_masks(env)])


def adapted_in_place():
    return adapted(copy=False)


@pytest.mark.parametrize(
    ("policy", "make"),
    [
        ("MlpPolicy", (adapted, dummy)),
        ("MlpPolicy", (adapted_in_place, dummy)),
        ("MultiInputPolicy", (adapted_dicts, dummy_dicts)),
    ],
)
@pytest.mark.parametrize(
    ("algorithm", "settings", "steps"),
    [
        (PPO, {"n_steps": 50, "batch_size": 50, "n_epochs": 2}, 300),
        (MaskablePPO, {"n_steps": 50, "batch_size": 50, "n_epochs": 2}, 300),
        (DQN, {"learning_starts": 30, "train_freq": 4, "buffer_size": 3000}, 360),
    ],
)
def test_training_gives_the_weights_of_the_dummy_vec_env(algorithm, settings, steps, policy, make):
    models = [
        algorithm(policy, made(), seed=5, device="cpu", policy_kwargs={"net_arch": [16]}, **settings).learn(steps)
        for made in make
    ]
    ours, theirs = (model.policy.state_dict() for model in models)
    assert models[0].num_timesteps > ROWS * EPISODE  # at least one autoreset
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_gymnasiums_own_vector_environments_adapt_too():
    ours = to_sb3(
        gym.make_vec(
            "CartPole-v1",
            num_envs=2,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )
    )
    theirs = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2)
    weights = [
        PPO("MlpPolicy", env, seed=1, device="cpu", n_steps=64, batch_size=64, n_epochs=1)
        .learn(128)
        .policy.state_dict()
        for env in (ours, theirs)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_steps_equal_those_of_the_dummy_vec_env():
    ours, theirs = adapted(), dummy()
    ours.seed(9), theirs.seed(9)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    generator = np.random.default_rng(0)
    for step in range(2 * EPISODE + 3):
        actions = random_legal(ours, generator)
        obs, rewards, dones, infos = ours.step(actions)
        their_obs, their_rewards, their_dones, their_infos = theirs.step(actions)
        np.testing.assert_array_equal(obs, their_obs)
        np.testing.assert_array_equal(rewards, their_rewards)
        np.testing.assert_array_equal(dones, their_dones)
        assert (obs.dtype, rewards.dtype, dones.dtype) == (
            their_obs.dtype,
            their_rewards.dtype,
            their_dones.dtype,
        )
        np.testing.assert_array_equal(get_action_masks(ours), get_action_masks(theirs))
        for info, their_info, done in zip(infos, their_infos, dones, strict=True):
            assert info.get("TimeLimit.truncated", False) == their_info["TimeLimit.truncated"]
            assert bool(info) == done
            if done:
                np.testing.assert_array_equal(info["terminal_observation"], their_info["terminal_observation"])
                assert info["kpis"] == their_info["kpis"]
                assert info["reward_terms"] == their_info["reward_terms"]
        if step == 2 * EPISODE:
            np.testing.assert_array_equal(ours.reset_infos[1]["action_mask"], theirs.reset_infos[1]["action_mask"])


def test_observations_that_are_dicts_equal_those_of_the_dummy_vec_env():
    ours, theirs = adapted_dicts(), dummy_dicts()
    ours.seed(9), theirs.seed(9)
    np.testing.assert_equal(ours.reset(), theirs.reset())
    for _ in range(EPISODE + 3):
        obs, _, dones, infos = ours.step(np.zeros(ROWS, np.int64))
        their_obs, _, _, their_infos = theirs.step(np.zeros(ROWS, np.int64))
        assert {key: part.dtype for key, part in obs.items()} == {key: part.dtype for key, part in their_obs.items()}
        np.testing.assert_equal(obs, dict(their_obs))
        for row in np.flatnonzero(dones):
            np.testing.assert_equal(infos[row]["terminal_observation"], their_infos[row]["terminal_observation"])
            assert (infos[row]["terminal_observation"]["privileged"] != obs["privileged"][row]).all()


def test_an_ended_row_reports_the_statistics_of_a_monitor():
    ours, theirs = adapted(), DummyVecEnv([lambda: Monitor(gym.make(ID))] * ROWS)
    ours.seed(2), theirs.seed(2)
    ours.reset(), theirs.reset()
    generator = np.random.default_rng(1)
    for _ in range(EPISODE):
        actions = random_legal(ours, generator)
        infos, their_infos = ours.step(actions)[3], theirs.step(actions)[3]
    for info, their_info in zip(infos, their_infos, strict=True):
        assert info["episode"]["r"] == pytest.approx(their_info["episode"]["r"], abs=1e-6)
        assert info["episode"]["l"] == their_info["episode"]["l"] == EPISODE
        assert info["episode"]["t"] > 0
    assert not ours._returns.any()


class Cut(gym.Env):
    """Ends at step 3: terminated and truncated at once in odd episodes, truncated in even ones."""

    observation_space = gym.spaces.Box(0, 9, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.episode = 0, self.episode + 1
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        ended = self.steps == 3
        return np.full(1, self.steps, np.float32), 1.0, ended and self.episode % 2 == 1, ended, {}


def test_an_episode_is_cut_only_if_it_did_not_also_terminate():
    env = to_sb3(gym.vector.SyncVectorEnv([Cut] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    env.reset()
    cut = []
    for _ in range(6):
        obs, _, dones, infos = env.step(np.zeros(2, np.int64))
        if dones.any():
            cut.append(infos[0]["TimeLimit.truncated"])
            assert infos[0]["terminal_observation"] == 3
            assert obs[0] == 0
    assert cut == [False, True]


def test_masks_come_as_rows():
    env = adapted()
    env.reset()
    assert is_masking_supported(env)
    assert get_action_masks(env).shape == (ROWS, env.action_space.n)
    assert get_action_masks(env).dtype == np.bool_
    (last,) = env.env_method("action_masks", indices=[ROWS - 1])
    np.testing.assert_array_equal(last, get_action_masks(env)[-1])


def test_an_environment_without_masks_says_so():
    envs = gym.vector.SyncVectorEnv([Cut] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert not is_masking_supported(to_sb3(envs))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_another_autoreset_mode_is_refused_with_the_way_out(mode):
    with pytest.raises(InvalidValue, match=rf"SAME_STEP autoreset, got {mode.name}.*autoreset_mode="):
        to_sb3(gym.make_vec(ID, num_envs=2, autoreset_mode=mode))


def test_attributes_and_methods_reach_the_rows():
    env = adapted()
    env.reset()
    assert env.get_attr("version") == [0] * ROWS
    assert [int(row["now_min"]) for row in env.get_attr("state", indices=[0, 2])] == [0, 0]
    assert env.env_method("set_params", {"speed_kmh": 20.0}) == [None] * ROWS
    env.reset()
    assert env.envs.unwrapped.params["speed_kmh"].tolist() == [20.0] * ROWS
    with pytest.raises(InvalidValue, match="must be for all 3 rows"):
        env.env_method("set_params", {"speed_kmh": 20.0}, indices=[0])
    with pytest.raises(InvalidValue, match="must be for all 3 rows"):
        env.set_attr("copy", False, indices=1)
    env.set_attr("copy", False)
    assert env.envs.unwrapped.copy is False
    assert env.env_is_wrapped(Monitor) == [True] * ROWS
    assert env.env_is_wrapped(gym.Wrapper) == [False] * ROWS


def test_options_reach_the_next_reset_once():
    env = adapted()
    env.set_options({"params": {"speed_kmh": 20.0}})
    env.reset()
    assert env.envs.unwrapped.params["speed_kmh"].tolist() == [20.0] * ROWS
    env.reset()
    assert env.envs.unwrapped.params["speed_kmh"].tolist() == [30.0] * ROWS
    env.set_options([{"params": {"speed_kmh": 20.0}}, {}, {}])
    with pytest.raises(InvalidValue, match="the same options for all rows"):
        env.reset()


def test_gymnasium_and_sb3_wrappers_go_around():
    scaled = gym.wrappers.vector.TransformReward(
        gym.make_vec(ID, num_envs=2, autoreset_mode=AutoresetMode.SAME_STEP), lambda reward: reward / 100
    )
    env = VecFrameStack(VecNormalize(to_sb3(scaled)), 2)
    env.seed(0)
    assert env.reset().shape == (2, 244)
    for _ in range(EPISODE):
        _, _, dones, infos = env.step(np.zeros(2, np.int64))
    assert dones.all()
    assert infos[0]["terminal_observation"].shape == (244,)


def test_sb3_evaluates_through_the_adapter_without_a_warning():
    env = adapted()
    model = PPO("MlpPolicy", env, seed=0, device="cpu", n_steps=8, batch_size=24)
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
    assert len(returns) == 4
    assert set(lengths) == {EPISODE}


def test_scaled_rewards_leave_reported_returns_in_their_unit():
    plain, scaled = adapted(1), ScaledReward(adapted(1), 0.01)
    plain.seed(4), scaled.seed(4)
    plain.reset(), scaled.reset()
    for _ in range(EPISODE):
        (_, reward, _, infos), (_, small, _, small_infos) = (env.step(np.array([0])) for env in (plain, scaled))
        np.testing.assert_allclose(small, reward * 0.01, rtol=1e-6)
        assert small.dtype == np.float32
    assert infos[0]["episode"]["r"] == small_infos[0]["episode"]["r"]
    with pytest.raises(InvalidValue, match="above 0"):
        ScaledReward(plain, 0)
