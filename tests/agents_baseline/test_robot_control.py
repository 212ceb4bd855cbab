"""The robots' controllers do what they are for, in both engines, from what is observed alone."""

from __future__ import annotations

import numpy as np
import pytest

from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.robot_control import joint_angles, linear_cart, regulator
from rlops.envs.batch import Batch
from rlops.envs.contract import family
from rlops.envs.robotics.profiles import reality

CONTROLLERS = {"CartBalance": "lqr", "ArmReach": "inverse_kinematics", "ArmPush": "scripted_push"}
EPISODES = 64


def _played(name, controller, episodes=EPISODES, **options):
    """Return the table of episodes."""
    id = f"rlops/{name}-v0"
    return evaluate(id, make_controller(controller, id), range(500, 500 + episodes), latency=False, **options).table


def _succeeded(*what, **options):
    """Return the share of successes."""
    return _played(*what, **options)["is_success"].mean()


@pytest.mark.parametrize(("name", "least"), [("CartBalance", 1.0), ("ArmReach", 1.0), ("ArmPush", 0.95)])
def test_a_controller_does_its_task_and_chance_does_not(name, least):
    assert _succeeded(name, CONTROLLERS[name]) >= least
    assert _succeeded(name, "random", 16) <= 0.1


@pytest.mark.parametrize(("name", "controller"), CONTROLLERS.items())
def test_a_controller_does_its_task_in_the_other_engine_too(name, controller):
    assert _succeeded(name, controller, 6, engine="pybullet") >= 5 / 6


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_declared_reality_is_harder_than_the_nominal_robot_and_not_hopeless(name):
    """Of parameters alone, so without the other engine, which is slow."""
    nominal = _played(name, CONTROLLERS[name])
    harder = _played(name, CONTROLLERS[name], params=dict(reality(f"rlops/{name}-v0").params))
    assert harder["return"].mean() < nominal["return"].mean()
    assert harder["is_success"].any()


@pytest.mark.parametrize("elbow_sign", [-1.0, 1.0])
def test_joint_angles_put_the_hand_where_it_is_wanted(elbow_sign):
    draws = np.random.default_rng(2)
    radius, angle = draws.uniform(0.1, 0.54, 50), draws.uniform(-3, 3, 50)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    shoulder, elbow = joint_angles(x, y, np.full(50, elbow_sign))
    assert (np.sign(elbow) == elbow_sign).all()
    np.testing.assert_allclose(0.3 * np.cos(shoulder) + 0.25 * np.cos(shoulder + elbow), x, atol=1e-9)
    np.testing.assert_allclose(0.3 * np.sin(shoulder) + 0.25 * np.sin(shoulder + elbow), y, atol=1e-9)


def test_the_linear_cart_is_what_the_engine_does_near_upright():
    batch = Batch(family("CartBalance"), 0, 1)
    batch.seed(np.arange(1), [0])
    batch.reset()
    before = np.array([0.1, 0.02, 0.003, -0.01])
    batch.state["qpos"][0], batch.state["qvel"][0] = before[::2], before[1::2]
    batch.step(np.array([[0.01]]), False)
    a, b = linear_cart()
    after = np.stack([batch.state["qpos"][0], batch.state["qvel"][0]], axis=1).ravel()
    np.testing.assert_allclose(after - before, a @ before + 0.01 * b[:, 0] - before, rtol=0.02, atol=2e-5)


def test_the_regulator_is_the_known_one_of_a_double_integrator():
    """With unit costs the continuous gains are 1 and √3; the discrete ones tend to them."""
    dt = 1e-3
    a, b = np.array([[1.0, dt], [0.0, 1.0]]), np.array([[0.5 * dt * dt], [dt]])
    gains = regulator(a, b, np.eye(2) * dt, dt)
    np.testing.assert_allclose(gains, [[1.0, 3**0.5]], rtol=5e-3)
