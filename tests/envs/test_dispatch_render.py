"""Pictures of Dispatch: where things are, what stands out, and that the same state looks the same."""

from __future__ import annotations

import importlib
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlops  # noqa: F401
from rlops.agents_baseline.controllers import make_controller
from rlops.envs import parse_id
from rlops.envs.dispatch import city, plan, render
from rlops.envs.dispatch import scene as scenes
from rlops.envs.faces import Env
from rlops.errors import InvalidValue, MissingExtra

IDS = (
    "rlops/Dispatch-v0",
    "rlops/Dispatch-v1",
    "rlops/Dispatch-v2",
    "rlops/DispatchReposition-v2",
    "rlops/DispatchStatic-v2",
)
DAYS = ("rlops/Dispatch-v1", "rlops/Dispatch-v2")


def started(id, **options):
    env = Env(*parse_id(id), **options)
    env.reset(seed=3)
    return env


def played(id, until_min, controller="hungarian"):
    """Return an environment at ``until_min`` minutes of its day."""
    env = started(id)
    agent = make_controller(controller, id)
    obs = np.zeros((1, *env.observation_space.shape), np.float32)
    while env.state["now_min"][0] < until_min:
        obs = env.step(int(agent.actions(env, obs, env.action_masks()[None])[0]))[0][None]
    return env


def frame_of(env):
    return render.frame(env.kernel, env.params[0], env.state[0], env.data)


def scene_of(env):
    return scenes.scene(env.kernel, env.params[0], env.state[0], env.data)


def pixel(frame, env, x_km, y_km, right=0.0):
    x, y = render.map_xy(scene_of(env).half_width_km, x_km, y_km)
    return tuple(frame[round(y), round(x + right)].tolist())


@pytest.mark.parametrize("id", IDS)
def test_a_frame_is_an_rgb_image_and_the_same_again(id):
    env = started(id)
    first = frame_of(env)
    assert first.shape == (render.HEIGHT, render.WIDTH, 3)
    assert first.dtype == np.uint8
    assert first.flags.writeable
    assert np.array_equal(first, frame_of(env))
    assert np.array_equal(first, frame_of(started(id)))


@pytest.mark.parametrize("id", IDS)
def test_frames_differ_as_time_passes(id):
    env = started(id)
    first = frame_of(env)
    for _ in range(5):
        env.step(int(np.flatnonzero(env.action_masks())[0 if "v0" in id else -1]))
    assert not np.array_equal(first, frame_of(env))


@pytest.mark.parametrize("id", IDS[:4])
def test_gymnasiums_checker_accepts_rendering(id):
    check_env(gym.make(id, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("id", DAYS)
def test_an_idle_vehicle_is_drawn_where_it_stands(id):
    env = played(id, 5, "do_nothing")
    v = int(np.flatnonzero(np.array([one.mode for one in scene_of(env).vehicles]) == scenes.WAITING)[0])
    before = frame_of(env)
    env.state["x_km"][0, v], env.state["y_km"][0, v] = 3.3, -2.7
    after = frame_of(env)
    grey = render.MODE_COLOURS[scenes.WAITING]
    assert pixel(after, env, 3.3, -2.7, right=-6) == grey
    assert pixel(before, env, 3.3, -2.7, right=-6) != grey


def test_north_is_up_and_east_is_right():
    x0, y0 = render.map_xy(8.0, 0.0, 0.0)
    assert render.map_xy(8.0, 1.0, 0.0)[0] > x0
    assert render.map_xy(8.0, 0.0, 1.0)[1] < y0


@pytest.mark.parametrize("id", DAYS)
def test_a_late_booking_is_set_apart_by_its_colour(id):
    env = played(id, 30, "do_nothing")
    s = env.state[0]
    open_now = np.flatnonzero(s["bookings"]["status"][: int(s["next_booking"])] == city.OPEN)
    b = int(open_now[0])
    place = float(s["bookings"]["pickup_x_km"][b]), float(s["bookings"]["pickup_y_km"][b])
    env.state["bookings"]["earliest_min"][0, b], env.state["bookings"]["latest_min"][0, b] = 20.0, 50.0
    due = frame_of(env)
    env.state["bookings"]["latest_min"][0, b] = 29.0
    late = frame_of(env)
    assert pixel(due, env, *place) == render.AMBER
    assert pixel(late, env, *place) == render.LATE_COLOUR


def test_a_driving_vehicle_is_between_its_stops():
    env = played("rlops/Dispatch-v2", 100, "cheapest_insertion")
    s = env.state[0]
    v = int(np.flatnonzero(s["mode"] == plan.DRIVING)[0])
    env.state["leg_done_km"][0, v] = env.state["leg_km"][0, v, 0]
    env.state["since_min"][0, v], env.state["until_min"][0, v] = 96.0, 112.0
    shown = scene_of(env).vehicles[v]
    assert shown.x_km == pytest.approx(0.75 * s["x_km"][v] + 0.25 * s["stop_x_km"][v, 0])
    assert shown.y_km == pytest.approx(0.75 * s["y_km"][v] + 0.25 * s["stop_y_km"][v, 0])


@pytest.mark.parametrize(("id", "controller"), [(DAYS[0], "hungarian"), (DAYS[1], "cheapest_insertion")])
def test_the_figures_are_those_of_the_day(id, controller):
    env = played(id, 300, controller)
    shown = {figure.label: figure.value for figure in scene_of(env).figures}
    status = env.state["bookings"]["status"][0, : int(env.state["next_booking"][0])]
    assert int(shown["Completed"]) == (status == city.DONE).sum() > 0
    assert int(shown["Missed"]) == (status == city.MISSED).sum()
    assert int(shown["Open"]) == (status == city.OPEN).sum()
    riding = status == city.ONBOARD
    places = (env.state["bookings"]["ambulatory"] + env.state["bookings"]["wheelchair"])[0, : len(status)]
    assert int(shown["On board"]) == places[riding].sum()


def test_the_return_shown_is_the_sum_of_rewards():
    env = started("rlops/Dispatch-v2")
    agent = make_controller("cheapest_insertion", "rlops/Dispatch-v2")
    total_usd, obs = 0.0, np.zeros((1, 1260), np.float32)
    while env.state["now_min"][0] < 240:
        obs, reward, _, _, _ = env.step(int(agent.actions(env, obs, env.action_masks()[None])[0]))
        obs, total_usd = obs[None], total_usd + reward
    assert scenes.return_usd(env.params[0], env.state[0]) == pytest.approx(total_usd, abs=1e-9)


def test_points_beyond_the_map_are_drawn_at_its_edge():
    x, y = render.map_xy(8.0, 50.0, -50.0)
    assert x < render.WIDTH
    assert y < render.HEIGHT


def test_a_state_that_is_no_dispatch_is_refused():
    with pytest.raises(InvalidValue, match="state of a version of Dispatch, got that of math"):
        scenes.scene(importlib.import_module("math"), None, np.zeros(1, [("x", "f8")])[0], None)


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "rlops.envs.drawing")
    monkeypatch.delitem(sys.modules, "rlops.envs.dispatch.render")
    with pytest.raises(MissingExtra, match=r"rlops\[render\]"):
        importlib.import_module("rlops.envs.dispatch.render")
