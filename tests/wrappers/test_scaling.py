"""Scaling is Gymnasium's affine map, within its bounds, alike in every face."""

from __future__ import annotations

import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction, RescaleObservation
from hypothesis import given
from hypothesis import strategies as st

import rlops  # noqa: F401
from rlops.errors import InvalidValue
from rlops.wrappers import frames, scaled, sensors, unscaled
from tests.wrappers.walk import MODES, Clock, Walk, assert_made_again, assert_rows_are_singles, check, played

ONE = np.float32(1)
BOUNDS = st.tuples(st.floats(-1000, 1000, width=32), st.floats(1 / 64, 1000, width=32))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", [{}, {"actions": False}, {"observations": False}])
def test_row_i_is_the_single_environment_with_seed_s_plus_i(mode, settings):
    assert_rows_are_singles(functools.partial(scaled, **settings), mode)


def test_a_scaled_environment_is_gymnasiums_rescaled_one():
    ours = played(scaled(Walk()), 3, 0, 30)
    theirs = played(RescaleObservation(RescaleAction(Walk(), -ONE, ONE), -ONE, ONE), 3, 0, 30)
    for one, other in zip(ours, theirs, strict=True):
        assert one[0] == other[0]
        np.testing.assert_allclose(one[1], other[1], atol=1e-6)
        np.testing.assert_allclose(one[2:], other[2:], atol=1e-5)


def box_clock(low, extent, dtype):
    bounds = np.array([low], dtype), np.array([low + extent], dtype)
    env = Clock(1, action_space=gym.spaces.Box(*bounds, dtype=dtype))
    env.observation_space = gym.spaces.Box(*bounds, dtype=dtype)
    return env


@given(BOUNDS, st.sampled_from([np.float32, np.float64]))
def test_rounding_carries_neither_bound_out_of_its_space(bounds, dtype):
    env = box_clock(*bounds, dtype)
    own = env.observation_space
    env._observed = lambda: own.high
    wrapped = scaled(env)
    assert wrapped.observation_space.contains(wrapped.reset(seed=0)[0])
    env._observed = lambda: own.low
    for action in (wrapped.action_space.low, wrapped.action_space.high):
        assert wrapped.observation_space.contains(wrapped.step(action)[0])
        assert env.action_space.contains(env.actions[-1])
    np.testing.assert_allclose(env.actions, [own.low, own.high], rtol=1e-5, atol=1e-3)


@given(BOUNDS, st.floats(0, 1))
def test_unscaled_gives_back_what_was_scaled(bounds, share):
    env = box_clock(*bounds, np.float64)
    own = env.observation_space
    value = np.clip(own.low + share * (own.high - own.low), own.low, own.high)
    env._observed = lambda: value
    wrapped = scaled(env)
    np.testing.assert_allclose(
        unscaled(wrapped, wrapped.reset(seed=0)[0]), value, atol=1e-12 * np.abs(own.high).max() + 1e-10
    )


def test_unscaled_works_on_rows_and_through_other_wrappers():
    envs = sensors(scaled(gym.make_vec("Pendulum-v1", num_envs=3, vectorization_mode="sync")), delay_steps=1)
    plain = gym.make_vec("Pendulum-v1", num_envs=3, vectorization_mode="sync")
    np.testing.assert_allclose(unscaled(envs, envs.reset(seed=2)[0]), plain.reset(seed=2)[0], atol=1e-6)


def test_values_out_of_their_bounds_stay_visible():
    env = box_clock(0.0, 10.0, np.float64)
    env._observed = lambda: np.array([20.0])
    wrapped = scaled(env)
    assert wrapped.reset(seed=0)[0] == 3.0
    wrapped.step(np.array([2.0]))
    assert env.actions == [15.0]


def test_a_copy_by_pickle_scales_alike():
    env = scaled(Walk())
    env.reset(seed=0)
    copy = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(env.step(np.ones(2))[0], copy.step(np.ones(2))[0])


def test_gymnasiums_checker_passes_and_the_specification_makes_the_same_again():
    check(scaled(Walk()))
    assert_made_again(scaled(gym.make("Pendulum-v1")))


def test_columns_without_finite_bounds_are_named():
    with pytest.raises(InvalidValue) as caught:
        scaled(gym.make("CartPole-v1"), actions=False)
    assert str(caught.value) == (
        "scaled: every column of the observation space must have finite bounds, the lower below the upper, got "
        "column 1 (-inf … inf), 3 (-inf … inf). Pass observations=False to leave it as it is."
    )
    with pytest.raises(InvalidValue, match=r"got column 0 \(.*, 7 \(-inf … inf\) and 2 more\. Pass observations=False"):
        scaled(Clock(10), actions=False)


def test_a_column_without_extent_is_named():
    env = Walk()
    env.action_space = gym.spaces.Box(np.float32([0, 2]), np.float32([1, 2]))
    with pytest.raises(InvalidValue, match=r"of the action space .* got column 1 \(2 … 2\)\. Pass actions=False"):
        scaled(env)


def test_discrete_actions_are_refused_with_the_way_out():
    with pytest.raises(InvalidValue) as caught:
        scaled(Walk(discrete=True))
    assert str(caught.value) == (
        "scaled: the action space must be a Box of one axis of float32 or float64, got Discrete(3). "
        "Pass actions=False to leave it as it is."
    )


def test_unscaled_needs_scaled_observations_of_the_same_columns():
    env = scaled(Walk(), observations=False)
    with pytest.raises(InvalidValue) as caught:
        unscaled(env, np.zeros(3))
    assert str(caught.value) == (
        f"unscaled needs an environment with scaled observations, got {env.unwrapped}. Make it by scaled(env)."
    )
    with pytest.raises(InvalidValue) as caught:
        unscaled(frames(scaled(Walk()), 2), np.zeros(6))
    assert str(caught.value) == "unscaled: obs must have 3 columns on its last axis, got shape (6,)."
