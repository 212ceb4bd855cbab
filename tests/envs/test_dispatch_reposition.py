"""DispatchReposition-v2: what a move costs, where it leads, which are legal, and that all else is v2."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest

import rlops
from rlops.envs.dispatch import kernel_v2, plan, render
from rlops.envs.dispatch import scene as scenes
from rlops.envs.dispatch.city import ASSIGNED, DONE, MAX_BOOKINGS, OPEN, arrival_min, expected_arrival_min, leg_factor
from rlops.envs.dispatch.fleet import BREAK_TO_SHARE
from rlops.envs.dispatch.kernel_v2 import ADVANCE, V_MAX
from rlops.envs.dispatch.kernel_v2_reposition import ACTION, FIRST_PLACE, KPIS, MOVES
from rlops.envs.dispatch.plan import BREAK, DOWN, DRIVING, IDLE, OFF, SERVING
from rlops.errors import InvalidValue
from tests.envs.rollouts import chosen
from tests.envs.test_dispatch_v2 import HARSH, NO_NOISE, WORLDS, check_conservation

ID = "rlops/DispatchReposition-v2"
FIRST = ADVANCE + 1
CALM = NO_NOISE | {"breakdown_per_km": 0}
V2_FIELDS = [name for name in kernel_v2.STATE.names if name != "steps"]


def opened(id=ID, seed=0, **params):
    env = gym.make(id, params=params or None, render_mode="rgb_array").unwrapped
    env.reset(seed=seed)
    return env


def of_v2(state, name):
    """Return a field of the state as v2 has it: without the rows of the zones' centres."""
    rows = state[name]
    return rows[:, :MAX_BOOKINGS] if rows.shape[1:] == (FIRST_PLACE + 16,) else rows


def centre_km(p, zone):
    side_km = p["area_half_width_km"] / 2
    return np.array([zone % 4 + 0.5, zone // 4 + 0.5]) * side_km - p["area_half_width_km"]


def target_km(p, s, v, m):
    """Return the centre that move ``m`` of ``v`` leads to, or None outside the area."""
    side_km = p["area_half_width_km"] / 2
    column, row = (min(max(math.floor((s[f"{x}_km"][v] + 2 * side_km) / side_km), 0), 3) for x in "xy")
    column, row = column + m % 3 - 1, row + m // 3 - 1
    return centre_km(p, 4 * row + column) if 0 <= column < 4 and 0 <= row < 4 else None


def distance_km(p, s, v, m):
    to = target_km(p, s, v, m)
    return p["circuity"] * math.hypot(to[0] - s["x_km"][v], to[1] - s["y_km"][v])


def moves(mask):
    """Return the legal moves as pairs (v, m)."""
    return [divmod(int(a), MOVES) for a in np.flatnonzero(mask[FIRST:])]


def move(env, v, m):
    return env.step(FIRST + v * MOVES + m)


def eager(mask, seed, step):
    """Return a legal action that is a move half the time when there is one."""
    only_moves = mask.copy()
    only_moves[:FIRST] = 0
    return chosen(only_moves if step % 4 < 2 and only_moves.any() else mask, seed, step)


def until(env, condition, action=ADVANCE):
    """Advance until ``condition`` of the state holds, and return the sum of rewards."""
    total_usd = 0.0
    while not condition(env.state[0]):
        total_usd += env.step(action)[1]
    return total_usd


# --- v2 is in it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, HARSH])
def test_without_moves_a_day_is_that_of_v2_bit_for_bit(params):
    env, plain = opened(seed=5, **params), opened("rlops/Dispatch-v2", seed=5, **params)
    assert (env.action_space.n, plain.action_space.n) == (ACTION, FIRST)
    assert env.observation_space == plain.observation_space
    ended = False
    step = 0
    while not ended:
        mask = plain.action_masks()
        np.testing.assert_array_equal(env.action_masks()[:FIRST], mask)
        action = chosen(mask, 5, step) if step % 3 else ADVANCE
        seen, before = env.step(action), plain.step(action)
        np.testing.assert_array_equal(seen[0], before[0])
        assert seen[1:4] == before[1:4]
        ended, step = before[2] or before[3], step + 1
        for name in V2_FIELDS if ended or step % 20 == 0 else ():
            assert of_v2(env.state, name).tobytes() == plain.state[name].tobytes(), name
    kpis = seen[4]["kpis"]
    assert kpis.pop("moves") == 0
    assert kpis == before[4]["kpis"]


# --- a move ---------------------------------------------------------------------------------------------


def test_a_move_takes_no_time_to_decide_drives_to_the_centre_of_its_zone_and_is_paid_on_arrival():
    env = opened(**CALM)
    p, s = env.params[0], env.state[0]
    for m in (4, 0, 5, 7):
        start, to, km = (s["x_km"][0], s["y_km"][0]), target_km(p, s, 0, m), distance_km(p, s, 0, m)
        now_min, km_before, empty_before = s["now_min"], s["km"], s["empty_km"]
        drive_min = expected_arrival_min(s, now_min, km) - now_min
        obs, reward, _, _, info = move(env, 0, m)
        assert (reward, info["dt_min"], s["now_min"], s["km"]) == (0, 0, now_min, km_before)
        assert (s["mode"][0], s["committed"][0], s["stops"][0]) == (DRIVING, 1, 1)
        assert (s["x_km"][0], s["y_km"][0]) == start
        assert s["believed_min"][0] - now_min == pytest.approx(drive_min)
        assert s["until_min"][0] == pytest.approx(s["believed_min"][0]), "no noise, no surprise"
        vehicle = obs[12:26]
        assert vehicle[4] == 1
        assert vehicle[[3, 5, 6, 7]].sum() == 0
        assert vehicle[2] == pytest.approx(drive_min / 60, abs=1e-6)
        np.testing.assert_allclose(vehicle[11:13], to / 10, atol=1e-6)
        total_usd = until(env, lambda s: s["mode"][0] != DRIVING)
        assert 0 <= s["now_min"] - now_min - drive_min < 1
        assert (s["mode"][0], s["stops"][0], s["committed"][0]) == (IDLE, 0, 0)
        np.testing.assert_array_equal([s["x_km"][0], s["y_km"][0]], to)
        assert s["km"] - km_before == pytest.approx(km, abs=1e-12)
        assert s["empty_km"] - empty_before == pytest.approx(km, abs=1e-12)
        assert total_usd == pytest.approx(-p["km_cost_usd"] * km - 40 * s["n_missed"], abs=1e-12)
    assert s["n_wasted"] == 0, "nobody was to wait there"
    assert s["n_moves"] == 4


def test_a_move_meets_the_noise_and_the_traffic_of_every_leg():
    env = opened(leg_noise_sd=0.35, breakdown_per_km=0, n_vehicles=16)
    until(env, lambda s: (s["mode"] == IDLE).sum() >= 3)
    p, s = env.params[0], env.state[0]
    ratios = []
    for v, m in ((0, 8), (1, 8), (2, 4)):
        km, stop_at = distance_km(p, s, v, m), int(s["stop_at"][v])
        move(env, v, m)
        stop = int(s["plan"][v, 0])
        true_km = km * leg_factor(p, s, stop_at, stop)
        assert s["until_min"][v] == pytest.approx(arrival_min(s, s["now_min"], true_km))
        assert s["believed_min"][v] == pytest.approx(expected_arrival_min(s, s["now_min"], km))
        ratios.append(true_km / km)
    assert len({round(r, 9) for r in ratios}) == 3, "vehicles start at places of their own"
    pace = s["pace_ewma"]
    until(env, lambda s: s["mode"][0] != DRIVING)
    assert s["pace_ewma"] != pace
    assert s["stop_at"][0] == 2 * (FIRST_PLACE + 15)


def test_stops_of_places_are_nobody_elses():
    bookings, starts = range(2 * MAX_BOOKINGS), range(2 * MAX_BOOKINGS, 2 * MAX_BOOKINGS + V_MAX)
    places = [2 * (FIRST_PLACE + zone) for zone in range(16)]
    assert not set(places) & {*bookings, *starts}
    assert max(places) < 4096, "the draws of legs take stops below"


def test_a_booking_may_join_during_the_move_and_starts_from_its_target():
    env = opened(**CALM, seed=1)
    checked = 0
    for _ in range(12):
        until(env, lambda s: s["now_min"] >= 8 and s["mode"][0] == IDLE and s["stops"][0] == 0)
        p, s = env.params[0], env.state[0]
        possible = [m for v, m in moves(env.action_masks()) if v == 0]
        if not possible:
            env.step(ADVANCE)
            continue
        to = target_km(p, s, 0, possible[-1])
        move(env, 0, possible[-1])
        arrive_min = s["believed_min"][0]
        for k in np.flatnonzero(env.action_masks()[:ADVANCE:V_MAX]):
            b = s["slot"][k]
            booking = s["bookings"][b]
            km = p["circuity"] * math.hypot(booking["pickup_x_km"] - to[0], booking["pickup_y_km"] - to[1])
            begin_min = max(expected_arrival_min(s, arrive_min, km), booking["earliest_min"])
            row = s["row_of"][b]
            assert s["pair_begin_min"][row, 0] == pytest.approx(begin_min)
            east_km, north_km = (booking[f"pickup_{x}_km"] - booking[f"dropoff_{x}_km"] for x in "xy")
            added_km = km + p["circuity"] * math.hypot(east_km, north_km)
            late_usd = 0.5 * max(0.0, begin_min - booking["latest_min"])
            assert s["pair_usd"][row, 0] == pytest.approx(0.42 * added_km + late_usd), "the move itself is paid anyway"
            checked += 1
        legal = np.flatnonzero(env.action_masks()[:ADVANCE:V_MAX])
        if not len(legal):
            continue
        b = int(s["slot"][legal[0]])
        env.step(int(legal[0]) * V_MAX)
        assert s["plan"][0, 0] >= 2 * FIRST_PLACE
        assert s["plan"][0, 1:3].tolist() == [2 * b, 2 * b + 1]
        until(env, lambda s: s["plan"][0, 0] < 2 * MAX_BOOKINGS)
        np.testing.assert_array_equal([s["x_km"][0], s["y_km"][0]], to)
        until(env, lambda s, b=b: s["bookings"]["status"][b] != ASSIGNED)
        until(env, lambda s, b=b: s["bookings"]["status"][b] == DONE)
    assert checked > 8


def test_a_breakdown_ends_a_move_where_it_happens_and_reopens_what_was_planned_behind():
    env = opened(**NO_NOISE)
    until(env, lambda s: s["n_open"] > 0 and s["mode"][0] == IDLE and s["pair_ok"][:, 0].any())
    p, s = env.params[0], env.state[0]
    m = next(m for v, m in moves(env.action_masks()) if v == 0)
    start, to, km = np.array([s["x_km"][0], s["y_km"][0]]), target_km(p, s, 0, m), distance_km(p, s, 0, m)
    s["breakdown_at_km"][0] = s["odometer_km"][0] + 0.25 * km
    move(env, 0, m)
    k = int(np.flatnonzero(env.action_masks()[:ADVANCE:V_MAX])[0])
    b = int(s["slot"][k])
    env.step(k * V_MAX)
    assert s["bookings"]["status"][b] == ASSIGNED
    km_before = s["km"]
    until(env, lambda s: s["mode"][0] == DOWN)
    np.testing.assert_allclose([s["x_km"][0], s["y_km"][0]], start + 0.25 * (to - start), atol=1e-12)
    assert s["km"] - km_before == pytest.approx(0.25 * km, abs=1e-9)
    assert s["bookings"]["status"][b] == OPEN
    assert s["stops"][0] == 0
    assert not env.action_masks()[FIRST : FIRST + MOVES].any()


# --- the mask -------------------------------------------------------------------------------------------


def is_legal(p, s, v, m):
    """Return whether a move is legal, and why not."""
    if s["mode"][v] != IDLE or s["stops"][v]:
        return False, int(s["mode"][v])
    to, now_min = target_km(p, s, v, m), s["now_min"]
    if to is None:
        return False, "outside"
    km = distance_km(p, s, v, m)
    if km == 0:
        return False, "there"
    if expected_arrival_min(s, now_min, km) > s["shift_end_min"][v]:
        return False, "shift"
    if int(p["ev_share"] * (v + 1) + 1e-9) > int(p["ev_share"] * v + 1e-9):
        charged_km = max(0.0, now_min - s["parked_min"][v]) * p["ev_charge_kw"] / 60 / 0.30
        if km > min(p["ev_range_km"], s["range_km"][v] + charged_km) - 0.10 * p["ev_range_km"]:
            return False, "range"
    return True, ""


def test_the_mask_allows_exactly_the_moves_that_the_rules_allow():
    reasons = {}
    for seed, params in enumerate([{}, HARSH, {"ev_share": 1, "ev_range_km": 160, "ev_charge_kw": 22}, {"pooling": 0}]):
        env = opened(seed=seed, **params)
        ended, step, p = False, 0, env.params[0]
        if p["ev_share"] == 1:
            env.state["range_km"] = 17.0
            env._batch.observe()
        while not ended:
            s, mask = env.state[0], env.action_masks()
            for v in range(V_MAX):
                for m in range(MOVES):
                    legal, why = is_legal(p, s, v, m)
                    assert mask[FIRST + v * MOVES + m] == legal, (seed, step, v, m, why)
                    reasons[why] = reasons.get(why, 0) + 1
            action = eager(mask, seed, step) if step % 2 else ADVANCE
            _, _, terminated, truncated, _ = env.step(action)
            ended, step = terminated or truncated, step + 1
    expected = {"", "outside", "there", "shift", "range", IDLE, DRIVING, SERVING, BREAK, DOWN, OFF}
    assert not {why for why in expected if reasons.get(why, 0) < 9}, reasons


def test_a_vehicle_that_is_overdue_for_its_break_is_not_moved():
    env = opened()
    s, own = env.state[0], slice(FIRST, FIRST + MOVES)
    until(env, lambda s: s["now_min"] >= 30)
    assert env.action_masks()[own].any()
    s["shift_start_min"][0] = s["now_min"] - BREAK_TO_SHARE * env.params["shift_min"][0]
    env._batch.observe()
    assert not env.action_masks()[own].any()
    move(env, 0, 4)
    assert s["n_illegal"] == 1


def test_a_move_against_the_mask_is_an_advance_that_is_counted():
    env, twin = opened(), opened()
    absent = FIRST + (V_MAX - 1) * MOVES + 4
    assert env.action_masks()[absent] == 0
    assert env.step(absent)[1] == twin.step(ADVANCE)[1]
    assert env.state["n_illegal"][0] == 1
    env.state["n_illegal"] = 0
    assert env.state.tobytes() == twin.state.tobytes()


# --- whole days -----------------------------------------------------------------------------------------


def test_nothing_is_lost_and_the_return_is_the_closed_form_of_the_totals():
    names = sorted({name for world in WORLDS for name in world})
    nominal = rlops.envs.parse_id(ID)[0].nominal(2)
    values = {n: [w.get(n, nominal[n][0]) for w in WORLDS] for n in names}
    env = gym.make_vec(ID, num_envs=len(WORLDS), params=values, autoreset_mode="Disabled").unwrapped
    _, infos = env.reset(seed=3)
    total_usd, figures = np.zeros(len(WORLDS)), np.zeros((len(KPIS), len(WORLDS)))
    running, step = np.ones(len(WORLDS), bool), 0
    while running.any():
        rows = np.flatnonzero(running)
        actions = [eager(infos["action_mask"][i], i, step) if running[i] else ADVANCE for i in range(len(WORLDS))]
        if not running.all():  # finished rows take no step: they go through theirs again and are not looked at
            env.load_state(env.save_state(rows[:1]), np.flatnonzero(~running))
        _, reward, terminated, truncated, infos = env.step(np.array(actions))
        total_usd += reward * running
        ended = running & (terminated | truncated)
        check_conservation(env.params, env.state, running if step % 8 == 0 else ended)
        for i in np.flatnonzero(ended):
            figures[:, i] = [infos["kpis"][c.name][i] for c in KPIS]
        running &= ~ended
        step += 1
    k = {c.name: figures[i] for i, c in enumerate(KPIS)}
    p = env.params
    nominal_usd = {
        n: np.array(values.get(n, nominal[n][0])) for n in p.dtype.names if n.endswith(("usd", "usd_per_min"))
    }
    closed = nominal_usd["fare_usd"] * k["completed"] - nominal_usd["km_cost_usd"] * k["km_total"]
    closed -= nominal_usd["miss_cost_usd"] * k["missed"]
    closed -= nominal_usd["late_cost_usd_per_min"] * k["lateness_total_min"]
    closed -= nominal_usd["ride_cost_usd_per_min"] * k["excess_ride_total_min"]
    np.testing.assert_allclose(total_usd, closed, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(k["completed"] + k["missed"] + k["no_shows"] + k["cancelled"], k["bookings"])
    assert (k["moves"] > 0).all()
    assert k["moves"].sum() > 200
    assert (k["breakdowns"][[1, 4]] > 0).all()
    assert (k["illegal"] == 0).all()


def test_kilometres_are_the_sum_of_the_moves_to_the_end_of_the_day():
    env = opened(seed=2, breakdown_per_km=0, patience_min=10, window_half_min=10, shift_min=720)
    p, s = env.params[0], env.state[0]
    km, total_usd, ended, n, steps = 0.0, 0.0, False, 0, 0
    draws = np.random.default_rng(0)
    while not ended:
        legal = moves(env.action_masks())
        action = ADVANCE
        if legal and (draws.random() < 0.7 or s["now_min"] > 715):
            v, m = legal[draws.integers(len(legal))]
            km, n, action = km + distance_km(p, s, v, m), n + 1, FIRST + v * MOVES + m
        _, reward, terminated, truncated, info = env.step(action)
        total_usd, steps, ended = total_usd + reward, steps + 1, terminated or truncated
    assert (s["mode"] == DRIVING).any(), "moves were under way"
    assert info["kpis"]["moves"] == n > 200
    assert info["kpis"]["km_total"] == pytest.approx(km, abs=1e-6)
    assert info["kpis"]["wasted_legs"] == 0
    assert info["kpis"]["deadhead_share"] == 1
    assert info["kpis"]["reward_per_step"] == pytest.approx(total_usd / steps)


# --- pictures and agents --------------------------------------------------------------------------------


def test_a_moving_vehicle_is_drawn_on_its_way_and_its_target_as_a_place():
    env = opened(**CALM)
    p, s = env.params[0], env.state[0]
    start, to = np.array([s["x_km"][0], s["y_km"][0]]), target_km(p, s, 0, 8)
    move(env, 0, 8)
    for _ in range(3):
        env.step(ADVANCE)
    share = 3 / s["until_min"][0]
    shown = scenes.scene(env.kernel, p, s, env.data)
    vehicle = shown.vehicles[0]
    assert shown.title == "Dispatch v2 reposition"
    np.testing.assert_allclose([vehicle.x_km, vehicle.y_km], start + share * (to - start))
    assert (vehicle.mode, vehicle.doing) == (scenes.TO_PICKUP, "moving")
    assert [(stop.kind, stop.late) for stop in vehicle.plan] == [(scenes.PLACE, False)]
    x, y = render.map_xy(shown.half_width_km, *to)
    colour = tuple(env.render()[round(y) - 3, round(x)].tolist())
    assert colour != tuple(opened(**CALM).render()[round(y) - 3, round(x)].tolist())
    until(env, lambda s: s["mode"][0] == IDLE)
    assert scenes.scene(env.kernel, p, s, env.data).vehicles[0].doing == ""
    assert plan.S_MAX == 10


def test_it_has_no_agents():
    with pytest.raises(InvalidValue, match="rlops/DispatchReposition-v2 has no agents: use gymnasium"):
        rlops.envs.parallel_env(ID)
