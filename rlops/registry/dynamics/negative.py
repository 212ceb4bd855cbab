"""What must hold of any environment, whatever it simulates, so that a comparison of two runs cannot be fooled.

A reset that ignores its seed passes every comparison of equal seeds; so does an observation that never moves. Each
check here looks for one such way to be wrong: it holds of a sound environment, and fails of one that is broken so.
"""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.envs import parse_id
from rlops.envs.compiling import usable_threads
from rlops.envs.contract import Parameter, width
from rlops.envs.effects import effects
from rlops.errors import UnknownName
from rlops.randomization import randomize
from rlops.registry.dynamics.kernels import KernelSubject
from rlops.registry.dynamics.scripts import by_chance
from rlops.registry.dynamics.subjects import Episode
from rlops.registry.dynamics.traces import MOMENTS, Trace, clock, compare, first_difference, leaves

STEPS = 150
"""Steps of an episode that is compared with another."""
_FEW_STEPS = 60
"""Steps where several rows are compared, states and all."""
_UNTIL_END = 4000
"""Steps within which two episodes must end for autoreset to be judged."""
_SEEDS = 6
_ROWS = 5
_MANY_ROWS = 64
_ROUNDS, _ROUND_STEPS = 8, 600
"""How often, and for how many steps, many rows with parameters by chance are driven to move every column."""
_UNBOUNDED = 1e4
"""Values by chance of a parameter go no farther above its lower bound."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: What must hold.
        holds: Whether it does; None: that does not apply, or cannot be judged.
        told: Why not, or why it cannot be judged; empty if it holds.
    """

    name: str
    holds: bool | None
    told: str

    def __str__(self) -> str:
        said = {True: "holds", False: "FAILS", None: "not judged"}[self.holds]
        return f"{self.name}: {said}" + (f": {self.told}" if self.told else "")


class _CannotJudge(Exception):
    """A check does not apply to an environment, or its question cannot be put to it."""


def negative_checks(id: str, names: Iterable[str] | None = None) -> list[Finding]:
    """Return what the checks found of an environment.

    Args:
        id: Of rlops, or any that Gymnasium makes; of the latter what concerns vectors and parameters is not judged.
        names: Those of :data:`CHECKS` that are wanted; None: all.

    Raises:
        UnknownName: If there is no such environment of rlops, or no such check.
    """
    made = _Made(id)
    for name in (chosen := list(CHECKS if names is None else names)):
        if name not in CHECKS:
            raise UnknownName("check", name, CHECKS, "negative_checks")
    made.single().close()  # what cannot be made at all is no finding
    return [_finding(name, made) for name in chosen]


def _finding(name: str, made: _Made) -> Finding:
    try:
        told = CHECKS[name](made)
    except _CannotJudge as reason:
        return Finding(name, None, str(reason))
    except Exception as error:  # whatever a broken environment raises is a finding
        return Finding(name, False, f"it must not raise, but raised {type(error).__name__}: {error}")
    return Finding(name, told is None, told or "")


@contextmanager
def old_versions_wanted() -> Iterator[None]:
    """Silence Gymnasium's remark that there is a newer version."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        yield


class _Made:
    """Makes the environment of one id as often as a check wants.

    Attributes:
        id: Of the environment.
        ours: Whether it is of rlops.
    """

    def __init__(self, id: str):
        self.id, self.ours = id, id.startswith("rlops/")
        if self.ours:
            parse_id(id)

    def single(self, **options: Any) -> Any:
        """Return a new single environment."""
        with old_versions_wanted():
            return gym.make(self.id, disable_env_checker=True, **options)

    def rows(self, count: int, **options: Any) -> Any:
        """Return a new vector of ``count`` rows."""
        with old_versions_wanted():
            return gym.make_vec(self.id, num_envs=count, **options)

    def played(self, seed: int | None, env: Any = None, states: bool = True) -> Trace:
        """Return what a reset of ``env`` (default: a new one) with ``seed`` begins; ``states``: its states as well."""
        env = self.single() if env is None else env
        obs, info = env.reset(seed=seed)
        return self.walked(env, obs, info, states)

    def walked(self, env: Any, obs: Any, info: Mapping[str, Any], states: bool = True) -> Trace:
        """Return what follows ``obs`` and ``info``, by actions that depend on the step and what is legal only."""
        log, choose = _Log(), _chooser(env.action_space)
        log.moment(obs, info.get("action_mask"), env.unwrapped.state[0] if self.ours and states else None)
        for _ in range(STEPS):
            obs, reward, terminated, truncated, info = env.step(choose(info.get("action_mask")))
            log.step(reward, terminated, truncated)
            log.moment(obs, info.get("action_mask"), env.unwrapped.state[0] if self.ours and states else None)
            if terminated or truncated:
                break
        return log.trace()


class _Log:
    """Writes down what one row shows."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {}
        self._states: list[Any] = []

    def _add(self, name: str, value: Any) -> None:
        self._lists.setdefault(name, []).append(np.array(value))

    def moment(self, obs: Any, mask: Any, state: Any = None) -> None:
        """Write down an observation, the legal actions and the state record, the latter two if there are any."""
        for name, value in _parts(obs, "observation"):
            self._add(name, value)
        if mask is not None:
            self._add("mask", mask)
        if state is not None:
            self._states.append(state.copy())

    def step(self, reward: Any, terminated: Any, truncated: Any) -> None:
        """Write down what a step brought."""
        self._add("reward", float(reward))
        self._add("ended.terminated", bool(terminated))
        self._add("ended.truncated", bool(truncated))

    def trace(self) -> Trace:
        """Return all that was written down."""
        trace = {name: np.stack(values) for name, values in self._lists.items()}
        return trace | (dict(leaves(np.stack(self._states), "state")) if self._states else {})


def _parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the arrays and numbers in nested dicts and tuples by dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _parts(inner, f"{name}.{key}")
    elif isinstance(value, (tuple, list)):
        for k, inner in enumerate(value):
            yield from _parts(inner, f"{name}.{k}")
    else:
        yield name, value


def _chooser(space: gym.Space[Any], seed: int = 0) -> Callable[[Any], Any]:
    """Return a function from a mask, or None, to the next action of the series of ``seed``."""
    space = copy.deepcopy(space)
    space.seed(seed)
    masked = isinstance(space, gym.spaces.Discrete)
    return lambda mask: space.sample(np.asarray(mask, np.int8)) if masked and mask is not None else space.sample()


def _difference(one: Trace, other: Trace) -> str | None:
    """Return where two traces first differ, as far as both go."""
    found = []
    for name, mine in one.items():
        mine, theirs = mine[: len(other[name])], other[name][: len(mine)]
        if compare(mine, theirs).differs.any():
            found.append(first_difference("", name, mine, theirs, 0 if clock(name) == MOMENTS else 1))
    if not found:
        return None
    first = min(found, key=lambda one: one.step)
    return f"{first.variable} at step {first.step} is {first.golden!r} and {first.now!r}"


def _unequal(must: str, one: Trace, other: Trace) -> str | None:
    """Return that ``must`` hold but two traces differ, and where; None if they are equal."""
    where = _difference(one, other)
    return f"{must}, but {where}." if where else None


# -- checks of any environment ------------------------------------------------------------------------------


def _different_seeds_differ(made: _Made) -> str | None:
    env = made.single()
    stories = [made.played(seed, env, states=False) for seed in range(_SEEDS)]
    return _alike("different seeds must give different episodes", stories, made)


def _alike(must: str, stories: list[Trace], made: _Made) -> str | None:
    """Return that ``must`` hold, but pairs of ``stories`` are equal.

    Where observations are coarse and episodes short, some are so by chance: half of the pairs, if others made it.
    """
    pairs = list(combinations(range(len(stories)), 2))
    equal = [(a, b) for a, b in pairs if _difference(stories[a], stories[b]) is None]
    if len(equal) <= (0 if made.ours else len(pairs) // 2):
        return None
    return f"{must}, but {len(equal)} of {len(pairs)} pairs are equal, {equal[0][0]} and {equal[0][1]} among them."


def _consecutive_resets_differ(made: _Made) -> str | None:
    env = made.single()
    stories = [made.played(seed, env, states=False) for seed in (3, *[None] * (_SEEDS - 1))]
    return _alike("episodes that follow each other without a new seed must differ", stories, made)


def _global_generators_do_not_matter(made: _Made) -> str | None:
    kept = np.random.get_state(), random.getstate()  # noqa: NPY002  the global generator is what is looked at
    try:
        stories = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            before = _global_draws()
            stories.append(made.played(3))
            if _global_draws() != before:
                return "the global generators of numpy and random must be left alone, but an episode drew from them."
        return _unequal("np.random.seed and random.seed must have no influence", *stories)
    finally:
        np.random.set_state(kept[0])  # noqa: NPY002
        random.setstate(kept[1])


def _global_draws() -> tuple[Any, ...]:
    """Return the state of the global generators, comparable."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return name, np.asarray(keys).tobytes(), *rest, random.getstate()


def _used_is_like_fresh(made: _Made) -> str | None:
    used = made.single()
    for seed in (8, None, 9):
        made.played(seed, used)
    return _unequal("a used environment that is reset must be like a fresh one", made.played(3, used), made.played(3))


def _copy_continues(made: _Made) -> str | None:
    env = made.single()
    obs, info = env.reset(seed=2)
    obs, info = _stepped(env, obs, info, 5)
    if made.ours:
        other = pickle.loads(pickle.dumps(env))
    else:
        try:
            other = copy.deepcopy(env)
        except Exception as error:
            raise _CannotJudge(f"it cannot be copied: {type(error).__name__}: {error}") from None
    own, copied = made.walked(env, obs, info), made.walked(other, obs, info)
    return _unequal("a copy made within an episode must go on as the original does", own, copied)


def _stepped(env: Any, obs: Any, info: Any, steps: int) -> tuple[Any, Any]:
    """Return what ``env`` shows some steps later, at the beginning of another episode if one ended."""
    choose = _chooser(env.action_space, 1)
    for _ in range(steps):
        obs, _, terminated, truncated, info = env.step(choose(info.get("action_mask")))
        if terminated or truncated:
            obs, info = env.reset()
    return obs, info


def _observations_fit(made: _Made) -> str | None:
    env = made.single()
    choose = _chooser(env.action_space)
    obs, info = env.reset(seed=0)
    for step in range(2 * STEPS):
        if told := _misfit(env.observation_space, obs, "observation"):
            return f"{told} at step {step}."
        obs, reward, terminated, truncated, info = env.step(choose(info.get("action_mask")))
        if told := _wrong_types(reward, terminated, truncated):
            return f"{told} at step {step + 1}."
        if terminated or truncated:
            obs, info = env.reset()
    return _rows_misfit(made) if made.ours else None


def _misfit(space: gym.Space[Any], value: Any, name: str) -> str | None:
    """Return why ``value`` is not of ``space``, its type included; None if it is."""
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        parts = space.spaces.items() if isinstance(space, gym.spaces.Dict) else enumerate(space.spaces)
        told = [_misfit(one, value[key], f"{name}.{key}") for key, one in parts]
        return next((one for one in told if one), None)
    if isinstance(space, (gym.spaces.Box, gym.spaces.MultiBinary, gym.spaces.MultiDiscrete)):
        got = getattr(value, "dtype", type(value).__name__)
        if got != space.dtype:
            return f"{name} must be of type {space.dtype}, got {got}"
        if isinstance(space, gym.spaces.Box) and value.shape == space.shape:
            outside = np.argwhere(~((value >= space.low) & (value <= space.high)))  # NaN is outside
            place = tuple(outside[0]) if len(outside) else ()
            if place:
                bounds = f"[{space.low[place]:g}, {space.high[place]:g}]"
                return f"{name}{[int(i) for i in place]} must be within {bounds}, got {value[place]!r}"
    return None if space.contains(value) else f"{name} must be in {space}, got {value!r}"


def _wrong_types(reward: Any, terminated: Any, truncated: Any) -> str | None:
    if not np.isscalar(reward) or not np.isreal(reward):
        return f"the reward must be a number, got {reward!r}"
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)):
            return f"{name} must be a bool, got {flag!r}"
    return None


def _rows_misfit(made: _Made) -> str | None:
    """Return what rows show that their spaces do not have, with parameters from beyond what is plausible."""
    envs = made.rows(16, autoreset_mode=AutoresetMode.SAME_STEP)
    randomize(envs, "ood")
    obs, infos = envs.reset(seed=0)
    choose = _rows_chooser(envs)
    for step in range(2 * STEPS):
        if told := _misfit(envs.observation_space, obs, "observation"):
            return f"{told} at step {step} of a vector at level ood."
        obs, reward, terminated, truncated, infos = envs.step(choose(infos))
        types = (reward.dtype, terminated.dtype, truncated.dtype)
        if types != (np.float64, np.bool_, np.bool_):
            return f"rewards and flags of a vector must be float64, bool and bool, got {', '.join(map(str, types))}."
    return None


def _rows_chooser(envs: Any) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """Return a function from infos to an action for every row."""
    choose = _chooser(envs.single_action_space)
    return lambda infos: np.stack([choose(_row_mask(infos, i)) for i in range(envs.num_envs)])


def _row_mask(infos: Mapping[str, Any], row: int) -> Any:
    return infos["action_mask"][row] if "action_mask" in infos else None


def _returned_stays(made: _Made) -> str | None:
    env = made.single()
    obs, info = env.reset(seed=0)
    kept, choose = _Kept(), _chooser(env.action_space)
    for step in range(_FEW_STEPS):
        kept.keep(step, {"observation": obs, "info": info})
        obs, _, terminated, truncated, info = env.step(choose(info.get("action_mask")))
        if terminated or truncated:
            kept.keep(step + 1, {"observation": obs, "info": info})
            obs, info = env.reset()
    return kept.changed() or (_rows_returned_change(made) if made.ours else None)


def _rows_returned_change(made: _Made) -> str | None:
    """Return what a vector returned and changed afterwards, although it returns copies."""
    envs = made.rows(_ROWS, copy=True)
    obs, infos = envs.reset(seed=0)
    kept, choose = _Kept(), _rows_chooser(envs)
    kept.keep(0, {"observation": obs, "info": infos})
    for step in range(_FEW_STEPS):
        obs, reward, terminated, truncated, infos = envs.step(choose(infos))
        flags = {"terminated": terminated, "truncated": truncated}
        kept.keep(step + 1, {"observation": obs, "reward": reward, "info": infos} | flags)
    envs.reset(seed=1)
    return kept.changed()


class _Kept:
    """Arrays that a caller keeps, and what they said when it got them."""

    def __init__(self) -> None:
        self._arrays: list[tuple[str, np.ndarray, np.ndarray]] = []

    def keep(self, step: int, returned: Mapping[str, Any]) -> None:
        """Keep all arrays of what was returned at ``step``."""
        for name, part in _parts(returned, ""):
            if isinstance(part, np.ndarray) and part.dtype != object:
                self._arrays.append((f"{name[1:]} of step {step}", part, part.copy()))

    def changed(self) -> str | None:
        """Return which array changed since."""
        for name, array, before in self._arrays:
            if array.tobytes() != before.tobytes():
                return f"what was returned must stay as it was, but {name} changed afterwards."
        return None


def _writing_has_no_influence(made: _Made) -> str | None:
    must = "what a caller writes into an observation must have no influence"
    env = made.single()
    obs, info = env.reset(seed=3)
    log, choose = _Log(), _chooser(env.action_space)
    for _ in range(STEPS):
        log.moment(obs, info.get("action_mask"))
        for _, part in _parts(obs, ""):
            if isinstance(part, np.ndarray) and part.flags.writeable:
                part[...] = 0
        obs, reward, terminated, truncated, info = env.step(choose(info.get("action_mask")))
        log.step(reward, terminated, truncated)
        if terminated or truncated:
            break
    return _unequal(must, log.trace(), made.played(3, states=False))


def _terms_sum_to_reward(made: _Made) -> str | None:
    env = made.single()
    choose = _chooser(env.action_space)
    _, info = env.reset(seed=0)
    for step in range(2 * STEPS):
        _, reward, terminated, truncated, info = env.step(choose(info.get("action_mask")))
        terms = env.unwrapped.state["terms"][0].tolist() if made.ours else info.get("reward_terms")
        if terms is None:
            raise _CannotJudge("info must have reward_terms for this, and has none.")
        total = sum(terms.values() if isinstance(terms, Mapping) else terms)
        if total != reward:
            return f"the sum of the reward terms must be the reward {reward!r}, got {total!r} at step {step + 1}."
        if terminated or truncated:
            _, info = env.reset()
    return None


def _unknown_options_raise(made: _Made) -> str | None:
    unknown = {"no_such_option": 1}
    tries: dict[str, Callable[[], Any]] = {"gymnasium.make": lambda: made.single(**unknown)}
    if made.ours:
        tries |= {
            "gymnasium.make with params": lambda: made.single(params=unknown),
            "gymnasium.make_vec": lambda: made.rows(2, **unknown),
            "reset": lambda: made.single().reset(options=unknown),
            "reset of a vector": lambda: made.rows(2).reset(options=unknown),
            "reset with params": lambda: made.single().reset(options={"params": unknown}),
        }
    for name, attempt in tries.items():
        try:
            attempt()
        except UnknownName:
            continue
        except Exception as error:
            if not made.ours:
                continue
            return f"{name} must answer an unknown option with UnknownName, got {type(error).__name__}: {error}"
        return f"{name} must refuse an option that does not exist, but took no_such_option=1."
    return None


def _no_column_is_constant(made: _Made) -> str | None:
    names = _constant_columns_of_kernel(made.id) if made.ours else _constant_columns(made)
    if not names:
        return None
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} others" if len(names) > 8 else "")
    return f"every column of an observation must move at some time, but {shown} never did."


def _constant_columns(made: _Made) -> list[str]:
    """Return the columns of vectors within the observation that are the same in all episodes by chance."""
    env, seen = made.single(), dict[str, list[np.ndarray]]()
    for seed in range(_SEEDS):
        for name, array in made.played(seed, env).items():
            if name.startswith("observation") and array.ndim == 2:
                seen.setdefault(name, []).append(array)
    if not seen:
        raise _CannotJudge("observations must have vectors for this, and have none.")
    columns = {name: np.concatenate(arrays) for name, arrays in seen.items()}
    return [f"{name}[{k}]" for name, rows in columns.items() for k in np.flatnonzero((rows == rows[0]).all(axis=0))]


def _constant_columns_of_kernel(id: str) -> list[str]:
    """Return the columns that do not move, whatever the parameters; names of repeated ones with their index."""
    subject = KernelSubject(id)
    columns = subject.kernel.OBSERVATION
    moved, first = np.zeros(width(columns), np.bool_), None
    for obs in _driven(subject):
        first = obs[0].copy() if first is None else first
        moved |= (obs != first).any(axis=0)
        if moved.all():
            return []
    names = [f"{c.name}[{k}]" if c.count > 1 else c.name for c in columns for k in range(c.count)]
    return [f"{name} (column {k})" for k, name in enumerate(names) if not moved[k]]


def _driven(subject: KernelSubject) -> Iterator[np.ndarray]:
    """Yield observations ``(n, k)`` of rows whose parameters are by chance, often at their bounds, at first.

    After its first episode a row goes on with the nominal ones.
    """
    nominal = {name: float(value) for name, value in zip(*_nominal(subject), strict=True)}
    for round_ in range(_ROUNDS):
        draws = np.random.default_rng(round_)
        batch = subject.opened(Episode("driven", round_, np.zeros(0)), _MANY_ROWS)
        batch.set_params({p.name: _by_chance_within(p, draws) for p in subject.kernel.PARAMETERS})
        batch.seed(np.arange(_MANY_ROWS), list(range(_MANY_ROWS)))
        batch.reset()
        policy = by_chance(round_)
        for _ in range(_ROUND_STEPS):
            yield batch.out.obs
            batch.step(np.ascontiguousarray(policy(batch), batch.actions.dtype), True)
            over = batch.out.terminated | batch.out.truncated
            if over.any():
                batch.set_params(nominal, over)


def _nominal(subject: KernelSubject) -> tuple[tuple[str, ...], Any]:
    record = subject.family.nominal(subject.number)[0]
    return record.dtype.names or (), record


def _by_chance_within(parameter: Parameter, draws: np.random.Generator) -> np.ndarray:
    """Return a value for every row, a quarter of them at either bound."""
    share = np.clip(2 * draws.random(_MANY_ROWS) - 0.5, 0, 1)
    values = parameter.low + (min(parameter.high, parameter.low + _UNBOUNDED) - parameter.low) * share
    return np.round(values) if parameter.dtype == "i8" else values


# -- checks of environments of rlops ------------------------------------------------------------------------


class _Rows:
    """Writes down what the rows of a vector live through, by row and episode, in any mode of autoreset.

    Attributes:
        logs: What was written down.
        episode: That each row is in, ``(n,)``.
        steps: That it has taken in it, ``(n,)``.
    """

    def __init__(self, envs: Any, states: bool):
        self.envs, self.states = envs, states
        self.logs: dict[tuple[int, int], _Log] = {}
        self.episode = np.full(envs.num_envs, -1)
        self.steps = np.zeros(envs.num_envs, np.int64)
        self._choosers: dict[int, Callable[[Any], Any]] = {}
        self._over = np.zeros(envs.num_envs, np.bool_)

    def play(self, seed: int | None, steps: int, until: Callable[[_Rows], bool] = lambda rows: False) -> None:
        """Reset with ``seed`` and take ``steps`` steps, or until something holds."""
        obs, infos = self.envs.reset(seed=seed)
        self._begin(range(self.envs.num_envs), obs, infos)
        while steps > 0 and not until(self):
            obs, infos = self._step(infos)
            steps -= 1

    def _step(self, infos: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """Take a step, reset what is to be reset, and return what is shown then."""
        mode, rows = self.envs.autoreset_mode, range(self.envs.num_envs)
        actions = np.stack([self._choosers[row](_row_mask(infos, row)) for row in rows])
        obs, reward, terminated, truncated, infos = self.envs.step(actions)
        self._begin(np.flatnonzero(self._over).tolist(), obs, infos)  # those that are reset by the step after their end
        over = terminated | truncated
        for row in np.flatnonzero(~self._over).tolist():
            self.logs[row, int(self.episode[row])].step(reward[row], terminated[row], truncated[row])
            self.steps[row] += 1
            last = mode is AutoresetMode.SAME_STEP and over[row]
            self._show(row, *((infos["final_obs"], infos["final_info"]) if last else (obs, infos)))
        self._over = over if mode is AutoresetMode.NEXT_STEP else np.zeros_like(over)
        if mode is not AutoresetMode.NEXT_STEP and over.any():
            if mode is AutoresetMode.DISABLED:
                obs, infos = self.envs.reset(options={"reset_mask": over})
            self._begin(np.flatnonzero(over).tolist(), obs, infos)
        return obs, infos

    def _begin(self, rows: Iterable[int], obs: Any, infos: Mapping[str, Any]) -> None:
        for row in rows:
            self.episode[row] += 1
            self.steps[row] = 0
            self.logs[row, int(self.episode[row])] = _Log()
            self._choosers[row] = _chooser(self.envs.single_action_space, int(self.episode[row]))
            self._show(row, obs, infos)

    def _show(self, row: int, obs: Any, infos: Mapping[str, Any]) -> None:
        state = self.envs.unwrapped.state[row] if self.states else None
        self.logs[row, int(self.episode[row])].moment(obs[row], _row_mask(infos, row), state)

    def traces(self) -> dict[tuple[int, int], Trace]:
        """Return what was written down, by row and episode."""
        return {key: log.trace() for key, log in self.logs.items()}


def _rows_played(envs: Any, seed: int | None, steps: int, states: bool = True) -> list[Trace]:
    """Return the first episode of every row, as far as ``steps`` go."""
    rows = _Rows(envs, states)
    rows.play(seed, steps)
    traces = rows.traces()
    return [traces[row, 0] for row in range(envs.num_envs)]


def _rows_differ(made: _Made) -> str | None:
    for seed, said in ((0, "of a seeded vector"), (None, "of a vector without a seed")):
        if found := _alike(f"rows {said} must differ", _rows_played(made.rows(_SEEDS), seed, STEPS, False), made):
            return found
    return None


def _one_row_is_single(made: _Made) -> str | None:
    (row,) = _rows_played(made.rows(1), 3, STEPS)
    return _unequal("a vector of one row must be the single environment", row, made.played(3))


def _row_is_single(made: _Made) -> str | None:
    told = _rows_played(made.rows(_ROWS), 100, _FEW_STEPS)
    for row in (0, _ROWS // 2, _ROWS - 1):
        must = f"row {row} of a vector with seed 100 must be the single environment with seed {100 + row}"
        if found := _unequal(must, told[row], made.played(100 + row)):
            return found
    return None


def _autoreset_modes_agree(made: _Made) -> str | None:
    stories = {}
    for mode in AutoresetMode:
        rows = _Rows(made.rows(2, autoreset_mode=mode), states=False)
        rows.play(
            40, _UNTIL_END, lambda rows: bool(((rows.episode > 1) | (rows.episode == 1) & (rows.steps >= 5)).all())
        )
        stories[mode] = rows.traces()
    first, *others = AutoresetMode
    if (0, 1) not in stories[first]:
        raise _CannotJudge(f"no episode ended within {_UNTIL_END} steps.")
    for mode in others:
        for row, episode in ((0, 0), (0, 1), (1, 0), (1, 1)):
            must = f"autoreset modes {first.value} and {mode.value} must agree in episode {episode} of row {row}"
            if (row, episode) not in stories[mode]:
                return f"{must}, but with {mode.value} it never began."
            if found := _unequal(must, stories[first][row, episode], stories[mode][row, episode]):
                return found
    return None


def _threads_agree(made: _Made) -> str | None:
    if usable_threads() < 2:
        raise _CannotJudge("two threads are needed for this, and one can be used.")
    both = (_rows_played(made.rows(_ROWS, threads=threads), 11, _FEW_STEPS) for threads in (1, 2))
    for row, (one, two) in enumerate(zip(*both, strict=True)):
        if found := _unequal(f"row {row} must be the same on one thread and on two", one, two):
            return found
    return None


def _loaded_state_continues(made: _Made) -> str | None:
    env = made.single().unwrapped  # what keeps count of resets does not know of loading
    obs, info = env.reset(seed=2)
    obs, info = _stepped(env, obs, info, 5)
    saved = env.save_state()
    own = made.walked(env, obs, info)
    for said, other in (("it was saved from", env), ("is new", made.single().unwrapped)):
        shown = other.load_state(saved)[0]
        must = f"an episode loaded into an environment that {said} must go on as it did"
        if found := _unequal(must, own, made.walked(other, shown, info)):
            return found
    return None


def _parameters_have_effects(made: _Made) -> str | None:
    wrong = [str(effect) for effect in effects(*parse_id(made.id)) if not effect.holds]
    return " ".join(wrong) or None


def _ours(check: Callable[[_Made], str | None]) -> Callable[[_Made], str | None]:
    """Return ``check`` for environments of rlops only."""

    def limited(made: _Made) -> str | None:
        if not made.ours:
            raise _CannotJudge("this is judged of environments of rlops only.")
        return check(made)

    return limited


EFFECTS = "every parameter does what it declares"
"""Name of the check that plays whole episodes for every parameter, by far the slowest."""
CHECKS: dict[str, Callable[[_Made], str | None]] = {
    "different seeds differ": _different_seeds_differ,
    "consecutive resets differ": _consecutive_resets_differ,
    "global generators do not matter": _global_generators_do_not_matter,
    "a used environment is like a fresh one": _used_is_like_fresh,
    "a copy within an episode continues equal": _copy_continues,
    "observations fit their space": _observations_fit,
    "what was returned stays": _returned_stays,
    "writing into an observation has no influence": _writing_has_no_influence,
    "reward terms sum to the reward": _terms_sum_to_reward,
    "unknown options raise": _unknown_options_raise,
    "no observation column is constant": _no_column_is_constant,
    "rows of a vector differ": _ours(_rows_differ),
    "a vector of one is the single environment": _ours(_one_row_is_single),
    "a row is the single environment of its seed": _ours(_row_is_single),
    "autoreset modes agree": _ours(_autoreset_modes_agree),
    "threads agree": _ours(_threads_agree),
    "a loaded state continues equal": _ours(_loaded_state_continues),
    EFFECTS: _ours(_parameters_have_effects),
}
"""Every check by what must hold: it returns what is wrong, or None."""
