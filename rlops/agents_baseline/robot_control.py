"""Hand-written controllers of the robots.

==================== ============== ==========================================================================
name                 environment    rule
==================== ============== ==========================================================================
random               all            any action, each as likely as another
lqr                  CartBalance    linear-quadratic regulator of the nominal cart (Kalman 1960)
inverse_kinematics   ArmReach       joint angles that put the hand at the goal, approached in proportion
scripted_push        ArmPush        to the far side of the box from the goal, then through its middle, steering
==================== ============== ==========================================================================

All act on what is observed alone, and know the nominal robot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.cooling_loops import random_vectors
from rlops.envs.contract import width
from rlops.envs.robotics import arm, kernel_arm_push, kernel_arm_reach, kernel_cart_balance
from rlops.envs.robotics.model import GRAVITY
from rlops.envs.robotics.motors import CONTROL_S

STATE_COST = np.diag([4.0, 0.2, 20.0, 0.5])
"""Of position, velocity, angle and rate, squared, a step."""
FORCE_COST = 0.5
"""Of the action, squared, a step."""
APPROACH_PER_S = 8.0
"""[1/s] A joint goes this part of what is left in a second, within its limits."""
LEAST_PUSH_M_PER_S, PUSH_PER_S, MOST_PUSH_M_PER_S = 0.05, 3.0, 0.3
"""The tip pushes the faster, the farther the goal is."""
STEER_PER_S, STEER_WITHIN_M = 8.0, 0.03
"""How fast the tip comes back behind the box's middle, and how far off it no longer pushes."""
PUSH_WITHIN_RAD = 0.45
"""It circles the box until it is so nearly behind it,"""
CIRCLE_M, CIRCLE_PER_S, CIRCLE_M_PER_S = 0.11, 5.0, 0.3
"""at this distance from its middle, held so fast, with this speed."""


class _Controller(ABC):
    """A rule from observations to actions."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name``; ``seed`` is for those that draw."""
        self.name, self.seed = name, seed

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, d)`` float64 within -1 … 1."""
        return np.asarray(np.clip(self.wanted(envs, np.asarray(obs, np.float64)), -1.0, 1.0))

    @abstractmethod
    def wanted(self, envs: Any, obs: np.ndarray) -> np.ndarray:
        """Return what the rule wants, ``(n, d)``."""


class RandomVector(_Controller):
    """Draws an action by a hash of the episode's key and the step."""

    def wanted(self, envs: Any, obs: np.ndarray) -> np.ndarray:
        """See :class:`_Controller`."""
        keys, steps = (np.ascontiguousarray(envs.state[name]) for name in ("key", "steps"))
        drawn = np.zeros((len(obs), width(envs.kernel.ACTION)))
        random_vectors(keys, steps, self.seed, drawn)
        return drawn


class Balance(_Controller):
    """A linear-quadratic regulator."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Solve for the gains of the nominal cart."""
        super().__init__(name, version, seed)
        self.gains = regulator(*linear_cart(), STATE_COST, FORCE_COST)

    def wanted(self, envs: Any, obs: np.ndarray) -> np.ndarray:
        """See :class:`_Controller`."""
        # a sum row by row: a matrix product of one row rounds otherwise than that of many
        return np.asarray(-np.sum(obs[:, :4] * self.gains, axis=1, keepdims=True))


def linear_cart() -> tuple[np.ndarray, np.ndarray]:
    """Return what becomes of the nominal cart in a control step near the upright pole: by its state, and by the action.

    The state is position, velocity, angle, rate; the action is a share of the greatest force.
    """
    p = {parameter.name: parameter.nominal for parameter in kernel_cart_balance.PARAMETERS}
    cart, pole, half = p["cart_mass_kg"], p["pole_mass_kg"], 0.5 * p["pole_length_m"]
    mass = np.array([[cart + pole, pole * half], [pole * half, pole * half * half * 4.0 / 3.0]])
    pull = np.linalg.inv(mass)
    by_state = pull @ np.array(
        [[0.0, -p["rail_damping"], 0.0, 0.0], [0.0, 0.0, pole * GRAVITY * half, -p["hinge_damping"]]]
    )
    by_force = pull @ np.array([kernel_cart_balance.STRONGEST_N, 0.0])
    rates = np.array([[0.0, 1.0, 0.0, 0.0], by_state[0], [0.0, 0.0, 0.0, 1.0], by_state[1]])
    forced = np.array([[0.0], [by_force[0]], [0.0], [by_force[1]]])
    a, b, term = np.eye(4), np.zeros((4, 1)), np.eye(4) * CONTROL_S
    for k in range(1, 12):  # the series of the exponential, and of its integral
        b = b + term @ forced
        a = a + term @ rates
        term = term @ rates * CONTROL_S / (k + 1)
    return a, b


def regulator(a: np.ndarray, b: np.ndarray, state_cost: np.ndarray, action_cost: float) -> np.ndarray:
    """Return the gains ``(1, k)`` of the linear-quadratic regulator, by iterating Riccati's equation."""
    value = state_cost.copy()
    for _ in range(5000):
        gains = np.linalg.solve(action_cost + b.T @ value @ b, b.T @ value @ a)
        value = state_cost + a.T @ value @ (a - b @ gains)
    return np.asarray(gains)


def joint_angles(x: np.ndarray, y: np.ndarray, elbow_sign: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shoulder and elbow angles [rad] that put the end of the nominal forearm at ``x``, ``y`` [m].

    ``elbow_sign`` chooses between the two solutions; a place out of reach is approached as near as can be.
    """
    upper, fore = _lengths()
    cosine = np.clip((x * x + y * y - upper**2 - fore**2) / (2.0 * upper * fore), -1.0, 1.0)
    elbow = np.where(elbow_sign < 0.0, -1.0, 1.0) * np.arccos(cosine)
    shoulder = np.arctan2(y, x) - np.arctan2(fore * np.sin(elbow), upper + fore * np.cos(elbow))
    return _wrapped(shoulder), elbow


def _lengths() -> tuple[float, float]:
    nominal = {parameter.name: parameter.nominal for parameter in kernel_arm_reach.PARAMETERS}
    return nominal["upper_length_m"], nominal["fore_length_m"]


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """Return angles within ±π."""
    return np.asarray((angle + np.pi) % (2.0 * np.pi) - np.pi)


class InverseKinematics(_Controller):
    """Turns the joints to where the hand is at the goal."""

    def wanted(self, envs: Any, obs: np.ndarray) -> np.ndarray:
        """See :class:`_Controller`."""
        shoulder, elbow, quill = np.arctan2(obs[:, 1], obs[:, 0]), np.arctan2(obs[:, 3], obs[:, 2]), obs[:, 4]
        goal = obs[:, 11:14]
        to_shoulder, to_elbow = joint_angles(goal[:, 0], goal[:, 1], elbow)
        to_quill = goal[:, 2] - (arm.HEIGHT_M - kernel_arm_reach.HAND_M)
        left = np.stack([to_shoulder - shoulder, to_elbow - elbow, to_quill - quill], axis=1)
        return np.asarray(APPROACH_PER_S * left / np.array(arm.FASTEST))


class ScriptedPush(_Controller):
    """Circles the box until it is behind it, then pushes through its middle, and to one side where it drifts off."""

    def wanted(self, envs: Any, obs: np.ndarray) -> np.ndarray:
        """See :class:`_Controller`."""
        p = {parameter.name: parameter.nominal for parameter in kernel_arm_push.PARAMETERS}
        tip, box, goal = obs[:, 6:8], obs[:, 8:10], obs[:, 14:16]
        distance, along = _split(goal - box)
        radius, outwards = _split(tip - box)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1)
        off, behind = _dot(tip - box, across), -_dot(tip - box, along)
        astray = np.arctan2(off, behind)  # how far round the box the tip is from being behind it
        around = np.stack([-outwards[:, 1], outwards[:, 0]], axis=1)
        circling = (
            CIRCLE_PER_S * (CIRCLE_M - radius) * outwards + CIRCLE_M_PER_S * np.clip(2.0 * astray, -1.0, 1.0) * around
        )
        speed = np.minimum(MOST_PUSH_M_PER_S, LEAST_PUSH_M_PER_S + PUSH_PER_S * distance)
        pushing = speed * np.clip(1.0 - np.abs(off) / STEER_WITHIN_M, 0.0, 1.0) * along - STEER_PER_S * off * across
        push, done = np.abs(astray) < PUSH_WITHIN_RAD, distance < 0.6 * p["tolerance_m"]
        velocity = np.where(done, 0.0, np.where(push, pushing, circling))
        touching = radius < 1.2 * (p["box_half_m"] + kernel_arm_push.TIP_RADIUS_M)
        weight = p["friction"] * p["box_mass_kg"] * GRAVITY
        return _joint_speeds(obs, velocity, np.where(push & touching & ~done, weight, 0.0) * along)


def _split(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths ``(n, 1)`` and the directions ``(n, 2)`` of vectors."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return lengths, vectors / lengths


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(one * other, axis=1, keepdims=True))


def _joint_speeds(obs: np.ndarray, velocity: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Return the joint speeds, of their greatest, that move the tip with ``velocity`` (n, 2) [m/s] against a ``force``.

    A joint's controller falls behind by the torque that it has to give over its gain, so that much more is asked of it.
    """
    upper, fore = _lengths()
    shoulder, elbow = np.arctan2(obs[:, 1], obs[:, 0]), np.arctan2(obs[:, 3], obs[:, 2])
    both = shoulder + elbow
    jacobian = np.empty((len(obs), 2, 2))
    jacobian[:, 0, 1], jacobian[:, 1, 1] = -fore * np.sin(both), fore * np.cos(both)
    jacobian[:, 0, 0] = -upper * np.sin(shoulder) + jacobian[:, 0, 1]
    jacobian[:, 1, 0] = upper * np.cos(shoulder) + jacobian[:, 1, 1]
    damped = np.swapaxes(jacobian, 1, 2) @ jacobian + 1e-3 * np.eye(2)
    speeds = np.linalg.solve(damped, np.swapaxes(jacobian, 1, 2) @ velocity[:, :, None])[:, :, 0]
    torque = (np.swapaxes(jacobian, 1, 2) @ force[:, :, None])[:, :, 0]
    return np.asarray((speeds + torque / np.array(arm.GAINS[:2])) / np.array(arm.FASTEST[:2]))


ROBOTS: dict[str, dict[str, Callable[[str, int, int], Agent]]] = {
    "CartBalance": {"random": RandomVector, "lqr": Balance},
    "ArmReach": {"random": RandomVector, "inverse_kinematics": InverseKinematics},
    "ArmPush": {"random": RandomVector, "scripted_push": ScriptedPush},
}
"""How each controller is made from its name, the version and a seed, by family, the simplest first."""
