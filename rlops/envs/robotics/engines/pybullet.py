"""PyBullet: the twin. Every row has a world of its own, which is made anew where an episode begins.

Bullet's defaults are those of a game: damping of all motion, velocity motors in all joints, inertia recomputed from
shapes. Here all of that is switched off, and friction is set so that its product is that of the pair. Contacts are
remembered from step to step within Bullet; a soft reset would keep them, and begin an episode differently from a fresh
world. So an episode begins with everything loaded anew, unless nothing can touch; a row that was loaded in the middle
of one begins without such memory.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import tempfile
import weakref
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from rlops.envs.robotics.engines import Engine
from rlops.envs.robotics.engines.exchange import bound, mark_changed, mark_elsewhere, read_told, take
from rlops.envs.robotics.engines.shards import Shards
from rlops.envs.robotics.model import FLOOR, GRAVITY, Body, Contact, Model, from_row, parameters_of, urdf
from rlops.errors import InvalidValue, MissingExtra


def _quiet_import() -> Any:
    """Import PyBullet without the line about its build that it prints."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return importlib.import_module("pybullet")
    except ImportError:
        raise MissingExtra("the engine pybullet", "robotics") from None
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


pybullet = _quiet_import()

MOST_WORLDS = 256
"""A world takes 36 MB, and Bullet ends the process that opens more than 1,024."""
_FAST = 1e9
"""A joint's velocity [rad/s or m/s] that is never reached; Bullet's default would cut it at 100."""


class World:
    """One simulation of one model."""

    def __init__(self, model: Model, *, visible: bool = False):
        """Load ``model`` into a physics server of its own; ``visible`` also loads what only a picture shows."""
        # Shapes that are only seen take four fifths of the time that a robot takes to load.
        self._flags = pybullet.URDF_USE_INERTIA_FROM_FILE | (0 if visible else pybullet.URDF_IGNORE_VISUAL_SHAPES)
        self.client = pybullet.connect(pybullet.DIRECT)
        if self.client < 0:
            raise InvalidValue("A physics server of PyBullet must open, but it refused. Use fewer rows a process.")
        self._make(model)

    def remake(self, model: Model) -> None:
        """Load ``model`` as into a new world, but into this server: to open one takes longer than all else."""
        pybullet.resetSimulation(physicsClientId=self.client)
        self._make(model)

    def _make(self, model: Model) -> None:
        self.model = model
        self._settings()
        self._places: dict[str, tuple[int, int]] = {}
        if any(FLOOR in contact.bodies for contact in model.contacts):
            plane = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=self.client)
            floor = pybullet.createMultiBody(0.0, plane, physicsClientId=self.client)
            self._places[FLOOR] = (floor, -1)
        for tree in model.roots():
            self._load(tree)
        self._touch()
        self._motors = _by_tree([self._places[body.name] for body in model.motors])
        self._trees = [self._tree(tree) for tree in model.roots()]

    def _settings(self) -> None:
        pybullet.setGravity(0, 0, -GRAVITY, physicsClientId=self.client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=self.model.timestep_s, numSubSteps=0, deterministicOverlappingPairs=1,
            physicsClientId=self.client,
        )  # fmt: skip

    def _load(self, tree: tuple[Body, ...]) -> None:
        """Load one tree of bodies, with its damping and without motors."""
        free = tree[0].joint == "free"
        # A file alone: to remove a folder as well may take longer than all the rest of an episode's beginning.
        with tempfile.NamedTemporaryFile("w", suffix=".urdf", encoding="utf-8") as file:
            file.write(urdf(tree))
            file.flush()
            loaded = pybullet.loadURDF(
                file.name, tree[0].at if free else (0, 0, 0), useFixedBase=not free,
                flags=self._flags, physicsClientId=self.client,
            )  # fmt: skip
        joints = {
            pybullet.getJointInfo(loaded, j, physicsClientId=self.client)[1].decode(): j
            for j in range(pybullet.getNumJoints(loaded, physicsClientId=self.client))
        }
        for link in range(-1, len(joints)):
            pybullet.changeDynamics(
                loaded, link, linearDamping=0.0, angularDamping=0.0, maxJointVelocity=_FAST, physicsClientId=self.client
            )
        for body in tree:
            link = joints.get(body.name, -1)
            self._places[body.name] = (loaded, link)
            if link >= 0:
                pybullet.changeDynamics(loaded, link, jointDamping=body.damping, physicsClientId=self.client)
                pybullet.setJointMotorControl2(
                    loaded, link, pybullet.VELOCITY_CONTROL, force=0.0, physicsClientId=self.client
                )

    def _touch(self) -> None:
        """Let those touch that are said to, with the friction of their pair, and nothing else."""
        for place in self._places.values():
            pybullet.setCollisionFilterGroupMask(*place, 0, 0, physicsClientId=self.client)
        for name, friction in friction_of(self.model.contacts).items():
            pybullet.changeDynamics(
                *self._places[name], lateralFriction=friction, restitution=0.0, physicsClientId=self.client
            )
        for contact in self.model.contacts:
            (one, link), (other, other_link) = (self._places[name] for name in contact.bodies)
            pybullet.setCollisionFilterPair(one, other, link, other_link, 1, physicsClientId=self.client)

    def _tree(self, tree: tuple[Body, ...]) -> tuple[int, bool, list[int]]:
        """Return the number of a tree, whether it flies free, and its links with joints."""
        places = [self._places[body.name] for body in tree]
        return places[0][0], tree[0].joint == "free", [link for _, link in places if link >= 0]

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put all bodies where they are said to be."""
        q, v = 0, 0
        for body in self.model.bodies:
            loaded, link = self._places[body.name]
            if link >= 0:
                pybullet.resetJointState(loaded, link, qpos[q], qvel[v], physicsClientId=self.client)
                q, v = q + 1, v + 1
                continue
            turn = (*qpos[q + 4 : q + 7], qpos[q + 3])
            spin = rotations(qpos[None, q + 3 : q + 7])[0] @ qvel[v + 3 : v + 6]
            pybullet.resetBasePositionAndOrientation(loaded, qpos[q : q + 3], turn, physicsClientId=self.client)
            pybullet.resetBaseVelocity(loaded, qvel[v : v + 3], spin, physicsClientId=self.client)
            q, v = q + 7, v + 6

    def told(self) -> list[float]:
        """Return what Bullet tells of all bodies, in the order that :class:`Reading` expects."""
        told: list[float] = []
        for loaded, free, links in self._trees:
            if free:
                for pair in (
                    pybullet.getBasePositionAndOrientation(loaded, physicsClientId=self.client),
                    pybullet.getBaseVelocity(loaded, physicsClientId=self.client),
                ):
                    told += pair[0] + pair[1]
            if links:
                states = pybullet.getJointStates(loaded, links, physicsClientId=self.client)
                told += [state[0] for state in states]
                told += [state[1] for state in states]
        return told

    def step(self, force: Sequence[float], substeps: int) -> None:
        """Move everything by ``substeps`` with the motors' ``force`` held."""
        driven = [(loaded, links, force[part]) for loaded, links, part in self._motors]
        for _ in range(substeps):
            for loaded, links, forces in driven:
                pybullet.setJointMotorControlArray(
                    loaded, links, pybullet.TORQUE_CONTROL, forces=forces, physicsClientId=self.client
                )
            pybullet.stepSimulation(physicsClientId=self.client)

    def close(self) -> None:
        """Close the physics server."""
        pybullet.disconnect(physicsClientId=self.client)


def _by_tree(places: Sequence[tuple[int, int]]) -> list[tuple[int, list[int], slice]]:
    """Return the trees of ``places`` in their order, of each the links, and which of the places they are."""
    found, start = [], 0
    for loaded, group in itertools.groupby(places, key=itemgetter(0)):
        links = [link for _, link in group]
        found.append((loaded, links, slice(start, start + len(links))))
        start += len(links)
    return found


class Reading:
    """What Bullet tells of many worlds of one kind, as positions and velocities; for all of them at once.

    A tree is told of after another: of a free body where it is (3), how it is turned (x, y, z, w), its velocity (3) and
    its spin (3) in the world's frame; then the positions of all joints, then their velocities.
    """

    def __init__(self, model: Model):
        """Find where the numbers of every body of ``model`` are told, and where they belong."""
        at: dict[str, tuple[int, int]] = {}
        self._qpos_from, self._qvel_from = np.empty(model.positions, int), np.empty(model.velocities, int)
        free: list[tuple[int, int]] = []
        q, v, told = 0, 0, 0
        for body in model.bodies:
            at[body.name] = q, v
            q, v = (q + 7, v + 6) if body.joint == "free" else (q + 1, v + 1)
        for tree in model.roots():
            joints = [body for body in tree if body.joint != "free"]
            if tree[0].joint == "free":
                q, v = at[tree[0].name]
                self._qpos_from[q : q + 7] = told + np.array([0, 1, 2, 6, 3, 4, 5])
                self._qvel_from[v : v + 6] = told + 7 + np.arange(6)
                free.append((q + 3, v + 3))
                told += 13
            for number, body in enumerate(joints):
                q, v = at[body.name]
                self._qpos_from[q], self._qvel_from[v] = told + number, told + len(joints) + number
            told += 2 * len(joints)
        self._free = np.array(free, int).reshape(-1, 2)

    def write(self, told: Sequence[Sequence[float]], qpos: np.ndarray, qvel: np.ndarray, rows: Sequence[int]) -> None:
        """Write what was ``told`` of worlds into their ``rows`` of positions (n, q) and velocities (n, v)."""
        read_told(np.array(told), np.array(rows), self._qpos_from, self._qvel_from, self._free, qpos, qvel)


def rotations(quaternions: np.ndarray) -> np.ndarray:
    """Return the matrices (n, 3, 3) that turn vectors of bodies, oriented as w, x, y, z (n, 4), into the world's."""
    w, x, y, z = quaternions.T
    columns = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return np.stack(columns, axis=1).reshape(-1, 3, 3)


def friction_of(contacts: tuple[Contact, ...]) -> dict[str, float]:
    """Return a friction for every body, so that for each contact the product of both is that of the pair.

    Raises:
        InvalidValue: If there is none, which needs a ring of contacts.
    """
    found: dict[str, float] = {}
    for contact in contacts:
        one, other = contact.bodies
        if one not in found and other not in found:
            found[one] = 1.0
        if one not in found:
            one, other = other, one
        wanted = float(contact.friction) / found[one]
        if abs(found.setdefault(other, wanted) - wanted) > 1e-12:
            raise InvalidValue(
                f"The friction of {one} with {other} must follow from that of single bodies, as Bullet multiplies "
                f"these, but other contacts ask for {found[other]:g} instead of {wanted:g}. Let one of them go."
            )
    return found


class Worlds:
    """The rows' worlds, moved one after another: Bullet takes Python's lock, so threads would not help."""

    def __init__(self, kernel: Any, params: np.ndarray, state: np.ndarray):
        """Prepare a world for every row; none is opened before it moves."""
        self._have_worlds()
        self.kernel, self._params, self._state = kernel, np.asarray(params), np.asarray(state)
        names = [parameter.name for parameter in kernel.PARAMETERS]
        columns = np.array([names.index(name) for name in parameters_of(kernel.build, self._params[0])], np.int64)
        bits = self._params.view(np.int64).reshape(len(self._params), -1)
        moving, failed, qpos, qvel = (self._state[name] for name in ("moving", "failed", "qpos", "qvel"))
        self._reading = Reading(from_row(kernel.build, self._params[0]))
        self._left = qpos.copy(), qvel.copy()
        """Where a row's world was left when it moved last."""
        self._changed, self._elsewhere = np.zeros((2, len(moving)), np.bool_)
        now, left = (tuple(array.view(np.int64) for array in pair) for pair in ((qpos, qvel), self._left))
        nothing = np.zeros((len(moving), 0))
        self._mark_changed = bound(mark_changed, moving, bits, columns, bits[:, columns], self._changed)
        self._mark_elsewhere = bound(
            mark_elsewhere, moving, self._state["steps"], self._changed, *now, *left, self._elsewhere
        )
        self._take = bound(take, moving, failed, qpos, qvel, nothing, *self._left, nothing)

    def _have_worlds(self) -> None:
        """Let this process have worlds, none so far; with this object they are gone."""
        self._worlds: dict[int, World] = {}
        self._process = os.getpid()
        weakref.finalize(self, _close, self._worlds, self._process).atexit = False

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`."""
        if self._process != os.getpid():  # a fork has copies of its parent's worlds, and must not move them
            self._have_worlds()
        self._mark_changed()
        self._mark_elsewhere()
        try:
            self._move()
        except BaseException:  # some worlds are where no row was left
            self.close()
            raise
        if self._take():
            for row in np.flatnonzero(self._state["moving"] & self._state["failed"]).tolist():
                self._worlds.pop(row).close()

    def _move(self) -> None:
        """Move the worlds of the rows that move, and write down where they are left."""
        forces, elsewhere = self._state["force"].tolist(), self._elsewhere.tolist()
        rows, told = np.flatnonzero(self._state["moving"]).tolist(), []
        for row in rows:
            world = self._worlds.get(row)
            if world is None or elsewhere[row]:
                world = self._placed(row, world)
            world.step(forces[row], self.kernel.SUBSTEPS)
            told.append(world.told())
        if told:
            self._reading.write(told, *self._left, rows)

    def _placed(self, row: int, world: World | None) -> World:
        """Return the world of a row that is not where it was left there, or begins: made anew, then put there."""
        if world is None:
            world = self._worlds[row] = World(from_row(self.kernel.build, self._params[row]))
        elif self._changed[row]:
            world.remake(from_row(self.kernel.build, self._params[row]))
        elif world.model.contacts:
            world.remake(world.model)
        qpos, qvel = self._left
        world.place(qpos[row], qvel[row])
        return world

    def close(self) -> None:
        """Close all worlds."""
        _close(self._worlds, self._process)


def _close(worlds: dict[int, World], process: int) -> None:
    """Close all ``worlds``, if they are this process's."""
    if process == os.getpid():
        while worlds:
            worlds.popitem()[1].close()


def opened(kernel: Any, params: np.ndarray, state: np.ndarray, threads: int) -> Engine:
    """Return the engine of the rows: their worlds here, or shared among as many processes as there are ``threads``.

    Raises:
        InvalidValue: If a process would have more than Bullet survives.
    """
    if len(state) > MOST_WORLDS * threads:
        raise InvalidValue(
            f"The engine pybullet must have at most {MOST_WORLDS} rows a process, got {len(state)} in {threads}. "
            "Use fewer, or engine='mujoco'."
        )
    if threads == 1:
        return Worlds(kernel, params, state)
    return Shards(__name__, kernel, params, state, threads)
