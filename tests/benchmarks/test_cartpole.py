"""The CartPole of the benchmarks is Gymnasium's, and its loop over rows is its row functions."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from numba import njit

from benchmarks import cartpole
from benchmarks.cartpole import CARTPOLE
from rlops.envs.contract import parameter_dtype
from rlops.envs.faces import Env, VectorEnv

SCALE = np.maximum(1.0, [2.4, 3.0, 0.21, 3.0])


def drift_of_one_step(env, before, action, after):
    """Return how far our step is from Gymnasium's of the same state [scale], and whether it ends the episode."""
    env.state, env.steps_beyond_terminated = before.astype(np.float64), None
    _expected, _, terminated, _, _ = env.step(action)
    assert env.state is not None
    return float((np.abs(after - np.asarray(env.state)) / SCALE).max()), terminated


def test_random_episodes_stay_within_1e_6_of_gymnasiums():
    rows = 64
    ours = VectorEnv(CARTPOLE, 1, rows, threads=1)
    observed, _ = ours.reset(seed=3)
    theirs = [CartPoleEnv() for _ in range(rows)]
    for env, start in zip(theirs, observed, strict=True):
        env.reset(seed=0)
        env.state = start.astype(np.float64)
    live = np.ones(rows, np.bool_)
    rng = np.random.default_rng(0)
    steps, drift = 0, 0.0
    while live.any():
        actions = rng.integers(0, 2, rows)
        observed, _, terminated, _, _ = ours.step(actions)
        for row in np.flatnonzero(live):
            _, _, fell, _, _ = theirs[row].step(int(actions[row]))
            assert bool(terminated[row]) == fell
            drift = max(drift, float((np.abs(observed[row] - theirs[row].state) / SCALE).max()))
            steps += 1
        live &= ~terminated
    assert steps > 1000
    assert drift < 1e-6


def test_every_step_of_a_long_episode_is_gymnasiums_within_1e_6():
    """A balanced pole is unstable: rounding grows e-fold in a fifth of a second, so each step starts from ours."""
    rows = 64
    ours, theirs = VectorEnv(CARTPOLE, 1, rows, threads=1), CartPoleEnv()
    observed, _ = ours.reset(seed=4)
    theirs.reset(seed=0)
    rng = np.random.default_rng(1)
    drift, ends = 0.0, 0
    over = np.zeros(rows, np.bool_)
    for _ in range(300):
        before = observed
        falls_right = before[:, 2] + before[:, 3] > 0
        actions = np.where(rng.random(rows) < 0.6, falls_right, rng.integers(0, 2, rows)).astype(np.int64)
        observed, _, terminated, truncated, _ = ours.step(actions)
        for row in np.flatnonzero(~over):
            far, fell = drift_of_one_step(theirs, before[row], int(actions[row]), observed[row])
            assert bool(terminated[row]) == fell
            drift, ends = max(drift, far), ends + fell
        over = terminated | truncated
    assert ends > 20
    assert drift < 1e-6


@njit
def scalar_step(params, base, state, data, obs, reward, terminated, truncated, actions):
    for i in range(state.shape[0]):
        cartpole.step_row(params, base, state, data, obs, reward, terminated, truncated, actions[i], i)


@pytest.mark.parametrize("rows", [1, 7, 37, 256, 999])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_loop_over_rows_equals_the_row_functions_bit_for_bit(rows, threads):
    env = VectorEnv(CARTPOLE, 1, rows, params={"max_steps": 40}, threads=threads)
    env.reset(seed=5)
    params, state = env.params.copy(), env.state.copy()
    obs, reward = np.zeros((rows, 4), np.float32), np.zeros(rows)
    terminated, truncated = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
    data = np.zeros(0, env.data.dtype)
    rng = np.random.default_rng(rows)
    endings = 0
    for _ in range(120):
        actions = rng.integers(0, 2, rows)
        scalar_step(params, params.copy(), state, data, obs, reward, terminated, truncated, actions)
        got = env.step(actions)[:4]
        for mine, expected in zip(got, (obs, reward, terminated, truncated), strict=True):
            assert mine.tobytes() == expected.tobytes()
        for field in state.dtype.names:  # bytes between the fields mean nothing
            assert env.state[field].tobytes() == state[field].tobytes()
        endings += int((terminated | truncated).sum())
    assert endings > rows


def test_an_episode_is_cut_after_max_steps():
    env = Env(CARTPOLE, 1, params={"max_steps": 3})
    env.reset(seed=0)
    assert [env.step(action)[3] for action in (0, 1, 0)] == [False, False, True]


def test_spaces_and_row_size_are_those_of_the_original():
    env = Env(CARTPOLE, 1)
    assert env.action_space == gym.spaces.Discrete(2)
    assert env.observation_space.shape == (4,)
    assert parameter_dtype(cartpole.PARAMETERS).itemsize == 8
    assert cartpole.STATE.itemsize == 64
