"""Dispatch v2: conservation, symmetry, no leak, the mask against brute force, what is seen, directions, agents."""

from __future__ import annotations

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlops
from rlops.envs.contract import bounds
from rlops.envs.dispatch import kernel_v2 as v2
from rlops.envs.dispatch.city import (
    ASSIGNED,
    CANCELLED,
    DEMAND_SHARE,
    DONE,
    END_MIN,
    HIDDEN,
    MISSED,
    NO_SHOW,
    ONBOARD,
    OPEN,
    QUARTER_MIN,
    QUARTERS,
)
from rlops.envs.dispatch.fleet import DISTANCE, EXCESS_RIDE, FARE, FLEET_FIELDS, MISSES
from rlops.envs.dispatch.params import PARAMETERS
from rlops.envs.dispatch.plan import BREAK, DOWN, DRIVING, IDLE, LATE_CAP_MIN, OFF, SERVING
from tests.envs.rollouts import chosen, state_bytes

KPI = {c.name: i for i, c in enumerate(v2.KPIS)}
NO_NOISE = {"leg_noise_sd": 0, "traffic_day_sd": 0, "congestion_sd": 0, "no_show": 0, "late_cancel": 0}
HARSH = {
    "breakdown_per_km": 2e-3, "ev_share": 0.5, "ev_range_km": 160, "ev_charge_kw": 22, "no_show": 0.12,
    "late_cancel": 0.15, "leg_noise_sd": 0.35, "congestion_sd": 0.15, "demand_per_day": 280, "shift_min": 480,
}  # fmt: skip
TIGHT = {"ride_limit_min": 20, "ride_limit_factor": 1.2, "cap_amb": 2, "patience_min": 10, "n_vehicles": 5}
BUSY = {
    "lookahead_min": 240,
    "prebook_share": 1,
    "n_vehicles": 16,
    "ride_limit_min": 90,
    "cap_wc": 3,
    "patience_min": 60,
}
WORLDS = [{}, HARSH, TIGHT, BUSY, HARSH | TIGHT, {"event_driven": 1}, {"pooling": 0}]


def vector(rows, **params):
    return gym.make_vec("rlops/Dispatch-v2", num_envs=rows, params=params or None)


def worlds(rows_each=1, each=WORLDS):
    """Return a vector environment with ``rows_each`` rows of each world."""
    nominal = {p.name: p.nominal for p in PARAMETERS}
    names = sorted({name for world in each for name in world})
    values = {n: [w.get(n, nominal[n]) for w in each for _ in range(rows_each)] for n in names}
    return vector(rows_each * len(each), **values)


def cheapest(state, mask):
    """Return the action with the cheapest feasible insertion of each row, ADVANCE where there is none."""
    n = len(state)
    rows = np.take_along_axis(state["row_of"], np.maximum(state["slot"], 0), 1)
    usd = np.take_along_axis(state["pair_usd"], np.maximum(rows, 0)[:, :, None], 1).reshape(n, -1)
    usd = np.where(mask[:, : v2.ADVANCE] == 1, usd, np.inf)
    best = usd.argmin(1)
    return np.where(np.isfinite(usd[np.arange(n), best]), best, v2.ADVANCE)


def legal(state, mask, step):
    return np.array([chosen(mask[i], i, step) for i in range(len(state))])


def days(env, policy, seed=0, watch=None):
    """Play one day in every row; return the returns, key figures, final states and number of steps."""
    env.reset(seed=seed)
    n = env.num_envs
    total, steps = np.zeros(n), np.zeros(n, int)
    figures, final = np.zeros((n, len(KPI))), env.unwrapped.state.copy()
    running = np.ones(n, bool)
    for step in itertools.count():
        state, mask = env.unwrapped.state, env.unwrapped.action_masks()
        actions = policy(state, mask) if policy is cheapest else policy(state, mask, step)
        _, reward, terminated, truncated, infos = env.step(actions)
        total += reward * running
        steps += running
        ended = running & (terminated | truncated)
        if watch is not None:
            watch(env.unwrapped.params, env.unwrapped.state, running)
        if ended.any():
            final[ended] = env.unwrapped.state[ended]
            for name, i in KPI.items():
                figures[ended, i] = infos["kpis"][name][ended]
            running &= ~ended
        if not running.any():
            return total, figures, final, steps


# --- conservation ---------------------------------------------------------------------------------------


def check_conservation(params, state, running):
    for p, s in zip(params[running], state[running], strict=True):
        n = s["n_bookings"]
        status = s["bookings"]["status"][:n]
        counts = np.bincount(status, minlength=8)
        assert counts.sum() == n
        assert counts[DONE] == s["n_completed"]
        assert counts[MISSED] == s["n_missed"]
        assert counts[NO_SHOW] == s["n_no_show"]
        assert counts[CANCELLED] == s["n_cancelled"]
        if not (s["terminated"] or s["truncated"]):
            assert counts[OPEN] == s["n_open"]
            assert counts[HIDDEN] == n - s["next_booking"]
            assert set(s["open_list"][: s["n_open"]]) == set(np.flatnonzero(status == OPEN))
        on = [np.flatnonzero((status == ONBOARD) & (s["bookings"]["vehicle"][:n] == v)) for v in range(v2.V_MAX)]
        if not s["truncated"]:
            np.testing.assert_array_equal(s["onboard_amb"], [s["bookings"]["ambulatory"][b].sum() for b in on])
            np.testing.assert_array_equal(s["onboard_wc"], [s["bookings"]["wheelchair"][b].sum() for b in on])
        assert 0 <= s["onboard_amb"].min() <= s["onboard_amb"].max() <= p["cap_amb"]
        assert 0 <= s["onboard_wc"].min() <= s["onboard_wc"].max() <= p["cap_wc"]
        assert s["km"] == pytest.approx(s["odometer_km"].sum(), abs=1e-9)
        electric = np.diff(np.floor(p["ev_share"] * np.arange(v2.V_MAX + 1))) > 0
        assert (s["range_km"][electric] >= 0.0).all()
        check_plans(s)


def check_plans(s):
    for v in range(v2.V_MAX):
        plan = list(s["plan"][v, : s["stops"][v]])
        assert len(set(plan)) == len(plan)
        assert s["committed"][v] == (s["mode"][v] in (DRIVING, SERVING))
        for m, stop in enumerate(plan):
            if stop % 2:
                assert (stop - 1 in plan[:m]) == (s["bookings"]["status"][stop // 2] == ASSIGNED)
            elif s["bookings"]["vehicle"][stop // 2] == v:
                assert stop + 1 in plan[m:]
            else:
                assert m == 0, "only a leg under way may lead to a rider who has gone"


def check_end(p, total, figures, final):
    """Check that the day has ended, with every booking resolved and every dollar accounted for."""
    k = lambda name: figures[:, KPI[name]]  # noqa: E731
    closed = p["fare_usd"] * k("completed") - p["km_cost_usd"] * k("km_total") - p["miss_cost_usd"] * k("missed")
    closed -= p["late_cost_usd_per_min"] * k("lateness_total_min")
    closed -= p["ride_cost_usd_per_min"] * k("excess_ride_total_min")
    np.testing.assert_allclose(total, closed, rtol=1e-13, atol=1e-9)
    own = final["vehicle_usd"].sum(1) - p["miss_cost_usd"] * k("missed")
    np.testing.assert_allclose(total, own, rtol=1e-13, atol=1e-9)
    resolved = k("completed") + k("missed") + k("no_shows") + k("cancelled")
    np.testing.assert_array_equal(resolved, k("bookings"))
    assert (final["now_min"] <= END_MIN).all()


@settings(max_examples=8)
@given(
    st.integers(0, 10_000),
    st.fixed_dictionaries(
        {
            q.name: st.integers(int(q.low), int(q.high)) if q.integer or q.choices else st.floats(q.low, q.high)
            for q in PARAMETERS
            if q.name != "demand_day"
        }
    ),
)
def test_nothing_is_lost_in_any_city(seed, values):
    env = vector(1, **values)

    def watch(params, state, running):
        if state["now_min"][0] % 5 == 0 or state["truncated"][0] or state["terminated"][0]:
            check_conservation(params, state, running)

    total, figures, final, _ = days(env, legal, seed=seed, watch=watch)
    check_end(env.unwrapped.params, total, figures, final)


@pytest.mark.parametrize("policy", [legal, cheapest])
def test_nothing_is_lost_and_the_return_is_the_closed_form_of_the_totals(policy):
    env = worlds()
    total, figures, final, _ = days(env, policy, seed=3, watch=check_conservation)
    check_end(env.unwrapped.params, total, figures, final)
    assert (figures[[1, 4], KPI["breakdowns"]] > 0).all()


def test_nobody_is_served_early_or_set_down_before_being_picked_up():
    env = worlds(each=[{}, {"no_show": 0.12}, TIGHT, BUSY])
    _, _, final, _ = days(env, cheapest, seed=5)
    for s in final:
        done = np.flatnonzero(s["bookings"]["status"][: s["n_bookings"]] == DONE)
        assert len(done) > 50
        begun = s["bookings"]["picked_min"][done] - s["bookings"]["board_min"][done]
        assert (begun >= s["bookings"]["earliest_min"][done] - 1e-9).all()
        assert (begun <= s["bookings"]["expires_min"][done] + 1e-9).all()
        late = np.clip(begun - s["bookings"]["latest_min"][done], 0, 30)
        np.testing.assert_allclose(late, s["lateness_min"][done], atol=1e-9)
        ride = (
            s["bookings"]["dropped_min"][done] - s["bookings"]["alight_min"][done] - s["bookings"]["picked_min"][done]
        )
        assert (ride > 0).all()
    assert np.isnan(final[0]["bookings"]["picked_min"][: final[0]["n_bookings"]]).sum() > 0  # no-shows and the like


def test_lateness_is_charged_up_to_its_cap_and_a_ride_from_the_end_of_boarding():
    late = {"patience_min": 60, "n_vehicles": 5, "leg_noise_sd": 0.35, "breakdown_per_km": 0, "demand_per_day": 280}
    env = worlds(each=[late, late | {"ride_limit_min": 20, "ride_limit_factor": 1.2}])
    _, _, final, _ = days(env, legal, seed=6)
    for p, s in zip(env.unwrapped.params, final, strict=True):
        rode = np.isfinite(s["bookings"]["picked_min"]) & (np.arange(len(s["bookings"]["status"])) < s["n_bookings"])
        late_min = (s["bookings"]["picked_min"] - s["bookings"]["board_min"] - s["bookings"]["latest_min"])[rode]
        assert (late_min > LATE_CAP_MIN).any()
        np.testing.assert_allclose(s["lateness_min"][rode], np.clip(late_min, 0, LATE_CAP_MIN), atol=1e-9)
        done = s["bookings"]["status"] == DONE
        ride_min = (s["bookings"]["dropped_min"] - s["bookings"]["alight_min"] - s["bookings"]["picked_min"])[done]
        limit_min = np.maximum(p["ride_limit_min"], p["ride_limit_factor"] * s["bookings"]["direct_min"][done])
        excess_min = np.maximum(0, ride_min - limit_min)
        assert (excess_min > 0).any()
        np.testing.assert_allclose(s["excess_ride_min"][done], excess_min, atol=1e-9)


def test_kilometres_are_the_legs_between_the_stops_in_the_order_of_service():
    env = vector(6, no_show=0, late_cancel=0, breakdown_per_km=0, n_vehicles=10, patience_min=60)
    _, figures, final, _ = days(env, cheapest, seed=30)
    checked = 0
    for s, k in zip(final, figures, strict=True):
        if k[KPI["wasted_legs"]] or s["truncated"]:
            continue  # legs that no booking tells of
        checked += 1
        empty_km = rider_km = 0.0
        for v in range(10):
            mine = np.flatnonzero((s["bookings"]["status"] == DONE) & (s["bookings"]["vehicle"] == v))
            stops = [
                (s["bookings"]["picked_min"][b], s["bookings"]["pickup_x_km"][b], s["bookings"]["pickup_y_km"][b], 1, b)
                for b in mine
            ]
            stops += [
                (
                    s["bookings"]["dropped_min"][b],
                    s["bookings"]["dropoff_x_km"][b],
                    s["bookings"]["dropoff_y_km"][b],
                    -1,
                    b,
                )
                for b in mine
            ]
            at, riders, km = (0.0, 0.0), 0, 0.0
            for _, x, y, change, b in sorted(stops):
                leg_km = 1.3 * math.dist(at, (x, y))
                km += leg_km
                empty_km += leg_km * (riders == 0)
                rider_km += leg_km * riders
                at, riders = (x, y), riders + change * (s["bookings"]["ambulatory"][b] + s["bookings"]["wheelchair"][b])
            assert s["odometer_km"][v] == pytest.approx(km, abs=1e-9)
        assert k[KPI["deadhead_share"]] == pytest.approx(empty_km / s["km"])
        assert k[KPI["rider_km_per_km"]] == pytest.approx(rider_km / s["km"])
    assert checked > 2


def test_vehicles_keep_their_shifts_and_every_one_of_them_rests():
    env = worlds(rows_each=2, each=[{}, {"shift_min": 480, "break_min": 60}])
    resting = np.zeros((4, v2.V_MAX))

    def watch(params, state, running):
        resting[running] += (state["mode"] == BREAK)[running]
        for s in state[running]:
            before = s["now_min"] < s["shift_start_min"]
            assert (s["mode"][before] == OFF).all()
            over = s["now_min"] > s["shift_end_min"]
            off = (s["mode"] == OFF) & over
            aboard = s["onboard_amb"] + s["onboard_wc"] > 0
            assert not (off & aboard).any()
            assert (s["pair_ok"][:, over] == 0).all()

    _, _, final, _ = days(env, cheapest, seed=1, watch=watch)
    assert (final["break_done"][:, :8] == 1).all()
    assert (resting[:2, :8] >= 30).all()
    assert (resting[2:, :6] >= 60).all()  # the day may end during the last one's


def test_a_vehicle_that_leaves_after_its_shift_only_brings_home_who_is_on_board():
    env = vector(6, shift_min=480, n_vehicles=5, demand_per_day=280, leg_noise_sd=0.35, patience_min=60)
    driven = []

    def watch(params, state, running):
        for s in state[running]:
            for v in np.flatnonzero((s["mode"] == DRIVING) & (s["since_min"] >= s["shift_end_min"])):
                driven.append((s["plan"][v, : s["stops"][v]] % 2 == 1).all())

    days(env, legal, seed=20, watch=watch)
    assert len(driven) > 10
    assert all(driven)


def test_riders_on_board_when_the_day_is_cut_off_are_charged_and_the_leg_is_driven():
    env = vector(1, **NO_NOISE)
    env.reset(seed=3)
    s = env.unwrapped.state[0]
    while not ((s["mode"] == DRIVING) & (s["onboard_amb"] > 0)).any():
        env.step(cheapest(env.unwrapped.state, env.unwrapped.action_masks()))
    v = int(np.argmax((s["mode"] == DRIVING) & (s["onboard_amb"] > 0)))
    riders = np.flatnonzero((s["bookings"]["status"] == ONBOARD) & (s["bookings"]["vehicle"] == v))
    s["until_min"][v] = 5000.0
    km = s["odometer_km"][v] + s["leg_km"][v, 0]
    truncated = [False]
    while not truncated[0]:
        missed = s["n_missed"]
        _, _, _, truncated, _ = env.step(np.array([v2.ADVANCE]))
    assert s["now_min"] == END_MIN
    assert (s["bookings"]["status"][riders] == MISSED).all()
    assert s["terms"][MISSES] == -40.0 * (s["n_missed"] - missed) < 0
    assert s["odometer_km"][v] == pytest.approx(km)


def test_riders_of_a_broken_vehicle_wait_where_it_stands_and_come_first():
    env = vector(4, breakdown_per_km=2e-3, late_cancel=0)
    seen = set()

    def watch(params, state, running):
        for i in np.flatnonzero(running):
            s = state[i]
            for b in np.flatnonzero(
                (s["bookings"]["status"][: s["n_bookings"]] == OPEN) & (s["aboard_min"][: s["n_bookings"]] > 0)
            ):
                v = [v for v in range(8) if s["mode"][v] == DOWN and s["x_km"][v] == s["bookings"]["pickup_x_km"][b]]
                if v and s["bookings"]["latest_min"][b] > s["now_min"] - 1:
                    seen.add((i, b))
                    assert b in s["slot"]
                    assert s["bookings"]["earliest_min"][b] == s["bookings"]["latest_min"][b] <= s["now_min"]
                    assert s["bookings"]["pickup_y_km"][b] == s["y_km"][v[0]]
                    assert not s["pair_ok"][:, v[0]].any()

    _, figures, final, _ = days(env, cheapest, seed=2, watch=watch)
    assert len(seen) > 3
    assert figures[:, KPI["breakdowns"]].min() > 0
    assert any(final[i]["bookings"]["status"][b] == DONE for i, b in seen)


# --- symmetry -------------------------------------------------------------------------------------------

FLEET = [n for n, _, *shape in FLEET_FIELDS if shape and shape[0][0] == v2.V_MAX and n[:4] != "pair"]
WORKING_SPACE = ("trial_end_min", "drop_km")
SUMS = ("km", "empty_km", "rider_km", "late_total_min", "excess_total_min", "busy_min", "terms")


def permute_vehicles(s, order):
    """Let vehicle ``i`` of a row be what vehicle ``order[i]`` was."""
    for name in (*FLEET, "listed", "lost_bid"):
        s[name] = s[name][order]
    for name in v2.STATE.names:
        if name.startswith("pair_"):
            s[name] = s[name][:, order]
    n, new = s["n_bookings"], np.append(np.argsort(order), -1)
    s["bookings"]["vehicle"][:n] = new[s["bookings"]["vehicle"][:n]]


def test_vehicles_in_another_order_live_through_the_same_day_in_that_order():
    order = np.array([5, 2, 7, 0, 3, 6, 1, 4, *range(8, 16)])
    new = np.argsort(order)
    env = vector(2, breakdown_per_km=0)
    env.reset(seed=8)
    env.unwrapped.clone_rows(0, [1])
    assigned, permuted = 0, False
    for step in range(800):
        if step > 200 and not permuted and len(set(env.unwrapped.state["mode"][0, :8])) > 2:
            permuted = True
            permute_vehicles(env.unwrapped.state[1], order)
            env.unwrapped._batch.observe()
        action = (
            int(legal(env.unwrapped.state[:1], env.unwrapped.action_masks(), step)[0]) if step % 4 == 0 else v2.ADVANCE
        )
        moved = permuted and action < v2.ADVANCE
        assigned += moved
        k, v = divmod(action, v2.V_MAX)
        obs, *_ = env.step(np.array([action, k * v2.V_MAX + new[v] if moved else action]))
        if permuted:
            mask = env.unwrapped.action_masks()[:, :-1].reshape(2, v2.K, v2.V_MAX)
            np.testing.assert_array_equal(mask[1], mask[0][:, order])
            fleet, pairs = obs[:, 12:236].reshape(2, 16, 14), obs[:, 492:].reshape(2, 16, 16, 3)
            np.testing.assert_array_equal(fleet[1], fleet[0][order])
            np.testing.assert_array_equal(pairs[1], pairs[0][:, order])
            np.testing.assert_array_equal(obs[1, 236:492], obs[0, 236:492])
    a, b = env.unwrapped.state
    permute_vehicles(a, order)
    for name in v2.STATE.names:
        if name in SUMS:
            np.testing.assert_allclose(b[name], a[name], atol=1e-9)
        elif name == "pace_ewma":  # of two legs that end in one minute the later counts more
            assert b[name] == pytest.approx(a[name], abs=0.05)
        elif name not in ("seed", "steps", *WORKING_SPACE):
            assert b[name].tobytes() == a[name].tobytes(), name
    assert assigned > 40


# --- no leak --------------------------------------------------------------------------------------------


def forked(seed=4):
    """Return two identical rows in the middle of a day, with plans and open bookings."""
    env = vector(2)
    env.reset(seed=seed)
    for _ in range(300):
        env.step(cheapest(env.unwrapped.state, env.unwrapped.action_masks()))
    for _ in range(12):
        env.step(np.full(2, v2.ADVANCE))
    assert env.unwrapped.state["n_open"][0] > 2
    env.unwrapped.clone_rows(0, [1])
    return env


def observed(env):
    env.unwrapped._batch.observe()
    out = env.unwrapped._batch.out
    return out.obs.copy(), out.mask.copy(), env.unwrapped.state["pair_usd"].copy()


def test_what_is_hidden_is_not_observed():
    env = forked()
    s = env.unwrapped.state[1]
    n, unknown = s["n_bookings"], slice(s["next_booking"], s["n_bookings"])
    assert unknown.stop - unknown.start > 10
    for field in ("pickup_x_km", "dropoff_y_km", "earliest_min", "latest_min", "direct_min"):
        s["bookings"][field][unknown] += 1.0
    waiting = np.isin(s["bookings"]["status"][:n], (HIDDEN, OPEN, ASSIGNED))
    s["bookings"]["no_show"][:n][waiting] ^= 1
    s["bookings"]["cancel_min"][:n][waiting] = s["now_min"] + 0.5
    s["attention_min"] = s["now_min"] + 0.5
    s["bookings"]["board_min"] *= 1.5
    s["bookings"]["alight_min"] *= 1.5
    for field in ("until_min", "speed_km_per_min", "reach_km", "breakdown_at_km"):
        s[field] *= 1.5
    s["congestion"] += 0.1
    s["demand_factor"], s["traffic_factor"] = 2.0, 2.0
    for seen in observed(env):
        np.testing.assert_array_equal(seen[0], seen[1])
    obs, *_ = env.step(np.full(2, v2.ADVANCE))
    assert (obs[0] != obs[1]).any(), "what has happened is observed"
    assert np.diff(env.unwrapped.state["n_cancelled"])[0] > 2


def same_until(event, change, midday=False, **params):
    """Change hidden things in one of two equal rows; return for how many minutes both look alike, and the rows.

    The pair table is computed anew every minute, so that it has seen what was changed.
    """
    env = forked() if midday else vector(2, **params)
    if not midday:
        env.reset(seed=11)
        env.unwrapped.clone_rows(0, [1])
    state, minutes = env.unwrapped.state, 0
    change(state[1])
    while not (event(state[0]) or event(state[1])):
        obs, mask, _ = observed(env)
        np.testing.assert_array_equal(obs[0], obs[1])
        np.testing.assert_array_equal(mask[0], mask[1])
        for table in ("pair_ok", "pair_usd", "pair_begin_min", "pair_late_min", "pair_pickup", "pair_dropoff"):
            np.testing.assert_array_equal(*state[table])
        state["dirty"] = 1
        action = cheapest(state, mask)[0] if minutes % 3 == 0 else v2.ADVANCE
        env.step(np.full(2, action))
        minutes += action == v2.ADVANCE or state["dt_min"][0]
        if action < v2.ADVANCE:
            env.step(np.full(2, v2.ADVANCE))
            minutes += 1
        assert minutes < 300
    return minutes, env


def look_alike(env):
    """Return whether both rows still look alike after up to an hour."""
    for _ in range(60):
        obs, *_ = env.step(np.full(2, v2.ADVANCE))
        if (obs[0] != obs[1]).any():
            return False
    return True


def test_bookings_that_are_not_revealed_leave_no_trace_until_they_are():
    until = []

    def change(s):
        until.append(s["now_min"] + 60)
        hidden = s["bookings"]["reveal_min"] > until[0]
        for name in ("pickup_x_km", "dropoff_y_km", "direct_min", "latest_min"):
            s["bookings"][name][hidden] += 1.0
        s["bookings"]["wheelchair"][hidden] = 1
        s["n_bookings"] -= 10

    minutes, env = same_until(lambda s: s["now_min"] >= until[0], change, midday=True)
    assert minutes >= 60
    assert not look_alike(env)


def test_cancellations_leave_no_trace_until_they_come():
    def change(s):
        s["bookings"]["cancel_min"] = np.maximum(60.5, s["bookings"]["latest_min"] - 3.0)
        s["attention_min"] = 0.0

    minutes, env = same_until(lambda s: s["now_min"] >= 60, change, late_cancel=0)
    assert minutes >= 60
    assert not look_alike(env)
    assert np.diff(env.unwrapped.state["n_cancelled"])[0] > 0


def test_no_shows_leave_no_trace_until_a_vehicle_has_been_at_a_door():
    def change(s):
        s["bookings"]["no_show"] ^= 1

    at_a_door = lambda s: s["n_no_show"] > 0 or (s["bookings"]["status"] >= ONBOARD).any()  # noqa: E731
    minutes, env = same_until(at_a_door, change, late_cancel=0)
    assert minutes > 5
    assert (env.unwrapped.state["mode"] == SERVING).any() or (env.unwrapped.state["n_no_show"] > 0).any()
    assert not look_alike(env)


def test_noise_traffic_and_service_times_leave_no_trace_until_a_vehicle_arrives():
    def change(s):
        for name in ("speed_km_per_min", "reach_km", "breakdown_at_km"):
            s[name] *= 0.5
        s["bookings"]["board_min"] += 1
        s["bookings"]["alight_min"] += 1
        for name in ("congestion", "demand_factor", "traffic_factor"):
            s[name] += 1
        s["key"] += np.uint64(1)  # the noise of the legs

    minutes, env = same_until(lambda s: (s["mode"] == SERVING).any(), change)
    assert minutes > 3
    assert (env.unwrapped.state["stops"] > 0).any()
    assert not look_alike(env)


def test_a_no_show_is_not_seen_before_the_wait_at_the_door_is_over():
    env = forked()
    checked = 0
    for _ in range(40):
        env.unwrapped.clone_rows(0, [1])
        state = env.unwrapped.state
        driving = [v for v in range(8) if state[0]["mode"][v] == DRIVING and state[0]["plan"][v, 0] % 2 == 0]
        driving = [v for v in driving if state[0]["bookings"]["vehicle"][state[0]["plan"][v, 0] // 2] == v]
        saved = env.unwrapped.save_state()
        if driving:
            v = driving[0]
            state[1]["bookings"]["no_show"][state[0]["plan"][v, 0] // 2] ^= 1
            for _ in range(30):
                env.step(np.full(2, v2.ADVANCE))
                if (env.unwrapped.state["mode"][:, v] != DRIVING).any() and (
                    env.unwrapped.state["mode"][:, v] != SERVING
                ).any():
                    break
                if env.unwrapped.state["stops"][0, v] != env.unwrapped.state["stops"][1, v]:
                    break
                if len(set(env.unwrapped.state["since_min"][:, v])) > 1:
                    break
                obs, mask, _ = observed(env)
                np.testing.assert_array_equal(obs[0], obs[1])
                np.testing.assert_array_equal(mask[0], mask[1])
                checked += 1
            env.unwrapped.load_state(saved)
        env.step(cheapest(env.unwrapped.state, env.unwrapped.action_masks()))
    assert checked > 20


# --- the mask against brute force -----------------------------------------------------------------------


def drive_until(s, depart_min, km):
    """Return the expected arrival by stepping through the quarters of an hour."""
    t = depart_min
    while True:
        q = min(int(t // QUARTER_MIN), QUARTERS - 1)
        left = math.inf if q == QUARTERS - 1 else (q + 1) * QUARTER_MIN - t
        need = km / s["expected_speed_km_per_min"][q]
        if need <= left:
            return t + need
        t += left
        km -= left * s["expected_speed_km_per_min"][q]


def timed(p, s, v, stops, of_new):
    """Return km, by stop its begin, ride and lateness, and whether places are short."""
    x, y = s["x_km"][v], s["y_km"][v]
    t = max(s["now_min"], s["believed_min"][v])
    ends, rows, km = {}, {}, 0.0
    amb, wc, full = s["onboard_amb"][v], s["onboard_wc"][v], False
    for m, stop in enumerate(stops):
        b = stop // 2
        gone = stop % 2 == 0 and s["bookings"]["vehicle"][b] != v and b != of_new
        place = ("dropoff" if stop % 2 else "pickup") + "_{}_km"
        to_x, to_y = (s["bookings"][place.format(axis)][b] for axis in "xy")
        leg = p["circuity"] * math.hypot(to_x - x, to_y - y)
        fixed = m == 0 and s["committed"][v]
        if not fixed:
            km += leg
            t = drive_until(s, t, leg)
        serve = p[("alight_" if stop % 2 else "board_") + ("wc_min" if s["bookings"]["wheelchair"][b] else "amb_min")]
        begin = t if stop % 2 or gone else max(t, s["bookings"]["earliest_min"][b])
        end = begin if gone else begin + serve
        if fixed and s["mode"][v] == SERVING:
            begin, end = s["begin_min"][v, 0], t
        t, x, y = end, to_x, to_y
        ends[stop] = end
        row = {"begin": begin, "late": 0.0, "ride": 0.0}
        if stop % 2:
            row["ride"] = begin - (s["aboard_min"][b] if s["aboard_min"][b] > 0 else ends[stop - 1])
            amb, wc = amb - s["bookings"]["ambulatory"][b], wc - s["bookings"]["wheelchair"][b]
        elif not gone:
            row["late"] = max(0.0, begin - s["bookings"]["latest_min"][b])
            amb, wc = amb + s["bookings"]["ambulatory"][b], wc + s["bookings"]["wheelchair"][b]
        full = full or amb > p["cap_amb"] or wc > p["cap_wc"]
        rows[stop] = row | {"gone": gone}
    return km, rows, full


def priced(p, s, rows):
    limit = {
        stop: max(p["ride_limit_min"], p["ride_limit_factor"] * s["bookings"]["direct_min"][stop // 2]) for stop in rows
    }
    late = sum(min(r["late"], 30.0) for r in rows.values())
    excess = sum(max(0.0, r["ride"] - limit[stop]) for stop, r in rows.items() if stop % 2)
    return p["late_cost_usd_per_min"] * late + p["ride_cost_usd_per_min"] * excess


def brute_force(p, s, v, b):
    """Return the cost of the cheapest feasible insertion of ``b`` into the plan of ``v``, or None."""
    base = [int(stop) for stop in s["plan"][v, : s["stops"][v]]]
    if len(base) + 2 > v2.S_MAX:
        return None
    base_km, before, _ = timed(p, s, v, base, b)
    best = None
    spare = math.inf
    if int(p["ev_share"] * (v + 1) + 1e-9) > int(p["ev_share"] * v + 1e-9):
        left = s["range_km"][v]
        if s["mode"][v] in (IDLE, BREAK):
            left += max(0.0, s["now_min"] - s["parked_min"][v]) * p["ev_charge_kw"] / 60 / 0.30
        spare = min(left, p["ev_range_km"]) - 0.10 * p["ev_range_km"] - base_km
    for i in range(s["committed"][v], len(base) + 1):
        for j in range(i, len(base) + 1):
            trial = [*base[:i], 2 * b, *base[i:j], 2 * b + 1, *base[j:]]
            km, rows, full = timed(p, s, v, trial, b)
            if full or km - base_km > spare or breaks_rules(p, s, v, b, rows, before, direct=i == j):
                continue
            usd = p["km_cost_usd"] * (km - base_km) + priced(p, s, rows) - priced(p, s, before)
            best = usd if best is None else min(best, usd)
    return best


def breaks_rules(p, s, v, new, rows, before, direct):
    eps = 1e-9
    for stop, row in rows.items():
        b, old = stop // 2, before.get(stop, {"late": 0.0, "ride": 0.0, "begin": -math.inf})
        if row["gone"]:
            continue
        if stop % 2:
            limit = max(p["ride_limit_min"], p["ride_limit_factor"] * s["bookings"]["direct_min"][b])
            if row["ride"] > max(limit, old["ride"]) + eps and not (b == new and direct):
                return True
        else:
            if row["late"] - old["late"] > 30.0:
                return True
            if row["begin"] > max(min(s["bookings"]["expires_min"][b], s["shift_end_min"][v]), old["begin"]) + eps:
                return True
    return False


@pytest.mark.parametrize("world", range(len(WORLDS) - 1))
def test_the_mask_allows_exactly_what_brute_force_finds_feasible_at_its_cost(world):
    env = vector(1, **WORLDS[world])
    env.reset(seed=10 + world)
    rng = np.random.default_rng(world)
    found = {True: 0, False: 0}
    pooled = 0
    for step in range(900):
        s, p, mask = env.unwrapped.state[0], env.unwrapped.params[0], env.unwrapped.action_masks()[0]
        slots = np.flatnonzero(s["slot"] >= 0)
        ready = np.flatnonzero(~np.isin(s["mode"], (OFF, DOWN)))
        for _ in range(2 if len(slots) and len(ready) else 0):
            k = rng.choice(slots)
            v = rng.choice(ready) if rng.random() < 0.9 else rng.integers(p["n_vehicles"])
            on_shift = s["mode"][v] not in (OFF, DOWN) and s["now_min"] < s["shift_end_min"][v]
            rested = s["break_done"][v] or s["now_min"] < s["shift_start_min"][v] + 0.70 * p["shift_min"]
            usd = brute_force(p, s, v, s["slot"][k]) if on_shift and rested else None
            assert mask[k * v2.V_MAX + v] == (usd is not None)
            if usd is not None:
                assert s["pair_usd"][s["row_of"][s["slot"][k]], v] == pytest.approx(usd, abs=1e-6)
                pooled += s["stops"][v] > 0
            found[usd is not None] += 1
        action = chosen(mask, world, step) if rng.random() < 0.5 else v2.ADVANCE
        env.step(np.array([action]))
    assert min(found.values()) > 10
    assert pooled > 10


def test_without_noise_boarding_begins_when_the_pair_table_says():
    env = vector(1, **NO_NOISE)
    env.reset(seed=0)
    foretold = {}
    while not foretold or env.unwrapped.state["now_min"][0] < 600:
        s, mask = env.unwrapped.state[0], env.unwrapped.action_masks()[0]
        idle = (s["mode"] == IDLE) & (s["stops"] == 0)
        choices = [a for a in np.flatnonzero(mask[: v2.ADVANCE]) if idle[a % v2.V_MAX]]
        if choices:
            b, v = s["slot"][choices[0] // v2.V_MAX], choices[0] % v2.V_MAX
            foretold[int(b)] = s["pair_begin_min"][s["row_of"][b], v]
        env.step(np.array([choices[0] if choices else v2.ADVANCE]))
    s = env.unwrapped.state[0]
    done = [b for b in foretold if s["bookings"]["status"][b] == DONE]
    assert len(done) > 30
    for b in done:
        assert s["bookings"]["picked_min"][b] - s["bookings"]["board_min"][b] == pytest.approx(foretold[b], abs=1e-6)


def test_an_insertion_costs_what_the_pair_table_says_if_nothing_is_random():
    rows = 40
    ahead = {"prebook_share": 1, "lookahead_min": 90, "n_vehicles": 16, "breakdown_per_km": 0}
    env = vector(rows, ride_limit_min=20, ride_limit_factor=1.2, **ahead, **NO_NOISE)
    env.reset(seed=2)
    p, state = env.unwrapped.params, env.unwrapped.state
    s = state[0]
    for name, places in (("board", s["bookings"]["wheelchair"]), ("alight", s["bookings"]["wheelchair"])):
        s["bookings"][f"{name}_min"] = np.where(places > 0, p[f"{name}_wc_min"][0], p[f"{name}_amb_min"][0])
    s["break_done"] = 1
    while s["now_min"] < 190:
        action = cheapest(state[:1], env.unwrapped.action_masks()[:1])[0] if s["n_open"] > 8 else v2.ADVANCE
        env.step(np.array([action] + [v2.ADVANCE] * (rows - 1)))
    pairs = np.flatnonzero(env.unwrapped.action_masks()[0, : v2.ADVANCE])
    pairs = np.random.default_rng(0).permutation(pairs)[: rows - 1]
    assert len(pairs) == rows - 1
    k, v = np.divmod(pairs, v2.V_MAX)
    foretold_usd = s["pair_usd"][s["row_of"][s["slot"][k]], v].copy()
    pooled = s["stops"][v] > 0
    env.unwrapped.clone_rows(0, np.arange(1, rows))
    paid_usd = np.zeros(rows)
    for step in range(300):
        env.step(np.full(rows, v2.ADVANCE) if step else np.array([v2.ADVANCE, *pairs]))
        paid_usd -= state["terms"][:, DISTANCE : EXCESS_RIDE + 1].sum(1)
    assert (state["stops"] == 0).all()
    np.testing.assert_allclose(paid_usd[1:] - paid_usd[0], foretold_usd, atol=1e-6)
    assert pooled.sum() > 10
    assert (state["late_total_min"] > state["late_total_min"][0]).any()


def test_an_illegal_action_is_an_advance_that_is_counted():
    env = forked()
    mask = env.unwrapped.action_masks()[0]
    illegal = int(np.flatnonzero(~mask)[0])
    obs, reward, *_ = env.step(np.array([illegal, v2.ADVANCE]))
    assert reward[0] == reward[1]
    np.testing.assert_array_equal(obs[0], obs[1])
    state = env.unwrapped.state
    assert state["n_illegal"].tolist() == [1, 0]
    state["n_illegal"] = 0
    np.testing.assert_array_equal(*state_bytes(env)[:, 16 + 16 :])  # behind seed, key, episode, steps


def test_an_assignment_takes_no_time_and_slots_keep_their_places():
    env = vector(1)
    env.reset(seed=0)
    assigned = 0
    for _ in range(400):
        s = env.unwrapped.state[0].copy()
        action = int(cheapest(env.unwrapped.state, env.unwrapped.action_masks())[0])
        _, reward, _, _, infos = env.step(np.array([action]))
        if action < v2.ADVANCE:
            assigned += 1
            assert infos["dt_min"][0] == 0
            assert reward[0] == 0
            expected = s["slot"].copy()
            expected[action // v2.V_MAX] = -1
            np.testing.assert_array_equal(env.unwrapped.state["slot"][0], expected)
        else:
            assert infos["dt_min"][0] == 1
            shown = env.unwrapped.state["slot"][0]
            shown = shown[shown >= 0]
            due = [(env.unwrapped.state["bookings"]["latest_min"][0, b], b) for b in shown]
            assert due == sorted(due)
    assert assigned > 20


def test_event_driven_advance_runs_up_to_five_minutes():
    env = vector(1, event_driven=1)
    env.reset(seed=0)
    lengths = [env.step(np.array([v2.ADVANCE]))[4]["dt_min"][0] for _ in range(200)]
    assert set(lengths) <= {1, 2, 3, 4, 5}
    assert len(set(lengths)) > 2


def test_without_pooling_a_plan_holds_one_booking():
    env = vector(2, pooling=0)

    def watch(params, state, running):
        assert state["stops"].max() <= 2

    days(env, legal, watch=watch)


def day_by_hand(p, s):
    now, speed = s["now_min"], s["expected_speed_km_per_min"] * 60
    angle = 2 * math.pi * (360 + now) / 1440
    known = np.arange(len(s["bookings"]["status"])) < s["next_booking"]
    recent = (
        known
        & (np.ceil(s["bookings"]["reveal_min"]) > now - 30)
        & (s["bookings"]["cancel_min"] > s["bookings"]["reveal_min"])
    )
    n, expected = recent.sum(), min(now, 30) * rate_by_hand(p, max(0, now - 15))
    n_open = (s["bookings"]["status"] == OPEN).sum()
    return {
        "time_sin": math.sin(angle), "time_cos": math.cos(angle), "day_share": now / 870,
        "open": n_open / 64, "overflow": max(0, n_open - 16) / 64,
        "idle_share": (s["mode"][: p["n_vehicles"]] == IDLE).mean(), "pace": s["pace_ewma"] - 1,
        "speed_now": speed[min(int(now // 15), 63)] / 60, "speed_1h": speed[min(int(now // 15) + 4, 63)] / 60,
        "requests": (n - expected) / max(1, n + expected), "km": s["odometer_km"].sum() / (300 * p["n_vehicles"]),
        "missed": (s["bookings"]["status"] == MISSED).sum() / 64,
    }  # fmt: skip


def rate_by_hand(p, t_min):
    hour = int(t_min // 60)
    return p["demand_per_day"] * DEMAND_SHARE[p["demand_profile"], hour] / 60 if hour < 12 else 0.0


def vehicle_by_hand(s, v, x0=0.0, y0=0.0):
    mode, n = s["mode"][v], s["stops"][v]
    b, what = divmod(s["plan"][v, n - 1], 2) if n else (0, 0)
    stop = [s["bookings"][f"{('pickup', 'dropoff')[what]}_{axis}_km"][b] for axis in "xy"]
    end = stop if n else [s[f"{axis}_km"][v] for axis in "xy"]
    busy_min = s["believed_min"][v] - s["now_min"] if mode not in (IDLE, OFF) else 0
    return {
        "x": (s["x_km"][v] - x0) / 10, "y": (s["y_km"][v] - y0) / 10, "ready": busy_min / 60,
        "idle": mode == IDLE, "driving": mode == DRIVING, "serving": mode == SERVING, "resting": mode == BREAK,
        "down": mode == DOWN, "onboard_amb": s["onboard_amb"][v] / 9, "onboard_wc": s["onboard_wc"][v] / 3,
        "stops": n / 10, "end_x": (end[0] - x0) / 10, "end_y": (end[1] - y0) / 10,
        "shift_left": (s["shift_end_min"][v] - s["now_min"]) / 720 if mode != OFF else 0,
    }  # fmt: skip


def slot_by_hand(p, s, b):
    now, booking = s["now_min"], s["bookings"][b]
    costs = s["pair_usd"][s["row_of"][b]][s["pair_ok"][s["row_of"][b]] == 1]
    zone = [np.clip(int((booking[f"dropoff_{x}_km"] / p["area_half_width_km"] + 1) * 2), 0, 3) for x in "xy"]
    return {
        "pickup_x": booking["pickup_x_km"] / 10, "pickup_y": booking["pickup_y_km"] / 10,
        "dropoff_x": booking["dropoff_x_km"] / 10, "dropoff_y": booking["dropoff_y_km"] / 10,
        "opens": (booking["earliest_min"] - now) / 60, "due": (booking["latest_min"] - now) / 60,
        "expires": (booking["expires_min"] - now) / 120, "direct": booking["direct_min"] / 60,
        "ambulatory": booking["ambulatory"] / 9, "wheelchair": booking["wheelchair"] / 3,
        "prebooked": booking["prebooked"], "age": (now - booking["reveal_min"]) / 240,
        "zone_rate": 10 * rate_by_hand(p, now) * s["zone_share"][4 * zone[1] + zone[0]],
        "best_cost": costs.min() / 25 if len(costs) else 0, "choices": len(costs) / 16, "filled": 1,
    }  # fmt: skip


def pair_by_hand(s, b, v):
    row = s["row_of"][b]
    eta_min = s["pair_begin_min"][row, v] - s["now_min"]
    return {"cost": s["pair_usd"][row, v] / 25, "eta": eta_min / 60, "added_lateness": s["pair_late_min"][row, v] / 30}


def named(prefix, values):
    return {f"{prefix}_{name}": value for name, value in values.items()}


def check_seen(obs, columns, by_hand):
    """Check an observation against values by column name; columns that are not named must be 0."""
    assert by_hand.keys() <= {c.name for c in columns}
    expected = np.clip([by_hand.get(c.name, 0.0) for c in columns], *bounds(columns))
    np.testing.assert_allclose(obs, expected, atol=1e-6)


def test_the_observation_is_what_its_columns_say():
    env = vector(1, **HARSH)
    obs, _ = env.reset(seed=17)
    checked = 0
    for step in range(800):
        p, s = env.unwrapped.params[0], env.unwrapped.state[0]
        if step % 7 == 0:
            seen = day_by_hand(p, s)
            for v in range(p["n_vehicles"]):
                seen |= named(f"vehicle_{v}", vehicle_by_hand(s, v))
            for k, b in enumerate(s["slot"]):
                if b >= 0:
                    seen |= named(f"slot_{k}", slot_by_hand(p, s, b))
                    for v in np.flatnonzero(s["pair_ok"][s["row_of"][b]]):
                        seen |= named(f"pair_{16 * k + v}", pair_by_hand(s, b, v))
                        checked += 1
            check_seen(obs[0], v2.OBSERVATION, seen)
        action = legal(env.unwrapped.state, env.unwrapped.action_masks(), step)
        obs, *_ = env.step(action if step % 3 == 0 else np.array([v2.ADVANCE]))
    assert checked > 500


def test_an_agent_sees_the_day_itself_the_slots_with_its_own_pairs_and_its_neighbours():
    env = rlops.envs.parallel_env("rlops/Dispatch-v2", params=HARSH)
    obs, _ = env.reset(seed=18)
    for step in range(400):
        p, s = env.params[0], env.state[0]
        if step % 20 == 0:
            shown = [v for v in range(8) if s["mode"][v] != OFF]
            for a in (0, 5, 11):
                seen = day_by_hand(p, s)
                if a < 8:
                    seen |= named("own", vehicle_by_hand(s, a))
                    for k, b in enumerate(s["slot"]):
                        if b >= 0:
                            slot = slot_by_hand(p, s, b)
                            slot.pop("filled")
                            seen |= named(f"slot_{k}", slot)
                            if s["pair_ok"][s["row_of"][b], a]:
                                seen |= named(f"pair_{k}", pair_by_hand(s, b, a))
                    here = (s["x_km"][a], s["y_km"][a])
                    near = sorted((math.dist(here, (s["x_km"][v], s["y_km"][v])), v) for v in shown if v != a)
                    for i, (_, v) in enumerate(near):
                        seen |= named(f"near_vehicle_{i}", vehicle_by_hand(s, v, *here))
                check_seen(obs[f"vehicle_{a}"], v2.AGENT_OBSERVATION, seen)
        masks = env.action_masks()
        obs, *_ = env.step({f"vehicle_{v}": chosen(masks[v], v, step) for v in range(v2.V_MAX)})


def test_observations_stay_in_their_bounds_in_every_world():
    env = worlds()
    low, high = bounds(v2.OBSERVATION)
    obs, _ = env.reset(seed=0)
    for step in range(600):
        assert ((obs >= low) & (obs <= high)).all()
        obs, *_ = env.step(legal(env.unwrapped.state, env.unwrapped.action_masks(), step))


# --- directions and key figures -------------------------------------------------------------------------


CHANGES = {
    "nominal": {}, "more vehicles": {"n_vehicles": 12}, "faster": {"base_speed_kmh": 40},
    "more demand": {"demand_per_day": 260}, "detours": {"circuity": 1.45}, "no-shows": {"no_show": 0.12},
    "single": {"pooling": 0}, "breakdowns": {"breakdown_per_km": 2e-3}, "short shifts": {"shift_min": 480},
    "erratic": {"leg_noise_sd": 0.35, "congestion_sd": 0.15}, "long breaks": {"break_min": 60},
    "slow doors": {"board_amb_min": 4}, "one seat": {"cap_amb": 1}, "no ramp": {"cap_wc": 0},
}  # fmt: skip


@pytest.fixture(scope="module")
def changed():
    """Return by change (return, key figures), each (rows,), of the same days with the cheapest insertion."""
    rows = 10
    env = worlds(rows, list(CHANGES.values()))
    seeds = list(range(rows)) * len(CHANGES)
    total, figures, _, _ = days(env, cheapest, seed=seeds)
    return {
        name: {"return": total[i * rows : (i + 1) * rows]}
        | {kpi: figures[i * rows : (i + 1) * rows, at] for kpi, at in KPI.items()}
        for i, name in enumerate(CHANGES)
    }


@pytest.mark.parametrize(
    ("change", "figure", "sign"),
    [
        ("more vehicles", "completion_rate", 1),
        ("faster", "return", 1),
        ("more demand", "completion_rate", -1),
        ("detours", "return", -1),
        ("no-shows", "km_per_completed", 1),
        ("single", "return", -1),
        ("breakdowns", "completion_rate", -1),
        ("short shifts", "return", -1),
        ("erratic", "return", -1),
        ("long breaks", "return", -1),
        ("slow doors", "return", -1),
        ("one seat", "return", -1),
        ("no ramp", "completion_wc", -1),
    ],
)
def test_a_change_moves_the_day_in_its_physical_direction(changed, change, figure, sign):
    gap = sign * (changed[change][figure] - changed["nominal"][figure])
    assert gap.mean() > 0
    assert gap.mean() > gap.std() / math.sqrt(len(gap))


def test_without_a_ramp_no_wheelchair_is_served_and_the_least_class_says_so(changed):
    assert (changed["no ramp"]["completion_wc"] == 0).all()
    assert (changed["no ramp"]["min_class_completion"] == 0).all()


def test_key_figures_agree_with_each_other(changed):
    for k in changed.values():
        np.testing.assert_allclose(k["eligible"], k["bookings"] - k["cancelled"] - k["no_shows"])
        np.testing.assert_allclose(k["completion_rate"], k["completed"] / k["eligible"])
        assert (k["on_time_15"] <= k["on_time_30"]).all()
        assert (k["on_time_30"] <= k["completion_rate"]).all()
        assert (k["lateness_mean_min"] <= k["lateness_p95_min"] + 5).all()
        assert (k["min_class_completion"] <= k["completion_rate"] + 1e-12).all()
        assert (k["utilisation"] <= 1).all()
        quarters = np.mean([k[f"completion_trip_q{q}"] for q in range(1, 5)], axis=0)
        np.testing.assert_allclose(quarters, k["completion_rate"], atol=0.02)
        np.testing.assert_allclose(k["mean_distance_km"], k["km_total"] / k["completed"])


def test_key_figures_are_those_of_the_bookings():
    env = worlds(rows_each=2, each=[{}, TIGHT, {"no_show": 0.12, "wc_share": 0.4}])
    busy_min, on_shift_min, tick_min = np.zeros(6), np.zeros(6), np.zeros(6)

    def watch(params, state, running):
        ticks = running & (state["now_min"] > tick_min)
        tick_min[:] = state["now_min"]
        busy_min[ticks] += np.isin(state["mode"], (DRIVING, SERVING)).sum(1)[ticks]
        on_shift_min[ticks] += (state["mode"] != OFF).sum(1)[ticks]

    total, figures, final, steps = days(env, cheapest, seed=40, watch=watch)
    for i, s in enumerate(final):
        k = {name: figures[i, at] for name, at in KPI.items()}
        n = s["n_bookings"]
        eligible = ~np.isin(s["bookings"]["status"][:n], (CANCELLED, NO_SHOW))
        done, late = (s["bookings"]["status"][:n] == DONE)[eligible], s["lateness_min"][:n][eligible]
        wheelchair = (s["bookings"]["wheelchair"][:n] > 0)[eligible]
        assert k["eligible"] == eligible.sum()
        assert k["completion_rate"] == pytest.approx(done.mean())
        assert k["on_time_15"] == pytest.approx((done & (late <= 15)).mean())
        assert k["on_time_30"] == pytest.approx((done & (late < 30)).mean())
        assert k["late_or_missed_share"] == pytest.approx((~done | (late > 0)).mean())
        assert k["lateness_mean_min"] == pytest.approx(late[done].mean())
        assert k["lateness_p95_min"] == np.sort(late[done])[math.ceil(0.95 * done.sum()) - 1]
        assert k["lateness_share"] == pytest.approx((late[done] > 0).mean())
        assert k["excess_ride_mean_min"] == pytest.approx(s["excess_ride_min"][:n][eligible][done].mean())
        assert k["reward_per_step"] == pytest.approx(total[i] / steps[i])
        assert k["utilisation"] == pytest.approx(busy_min[i] / on_shift_min[i], abs=0.01)
        assert k["trips_per_vehicle_hour"] == pytest.approx(60 * done.sum() / on_shift_min[i], rel=0.01)
        least = [done[~wheelchair].mean(), done[wheelchair].mean()]
        assert [k["completion_amb"], k["completion_wc"]] == pytest.approx(least)
        centre_km = np.hypot(s["bookings"]["pickup_x_km"][:n], s["bookings"]["pickup_y_km"][:n])
        for name, value in (("trip", s["bookings"]["direct_min"][:n]), ("zone", centre_km)):
            quarter = np.argsort(np.argsort(value[eligible], kind="stable")) * 4 // eligible.sum()
            least += [done[quarter == q].mean() for q in range(4)]
            assert [k[f"completion_{name}_q{q + 1}"] for q in range(4)] == pytest.approx(least[-4:])
        assert k["min_class_completion"] == pytest.approx(min(least))


def test_doing_nothing_is_the_worst_and_charges_every_booking():
    env = vector(4)
    total, figures, _, _ = days(env, lambda state, mask, step: np.full(len(state), v2.ADVANCE))
    np.testing.assert_array_equal(total, -40.0 * figures[:, KPI["missed"]])
    assert (figures[:, KPI["completion_rate"]] == 0).all()
    assert (total < days(env, legal)[0] - 1000).all()


def test_refusing_a_booking_never_pays_at_any_corner_of_the_parameters():
    box = {p.name: (p.low, p.high) for p in PARAMETERS}
    names = [
        "fare_usd", "miss_cost_usd", "km_cost_usd", "circuity", "area_half_width_km", "late_cost_usd_per_min",
        "ride_cost_usd_per_min",
    ]  # fmt: skip
    for fare, miss, km, circuity, half_width, late, ride in itertools.product(*(box[n] for n in names)):
        dearest_km = 2 * circuity * half_width * 2 * math.sqrt(2)
        assert fare + miss >= km * dearest_km + late * 30 + ride * 15


# --- agents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["team", "marginal"])
def test_agents_are_the_single_environment_under_the_same_winners(sharing):
    params = {"reward_sharing": sharing}
    together = rlops.envs.parallel_env("rlops/Dispatch-v2", params=params)
    alone = gym.make("rlops/Dispatch-v2", params=params).unwrapped
    together.reset(seed=7)
    alone.reset(seed=7)
    rng = np.random.default_rng(0)
    lost = won = 0
    for _ in range(400):
        masks = together.action_masks()
        bids = np.array([rng.choice(np.flatnonzero(m)) for m in masks])
        winners = np.zeros(v2.V_MAX, np.int64)
        n = v2.winning_actions(alone.params[0], alone.state[0], bids, winners)
        won += n
        team = 0.0
        for action in [*winners[:n], v2.ADVANCE]:
            _, reward, _, truncated, _ = alone.step(action)
            team += reward
        _, rewards, _, _, infos = together.step({f"vehicle_{v}": int(bids[v]) for v in range(v2.V_MAX)})
        assert sum(rewards.values()) == pytest.approx(team, abs=1e-9)
        assert sharing == "marginal" or len(set(rewards.values())) == 1
        bidders = (bids < v2.K).sum()
        assert sum(i["lost_bid"] for i in infos.values()) == bidders - n
        lost += bidders - n
        for env in (together, alone):
            env.state["lost_bid"], env.state["steps"] = 0, 0
        np.testing.assert_array_equal(state_bytes_of(together), state_bytes_of(alone))
        assert not truncated
    assert lost > 20
    assert won > 50


def state_bytes_of(env):
    return np.ascontiguousarray(env.state).view(np.uint8)


def test_the_lowest_cost_wins_and_absent_vehicles_only_pass():
    env = rlops.envs.parallel_env("rlops/Dispatch-v2")
    env.reset(seed=0)
    contests = ties = 0
    for _ in range(150):  # nobody bids: several vehicles stand at the centre
        env.step(dict.fromkeys(env.agents, v2.PASS))
    for _ in range(200):
        masks = env.action_masks()
        assert masks[8:, : v2.K].sum() == 0
        assert masks[:, v2.PASS].all()
        s = env.state[0]
        absent = np.isin(s["mode"], (OFF, DOWN))
        assert masks[absent, : v2.K].sum() == 0
        k = int(np.argmax(masks[:, : v2.K].sum(0)))
        bids = np.where(masks[:, k] == 1, k, v2.PASS)
        bidders = np.flatnonzero(bids == k)
        booking = s["slot"][k]
        usd = s["pair_usd"][s["row_of"][booking]].copy() if booking >= 0 else None
        infos = env.step({f"vehicle_{v}": int(bids[v]) for v in range(v2.V_MAX)})[4]
        if len(bidders) > 1:
            contests += 1
            winner = min(bidders, key=lambda v: (usd[v], v))
            ties += (usd[bidders] == usd[winner]).sum() > 1
            losers = [v for v in range(v2.V_MAX) if infos[f"vehicle_{v}"]["lost_bid"]]
            assert losers == [v for v in bidders if v != winner]
    assert contests > 30
    assert ties > 0


def test_a_vehicles_own_reward_is_what_it_earned_and_its_part_of_the_misses():
    env = rlops.envs.parallel_env("rlops/Dispatch-v2", params={"reward_sharing": "marginal", "miss_cost_usd": 48})
    env.reset(seed=1)
    for step in range(300):
        masks = env.action_masks()
        bids = {f"vehicle_{v}": chosen(masks[v], v, step) for v in range(v2.V_MAX)}
        _, rewards, *_ = env.step(bids)
        terms = env.state["terms"][0]
        for v in range(8, v2.V_MAX):
            assert rewards[f"vehicle_{v}"] == pytest.approx(terms[MISSES] / 16, abs=1e-9)
        if terms[FARE] > 0:
            assert max(rewards.values()) > 5
