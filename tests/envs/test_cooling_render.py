"""Pictures of cooling: what they show of a state, that a zone shows in its own place, and that nothing breaks them."""

from __future__ import annotations

import importlib
import itertools
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlops  # noqa: F401
from rlops.envs import parse_id
from rlops.envs.cooling import accounts, render
from rlops.envs.cooling import scene as scenes
from rlops.envs.dispatch import scene as dispatch_scenes
from rlops.envs.drawing import apart
from rlops.envs.faces import Env, VectorEnv
from rlops.errors import EpisodeEnded, InvalidValue, MissingExtra

IDS = ("rlops/DatacenterCooling-v0", "rlops/DatacenterCooling-v1")
USUAL = {0: [0.25, 0.4], 1: [0.25] * 4 + [0.5] * 4 + [-0.3, 0.0]}
SHUT = {0: [0.25, -1.0], 1: [0.25] * 4 + [-1.0] * 4 + [-0.3, 0.0]}


def started(id, **params):
    env = Env(*parse_id(id), render_mode="rgb_array", params=params or None)
    env.reset(seed=3)
    return env


def played(id, minutes, actions=USUAL, **params):
    env = started(id, **params)
    action = np.array(actions[parse_id(id)[1]], np.float32)
    for _ in range(minutes):
        if any(env.step(action)[2:4]):
            break
    return env


def scene_of(env):
    return scenes.scene(env.kernel, env.params[0], env.state[0], env.data)


def changed(before, after):
    return (before != after).any(axis=2)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("minutes", [0, 1, 90, 180])
def test_a_frame_is_an_rgb_image_at_reset_midway_and_at_the_end(id, minutes):
    env = played(id, minutes, horizon_min=180)
    assert bool(env.state["truncated"][0]) == (minutes == 180)
    frame = env.render()
    assert frame.shape == (render.HEIGHT, render.WIDTH, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.writeable


@pytest.mark.parametrize("id", IDS)
def test_the_same_state_looks_the_same(id):
    first, again = played(id, 45), played(id, 45)
    assert np.array_equal(first.render(), again.render())
    assert np.array_equal(first.render(), first.render())
    first.step(np.array(USUAL[parse_id(id)[1]], np.float32))
    assert not np.array_equal(first.render(), again.render())


@pytest.mark.parametrize("id", IDS)
def test_drawing_changes_nothing(id):
    env = played(id, 20)
    before = env.state.tobytes(), env.params.tobytes()
    env.render()
    assert (env.state.tobytes(), env.params.tobytes()) == before


@pytest.mark.parametrize("z", range(4))
def test_a_hotter_zone_looks_hotter_in_its_own_place_alone(z):
    env = played(IDS[1], 60)
    before = env.render()
    for name in ("supply_c", "cold_c", "hot_c", "return_c", "inlet_c", "worst_c"):
        env.state[name][0, z] += 9.0
    difference = changed(before, env.render())
    left, top, right, bottom = render.zone_box(4, z)
    assert difference[top:bottom, left:right].mean() > 0.05
    difference[top:bottom, left:right] = False
    assert not difference.any()


def test_places_of_zones_do_not_overlap():
    boxes = [render.zone_box(4, z) for z in range(4)]
    assert all(upper[3] <= lower[1] for upper, lower in itertools.pairwise(boxes))
    assert render.zone_box(1, 0)[3] <= boxes[3][3]


def test_colours_of_temperatures_go_from_light_to_dark_on_either_side():
    def lightness(t_c):
        return np.dot((0.299, 0.587, 0.114), render.temperature_colour(t_c))

    cold, hot = [lightness(t) for t in range(6, 24)], [lightness(t) for t in range(24, 51)]
    assert (np.diff(cold) > 0).all()
    assert (np.diff(hot) < 0).all()
    red, _, blue = render.temperature_colour(10.0)
    assert blue > red
    red, _, blue = render.temperature_colour(35.0)
    assert red > blue


@pytest.mark.parametrize(
    ("worst_c", "inlet_c", "condition"),
    [
        (26.9, 20.0, scenes.WITHIN),
        (27.1, 20.0, scenes.WARM),
        (32.1, 20.0, scenes.HOT),
        (40.0, 20.0, scenes.RUNAWAY),
        (19.0, 17.9, scenes.COLD),
        (27.1, 17.9, scenes.WARM),
    ],
)
def test_a_zone_says_which_limit_it_breaks(worst_c, inlet_c, condition):
    env = played(IDS[1], 5)
    env.state["worst_c"][0, 2], env.state["inlet_c"][0, 2] = worst_c, inlet_c
    assert scene_of(env).zones[2].condition == condition


@pytest.mark.parametrize("id", IDS)
def test_the_chart_shows_the_inlets_of_the_last_hour_in_their_order(id):
    env = started(id)
    action = np.array(USUAL[parse_id(id)[1]], np.float32)
    worst_c = [env.state["worst_c"][0].copy()]
    for minutes in range(1, 131):
        env.step(action)
        worst_c.append(env.state["worst_c"][0].copy())
        if minutes in (1, 59, 60, 130):
            shown = np.array([zone.past_c for zone in scene_of(env).zones]).T
            np.testing.assert_array_equal(shown, worst_c[-60:])


@pytest.mark.parametrize("id", IDS)
def test_powers_and_energies_shown_are_those_of_the_accounts(id):
    env = played(id, 90, horizon_min=90)
    shown = scene_of(env)
    assert sum(shown.power_kw) == pytest.approx(env.state["power_w"][0].sum() / 1e3)
    assert sum(shown.energy_kwh) == pytest.approx(env.state["energy_j"][0].sum() / 3.6e6)
    it_kw = shown.power_kw[accounts.CPU] + shown.power_kw[accounts.SERVER_FAN]
    assert sum(zone.it_kw for zone in shown.zones) == pytest.approx(it_kw)
    figures = {figure.label: figure.value for figure in shown.figures}
    assert float(figures["PUE now"]) == pytest.approx(sum(shown.power_kw) / it_kw, abs=5e-4)


@pytest.mark.parametrize("id", IDS)
def test_flows_of_heat_in_the_picture_balance(id):
    plant = scene_of(played(id, 240)).plant
    carried_kw = 4.186 * plant.water_kg_per_s * (plant.chilled_return_c - plant.chilled_c)
    assert carried_kw + plant.chilled_pump_kw == pytest.approx(plant.evaporator_kw, rel=0.02)
    rise_k = plant.condenser_return_c - plant.condenser_c
    assert 4.186 * plant.condenser_kg_per_s * rise_k == pytest.approx(plant.tower_kw, rel=0.02)


@pytest.mark.parametrize("id", IDS)
def test_what_is_not_known_before_the_first_minute_is_a_dash(id):
    shown = scene_of(started(id))
    assert np.isnan(shown.power_kw).all()
    assert {figure.label: figure.value for figure in shown.figures}["PUE now"] == "-"
    assert not np.isnan(scene_of(played(id, 1)).power_kw).any()


@pytest.mark.parametrize("id", IDS)
def test_a_runaway_is_called_one(id):
    env = played(id, 300, SHUT)
    shown = scene_of(env)
    assert env.state["terminated"][0]
    assert shown.ending == "ended by a runaway"
    assert scenes.RUNAWAY in [zone.condition for zone in shown.zones]
    env.render()


@pytest.mark.parametrize("id", IDS)
def test_every_state_that_random_actions_reach_can_be_drawn(id):
    family, number = parse_id(id)
    envs = VectorEnv(family, number, 12, render_mode="rgb_array", threads=1)
    envs.reset(seed=11)
    rng = np.random.default_rng(5)
    held = rng.uniform(-1, 1, envs.action_space.shape)
    hottest_c = 0.0
    for _ in range(6):
        for frame in envs.render():
            assert frame.std() > 20.0
        hottest_c = max(hottest_c, envs.state["worst_c"].max())
        for _ in range(15):
            moved = np.clip(held + 0.3 * rng.standard_normal(held.shape), -1, 1).astype(np.float32)
            envs.step(moved)
    assert hottest_c > 32.0


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_states_beyond_every_scale_can_be_drawn(sign):
    env = played(IDS[1], 5)
    for name in ("worst_c", "inlet_c", "hot_c", "cold_c", "past_c"):
        env.state[name][0] += sign * 80.0
    env.state["return_usd"], env.state["over_recommended_k_min"] = -1e9, 1e9
    assert env.render().shape == (render.HEIGHT, render.WIDTH, 3)


def test_a_date_and_a_day_of_the_episode_are_named():
    env = started(IDS[1], start_day=31, horizon_min=2 * 1440)
    env.state["weekday"] = 6
    assert scene_of(env).day == "Sun 1 Feb, day 1 of 2"
    env.state["minute"] = 1440
    assert scene_of(env).day == "Mon 2 Feb, day 2 of 2"


@pytest.mark.parametrize("id", IDS)
def test_gymnasiums_checker_accepts_rendering(id):
    check_env(gym.make(id, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("id", IDS)
def test_drawing_before_a_reset_is_refused(id):
    env = Env(*parse_id(id), render_mode="rgb_array")
    with pytest.raises(EpisodeEnded, match="reset"):
        env.render()


@pytest.mark.parametrize("id", IDS)
def test_drawing_without_a_render_mode_is_refused(id):
    env = Env(*parse_id(id))
    env.reset(seed=0)
    with pytest.raises(InvalidValue, match="render_mode='rgb_array'"):
        env.render()


def test_labels_stand_apart_and_near_their_lines():
    placed = dict(apart([50.0, 50.0, 50.0, 90.0], 12.0, 0.0, 100.0))
    assert placed == {0: 38.0, 1: 50.0, 2: 62.0, 3: 90.0}
    at_the_edge = [at for _, at in apart([99.0, 99.0, 99.0], 12.0, 0.0, 100.0)]
    assert at_the_edge == [76.0, 88.0, 100.0]


def test_a_state_of_another_family_is_refused():
    env = Env("Dispatch", 1)
    env.reset(seed=0)
    with pytest.raises(InvalidValue, match="state of a version of DatacenterCooling, got that of"):
        scene_of(env)
    assert dispatch_scenes.scene(env.kernel, env.params[0], env.state[0], env.data)


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "rlops.envs.drawing")
    monkeypatch.delitem(sys.modules, "rlops.envs.cooling.render")
    with pytest.raises(MissingExtra, match=r"rlops\[render\]"):
        importlib.import_module("rlops.envs.cooling.render")
