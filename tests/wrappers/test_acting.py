"""An actuator does to an action what it says, alike in every face."""

from __future__ import annotations

import functools
import math
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rlops  # noqa: F401
from rlops.errors import InvalidAction, InvalidValue
from rlops.wrappers import actuators
from tests.wrappers.walk import MODES, Clock, Walk, assert_made_again, assert_rows_are_singles, check

EVERYTHING = dict(delay_steps=(0, 3), slew=[0.3, 0.8], dead_band=[0.0, 0.2], dropout=0.2)
BOX = gym.spaces.Box(-1, 1, (2,), np.float64)
COMMANDS = arrays(np.float64, (12, 2), elements=st.floats(-1, 1))


def applied(env, commands, seed=0):
    """Return the actions that reach the environment in an episode of ``commands``."""
    env.reset(seed=seed)
    for command in commands:
        env.step(command)
    return np.array(env.unwrapped.actions)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", [EVERYTHING, {"dropout": 0.5}, {"delay_steps": 1}, {"slew": 0.1, "rest": [1, -1]}])
def test_row_i_is_the_single_environment_with_seed_s_plus_i(mode, settings):
    assert_rows_are_singles(functools.partial(actuators, **settings), mode)


@pytest.mark.parametrize("mode", MODES)
def test_row_i_is_the_single_environment_with_discrete_actions(mode):
    wrapped = functools.partial(actuators, delay_steps=(0, 2), dropout=0.3, rest=1)
    assert_rows_are_singles(wrapped, mode, functools.partial(Walk, discrete=True))


@given(COMMANDS)
def test_without_settings_nothing_changes(commands):
    np.testing.assert_array_equal(applied(actuators(Clock(action_space=BOX)), commands), commands)


@given(COMMANDS, st.integers(0, 14))
def test_a_delayed_action_is_the_one_of_k_steps_before_and_rest_before_that(commands, delay):
    expected = np.concatenate([np.zeros((delay, 2)), commands])[:12]
    np.testing.assert_array_equal(applied(actuators(Clock(action_space=BOX), delay_steps=delay), commands), expected)


def test_a_drawn_delay_is_one_for_the_episode_and_takes_every_value_of_its_range():
    env = actuators(Clock(action_space=gym.spaces.Discrete(99)), delay_steps=(1, 3), rest=0)
    delays = []
    for seed in range(40):
        actions = applied(env, range(1, 11), seed)
        delays.append(int(10 - actions[-1]))
        np.testing.assert_array_equal(actions, np.maximum(np.arange(1, 11) - delays[-1], 0))
    assert set(delays) == {1, 2, 3}


@given(COMMANDS, st.floats(0.01, 3))
def test_what_is_applied_follows_no_faster_than_the_slew_limit(commands, slew):
    actions = applied(actuators(Clock(action_space=BOX), slew=slew), commands)
    changes = np.diff(actions, axis=0, prepend=np.zeros((1, 2)))
    assert np.abs(changes).max() <= slew * (1 + 1e-12)
    reached = np.abs(commands - actions + changes) <= slew
    np.testing.assert_array_equal(actions[reached], commands[reached])


def test_a_step_of_the_command_becomes_a_ramp():
    env = actuators(Clock(action_space=BOX), slew=[0.25, math.inf])
    actions = applied(env, np.array([[1.0, 1.0]] * 5 + [[-1.0, -1.0]] * 2))
    np.testing.assert_array_equal(actions[:, 0], [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5])
    np.testing.assert_array_equal(actions[:, 1], [1] * 5 + [-1] * 2)


@given(COMMANDS, st.floats(0, 2))
def test_components_within_the_dead_band_are_zero_and_the_others_are_left(commands, dead_band):
    actions = applied(actuators(Clock(action_space=BOX), dead_band=dead_band), commands)
    np.testing.assert_array_equal(actions, np.where(np.abs(commands) < dead_band, 0, commands))


def test_of_a_lost_action_the_one_applied_last_is_held():
    commands = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    actions = applied(actuators(Clock(action_space=BOX), dropout=0.25), commands)
    lost = (actions != commands).any(axis=1)
    assert lost.mean() == pytest.approx(0.25, abs=0.03)
    held = np.concatenate([np.zeros((1, 2)), actions])[:-1]
    np.testing.assert_array_equal(actions[lost], held[lost])
    np.testing.assert_array_equal(
        applied(actuators(Clock(action_space=BOX), dropout=1.0), commands[:5]), np.zeros((5, 2))
    )


def test_an_action_arrives_late_may_be_lost_then_meets_the_dead_band_and_the_slew_limit():
    env = actuators(Clock(action_space=BOX), delay_steps=1, dead_band=0.3, slew=0.5)
    actions = applied(env, np.array([[1.0, 0.29], [0.2, 0.3], [0.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(actions, [[0, 0], [0.5, 0], [0, 0.3], [0, 0]])


def test_rest_is_zero_or_the_bound_next_to_it_or_what_is_said():
    warm = gym.spaces.Box(np.float32([16, -3]), np.float32([27, -1]))
    np.testing.assert_array_equal(applied(actuators(Clock(action_space=warm), delay_steps=1), [warm.high]), [[16, -1]])
    said = actuators(Clock(action_space=warm), delay_steps=1, rest=[20, -2])
    np.testing.assert_array_equal(applied(said, [warm.high]), [[20, -2]])
    discrete = actuators(Clock(action_space=gym.spaces.Discrete(4, start=-1)), delay_steps=1, rest=-1)
    np.testing.assert_array_equal(applied(discrete, [2, 1]), [-1, 2])


def test_every_episode_begins_at_rest():
    box = gym.spaces.Box(-1, 1, (1,), np.float64)
    env = actuators(Clock(action_space=box), slew=0.25, rest=0.5)
    for _ in range(2):
        np.testing.assert_array_equal(applied(env, [[-1.0]] * 3), [[0.25], [0], [-0.25]])


def test_the_environment_gets_the_type_of_its_space():
    env = actuators(Walk(), delay_steps=1)
    env.reset(seed=0)
    env.step([0.5, 0.5])
    discrete = actuators(Clock(), rest=0)
    discrete.reset(seed=0)
    discrete.step(1)
    assert discrete.unwrapped.action_space.contains(discrete.unwrapped.actions[0])


def test_two_policies_under_one_seed_lose_the_same_actions():
    ones, twos = (
        applied(actuators(Clock(action_space=gym.spaces.Discrete(3)), dropout=0.5, rest=0), [number] * 50, seed=4)
        for number in (1, 2)
    )
    np.testing.assert_array_equal(ones * 2, twos)
    assert 0 in ones[:5] or (ones > 0).all()


def test_observations_may_be_of_any_kind():
    class Said(Clock):
        def __init__(self):
            super().__init__(action_space=BOX)
            self.observation_space = gym.spaces.Dict({"step": gym.spaces.Discrete(9)})

        def _observed(self):
            return {"step": self.step_number}

    env = actuators(Said(), delay_steps=1)
    assert env.reset(seed=0)[0] == {"step": 0}
    assert env.step(BOX.high)[0] == {"step": 1}
    envs = actuators(SyncVectorEnv([Said] * 2), delay_steps=1)
    envs.reset(seed=0)
    np.testing.assert_array_equal(envs.step(np.ones((2, 2)))[0]["step"], [1, 1])


def test_a_copy_by_pickle_goes_on_alike_in_mid_episode():
    env = actuators(Walk(), **EVERYTHING)
    env.reset(seed=1)
    env.step(np.ones(2, np.float32))
    copy = pickle.loads(pickle.dumps(env))
    for one, other in zip(env.step(np.zeros(2))[:2], copy.step(np.zeros(2))[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_gymnasiums_checker_passes_and_the_specification_makes_the_same_again():
    check(actuators(Walk(), **EVERYTHING))
    check(actuators(Walk(discrete=True), delay_steps=1, rest=0))
    assert_made_again(actuators(gym.make("Pendulum-v1"), delay_steps=(1, 2), slew=0.5))


@pytest.mark.parametrize(
    ("action", "got"),
    [([1.0], "float64 of shape (1,)"), (1.0, "float64 of shape ()"), (["a", "b"], "<U1 of shape (2,)")],
)
def test_an_action_of_another_shape_is_refused(action, got):
    env = actuators(Walk())
    env.reset(seed=0)
    with pytest.raises(InvalidAction) as caught:
        env.step(action)
    assert str(caught.value) == f"actuators: an action must be numbers of shape (2,), got {got}."


@pytest.mark.parametrize(("action", "got"), [(1.0, "float64 of shape ()"), (True, "bool of shape ()")])
def test_a_discrete_action_that_is_no_whole_number_is_refused(action, got):
    env = actuators(Walk(discrete=True), rest=0)
    env.reset(seed=0)
    with pytest.raises(InvalidAction) as caught:
        env.step(action)
    assert str(caught.value) == f"actuators: an action must be a whole number of shape (), got {got}."


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (BOX, {"slew": 0}, "actuators: slew must be above 0, got 0: nothing would ever move."),
        (
            BOX,
            {"slew": -1},
            "actuators: slew must be one number, or one for each of 2 columns, not below 0, got -1.",
        ),
        (
            BOX,
            {"dead_band": [1, 2, 3]},
            "actuators: dead_band must be one number, or one for each of 2 columns, finite and not below 0, "
            "got [1, 2, 3].",
        ),
        (
            BOX,
            {"dropout": 2},
            "actuators: dropout must be one number, within 0 … 1, got 2.",
        ),
        (BOX, {"rest": 2.0}, f"actuators: rest must be an action in {BOX}, got 2.0."),
        (BOX, {"rest": "left"}, f"actuators: rest must be an action in {BOX}, got 'left'."),
        (
            gym.spaces.Box(16, 27, (2,)),
            {"dead_band": 1},
            "actuators: a column with a dead_band must have 0 within its bounds, but column 0 is within 16 … 27. "
            "Give it a dead_band of 0.",
        ),
        (
            gym.spaces.Discrete(3),
            {"rest": 0, "slew": 1},
            "actuators: a Discrete action can be delayed and lost only, got slew=1, dead_band=0.0. Leave them out.",
        ),
        (
            gym.spaces.Discrete(3),
            {"delay_steps": 1},
            "actuators: a Discrete action needs rest=, the action before any has arrived, in Discrete(3), got None.",
        ),
        (
            gym.spaces.MultiDiscrete([2, 3]),
            {},
            "actuators: the action space must be a Box of one axis of float32 or float64, got MultiDiscrete([2 3]). "
            "Or it must be Discrete.",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(space, settings, message):
    with pytest.raises(InvalidValue) as caught:
        actuators(Clock(action_space=space), **settings)
    assert str(caught.value) == message
