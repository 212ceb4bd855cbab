"""Dispatch v2 with ``allow_decline=True``: what declining costs, what it leaves as it was, and the option itself."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import rlops
from rlops.envs.dispatch import kernel_v2, kernel_v2_decline, kernel_v2_reposition
from rlops.envs.dispatch.city import CANCELLED, HORIZON_MIN, MISSED
from rlops.envs.dispatch.kernel_v2 import ADVANCE, V_MAX, K
from rlops.envs.dispatch.kernel_v2_decline import ACTION
from rlops.errors import InvalidValue, UnknownName
from rlops.registry.dynamics.traces import leaves
from tests.envs.rollouts import chosen, state_bytes

ID = "rlops/Dispatch-v2"
FIRST = ADVANCE + 1
V2_FIELDS = [name for name in kernel_v2.STATE.names if name != "steps"]
FLEET = ("x_km", "y_km", "odometer_km", "breakdowns", "off_min", "break_done", "vehicle_usd")


def opened(allow_decline=True, seed=0, **params):
    env = gym.make(ID, allow_decline=allow_decline, params=params or None).unwrapped
    env.reset(seed=seed)
    return env


def with_open_bookings(at_least=3, seed=0, **params):
    env = opened(seed=seed, **params)
    while (env.state["slot"][0] >= 0).sum() < at_least:
        env.step(ADVANCE)
    return env


def declines(env):
    """Return the actions that decline each visible booking."""
    return FIRST + np.flatnonzero(env.state["slot"][0] >= 0)


def assert_same_state(one, other):
    for name in V2_FIELDS:
        assert one.state[name].tobytes() == other.state[name].tobytes(), name


def test_a_decline_is_charged_at_once_takes_no_time_and_leaves_the_slot_empty_within_the_minute():
    env = with_open_bookings(miss_cost_usd=55)
    slots, now_min, n_open = env.state["slot"][0].copy(), env.state["now_min"][0], env.state["n_open"][0]
    k = int(np.flatnonzero(slots >= 0)[1])
    obs, reward, terminated, truncated, info = env.step(FIRST + k)
    s = env.state[0]
    assert reward == -55
    assert info["reward_terms"]["missed"] == -55
    assert info["dt_min"] == 0
    assert not terminated
    assert not truncated
    assert s["now_min"] == now_min
    assert s["bookings"]["status"][slots[k]] == MISSED
    assert (s["n_missed"], s["n_declined"], s["n_open"], s["n_illegal"]) == (1, 1, n_open - 1, 0)
    assert slots[k] not in s["open_list"][: s["n_open"]]
    slots[k] = -1
    np.testing.assert_array_equal(s["slot"], slots)
    assert info["action_mask"][[FIRST + k, *range(V_MAX * k, V_MAX * (k + 1))]].sum() == 0
    assert info["action_mask"][FIRST:].sum() == (slots >= 0).sum()
    filled = kernel_v2.width(kernel_v2.OBSERVATION[: 12 + 16 * 14]) + 16 * k
    assert (obs[filled : filled + 16] == 0).all()
    env.step(ADVANCE)
    assert env.state["slot"][0, : env.state["n_open"][0]].min() >= 0, "the next minute fills the slots from the first"


def test_declines_are_legal_exactly_where_a_slot_is_filled():
    env = opened(seed=2)
    info = {"action_mask": env.action_masks()}
    for step in range(500):
        np.testing.assert_array_equal(info["action_mask"][FIRST:], env.state["slot"][0] >= 0)
        assert info["action_mask"][ADVANCE] == 1
        info = env.step(chosen(info["action_mask"], 0, step))[4]
    assert env.state["n_illegal"][0] == 0
    assert env.state["n_declined"][0] > 10


def test_a_decline_of_an_empty_slot_is_an_advance_that_is_counted():
    env = with_open_bookings()
    twin = pickle.loads(pickle.dumps(env))
    reward = env.step(ACTION - 1)[1]
    assert reward == twin.step(ADVANCE)[1]
    assert (env.state["n_illegal"][0], env.state["n_declined"][0]) == (1, 0)
    env.state["n_illegal"] = 0
    assert_same_state(env, twin)


@pytest.mark.parametrize("params", [{}, {"breakdown_per_km": 2e-3, "ev_share": 0.5, "ev_range_km": 160}])
def test_the_other_actions_do_what_they_do_without_the_option(params):
    env, plain = opened(seed=6, **params), opened(False, seed=6, **params)
    assert plain.action_space.n == FIRST
    assert env.action_space.n == FIRST + K == ACTION
    mask = plain.action_masks()
    for step in range(700):
        action = chosen(mask, 6, step)
        seen, before = env.step(action), plain.step(action)
        np.testing.assert_array_equal(seen[0], before[0])
        assert seen[1:4] == before[1:4]
        mask = before[4]["action_mask"]
        np.testing.assert_array_equal(seen[4]["action_mask"][:FIRST], mask)
        if step % 20 == 0:
            assert_same_state(env, plain)
    assert_same_state(env, plain)
    assert plain.state["n_completed"][0] > 20


def played(env, unwanted, decline):
    """Serve what is cheapest but the ``unwanted`` bookings; return the return, the key figures and the last state."""
    total_usd, steps, ended = 0.0, 0, False
    while not ended:
        s, mask = env.state[0], env.action_masks()
        assert s["n_open"] <= K, "an unwanted booking must not hide another"
        action, best = ADVANCE, (np.inf, 0)
        for k in np.flatnonzero(s["slot"] >= 0):
            b = int(s["slot"][k])
            if unwanted(b) and decline:
                action = FIRST + k
                break
            for v in np.flatnonzero(mask[V_MAX * k : V_MAX * (k + 1)]) if not unwanted(b) else ():
                if (s["pair_usd"][s["row_of"][b], v], b) < best:
                    action, best = V_MAX * k + v, (s["pair_usd"][s["row_of"][b], v], b)
        _, reward, terminated, truncated, info = env.step(action)
        total_usd, steps, ended = total_usd + reward, steps + 1, terminated or truncated
    assert info["kpis"]["reward_per_step"] == pytest.approx(total_usd / steps)
    return total_usd, info["kpis"], env.state[0].copy()


@pytest.mark.parametrize("seed", range(3))
def test_to_decline_is_never_to_serve_paid_earlier_and_pays_no_more(seed):
    params = {"late_cancel": 0.15, "demand_per_day": 120}
    declined_usd, figures, s = played(opened(seed=seed, **params), lambda b: b % 5 == 0, True)
    ignored_usd, others, t = played(opened(False, seed=seed, **params), lambda b: b % 5 == 0, False)
    served_usd, _, _ = played(opened(False, seed=seed, **params), lambda b: False, False)
    unwanted = np.arange(s["n_bookings"]) % 5 == 0
    assert figures["declined"] > 15
    status, without = s["bookings"]["status"][: len(unwanted)], t["bookings"]["status"][: len(unwanted)]
    np.testing.assert_array_equal(status[~unwanted], without[~unwanted])
    for name in FLEET:
        np.testing.assert_array_equal(s[name], t[name], err_msg=name)
    saved = ((status == MISSED) & (without == CANCELLED)).sum()
    assert figures["missed"] == others["missed"] + saved
    assert declined_usd == pytest.approx(ignored_usd - 40.0 * saved, abs=1e-9)
    assert declined_usd <= ignored_usd < served_usd
    p, f = opened(seed=0).params[0], figures
    closed = p["fare_usd"] * f["completed"] - p["km_cost_usd"] * f["km_total"] - p["miss_cost_usd"] * f["missed"]
    closed -= p["late_cost_usd_per_min"] * f["lateness_total_min"]
    closed -= p["ride_cost_usd_per_min"] * f["excess_ride_total_min"]
    assert declined_usd == pytest.approx(closed, abs=1e-9)


def test_the_day_ends_with_the_decline_of_its_last_booking():
    env = opened(seed=1, late_cancel=0)
    ended = False
    while not ended:
        now_min, choices = env.state["now_min"][0], declines(env)
        last = len(choices) == 1 and env.state["n_missed"][0] == env.state["n_bookings"][0] - 1
        action = choices[0] if len(choices) and (now_min >= HORIZON_MIN or not last) else ADVANCE
        _, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    assert terminated
    assert last
    assert now_min == HORIZON_MIN
    assert info["kpis"]["declined"] == info["kpis"]["missed"] == info["kpis"]["bookings"]


def test_row_i_of_a_batch_is_the_single_environment():
    envs = gym.make_vec(ID, num_envs=5, allow_decline=True)
    obs, infos = envs.reset(seed=30)
    singles = [opened(seed=30 + i) for i in range(5)]
    assert envs.single_action_space.n == ACTION
    for step in range(200):
        actions = np.array([chosen(infos["action_mask"][i], i, step) for i in range(5)])
        obs, reward, terminated, truncated, infos = envs.step(actions)
        for i, single in enumerate(singles):
            expected = single.step(actions[i])
            np.testing.assert_array_equal(obs[i], expected[0])
            np.testing.assert_array_equal(infos["action_mask"][i], expected[4]["action_mask"])
            assert (reward[i], terminated[i], truncated[i]) == expected[1:4]
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(state_bytes(envs)[i], state_bytes(single)[0])


def test_gymnasiums_checker_passes_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ID, allow_decline=True, render_mode="rgb_array").unwrapped)


def test_the_option_survives_a_spec_in_json_pickling_and_copying():
    env = gym.make(ID, allow_decline=True)
    text = env.spec.to_json()
    json.loads(text)
    again = gym.make(EnvSpec.from_json(text)).unwrapped
    again.reset(seed=4)
    env = env.unwrapped
    env.reset(seed=4)
    for step in range(100):
        action = chosen(env.action_masks(), 4, step)
        env.step(action)
        again.step(action)
    envs = gym.make_vec(ID, num_envs=2, allow_decline=True).unwrapped
    envs.reset(seed=4)
    envs.load_state(env.save_state())
    twins = [again, pickle.loads(pickle.dumps(env)), copy.deepcopy(env), pickle.loads(pickle.dumps(envs))]
    action = int(declines(env)[0])
    env.step(action)
    assert env.state["n_declined"][0] > 1
    for twin in twins:
        twin.step(np.full(2, action) if twin is twins[-1] else action)
        for (name, one), (_, other) in zip(leaves(twin.state[:1], ""), leaves(env.state[:1], ""), strict=True):
            np.testing.assert_array_equal(one, other, name)


def message(call, error):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_a_wrong_option_is_named():
    for value in ("yes", 1, None):
        assert message(lambda value=value: gym.make(ID, allow_decline=value), InvalidValue) == (
            f"{ID}: allow_decline must be True or False, got {value!r}. Leave it out for False."
        )
    assert message(lambda: gym.make(ID, allow_declines=True), UnknownName) == (
        f"{ID} has no option named 'allow_declines'. Did you mean allow_decline? It has: allow_decline, demand, "
        "expose_context, params, render_mode, threads."
    )
    assert "has no option named 'allow_decline'" in message(
        lambda: gym.make("rlops/DispatchReposition-v2", allow_decline=True), UnknownName
    )
    assert message(lambda: rlops.envs.parallel_env(ID, allow_decline=True), InvalidValue) == (
        f"{ID} with allow_decline=True has no agents: use gymnasium.make for it."
    )
    assert rlops.envs.parallel_env(ID, allow_decline=False).possible_agents
    refused = message(lambda: opened().step(ACTION), InvalidValue)
    assert "must be an integer within 0 … 272, got 273 at step 0" in refused


def test_one_variant_at_a_time(monkeypatch):
    monkeypatch.setitem(kernel_v2.VARIANTS, "other", kernel_v2.VARIANTS["allow_decline"])
    assert message(lambda: gym.make(ID, allow_decline=True, other=True), InvalidValue) == (
        f"{ID}: one variant at most must be True, got allow_decline, other. Choose one."
    )
    assert gym.make(ID, allow_decline=False, other=True).unwrapped.kernel is kernel_v2_decline


def test_variants_have_what_v2_has_and_a_state_of_their_own():
    for variant in (kernel_v2_decline, kernel_v2_reposition):
        for name in ("OBSERVATION", "REWARD_TERMS", "CONTEXT", "INFO", "DATA", "DATA_OPTION", "data_from",
                     "RENDER", "RENDER_FPS", "STEP_MINUTES"):  # fmt: skip
            assert getattr(variant, name) is getattr(kernel_v2, name)
        assert variant.KPIS[:-1] == kernel_v2.KPIS
        assert variant.STATE != kernel_v2.STATE
    assert kernel_v2_decline.PARAMETERS is kernel_v2.PARAMETERS
    without_agents = {p.name for p in kernel_v2.PARAMETERS} - {p.name for p in kernel_v2_reposition.PARAMETERS}
    assert without_agents == {"reward_sharing"}
    plain = opened(False)
    assert "must be what save_state of the same id returned" in message(
        lambda: opened().load_state(plain.save_state()), InvalidValue
    )
