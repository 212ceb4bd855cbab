"""What all wrappers of rows have in common, in a stack of all of them."""

from __future__ import annotations

import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

import rlops.wrappers
from rlops.wrappers import actuators, frames, logged, scaled, sensors
from tests.wrappers.walk import MODES, Walk, assert_made_again, assert_rows_are_singles, check


def stack(env):
    sensed = sensors(env, noise_sd=0.1, drift_sd=0.1, dropout=0.1, delay_steps=(0, 2))
    return logged(frames(scaled(actuators(sensed, slew=0.3, delay_steps=1)), 2))


@pytest.mark.parametrize("mode", MODES)
def test_row_i_of_a_stack_is_the_single_stack_with_seed_s_plus_i(mode):
    assert_rows_are_singles(stack, mode)


def test_row_i_is_the_single_environment_when_rows_are_stepped_in_processes():
    envs = AsyncVectorEnv([Walk] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert_rows_are_singles(stack, AutoresetMode.SAME_STEP, rows=2, envs=envs)
    envs.close()


@pytest.mark.parametrize("mode", MODES)
def test_lent_observations_are_read_before_they_are_overwritten(mode):
    kept, lent = (
        frames(sensors(gym.make_vec("rlops/Dispatch-v0", num_envs=2, autoreset_mode=mode, copy=copy), delay_steps=2), 3)
        for copy in (True, False)
    )
    np.testing.assert_array_equal(kept.reset(seed=1)[0], lent.reset(seed=1)[0])
    for _ in range(96):
        ours, theirs = kept.step(np.zeros(2, int)), lent.step(np.zeros(2, int))
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert (ours[2] | ours[3]).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_stack_can_be_pickled_in_mid_episode(mode):
    envs = logged(frames(sensors(gym.make_vec("rlops/Dispatch-v0", num_envs=2, autoreset_mode=mode), noise_sd=0.1), 2))
    envs.reset(seed=1)
    envs.step(np.zeros(2, int))
    copy = pickle.loads(pickle.dumps(envs))
    for _ in range(95):
        ours, theirs = envs.step(np.zeros(2, int)), copy.step(np.zeros(2, int))
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert len(envs.episodes) == 2
    assert envs.episodes == copy.episodes


def test_gymnasiums_checker_passes_and_the_specification_makes_the_same_stack_again():
    check(stack(Walk()))
    assert_made_again(stack(gym.make("Pendulum-v1")))


def test_a_stack_says_what_it_is_made_of():
    assert str(stack(Walk())) == "<EpisodeLog<Frames<Scaling<Actuators<Sensors<Walk instance>>>>>>"
    envs = frames(sensors(gym.make_vec("Pendulum-v1", num_envs=2)), 2)
    assert repr(envs) == "<Frames, <Sensors, SyncVectorEnv(Pendulum-v1, num_envs=2)>>"


def test_every_public_wrapper_is_found_and_no_other():
    assert set(rlops.wrappers.__all__) == set(rlops.wrappers._HOMES)
    for name in rlops.wrappers.__all__:
        assert getattr(rlops.wrappers, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'wrap'"):
        rlops.wrappers.wrap  # noqa: B018


def test_wrappers_of_gymnasium_do_not_load_the_libraries_of_agents():
    code = (
        "import sys; from rlops.wrappers import sensors; assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
