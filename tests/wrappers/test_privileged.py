"""What is privileged is added, belongs to the episode of its observation, and changes nothing else."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

import rlops
from rlops.envs.contract import Parameter
from rlops.errors import InvalidValue, UnknownName
from rlops.randomization import randomize
from rlops.wrappers import privileged
from rlops.wrappers.privilege import Scale

ID = "rlops/Dispatch-v0"
NAMES = ("speed_kmh", "traffic_slowdown", "near_km")
TERMS = {
    "speed_kmh": {"dist": "uniform", "low": 20, "high": 40},
    "traffic_slowdown": {"dist": "uniform", "low": 0, "high": 2, "per": "step"},
}
EPISODE = 96


def spec(**others):
    return {"env": ID, "params": TERMS, **others}


def vector(n=3, mode=AutoresetMode.NEXT_STEP, flat=False, names=NAMES, **others):
    envs = gym.make_vec(ID, num_envs=n, autoreset_mode=mode)
    return privileged(randomize(envs, spec(**others)), names, flat)


def single(flat=False, names=NAMES):
    return privileged(randomize(gym.make(ID), spec()), names, flat)


def parameters(env):
    """Return the parameters in force, scaled with NumPy by the bounds that the kernel declares."""
    known = {p.name: p for p in env.unwrapped.kernel.PARAMETERS}
    columns = [
        np.interp(env.unwrapped.params[name], [known[name].low, known[name].high], [-1.0, 1.0]) for name in NAMES
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def split(obs, flat):
    return (obs[..., : -len(NAMES)], obs[..., -len(NAMES) :]) if flat else (obs["obs"], obs["privileged"])


def episodes_of(env, count, flat, seed):
    """Return for each of ``count`` episodes of a single environment what it observed, ``(steps + 1, k)`` each."""
    told = []
    for episode in range(count):
        obs, _ = env.reset(seed=seed if episode == 0 else None)
        seen, over = [split(obs, flat)], False
        while not over:
            obs, _, terminated, truncated, _ = env.step(0)
            seen.append(split(obs, flat))
            over = terminated or truncated
        told.append(tuple(np.array(part) for part in zip(*seen, strict=True)))
    return told


@pytest.mark.parametrize("flat", [False, True])
def test_what_is_shown_are_the_parameters_in_force_in_every_step(flat):
    env = single(flat)
    obs, _ = env.reset(seed=3)
    shown = []
    for step in range(6):
        if step:
            obs = env.step(0)[0]
        np.testing.assert_array_equal(split(obs, flat)[1], parameters(env)[0])
        assert env.observation_space.contains(obs)
        shown.append(split(obs, flat)[1])
    shown = np.array(shown)
    assert len(set(shown[1:, 1])) == 5  # drawn again in every step
    assert len(set(shown[:, 0])) == 1
    assert shown[0, 2] == 2 * 5 / 20 - 1  # near_km is not randomized


@pytest.mark.parametrize(("flat", "info"), [(False, True), (True, False)])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rows_show_what_the_single_environment_shows_in_every_autoreset_mode(mode, flat, info):
    told = [episodes_of(single(flat), 2, flat, seed=5 + row) for row in range(3)]
    envs = vector(3, mode, flat, expose={"info": info})
    obs, _ = envs.reset(seed=5)
    for episode in range(2):
        for step in range(EPISODE + 1):
            last = step == EPISODE
            if step:
                obs, _, terminated, truncated, infos = envs.step(np.zeros(3, np.int64))
                assert (terminated | truncated).all() == last
            for row in range(3):
                shown = split(obs, flat)
                if last and mode is AutoresetMode.SAME_STEP:
                    shown = split(infos["final_obs"][row], flat)
                    np.testing.assert_array_equal(shown[0], told[row][episode][0][step])
                    np.testing.assert_array_equal(shown[1], told[row][episode][1][step])
                    assert envs.single_observation_space.contains(infos["final_obs"][row])
                else:
                    np.testing.assert_array_equal(shown[0][row], told[row][episode][0][step])
                    np.testing.assert_array_equal(shown[1][row], told[row][episode][1][step])
        if mode is AutoresetMode.DISABLED:
            obs, _ = envs.reset(options={"reset_mask": np.ones(3, np.bool_)})
        elif mode is AutoresetMode.NEXT_STEP:
            obs = envs.step(np.zeros(3, np.int64))[0]


def test_rows_that_go_on_keep_no_last_observation():
    envs = vector(2, AutoresetMode.SAME_STEP)
    envs.reset(seed=0)
    envs.step(np.zeros(2, np.int64))
    envs.reset(options={"reset_mask": np.array([True, False])})
    for _ in range(EPISODE - 1):
        _, _, terminated, _, infos = envs.step(np.zeros(2, np.int64))
    assert terminated.tolist() == infos["_final_obs"].tolist() == [False, True]
    assert infos["final_obs"][0] is None
    assert set(infos["final_obs"][1]) == {"obs", "privileged"}


def test_a_state_loaded_before_the_last_step_shows_its_own_parameters_at_the_end():
    envs = vector(2, AutoresetMode.SAME_STEP, expose={"info": False}, names=["speed_kmh"])
    envs.reset(seed=0)
    for _ in range(EPISODE - 1):
        obs = envs.step(np.zeros(2, np.int64))[0]
    envs.unwrapped.clone_rows(0, [1])
    *_, infos = envs.step(np.zeros(2, np.int64))
    assert "params" not in infos["final_info"]
    for row in range(2):
        np.testing.assert_array_equal(infos["final_obs"][row]["privileged"], obs["privileged"][0])
    assert (infos["final_obs"][1]["privileged"] != obs["privileged"][1]).all()


def test_the_observation_of_the_actor_and_everything_else_stay_as_they_were():
    plain = randomize(gym.make_vec(ID, num_envs=2, autoreset_mode="SameStep"), spec())
    envs, flat = vector(2, "SameStep"), vector(2, "SameStep", flat=True)
    obs, seen, seen_flat = (e.reset(seed=1)[0] for e in (plain, envs, flat))
    for _ in range(EPISODE + 2):
        np.testing.assert_array_equal(seen["obs"], obs)
        np.testing.assert_array_equal(seen_flat[:, : obs.shape[1]], obs)
        stepped, shown, shown_flat = (e.step(np.zeros(2, np.int64)) for e in (plain, envs, flat))
        for part in range(1, 4):
            np.testing.assert_array_equal(shown[part], stepped[part])
            np.testing.assert_array_equal(shown_flat[part], stepped[part])
        assert shown[4].keys() == stepped[4].keys()
        obs, seen, seen_flat = stepped[0], shown[0], shown_flat[0]


def test_the_spaces_say_what_is_observed_whatever_is_randomized():
    bare, wide = privileged(gym.make(ID), NAMES), single()
    assert bare.observation_space == wide.observation_space
    assert wide.observation_space["obs"] == gym.make(ID).observation_space
    assert wide.observation_space["privileged"] == gym.spaces.Box(-1, 1, (3,), np.float32)
    envs, flat = vector(4), vector(4, flat=True)
    assert envs.single_observation_space == wide.observation_space
    assert envs.observation_space["privileged"].shape == (4, 3)
    before = gym.make(ID).observation_space
    assert flat.single_observation_space == gym.spaces.Box(
        np.append(before.low, np.float32([-1] * 3)), np.append(before.high, np.float32([1] * 3)), dtype=np.float32
    )
    assert flat.single_observation_space == single(flat=True).observation_space
    for env in (envs, flat):
        assert env.observation_space.contains(env.reset(seed=0)[0])


@given(st.data())
def test_scaling_maps_the_hard_bounds_to_minus_one_and_one(data):
    low = data.draw(st.floats(-1e6, 1e6))
    high = low + data.draw(st.floats(1e-3, 1e6))
    inside = data.draw(st.floats(low, high))
    shown = Parameter("x", "-", low, low, high, "physical", "test")
    values = np.array([(low,), (high,), (inside,)], [("x", "f8")])
    scaled = Scale((shown,)).of(values)
    assert scaled.dtype == np.float32
    assert scaled[0, 0] == -1
    assert scaled[1, 0] == 1
    assert -1 <= scaled[2, 0] <= 1
    assert scaled[2, 0] == pytest.approx(-1 + 2 * (inside - low) / (high - low), abs=1e-6)


def test_without_names_the_marks_of_the_randomization_are_taken():
    env = randomize(gym.make(ID), {"env": ID, "params": {}, "expose": {"privileged": ["near_km", "speed_kmh"]}})
    assert [p.name for p in privileged(env).parameters] == ["near_km", "speed_kmh"]


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_gymnasiums_checker_passes_and_the_spec_rebuilds_the_wrapper():
    for flat in (False, True):
        env = privileged(gym.make(ID), NAMES, flat)
        check_env(env, skip_render_check=True)
        again = gym.make(env.spec)
        np.testing.assert_array_equal(split(again.reset(seed=4)[0], flat)[1], split(env.reset(seed=4)[0], flat)[1])


def test_a_wrapped_environment_pickles_within_an_episode():
    for env, action in ((single(), 0), (vector(2, "SameStep"), np.zeros(2, np.int64))):
        env.reset(seed=0)
        env.step(action)
        twin = pickle.loads(pickle.dumps(env))
        for _ in range(3):
            obs, twin_obs = env.step(action)[0], twin.step(action)[0]
            np.testing.assert_array_equal(twin_obs["privileged"], obs["privileged"])
            np.testing.assert_array_equal(twin_obs["obs"], obs["obs"])


def test_other_wrappers_may_lie_between():
    env = privileged(gym.wrappers.RescaleObservation(gym.make(ID), np.float32(-1), np.float32(1)), ["speed_kmh"])
    assert env.reset(seed=0)[0]["privileged"] == np.float32((30 - 10) / 50 * 2 - 1)


def test_errors_say_what_to_do():
    env = gym.make(ID)
    with pytest.raises(UnknownName) as error:
        privileged(env, ["speed_kmph"])
    assert str(error.value).startswith(
        "rlops/Dispatch-v0 has no parameter named 'speed_kmph'. Did you mean speed_kmh? It has: "
    )
    must = "rlops/Dispatch-v0: privileged needs at least one parameter and each of them once, got "
    hint = ". Pass names=[…], or mark parameters in the randomization: expose: {privileged: […]}."
    for names, got in ((None, "none"), ([], "none"), (["near_km"] * 2, "near_km, near_km")):
        with pytest.raises(InvalidValue) as error:
            privileged(env, names)
        assert str(error.value) == must + got + hint
    for other in (gym.make("CartPole-v1"), rlops.envs, gym.make_vec("CartPole-v1", num_envs=1)):
        with pytest.raises(InvalidValue, match="privileged needs a single or vector environment of rlops, got"):
            privileged(other, ["speed_kmh"])
    with pytest.raises(InvalidValue, match="privileged with flat=True needs a vector of floating-point numbers"):
        privileged(privileged(env, ["speed_kmh"]), ["near_km"], flat=True)
