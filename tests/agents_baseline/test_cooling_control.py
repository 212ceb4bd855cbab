"""Operators of a data centre: their loops, their memory, the order in which they spend, and the score between them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rlops.agents_baseline import cooling_control
from rlops.agents_baseline.agents import TrainedAgent, _check_spaces
from rlops.agents_baseline.controllers import controllers_for, make_controller, reference_for
from rlops.agents_baseline.cooling_control import HourlyOptimum, SetPoints, TrimAndRespond
from rlops.agents_baseline.cooling_loops import planned_moves
from rlops.agents_baseline.cooling_score import FREE_K_MIN_PER_DAY, Score, regret_score, saving
from rlops.agents_baseline.evaluate import evaluate
from rlops.envs.batch import Batch
from rlops.envs.cooling import DATACENTER_COOLING, steady
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidValue, UnknownName

V0, V1 = "rlops/DatacenterCooling-v0", "rlops/DatacenterCooling-v1"
DAY = {"horizon_min": 1440}
CALM = {"load_noise": 0.0, "burst_per_day": 0.0, "weather_variation_k": 0.0}
LADDER = ("legacy_fixed", "tuned_fixed", "pid", "trim_and_respond", "linear_mpc", "hourly_optimum")
SEEDS = range(4)


@pytest.fixture(scope="module")
def days():
    """The same four days of v1 by every controller but chance."""
    return {name: evaluate(V1, make_controller(name, V1), SEEDS, params=DAY, latency=False) for name in LADDER}


# --- names ----------------------------------------------------------------------------------------------


def test_every_version_has_the_controllers_that_make_sense_there():
    assert controllers_for(V1) == ("random", *LADDER)
    assert controllers_for(V0) == ("random", *(name for name in LADDER if name != "linear_mpc"))
    with pytest.raises(UnknownName, match="trim_and_respond"):
        make_controller("linear_mpc", V0)
    with pytest.raises(UnknownName, match="no controller named 'hungarian'"):
        make_controller("hungarian", V1)


@pytest.mark.parametrize("id", [V0, V1])
def test_the_reference_plays_a_bare_batch(id):
    agent = reference_for(id)
    batch = Batch(DATACENTER_COOLING, int(id[-1]), 2, params={"horizon_min": 30}, threads=1)
    batch.seed(np.arange(2), [0, 1])
    batch.reset()
    while not batch.out.truncated.any():
        batch.step(agent.actions(batch, batch.out.obs, batch.out.mask.astype(np.bool_)), next_step=False)
    assert batch.out.truncated.all()


@pytest.mark.parametrize("id", [V0, V1])
def test_actions_are_vectors_within_their_range(id):
    envs = VectorEnv("DatacenterCooling", int(id[-1]), 3)
    obs, _ = envs.reset(seed=0)
    for name in controllers_for(id):
        actions = make_controller(name, id).actions(envs, obs, envs.action_masks())
        assert actions.dtype == np.float64
        assert actions.shape == envs.action_space.shape
        assert (np.abs(actions) <= 1.0).all()


def test_chance_covers_the_range_and_two_seeds_draw_apart():
    envs = VectorEnv("DatacenterCooling", 1, 2000)
    obs, _ = envs.reset(seed=0)
    first, again, other = (make_controller("random", V1, s).actions(envs, obs, obs[:, :0]) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose([first.mean(), first.std()], [0.0, 1 / np.sqrt(3)], atol=0.02)
    assert np.abs(first - other).mean() == pytest.approx(2 / 3, abs=0.03)
    assert np.abs(np.corrcoef(first.T) - np.eye(10)).max() < 0.1


# --- loops ----------------------------------------------------------------------------------------------


def settled(name, minutes=240, id=V1, **params):
    """Let a controller run a calm hall and return the vector environment and its last observations by name."""
    shifts = {"shift_per_day": 0.0} if id == V1 else {}
    envs = VectorEnv("DatacenterCooling", int(id[-1]), 3, params={**CALM, **shifts, **params})
    agent = make_controller(name, id)
    obs, _ = envs.reset(seed=0)
    for _ in range(minutes):
        obs, *_ = envs.step(agent.actions(envs, obs, envs.action_masks()))
    return envs, agent


@pytest.mark.parametrize("id", [V0, V1])
@pytest.mark.parametrize("name", ["legacy_fixed", "tuned_fixed", "pid"])
@pytest.mark.parametrize("load_mean", [0.3, 0.6])
def test_valves_hold_the_supply_air_and_stand_still(name, id, load_mean):
    envs, _ = settled(name, id=id, load_mean=load_mean, horizon_min=10_000)
    if (id, name, load_mean) == (V0, "legacy_fixed", 0.6):  # water of 12 °C cannot give air of 16 °C
        assert (envs.state["valve"] == 1.0).any()
    else:
        np.testing.assert_allclose(envs.state["supply_c"], cooling_control.FIXED[name].supply_c, atol=0.4)
    strokes = envs.state["strokes"].copy()
    obs, agent = envs._batch.out.obs, make_controller(name, id)
    for _ in range(60):
        obs, *_ = envs.step(agent.actions(envs, obs, envs.action_masks()))
    assert (envs.state["strokes"] - strokes < 0.02 * 60 * envs.state["fan"].shape[1]).all()


def test_fans_follow_the_air_of_the_servers():
    envs, _ = settled("pid")
    np.testing.assert_allclose(envs.state["air_kg_per_s"] / envs.state["server_kg_per_s"], 1.08, atol=0.01)
    assert np.ptp(envs.state["fan"]) > 0.01  # zones of unequal load


def test_the_tower_holds_its_approach():
    envs, _ = settled("trim_and_respond", weather_mean_c=22.0, weather_season_k=0.0, weather_day_k=0.0)
    np.testing.assert_allclose(envs.state["basin_c"] - envs.state["wet_bulb_c"], 4.0, atol=0.3)


# --- trim and respond -----------------------------------------------------------------------------------


def asked(agent, steps, **seen):
    """Show ``agent`` the same hall for ``steps`` minutes and return its memory; what is not said asks for nothing."""
    obs = np.zeros((1, 43), np.float32)
    usual = {"supply_c": 20.0, "inlet_c": 23.0, "fan": 0.6, "valve": 0.5, "air_ratio": 1.08, "condenser_c": 20.0}
    for name, value in {**usual, "wet_bulb_c": 16.0, **seen}.items():
        obs[:, agent._columns[name]] = value
    for minute in steps:
        state = np.zeros(1, [("key", "u8"), ("steps", "i8")])
        state["key"], state["steps"] = 7, minute
        agent.actions(SimpleNamespace(state=state), obs, obs[:, :0])
    return agent._memory[0]


def test_set_points_creep_up_while_nobody_asks():
    memory = asked(TrimAndRespond("trim_and_respond", 1), range(21))
    assert memory["supply_set_c"] == pytest.approx(20.0 + 10 * 0.1)
    assert memory["chilled_set_c"] == pytest.approx(10.0 + 10 * 0.1)
    memory = asked(TrimAndRespond("trim_and_respond", 1), range(1000))
    assert (memory["supply_set_c"], memory["chilled_set_c"]) == (26.0, 18.0)


@pytest.mark.parametrize(
    ("inlets", "moved_k"),
    [
        ([26.2, 23, 23, 23], 0.1),  # one request is ignored
        ([26.2, 26.2, 23, 23], -0.3),
        ([27.5, 23, 23, 23], -0.6),
        ([27.5, 27.5, 27.5, 27.5], -1.0),  # at most
    ],
)
def test_hot_zones_get_colder_air(inlets, moved_k):
    memory = asked(TrimAndRespond("trim_and_respond", 1), range(3), inlet_c=inlets)
    assert memory["supply_set_c"] == pytest.approx(20.0 + moved_k)
    assert memory["chilled_set_c"] == pytest.approx(10.1)


@pytest.mark.parametrize(
    ("seen", "moved_k"),
    [
        ({"valve": [0.95, 0.5, 0.5, 0.5]}, 0.1),
        ({"valve": [0.95, 0.95, 0.5, 0.5]}, -0.3),
        ({"supply_c": [22.5, 20, 20, 20]}, -0.3),
        ({"supply_c": [22.5, 20, 20, 20], "valve": [0.95, 0.5, 0.5, 0.5]}, -0.6),
    ],
)
def test_coils_that_cannot_give_their_air_get_colder_water(seen, moved_k):
    assert asked(TrimAndRespond("trim_and_respond", 1), range(3), **seen)["chilled_set_c"] == pytest.approx(
        10.0 + moved_k
    )


# --- memory and rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "name"), [(id, name) for id in (V0, V1) for name in controllers_for(id)])
def test_an_episode_does_not_depend_on_its_neighbours(id, name):
    params = {"horizon_min": 75, "load_mean": 0.3}
    together = evaluate(id, make_controller(name, id), range(5), params=params, latency=False)
    for rows in (1, 2):
        again = evaluate(id, make_controller(name, id), range(5), params=params, latency=False, max_rows=rows)
        assert again.table.tobytes() == together.table.tobytes()


@pytest.mark.parametrize("name", LADDER)
def test_memory_begins_anew_with_every_episode(name):
    agent = make_controller(name, V1)
    first = evaluate(V1, agent, [1], params={"horizon_min": 75}, latency=False).table
    evaluate(V1, agent, [2], params={"horizon_min": 40, "load_mean": 0.8}, latency=False)
    assert evaluate(V1, agent, [1], params={"horizon_min": 75}, latency=False).table.tobytes() == first.tobytes()


def test_memory_begins_anew_where_a_state_is_loaded():
    envs, agent = settled("trim_and_respond", minutes=50)
    warm = agent._memory["supply_set_c"].copy()
    saved = envs.save_state()
    obs = envs._batch.out.obs
    for _ in range(3):
        obs, *_ = envs.step(agent.actions(envs, obs, envs.action_masks()))
    assert (agent._memory["supply_set_c"] > warm).all()
    agent.actions(envs, envs.load_state(saved), envs.action_masks())
    assert (agent._memory["supply_set_c"] == 20.0).all()


# --- the order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("better", "worse"), list(zip(LADDER[1:-1], LADDER, strict=False)))
def test_on_every_day_the_better_operator_spends_less(days, better, worse):
    assert (days[better].table["kwh_total"] < days[worse].table["kwh_total"]).all()
    assert (days[better].table["pue"] < days[worse].table["pue"]).all()
    assert (days[better].table["return"] > days[worse].table["return"]).all()


def test_nobody_spends_less_than_the_optimum(days):
    """It decides once an hour, so that a day of those who decide more often can come out even with it."""
    least = days["hourly_optimum"].table
    for name in LADDER[:-1]:
        spent = days[name].table
        assert spent["kwh_total"].mean() > least["kwh_total"].mean()
        assert spent["return"].mean() < least["return"].mean()
        assert (spent["kwh_total"] > 0.999 * least["kwh_total"]).all()


def test_nobody_but_chance_lets_the_hall_get_hot(days):
    most_k_min = {"trim_and_respond": 1.0, "linear_mpc": FREE_K_MIN_PER_DAY, "hourly_optimum": FREE_K_MIN_PER_DAY}
    for name, result in days.items():
        assert (result.table["end"] == "truncated").all()
        assert (result.table["over_recommended_k_min"] <= most_k_min.get(name, 0.0)).all()
        assert (result.table["over_allowable_k_min"] == 0.0).all()
        assert (result.table["rate_events"] == 0).all()
    chance = evaluate(V1, make_controller("random", V1), SEEDS, params=DAY, latency=False)
    assert (chance.table["end"] == "terminated").all()


def test_savings_are_those_of_the_field(days):
    """Set points of operators against a good controller: 40-60 %; trim and respond: 5-20 %."""
    for name, low, high in (("legacy_fixed", 0.5, 0.65), ("tuned_fixed", 0.35, 0.5), ("trim_and_respond", 0.05, 0.2)):
        mean, *interval = saving(days["hourly_optimum"], days[name])
        assert low < mean < high
        assert interval[0] <= mean <= interval[1]


def test_in_one_zone_the_optimum_is_the_best_too():
    names = ("legacy_fixed", "tuned_fixed", "pid", "trim_and_respond", "hourly_optimum")
    found = {name: evaluate(V0, make_controller(name, V0), SEEDS, params=DAY, latency=False).table for name in names}
    for name in names[:-1]:
        assert (found["hourly_optimum"]["kwh_total"] < found[name]["kwh_total"]).all()
        assert (found["hourly_optimum"]["return"] > found[name]["return"]).all()
    assert (found["hourly_optimum"]["over_recommended_k_min"] <= FREE_K_MIN_PER_DAY).all()
    for better, worse in zip(names[1:3], names, strict=False):
        assert (found[better]["kwh_total"] < found[worse]["kwh_total"]).all()


def test_knowing_the_parameters_pays():
    options = {"params": DAY, "randomization": "full", "latency": False}
    knows = evaluate(V1, HourlyOptimum("hourly_optimum", 1), range(6), **options)
    guesses = evaluate(V1, HourlyOptimum("guess", 1, nominal=True), range(6), **options)
    assert (knows.table["return"] > guesses.table["return"]).all()
    assert knows.table["over_recommended_k_min"].mean() < guesses.table["over_recommended_k_min"].mean()


def test_at_a_site_of_real_weather_the_pues_are_in_the_published_order(data):
    from benchmarks.cooling_pue import played

    names = ("legacy_fixed", "tuned_fixed", "trim_and_respond", "hourly_optimum")
    found = played("Tucson", names, episodes=3, days=1, advance=lambda: None)
    pues = {name: found[name].table["pue"] for name in names}
    for better, worse in zip(names[1:], names, strict=False):
        assert (pues[better] < pues[worse]).all()
    for name, low, high in (("legacy_fixed", 1.29, 1.39), ("tuned_fixed", 1.22, 1.32), ("hourly_optimum", 1.15, 1.22)):
        assert low < pues[name].mean() < high
    assert found["at_limit"] >= 0.1


@pytest.mark.parametrize("site", ["Frankfurt", "Mumbai"])
def test_without_worst_rack_and_lights_the_pues_of_the_mildest_and_the_hottest_site_are_in_the_published_ranges(
    data, site
):
    from benchmarks.cooling_pue import played, without_lights

    ranges = {"legacy_fixed": (1.299, 1.372), "tuned_fixed": (1.229, 1.298), "trim_and_respond": (1.172, 1.206)}
    found = played(site, tuple(ranges), 24, 2, lambda: None, {"hot_spot": 0.0})
    for name, (low, high) in ranges.items():
        assert low <= without_lights(found[name]) <= high
        assert found[name].table["pue"].mean() - without_lights(found[name]) == pytest.approx(0.014, abs=0.001)


# --- the score ------------------------------------------------------------------------------------------


def test_the_score_is_one_for_the_optimum_and_nothing_for_trim_and_respond(days):
    ends = days["trim_and_respond"], days["hourly_optimum"]
    assert regret_score(days["hourly_optimum"], *ends) == Score(1.0, 1.0, 1.0, 4, 4)
    assert regret_score(days["trim_and_respond"], *ends) == Score(0.0, 0.0, 0.0, 4, 4)
    assert regret_score(days["tuned_fixed"], *ends).high < 0.0
    planned = regret_score(days["linear_mpc"], *ends)
    assert 0.5 < planned.low <= planned.mean <= planned.high < 1.0


def test_days_with_a_hot_hall_have_no_score(days):
    ends = days["trim_and_respond"], days["hourly_optimum"]
    table = days["linear_mpc"].table.copy()
    table["over_recommended_k_min"][0], table["kwh_total"][0] = FREE_K_MIN_PER_DAY + 0.1, 0.0
    table["end"][1], table["kwh_total"][1] = "terminated", 0.0
    hot = SimpleNamespace(table=table, difference=days["linear_mpc"].difference)
    score = regret_score(hot, *ends)
    assert (score.episodes, score.of) == (2, 4)
    assert score.mean < 1.0
    table["over_recommended_k_min"] = 1e3
    assert np.isnan(regret_score(hot, *ends).mean)


def test_scores_are_of_the_same_episodes_and_of_the_right_ends(days):
    other = evaluate(V1, make_controller("pid", V1), [77], params={"horizon_min": 20}, latency=False)
    with pytest.raises(InvalidValue, match="same id and seeds"):
        regret_score(other, days["trim_and_respond"], days["hourly_optimum"])
    with pytest.raises(InvalidValue, match="must spend less than trim-and-respond"):
        regret_score(days["pid"], days["hourly_optimum"], days["trim_and_respond"])


# --- evaluation of vectors ------------------------------------------------------------------------------


def test_the_users_weather_and_load_reach_the_environment(data):
    traces = {
        "weather": data / "datacenter/weather/IN-WE_2020-2024.csv.gz",
        "load": data / "datacenter/load/google2011_cpu_hourly_first672h.csv",
    }
    agent, options = make_controller("pid", V0), {"params": {"horizon_min": 30}, "latency": False}
    mumbai = evaluate(V0, agent, SEEDS, traces=traces, **options)
    made_up = evaluate(V0, agent, SEEDS, traces=None, **options)
    assert mumbai.table["wet_bulb_mean_c"].mean() > made_up.table["wet_bulb_mean_c"].mean() + 5.0
    with pytest.raises(UnknownName, match="no option named 'demand'"):
        evaluate(V0, agent, [1], demand="trips.csv")


def test_without_masks_every_decision_counts_for_the_latency():
    result = evaluate(V0, make_controller("pid", V0), [0], params={"horizon_min": 30})
    assert result.latency.decisions == 27  # of 30, the first three warm up
    assert 0.0 < result.latency.p50_ms <= result.latency.p95_ms


def test_a_trained_agent_keeps_the_fractions_of_its_vectors():
    model = SimpleNamespace(predict=lambda obs, deterministic: (np.full((len(obs), 2), 0.25, np.float32), None))
    actions = TrainedAgent("x", "ppo", model).actions(None, np.zeros((3, 10)), np.zeros((3, 0)))
    assert actions.dtype == np.float64
    assert (actions == 0.25).all()


def test_a_model_of_another_action_is_refused():
    box, other = SimpleNamespace(shape=(2,)), SimpleNamespace(shape=(10,))
    model = SimpleNamespace(observation_space=SimpleNamespace(shape=(10,)), action_space=box)
    _check_spaces(model, "model.zip", V0)
    model.action_space = other
    with pytest.raises(InvalidValue, match=r"actions of shape \(2,\) for .*, got \(10,\) and \(10,\)"):
        _check_spaces(model, "model.zip", V0)


# --- the plan -------------------------------------------------------------------------------------------


def test_derivatives_of_a_quadratic_are_exact():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    curvature, slope, step = root @ root.T + np.eye(4), rng.normal(size=4), np.array([0.1, 0.2, 0.5, 1.0])
    at = cooling_control._probes(4) * step
    values = 3.0 + at @ slope + 0.5 * np.einsum("pi,ij,pj->p", at, curvature, at)
    found_slope, found = cooling_control._derivatives(values[None], step)
    np.testing.assert_allclose(found_slope[0], slope, atol=1e-9)
    np.testing.assert_allclose(found[0], curvature, atol=1e-9)


def test_a_concave_direction_is_made_flat():
    values = -0.5 * (cooling_control._probes(2) ** 2 * [1.0, -3.0]).sum(axis=1)
    _, curvature = cooling_control._derivatives(values[None], np.ones(2))
    np.testing.assert_allclose(curvature[0], np.diag([1e-4, 3.0]), atol=1e-9)


def test_a_plan_is_the_minimum_that_a_general_solver_finds():
    optimize = pytest.importorskip("scipy.optimize")
    from rlops.agents_baseline import cooling_loops

    rng = np.random.default_rng(1)
    zones, d, blocks, keeps, limit_c = 2, 6, 4, 0.4, 26.5
    reach = np.array([0.04, 0.04, 0.75, 0.75, 1.0, 0.1])
    low, high = np.array([0.2, 0.2, 20, 20, 7, 0.2]), np.array([1, 1, limit_c, limit_c, 18, 1.0])
    for case in range(4):
        root = rng.normal(size=(d, d))
        curvature = (root @ root.T + 0.1 * np.eye(d)) / np.outer(reach, reach) * 0.05
        slope = rng.normal(size=d) / reach * 0.3
        point = np.array([0.5, 0.21, 26.0, 26.4, 12.0, 0.98])
        measured = np.array([26.0 + case, 27.0])

        def cost(flat, slope=slope, curvature=curvature, point=point, measured=measured):
            x = flat.reshape(blocks, d) * reach
            total, inlet, before = 0.0, measured, np.zeros(d)
            for k in range(blocks):
                total += slope @ x[k] + 0.5 * x[k] @ curvature @ x[k]
                total += 0.5 * cooling_loops._MOVE_USD * (((x[k] - before) / reach) ** 2).sum()
                inlet = keeps * inlet + (1 - keeps) * (point + x[k])[zones : 2 * zones]
                total += 0.5 * cooling_loops._OVER_USD_PER_K2 * (np.maximum(inlet - limit_c, 0) ** 2).sum()
                before = x[k]
            return total

        bounds = [
            (max(-(k + 1.0), (low[j] - point[j]) / reach[j]), min(k + 1.0, (high[j] - point[j]) / reach[j]))
            for k in range(blocks)
            for j in range(d)
        ]
        best = optimize.minimize(
            cost, np.zeros(blocks * d), bounds=bounds, options={"maxfun": 10**6, "ftol": 1e-14, "gtol": 1e-9}
        )
        planned = point[None].copy()
        planned_moves(slope[None], curvature[None], low, high, reach, measured[None], limit_c, keeps, blocks, planned)
        np.testing.assert_allclose((planned[0] - point) / reach, best.x[:d], atol=5e-3)


def test_a_plan_stays_below_the_limit_and_goes_there_when_it_pays():
    planned = np.array([[0.5, 26.0, 12.0, 0.7]])
    for _ in range(20):
        planned_moves(
            np.array([[0.0, -1.0, 0.0, 0.0]]), np.eye(4)[None] * 1e-3, np.array([0.2, 20, 7, 0.2]),
            np.array([1.0, 26.5, 18, 1.0]), np.array(cooling_control.PLAN_REACH), planned[:, 1:2].copy(), 26.5, 0.4, 6,
            planned,
        )  # fmt: skip
    assert planned[0, 1] == pytest.approx(26.5)
    np.testing.assert_allclose(planned[0, [0, 2, 3]], [0.5, 12.0, 0.7])


# --- what the optimum knows -----------------------------------------------------------------------------


def test_the_optimum_of_an_hour_lies_at_the_limit_less_its_margin():
    envs, agent = settled("hourly_optimum", load_mean=0.6, weather_mean_c=20.0, weather_season_k=0.0)
    inlets = agent.goal[:, 4:8]
    np.testing.assert_allclose(inlets, 27.0 - cooling_control.OPTIMUM_MARGIN_K, atol=1e-9)
    np.testing.assert_allclose(envs.state["worst_c"], inlets, atol=0.15)
    assert np.ptp(agent.goal[:, :4], axis=1).min() > 0.005  # every zone has a fan speed of its own


def test_a_fixed_operation_is_described_by_its_set_points():
    assert cooling_control.FIXED["legacy_fixed"] == SetPoints(1.0, 16.0, 7.0, 1.0)
    assert cooling_control.FIXED["tuned_fixed"] == SetPoints(0.85, 20.0, 10.0, 0.8)
    envs, _ = settled("legacy_fixed")
    assert (envs.state["fan"] == 1.0).all()
    assert (envs.state["tower_fan"] == 1.0).all()
    np.testing.assert_allclose(envs.state["chilled_c"], 7.0, atol=0.01)


def test_points_have_the_bounds_of_the_actions():
    kernel = DATACENTER_COOLING.kernel(1)
    assert steady.LEAST_FAN == kernel.LEAST_FAN
    assert (steady.LOW[2], steady.HIGH[2]) == (kernel.COLDEST_SET_C, kernel.WARMEST_SET_C)
