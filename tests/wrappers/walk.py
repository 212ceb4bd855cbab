"""A small random environment, and the law that a row of a vector environment is the single environment."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

MODES = list(AutoresetMode)


class Walk(gym.Env):
    """Three positions that drift with the action and by chance; episodes of 2 to 6 steps end in either way."""

    observation_space = gym.spaces.Box(np.float32([-5, -5, 0]), np.float32([5, 5, 8]))

    def __init__(self, discrete=False):
        self.action_space = gym.spaces.Discrete(3) if discrete else gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.length = 0, int(self.np_random.integers(2, 7))
        self.position = self.np_random.uniform(0, 2, 3)
        return self._observed(), {"params": {"length": self.length}}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        self.position += 0.1 * self.np_random.normal(size=3) + 0.1 * np.sum(action)
        ended = self.steps == self.length
        info = {"kpis": {"last": float(self.position[0])}, "params": {"length": self.length}} if ended else {}
        return (
            self._observed(),
            float(self.position.sum()),
            ended and self.steps % 2 == 0,
            ended and self.steps > 2,
            info,
        )

    def _observed(self):
        return np.clip(self.position, -5, [5, 5, 8]).astype(np.float32)


class Clock(gym.Env):
    """Shows the number of the step in every column, and keeps the actions that reach it."""

    def __init__(self, columns=2, steps=10**9, action_space=None, dtype=np.float64, high=np.inf):
        self.observation_space = gym.spaces.Box(-high, high, (columns,), dtype)
        self.action_space = action_space or gym.spaces.Discrete(2)
        self.last = steps

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number, self.actions = 0, []
        return self._observed(), {}

    def step(self, action):
        self.step_number += 1
        self.actions.append(action)
        return self._observed(), 1.0, self.step_number == self.last, False, {}

    def _observed(self):
        return np.full(self.observation_space.shape, self.step_number, self.observation_space.dtype)


def played(env, seed, row, moves):
    """Return what a single environment shows in ``moves`` steps over several episodes."""
    shown = [("begin", env.reset(seed=seed)[0])]
    for move in range(moves):
        obs, reward, terminated, truncated, _ = env.step(_action(env.action_space, row, move))
        shown.append(("step", obs, reward, terminated, truncated))
        if terminated or truncated:
            shown.append(("begin", env.reset()[0]))
    return shown


def played_rows(envs, seed, moves):
    """Return the same for every row of a vector environment, in whatever autoreset mode."""
    mode, n = envs.metadata["autoreset_mode"], envs.num_envs
    shown = [[("begin", obs)] for obs in envs.reset(seed=seed)[0]]
    count, over = np.zeros(n, int), np.zeros(n, bool)
    while count.min() < moves:
        actions = [_action(envs.single_action_space, row, -1 if over[row] else count[row]) for row in range(n)]
        obs, rewards, terminated, truncated, infos = envs.step(np.array(actions))
        ended = terminated | truncated
        for row in range(n):
            if over[row]:
                shown[row].append(("begin", obs[row]))
                continue
            count[row] += 1
            last = infos["final_obs"][row] if ended[row] and mode is AutoresetMode.SAME_STEP else obs[row]
            shown[row].append(("step", last, rewards[row], terminated[row], truncated[row]))
            if ended[row] and mode is AutoresetMode.SAME_STEP:
                shown[row].append(("begin", obs[row]))
        over = ended & (mode is AutoresetMode.NEXT_STEP)
        if mode is AutoresetMode.DISABLED and ended.any():
            before, (obs, _) = obs, envs.reset(options={"reset_mask": ended})
            np.testing.assert_array_equal(obs[~ended], before[~ended])
            for row in np.flatnonzero(ended):
                shown[row].append(("begin", obs[row]))
    return shown


def assert_rows_are_singles(wrapped, mode, make=Walk, rows=3, seed=11, moves=25, envs=None):
    """Compare every row with the single environment of its seed, bit for bit."""
    envs = wrapped(SyncVectorEnv([make] * rows, autoreset_mode=mode) if envs is None else envs)
    assert envs.observation_space.contains(envs.reset(seed=0)[0])
    for row, shown in enumerate(played_rows(envs, seed, moves)):
        single = wrapped(make())
        assert single.observation_space == envs.single_observation_space
        assert single.action_space == envs.single_action_space
        expected = played(single, seed + row, row, moves)
        assert sum(event[0] == "begin" for event in expected) > 3
        for ours, theirs in zip(shown, expected, strict=False):
            assert ours[0] == theirs[0]
            assert ours[1].dtype == theirs[1].dtype
            assert ours[1].tobytes() == theirs[1].tobytes(), (row, ours, theirs)
            assert ours[2:] == theirs[2:]


def check(env):
    """Run Gymnasium's checker on a wrapped environment; every other warning than that it is wrapped is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(env, skip_render_check=True)


def assert_made_again(env):
    """Compare a wrapped environment with the one that Gymnasium makes from its specification, by way of JSON."""
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert str(again) == str(env)
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space
    ours, theirs = (played(one, 5, 0, 20) for one in (env, again))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def _action(space, row, move):
    """Return the action of a row in its ``move``; -1 is the one that a reset ignores."""
    if move < 0:
        return space.high if isinstance(space, gym.spaces.Box) else 2
    generator = np.random.default_rng([row, move])
    if isinstance(space, gym.spaces.Box):
        return generator.uniform(space.low, space.high).astype(space.dtype)
    return generator.integers(space.n)
