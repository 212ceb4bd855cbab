"""The last observations side by side are Gymnasium's stacked frames, in every face."""

from __future__ import annotations

import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation, FrameStackObservation

import rlops  # noqa: F401
from rlops.errors import InvalidValue
from rlops.wrappers import frames
from tests.wrappers.walk import MODES, Clock, Walk, assert_made_again, assert_rows_are_singles, check, played


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 3])
def test_row_i_is_the_single_environment_with_seed_s_plus_i(mode, n):
    assert_rows_are_singles(functools.partial(frames, n=n), mode)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_frames_are_gymnasiums_stacked_and_flattened_ones(n):
    ours, theirs = frames(Walk(), n), FlattenObservation(FrameStackObservation(Walk(), n))
    assert ours.observation_space == theirs.observation_space
    for one, other in zip(played(ours, 1, 0, 30), played(theirs, 1, 0, 30), strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_the_oldest_comes_first_and_the_first_stands_for_those_before_it():
    env = frames(Clock(2), 3)
    shown = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(4))]
    np.testing.assert_array_equal(np.array(shown)[:, ::2], [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]])
    np.testing.assert_array_equal(np.array(shown)[:, 1::2], np.array(shown)[:, ::2])


def test_what_is_returned_may_be_changed():
    env = frames(Clock(1), 2)
    env.reset(seed=0)[0][:] = 9
    np.testing.assert_array_equal(env.step(0)[0], [0, 1])


def test_a_copy_by_pickle_goes_on_alike_in_mid_episode():
    env = frames(Walk(), 3)
    env.reset(seed=1)
    env.step(np.ones(2, np.float32))
    copy = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(env.step(np.ones(2, np.float32))[0], copy.step(np.ones(2, np.float32))[0])


def test_gymnasiums_checker_passes_and_the_specification_makes_the_same_again():
    check(frames(Walk(), 2))
    assert_made_again(frames(gym.make("Pendulum-v1"), 2))


@pytest.mark.parametrize("n", [0, 1.5, True, "2"])
def test_a_number_below_one_is_refused(n):
    with pytest.raises(InvalidValue) as caught:
        frames(Walk(), n)
    assert str(caught.value) == f"frames: n must be a whole number of at least 1, got {n!r}."
