"""The gap between engines: round-off where nothing touches, and as large as the parameter that makes it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.engine_gap import MOST_STATES, ROUND_OFF, engine_gap
from rlops.envs.robotics import engines, kernel_cart_balance
from rlops.envs.robotics.engines import mujoco as mujoco_engine
from rlops.envs.robotics.engines import pybullet as pybullet_engine
from rlops.errors import InvalidValue, UnknownName

CART, REACH, PUSH = "rlops/CartBalance-v0", "rlops/ArmReach-v0", "rlops/ArmPush-v0"


@pytest.mark.parametrize(("id", "controller"), [(CART, "lqr"), (REACH, "inverse_kinematics")])
def test_a_twin_without_contacts_is_apart_by_round_off_and_no_parameter_explains_it(id, controller):
    found = engine_gap(id, make_controller(controller, id), episodes=2, every=20)
    assert found.share < ROUND_OFF
    assert max(group.worst for group in found.groups) < 1e-10
    assert found.equivalents == ()


def test_a_twin_with_contacts_is_apart_by_more_and_most_of_it_is_the_box():
    found = engine_gap(PUSH, make_controller("scripted_push", PUSH), episodes=2, every=20)
    shares = {group.name: group.share for group in found.groups}
    assert found.share > 1e4 * ROUND_OFF
    assert shares["box velocity"] > shares["shoulder velocity"]
    assert found.equivalents


@pytest.fixture
def heavier_carts(monkeypatch):
    """Offer an engine that is MuJoCo with a cart heavier by 40 g."""

    def opened(kernel, params, state, threads):
        shifted = params.copy()
        shifted["cart_mass_kg"] += 0.04
        return mujoco_engine.opened(kernel, shifted, state, threads)

    monkeypatch.setitem(sys.modules, "engine_with_heavier_carts", SimpleNamespace(opened=opened))
    monkeypatch.setitem(engines.ENGINES, "heavier", "engine_with_heavier_carts")
    monkeypatch.setattr(kernel_cart_balance, "ENGINES", ("mujoco", "heavier"))


def test_a_gap_is_told_as_the_parameter_that_makes_it(heavier_carts):
    found = engine_gap(CART, make_controller("lqr", CART), ("mujoco", "heavier"), episodes=2, every=10)
    assert found.share > ROUND_OFF
    equivalent = {one.name: one for one in found.equivalents}["cart_mass_kg"]
    assert equivalent.value == pytest.approx(1.04, abs=0.002)
    assert equivalent.share == pytest.approx(0.04 / 0.8, rel=0.05)
    assert [abs(one.share) for one in found.equivalents] == sorted(abs(one.share) for one in found.equivalents)


def test_however_long_the_episodes_few_worlds_of_the_other_engine_are_open_at_a_time(monkeypatch):
    opened = []
    real = pybullet_engine.World.__init__, pybullet_engine.World.close
    monkeypatch.setattr(pybullet_engine.World, "__init__", lambda w, *of: (opened.append(w), real[0](w, *of))[1])
    monkeypatch.setattr(pybullet_engine.World, "close", lambda w: (opened.remove(w), real[1](w))[1])
    most = []
    monkeypatch.setattr(pybullet_engine.World, "place", lambda *_: most.append(len(opened)))
    found = engine_gap(CART, make_controller("lqr", CART), episodes=3, every=1)
    assert found.states == MOST_STATES == len(most)
    assert max(most) <= 64
    assert opened == []


def test_an_environment_without_engines_has_no_gap():
    with pytest.raises(InvalidValue, match=r"rlops/Dispatch-v0 must have physics engines.*Choose a robot"):
        engine_gap("rlops/Dispatch-v0", make_controller("random", "rlops/Dispatch-v0"))


def test_an_engine_that_a_robot_does_not_have_is_refused():
    with pytest.raises(UnknownName, match=r"bullet.*mujoco.*pybullet"):
        engine_gap(CART, make_controller("lqr", CART), ("mujoco", "bullet"), episodes=1)
