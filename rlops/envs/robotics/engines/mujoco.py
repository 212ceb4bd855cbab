"""MuJoCo: all rows in one native batch, each with model fields of its own.

``mujoco.batch`` came with MuJoCo 3.17; older releases, and tests that hold it to its promise, take the serial loop.

A kernel may have, instead of ``build``, a model that somebody else wrote: ``MJCF``, the path of its file. No parameter
changes such a model. With ``MJDATA`` a kernel asks for fields of ``MjData`` as a step has left them; its state has
them, flattened, by the same names.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rlops.envs.compiling import bound, compiled, external
from rlops.envs.robotics.engines import Engine
from rlops.envs.robotics.engines.exchange import compare_bytes, copy_bytes, copy_rows, give, mark_changed, take
from rlops.envs.robotics.formulas import Noted, Notes, evaluate
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
_STEPPED_ALONG = 4
"""How many rows that rest are stepped for nothing sooner than MuJoCo has checked which are to move."""
Field = tuple[str, tuple[int, ...], Any]
"""Of an ``MjModel``: its name, an index into it, and the value there: a number, or how it follows from parameters."""


def compiled_model(build: Build, params: np.ndarray) -> Any:
    """Return the ``MjModel`` of the first row of ``params``, compiled so that other rows' values may take its place.

    It has nothing that only a picture shows, and moves the same without it, to the last bit.
    The compiler takes shortcuts for a centre of mass at the origin of its body, which a row may have moved elsewhere:
    those that depend on a parameter are compiled away from it, and the values of the row are written afterwards.
    """
    given = from_row(build, params[0])
    bodies = []
    for body, noted in zip(given.bodies, build(Notes(params.dtype)).bodies, strict=True):
        x, y, z = (_OFF if isinstance(how, Noted) else one for one, how in zip(body.centre, noted.centre, strict=True))
        bodies.append(replace(body, centre=(x, y, z)))
    compiled = mujoco.MjModel.from_xml_string(mjcf(replace(given, bodies=tuple(bodies)), visible=False))
    fields = OwnFields(compiled, build, params.dtype)
    for (name, index), value in zip(fields.places, fields.of(params[:1]), strict=True):
        getattr(compiled, name)[index] = value
    derive(compiled, mujoco.MjData(compiled))
    return compiled


def derive(compiled: Any, data: Any) -> None:
    """Let MuJoCo derive what follows from the fields of a ``compiled`` model, except which shortcuts bodies take.

    Those are of the compiled model, whatever the fields: one model serves rows that could take them and others.
    """
    shortcuts = compiled.body_sameframe.copy()
    mujoco.mj_setConst(compiled, data)
    compiled.body_sameframe[:] = shortcuts


_OFF = 0.0123
"""[m] A coordinate at which no body has its centre of mass."""


class _Place(NamedTuple):
    """Where a compiled model has a body, the first of its velocities, and the first of its shapes."""

    body: int
    dof: int
    geom: int


def places_of(compiled: Any, model: Model) -> dict[str, _Place]:
    """Return where the bodies of ``model`` are in it, compiled."""
    ids = {body.name: int(compiled.body(body.name).id) for body in model.bodies}
    return {name: _Place(b, int(compiled.body_dofadr[b]), int(compiled.body_geomadr[b])) for name, b in ids.items()}


def model_fields(places: Mapping[str, _Place], model: Model) -> Iterator[Field]:
    """Yield what a model says in numbers, as far as motion depends on it."""
    for body in model.bodies:
        b, dof, first = places[body.name]
        yield "body_mass", (b,), body.mass
        for k in range(3):
            yield "body_pos", (b, k), body.at[k]
            yield "body_ipos", (b, k), body.centre[k]
            yield "body_inertia", (b, k), body.inertia[k]
        if body.joint != "free":
            yield "dof_damping", (dof,), body.damping
        for g, geom in enumerate((geom for geom in body.geoms if geom.touches), first):
            for k, size in enumerate(geom.size):
                yield "geom_size", (g, k), size
            for k in range(3):
                yield "geom_pos", (g, k), geom.at[k]
    for c, contact in enumerate(model.contacts):
        for k in range(2):
            yield "pair_friction", (c, k), contact.friction


class OwnFields:
    """The fields of a compiled model that follow from parameters, and how."""

    def __init__(self, compiled: Any, build: Build, dtype: np.dtype):
        """Find those of a model by ``build``, ``compiled``, for records of parameters of this ``dtype``."""
        notes = Notes(dtype)
        model = build(notes)
        fields = [field for field in model_fields(places_of(compiled, model), model) if isinstance(field[2], Noted)]
        self.places = [(name, index) for name, index, _ in fields]
        """Names and indices."""
        self.formulas = notes.formulas([value for *_, value in fields])

    def of(self, record: np.ndarray) -> np.ndarray:
        """Return the fields' values by one ``record`` (1,) of parameters."""
        values = np.empty(len(self.places))
        evaluate(record.view(np.int64), record.view(np.float64), *self.formulas, values)
        return values


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
        self._process = os.getpid()
        read: Iterable[str] = ()
        if hasattr(self.kernel, "MJCF"):
            self._model = mujoco.MjModel.from_xml_path(str(self.kernel.MJCF))
        else:
            read = parameters_of(self.kernel.build, self._params[0])
            self._model = compiled_model(self.kernel.build, self._params)
            self._fields = OwnFields(self._model, self.kernel.build, self._params.dtype)
        names = [parameter.name for parameter in self.kernel.PARAMETERS]
        columns = np.array([names.index(name) for name in read], np.int64)
        known = np.tile(self._bits[0, columns], (self.rows, 1))
        self._changed = np.zeros(self.rows, np.bool_)
        self._open(self._bits, columns, known, self._changed)

    @abstractmethod
    def _open(self, *watched: np.ndarray) -> None:
        """Make the simulations, of the model; what is ``watched`` marks the rows that have changed."""

    def close(self) -> None:
        """Forget the simulations, which would be made anew; the operating system lent nothing."""
        self._process = -1


_natives = weakref.WeakSet[Any]()
"""The native batches of this process."""


def _keep_for_ever() -> None:
    """Let no batch end in a fork that its parent made: it would wait for threads that the fork does not have."""
    for batch in _natives:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(batch))


os.register_at_fork(after_in_child=_keep_for_ever)


_library = ctypes.CDLL(mujoco._functions.__file__)
_library.mj_setConst.restype, _library.mj_setConst.argtypes = None, (ctypes.c_ssize_t, ctypes.c_ssize_t)
_set_const = external("mj_setConst", _library.mj_setConst)


@compiled
def fill(
    changed: Any, numbers: Any, reals: Any, notes: Any, constants: Any, wanted: Any, places: Any, model: Any, data: Any,
    masses: Any, subtrees: Any, parents: Any, own: Any, shared: Any,
) -> int:  # fmt: skip
    """Give the ``changed`` rows (n,) the fields that follow from their parameters, and what MuJoCo derives from those.

    ``Batch.set_const`` does so, too, but for a few rows it takes several times as long, and it gives rows all fields of
    their own that differ, read or not. Fields are named by addresses, so that this is compiled once for all models.

    Args:
        changed: Which rows.
        numbers: Records of parameters as int64 ``(n, parameters)``.
        reals: The same as float64.
        notes: See :func:`~rlops.envs.robotics.formulas.evaluate`, as ``constants`` and ``wanted`` (k,).
        constants: See there.
        wanted: See there.
        places: Where in the model every number wanted belongs ``(k,)``.
        model: An ``MjModel`` to work on.
        data: An ``MjData`` for it.
        masses: Those of the model's bodies ``(b,)``.
        subtrees: Those of bodies with all that hangs on them ``(b,)``.
        parents: On what a body hangs ``(b,)``; empty if more is read of what MuJoCo derives than sums of masses.
        own: Of every field that rows have of their own, where it is in the model, where the first row has it, and its
            bytes ``(f, 3)``.
        shared: Of every other field that MuJoCo derives, where it is in the model, where all rows have it, and its
            bytes ``(g, 3)``.

    Returns:
        Which of the shared fields ought to be rows' own, the first one found, or -1.
    """
    values = np.empty(len(wanted))
    for i in range(len(changed)):
        if not changed[i]:
            continue
        evaluate(numbers[i], reals[i], notes, constants, wanted, values)
        for k in range(len(wanted)):
            copy_bytes(places[k], values.ctypes.data + values.itemsize * k, values.itemsize)
        if len(parents):
            subtrees[:] = masses
            for b in range(len(parents) - 1, 0, -1):
                subtrees[parents[b]] += subtrees[b]
        else:
            _set_const(model, data)
        for f in range(len(own)):
            source, target, size = own[f]
            copy_bytes(target + size * i, source, size)
        for g in range(len(shared)):
            if compare_bytes(shared[g, 0], shared[g, 1], shared[g, 2]) != 0:
                return g
    return -1


def derived_fields(model: Any) -> set[str]:
    """Return the fields that MuJoCo derives (see :func:`derive`) and reads while it steps ``model``, made by ``mjcf``.

    Of rows' own fields, each costs a miss of the caches in every step of a row. Not read are ``actuator_acc0``, for
    muscles, ``dof_length``, for what may fall asleep, ``dof_invweight0``, for limits and friction of joints,
    ``geom_aabb``, for finding what may touch, which ``mjcf`` says; ``dof_M0`` is read for bodies whose inertia their
    posture does not change, and ``body_invweight0`` for contacts.
    """
    unread = {"actuator_acc0", "body_sameframe", "dof_invweight0", "dof_length", "geom_aabb"}
    if not model.dof_simplenum.any():
        unread |= {"dof_M0"}
    if not model.npair:
        unread |= {"body_invweight0"}
    return set(mujoco.MjModel._setconst_outputs) - unread


class NativeEngine(_Worlds):
    """The rows in a :class:`mujoco.batch.Batch`, stepped by its threads."""

    def _open(self, *watched: np.ndarray) -> None:
        self._batch = Batch(self._model, self.rows, self.threads)
        _natives.add(self._batch)
        self._fill: Callable[[], int] | None = None
        moving, failed = self._state["moving"], self._state["failed"]
        own = [self._state[name] for name in STATE_FIELDS]
        theirs = [self._batch.bind(field) for field in STATE_FIELDS.values()]
        self._give = bound(give, moving, *watched, *own, *theirs)
        self._take = bound(take, moving, failed, *own[:3], *theirs[:3])
        self._copies = [
            bound(copy_rows, moving, self._batch.bind(name).reshape(self.rows, -1), self._state[name])
            for name in self._asked
        ]

    def _write(self) -> None:
        if self._fill is None:
            self._fill = self._filling()
        while (differing := self._fill()) >= 0:
            self._batch.expand(self._shared[differing])
            self._fill = self._filling()

    def _filling(self) -> Callable[[], int]:
        """Return :func:`fill` for the rows that have changed, of which every row gets its own fields now."""
        model = copy(self._model)
        self._scratch = model, mujoco.MjData(model)
        places, own, shared = [], [], []
        self._shared: list[str] = []
        for name, index in self._fields.places:
            self._batch.expand(name)
            field = getattr(model, name)
            places.append(field.ctypes.data + field.itemsize * np.ravel_multi_index(index, field.shape))
        derived = derived_fields(model)
        only_masses = not {"body_invweight0", "dof_M0"} & derived
        parents = model.body_parentid if only_masses else model.body_parentid[:0]
        for name in {name for name, _ in self._fields.places} | derived:
            field, of_rows = getattr(model, name), self._batch.expanded(name)
            if of_rows is not None:
                own.append((field.ctypes.data, of_rows.ctypes.data, field.nbytes))
            elif field.size:
                self._shared.append(name)
                shared.append((field.ctypes.data, getattr(self._model, name).ctypes.data, field.nbytes))
        return bound(
            fill, self._changed, self._bits, self._bits.view(np.float64), *self._fields.formulas,
            np.array(places, np.int64), *(one._address for one in self._scratch), model.body_mass,
            model.body_subtreemass, parents,
            *(np.array(table, np.int64).reshape(-1, 3) for table in (own, shared)),
        )  # fmt: skip

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`."""
        if self._process != os.getpid():
            self._prepare()
        changed, count = self._give()
        if changed:
            self._write()
        if not count:
            return
        moving = self._state["moving"]
        try:
            self._batch.step(moving if count < self.rows - _STEPPED_ALONG else None, self.kernel.SUBSTEPS)
        except SimulationError as error:
            self._state["failed"][error.ids] |= moving[error.ids]
        self._take()
        for copy_left in self._copies:
            copy_left()


class SerialEngine(_Worlds):
    """The rows in a Python loop, each with a model of its own."""

    def _open(self, *watched: np.ndarray) -> None:
        self._mark = bound(mark_changed, self._state["moving"], *watched)
        self._models = [copy(self._model) for _ in range(self.rows)]
        self._data = mujoco.MjData(self._model)

    def _write(self) -> None:
        for row in np.flatnonzero(self._changed):
            for (name, index), value in zip(
                self._fields.places, self._fields.of(self._params[row : row + 1]), strict=True
            ):
                getattr(self._models[row], name)[index] = value
            derive(self._models[row], self._data)

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`."""
        if self._process != os.getpid():
            self._prepare()
        if self._mark():
            self._write()
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
