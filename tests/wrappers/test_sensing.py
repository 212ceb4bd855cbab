"""A sensor does to an observation what it says, alike in every face."""

from __future__ import annotations

import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

import rlops  # noqa: F401
from rlops.errors import InvalidValue
from rlops.wrappers import sensors, to_sb3
from tests.wrappers.walk import MODES, Clock, Walk, assert_made_again, assert_rows_are_singles, check

EVERYTHING = dict(
    noise_sd=[0.1, 0.2, 0.0], bias_sd=0.3, drift_sd=0.05, quantum=[0, 0.01, 0.25], dropout=0.2, delay_steps=(0, 3)
)


def still(columns=400, dtype=np.float64, high=np.inf):
    """Return an environment whose observation is always 0, with many columns."""

    class Still(Clock):
        def _observed(self):
            return np.zeros(columns, dtype)

    return Still(columns, dtype=dtype, high=high)


def shown(env, steps, seed=0):
    """Return the observations of an episode, ``(steps + 1, k)``."""
    env.action_space.seed(seed)
    first = env.reset(seed=seed)[0]
    return np.array([first, *(env.step(env.action_space.sample())[0] for _ in range(steps))])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "settings",
    [EVERYTHING, {**EVERYTHING, "columns": [0, 1, 2]}, {"noise_sd": 0.5, "columns": [2]}, {"delay_steps": 2}],
)
def test_row_i_is_the_single_environment_with_seed_s_plus_i(mode, settings):
    assert_rows_are_singles(functools.partial(sensors, **settings), mode)


@pytest.mark.parametrize("mode", MODES)
def test_row_i_is_the_single_environment_around_a_compiled_one(mode):
    def wrapped(env):
        return sensors(env, noise_sd=0.1, dropout=0.3, delay_steps=2)

    envs = wrapped(gym.make_vec("rlops/Dispatch-v0", num_envs=2, autoreset_mode=mode))
    singles = [wrapped(gym.make("rlops/Dispatch-v0")) for _ in range(2)]
    obs = envs.reset(seed=3)[0]
    theirs = [single.reset(seed=3 + row)[0] for row, single in enumerate(singles)]
    for _ in range(210):
        np.testing.assert_array_equal(obs, theirs)
        obs, _, terminated, truncated, infos = envs.step(np.zeros(2, int))
        stepped = [single.step(0) for single in singles]
        theirs = [step[0] for step in stepped]
        if (terminated | truncated).any():
            assert (terminated | truncated).all()
            if mode is AutoresetMode.SAME_STEP:
                np.testing.assert_array_equal(np.stack(infos["final_obs"]), theirs)
            elif mode is AutoresetMode.NEXT_STEP:
                np.testing.assert_array_equal(obs, theirs)
                obs = envs.step(np.zeros(2, int))[0]
            else:
                obs = envs.reset(options={"reset_mask": np.ones(2, bool)})[0]
            theirs = [single.reset()[0] for single in singles]


def test_a_row_does_not_depend_on_how_many_there_are():
    few, many = (sensors(SyncVectorEnv([Walk] * rows), **EVERYTHING).reset(seed=4)[0] for rows in (2, 7))
    np.testing.assert_array_equal(few, many[:2])


def test_without_settings_nothing_changes():
    np.testing.assert_array_equal(shown(sensors(Walk()), 1), shown(Walk(), 1))
    plain, sensed = Walk(), sensors(Walk())
    assert sensed.observation_space is plain.observation_space


@given(delay=st.integers(0, 7), steps=st.integers(1, 20))
def test_a_delayed_observation_is_the_one_of_k_steps_before(delay, steps):
    expected = np.maximum(np.arange(steps + 1) - delay, 0)
    np.testing.assert_array_equal(shown(sensors(Clock(1), delay_steps=delay), steps)[:, 0], expected)


def test_a_drawn_delay_is_one_for_the_episode_and_takes_every_value_of_its_range():
    env = sensors(Clock(2), delay_steps=(1, 4))
    delays = []
    for seed in range(60):
        obs = shown(env, 12, seed)
        np.testing.assert_array_equal(obs[:, 0], obs[:, 1])
        delays.append(int(12 - obs[-1, 0]))
        np.testing.assert_array_equal(obs[:, 0], np.maximum(np.arange(13) - delays[-1], 0))
    assert set(delays) == {1, 2, 3, 4}


def test_a_bias_stays_for_an_episode_and_has_its_standard_deviation():
    env = sensors(still(4000), bias_sd=0.5)
    obs = shown(env, 3)
    np.testing.assert_array_equal(obs, np.broadcast_to(obs[0], obs.shape))
    assert abs(obs[0].mean()) < 0.03
    assert obs[0].std() == pytest.approx(0.5, rel=0.03)
    assert not np.any(env.reset()[0] == obs[0])


def test_noise_is_new_in_every_step_normal_and_has_its_standard_deviation():
    obs = shown(sensors(still(400), noise_sd=2.0), 99)
    assert abs(obs.mean()) < 0.03
    assert obs.std() == pytest.approx(2.0, rel=0.01)
    assert abs(np.corrcoef(obs[:-1].ravel(), obs[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(obs[:, :-1].ravel(), obs[:, 1:].ravel())[0, 1]) < 0.02
    assert np.mean(np.abs(obs) < 2.0) == pytest.approx(0.6827, abs=0.01)


def test_drift_is_a_random_walk_from_zero():
    obs = shown(sensors(still(2000), drift_sd=0.1), 64)
    assert not obs[0].any()
    np.testing.assert_allclose(obs[[1, 4, 16, 64]].std(axis=1), [0.1, 0.2, 0.4, 0.8], rtol=0.05)
    changes = np.diff(obs, axis=0)
    assert changes.std() == pytest.approx(0.1, rel=0.01)
    assert abs(np.corrcoef(changes[:-1].ravel(), changes[1:].ravel())[0, 1]) < 0.02


def test_values_are_rounded_to_multiples_of_the_quantum():
    noisy, rounded = (shown(sensors(still(50), noise_sd=1.0, quantum=q), 20) for q in (0.0, 0.25))
    np.testing.assert_array_equal(rounded, np.rint(noisy / 0.25) * 0.25)


def test_a_sensor_saturates_at_the_bounds_of_the_space():
    env = sensors(still(300, np.float32, high=1.5), noise_sd=1.0)
    free = shown(sensors(still(300), noise_sd=1.0), 10)
    obs = shown(env, 10)
    np.testing.assert_array_equal(obs, np.clip(free, -1.5, 1.5).astype(np.float32))
    assert obs.dtype == np.float32
    assert (obs == 1.5).any()
    assert (obs == -1.5).any()


def test_a_lost_value_is_the_one_that_was_delivered_last():
    sent, held = (shown(sensors(Clock(200), noise_sd=0.01, dropout=p), 50) for p in (0.0, 0.3))
    lost = held != sent
    assert not lost[0].any()
    assert lost[1:].mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(held[1:][lost[1:]], held[:-1][lost[1:]])
    assert lost[1:].all(axis=1).sum() == 0  # each column for itself


def test_a_probability_of_one_shows_the_first_observation_for_ever():
    np.testing.assert_array_equal(shown(sensors(Clock(3), dropout=1.0), 5), np.zeros((6, 3)))


def test_chosen_columns_are_sensed_as_they_would_be_among_all_and_the_others_are_left():
    whole, some, plain = (
        shown(env, 1)
        for env in (
            sensors(Walk(), noise_sd=0.3, bias_sd=0.1),
            sensors(Walk(), noise_sd=[0.3, 0.3], bias_sd=0.1, columns=[2, 0]),
            Walk(),
        )
    )
    np.testing.assert_array_equal(some[:, [0, 2]], whole[:, [0, 2]])
    np.testing.assert_array_equal(some[0, 1], plain[0, 1])


def test_two_policies_under_one_seed_meet_the_same_noise():
    box = gym.spaces.Box(-1, 1, (1,), np.float32)
    first, second = (
        sensors(Clock(3, action_space=box), noise_sd=1.0, drift_sd=0.1, dropout=0.2, bias_sd=1.0) for _ in range(2)
    )
    first.reset(seed=5), second.reset(seed=5)
    for _ in range(10):
        np.testing.assert_array_equal(first.step(box.low)[0], second.step(box.high)[0])


def test_the_next_episode_and_another_seed_and_another_stream_draw_anew():
    env = sensors(still(3), noise_sd=1.0)
    first, again = env.reset(seed=1)[0], env.reset(seed=1)[0]
    np.testing.assert_array_equal(first, again)
    others = [env.reset()[0], env.reset(seed=2)[0], sensors(still(3), noise_sd=1.0, stream=1).reset(seed=1)[0]]
    values = np.concatenate([first, *others])
    assert len(np.unique(values)) == len(values)


def test_the_effects_draw_independently():
    noise, bias, drift = (shown(sensors(still(2000), **{name: 1.0}), 1) for name in ("noise_sd", "bias_sd", "drift_sd"))
    assert np.abs(np.corrcoef([noise[0], noise[1], bias[0], drift[1]]) - np.eye(4)).max() < 0.06


def test_without_a_seed_two_environments_differ_and_neither_touches_the_generator_of_the_environment():
    first, second = (sensors(still(3), noise_sd=1.0) for _ in range(2))
    assert not np.any(first.reset()[0] == second.reset()[0])
    plain, sensed = Walk(), sensors(Walk(), noise_sd=1.0)
    plain.reset(seed=0), sensed.reset(seed=0)
    plain.reset(), sensed.reset()
    assert plain.np_random.random() == sensed.unwrapped.np_random.random()


def test_a_row_with_a_new_seed_begins_its_first_episode_and_the_others_go_on():
    envs = sensors(SyncVectorEnv([Walk] * 3, autoreset_mode=AutoresetMode.DISABLED), noise_sd=1.0)
    first = envs.reset(seed=[7, 8, 9])[0]
    second = envs.reset()[0]
    mixed = envs.reset(seed=[7, None, None], options={"reset_mask": np.array([True, True, False])})[0]
    np.testing.assert_array_equal(mixed[0], first[0])
    np.testing.assert_array_equal(mixed[2], second[2])
    assert not np.any(mixed[1] == second[1])


def test_a_row_that_is_reset_before_its_autoreset_moves_in_the_next_step():
    envs = sensors(SyncVectorEnv([lambda: Clock(1, steps=2)] * 2), delay_steps=1)
    envs.reset(seed=0)
    shown = [envs.step(np.zeros(2, int))[0][0, 0] for _ in range(2)]
    shown.append(envs.reset(options={"reset_mask": np.array([True, False])})[0][0, 0])
    shown += [envs.step(np.zeros(2, int))[0][0, 0] for _ in range(2)]
    assert shown == [0, 1, 0, 0, 1]


def test_the_options_of_a_reset_are_left_as_they_are():
    envs = sensors(SyncVectorEnv([Walk] * 2), noise_sd=1.0)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False])}
    envs.reset(options=options)
    assert list(options) == ["reset_mask"]


def test_two_wrappers_in_a_stack_with_streams_of_their_own_add_up():
    obs = shown(sensors(sensors(still(4000), noise_sd=1.0), noise_sd=1.0, stream=1), 1)
    assert obs.std() == pytest.approx(2**0.5, rel=0.03)
    same = shown(sensors(sensors(still(4000), noise_sd=1.0), noise_sd=1.0), 1)
    assert same.std() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("mode", MODES)
def test_a_copy_by_pickle_goes_on_alike_in_mid_episode(mode):
    for env, action in (
        (sensors(Walk(), **EVERYTHING), np.zeros(2, np.float32)),
        (sensors(gym.make_vec("rlops/Dispatch-v0", num_envs=2, autoreset_mode=mode), noise_sd=0.1, drift_sd=0.1,
                 delay_steps=(0, 3), dropout=0.5), np.zeros(2, int)),
    ):  # fmt: skip
        env.reset(seed=1)
        env.step(action)
        copy = pickle.loads(pickle.dumps(env))
        np.testing.assert_array_equal(env.step(action)[0], copy.step(action)[0])
        np.testing.assert_array_equal(env.reset()[0], copy.reset()[0])


def test_gymnasiums_checker_passes_and_the_specification_makes_the_same_again():
    check(sensors(Walk(), **EVERYTHING))
    assert_made_again(sensors(gym.make("Pendulum-v1"), noise_sd=[0.1, 0.1, 0.5], delay_steps=(1, 2)))


def test_stable_baselines_sees_the_sensed_final_observation():
    envs = sensors(
        SyncVectorEnv([lambda: Clock(2, steps=3)] * 2, autoreset_mode=AutoresetMode.SAME_STEP), delay_steps=1
    )
    adapted = to_sb3(envs)
    adapted.reset()
    for _ in range(3):
        obs, _, _, infos = adapted.step(np.zeros(2, int))
    np.testing.assert_array_equal(infos[0]["terminal_observation"], [2, 2])
    np.testing.assert_array_equal(obs, np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"noise_sd": -1},
            "sensors: noise_sd must be one number, or one for each of 3 columns, finite and not below 0, got -1.",
        ),
        (
            {"bias_sd": [1, 2]},
            "sensors: bias_sd must be one number, or one for each of 3 columns, finite and not below 0, got [1, 2].",
        ),
        (
            {"drift_sd": "much"},
            "sensors: drift_sd must be one number, or one for each of 3 columns, finite and not below 0, got 'much'.",
        ),
        (
            {"quantum": float("nan")},
            "sensors: quantum must be one number, or one for each of 3 columns, finite and not below 0, got nan.",
        ),
        (
            {"noise_sd": float("inf")},
            "sensors: noise_sd must be one number, or one for each of 3 columns, finite and not below 0, got inf.",
        ),
        (
            {"dropout": 1.5},
            "sensors: dropout must be one number, or one for each of 3 columns, within 0 … 1, got 1.5.",
        ),
        (
            {"delay_steps": (3, 1)},
            "sensors: delay_steps must be a whole number of at least 0, or a pair (low, high) of them, got (3, 1).",
        ),
        (
            {"delay_steps": 1.5},
            "sensors: delay_steps must be a whole number of at least 0, or a pair (low, high) of them, got 1.5.",
        ),
        (
            {"columns": [0, 3]},
            "sensors: columns must be different indices within 0 … 2, got [0, 3]. Leave it out for all columns.",
        ),
        (
            {"columns": []},
            "sensors: columns must be different indices within 0 … 2, got []. Leave it out for all columns.",
        ),
        (
            {"columns": [1, 1]},
            "sensors: columns must be different indices within 0 … 2, got [1, 1]. Leave it out for all columns.",
        ),
        ({"stream": "a"}, "sensors: stream must be a whole number, got 'a'."),
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings, message):
    with pytest.raises(InvalidValue) as caught:
        sensors(Walk(), **settings)
    assert str(caught.value) == message


def test_observations_of_another_kind_are_refused():
    env = Walk()
    env.observation_space = gym.spaces.Box(0, 9, (4, 4), np.uint8)
    with pytest.raises(InvalidValue) as caught:
        sensors(env, noise_sd=1)
    assert str(caught.value) == (
        "sensors: the observation space must be a Box of one axis of float32 or float64, got Box(0, 9, (4, 4), uint8). "
        "FlattenObservation of gymnasium may make one."
    )
