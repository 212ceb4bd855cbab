"""Episodes of data-centre cooling: nothing pays but cooling well, and nothing is forgotten on the bill."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rlops.envs.batch import Batch
from rlops.envs.cooling import DATACENTER_COOLING
from rlops.envs.cooling.accounts import (
    CONSUMERS,
    ENERGY,
    J_PER_KWH,
    REWARD_TERMS,
    RUNAWAY,
    RUNAWAY_C,
    RUNAWAY_FACTOR,
    STORED,
    ledger_residual,
    worst_usd_per_min,
)
from rlops.envs.cooling.held import HeldHall as Plant
from rlops.envs.faces import Env, VectorEnv
from rlops.errors import InvalidAction

HALL_SHARE = {0: 0.25, 1: 1.0}
USUAL = {0: [0.25, 0.4], 1: [0.25] * 4 + [0.5] * 4 + [-0.3, 0.0]}
QUIET = {"load_noise": 0.0, "burst_per_day": 0.0, "weather_variation_k": 0.0}


def begun(number, rows, seeds=None, **params):
    batch = Batch(DATACENTER_COOLING, number, rows, params=params, threads=1)
    batch.seed(np.arange(rows), list(range(rows) if seeds is None else seeds))
    batch.reset()
    return batch


def played(batch, actions):
    """Step through ``actions`` (steps, n, d) and return the rewards (steps, n)."""
    rewards = []
    for action in actions:
        batch.step(np.ascontiguousarray(action, float), next_step=False)
        rewards.append(batch.out.reward.copy())
    return np.array(rewards)


def usual(number, steps, rows):
    return np.tile(USUAL[number], (steps, rows, 1))


@pytest.mark.parametrize("number", [0, 1])
def test_the_ledger_of_heat_closes_under_random_actions(number):
    rows, steps = 100, 500
    batch = begun(number, rows, horizon_min=10_000)
    rng = np.random.default_rng(0)
    low = np.zeros(rows)
    for _ in range(2 * steps):
        batch.step(rng.uniform(-1, 1, batch.actions.shape), next_step=True)
        for p, s in zip(batch.params[::20], batch.state[::20], strict=True):
            if s["minute"]:
                low[0] = max(low[0], abs(ledger_residual(p, s, HALL_SHARE[number])))
    assert low[0] < 1e-9


@pytest.mark.parametrize("number", [0, 1])
def test_the_parts_of_the_bill_make_the_whole(number):
    batch = begun(number, 3, horizon_min=60)
    rng = np.random.default_rng(1)
    reference = 0.0
    for _ in range(60):
        before = batch.state["energy_j"].sum(axis=1)
        batch.step(rng.uniform(0.3, 1, batch.actions.shape), next_step=False)
        spent = batch.state["energy_j"].sum(axis=1) - before
        np.testing.assert_allclose(batch.state["step_j"], spent, rtol=1e-9)
        np.testing.assert_array_equal(batch.out.reward, _sum_in_order(batch.state["terms"]))
        reference += batch.state["terms"][:, ENERGY] * J_PER_KWH / 0.1 + spent
    kpis = dict(zip([c.name for c in batch.kernel.KPIS], batch.out.kpis.T, strict=True))
    np.testing.assert_allclose(sum(kpis[f"kwh_{name}"] for name in CONSUMERS), kpis["kwh_total"], rtol=1e-12)
    np.testing.assert_allclose(kpis["pue"], kpis["kwh_total"] / kpis["kwh_it"], rtol=1e-12)
    assert (kpis["tue"] > kpis["pue"]).all()
    assert (reference > 0).all()
    assert batch.out.truncated.all()


def _sum_in_order(terms):
    total = np.zeros(len(terms))
    for term in range(terms.shape[1]):
        total += terms[:, term]
    return total


def test_the_it_power_that_no_action_changes_is_not_on_the_bill():
    one = begun(1, 2, seeds=[5, 5], horizon_min=120, **QUIET)
    actions = usual(1, 60, 2)
    actions[:, 1, :4] = 1.0
    played(one, actions)
    billed = -one.state["terms"][:, ENERGY] * J_PER_KWH / 0.1
    reference = one.state["step_j"] - billed
    assert reference[0] == pytest.approx(reference[1], rel=1e-12)
    it = one.state["cpu_w"].sum(axis=1) + one.state["server_fan_w"].sum(axis=1)
    np.testing.assert_allclose(reference / 60.0, it, rtol=0.02)


# --- exploits -------------------------------------------------------------------------------------------


def test_the_best_constant_policy_lies_inside_the_range_and_at_the_limit():
    fans, valves = np.linspace(0.2, 1, 7), np.linspace(0.35, 1, 7)
    sets, towers = np.array([7.0, 10, 13, 16, 18]), np.array([0.2, 0.4, 0.6, 0.8, 1])
    grid = np.array(list(itertools.product(fans, valves, sets, towers)))
    where = {"fan": grid[:, 0], "valve": grid[:, 1], "chilled_set": grid[:, 2], "tower_fan": grid[:, 3]}
    for utilisation, wet_bulb_c in ((0.55, 12.0), (0.75, 20.0)):
        rows = Plant(len(grid), utilisation=utilisation, wet_bulb_c=wet_bulb_c).hold(2.0, level=True, **where)
        worst, inlet = rows.s["worst_c"], rows.s["inlet_c"]
        kelvin = 0.05 * np.maximum(0, worst - 27) + 0.5 * np.maximum(0, worst - 32) + 0.02 * np.maximum(0, 18 - inlet)
        power_kw = rows.s["power_w"].sum(axis=1) / 1e3
        best = int(np.argmin(0.1 * power_kw + 60.0 * kelvin.sum(axis=1)))
        inside = [grid[:, k].min() < grid[best, k] < grid[:, k].max() for k in range(4)]
        assert sum(inside) >= 2
        # the share of the heat that a hotter hall "saves" is paid for by its servers
        least_pue = int(np.argmin(rows.pue))
        assert worst[least_pue].max() > RUNAWAY_C
        assert power_kw[least_pue] > power_kw[best]


def test_a_warmer_hall_looks_better_by_its_pue_and_earns_less():
    rows = Plant(2, utilisation=0.6).settled(fan=0.6, supply_c=[24.0, 30.0], chilled_set=15.0, tower_fan=0.6)
    cool, warm = rows.pue
    assert warm < cool
    assert rows.s["power_w"].sum(axis=1)[1] > rows.s["power_w"].sum(axis=1)[0]


def test_letting_the_hall_warm_up_before_the_end_does_not_pay():
    horizon = 360
    batch = begun(1, 2, seeds=[3, 3], horizon_min=horizon, **QUIET)
    actions = usual(1, horizon, 2)
    actions[-6:, 1, 4:8] = -1.0
    actions[-6:, 1, 8] = 1.0
    rewards = played(batch, actions)
    assert batch.out.truncated.all()
    assert batch.state["terms"][1, STORED] < batch.state["terms"][0, STORED] - 1e-3
    assert rewards[:, 1].sum() < rewards[:, 0].sum()


def test_a_runaway_costs_more_than_the_worst_that_could_have_come():
    steps = 240
    batch = begun(1, 64, horizon_min=10_080)
    rng = np.random.default_rng(2)
    held = rng.uniform(-1, 1, batch.actions.shape)
    held[:8] = -1.0
    worst = worst_usd_per_min(batch.params[0], batch.state[0], 1.0)
    ended = np.zeros(64, np.bool_)
    for _ in range(steps):
        batch.step(held, next_step=True)
        terms = batch.state["terms"].copy()
        died = batch.out.terminated
        ended |= died
        left = 10_080 - batch.state["minute"]
        np.testing.assert_allclose(terms[died, RUNAWAY], -RUNAWAY_FACTOR * (left[died] + 1) * worst)
        below = batch.state["worst_c"].max(axis=1) < RUNAWAY_C
        terms[:, RUNAWAY] = 0.0
        assert (-terms.sum(axis=1)[below] < worst).all()
    assert ended[:8].all()


def test_a_bias_of_the_sensors_changes_what_is_seen_and_nothing_else():
    batch = begun(1, 3, seeds=[4] * 3, horizon_min=600, sensor_bias_k=[-0.8, 0.0, 0.8])
    played(batch, usual(1, 120, 3))
    for name in batch.state.dtype.names:
        if name not in ("read_c", "seed"):
            np.testing.assert_array_equal(batch.state[name][0], batch.state[name][2])
    inlet = [c.name for c in batch.kernel.OBSERVATION].index("inlet_c") * 4
    np.testing.assert_allclose(batch.out.obs[2, inlet] - batch.out.obs[1, inlet], 0.8, atol=1e-5)


def test_trembling_actuators_earn_less_than_those_that_stand_at_their_mean():
    horizon = 240
    batch = begun(1, 2, seeds=[6, 6], horizon_min=horizon, **QUIET)
    actions = usual(1, horizon, 2)
    actions[::2, 1, :8] += 0.3
    actions[1::2, 1, :8] -= 0.3
    rewards = played(batch, actions).sum(axis=0)
    assert rewards[1] < rewards[0]
    assert batch.state["strokes"][1] > 10 * batch.state["strokes"][0]


def test_actuators_cannot_move_faster_than_they_slew():
    batch = begun(1, 1, horizon_min=60)
    action = np.full((1, 10), -1.0)
    before = batch.state["fan"].copy(), batch.state["drive"].copy()
    batch.step(action, next_step=False)
    assert np.abs(batch.state["fan"] - before[0]).max() <= 1.0 + 1e-12
    assert np.abs(batch.state["drive"] - before[1]).max() <= 60 / 90 + 1e-12


def test_every_corner_of_the_actions_is_survivable_or_ends():
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=10)))
    batch = begun(1, len(corners), seeds=[1] * len(corners), horizon_min=10_000, load_mean=0.8)
    ended = np.zeros(len(corners), np.bool_)
    for _ in range(60):
        batch.step(corners, next_step=True)
        ended |= batch.out.terminated
        assert np.isfinite(batch.out.reward).all()
        assert np.isfinite(batch.out.obs).all()
    shut = (corners[:, 4:8] < 0).all(axis=1)
    assert ended[shut].all()
    open_and_cold = (corners[:, :8] > 0).all(axis=1) & (corners[:, 8] < 0)
    assert not ended[open_and_cold].any()


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_seen_stays_within_bounds_that_lie_beyond_the_limits(number):
    envs = VectorEnv(DATACENTER_COOLING, number, 64, threads=1)
    obs, _ = envs.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        assert envs.observation_space.contains(obs)
        obs, *_ = envs.step(rng.uniform(-1, 1, envs.action_space.shape).astype(np.float32))
    highs = {c.name: c.high for c in envs.kernel.OBSERVATION}
    assert highs["inlet_c"] >= RUNAWAY_C + 10.0


def test_the_weather_and_the_load_do_not_depend_on_the_policy():
    batch = begun(1, 2, seeds=[9, 9], horizon_min=2000)
    actions = usual(1, 300, 2)
    actions[:, 1] = 0.8
    played(batch, actions)
    for name in ("dry_bulb_c", "wet_bulb_c", "utilisation", "share"):
        np.testing.assert_array_equal(batch.state[name][0], batch.state[name][1])


def test_a_row_does_not_feel_its_neighbours():
    many, alone = begun(1, 7, seeds=range(20, 27), horizon_min=500), begun(1, 1, seeds=[23], horizon_min=500)
    played(many, usual(1, 40, 7))
    played(alone, usual(1, 40, 1))
    assert many.state[3].tobytes() == alone.state[0].tobytes()


def test_heat_and_its_limits_are_charged_zone_by_zone():
    batch = begun(1, 2, seeds=[2, 2], horizon_min=600, zone_skew=0.0, **QUIET)
    actions = usual(1, 90, 2)
    actions[:, 1, 4] = 0.15
    played(batch, actions)
    at = REWARD_TERMS.index("over_recommended")
    assert batch.state["worst_c"][1, 0] > 27.0 > batch.state["worst_c"][1, 1:].max()
    assert batch.state["terms"][1, at] < 0.0 == batch.state["terms"][0, at]


def test_an_inlet_that_changes_too_fast_is_charged():
    batch = begun(1, 1, horizon_min=600)
    steps = usual(1, 40, 1)
    steps[20:, :, 4:8] = 0.05
    played(batch, steps)
    assert batch.state["rate_events"][0] > 0
    assert batch.state["rate_k_min"][0] > 0.0


def test_an_action_outside_its_range_is_refused():
    env = Env(DATACENTER_COOLING, 0)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"1\.5"):
        env.step(np.array([0.0, 1.5], np.float32))
