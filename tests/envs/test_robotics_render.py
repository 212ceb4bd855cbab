"""Pictures of the robots: the same world in either renderer, the goal in its place, an error where nothing can draw."""

from __future__ import annotations

import os
import sys

import gymnasium as gym
import numpy as np
import pytest
from matplotlib import image

import rlops  # noqa: F401
from rlops.agents_baseline.robot_picture import write_picture
from rlops.envs.robotics import ROBOTICS, engines, render
from rlops.errors import MissingExtra

IDS = [f"rlops/{f.name}-v0" for f in ROBOTICS]
WITH_GOALS = ["rlops/ArmReach-v0", "rlops/ArmPush-v0"]


@pytest.fixture(params=["OpenGL", "software"])
def renderer(request, monkeypatch):
    if request.param == "software":
        monkeypatch.setattr(render, "opengl", lambda: None)
    elif render.opengl() is None:
        missing = "MuJoCo needs EGL or OSMesa to draw: apt-get install libegl1 libgl1-mesa-dri"
        (pytest.fail if os.environ.get("RLOPS_REQUIRE_OPENGL") == "1" else pytest.skip)(missing)
    return request.param


def _started(id, seed=3):
    env = gym.make(id, render_mode="rgb_array")
    env.reset(seed=seed)
    return env


def _green(frame):
    """Return where a picture is green."""
    red, green, blue = (frame[:, :, k].astype(int) for k in range(3))
    return (green > red + 40) & (green > blue + 40)


@pytest.mark.parametrize("id", IDS)
def test_a_picture_shows_something_and_changes_when_something_moves(id, renderer):
    env = _started(id)
    before = env.render()
    assert before.shape == (render.HEIGHT, render.WIDTH, 3)
    assert before.dtype == np.uint8
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 50
    np.testing.assert_array_equal(env.render(), before)
    for _ in range(10):
        if env.step(np.ones(env.action_space.shape, np.float32))[2]:
            break
    assert (env.render() != before).any(axis=2).mean() > 0.002


@pytest.mark.parametrize("id", WITH_GOALS)
def test_the_goal_is_green_and_where_it_is_said_to_be(id, renderer):
    env = _started(id)
    state = env.unwrapped.state
    places = []
    for y in (-0.2, 0.2):
        state["goal"][0][:2] = 0.38, y
        rows, columns = np.nonzero(_green(env.render()))
        assert len(rows) > 30
        places.append(columns.mean())
    assert abs(places[0] - places[1]) > 60


def test_the_middle_of_the_rail_is_green(renderer):
    assert _green(_started("rlops/CartBalance-v0").render()).sum() > 100


@pytest.mark.parametrize("id", IDS)
def test_drawing_changes_nothing(id):
    env = _started(id).unwrapped
    before = env.state.tobytes(), env.params.tobytes()
    env.render()
    assert (env.state.tobytes(), env.params.tobytes()) == before


def test_where_nothing_can_draw_the_error_says_what_to_install(monkeypatch):
    env = _started("rlops/ArmPush-v0")
    monkeypatch.setattr(render, "opengl", lambda: None)
    for module in ("bullet", "pybullet"):
        monkeypatch.delitem(sys.modules, f"rlops.envs.robotics.engines.{module}", raising=False)
        monkeypatch.delattr(engines, module, raising=False)
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(MissingExtra, match=r"picture, where MuJoCo finds neither EGL nor OSMesa.*rlops\[robotics\]"):
        env.render()


def test_an_unknown_library_of_opengl_is_passed_over(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setitem(sys.modules, "mujoco.osmesa", None)
    render.opengl.cache_clear()
    try:
        assert render.opengl() is None
    finally:
        render.opengl.cache_clear()


def test_the_robots_stand_side_by_side_each_with_its_goal(tmp_path):
    picture = (255 * image.imread(write_picture(tmp_path / "robots.png"))).astype(np.uint8)
    assert picture.shape == (360, 1440, 3)
    assert all(_green(panel).sum() > 20 for panel in np.split(picture, 3, axis=1))
    assert [file.name for file in tmp_path.iterdir()] == ["robots.png"]
