"""PyBullet as its own functions step it: what our engine is measured against, and held to bit by bit.

Everything is set and told as its Quickstart Guide says: motors' torques before every step of the physics, as it forgets
them with the step, all those of a robot in one call; where joints are by one call a robot.
"""

from __future__ import annotations

import importlib
import itertools
import os
import tempfile
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from rlops.envs.robotics.engines.pybullet import friction_of, rotation
from rlops.envs.robotics.model import FLOOR, GRAVITY, Body, Model, urdf


def _quiet_import() -> Any:
    """Import PyBullet without the line about its build that it prints."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return importlib.import_module("pybullet")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


pybullet = _quiet_import()


class World:
    """One simulation of one model."""

    def __init__(self, model: Model):
        """Load ``model`` into a physics server of its own."""
        self.model, self._at = model, {"physicsClientId": pybullet.connect(pybullet.DIRECT)}
        pybullet.setGravity(0, 0, -GRAVITY, **self._at)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=model.timestep_s, numSubSteps=0, deterministicOverlappingPairs=1, **self._at
        )
        self._places: dict[str, tuple[int, int]] = {}
        if any(FLOOR in contact.bodies for contact in model.contacts):
            plane = pybullet.createCollisionShape(pybullet.GEOM_PLANE, **self._at)
            self._places[FLOOR] = pybullet.createMultiBody(0.0, plane, **self._at), -1
        for tree in model.roots():
            self._load(tree)
        for place in self._places.values():
            pybullet.setCollisionFilterGroupMask(*place, 0, 0, **self._at)
        for name, friction in friction_of(model.contacts).items():
            pybullet.changeDynamics(*self._places[name], lateralFriction=friction, restitution=0.0, **self._at)
        for contact in model.contacts:
            (one, link), (other, other_link) = (self._places[name] for name in contact.bodies)
            pybullet.setCollisionFilterPair(one, other, link, other_link, 1, **self._at)
        self._motors, start = [], 0
        for loaded, group in itertools.groupby((self._places[body.name] for body in model.motors), key=itemgetter(0)):
            links = [link for _, link in group]
            self._motors.append((loaded, links, slice(start, start + len(links))))
            start += len(links)

    def _load(self, tree: tuple[Body, ...]) -> None:
        free = tree[0].joint == "free"
        with tempfile.NamedTemporaryFile("w", suffix=".urdf", encoding="utf-8") as file:
            file.write(urdf(tree))
            file.flush()
            flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_IGNORE_VISUAL_SHAPES
            at = tree[0].at if free else (0, 0, 0)
            loaded = pybullet.loadURDF(file.name, at, useFixedBase=not free, flags=flags, **self._at)
        joints = {
            pybullet.getJointInfo(loaded, j, **self._at)[1].decode(): j
            for j in range(pybullet.getNumJoints(loaded, **self._at))
        }
        pybullet.changeDynamics(
            loaded, -1, linearDamping=0.0, angularDamping=0.0, maxJointVelocity=1e9, **self._at
        )  # fmt: skip
        for body in tree:
            link = joints.get(body.name, -1)
            self._places[body.name] = loaded, link
            if link >= 0:
                pybullet.changeDynamics(loaded, link, jointDamping=body.damping, **self._at)
                pybullet.setJointMotorControl2(loaded, link, pybullet.VELOCITY_CONTROL, force=0.0, **self._at)

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put all bodies where they are said to be."""
        q, v = 0, 0
        for body in self.model.bodies:
            loaded, link = self._places[body.name]
            if link >= 0:
                pybullet.resetJointState(loaded, link, qpos[q], qvel[v], **self._at)
                q, v = q + 1, v + 1
                continue
            turn = (*qpos[q + 4 : q + 7], qpos[q + 3])
            spin = rotation(qpos[q + 3 : q + 7]) @ qvel[v + 3 : v + 6]
            pybullet.resetBasePositionAndOrientation(loaded, qpos[q : q + 3], turn, **self._at)
            pybullet.resetBaseVelocity(loaded, qvel[v : v + 3], spin, **self._at)
            q, v = q + 7, v + 6

    def step(self, force: Sequence[float], substeps: int) -> None:
        """Move everything by ``substeps`` with the motors' ``force`` held."""
        driven = [(loaded, links, force[part]) for loaded, links, part in self._motors]
        for _ in range(substeps):
            for loaded, links, forces in driven:
                pybullet.setJointMotorControlArray(
                    loaded, links, pybullet.TORQUE_CONTROL, forces=forces, **self._at
                )  # fmt: skip
            pybullet.stepSimulation(**self._at)

    def told(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions and velocities of all bodies, but the spins of free ones in the world's frame."""
        qpos: list[float] = []
        qvel: list[float] = []
        for body in self.model.bodies:
            loaded, link = self._places[body.name]
            if link >= 0:
                position, velocity, *_ = pybullet.getJointState(loaded, link, **self._at)
                qpos, qvel = [*qpos, position], [*qvel, velocity]
                continue
            at, (x, y, z, w) = pybullet.getBasePositionAndOrientation(loaded, **self._at)
            linear, spin = pybullet.getBaseVelocity(loaded, **self._at)
            qpos, qvel = [*qpos, *at, w, x, y, z], [*qvel, *linear, *spin]
        return np.array(qpos), np.array(qvel)

    def close(self) -> None:
        """Close the physics server."""
        pybullet.disconnect(**self._at)
