"""What a randomization draws: the same in every face, from the right distribution, always from nominal."""

import math
import statistics

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import rlops
from rlops.envs import sampling
from rlops.errors import InvalidValue
from rlops.randomization import randomize

ID = "rlops/Dispatch-v0"
SPEC = {
    "env": ID,
    "params": {
        "speed_kmh": {"dist": "uniform", "low": 20, "high": 40, "unit": "km/h"},
        "traffic_slowdown": {"op": "scale", "dist": "uniform", "low": 0.5, "high": 2},
        "near_km": {"op": "add", "dist": "truncnormal", "mean": 0, "std": 1, "low": -2, "high": 2},
        "load_end_probability": {"dist": "loguniform", "low": 0.02, "high": 0.5},
    },
}


def vector(n, spec=SPEC, mode=AutoresetMode.NEXT_STEP, seed=7, **kwargs):
    envs = gym.make_vec(ID, num_envs=n, autoreset_mode=mode, **kwargs)
    randomize(envs, spec)
    envs.reset(seed=seed)
    return envs


def drawn(envs, names=tuple(SPEC["params"])):
    return np.stack([envs.unwrapped.params[name].copy() for name in names], axis=1)


def many(term, n=4000, name="speed_kmh"):
    envs = vector(n, {"env": ID, "params": {name: term}})
    return envs.unwrapped.params[name].copy()


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_row_i_draws_what_a_single_environment_with_its_seed_draws(n):
    envs = vector(n)
    for i in (0, n - 1):
        one = randomize(gym.make(ID), SPEC)
        _, info = one.reset(seed=7 + i)
        np.testing.assert_array_equal(drawn(one)[0], drawn(envs)[i])
        assert info["params"] == {name: one.unwrapped.params[name][0] for name in info["params"]}
        assert set(info["params"]) == set(SPEC["params"])


def test_draws_do_not_depend_on_the_order_of_the_terms_nor_on_other_terms():
    backwards = {**SPEC, "params": dict(reversed(SPEC["params"].items()))}
    np.testing.assert_array_equal(drawn(vector(5)), drawn(vector(5, backwards)))
    alone = {"env": ID, "params": {"near_km": SPEC["params"]["near_km"]}}
    np.testing.assert_array_equal(drawn(vector(5))[:, 2], drawn(vector(5, alone), ("near_km",))[:, 0])


def test_draws_do_not_depend_on_which_rows_are_reset_together():
    envs, apart = vector(4), vector(4)
    envs.reset()
    for rows in ([True, False, False, True], [False, True, True, False]):
        apart.reset(options={"reset_mask": np.array(rows)})
    np.testing.assert_array_equal(drawn(envs), drawn(apart))


def test_two_threads_draw_what_one_draws():
    np.testing.assert_array_equal(drawn(vector(300, threads=1)), drawn(vector(300, threads=2)))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_draw_what_the_vector_face_draws(context):
    workers = gym.vector.AsyncVectorEnv([lambda: randomize(gym.make(ID), SPEC)] * 2, context=context)
    try:
        _, infos = workers.reset(seed=7)
    finally:
        workers.close()
    told = np.stack([infos["params"][name] for name in SPEC["params"]], axis=1)
    np.testing.assert_array_equal(told, drawn(vector(2)))


def test_terms_and_episodes_and_rows_draw_independently():
    envs = vector(2000, {"env": ID, "params": {n: {"dist": "uniform", "low": 0, "high": 1} for n in
                         ("arrival_rush", "arrival_midday", "arrival_else")}})  # fmt: skip
    names = ("arrival_rush", "arrival_midday", "arrival_else")
    first = drawn(envs, names)
    envs.reset()
    columns = np.concatenate([first, drawn(envs, names), np.roll(first, 1, axis=0)], axis=1)
    correlations = np.corrcoef(columns.T) - np.eye(9)
    assert np.abs(correlations).max() < 4.5 / math.sqrt(2000)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_episode_draws_anew_in_every_mode_and_says_what(mode):
    envs = vector(3, mode=mode)
    one = randomize(gym.make(ID), SPEC)
    expected = []
    for episode in range(3):
        one.reset(seed=7 if episode == 0 else None)
        expected.append(drawn(one)[0])
    told = [drawn(envs)[0]]
    waits = np.zeros(3, np.int64)
    for _ in range(2 * 97 + 1):
        if len(told) == 3:
            break
        _, _, terminated, truncated, infos = envs.step(waits)
        ended = terminated | truncated
        if "params" not in infos:
            assert not ended.any()
            continue
        values = np.array([infos["params"][name][0] for name in SPEC["params"]])
        if ended[0]:
            final = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
            np.testing.assert_array_equal([final["params"][name][0] for name in SPEC["params"]], told[-1])
        if mode is AutoresetMode.DISABLED and ended.all():
            _, infos = envs.reset(options={"reset_mask": ended})
            values = np.array([infos["params"][name][0] for name in SPEC["params"]])
        if mode is not AutoresetMode.NEXT_STEP or not ended[0]:
            told.append(values)
    np.testing.assert_array_equal(told, expected)


def test_rows_that_were_reset_after_their_end_are_not_told_of_again():
    envs, waits = vector(3), np.zeros(3, np.int64)
    while not envs.step(waits)[2].any():
        pass
    _, infos = envs.reset(options={"reset_mask": np.array([True, False, False])})
    np.testing.assert_array_equal(infos["params"]["speed_kmh"][0], envs.unwrapped.params["speed_kmh"][0])
    infos = envs.step(waits)[4]  # the others begin now
    assert infos["_params"].tolist() == [False, True, True]
    told = infos["params"]["speed_kmh"]
    np.testing.assert_array_equal(told, [0, *envs.unwrapped.params["speed_kmh"][1:]])
    while not envs.step(waits)[2].any():
        pass
    envs.reset()
    assert "params" not in envs.step(waits)[4]


def test_a_thousand_resets_do_not_accumulate():
    envs = vector(2)
    for _ in range(1000):
        envs.reset()
    params = envs.unwrapped.params
    assert ((params["traffic_slowdown"] >= 0.25) & (params["traffic_slowdown"] <= 1.0)).all()
    assert ((params["near_km"] >= 3) & (params["near_km"] <= 7)).all()
    again = vector(2)
    again.unwrapped.state["episode"] = 999
    again.reset()
    np.testing.assert_array_equal(drawn(envs), drawn(again))


def test_scale_and_add_start_from_the_sticky_parameters_of_the_row():
    terms = {
        "near_km": {"op": "add", "dist": "constant", "value": 1},
        "speed_kmh": {"op": "scale", "dist": "constant", "value": 1.5},
    }
    envs = vector(2, {"env": ID, "params": terms})
    envs.unwrapped.set_params({"near_km": 8, "speed_kmh": 20}, [1])
    envs.reset()
    assert envs.unwrapped.params["near_km"].tolist() == [6, 9]
    assert envs.unwrapped.params["speed_kmh"].tolist() == [45, 30]


def test_an_override_holds_for_one_episode_and_leaves_the_other_draws():
    envs, plain = vector(3), vector(3)
    before = drawn(plain)
    envs.reset(seed=7, options={"params": {"speed_kmh": 33}})
    assert envs.unwrapped.params["speed_kmh"].tolist() == [33, 33, 33]
    np.testing.assert_array_equal(drawn(envs)[:, 1:], before[:, 1:])
    envs.reset()
    plain.reset()
    np.testing.assert_array_equal(drawn(envs), drawn(plain))


def test_terms_of_a_step_change_before_every_step_and_those_of_an_interval_within_its_bounds():
    spec = {"env": ID, "params": {"speed_kmh": {"dist": "uniform", "low": 20, "high": 40, "per": "step"},
            "traffic_slowdown": {"dist": "uniform", "low": 0, "high": 1, "per": "interval", "every": [5, 9]},
            "near_km": {"dist": "uniform", "low": 1, "high": 9}}}  # fmt: skip
    envs = vector(2, spec)
    seen = [drawn(envs, tuple(spec["params"]))]
    for _ in range(90):
        envs.step(np.zeros(2, np.int64))
        seen.append(drawn(envs, tuple(spec["params"])))
    seen = np.array(seen)[1:]
    assert (np.diff(seen[:, :, 0], axis=0) != 0).all()
    assert (np.diff(seen[:, :, 2], axis=0) == 0).all()
    for row in range(2):
        changes = np.flatnonzero(np.diff(seen[:, row, 1]))
        assert 5 <= np.diff(changes).min() <= np.diff(changes).max() <= 9
    with pytest.raises(InvalidValue) as error:
        envs.reset(options={"params": {"speed_kmh": 30}})
    assert str(error.value) == (
        "rlops/Dispatch-v0: parameter speed_kmh must not be overridden, as it is drawn again within an episode. "
        "Leave it out of options['params'], or randomize it per episode."
    )


def test_a_loaded_row_goes_on_with_its_parameters():
    envs = vector(2)
    saved = envs.unwrapped.save_state([0])
    envs.reset()
    envs.unwrapped.load_state(saved, [1])
    np.testing.assert_array_equal(drawn(envs)[1], drawn(vector(2))[0])


# --- distributions --------------------------------------------------------------------------------------


@njit
def _quantiles(u, out):
    for i in range(len(u)):
        out[i] = sampling.normal_quantile(u[i])


@given(st.floats(1e-300, 1 - 2**-53))
def test_the_normal_quantile_is_that_of_the_standard_library(u):
    assert sampling.normal_quantile(u) == pytest.approx(statistics.NormalDist().inv_cdf(u), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(
    ("term", "quantiles"),
    [
        ({"dist": "uniform", "low": 20, "high": 40}, {0.25: 25, 0.5: 30, 0.75: 35}),
        ({"dist": "loguniform", "low": 10, "high": 40}, {0.25: 14.14, 0.5: 20, 0.75: 28.28}),
        ({"dist": "normal", "mean": 30, "std": 4}, {0.159: 26, 0.5: 30, 0.841: 34}),
        ({"dist": "truncnormal", "mean": 30, "std": 4, "low": 30, "high": 60}, {0.383: 32, 0.683: 34, 0.954: 38}),
        ({"dist": "choice", "values": [20, 30, 40], "weights": [1, 2, 1]}, {0.2: 20, 0.3: 30, 0.7: 30, 0.8: 40}),
        ({"dist": "constant", "value": 25}, {0.1: 25, 0.9: 25}),
    ],
)
def test_a_distribution_has_its_quantiles(term, quantiles):
    values = many(term)
    spread = max(np.ptp(values), 1e-12)
    for share, value in quantiles.items():
        assert np.quantile(values, share) == pytest.approx(value, abs=0.03 * spread)


def test_whole_parameters_stay_whole_and_names_of_choices_are_known():
    spec = {"env": "rlops/Dispatch-v1", "params": {"n_vehicles": {"dist": "uniform", "low": 5, "high": 8},
            "demand_profile": {"dist": "choice", "values": ["nyc", "flat"]}}}  # fmt: skip
    envs = randomize(gym.make_vec("rlops/Dispatch-v1", num_envs=400), spec)
    envs.reset(seed=0)
    numbers, counts = np.unique(envs.unwrapped.params["n_vehicles"], return_counts=True)
    assert numbers.tolist() == [5, 6, 7, 8]
    assert np.all(abs(counts - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5)  # each as likely as the others
    assert set(envs.unwrapped.params["demand_profile"].tolist()) == {1, 3}


def test_correlated_parameters_keep_their_distributions():
    spec = {"env": ID, "params": {name: {"dist": "uniform", "low": 0, "high": 1} for name in
            ("arrival_rush", "arrival_midday", "arrival_else")},
            "correlations": [{"params": ["arrival_rush", "arrival_else"], "rho": 0.8}]}  # fmt: skip
    a, b, c = drawn(vector(4000, spec), ("arrival_rush", "arrival_midday", "arrival_else")).T
    rank = 6 / math.pi * math.asin(0.8 / 2)  # of a Gaussian copula, Kruskal 1958
    assert np.corrcoef(a, c)[0, 1] == pytest.approx(rank, abs=0.03)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.07
    for values in (a, b, c):
        assert np.quantile(values, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.03)


def test_a_grid_visits_every_point_once_over_as_many_rows_or_episodes():
    spec = {"env": ID, "params": {"speed_kmh": {"dist": "grid", "low": 20, "high": 40, "n": 3},
                                  "near_km": {"dist": "grid", "low": 1, "high": 9, "n": 2}}}  # fmt: skip
    names = ("speed_kmh", "near_km")
    points = {(s, k) for s in (20, 30, 40) for k in (1, 9)}
    assert set(map(tuple, drawn(vector(6, spec), names).tolist())) == points
    one = vector(1, spec)
    seen = {tuple(drawn(one, names)[0])}
    for _ in range(5):
        one.reset()
        seen.add(tuple(drawn(one, names)[0]))
    assert seen == points


@pytest.mark.parametrize("dist", ["sobol", "lhs"])
def test_a_design_has_one_point_in_every_slice(dist):
    spec = {"env": ID, "params": {name: {"dist": dist, "low": 0, "high": 1, "n": 64} for name in
            ("arrival_rush", "arrival_else")}}  # fmt: skip
    for values in drawn(vector(64, spec), ("arrival_rush", "arrival_else")).T:
        assert np.bincount((values * 64).astype(int), minlength=64).tolist() == [1] * 64


def test_samples_of_one_file_are_drawn_by_row(tmp_path):
    file = tmp_path / "samples.csv"
    file.write_text("speed,near\n20,1\n30,2\n40,3\n")
    spec = {"env": ID, "params": {"speed_kmh": {"dist": "empirical", "file": str(file), "column": "speed"},
                                  "near_km": {"dist": "empirical", "file": str(file), "column": "near"}}}  # fmt: skip
    pairs = drawn(vector(300, spec), ("speed_kmh", "near_km"))
    assert set(map(tuple, pairs.tolist())) == {(20, 1), (30, 2), (40, 3)}


def test_the_parallel_face_draws_the_same():
    spec = {"env": "rlops/Dispatch-v2", "params": {"base_speed_kmh": {"dist": "uniform", "low": 26, "high": 38}}}
    agents = randomize(rlops.envs.parallel_env("rlops/Dispatch-v2"), spec)
    one = randomize(gym.make("rlops/Dispatch-v2"), spec)
    _, infos = agents.reset(seed=3)
    _, info = one.reset(seed=3)
    assert infos["vehicle_0"]["params"] == info["params"]
    assert 26 <= info["params"]["base_speed_kmh"] <= 38
