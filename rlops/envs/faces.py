"""The three faces of every kernel: Gymnasium ``Env``, Gymnasium ``VectorEnv``, PettingZoo ``ParallelEnv``.

Written once for all families. A face validates what comes in, hands it to a :class:`~rlops.envs.batch.Batch` and
puts what comes out into the words of its API; it knows no physics.

``info`` carries, in the single face as values and in the vector face as arrays with Gymnasium's ``_key`` masks:

* ``reward_terms``: the named terms whose sum is the reward,
* ``action_mask``: int8, 1 for every legal action (also from ``action_masks()``), where the kernel has one,
* the kernel's own scalars (``INFO``), for example ``dt_min``,
* ``context``: the hidden quantities, only with ``expose_context=True``,
* ``kpis``: the key figures, at the end of an episode.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from pettingzoo import ParallelEnv as PettingZooParallelEnv

from rlops.envs.batch import Batch, figure_names, masked
from rlops.envs.contract import (
    Column,
    Family,
    agent_actions,
    agent_observations,
    bounds,
    family,
    shown_terms,
    widest,
    width,
)
from rlops.envs.loops import MALFORMED
from rlops.errors import EpisodeEnded, InvalidAction, InvalidValue, UnknownName

if TYPE_CHECKING:
    from rlops.randomization.plan import Plan
    from rlops.randomization.schedule import Schedule

_ARRAY = np.ndarray
_ONE_ROW = np.ones(1, np.bool_)


def _space(action: int | tuple[Column, ...]) -> gym.Space[Any]:
    """Return the action space of one row."""
    if isinstance(action, int):
        return gym.spaces.Discrete(action)
    low, high = bounds(action)
    return gym.spaces.Box(low, high, dtype=np.float32)


def _box(columns: tuple[Column, ...]) -> gym.spaces.Box:
    low, high = bounds(columns)
    return gym.spaces.Box(low, high, dtype=np.float32)


class _Face:
    """What all faces share: the batch, its rows and its options."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    _batch: Batch

    def _open(
        self,
        family_or_name: Family | str,
        version: int,
        rows: int,
        *,
        params: Mapping[str, Any] | None,
        expose_context: bool,
        render_mode: str | None,
        threads: int | None,
        options: dict[str, Any],
        **batch: bool,
    ) -> None:
        known = family_or_name if isinstance(family_or_name, Family) else family(family_or_name)
        owner = f"rlops/{known.name}-v{version}"
        self._variants = tuple(getattr(known.kernel(version), "VARIANTS", ()))
        variant = self._taken_variant(options, owner)
        kernel = known.kernel(version, variant)
        self._data_option = getattr(kernel, "DATA_OPTION", None)
        modes = ["rgb_array"] if hasattr(kernel, "RENDER") else []
        if render_mode is not None and render_mode not in modes:
            raise UnknownName("render_mode", render_mode, modes, owner)
        data = options.pop(self._data_option, None) if self._data_option else None
        engine = options.pop("engine", None) if hasattr(kernel, "ENGINES") else None
        for name in options:
            raise UnknownName("option", name, self._construction_options(kernel), owner)
        self._batch = Batch(
            known, version, rows, params=params, data=data, threads=threads, variant=variant, engine=engine, **batch
        )
        self._terms = kernel.REWARD_TERMS[: shown_terms(kernel)]
        self._masked = hasattr(kernel, "mask")
        self._info_fields: tuple[str, ...] = getattr(kernel, "INFO", ())
        self._kpi_names = figure_names(kernel)
        self._context_columns = getattr(kernel, "CONTEXT", ()) if expose_context else ()
        self._expose_context = expose_context
        self._ready = False
        self._drawn: tuple[str, ...] = ()
        self._schedule: Schedule | None = None
        self.privileged: tuple[str, ...] = ()
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": modes,
            "render_fps": getattr(kernel, "RENDER_FPS", 10),
        }

    def _construction_options(self, kernel: Any) -> list[str]:
        shared = ["params", "expose_context", "render_mode", "threads", *(["engine"] * hasattr(kernel, "ENGINES"))]
        return [*shared, *([self._data_option] if self._data_option else []), *self._variants]

    def _taken_variant(self, options: dict[str, Any], owner: str) -> str | None:
        """Take the kernel's variants out of ``options`` and return the one that is asked for."""
        given = {name: options.pop(name) for name in self._variants if name in options}
        for name, value in given.items():
            if not isinstance(value, bool):
                raise InvalidValue(f"{owner}: {name} must be True or False, got {value!r}. Leave it out for False.")
        asked = [name for name, value in given.items() if value]
        if len(asked) > 1:
            raise InvalidValue(f"{owner}: one variant at most must be True, got {', '.join(asked)}. Choose one.")
        return asked[0] if asked else None

    @property
    def kernel(self) -> Any:
        """The kernel module: constants, columns and row functions."""
        return self._batch.kernel

    @property
    def family(self) -> Family:
        """The family."""
        return self._batch.family

    @property
    def version(self) -> int:
        """The version: N of ``-vN``."""
        return self._batch.number

    @property
    def engine(self) -> str:
        """The name of the physics engine; empty for a kernel that needs none."""
        return self._batch.engine

    @property
    def params(self) -> np.ndarray:
        """Parameter records in force, ``(n,)``; change them with :meth:`set_params`."""
        return self._batch.params

    @property
    def state(self) -> np.ndarray:
        """State records, ``(n,)``: everything that the rows are."""
        return self._batch.state

    @property
    def data(self) -> np.ndarray:
        """Records that all rows share and only read, for example a user's bookings."""
        return self._batch.data

    def set_params(self, params: Mapping[str, Any], ids: Any = slice(None)) -> None:
        """Change sticky parameters of the rows ``ids`` from their next episode on.

        Raises:
            UnknownName: If there is no such parameter.
            InvalidValue: If a value is outside its hard bounds.
        """
        self._batch.set_params(params, self._rows(ids))

    def draw_parameters(self, plan: Plan, shown: bool = True, privileged: tuple[str, ...] = ()) -> None:
        """Let episodes draw parameters from now on; use :func:`rlops.randomization.randomize`, which writes the plan.

        Args:
            plan: What is drawn; one without terms ends the randomization.
            shown: Whether ``info["params"]`` shows what was drawn, where an episode begins and where it ends.
            privileged: Parameters that a privileged observation has.
        """
        self._batch.set_plan(plan.terms.copy(), plan.values)
        self._drawn = plan.names if shown else ()
        self._schedule = plan.schedule
        self.privileged = privileged

    def schedule_state(self) -> dict[str, Any]:
        """Return what the schedule of the randomization remembers, ready for JSON; empty without a schedule."""
        return self._schedule.state() if self._schedule else {}

    def load_schedule_state(self, state: Mapping[str, Any]) -> None:
        """Let the schedule of the randomization go on from what :meth:`schedule_state` returned.

        Raises:
            InvalidValue: If there is no schedule, or the state belongs to another one.
        """
        if self._schedule is None:
            raise InvalidValue(
                f"{self._batch.id}: a schedule's state must be loaded into a randomization with a schedule, got none. "
                "Call randomize first."
            )
        self._schedule.load(state)
        self._schedule.write(self._batch.plan)

    def _tell_schedule(self, rows: np.ndarray) -> None:
        """Let the schedule, if there is one, take notice that the episodes of ``rows`` have ended."""
        if self._schedule is not None and self._schedule.ended(self._batch, rows):
            self._schedule.write(self._batch.plan)

    def _drawn_values(self) -> dict[str, float]:
        return {name: self._batch.params[name][0].item() for name in self._drawn}

    def save_state(self, ids: Any = slice(None)) -> np.ndarray:
        """Return a copy of the rows ``ids`` as records: parameters and state, all that an episode is."""
        return self._batch.save(ids)

    def load_state(self, saved: np.ndarray, ids: Any = slice(None)) -> np.ndarray:
        """Put ``saved`` rows in place of the rows ``ids`` and return what all rows observe, ``(n, k)``.

        One saved row clones into any number of rows.

        Raises:
            InvalidValue: If ``saved`` comes from another id or has another number of rows.
        """
        self._batch.load(saved, ids)
        self._begin()
        return self._batch.out.obs.copy()

    def _begin(self) -> None:
        """Take notice that rows have begun."""
        self._ready = bool(self._batch.started.all())

    def clone_rows(self, source: int, targets: Any) -> None:
        """Make the rows ``targets`` exact copies of the row ``source``."""
        self._batch.load(self._batch.save([source]), targets)
        self._begin()

    def _rows(self, ids: Any) -> np.ndarray:
        rows = np.zeros(self._batch.rows, np.bool_)
        rows[ids] = True
        return rows

    def _taken_reset_options(
        self, options: Mapping[str, Any] | None, rows: np.ndarray, known: list[str]
    ) -> Mapping[str, Any] | None:
        """Check ``options``, share their data, and return the parameters that are overridden for one episode."""
        if not options:
            return None
        if not isinstance(options, Mapping):
            raise InvalidValue(f"{self._batch.id}: options must be a dict or None, got {type(options).__name__}.")
        known = [*known, "params", *([self._data_option] if self._data_option else [])]
        for name in options:
            if name not in known:
                raise UnknownName("reset option", name, known, self._batch.id)
        if self._data_option and self._data_option in options:
            self._batch.set_data(options[self._data_option])
        if options.get("params") is None:
            return None
        if not isinstance(options["params"], Mapping):
            raise InvalidValue(
                f"{self._batch.id}: options['params'] must be a dict of parameter values, got {options['params']!r}."
            )
        self._batch.check_override(options["params"], rows)
        return options["params"]

    def _require_ready(self) -> None:
        if not self._ready:
            raise EpisodeEnded(f"{self._batch.id}: reset must be called before step.")

    def _rendered(self, row: int) -> np.ndarray:
        module = importlib.import_module(self.kernel.RENDER)
        batch = self._batch
        engine = {"engine": batch.engine} if batch.engine else {}
        frame: np.ndarray = module.frame(self.kernel, batch.params[row], batch.state[row], batch.data, **engine)
        return frame

    def _check_render(self) -> None:
        if self.render_mode is None:
            raise InvalidValue(
                f"{self._batch.id}: render needs render_mode='rgb_array', got None. Pass it to gymnasium.make."
            )
        self._require_ready()


class Env(_Face, gym.Env[np.ndarray, Any]):
    """The single-environment face: a batch of one row.

    Made by ``gymnasium.make("rlops/Dispatch-v2", params={...}, demand="trips.csv", ...)``.
    """

    def __init__(
        self,
        family: Family | str,
        version: int,
        *,
        params: Mapping[str, Any] | None = None,
        expose_context: bool = False,
        render_mode: str | None = None,
        threads: int | None = None,
        **options: Any,
    ):
        """Make one environment of a family's version.

        Args:
            family: The family or its name.
            version: N of ``-vN``.
            params: Nominal parameters that should differ from the version's.
            expose_context: Whether ``info["context"]`` shows the hidden quantities.
            render_mode: ``"rgb_array"`` or None.
            threads: Ignored for one row; accepted so that both faces take the same keywords.
            options: The kernel's own options, for example ``demand=``, and its variants, for example
                ``allow_decline=True``.

        Raises:
            UnknownName: For an unknown version, parameter, option or render mode.
            InvalidValue: For a value that does not fit.
        """
        self._open(
            family, version, 1, params=params, expose_context=expose_context, render_mode=render_mode, threads=1,
            options=options,
        )  # fmt: skip
        self.action_space = _space(self.kernel.ACTION)
        self.observation_space = _box(self.kernel.OBSERVATION)
        self._discrete = isinstance(self.kernel.ACTION, int)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Starts the first episode of that seed; without it the next episode of the last seed begins.
            options: ``params`` overrides parameters for this episode; the kernel's own option replaces the shared
                data.
        """
        super().reset(seed=seed)
        row = np.ones(1, np.bool_)
        override = self._taken_reset_options(options, row, [])
        if seed is not None:
            self._batch.seed(np.array([0]), [seed])
        elif not self._batch.started[0]:
            self._batch.seed(np.array([0]), [int(self.np_random.integers(2**63))])
        self._batch.reset(row, override)
        self._begin()
        return self._batch.out.obs[0].copy(), self._info(stepped=False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move one step.

        Raises:
            InvalidAction: If ``action`` is not in the action space.
            EpisodeEnded: If the episode has ended or none was begun.
        """
        self._require_ready()
        self._write_action(action)
        batch = self._batch
        ended = batch.step(batch.actions, False)
        out = batch.out
        info = self._info(stepped=True)
        if ended and self._kpi_names:
            info["kpis"] = dict(zip(self._kpi_names, out.kpis[0].tolist(), strict=True))
        if ended and self._drawn:
            info["params"] = self._drawn_values()
        if ended:
            self._tell_schedule(_ONE_ROW)
        return out.obs[0].copy(), float(out.reward[0]), bool(out.terminated[0]), bool(out.truncated[0]), info

    def _write_action(self, action: Any) -> None:
        if self._discrete:
            if isinstance(action, (int, np.integer)) and not isinstance(action, (bool, np.bool_)):
                self._batch.actions[0] = action if -1 <= action <= self.kernel.ACTION else -1
                if 0 <= action < self.kernel.ACTION:
                    return
            elif isinstance(action, np.ndarray) and action.size == 1 and action.dtype.kind in "iu":
                return self._write_action(int(action.reshape(())))
            raise InvalidAction(
                f"{self._batch.id}: the action must be an integer within 0 … {self.kernel.ACTION - 1}, "
                f"got {action!r} at step {self.state['steps'][0]}. "
                "Sample from the action space, or use the action mask."
            )
        array = np.asarray(action)
        if array.shape != self.action_space.shape:
            raise InvalidAction(
                f"{self._batch.id}: an action must have shape {self.action_space.shape}, got {array.shape}."
            )
        _require_numbers(array, self._batch, "an action")
        self._batch.actions[0] = array

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal now, ``(m,)`` bool; the name that sb3-contrib looks for."""
        return np.asarray(self._batch.out.mask[0], np.bool_)

    def _info(self, stepped: bool) -> dict[str, Any]:
        state = self._batch.state
        info: dict[str, Any] = {}
        if self._masked:
            info["action_mask"] = self._batch.out.mask[0].copy()
        if stepped and self._terms:
            info["reward_terms"] = dict(zip(self._terms, state["terms"][0].tolist(), strict=True))
        for name in self._info_fields:
            info[name] = state[name][0].item()
        if self._context_columns:
            info["context"] = _named(self._context_columns, self._batch.context()[0])
        if not stepped and self._drawn:
            info["params"] = self._drawn_values()
        return info

    def render(self) -> np.ndarray:
        """Return the picture of the present state, ``(height, width, 3)`` uint8."""
        self._check_render()
        return self._rendered(0)


class VectorEnv(_Face, gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """The vector face: ``n`` rows stepped by one compiled call.

    Made by ``gymnasium.make_vec("rlops/Dispatch-v2", num_envs=1024, autoreset_mode=..., copy=...)``.

    Row ``i`` equals the single environment with seed ``s + i``, bit for bit, for any number of rows and threads.

    Attributes:
        final_params: With SAME_STEP, the parameter records of the rows that ended last, as they were then.
    """

    final_params: np.ndarray

    def __init__(
        self,
        family: Family | str,
        version: int,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        params: Mapping[str, Any] | None = None,
        expose_context: bool = False,
        render_mode: str | None = None,
        threads: int | None = None,
        **options: Any,
    ):
        """Make ``num_envs`` rows of a family's version.

        Args:
            family: The family or its name.
            version: N of ``-vN``.
            num_envs: How many rows.
            autoreset_mode: NEXT_STEP (default), SAME_STEP or DISABLED, as in Gymnasium.
            copy: Whether ``reset`` and ``step`` return copies. Without copies the returned observations, rewards,
                flags and infos are overwritten by the second step after them.
            params: Nominal parameters; one value for all rows, or one for each.
            expose_context: Whether ``infos["context"]`` shows the hidden quantities.
            render_mode: ``"rgb_array"`` or None.
            threads: Threads that share the rows; by default one below a measured number of rows, else all
                cores. The result does not depend on it.
            options: The kernel's own options, for example ``demand=``, and its variants, for example
                ``allow_decline=True``.

        Raises:
            UnknownName: For an unknown version, parameter, option or render mode.
            InvalidValue: For a value that does not fit.
        """
        self._open(
            family, version, num_envs, params=params, expose_context=expose_context, render_mode=render_mode,
            threads=threads, options=options, lends=copy,
        )  # fmt: skip
        try:
            mode = AutoresetMode(autoreset_mode)
        except ValueError:
            raise UnknownName(
                "autoreset_mode", autoreset_mode, [m.value for m in AutoresetMode], self._batch.id
            ) from None
        self.num_envs = self._batch.rows
        self.autoreset_mode = mode
        self.metadata["autoreset_mode"] = mode
        self.copy = copy
        self.single_action_space = _space(self.kernel.ACTION)
        self.single_observation_space = _box(self.kernel.OBSERVATION)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._discrete = isinstance(self.kernel.ACTION, int)
        self._action_shape = (self.num_envs, *(self.single_action_space.shape or ()))
        self._next_step = mode is AutoresetMode.NEXT_STEP
        self._same_step = mode is AutoresetMode.SAME_STEP
        informed = self._masked or self._terms or self._info_fields or self._kpi_names or self._context_columns
        self._bare = not (informed or self._same_step)
        self._beginning = False
        self._all = np.ones(self.num_envs, np.bool_)
        self._all.setflags(write=False)

    def _construction_options(self, kernel: Any) -> list[str]:
        return [*super()._construction_options(kernel), "num_envs", "autoreset_mode", "copy"]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every row, or in the rows of ``options["reset_mask"]``.

        Args:
            seed: Row ``i`` gets ``seed + i``, or its entry of a sequence; rows without a seed go on to
                the next episode of the seed that they have.
            options: ``reset_mask`` (n,) bool chooses rows; ``params`` overrides parameters for this episode; the
                kernel's own option replaces the shared data.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        rows = self._reset_mask(options)
        seeds = self._seeds(seed)
        override = self._taken_reset_options(options, rows, ["reset_mask"])
        batch = self._batch
        given = [i for i, s in enumerate(seeds) if s is not None and rows[i]]
        fresh = [i for i in range(self.num_envs) if rows[i] and seeds[i] is None and not batch.started[i]]
        if fresh:
            drawn = self.np_random.integers(2**63, size=len(fresh)).tolist()
            batch.seed(np.array(fresh), drawn)
        if given:
            batch.seed(np.array(given), [int(seeds[i]) for i in given])  # type: ignore[arg-type]
        batch.reset(rows, override)
        self._begin()
        infos = self._infos(rows, stepped=False)
        if self._drawn:
            self._tell_params(infos)
        return batch.out.obs.copy() if self.copy and not batch.lent else batch.out.obs, infos

    def _begin(self) -> None:
        super()._begin()
        out = self._batch.out
        self._beginning = self._next_step and bool((out.terminated | out.truncated).any())

    def _reset_mask(self, options: Mapping[str, Any] | None) -> np.ndarray:
        if not options or "reset_mask" not in options:
            return self._all
        mask = options["reset_mask"]
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise InvalidValue(
                f"{self._batch.id}: options['reset_mask'] must be a bool array of shape ({self.num_envs},), got "
                f"{f'{mask.dtype} of shape {mask.shape}' if isinstance(mask, np.ndarray) else repr(mask)}."
            )
        if not mask.any():
            raise InvalidValue(f"{self._batch.id}: options['reset_mask'] must choose at least one row, got none.")
        return mask

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            if seed < 0:
                raise InvalidValue(f"{self._batch.id}: seed must not be negative, got {seed}.")
            return [int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise InvalidValue(
                f"{self._batch.id}: a sequence of seeds must have one entry a row, {self.num_envs}, got {len(seed)}."
            )
        return seed

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every row one step.

        Args:
            actions: ``(n,)`` of any integer type for a discrete action, ``(n, d)`` of numbers for a vector.

        Returns:
            Observations ``(n, k)`` float32, rewards ``(n,)`` float64, terminated and truncated ``(n,)`` bool, infos.

        Raises:
            InvalidAction: If an action is not in the action space; no row has been moved then.
            EpisodeEnded: With DISABLED autoreset, if a row has ended; no row has been moved then.
        """
        batch = self._batch
        ended = batch.step(actions, self._next_step) if actions.__class__ is _ARRAY and self._ready else MALFORMED
        if ended == MALFORMED:
            self._require_ready()
            ended = batch.step(self._checked(actions), self._next_step)
            assert ended != MALFORMED
        infos = {} if self._bare else self._stepped(ended)
        out = batch.out
        if self.copy and not batch.lent:
            return out.obs.copy(), out.reward.copy(), out.terminated.copy(), out.truncated.copy(), infos
        return out.obs, out.reward, out.terminated, out.truncated, infos

    def show_in(self, places: Sequence[np.ndarray]) -> None:
        """Let observations be written into memory of the caller's, for example such as another process sees.

        Args:
            places: Arrays ``(n, k)`` float32; :meth:`turn_to` says into which one the next step or reset writes.

        Raises:
            InvalidValue: If the environment returns copies, or a place is of another shape or type.
        """
        if self.copy:
            raise InvalidValue("An environment must be made with copy=False to show what it observes in given places.")
        for place in places:
            if place.shape != self._batch.out.obs.shape or place.dtype != np.float32 or not place.flags.c_contiguous:
                raise InvalidValue(
                    f"Observations must be shown in contiguous float32 of shape {self._batch.out.obs.shape}, got "
                    f"{place.dtype} of {place.shape}."
                )
        self._batch.show_in(places)

    def turn_to(self, place: int | None) -> bool:
        """Choose the place for what the next step or reset observes, and return whether it will lie there.

        What is observed now is not written over: if it lies there, and for None, memory of the environment's own is
        used.

        Raises:
            InvalidValue: If :meth:`show_in` was given no place of that number.
        """
        if place is not None and not 0 <= place < self._batch.places:
            raise InvalidValue(f"A place must be one of the {self._batch.places} that show_in was given, got {place}.")
        return self._batch.turn_to(place)

    def _checked(self, actions: Any) -> np.ndarray:
        """Return ``actions`` as the array that the compiled step takes."""
        array = np.asarray(actions)
        what = "integers" if self._discrete else "numbers"
        if array.shape != self._action_shape:
            raise InvalidAction(
                f"{self._batch.id}: actions must be {what} of shape {self._action_shape}, got shape {array.shape}."
            )
        if not self._discrete:
            _require_numbers(array, self._batch, "actions")
            self._batch.actions[:] = array
            return self._batch.actions
        if array.dtype.kind not in "iu":
            raise InvalidAction(
                f"{self._batch.id}: actions must be integers of shape {self._action_shape}, got dtype {array.dtype}"
                f"{_first_fraction(array)}. Convert them on purpose, for example with actions.astype(int)."
            )
        self._batch.actions[:] = array
        return self._batch.actions

    def _stepped(self, ended: int) -> dict[str, Any]:
        """Return the infos of a step in which ``ended`` rows ended; with SAME_STEP begin their next episode."""
        batch, out = self._batch, self._batch.out
        told, self._beginning = ended > 0 or self._beginning, ended > 0 and self._next_step
        infos = self._infos(self._all, stepped=True)
        if self._drawn and told:
            self._tell_params(infos)
        if not ended:
            return infos
        if self._kpi_names:
            copied = self.copy and not batch.lent
            rows = out.ended.copy() if copied else out.ended
            infos["kpis"] = _columns(self._kpi_names, out.kpis, rows) if copied else out.named_kpis.copy()
            infos["_kpis"] = rows
        else:
            rows = out.terminated | out.truncated
        self._tell_schedule(rows)
        if not self._same_step:
            return infos
        terminated, truncated, reward = out.terminated.copy(), out.truncated.copy(), out.reward.copy()
        final_obs = np.full(self.num_envs, None, object)
        for row in np.flatnonzero(rows):
            final_obs[row] = out.obs[row].copy()
        final_info = _restricted(infos, rows)
        self.final_params = batch.params[rows]
        batch.restart(rows)
        out.terminated[:], out.truncated[:], out.reward[:] = terminated, truncated, reward
        infos = self._infos(self._all, stepped=True, began=rows)
        if self._drawn:
            self._tell_params(infos)
        return infos | {"final_obs": final_obs, "_final_obs": rows, "final_info": final_info, "_final_info": rows}

    def _tell_params(self, infos: dict[str, Any]) -> None:
        """Write the drawn parameters of the rows that begin or end an episode into ``infos``; 0 elsewhere."""
        out = self._batch.out
        if self.copy and not self._batch.lent:
            drawn, rows = out.drawn.copy(), out.told.copy()
            infos["params"] = masked({name: drawn[:, k] for name, k in self._drawn_columns.items()}, rows)
        else:
            infos["params"], rows = out.named_drawn(self._drawn_columns), out.told
        infos["_params"] = rows

    def draw_parameters(self, plan: Plan, shown: bool = True, privileged: tuple[str, ...] = ()) -> None:
        """See :meth:`Env.draw_parameters`."""
        super().draw_parameters(plan, shown, privileged)
        places = {parameter.name: k for k, parameter in enumerate(self.kernel.PARAMETERS)}
        self._drawn_columns = {name: places[name] for name in self._drawn}
        self._bare = self._bare and not self._drawn and self._schedule is None
        self._begin()  # steps that tell nothing take no notice of rows that end

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal now, ``(n, m)`` bool; the name that sb3-contrib looks for."""
        return self._batch.out.mask.astype(np.bool_)

    def _infos(self, rows: np.ndarray, stepped: bool, began: np.ndarray | None = None) -> dict[str, Any]:
        """Return infos for ``rows``; rows that ``began`` an episode in this step have no reward terms."""
        batch = self._batch
        out = batch.out
        if stepped and began is None and (batch.lent or not self.copy):
            infos = out.infos()
        else:
            infos = {}
            if self._masked:
                infos["action_mask"] = out.mask.copy()
                infos["_action_mask"] = rows
            if stepped and self._terms:
                moved = rows if began is None else rows & ~began
                infos["reward_terms"] = _columns(self._terms, out.terms, moved)
                infos["_reward_terms"] = moved
            if self._info_fields:
                fields = out.info.copy()
                infos.update(masked({name: fields[name] for name in self._info_fields}, rows))
        if self._context_columns:
            infos["context"] = _vector_named(self._context_columns, self._batch.context(), rows)
            infos["_context"] = rows
        return infos

    def render(self) -> tuple[np.ndarray, ...]:
        """Return the picture of every row, each ``(height, width, 3)`` uint8."""
        self._check_render()
        return tuple(self._rendered(row) for row in range(self.num_envs))


class ParallelEnv(_Face, PettingZooParallelEnv[str, np.ndarray, int]):
    """The multi-agent face: one row read along the agent axis.

    Agents never leave before the episode ends for all; what an agent may do is in ``infos[agent]["action_mask"]``.
    """

    def __init__(
        self,
        family: Family | str,
        version: int,
        *,
        params: Mapping[str, Any] | None = None,
        expose_context: bool = False,
        render_mode: str | None = None,
        threads: int | None = None,
        **options: Any,
    ):
        """Make the multi-agent face of a family's version; the arguments are those of :class:`Env`."""
        self._open(
            family, version, 1, params=params, expose_context=expose_context, render_mode=render_mode, threads=1,
            options=options, agents=True,
        )  # fmt: skip
        if not hasattr(self.kernel, "AGENTS"):
            asked = f" with {self._batch.variant}=True" if self._batch.variant else ""
            raise InvalidValue(f"{self._batch.id}{asked} has no agents: use gymnasium.make for it.")
        self.metadata["name"] = f"{self.family.name}-v{version}"
        self.possible_agents = list(self.kernel.AGENTS)
        self.agents: list[str] = []
        self._agent_info: tuple[str, ...] = getattr(self.kernel, "AGENT_INFO", ())
        seen, done = agent_observations(self.kernel), agent_actions(self.kernel)
        self._widths = [width(columns) for columns in seen]
        self.observation_spaces: dict[str, gym.Space[Any]] = dict(
            zip(self.possible_agents, map(_box, seen), strict=True)
        )
        self.action_spaces: dict[str, gym.Space[Any]] = dict(zip(self.possible_agents, map(_space, done), strict=True))
        self._actions = np.zeros((len(done), widest(done) or 1), np.float64 if widest(done) else np.int64)
        self._masked = hasattr(self.kernel, "mask_agent")
        self._entropy = np.random.default_rng()

    def observation_space(self, agent: str) -> gym.spaces.Space[Any]:
        """Return what ``agent`` observes, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.spaces.Space[Any]:
        """Return what ``agent`` may choose from, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Start an episode; ``seed`` and ``options`` are those of the single face.

        The option ``options`` means nothing: PettingZoo's own API test passes it.
        """
        override = self._taken_reset_options(options, np.ones(1, np.bool_), ["options"])
        if seed is not None:
            self._batch.seed(np.array([0]), [seed])
        elif not self._batch.started[0]:
            self._batch.seed(np.array([0]), [int(self._entropy.integers(2**63))])
        self._batch.reset(None, override)
        self._begin()
        self.agents = self.possible_agents[:]
        return self._observations(), self._infos(stepped=False)

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Move one step from one action an agent.

        Raises:
            InvalidAction: If an agent has no action, or one outside its action space.
            EpisodeEnded: If the episode has ended or none was begun.
        """
        self._require_ready()
        if not self.agents:
            raise EpisodeEnded(f"{self._batch.id}: the episode must be running to step, but it has ended. Call reset.")
        for own, agent in zip(self._actions, self.possible_agents, strict=True):
            action = self._checked(agent, actions)
            own[: np.size(action)] = action
        self._batch.step_agents(self._actions if self._actions.dtype == np.float64 else self._actions[:, 0])
        out, agents = self._batch.out, self.agents
        terminated, truncated = bool(out.terminated[0]), bool(out.truncated[0])
        rewards = dict(zip(agents, out.agent_reward[0].tolist(), strict=True))
        infos = self._infos(stepped=True)
        if terminated or truncated:
            kpis = dict(zip(self._kpi_names, out.kpis[0].tolist(), strict=True))
            for agent in agents:
                infos[agent]["kpis"] = kpis
            self._tell_schedule(_ONE_ROW)
            self.agents = []
        return (
            self._observations(),
            rewards,
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            infos,
        )

    def _checked(self, agent: str, actions: Mapping[str, Any]) -> Any:
        """Return the action of an agent, which must lie within its space."""
        space, step = self.action_spaces[agent], self.state["steps"][0]
        if agent not in actions:
            hint = (
                f" Give it its last action, {space.n - 1}, to pass." if isinstance(space, gym.spaces.Discrete) else ""
            )
            raise InvalidAction(
                f"{self._batch.id}: every agent must have an action, but {agent} has none at step {step}.{hint}"
            )
        action = actions[agent]
        if isinstance(space, gym.spaces.Discrete):
            if not space.contains(action):
                raise InvalidAction(
                    f"{self._batch.id}: the action of {agent} must be an integer within 0 … {space.n - 1}, got "
                    f"{action!r} at step {step}."
                )
            return int(action)
        array, what = np.asarray(action), f"the action of {agent}"
        _require_numbers(array, self._batch, what)
        if array.shape != space.shape:
            raise InvalidAction(f"{self._batch.id}: {what} must have shape {space.shape}, got {array.shape}.")
        assert isinstance(space, gym.spaces.Box)
        low, high = space.low, space.high
        fits = (array >= low) & (array <= high)  # false for NaN
        if not fits.all():
            column = int(np.argmin(fits))
            raise InvalidAction(
                f"{self._batch.id}: component {column} of {what} must be within [{low[column]:g}, {high[column]:g}], "
                f"got {array[column]} at step {step}."
            )
        return array

    def _observations(self) -> dict[str, np.ndarray]:
        seen = self._batch.out.agent_obs[0]
        return {
            agent: seen[a, :wide].copy()
            for a, (agent, wide) in enumerate(zip(self.possible_agents, self._widths, strict=True))
        }

    def _infos(self, stepped: bool) -> dict[str, dict[str, Any]]:
        state, out = self._batch.state, self._batch.out
        shared: dict[str, Any] = {}
        if stepped and self._terms:
            shared["reward_terms"] = dict(zip(self._terms, state["terms"][0].tolist(), strict=True))
        for name in self._info_fields:
            shared[name] = state[name][0].item()
        if self._context_columns:
            shared["context"] = _named(self._context_columns, self._batch.context()[0])
        if self._drawn and (not stepped or out.terminated[0] or out.truncated[0]):
            shared["params"] = self._drawn_values()
        return {
            agent: {
                **({"action_mask": out.agent_mask[0, a].copy()} if self._masked else {}),
                **{name: state[name][0, a].item() for name in self._agent_info},
                **shared,
            }
            for a, agent in enumerate(self.possible_agents)
        }

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal now, ``(a, m)`` bool, one row an agent; ``m`` is 0 if all always are."""
        return np.asarray(self._batch.out.agent_mask[0], np.bool_)

    def render(self) -> np.ndarray:
        """Return the picture of the present state, ``(height, width, 3)`` uint8."""
        self._check_render()
        return self._rendered(0)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _require_numbers(array: np.ndarray, batch: Batch, what: str) -> None:
    if array.dtype.kind not in "iuf":
        raise InvalidAction(f"{batch.id}: {what} must be numbers, got dtype {array.dtype}.")


def _first_fraction(array: np.ndarray) -> str:
    """Return a hint at the first value that is no whole number."""
    if array.dtype.kind != "f":
        return ""
    wrong = np.flatnonzero(~(np.floor(array) == array))
    return f" with {array[wrong[0]]} in row {wrong[0]}" if len(wrong) else ""


def _named(columns: tuple[Column, ...], values: np.ndarray) -> dict[str, Any]:
    """Return ``values`` (k,) by column name: numbers, or arrays for repeated columns."""
    named: dict[str, Any] = {}
    start = 0
    for column in columns:
        part = values[start : start + column.count]
        named[column.name] = part.copy() if column.count > 1 else float(part[0])
        start += column.count
    return named


def _vector_named(columns: tuple[Column, ...], values: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Return ``values`` (n, k) by column name, with Gymnasium's masks."""
    named: dict[str, Any] = {}
    start = 0
    for column in columns:
        part = values[:, start : start + column.count]
        named[column.name] = part.copy() if column.count > 1 else part[:, 0].copy()
        named[f"_{column.name}"] = rows
        start += column.count
    return named


def _columns(names: tuple[str, ...], figures: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return copies of the columns of ``figures``, ``(n, k)``, by name, with Gymnasium's masks."""
    return masked(dict(zip(names, figures.copy().T, strict=True)), rows)


def _restricted(infos: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return a copy of ``infos`` for ``rows`` only; what it says of the others is zero."""
    copy: dict[str, Any] = {}
    for name, value in infos.items():
        if isinstance(value, dict):
            copy[name] = _restricted(value, rows)
        elif name.startswith("_"):
            copy[name] = value & rows
        else:
            copy[name] = np.zeros_like(value)
            copy[name][rows] = value[rows]
    return copy
