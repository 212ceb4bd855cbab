"""PyBullet: the twin. Every row has a world of its own, which is made anew where an episode begins.

Bullet's defaults are those of a game: damping of all motion, velocity motors in all joints, inertia recomputed from
shapes. Here all of that is switched off, and friction is set so that its product is that of the pair. Contacts are
remembered from step to step within Bullet; a soft reset would keep them, and begin an episode differently from a fresh
world. So an episode begins with everything loaded anew, unless nothing can touch; a row that was loaded in the middle
of one begins without such memory.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from rlops.envs.compiling import bound
from rlops.envs.robotics.engines import Engine, bullet
from rlops.envs.robotics.engines.bullet import b3, submit
from rlops.envs.robotics.engines.exchange import mark_changed, mark_elsewhere, read_told, take
from rlops.envs.robotics.engines.shards import Shards
from rlops.envs.robotics.model import FLOOR, GRAVITY, Body, Contact, Model, from_row, parameters_of, urdf
from rlops.errors import EngineLost, InvalidValue

MOST_WORLDS = 256
"""A world takes 36 MB."""
MOST_REMADE = 1000
"""How often a server begins anew: of every robot that it has loaded, Bullet keeps some kB until it is closed."""
_FAST = 1e9
"""A joint's velocity [rad/s or m/s] that is never reached; Bullet's default would cut it at 100."""


class World:
    """One simulation of one model, in a physics server of its own."""

    def __init__(self, model: Model, *, visible: bool = False):
        """Load ``model``; ``visible`` also loads what only a picture shows."""
        # Shapes that are only seen take four fifths of the time that a robot takes to load.
        self._flags = bullet.USE_INERTIA_FROM_FILE | (0 if visible else bullet.IGNORE_VISUAL_SHAPES)
        self._open()
        self._make(model)

    def _open(self) -> None:
        self.server: int = b3.b3ConnectPhysicsDirect()
        self._remade = 0

    def remake(self, model: Model) -> None:
        """Load ``model`` as into a new world, but into the open server: to open one takes longer than all else."""
        self._remade += 1
        if self._remade > MOST_REMADE:
            old = self.server
            self._open()
            b3.b3DisconnectSharedMemory(old)
        else:
            submit(self.server, b3.b3InitResetSimulationCommand(self.server))
        self._make(model)

    def _make(self, model: Model) -> None:
        self.model = model
        self._settings()
        self.places: dict[str, tuple[int, bullet.Joint | None]] = {}
        """Where every body is: the number of its tree, and its joint there."""
        if any(FLOOR in contact.bodies for contact in model.contacts):
            self.places[FLOOR] = bullet.create_body(self.server, bullet.create_plane(self.server)), None
        for tree in model.roots():
            self._load(tree)
        self._touch()

    def _settings(self) -> None:
        command = b3.b3InitPhysicsParamCommand(self.server)
        b3.b3PhysicsParamSetGravity(command, 0.0, 0.0, -GRAVITY)
        b3.b3PhysicsParamSetTimeStep(command, self.model.timestep_s)
        b3.b3PhysicsParamSetNumSubSteps(command, 0)
        b3.b3PhysicsParameterSetDeterministicOverlappingPairs(command, 1)
        submit(self.server, command)

    def _load(self, tree: tuple[Body, ...]) -> None:
        """Load one tree of bodies, with its damping and without motors.

        Raises:
            InvalidValue: If Bullet refuses it.
        """
        server, free = self.server, tree[0].joint == "free"
        # A file alone: to remove a folder as well may take longer than all the rest of an episode's beginning.
        with tempfile.NamedTemporaryFile("w", suffix=".urdf", encoding="utf-8") as file:
            file.write(urdf(tree))
            file.flush()
            command = b3.b3LoadUrdfCommandInit(server, os.fsencode(file.name))
            b3.b3LoadUrdfCommandSetFlags(command, self._flags)
            if free:
                b3.b3LoadUrdfCommandSetStartPosition(command, *tree[0].at)
            else:
                b3.b3LoadUrdfCommandSetUseFixedBase(command, 1)
            loaded = b3.b3GetStatusBodyIndex(submit(server, command))
        if loaded < 0:
            raise InvalidValue(
                f"Bullet must load the body {tree[0].name}, but it refused. Look at what it has printed."
            )
        command = b3.b3InitChangeDynamicsInfo(server)
        b3.b3ChangeDynamicsInfoSetLinearDamping(command, loaded, 0.0)
        b3.b3ChangeDynamicsInfoSetAngularDamping(command, loaded, 0.0)
        b3.b3ChangeDynamicsInfoSetMaxJointVelocity(command, loaded, _FAST)
        submit(server, command)
        joints = bullet.joints_of(server, loaded)
        for body in tree:
            joint = joints.get(body.name)
            self.places[body.name] = loaded, joint
            if joint is not None:
                command = b3.b3InitChangeDynamicsInfo(server)
                b3.b3ChangeDynamicsInfoSetJointDamping(command, loaded, joint.number, body.damping)
                submit(server, command)
                bullet.without_motor(server, loaded, joint)

    def _touch(self) -> None:
        """Let those touch that are said to, with the friction of their pair, and nothing else."""
        server = self.server
        links = {name: (tree, joint.number if joint else -1) for name, (tree, joint) in self.places.items()}
        for place in links.values():
            command = b3.b3CollisionFilterCommandInit(server)
            b3.b3SetCollisionFilterGroupMask(command, *place, 0, 0)
            submit(server, command)
        for name, friction in friction_of(self.model.contacts).items():
            command = b3.b3InitChangeDynamicsInfo(server)
            b3.b3ChangeDynamicsInfoSetLateralFriction(command, *links[name], friction)
            b3.b3ChangeDynamicsInfoSetRestitution(command, *links[name], 0.0)
            submit(server, command)
        for contact in self.model.contacts:
            (one, link), (other, other_link) = (links[name] for name in contact.bodies)
            command = b3.b3CollisionFilterCommandInit(server)
            b3.b3SetCollisionFilterPair(command, one, other, link, other_link, 1)
            submit(server, command)

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put all bodies where they are said to be."""
        server = self.server
        q, v = 0, 0
        for body in self.model.bodies:
            tree, joint = self.places[body.name]
            command = b3.b3CreatePoseCommandInit(server, tree)
            if joint is not None:
                b3.b3CreatePoseCommandSetJointPosition(server, command, joint.number, qpos[q])
                b3.b3CreatePoseCommandSetJointVelocity(server, command, joint.number, qvel[v])
                submit(server, command)
                q, v = q + 1, v + 1
                continue
            spin = rotation(qpos[q + 3 : q + 7]) @ qvel[v + 3 : v + 6]
            b3.b3CreatePoseCommandSetBasePosition(command, *qpos[q : q + 3])
            b3.b3CreatePoseCommandSetBaseOrientation(command, *qpos[q + 4 : q + 7], qpos[q + 3])
            submit(server, command)
            command = b3.b3CreatePoseCommandInit(server, tree)
            b3.b3CreatePoseCommandSetBaseLinearVelocity(command, bullet.triple(qvel[v : v + 3]))
            b3.b3CreatePoseCommandSetBaseAngularVelocity(command, bullet.triple(spin))
            submit(server, command)
            q, v = q + 7, v + 6

    def close(self) -> None:
        """Close the physics server."""
        b3.b3DisconnectSharedMemory(self.server)


class Movement:
    """How worlds of one kind are moved and read, many of them at once.

    A world tells of one tree after another: where its root is (3), how that is turned (x, y, z, w) and the positions of
    its joints; then the root's velocity (3) and spin (3), in the world's frame, and the velocities of the joints.
    """

    def __init__(self, world: World):
        """Find where ``world`` has its motors, and where in what it tells the numbers of its bodies are."""
        model = world.model
        at: dict[str, tuple[int, int]] = {}
        trees = []
        self._width = 0
        for tree in model.roots():
            joints = sum(body.joint != "free" for body in tree)
            trees.append((world.places[tree[0].name][0], 7 + joints, 6 + joints))
            at |= {body.name: (self._width, self._width + 7 + joints) for body in tree}
            self._width += 13 + 2 * joints
        qpos: list[int] = []
        qvel: list[int] = []
        free, motors = [], []
        for body in model.bodies:
            (q, u), (tree_number, joint) = at[body.name], world.places[body.name]
            if joint is None:
                free.append((len(qpos) + 3, len(qvel) + 3))
                qpos += [q + k for k in (0, 1, 2, 6, 3, 4, 5)]
                qvel += [u + k for k in range(6)]
                continue
            qpos.append(q + joint.q)
            qvel.append(u + joint.u)
            if body.driven:
                motors.append((tree_number, joint.u))
        self.motors, self._free = (np.array(pairs, np.int64).reshape(-1, 2) for pairs in (motors, free))
        self._trees, self._qpos, self._qvel = (np.array(numbers, np.int64) for numbers in (trees, qpos, qvel))

    def of(
        self,
        moving: np.ndarray,
        servers: np.ndarray,
        force: np.ndarray,
        substeps: int,
        qpos: np.ndarray,
        qvel: np.ndarray,
    ) -> Callable[[], None]:
        """Return what moves the ``moving`` worlds (n,) by ``substeps`` whenever called, with their motors' ``force``.

        Args:
            moving: Which worlds.
            servers: Of the worlds ``(n,)``.
            force: Held by the motors [N or N m] ``(n, motors)``.
            substeps: Of the physics.
            qpos: Where their positions ``(n, q)`` are written.
            qvel: Where their velocities ``(n, v)`` are written.
        """
        told = np.zeros((len(moving), self._width))
        move = bound(bullet.move, moving, servers, self.motors, self._trees, force, substeps, told)
        read = bound(read_told, moving, told, self._qpos, self._qvel, self._free, qpos, qvel)

        def run() -> None:
            stuck = move()
            if stuck >= 0:
                raise EngineLost(f"Bullet told nothing of row {stuck}")
            read()

        return run


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """Return the matrix (3, 3) that turns vectors of a body, oriented as w, x, y, z, into the world's."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


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
    """The rows' worlds, moved one after another."""

    def __init__(self, kernel: Any, params: np.ndarray, state: np.ndarray):
        """Prepare a world for every row; none is opened before it moves."""
        self.kernel, self._params, self._state = kernel, np.asarray(params), np.asarray(state)
        names = [parameter.name for parameter in kernel.PARAMETERS]
        columns = np.array([names.index(name) for name in parameters_of(kernel.build, self._params[0])], np.int64)
        bits = self._params.view(np.int64).reshape(len(self._params), -1)
        moving, failed, qpos, qvel = (self._state[name] for name in ("moving", "failed", "qpos", "qvel"))
        self._left = qpos.copy(), qvel.copy()
        """Where a row's world was left when it moved last."""
        self._changed, self._elsewhere = np.zeros((2, len(moving)), np.bool_)
        self._servers = np.zeros(len(moving), np.intp)
        """Of the rows' worlds; 0 where there is none."""
        self._have_worlds()
        now, left = (tuple(array.view(np.int64) for array in pair) for pair in ((qpos, qvel), self._left))
        nothing = np.zeros((len(moving), 0))
        self._mark_changed = bound(mark_changed, moving, bits, columns, bits[:, columns], self._changed)
        self._mark_elsewhere = bound(
            mark_elsewhere, moving, self._state["steps"], self._servers, self._changed, *now, *left, self._elsewhere
        )
        self._move: Callable[[], None] | None = None
        self._take = bound(take, moving, failed, qpos, qvel, nothing, *self._left, nothing)

    def _have_worlds(self) -> None:
        """Let this process have worlds, none so far; with this object they are gone."""
        self._worlds: dict[int, World] = {}
        self._servers[:] = 0
        self._process = os.getpid()
        weakref.finalize(self, _close, self._worlds, self._process).atexit = False

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`.

        Raises:
            EngineLost: If Bullet does not tell where a row's bodies are.
        """
        if self._process != os.getpid():  # a fork has copies of its parent's worlds, and must not move them
            self._have_worlds()
        self._mark_changed()
        try:
            if self._mark_elsewhere():
                for row in np.flatnonzero(self._elsewhere).tolist():
                    self._place(row)
            if self._move is None:
                if not self._worlds:
                    return
                movement = Movement(next(iter(self._worlds.values())))
                moving, force = self._state["moving"], self._state["force"]
                self._move = movement.of(moving, self._servers, force, self.kernel.SUBSTEPS, *self._left)
            self._move()
        except BaseException:  # some worlds are where no row was left
            self.close()
            raise
        if self._take():
            for row in np.flatnonzero(self._state["moving"] & self._state["failed"]).tolist():
                self._worlds.pop(row).close()
                self._servers[row] = 0

    def _place(self, row: int) -> None:
        """Put the world of a row that is not where it was left, or begins, where the row is: made anew, if need be."""
        world = self._worlds.get(row)
        if world is None:
            world = self._worlds[row] = World(from_row(self.kernel.build, self._params[row]))
        elif self._changed[row]:
            world.remake(from_row(self.kernel.build, self._params[row]))
        elif world.model.contacts:
            world.remake(world.model)
        self._servers[row] = world.server
        qpos, qvel = self._left
        world.place(qpos[row], qvel[row])

    def close(self) -> None:
        """Close all worlds."""
        self._servers[:] = 0
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
