"""DQN never explores, prefers or bootstraps from an illegal action."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import DummyVecEnv

import rlops  # noqa: F401
from rlops.agents_baseline.masked_dqn import MaskedDQN, MaskedSamples
from rlops.errors import InvalidValue
from rlops.wrappers import to_sb3

ROWS = 4


class Corridor(gym.Env):
    """Three actions, of which the mask allows those that ``legal`` says; every episode has five steps."""

    observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, truncates=False):
        self.truncates = truncates

    def action_masks(self):
        mask = np.array([False, True, True])
        mask[1 + self.steps % 2] = False
        return mask

    def _info(self):
        return {"action_mask": self.action_masks()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.array([0, 1], np.float32), self._info()

    def step(self, action):
        assert self.action_masks()[action]
        self.steps += 1
        ended = self.steps == 5
        obs = np.array([self.steps / 5, 1], np.float32)
        return obs, 1.0, ended and not self.truncates, ended and self.truncates, self._info()


def corridor(truncates=False):
    return to_sb3(
        gym.vector.SyncVectorEnv([lambda: Corridor(truncates)] * ROWS, autoreset_mode=AutoresetMode.SAME_STEP)
    )


def agent(env, **settings):
    options = {"learning_starts": 16, "train_freq": 2, "buffer_size": 4000, "batch_size": 16, "device": "cpu"}
    return MaskedDQN("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [16]}, **{**options, **settings})


def test_training_takes_legal_actions_only():
    agent(corridor(), exploration_final_eps=0.5).learn(400)  # Corridor asserts it


def test_training_on_dispatch_meets_no_illegal_action():
    envs = gym.make_vec("rlops/Dispatch-v0", num_envs=ROWS, autoreset_mode=AutoresetMode.SAME_STEP)
    agent(to_sb3(envs)).learn(4 * 94)
    assert envs.state["steps"].tolist() == [94] * ROWS
    assert not envs.state["illegal"].any()


@pytest.mark.parametrize("truncates", [False, True])
def test_the_buffer_keeps_the_mask_of_the_state_that_follows(truncates):
    model = agent(corridor(truncates)).learn(80)
    buffer = model.replay_buffer
    steps = np.rint(buffer.next_observations[: buffer.pos, :, 0] * 5).astype(int)
    assert set(np.unique(steps)) == {1, 2, 3, 4, 5}  # 5: the end, not the reset that follows it
    odd = steps % 2 == 1
    assert np.array_equal(buffer.next_masks[: buffer.pos, :, 1], odd)
    assert np.array_equal(buffer.next_masks[: buffer.pos, :, 2], ~odd)
    assert not buffer.next_masks[: buffer.pos, :, 0].any()


def test_the_target_is_the_best_legal_value():
    model = agent(corridor(), gamma=0.5)
    values = torch.tensor([[9.0, 1.0, 2.0], [9.0, 3.0, 2.0], [9.0, 1.0, 1.0], [9.0, 1.0, 1.0]])
    model.q_net_target.forward = lambda obs: values
    masks = torch.tensor([[False, True, True], [True, True, True], [False] * 3, [True] * 3])
    zeros = torch.zeros(4, 1)
    dones = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    target = model._target(MaskedSamples(zeros, zeros, zeros, dones, zeros + 10, masks))
    assert target.flatten().tolist() == [11.0, 14.5, 10.0, 10.0]


def test_exploration_is_uniform_over_the_legal_actions_of_each_row():
    model = agent(corridor())
    model.exploration_rate = 1.0
    masks = np.array([[True, False, True], [False, True, False]]).repeat(3000, axis=0)
    actions, _ = model.predict(np.zeros((6000, 2), np.float32), action_masks=masks)
    assert (actions[3000:] == 1).all()
    assert np.bincount(actions[:3000], minlength=3)[1] == 0
    assert 0.45 < (actions[:3000] == 0).mean() < 0.55


def test_single_observations_and_no_masks_are_fine():
    model = agent(corridor())
    action, _ = model.predict(np.zeros(2, np.float32), deterministic=True)
    assert action.shape == ()
    for only in range(3):
        assert model.predict(np.zeros(2, np.float32), deterministic=True, action_masks=np.eye(3)[only])[0] == only


def test_saving_and_loading_keeps_the_policy(tmp_path):
    model = agent(corridor()).learn(100)
    model.save(tmp_path / "model.zip")
    loaded = MaskedDQN.load(tmp_path / "model.zip", env=corridor(), device="cpu")
    obs = np.random.default_rng(0).random((50, 2), np.float32)
    masks = np.tile([False, True, True], (50, 1))
    first, second = (m.predict(obs, deterministic=True, action_masks=masks)[0] for m in (model, loaded))
    np.testing.assert_array_equal(first, second)
    loaded.learn(40)


def test_an_environment_without_masks_is_refused():
    with pytest.raises(InvalidValue, match=r"action_masks\(\), got none"):
        agent(DummyVecEnv([lambda: gym.make("CartPole-v1")]))


def test_it_learns_which_legal_action_pays():
    class Paying(Corridor):
        def action_masks(self):
            return np.array([False, True, True])

        def step(self, action):
            obs, _, terminated, truncated, info = super().step(action)
            return obs, float(action == 2), terminated, truncated, info

    env = to_sb3(gym.vector.SyncVectorEnv([Paying] * ROWS, autoreset_mode=AutoresetMode.SAME_STEP))
    model = agent(env, learning_rate=5e-3, gamma=0.0, exploration_fraction=0.5).learn(1500)
    obs = np.array([[step / 5, 1] for step in range(5)], np.float32)
    masks = np.tile([False, True, True], (5, 1))
    assert model.predict(obs, deterministic=True, action_masks=masks)[0].tolist() == [2] * 5
