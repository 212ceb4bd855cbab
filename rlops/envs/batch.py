"""A batch of rows of one kernel: the arrays, and the compiled verbs that work on them.

Faces are thin adapters over this class; it knows no Gymnasium.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

from rlops.envs.compiling import PARALLEL_LOCK, forked, usable_threads
from rlops.envs.contract import (
    Family,
    agent_actions,
    agent_observations,
    bounds,
    info_dtype,
    parameter_dtype,
    shown_terms,
    widest,
    width,
    write_parameters,
)
from rlops.envs.loops import (
    ACT,
    ACT_AGENTS,
    ACT_OR_RESET,
    ARRAYS,
    ENDED,
    ILLEGAL,
    MALFORMED,
    NO_DATA,
    OBSERVE,
    RESET,
    RESET_KEEPING,
    STEP,
    STEP_AGENTS,
    STEP_OR_RESET,
    Rows,
    Shown,
    verbs,
)
from rlops.envs.sampling import EPISODE, TERM
from rlops.errors import EpisodeEnded, InvalidAction, InvalidValue, UnknownName

_PARALLEL_ROWS = 256
"""Rows from which threads pay for a kernel that does not state its own ``PARALLEL_ROWS``."""
_PARALLEL_ROWS_BESIDE_ENGINE = 4096
"""The same for what a kernel does beside an engine, ``PARALLEL_ROWS_BESIDE_ENGINE``: to wake threads for it costs as
much as it takes where it is light."""
_SIDES_HELD = 4
"""Sets of output buffers that a caller may hold before copies are made for it."""
_LENT_BYTES = 1 << 14
"""Size of a set of output buffers from which looking whether it is held is cheaper than copying it."""


def figure_names(kernel: Any) -> tuple[str, ...]:
    """Return the names of a kernel's key figures."""
    return tuple(column.name for column in getattr(kernel, "KPIS", ()))


def masked(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``columns``, each ``(n,)``, by name, and after ``_`` and each name the mask ``rows``, ``(n,)`` bool."""
    return columns | dict.fromkeys(_mask_names(tuple(columns)), rows)


@cache
def _mask_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"_{name}" for name in names)


class Outputs:
    """One set of output buffers: what ``n`` rows and their ``a`` agents observe, may do and get."""

    __slots__ = (
        "_free", "_lendable", "_named", "_parameters", "_places", "_shown", "_table", "_tellable", "_telling", "_terms",
        "_untold", "address", "agent_mask", "agent_obs", "agent_reward", "arrays", "drawn", "ended", "info",
        "info_bytes", "kpis", "mask", "named_kpis", "obs", "reward", "terminated", "terms", "told", "truncated",
    )  # fmt: skip
    NAMES = (
        "obs", "mask", "reward", "terminated", "truncated", "terms", "info_bytes", "agent_obs", "agent_mask",
        "agent_reward",
    )  # fmt: skip

    def __init__(self, kernel: Any, n: int, agents: int, obs: np.ndarray | None = None):
        """Allocate the buffers for ``n`` rows of ``kernel`` and ``agents`` agents each; ``obs`` may be given."""
        self.obs = np.zeros((n, width(kernel.OBSERVATION)), np.float32) if obs is None else obs
        self.mask = np.zeros((n, kernel.ACTION if hasattr(kernel, "mask") else 0), np.int8)
        self.reward = np.zeros(n)
        self.terminated = np.zeros(n, np.bool_)
        self.truncated = np.zeros(n, np.bool_)
        self.terms = np.zeros((n, shown_terms(kernel)))
        self.kpis = np.zeros((n, len(figure_names(kernel))))
        self.ended = np.zeros(n, np.bool_)
        shown = info_dtype(kernel)
        self.info_bytes = np.zeros((n, shown.itemsize), np.uint8)
        self.info = self.info_bytes.view(shown).reshape(n) if shown.itemsize else np.zeros(n, shown)
        everyone = np.ones(n, np.bool_)
        everyone.setflags(write=False)
        # What infos name, with Gymnasium's masks. Always the same views: to make them anew in every step costs more
        # than to look whether they are held.
        terms = kernel.REWARD_TERMS[: shown_terms(kernel)]
        self._terms = masked(dict(zip(terms, self.terms.T, strict=True)), everyone)
        self.named_kpis = masked(dict(zip(figure_names(kernel), self.kpis.T, strict=True)), self.ended)
        fields = {name: self.info[name] for name in shown.names or ()}
        self._named: dict[str, Any] = {}
        if hasattr(kernel, "mask"):
            self._named |= {"action_mask": self.mask, "_action_mask": everyone}
        if terms:
            self._named |= {"reward_terms": self._terms, "_reward_terms": everyone}
        self._named |= masked(fields, everyone)
        self.drawn = np.zeros((n, len(kernel.PARAMETERS)))
        self.told = np.zeros(n, np.bool_)
        self._tellable = (*(self.drawn[:, k] for k in range(len(kernel.PARAMETERS))), self.told)
        self._places: Mapping[str, int] | None = None
        self._telling = False
        self.agent_obs = np.zeros((n, agents, widest(agent_observations(kernel))), np.float32)
        numbered = getattr(kernel, "AGENT_ACTION", 0) if hasattr(kernel, "mask_agent") else 0
        self.agent_mask = np.zeros((n, agents, numbered), np.int8)
        self.agent_reward = np.zeros((n, agents))
        self._shown = (
            self.obs, self.mask, self.reward, self.terminated, self.truncated, self.terms, self.kpis, self.ended,
            self.info_bytes,
        )  # fmt: skip
        named = (self._terms, self.named_kpis, fields)
        views = (some[name] for some in named for name in some if name[0] != "_")
        self._lendable = (*self._shown, *views)
        self._free: list[int] | None = None

    def locate(self, shared: Mapping[str, np.ndarray], actions: np.dtype, threads: int) -> None:
        """Write the address table that the compiled verbs get instead of a dozen arrays."""
        self.arrays = [shared[name] if name in shared else getattr(self, name) for name in ARRAYS]
        head = [len(self.obs), len(shared["data"]), self.agent_obs.shape[1], id(actions)]
        head += [len(shared["plan"]), len(shared["plan_values"]), threads]
        self._table = np.array(head + [array.ctypes.data for array in self.arrays], np.uint64)
        self.address = int(self._table.ctypes.data)
        if self._free is None:  # later somebody may hold them
            self._free = list(map(sys.getrefcount, self._lendable))

    def infos(self) -> dict[str, Any]:
        """Return what infos name of a step, by views."""
        infos = self._named.copy()
        if self._terms:
            infos["reward_terms"] = self._terms.copy()
        return infos

    def named_drawn(self, places: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Return drawn parameters by name, of whose columns ``places`` tells the number, with masks, by views."""
        if self._places is not places:  # nobody holds a set that has just been written
            self._places = places
            self._parameters = masked({name: self._tellable[k] for name, k in places.items()}, self.told)
            self._untold = list(map(sys.getrefcount, self._tellable))
        self._telling = True
        return self._parameters.copy()

    @property
    def held(self) -> bool:
        """Whether anybody but this object refers to the arrays of the rows, itself or through a view."""
        if self._telling:  # else nobody was given parameters since nobody had them
            self._telling = list(map(sys.getrefcount, self._tellable)) != self._untold
            if self._telling:
                return True
        return list(map(sys.getrefcount, self._lendable)) != self._free

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays of the rows that every step writes."""
        return sum(array.nbytes for array in self._shown)

    def copy_from(self, other: Outputs) -> None:
        """Take over what ``other`` shows."""
        for name in self.NAMES:
            np.copyto(getattr(self, name), getattr(other, name))


Verb = Callable[[int, int, int], int]
"""Takes the address of a table, the ``id`` of an array of actions, and which verb to do."""


def _called(verb: Any, address: int, actions: int, number: int) -> tuple[Verb, int]:
    """Let Numba's dispatcher call ``verb``; return what it called, and what came back.

    The dispatcher looks at the types of all arguments, which costs as much as a light kernel's step.
    """
    code = int(verb(address, actions, number))
    (signature,) = verb.signatures
    return verb.overloads[signature].entry_point, code


def _as_numbers(records: np.ndarray) -> np.ndarray:
    """Return parameter records, whose fields all have eight bytes, read as float64, ``(n, k)``."""
    return records.view(np.ndarray).view(np.float64).reshape(len(records), -1)


class Batch:
    """``n`` rows of one version of a family.

    Attributes:
        params: Parameter records in force, ``(n,)``.
        base: Sticky parameter records, ``(n,)``: what every episode starts from.
        state: State records, ``(n,)``. Saving, loading and cloning an environment is copying its row.
        data: Records that all rows share and only read, for example a user's bookings.
        plan, plan_values: What parameters are drawn from (:mod:`rlops.envs.sampling`); empty: none are drawn.
        numbers, usual: ``params`` and ``base`` read as float64, ``(n, k)``.
        out: What the last verb wrote (:class:`Outputs`). Two sets of these buffers take turns, so what one step
            returned stays intact during the next.
        actions: An array of the type and shape that :meth:`step` takes, for the caller to write into.
        lent: Whether ``out`` may be handed to the caller as it is, and stays intact as long as it is held: only with
            ``lends``, where the next set is always one that nobody holds any more. Without, what is to stay must be
            copied.
    """

    def __init__(
        self,
        family: Family,
        number: int,
        rows: int,
        *,
        params: Mapping[str, Any] | None = None,
        data: Any = None,
        threads: int | None = None,
        variant: str | None = None,
        lends: bool = False,
        agents: bool = False,
        engine: str | None = None,
    ):
        """Allocate ``rows`` rows; nothing runs before the first reset.

        Args:
            family: Family of the version.
            number: N of ``-vN``.
            rows: How many.
            params: Nominal parameters that should differ from the version's.
            data: The kernel's own data option.
            threads: Threads that share the rows; None: by the number of rows.
            variant: Name of the version's variant; None: the version itself.
            lends: Whether output buffers are lent to the caller instead of being copied for it, where that is faster.
            agents: Whether there are buffers for what agents observe, may do and get.
            engine: Name of the physics engine, one of the kernel's ``ENGINES``; None: its first.
        """
        if not isinstance(rows, (int, np.integer)) or rows < 1:
            raise InvalidValue(f"num_envs must be a whole number of at least 1, got {rows!r}.")
        self.family, self.number, self.rows = family, number, int(rows)
        self.variant = variant
        self.kernel = family.kernel(number, variant)
        self.id = f"rlops/{family.name}-v{number}"
        self.engine = self._checked_engine(engine)
        self.threads = self._checked_threads(threads)
        self.base = self._records(parameter_dtype(self.kernel.PARAMETERS), self.rows)
        self.base[:] = family.nominal(number)
        if params is not None:
            write_parameters(self.base, self.kernel.PARAMETERS, params, self.id)
        self.params = self._records(self.base.dtype, self.rows)
        self.params[:] = self.base
        self.state = self._records(self.kernel.STATE, self.rows)
        self.data = self._records(getattr(self.kernel, "DATA", NO_DATA), 0)
        self.started = np.zeros(self.rows, np.bool_)
        self.plan, self.plan_values = self._records(TERM, 0), np.zeros(0)
        self._lends, self._agents = lends, len(getattr(self.kernel, "AGENTS", ())) if agents else 0
        self._every_row = np.ones(self.rows, np.bool_)
        self._bind()
        if data is not None:
            self.set_data(data)

    def _checked_engine(self, engine: str | None) -> str:
        """Return the name of the engine, empty for a kernel that needs none."""
        engines = getattr(self.kernel, "ENGINES", ())
        if engine is None:
            return engines[0] if engines else ""
        if engine not in engines:
            raise UnknownName("engine", engine, engines, self.id)
        return engine

    def _checked_threads(self, threads: int | None) -> int:
        usable = usable_threads()
        if threads is None:
            worth_it = self.rows >= getattr(self.kernel, "PARALLEL_ROWS", _PARALLEL_ROWS)
            return usable if worth_it else 1
        if not isinstance(threads, (int, np.integer)) or threads < 1:
            raise InvalidValue(f"threads must be None or a whole number of at least 1, got {threads!r}.")
        return min(int(threads), usable)

    def _records(self, dtype: np.dtype, n: int) -> np.ndarray:
        rows = np.zeros(n, dtype)
        return rows.view(np.recarray) if numba.config.DISABLE_JIT and dtype.names else rows

    def _bind(self) -> None:
        """Allocate the output buffers and the address tables of the compiled verbs."""
        self._verbs = verbs(self.kernel)
        self._do: Verb = self._first_call
        self._threaded: Verb | None = None
        self._engine = self._opened_engine()
        least = getattr(self.kernel, "PARALLEL_ROWS_BESIDE_ENGINE", _PARALLEL_ROWS_BESIDE_ENGINE)
        on_threads = self.threads > 1 and (self._engine is None or self.rows >= least)
        self._step: Verb = self._step_on_threads if on_threads else self._first_call
        action = self.kernel.ACTION
        self._action_dtype = np.dtype(np.int64 if isinstance(action, int) else np.float64)
        shape = (self.rows,) if isinstance(action, int) else (self.rows, width(action))
        self.actions = np.zeros(shape, self._action_dtype)
        wide = widest(agent_actions(self.kernel))
        bids = (self.rows, self._agents, wide) if wide else (self.rows, self._agents)
        self.numbers, self.usual = _as_numbers(self.params), _as_numbers(self.base)
        self._shared = {
            "params": self.params, "base": self.base, "state": self.state, "data": self.data,
            "numbers": self.numbers, "usual": self.usual, "plan": self.plan, "plan_values": self.plan_values,
            "raw": self.state.view(np.uint8).view(np.ndarray).reshape(self.rows, -1),
            "chosen": np.zeros(self.rows, np.bool_), "bids": np.zeros(bids, np.float64 if wide else np.int64),
            "taken": np.zeros((self.threads, 8), np.uint64),
        }  # fmt: skip
        self._own = self.out, self._other = self._new_side(), self._new_side()
        self._given: list[Outputs] = []
        self._lends = self._lends and self.out.nbytes >= _LENT_BYTES
        self.lent = self._lends
        self._sides = [self.out, self._other]
        self._kept: Outputs | None = None

    def _new_side(self, obs: np.ndarray | None = None) -> Outputs:
        side = Outputs(self.kernel, self.rows, self._agents, obs)
        side.locate(self._shared, self._action_dtype, self.threads)
        return side

    def show_in(self, places: Sequence[np.ndarray]) -> None:
        """Let what rows observe be written into one of ``places``, ``(n, k)`` float32 each, that :meth:`turn_to` names.

        Only without ``lends``.
        """
        self._given = [self._new_side(place) for place in places]
        self._sides = [*self._own, *self._given]

    @property
    def places(self) -> int:
        """How many places :meth:`show_in` was given."""
        return len(self._given)

    def turn_to(self, place: int | None) -> bool:
        """Choose where the next step or reset writes; return whether it is the place of that number.

        What shows the present is never written over: if it lies there, and for None, own buffers are used.
        """
        given = place is not None and self._given[place] is not self.out
        self._other = self._given[place] if given else self._own[self.out is self._own[0]]  # type: ignore[index]
        return given

    def _first_call(self, address: int, actions: int, verb: int) -> int:
        """Call through Numba's dispatcher, which compiles; later calls go to the compiled function directly."""
        if numba.config.DISABLE_JIT:
            return self._interpreted(actions, verb)
        self._do, code = _called(self._verbs.do, address, actions, verb)
        if self._step == self._first_call:
            self._step = self._do
        return code

    def _interpreted(self, actions: int, verb: int) -> int:
        """Do in Python what the compiled verbs do."""
        given = ctypes.cast(actions, ctypes.py_object).value if actions else self.actions
        if given.shape != self.actions.shape or given.dtype != self._action_dtype:
            return MALFORMED
        arrays = dict(zip(ARRAYS, self.out.arrays, strict=True))
        rows, shown = (kind(*(arrays[name] for name in kind._fields)) for kind in (Rows, Shown))
        return int(self._verbs.do(rows, shown, arrays["chosen"], arrays["bids"], given, verb))

    def _step_on_threads(self, address: int, actions: int, verb: int) -> int:
        if forked():  # a fork of the process that chose threads
            return self._do(address, actions, verb)
        with PARALLEL_LOCK:
            if self._threaded is not None:
                return self._threaded(address, actions, verb)
            self._threaded, code = _called(self._verbs.step_on_threads, address, actions, verb)
            return code

    def _opened_engine(self) -> Any:
        if not self.engine:
            return None
        from rlops.envs.robotics.engines import open_engine

        return open_engine(self.engine, self.kernel, self.params, self.state, self.threads)

    def _for_rows(self, verb: int, rows: np.ndarray) -> None:
        self._shared["chosen"][:] = rows
        self._do(self.out.address, 0, verb)

    # -- verbs ---------------------------------------------------------------------------------------------

    def reset(self, rows: np.ndarray | None = None, override: Mapping[str, Any] | None = None) -> None:
        """Start the next episode of ``rows`` (n,) bool (default: all), other rows keep what they show.

        The episode's key comes from ``state["seed"]`` and the episode number; :meth:`seed` sets both. ``override`` are
        parameters for this episode only; the others are the sticky ones, or what a plan draws.
        """
        if rows is None:
            rows = self._every_row
        if override is not None:
            self._override(rows, override)
        self._turn(rows)
        self._for_rows(RESET if override is None else RESET_KEEPING, rows)
        self.started |= rows

    def _override(self, rows: np.ndarray, values: Mapping[str, Any]) -> None:
        """Write the parameters that the next episode of ``rows`` begins with, ``values`` among them."""
        checked = self.check_override(values, rows)
        self.params[rows] = self.base[rows]
        if len(self.plan):
            self._verbs.draw_next(self.plan, self.plan_values, self.numbers, self.usual, self.state, rows)
        for name in values:
            self.params[name][rows] = checked[name]

    def observe(self, rows: np.ndarray | None = None) -> None:
        """Write what ``rows`` observe now, for example after their state was loaded."""
        if rows is None:
            rows = self._every_row
        self._turn(rows)
        self._for_rows(OBSERVE, rows)

    def _turn(self, rows: np.ndarray) -> None:
        """Go to other buffers, taking along what the rows not in ``rows`` show.

        What they observe is written anew: whoever has the old buffers may have written into them.
        """
        before = self.out
        self._go_on()
        if not rows.all():
            self.out.copy_from(before)
            self._for_rows(OBSERVE, ~rows & self.started)

    def _go_on(self) -> None:
        """Go to the other buffers, or, if buffers are lent, to some that nobody holds."""
        if not self._lends:
            self.out, self._other = self._other, self.out
            return
        for side in self._sides:
            if side is not self.out and not side.held:
                self.out, self.lent = side, True
                return
        self.lent = len(self._sides) < _SIDES_HELD
        if self.lent:
            self._sides.append(self._new_side())
            self.out = self._sides[-1]
        else:
            self.out = self._kept = self._kept or self._new_side()

    def restart(self, rows: np.ndarray) -> None:
        """Start the next episode of ``rows`` within the buffers of the step that ended them."""
        self._for_rows(RESET, rows)

    def step(self, actions: np.ndarray, next_step: bool) -> int:
        """Move every row one step and return how many ended with it.

        Args:
            actions: ``(n,)`` int64 for a discrete action, ``(n, d)`` float64 for a vector. For an array of another type
                or shape nothing is done and ``MALFORMED`` is returned.
            next_step: Whether rows that ended before are reset; otherwise stepping them is an error.

        Raises:
            InvalidAction: If an action is out of range; no row has been moved then.
            EpisodeEnded: If a row has ended and ``next_step`` is false; no row has been moved then.
        """
        before = self.out
        if self._lends:
            self._go_on()
        else:  # what _go_on does then, without the call, which few rows would feel
            self.out, self._other = self._other, before
        if self._engine is None:
            code = self._step(self.out.address, id(actions), STEP_OR_RESET if next_step else STEP)
        else:
            code = self._step(self.out.address, id(actions), ACT_OR_RESET if next_step else ACT)
            if code >= 0:
                self._engine.advance()
                code = self._step(self.out.address, id(actions), STEP_OR_RESET)
        if code < 0:
            self.out, self._other = before, self.out
            if code != MALFORMED:
                self._refuse(-code, actions)
        return code

    @property
    def agents(self) -> int:
        """How many agents' buffers there are; 0 for a batch that is not stepped by agents."""
        return self._agents

    @property
    def bids(self) -> np.ndarray:
        """Actions of the agents, ``(n, a)`` int64 or ``(n, a, w)`` float64."""
        bids: np.ndarray = self._shared["bids"]
        return bids

    def step_agents(self, actions: np.ndarray) -> None:
        """Move every row one step from one action an agent within its range, ``(n, a)`` or ``(n, a, w)``."""
        self._go_on()
        self.bids[:] = actions
        if self._engine is not None:
            self._do(self.out.address, 0, ACT_AGENTS)
            self._engine.advance()
        self._do(self.out.address, 0, STEP_AGENTS)

    def _refuse(self, code: int, actions: np.ndarray) -> None:
        """Raise what a negative code of the compiled step means."""
        if code >= ENDED:
            row = code - ENDED
            hint = ", with options={'reset_mask': …}" if self.rows > 1 else ""
            raise EpisodeEnded(
                f"{self.id}: row {row} must be within an episode to step, but its episode has ended. "
                f"Call reset first{hint}."
            )
        row = code - ILLEGAL
        if not isinstance(self.kernel.ACTION, int):
            low, high = bounds(self.kernel.ACTION)
            column = int(np.flatnonzero(~((actions[row] >= low) & (actions[row] <= high)))[0])
            raise InvalidAction(
                f"{self.id}: component {column} of the action of row {row} must be within [{low[column]:g}, "
                f"{high[column]:g}], got {actions[row, column]} at step {self.state['steps'][row]}."
            )
        raise InvalidAction(
            f"{self.id}: the action of row {row} must be within 0 … {self.kernel.ACTION - 1}, got {actions[row]} "
            f"at step {self.state['steps'][row]}. Sample from the action space, or use the action mask."
        )

    # -- rows ----------------------------------------------------------------------------------------------

    def seed(self, rows: np.ndarray, seeds: list[int]) -> None:
        """Give ``rows`` (m,) int indices new ``seeds``; their next episode is the first of that seed."""
        self.state["seed"][rows] = np.array([seed & (2**64 - 1) for seed in seeds], np.uint64)
        self.state["episode"][rows] = -1

    def check_override(self, values: Mapping[str, Any], rows: np.ndarray) -> np.ndarray:
        """Return the records ``(m,)`` of ``rows`` (n,) bool with ``values``, which an episode can be given.

        Raises:
            UnknownName: If there is no such parameter.
            InvalidValue: If a value is outside its hard bounds, or the parameter is drawn again within an episode.
        """
        checked: np.ndarray = self.base[rows]
        write_parameters(checked, self.kernel.PARAMETERS, values, self.id)
        for term in self.plan:
            name = self.kernel.PARAMETERS[int(term["parameter"])].name
            if name in values and term["per"] != EPISODE:
                raise InvalidValue(
                    f"{self.id}: parameter {name} must not be overridden, as it is drawn again within an episode. "
                    "Leave it out of options['params'], or randomize it per episode."
                )
        return checked

    def set_params(self, values: Mapping[str, Any], rows: np.ndarray | None = None) -> None:
        """Change the sticky parameters of ``rows`` (n,) bool (default: all) from their next episode on."""
        rows = self._every_row if rows is None else rows
        changed = self.base[rows]
        write_parameters(changed, self.kernel.PARAMETERS, values, self.id)
        self.base[rows] = changed

    def set_data(self, value: Any) -> None:
        """Let all rows share ``value`` (what the kernel's ``data_from`` takes) from their next episode on."""
        option = getattr(self.kernel, "DATA_OPTION", None)
        if option is None:
            raise UnknownName("option", "data", (), self.id)
        self.data = self._records(self.kernel.DATA, 0) if value is None else self.kernel.data_from(value)
        if numba.config.DISABLE_JIT:
            self.data = self.data.view(np.recarray)
        self._shared["data"] = self.data
        self._locate()

    def _locate(self) -> None:
        """Write the address tables again, after shared arrays have been replaced."""
        for side in (*self._sides, *([self._kept] if self._kept else [])):
            side.locate(self._shared, self._action_dtype, self.threads)

    def set_plan(self, plan: np.ndarray, values: np.ndarray) -> None:
        """Let every row draw parameters from its next episode on (:mod:`rlops.envs.sampling`); empty arrays end it.

        The arrays are used as they are: from what is written into them later the next episode draws.
        """
        if hasattr(self.kernel, "advance_rows"):
            raise InvalidValue(f"{self.id} has a loop over rows of its own, which draws no parameters.")
        self.plan = plan.view(np.recarray) if numba.config.DISABLE_JIT else plan
        self.plan_values = values
        self._shared |= {"plan": self.plan, "plan_values": self.plan_values}
        self._locate()

    @property
    def row_dtype(self) -> np.dtype:
        """Record dtype of a saved row."""
        return np.dtype([("params", self.params.dtype), ("base", self.base.dtype), ("state", self.state.dtype)])

    def save(self, rows: Any = slice(None)) -> np.ndarray:
        """Return a copy of ``rows`` (an index, a list of indices, a mask or a slice) as records ``(len(rows),)``."""
        index = np.atleast_1d(np.arange(self.rows)[rows])
        saved = np.zeros(len(index), self.row_dtype)
        for name in ("params", "base", "state"):
            saved[name] = getattr(self, name)[index]
        return saved

    def load(self, saved: np.ndarray, rows: Any = slice(None)) -> None:
        """Put ``saved`` rows (or one row, for all) in place of ``rows`` and observe them.

        Raises:
            InvalidValue: If ``saved`` comes from another kernel, or its length fits neither 1 nor ``rows``.
        """
        index = np.atleast_1d(np.arange(self.rows)[rows])
        if not isinstance(saved, np.ndarray) or saved.dtype != self.row_dtype:
            raise InvalidValue(
                f"{self.id}: a saved state must be what save_state of the same id returned, "
                f"got {getattr(saved, 'dtype', type(saved).__name__)}."
            )
        if saved.shape not in ((len(index),), (1,)):
            raise InvalidValue(f"{self.id}: {len(index)} saved rows must be given, or one for all, got {saved.shape}.")
        for name in ("params", "base", "state"):
            getattr(self, name)[index] = saved[name]
        mask = np.zeros(self.rows, np.bool_)
        mask[index] = True
        self.started |= mask
        self.observe(mask)
        self.out.terminated[index] = self.state["terminated"][index]
        self.out.truncated[index] = self.state["truncated"][index]

    def context(self) -> np.ndarray:
        """Return the hidden context of every row, ``(n, width(CONTEXT))``."""
        out = np.zeros((self.rows, width(getattr(self.kernel, "CONTEXT", ()))))
        if out.size:
            self._verbs.context(self.params, self.state, self.data, out)
        return out

    def __getstate__(self) -> dict[str, Any]:
        names = (
            "family", "number", "variant", "rows", "id", "threads", "base", "params", "state", "data", "started",
            "plan", "plan_values", "_lends", "_agents", "engine",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "shown": {name: getattr(self.out, name) for name in Outputs.NAMES}
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        shown = saved.pop("shown")
        self.__dict__.update(saved)
        self.kernel = self.family.kernel(self.number, self.variant)
        self.threads = min(self.threads, usable_threads())
        self._every_row = np.ones(self.rows, np.bool_)
        self._bind()
        for name, array in shown.items():
            np.copyto(getattr(self.out, name), array)
