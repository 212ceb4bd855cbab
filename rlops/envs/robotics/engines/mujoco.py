"""MuJoCo: all rows in one native batch, each with model fields of its own.

``mujoco.batch`` came with MuJoCo 3.17; older releases, and tests that hold it to its promise, take the serial loop.

A kernel may have, instead of ``build``, a model that somebody else wrote: ``MJCF``, the path of its file. No parameter
changes such a model. With ``MJDATA`` a kernel asks for fields of ``MjData`` as a step has left them; its state has
them, flattened, by the same names.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from rlops.envs.robotics.engines import Engine
from rlops.envs.robotics.engines.exchange import copy_rows, give, mark_changed, take
from rlops.envs.robotics.model import Build, Model, from_row, mjcf, parameters_of
from rlops.errors import MissingExtra

try:
    import mujoco
except ImportError:
    raise MissingExtra("the engine mujoco", "robotics") from None
try:
    from mujoco.batch import Batch, SimulationError
except ImportError:  # MuJoCo before 3.17
    Batch = None

STATE_FIELDS = {"qpos": "qpos", "qvel": "qvel", "warmstart": "qacc_warmstart", "force": "ctrl"}
"""Fields of a row's state and what MuJoCo calls them."""
MOVED = ("qpos", "qvel", "warmstart")
Field = tuple[str, tuple[int, ...], Any]
"""Of an ``MjModel``: its name, an index into it, and the value there: a number, or ``(m,)`` of one a row."""


def compiled_model(build: Build, params: np.ndarray) -> Any:
    """Return the ``MjModel`` of the first row of ``params``, compiled so that other rows' values may take its place.

    The compiler takes shortcuts for a centre of mass at the origin of its body, which a row may have moved elsewhere:
    those that depend on a parameter are compiled away from it. Values are therefore to be written before use.
    """
    given, columns = from_row(build, params[0]), build(_columns_of(params[:1]))
    bodies = []
    for body, varied in zip(given.bodies, columns.bodies, strict=True):
        x, y, z = (_OFF if np.ndim(many) else one for one, many in zip(body.centre, varied.centre, strict=True))
        bodies.append(replace(body, centre=(x, y, z)))
    return mujoco.MjModel.from_xml_string(mjcf(replace(given, bodies=tuple(bodies))))


_OFF = 0.0123
"""[m] A coordinate at which no body has its centre of mass."""


def _columns_of(params: np.ndarray) -> Any:
    """Return parameter records as an object with an array ``(m,)`` for every parameter."""
    return np.asarray(params).view(np.recarray)


def model_fields(compiled: Any, model: Model) -> Iterator[Field]:
    """Yield what a model says in numbers."""
    for body in model.bodies:
        b = compiled.body(body.name).id
        yield "body_mass", (b,), body.mass
        for k in range(3):
            yield "body_pos", (b, k), body.at[k]
            yield "body_ipos", (b, k), body.centre[k]
            yield "body_inertia", (b, k), body.inertia[k]
        if body.joint != "free":
            yield "dof_damping", (int(compiled.joint(body.name).dofadr[0]),), body.damping
        first = int(compiled.body_geomadr[b])
        for g, geom in enumerate(body.geoms, first):
            for k, size in enumerate(geom.size):
                yield "geom_size", (g, k), size
            for k in range(3):
                yield "geom_pos", (g, k), geom.at[k]
    for c, contact in enumerate(model.contacts):
        for k in range(2):
            yield "pair_friction", (c, k), contact.friction


class _Worlds(ABC):
    """Rows of one model whose own fields are kept up with their parameters."""

    def __init__(self, kernel: Any, params: np.ndarray, state: np.ndarray, threads: int):
        self.kernel, self.threads, self.rows = kernel, threads, len(state)
        self._params = np.asarray(params)
        self._bits = self._params.view(np.int64).reshape(self.rows, -1)
        self._asked = getattr(kernel, "MJDATA", ())
        names = (*MOVED, "force", "moving", "failed", *self._asked)
        self._state = {name: np.asarray(state)[name] for name in names}
        self._process = -1

    def _prepare(self) -> None:
        """Make the simulations of this process: one that was forked must not use those of its parent."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        read: Iterable[str] = ()
        if hasattr(self.kernel, "MJCF"):
            self._model = mujoco.MjModel.from_xml_path(str(self.kernel.MJCF))
        else:
            read = parameters_of(self.kernel.build, self._params[0])
            self._model = compiled_model(self.kernel.build, self._params)
        names = [parameter.name for parameter in self.kernel.PARAMETERS]
        self._columns = np.array([names.index(name) for name in read], np.int64)
        self._known = np.full((self.rows, len(self._columns)), _NEVER, np.int64)
        self._changed = np.zeros(self.rows, np.bool_)
        self._open()

    def _configure(self) -> None:
        """Give the rows whose parameters have changed the model that follows from them."""
        if mark_changed(self._state["moving"], self._bits, self._columns, self._known, self._changed):
            rows = np.flatnonzero(self._changed)
            fields = model_fields(self._model, self.kernel.build(_columns_of(self._params)[rows]))
            self._write(rows, [field for field in fields if np.ndim(field[2])])

    @abstractmethod
    def _open(self) -> None:
        """Make the simulations, of the model."""

    @abstractmethod
    def _write(self, rows: np.ndarray, fields: list[Field]) -> None:
        """Give ``rows`` their values of ``fields``."""

    def close(self) -> None:
        """Forget the simulations, which would be made anew; the operating system lent nothing."""
        self._process = -1


_NEVER = -(2**63)
"""The bits of no parameter."""


class NativeEngine(_Worlds):
    """The rows in a :class:`mujoco.batch.Batch`, stepped by its threads."""

    def _open(self) -> None:
        self._batch = Batch(self._model, self.rows, self.threads)
        self._own = [self._state[name] for name in STATE_FIELDS]
        self._bound = [self._batch.bind(field) for field in STATE_FIELDS.values()]
        self._left = [(self._batch.bind(name).reshape(self.rows, -1), self._state[name]) for name in self._asked]

    def _write(self, rows: np.ndarray, fields: list[Field]) -> None:
        for name, index, value in fields:
            self._batch.expand(name)[(rows, *index)] = value
        self._batch.set_const(rows)

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`."""
        self._prepare()
        self._configure()
        moving, failed = self._state["moving"], self._state["failed"]
        count = give(moving, *self._own, *self._bound)
        try:
            self._batch.step(None if count == self.rows else np.flatnonzero(moving), self.kernel.SUBSTEPS)
        except SimulationError as error:
            failed[error.ids] = True
        take(moving, failed, *self._own[:3], *self._bound[:3])
        for left, own in self._left:
            copy_rows(moving, left, own)


class SerialEngine(_Worlds):
    """The rows in a Python loop, each with a model of its own."""

    def _open(self) -> None:
        self._models = [copy(self._model) for _ in range(self.rows)]
        self._data = mujoco.MjData(self._model)

    def _write(self, rows: np.ndarray, fields: list[Field]) -> None:
        for name, index, value in fields:
            for row, one in zip(rows, value, strict=True):
                getattr(self._models[row], name)[index] = one
        for row in rows:
            mujoco.mj_setConst(self._models[row], self._data)

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`."""
        self._prepare()
        self._configure()
        state, data = self._state, self._data
        for row in np.flatnonzero(state["moving"]):
            mujoco.mj_resetData(self._models[row], data)
            for name, field in STATE_FIELDS.items():
                getattr(data, field)[:] = state[name][row]
            try:
                mujoco.mj_step(self._models[row], data, self.kernel.SUBSTEPS)
            except mujoco.FatalError:
                state["failed"][row] = True
                continue
            one = slice(row, row + 1)
            moved = [getattr(data, STATE_FIELDS[name])[None] for name in MOVED]
            take(state["moving"][one], state["failed"][one], *(state[name][one] for name in MOVED), *moved)
            for name in self._asked:
                state[name][row] = getattr(data, name).reshape(-1)


def opened(kernel: Any, params: np.ndarray, state: np.ndarray, threads: int) -> Engine:
    """Return the engine of the rows, stepped by so many threads."""
    return (NativeEngine if Batch is not None else SerialEngine)(kernel, params, state, threads)
