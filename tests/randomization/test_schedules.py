# ruff: noqa: E501 - messages are compared as a whole
"""Schedules: where ranges begin, what moves their ends and how far, and that they go on from a saved state."""

import json
import pickle

import gymnasium as gym
import numpy as np
import pytest

from rlops.envs import add_family, parallel_env
from rlops.envs.faces import Env, VectorEnv
from rlops.errors import InvalidValue, UnknownName
from rlops.randomization import randomize
from tests.envs.drift_kernel import DRIFT, STEPS

ID = "rlops/Drift-v0"
CURRENT = {"dist": "uniform", "low": 0, "high": 1}
ADR = {"kind": "adr", "metric": "safe", "low": 0.3, "high": 0.7, "delta": 0.05, "window": 20}


def boats(n, schedule, mode="SameStep", **terms):
    envs = VectorEnv(DRIFT, 0, n, autoreset_mode=mode)
    randomize(envs, {"env": ID, "params": terms or {"current": CURRENT}, "schedule": schedule})
    envs.reset(seed=0)
    return envs


def still(envs):
    return np.zeros((envs.num_envs, 1))


def against(envs):
    """Push against the current, as far as the boat has been carried."""
    return np.clip(-10 * envs.state["x_m"][:, None], -1, 1)


def sail(envs, episodes, policy):
    """Sail so many episodes one after another and return the currents of all of them, ``(episodes, n)``."""
    currents = []
    for _ in range(episodes):
        currents.append(envs.params["current"].copy())
        for _ in range(STEPS):
            envs.step(policy(envs))
    return np.array(currents)


def current_range(envs):
    return envs.schedule_state()["ranges"]["current"]


def test_a_linear_schedule_widens_from_nominal_to_the_whole_range_with_the_steps_taken():
    envs = boats(50, {"kind": "linear", "steps": 4 * 50 * STEPS})
    currents = sail(envs, 7, still)
    np.testing.assert_array_equal(currents[0], 0.2)
    for episode in range(1, 7):
        share = min(episode / 4, 1)
        low, high = 0.2 - 0.2 * share, 0.2 + 0.8 * share
        assert currents[episode].min() >= low - 1e-12
        assert currents[episode].max() <= high + 1e-12
        assert np.ptp(currents[episode]) > 0.8 * (high - low)
    assert current_range(envs) == [0.0, 1.0]


def test_adr_widens_to_the_hard_bounds_when_the_task_is_easy():
    envs = boats(100, ADR)
    currents = sail(envs, 60, against)
    assert np.ptp(currents[0]) == 0
    assert current_range(envs) == [0.0, 1.0]
    assert currents[-1].min() == 0.0
    assert currents[-1].max() == 1.0


def test_adr_holds_where_the_agent_fails():
    envs = boats(100, ADR)
    sail(envs, 60, still)
    low, high = current_range(envs)
    assert low == 0.0
    assert high == pytest.approx(0.5, abs=0.05 + 1e-9)  # without a push a boat is lost from 0.5 m/s on


def test_adr_holds_at_nominal_when_the_task_is_hard():
    envs = boats(100, ADR | {"metric": "distance_m", "low": 100, "high": 101})
    sail(envs, 20, still)
    assert current_range(envs) == [0.2, 0.2]


def test_adr_narrows_again_when_the_agent_becomes_worse():
    envs = boats(100, ADR)
    sail(envs, 60, against)
    assert current_range(envs) == [0.0, 1.0]
    sail(envs, 60, still)
    low, high = current_range(envs)
    assert low == 0.0
    assert high == pytest.approx(0.5, abs=0.05 + 1e-9)


def test_the_asked_share_of_episodes_is_at_one_end_of_one_range():
    envs = boats(2000, ADR | {"boundary_prob": 0.4, "window": 10_000}, current=CURRENT,
                 thrust={"dist": "uniform", "low": 0.5, "high": 2})  # fmt: skip
    envs.load_schedule_state({"ranges": {"current": [0.1, 0.6], "thrust": [0.5, 2.0]}, "windows": [[], [], [], []]})
    envs.reset(seed=1)
    current, thrust = envs.params["current"], envs.params["thrust"]
    shares = [np.mean(current == 0.1), np.mean(current == 0.6), np.mean(thrust == 0.5), np.mean(thrust == 2.0)]
    np.testing.assert_allclose(shares, 0.1, atol=4 * (0.1 * 0.9 / 2000) ** 0.5)
    assert not np.any(((current == 0.1) | (current == 0.6)) & ((thrust == 0.5) | (thrust == 2.0)))


def test_episodes_that_began_before_an_end_moved_do_not_count_for_it():
    envs = boats(100, ADR | {"boundary_prob": 1.0, "window": 1000})
    for _ in range(STEPS - 1):
        envs.step(still(envs))
    envs.load_schedule_state({"ranges": {"current": [0.1, 0.6]}, "windows": [[], []]})
    envs.step(still(envs))  # all end, with currents of the old range
    assert envs.schedule_state()["windows"] == [[], []]
    sail(envs, 1, still)
    assert sum(len(window) for window in envs.schedule_state()["windows"]) == 100


@pytest.mark.parametrize("schedule", [ADR, {"kind": "linear", "steps": 9000}], ids=["adr", "linear"])
def test_a_schedule_goes_on_from_a_checkpoint_bit_for_bit(schedule):
    envs = boats(64, schedule)
    sail(envs, 5, against)
    saved, state = envs.save_state(), json.loads(json.dumps(envs.schedule_state()))
    expected = sail(envs, 12, against)
    again = boats(64, schedule)
    again.load_schedule_state(state)
    again.load_state(saved)
    np.testing.assert_array_equal(sail(again, 12, against), expected)
    assert again.schedule_state() == envs.schedule_state()


def test_a_schedule_survives_pickling():
    add_family(DRIFT)
    envs = boats(64, ADR)
    sail(envs, 5, against)
    again = pickle.loads(pickle.dumps(envs))
    np.testing.assert_array_equal(sail(again, 10, against), sail(envs, 10, against))
    assert again.schedule_state() == envs.schedule_state()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_schedule_hears_of_every_episode_once_in_every_mode_and_face(mode):
    envs = boats(8, ADR | {"boundary_prob": 1.0, "window": 1000}, mode)
    one = randomize(
        Env(DRIFT, 0),
        {"env": ID, "params": {"current": CURRENT}, "schedule": ADR | {"boundary_prob": 1.0, "window": 1000}},
    )
    one.reset(seed=0)
    for episode in range(3):
        for _ in range(STEPS + (mode == "NextStep" and episode > 0)):
            envs.step(still(envs))
        if mode == "Disabled":
            envs.reset()
        for _ in range(STEPS):
            one.step(np.zeros(1))
        one.reset()
    for face, episodes in ((envs, 24), (one, 3)):
        assert sum(len(window) for window in face.schedule_state()["windows"]) == episodes


def test_the_parallel_face_tells_its_schedule():
    env = parallel_env("rlops/Dispatch-v2")
    spec = {"env": "rlops/Dispatch-v2", "params": {"base_speed_kmh": {"dist": "uniform", "low": 26, "high": 38}}}
    randomize(env, {**spec, "schedule": {"kind": "linear", "steps": 10_000}})
    _, infos = env.reset(seed=0)
    while env.agents:
        masks = {agent: info["action_mask"] for agent, info in infos.items()}
        _, _, _, _, infos = env.step({agent: int(np.argmax(masks[agent])) for agent in env.agents})
    assert env.schedule_state()["steps"] == env.state["steps"][0]


def test_a_loguniform_range_widens_in_its_logarithm():
    envs = boats(400, {"kind": "linear", "steps": 2 * 400 * STEPS},
                 current=CURRENT, thrust={"dist": "loguniform", "low": 0.5, "high": 2})  # fmt: skip
    sail(envs, 1, still)
    assert envs.params["thrust"].min() >= 0.5**0.5 - 1e-12
    assert envs.params["thrust"].max() <= 2**0.5 + 1e-12
    assert np.ptp(np.log(envs.params["thrust"])) > 0.9 * np.log(2)


def test_parameters_that_the_engine_cannot_vary_are_refused():
    with pytest.raises(InvalidValue) as error:
        randomize(Env(DRIFT, 0), {"env": ID, "params": {"tide": CURRENT}})
    assert str(error.value) == (
        "rlops/Drift-v0: randomized parameter tide: the engine must be able to vary it, got none. Leave it out, or use wet."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schedule": {"kind": "adr", "metric": "safe", "low": 0.7, "high": 0.3}},
            "randomization: schedule: low must be below high, or an end would be moved both ways, got 0.7 and 0.3.",
        ),
        (
            {"schedule": {"kind": "ard"}},
            "randomization: schedule has no kind named 'ard'. Did you mean adr? It has: adr, constant, linear.",
        ),
        (
            {"schedule": {"steps": 3}},
            "randomization: schedule must have a kind, one of constant, linear, adr, got {'steps': 3}.",
        ),
        (
            {"schedule": {"kind": "linear", "step": 3}},
            "randomization.schedule has no field named 'step'. Did you mean steps? It has: kind, steps.",
        ),
        (
            {"schedule": {"kind": "linear", "steps": 0}},
            "randomization: schedule.steps: input should be greater than or equal to 1, got 0.",
        ),
        (
            {"schedule": ADR | {"metric": "sfae"}},
            "rlops/Drift-v0 has no metric of the schedule named 'sfae'. Did you mean safe? It has: distance_m, length, safe.",
        ),
        (
            {"schedule": ADR, "params": {}},
            "rlops/Drift-v0: schedule adr must have a range to move, got none. Randomize one.",
        ),
        (
            {"schedule": ADR, "params": {"current": {"dist": "normal", "mean": 0.2, "std": 1}}},
            "rlops/Drift-v0: randomized parameter current: dist must be uniform, loguniform or constant under schedule adr, "
            "got normal.",
        ),
        (
            {"schedule": ADR, "params": {"current": {**CURRENT, "per": "step"}}},
            "rlops/Drift-v0: randomized parameter current: per must be episode under schedule adr, got step.",
        ),
        (
            {"schedule": ADR, "params": {"current": {**CURRENT, "low": 0.3}}},
            "rlops/Drift-v0: randomized parameter current: the range must hold the nominal value, 0.2, from which schedule "
            "adr widens it.",
        ),
        (
            {"expose": {"privileged": ["curent"]}},
            "rlops/Drift-v0 has no parameter named 'curent'. Did you mean current? It has: colour, current, thrust, tide.",
        ),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused_in_words(change, message):
    with pytest.raises((InvalidValue, UnknownName)) as error:
        randomize(Env(DRIFT, 0), {"env": ID, "params": {"current": CURRENT}, **change})
    assert str(error.value) == message


def test_the_state_of_another_schedule_is_refused():
    envs = boats(2, ADR)
    with pytest.raises(
        InvalidValue, match=r"got ranges, steps of current\. Load it into the randomization it is from\."
    ):
        envs.load_schedule_state(boats(2, {"kind": "linear", "steps": 9}).schedule_state())
    plain = gym.make("rlops/Dispatch-v0").unwrapped
    assert plain.schedule_state() == {}
    with pytest.raises(InvalidValue, match=r"got none\. Call randomize first\."):
        plain.load_schedule_state(envs.schedule_state())
