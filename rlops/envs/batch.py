"""A batch of rows of one kernel: the arrays, and the compiled verbs that work on them.

Faces are thin adapters over this class; it knows no Gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np

from rlops.envs.compiling import PARALLEL_LOCK, usable_threads
from rlops.envs.contract import Family, parameter_dtype, width, write_parameters
from rlops.envs.loops import (
    ARRAYS,
    ENDED,
    ILLEGAL,
    NO_DATA,
    OBSERVE,
    RESET,
    RESET_KEEPING,
    STEP,
    STEP_AGENTS,
    STEP_OR_RESET,
    verbs,
)
from rlops.errors import EpisodeEnded, InvalidAction, InvalidValue, UnknownName

_PARALLEL_ROWS = 256
"""Rows from which threads pay for a kernel that does not state its own ``PARALLEL_ROWS``."""


class Outputs:
    """One set of output buffers: what ``n`` rows and their ``a`` agents observe, may do and get."""

    __slots__ = ("agent_mask", "agent_obs", "agent_reward", "mask", "obs", "reward", "terminated", "truncated")

    def __init__(self, kernel: Any, n: int):
        """Allocate the buffers for ``n`` rows of ``kernel``."""
        agents = len(getattr(kernel, "AGENTS", ()))
        agent_columns = width(getattr(kernel, "AGENT_OBSERVATION", ()))
        self.obs = np.zeros((n, width(kernel.OBSERVATION)), np.float32)
        self.mask = np.zeros((n, kernel.ACTION if hasattr(kernel, "mask") else 0), np.int8)
        self.reward = np.zeros(n)
        self.terminated = np.zeros(n, np.bool_)
        self.truncated = np.zeros(n, np.bool_)
        self.agent_obs = np.zeros((n, agents, agent_columns), np.float32)
        self.agent_mask = np.zeros((n, agents, getattr(kernel, "AGENT_ACTION", 0)), np.int8)
        self.agent_reward = np.zeros((n, agents))

    def copy_from(self, other: Outputs) -> None:
        """Take over what ``other`` shows."""
        for name in self.__slots__:
            np.copyto(getattr(self, name), getattr(other, name))


class Batch:
    """``n`` rows of one version of a family.

    Attributes:
        params: Parameter records in force, ``(n,)``.
        base: Sticky parameter records, ``(n,)``: what every episode starts from.
        state: State records, ``(n,)``. Saving, loading and cloning an environment is copying its row.
        data: Records that all rows share and only read, for example a user's bookings.
        out: What the last verb wrote (:class:`Outputs`). Two sets of these buffers take turns, so what one step
            returned stays intact during the next.
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
    ):
        """Allocate ``rows`` rows, of the version's ``variant`` if one is named; nothing runs before the first reset."""
        if not isinstance(rows, (int, np.integer)) or rows < 1:
            raise InvalidValue(f"num_envs must be a whole number of at least 1, got {rows!r}.")
        self.family, self.number, self.rows = family, number, int(rows)
        self.variant = variant
        self.kernel = family.kernel(number, variant)
        self.id = f"rlops/{family.name}-v{number}"
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
        self._every_row = np.ones(self.rows, np.bool_)
        self._bind()
        if data is not None:
            self.set_data(data)

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
        self._sides = [Outputs(self.kernel, self.rows) for _ in range(2)]
        self._verbs = verbs(self.kernel)
        self._do: Callable[[int, np.ndarray, int], int] = self._first_call
        self._step: Callable[[int, np.ndarray, int], int] = (
            self._first_call if self.threads == 1 else self._step_on_threads
        )
        action = self.kernel.ACTION
        self._no_actions = (
            np.zeros(self.rows, np.int64) if isinstance(action, int) else np.zeros((self.rows, width(action)))
        )
        self._chosen = np.zeros(self.rows, np.bool_)
        self._bids = np.zeros((self.rows, len(getattr(self.kernel, "AGENTS", ()))), np.int64)
        self._raw = self.state.view(np.uint8).view(np.ndarray).reshape(self.rows, -1)
        self._side = 0
        self._locate()

    def _locate(self) -> None:
        """Write the address tables: what the compiled verbs get instead of a dozen arrays."""
        shared = {
            "params": self.params, "base": self.base, "state": self.state, "raw": self._raw, "data": self.data,
            "rows": self._chosen, "bids": self._bids,
        }  # fmt: skip
        self._arrays = [
            [shared[name] if name in shared else getattr(side, name) for name in ARRAYS] for side in self._sides
        ]
        self._tables = [
            np.array([self.rows, len(self.data), *(x.ctypes.data for x in arrays)], np.uint64)
            for arrays in self._arrays
        ]
        self._addresses = [int(table.ctypes.data) for table in self._tables]
        self._show(self._side)

    def _show(self, side: int) -> None:
        self._side = side
        self.out = self._sides[side]

    def _first_call(self, address: int, actions: np.ndarray, verb: int) -> int:
        """Call through Numba's dispatcher, which compiles; later calls go to the compiled function directly.

        The dispatcher looks at the types of all arguments, which costs as much as a light kernel's step; the face
        has made sure of them.
        """
        if numba.config.DISABLE_JIT:
            return int(self._verbs.do(*self._arrays[self._addresses.index(address)], actions, verb))
        code = int(self._verbs.do(address, actions, verb))
        (signature,) = self._verbs.do.signatures
        self._do = self._verbs.do.overloads[signature].entry_point
        if self.threads == 1:
            self._step = self._do
        return code

    def _step_on_threads(self, address: int, actions: np.ndarray, verb: int) -> int:
        if usable_threads() == 1:  # a fork of the process that chose threads
            return self._do(address, actions, verb)
        with PARALLEL_LOCK:
            numba.set_num_threads(self.threads)
            return int(self._verbs.do_parallel(address, actions, verb))

    def _for_rows(self, verb: int, rows: np.ndarray) -> None:
        self._chosen[:] = rows
        self._do(self._addresses[self._side], self._no_actions, verb)

    # -- verbs ---------------------------------------------------------------------------------------------

    def reset(self, rows: np.ndarray | None = None, keep_params: bool = False) -> None:
        """Start the next episode of ``rows`` (n,) bool (default: all), other rows keep what they show.

        The episode's key comes from ``state["seed"]`` and the episode number; :meth:`seed` sets both.
        """
        if rows is None:
            rows = self._every_row
        self._turn(rows)
        self._for_rows(RESET_KEEPING if keep_params else RESET, rows)
        self.started |= rows

    def observe(self, rows: np.ndarray | None = None) -> None:
        """Write what ``rows`` observe now, for example after their state was loaded."""
        if rows is None:
            rows = self._every_row
        self._turn(rows)
        self._for_rows(OBSERVE, rows)

    def _turn(self, rows: np.ndarray) -> None:
        """Go to the other buffers, taking along what the rows not in ``rows`` show."""
        before = self.out
        self._show(1 - self._side)
        if not rows.all():
            self.out.copy_from(before)

    def restart(self, rows: np.ndarray) -> None:
        """Start the next episode of ``rows`` within the buffers of the step that ended them."""
        self._for_rows(RESET, rows)

    def step(self, actions: np.ndarray, next_step: bool) -> int:
        """Move every row one step and return how many ended with it.

        Args:
            actions: ``(n,)`` int64 for a discrete action, ``(n, d)`` float64 for a vector, already of the right type
                and shape.
            next_step: Whether rows that ended before are reset; otherwise stepping them is an error.

        Raises:
            InvalidAction: If a discrete action is out of range; no row has been moved then.
            EpisodeEnded: If a row has ended and ``next_step`` is false; no row has been moved then.
        """
        side = self._side = 1 - self._side
        self.out = self._sides[side]
        code = self._step(self._addresses[side], actions, STEP_OR_RESET if next_step else STEP)
        if code < 0:
            self._refuse(-code, actions)
        return code

    def step_agents(self, actions: np.ndarray) -> None:
        """Move every row one step from one action an agent, ``(n, a)`` int64 within range."""
        self._show(1 - self._side)
        self._bids[:] = actions
        self._do(self._addresses[self._side], self._no_actions, STEP_AGENTS)

    def _refuse(self, code: int, actions: np.ndarray) -> None:
        """Raise what a negative code of the compiled step means."""
        self._show(1 - self._side)
        if code >= ENDED:
            row = code - ENDED
            hint = ", with options={'reset_mask': …}" if self.rows > 1 else ""
            raise EpisodeEnded(
                f"{self.id}: row {row} must be within an episode to step, but its episode has ended. "
                f"Call reset first{hint}."
            )
        row = code - ILLEGAL
        raise InvalidAction(
            f"{self.id}: the action of row {row} must be within 0 … {self.kernel.ACTION - 1}, got {actions[row]} "
            f"at step {self.state['steps'][row]}. Sample from the action space, or use the action mask."
        )

    # -- rows ----------------------------------------------------------------------------------------------

    def seed(self, rows: np.ndarray, seeds: list[int]) -> None:
        """Give ``rows`` (m,) int indices new ``seeds``; their next episode is the first of that seed."""
        self.state["seed"][rows] = np.array([seed & (2**64 - 1) for seed in seeds], np.uint64)
        self.state["episode"][rows] = -1

    def override_params(self, values: Mapping[str, Any], rows: np.ndarray) -> None:
        """Write parameters for the next episode of ``rows`` (n,) bool only; call ``reset(rows, keep_params=True)``."""
        changed = self.base[rows]
        write_parameters(changed, self.kernel.PARAMETERS, values, self.id)
        self.params[rows] = changed

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

    def kpis(self, rows: np.ndarray) -> np.ndarray:
        """Return the key figures, ``(n, len(KPIS))``, written for ``rows`` (n,) bool and NaN elsewhere."""
        return self._written(self._verbs.kpis, len(getattr(self.kernel, "KPIS", ())), rows)

    def context(self) -> np.ndarray:
        """Return the hidden context of every row, ``(n, width(CONTEXT))``."""
        return self._written(self._verbs.context, width(getattr(self.kernel, "CONTEXT", ())), self._every_row)

    def _written(self, verb: Any, columns: int, rows: np.ndarray) -> np.ndarray:
        out = np.full((self.rows, columns), np.nan)
        if columns:
            verb(self.params, self.state, self.data, rows, out)
        return out

    def __getstate__(self) -> dict[str, Any]:
        names = ("family", "number", "variant", "rows", "id", "threads", "base", "params", "state", "data", "started")
        return {name: getattr(self, name) for name in names} | {
            "shown": {name: getattr(self.out, name) for name in Outputs.__slots__}
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
