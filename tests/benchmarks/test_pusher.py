"""The Pusher of the benchmarks is Gymnasium's, bit for bit."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.pusher import PUSHER
from rlops.envs.faces import VectorEnv
from rlops.envs.robotics.engines import mujoco as engine

ROWS, STEPS = 4, 90


@pytest.mark.parametrize("native", [True, False])
def test_observations_are_bit_for_bit_those_of_gymnasiums_pusher_and_rewards_are_its_too(native, monkeypatch):
    if not native:
        monkeypatch.setattr(engine, "Batch", None)
    theirs = [gym.make("Pusher-v5").unwrapped for _ in range(ROWS)]
    ours = VectorEnv(PUSHER, 5, ROWS, threads=2)
    ours.reset(seed=0)
    for row, env in enumerate(theirs):
        env.reset(seed=row)
        ours.state["qpos"][row], ours.state["qvel"][row] = env.data.qpos, env.data.qvel
        ours.state["warmstart"][row] = env.data.qacc_warmstart
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        actions = rng.uniform(-2, 2, (ROWS, 7))
        observed, rewards, *_ = ours.step(actions)
        for row, env in enumerate(theirs):
            expected, reward, *_ = env.step(actions[row])
            state = ours.state[row]
            assert np.array_equal(np.concatenate([state["qpos"][:7], state["qvel"][:7], state["xpos"][30:]]), expected)
            assert np.array_equal(observed[row], expected.astype(np.float32))
            assert rewards[row] == pytest.approx(reward, rel=1e-12)
    ours.close()


def test_an_episode_starts_where_one_of_gymnasiums_may():
    ours = VectorEnv(PUSHER, 5, 64)
    observed, _ = ours.reset(seed=0)
    theirs = gym.make("Pusher-v5").unwrapped
    expected, _ = theirs.reset(seed=0)
    assert np.allclose(observed[:, 14:17], expected[14:17])
    assert np.allclose(observed[:, 20:], expected[20:])
    places = observed[:, 17:20].astype(np.float64) - expected[20:]
    off = np.hypot(places[:, 0], places[:, 1])
    assert (off > 0.17).all()
    assert (np.abs(observed[:, 7:14]) <= 0.005).all()
    ours.close()
