"""Environments of others, made by Gymnasium, as subjects of the dynamics check.

What is known of their state is what can be read from outside: all that MuJoCo integrates, and the attributes of the
environment that hold numbers and move. An environment without MuJoCo whose moments, put in place again, do not bring
the step that was played keeps something to itself: it is judged only by what it shows.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rlops.errors import InvalidValue, UnknownName
from rlops.registry.dynamics.subjects import Episode, Recording, host
from rlops.registry.dynamics.traces import MOMENTS, Trace, clock

MAX_STEPS = 200
"""Steps after which an episode is recorded no further."""
MIN_STEPS = 20
"""Steps that are recorded of any episode, if it is that long."""
NUMBERS = 6000
"""Numbers of state and observation that an episode may hold, within these bounds: golden files are to stay small."""
RANDOM_EPISODES = 8
"""Most episodes by chance, recorded until they are as long together as one that does not end early."""
RETURN_STEPS = 1000
"""Steps after which an episode without a time limit counts for its return no further."""
_PROBED = 32
"""Steps in which the environment is watched to learn what of it moves."""
_HELD_STEPS = (5, 10, 20, 40)
"""Steps for which actions are held, in turn, by the episodes that look for an end."""
_SEARCHED = 16
"""Episodes among which an end by itself is looked for."""
_LISTED = 256
"""Numbers of an array that a specification lists; of more it gives a hash."""

Env = gymnasium.Env[Any, Any]


class GymnasiumSubject:
    """An environment that Gymnasium makes.

    Attributes:
        id: For example ``Ant-v5``, or ``package:Name-v0``.
        engine: Name and release of the physics engine, for example ``mujoco 4.0.0``; empty if there is none, or an
            unknown one.
        forces: Whether states can be put in place: with MuJoCo, and wherever that is found to bring the same steps.
    """

    def __init__(self, id: str):
        """Make ``id`` and learn from a few steps what moves in it.

        Raises:
            UnknownName: If Gymnasium knows no such id.
            InvalidValue: If it cannot be made here, or its spaces cannot be recorded.
        """
        self.id = id
        self._env = self._made()
        self._actions = _Actions(self._env.action_space, id)
        if not self._env.observation_space.is_np_flattenable:
            observed = self._env.observation_space
            raise InvalidValue(f"{id} cannot be recorded: its observations must be of fixed size, but are {observed}.")
        unwrapped = self._env.unwrapped
        self._simulation = _Mujoco(unwrapped) if _is_mujoco(unwrapped) else None
        self.engine = "" if self._simulation is None else self._simulation.engine
        probed = Episode("probed", 0, self._actions.by_chance(0, _PROBED))
        with _quiet():
            self._attributes = _Attributes(self._watched(probed), self._watched(probed), self._env.unwrapped)
            self._observer = self._found_observer(probed)
        self.forces = True
        played = self.play(probed)
        self.forces = self._simulation is not None or self._is_as_played(probed, played)
        shown = [array for name, array in played.items() if clock(name) == MOMENTS]
        self._width = sum(int((array[1:] != array[:1]).any(axis=0).sum()) for array in shown)

    @property
    def stem(self) -> str:
        """Name of the golden file, without suffix: the id, safe for file systems, and the name of the engine."""
        return ".".join([re.sub(r"[^\w.-]+", "-", self.id), *self.engine.split()[:1]])

    def platform(self) -> dict[str, str]:
        """Return all that the last bit of a result may depend on."""
        found = host() | {"gymnasium": gymnasium.__version__}
        package = type(self._env.unwrapped).__module__.partition(".")[0]
        with suppress(importlib.metadata.PackageNotFoundError):  # a module of the user's own
            found[package] = importlib.metadata.version(package)
        return found | (dict([self.engine.split()]) if self.engine else {})

    def layer(self, name: str) -> str:
        """Return the layer that the array ``name`` of a trace belongs to."""
        first = name.partition(".")[0]
        return {"state": "dynamics", "ended": "termination"}.get(first, first)

    def specification(self) -> dict[str, Any]:
        """Return everything that is declared, ready for JSON: spaces, limits, options, the model's physics."""
        spec = self._spec
        return {
            "observation": _space(self._env.observation_space),
            "action": _space(self._env.action_space),
            "max_episode_steps": spec.max_episode_steps,
            "reward_threshold": spec.reward_threshold,
            "nondeterministic": spec.nondeterministic,
            "kwargs": _plain(spec.kwargs),
            "wrappers": [[wrapper.name, _plain(wrapper.kwargs or {})] for wrapper in spec.additional_wrappers],
            "model": {} if self._simulation is None else self._simulation.physics(),
        }

    def recorded(self, reference: Any = None) -> list[Recording]:
        """Return the episodes of a golden file.

        * ``random 0``, ``random 1`` …: actions by chance;
        * ``sine``: waves of a different length for every component of the action;
        * ``still``: no action, as far as the bounds allow;
        * ``terminated``: one that ends by itself, where the others do not and one is found.

        Raises:
            InvalidValue: If a ``reference`` is given: controllers are those of rlops.
        """
        self._check_policy("random" if reference is None else "reference")
        recorded = [self._recording(episode, trace) for episode, trace in self._scripted()]
        if any(one.trace["ended.terminated"].any() for one in recorded):
            return recorded
        return recorded + self._terminated()

    def sampled(self) -> Iterator[Trace]:
        """Return the traces of all episodes of a golden file but of one that had to be looked for."""
        return (trace for _, trace in self._scripted())

    def returns(self, policy: str, episodes: int, reference: Any = None) -> np.ndarray:
        """Return the returns ``(episodes,)`` of episodes with seeds 0 …, actions by chance, within the time limit.

        Raises:
            InvalidValue: If ``policy`` is not ``random``: controllers are those of rlops.
        """
        self._check_policy(policy)
        steps = self._spec.max_episode_steps or RETURN_STEPS
        env = self._made()
        with _quiet():
            return np.array([self._return(env, seed, self._actions.by_chance(seed, steps)) for seed in range(episodes)])

    # -- playing ---------------------------------------------------------------------------------------------

    def play(self, episode: Episode, expected: Trace | None = None) -> Trace:
        """Play ``episode`` in a new environment, whole whatever is ``expected``, and return what happened."""
        with _quiet():
            env = self._made()
            moments, steps = [self._shown(env.reset(seed=episode.seed)[0]) | self._state(env)], []
            for action in episode.actions:
                shown, outcome = self._step(env, action)
                moments.append(shown | self._state(env))
                steps.append(outcome)
                if _is_over(outcome):
                    break
        return _stacked(moments) | _stacked(steps)

    def forced(self, episode: Episode, trace: Trace, steps: np.ndarray) -> Trace:
        """Return what follows from the recorded moments ``steps`` (n,), each put in place after a reset, by one step.

        What is observed there, ``(n, …)``, is that of the moments themselves; the state, rewards and ends are those
        after the step. Where the environment cannot observe without a step, what it shows is that of the step to the
        moment.

        Raises:
            InvalidValue: If states cannot be put in place, or have another shape than the recorded ones.
        """
        if not self.forces:
            raise InvalidValue(
                f"Moments of {self.id} cannot be put in place: part of its state is hidden. Play it instead."
            )
        found = []
        with _quiet():
            for moment in steps:
                shown = self._shown_at(episode, trace, int(moment))
                _, outcome = self._step(self._env, episode.actions[moment])
                found.append(shown | outcome | self._state(self._env))
        return _stacked(found)

    def reset_again(self, episode: Episode, trace: Trace) -> Trace:
        """Return the state ``(1,)`` that a reset of a new environment makes from the recorded seed."""
        with _quiet():
            env = self._made()
            env.reset(seed=episode.seed)
            return _stacked([self._state(env)])

    def _shown_at(self, episode: Episode, trace: Trace, moment: int) -> Trace:
        """Put ``moment`` in place and return what is observed there."""
        if self._observer is not None:
            self._place(episode, trace, moment)
            return self._observed(self._env, self._observer)
        if moment == 0:
            shown = self._shown(self._env.reset(seed=episode.seed)[0])
        else:
            self._place(episode, trace, moment - 1)
            shown, _ = self._step(self._env, episode.actions[moment - 1])
        self._place(episode, trace, moment)
        return shown

    def _place(self, episode: Episode, trace: Trace, moment: int) -> None:
        """Put a recorded moment in place; what is not recorded is as a reset leaves it."""
        self._env.reset(seed=episode.seed)
        self._attributes.write(self._env.unwrapped, trace, moment)
        if self._simulation is not None:
            self._simulation.write(self._env.unwrapped, trace, moment)

    def _step(self, env: Env, action: Any) -> tuple[Trace, Trace]:
        """Take one step; return what is shown after it, and what it brings."""
        observation, reward, terminated, truncated, _ = env.step(np.array(action)[()])
        outcome = {
            "reward": np.asarray(reward, np.float64),
            "ended.terminated": np.asarray(terminated, np.bool_),
            "ended.truncated": np.asarray(truncated, np.bool_),
        }
        return self._shown(observation), outcome

    def _shown(self, observation: Any) -> Trace:
        space = self._env.observation_space
        flat = observation if isinstance(space, spaces.Box) else spaces.flatten(space, observation)
        return {"observation": np.array(flat)}

    def _observed(self, env: Env, observer: str) -> Trace:
        """Return what the environment's method ``observer`` shows without a step."""
        return self._shown(getattr(env.unwrapped, observer)())

    def _state(self, env: Env) -> Trace:
        """Return all that can be read of the state, if it can be put in place."""
        if not self.forces:
            return {}
        simulated = {} if self._simulation is None else self._simulation.read(env.unwrapped)
        return simulated | self._attributes.read(env.unwrapped)

    def _return(self, env: Env, seed: int, actions: np.ndarray) -> float:
        env.reset(seed=seed)
        total = 0.0
        for action in actions:
            _, outcome = self._step(env, action)
            total += float(outcome["reward"])
            if _is_over(outcome):
                break
        return total

    # -- making and watching ---------------------------------------------------------------------------------

    def _made(self) -> Env:
        """Make the environment without its time limit: a moment put in place has no past."""
        try:
            _import_maker(self.id)
            with _quiet():
                env = gymnasium.make(self.id, max_episode_steps=-1, disable_env_checker=True)
        except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv):
            raise UnknownName("environment", self.id, gymnasium.registry, owner="Gymnasium") from None
        except (gymnasium.error.Error, ImportError) as error:
            raise InvalidValue(
                f"An environment must be one that gymnasium.make can make here; of {self.id!r} it says: {error}"
            ) from error
        assert env.spec is not None
        self._spec = gymnasium.registry[env.spec.id]
        return env

    def _check_policy(self, policy: str) -> None:
        if policy != "random":
            raise InvalidValue(
                f"{self.id} must be played by chance, got the policy {policy!r}. Controllers are those of rlops."
            )

    def _watched(self, episode: Episode) -> list[Trace]:
        """Return the numbers in the environment after a reset by another seed, one by its own, and each step."""
        env, found = self._env, []
        for seed in (episode.seed + 1, episode.seed):
            env.reset(seed=seed)
            found.append(_numbers_of(env.unwrapped))
        for action in episode.actions:
            _, outcome = self._step(env, action)
            found.append(_numbers_of(env.unwrapped))
            if _is_over(outcome):
                break
        return found

    def _found_observer(self, episode: Episode) -> str | None:
        """Return the method that shows without a step what a step shows; None if there is none."""
        name = _observer(self._env.unwrapped)
        if name is None:
            return None
        self._env.reset(seed=episode.seed)
        for action in episode.actions:
            shown, outcome = self._step(self._env, action)
            if not _same(shown, self._observed(self._env, name)):
                return None
            if _is_over(outcome):
                break
        return name

    def _is_as_played(self, episode: Episode, trace: Trace) -> bool:
        """Return whether every moment of ``trace``, put in place, brings the step that was played."""
        if not any(name.startswith("state.") for name in trace):
            return False
        return _same(self._all_forced(episode, trace), _by_construction(trace))

    def _all_forced(self, episode: Episode, trace: Trace) -> Trace:
        return self.forced(episode, trace, np.arange(len(trace["reward"])))

    # -- episodes --------------------------------------------------------------------------------------------

    def _scripted(self) -> Iterator[tuple[Episode, Trace]]:
        """Play the episodes of a golden file, but one that would have to be looked for, as long as each lasts."""
        most = int(np.clip(NUMBERS // max(self._width, 1), MIN_STEPS, MAX_STEPS))
        steps = min(most, self._spec.max_episode_steps or most)
        taken = 0
        for seed in range(RANDOM_EPISODES):
            episode, trace = self._until_end(Episode(f"random {seed}", seed, self._actions.by_chance(seed, steps)))
            yield episode, trace
            taken += len(episode.actions)
            if seed > 0 and taken >= steps:
                break
        if isinstance(self._actions.space, spaces.Box):
            yield self._until_end(Episode("sine", RANDOM_EPISODES, self._actions.waves(self._actions.space, steps)))
        yield self._until_end(Episode("still", RANDOM_EPISODES + 1, self._actions.still(steps)))

    def _until_end(self, episode: Episode) -> tuple[Episode, Trace]:
        """Play ``episode`` and return it with no more actions than it took."""
        trace = self.play(episode)
        return replace(episode, actions=episode.actions[: len(trace["reward"])]), trace

    def _recording(self, episode: Episode, trace: Trace) -> Recording:
        """Return the recording; what its moments bring is kept only if that is not what was played."""
        if not self.forces:
            return Recording(episode, trace)
        forced = self._all_forced(episode, trace)
        return Recording(episode, trace, None if _same(forced, _by_construction(trace)) else forced)

    def _terminated(self) -> list[Recording]:
        """Return the shortest episode that is found to end by itself; none if none is."""
        steps = min(MAX_STEPS, self._spec.max_episode_steps or MAX_STEPS)
        looked = [
            self._until_end(Episode("terminated", seed, self._actions.held(seed, steps)))
            for seed in range(100, 100 + _SEARCHED)
        ]
        ended = [one for one in looked if one[1]["ended.terminated"].any()]
        return [self._recording(*one) for one in sorted(ended, key=lambda one: len(one[0].actions))[:1]]


class _Actions:
    """Scripts of actions ``(steps, …)`` in a space."""

    def __init__(self, space: spaces.Space[Any], id: str):
        """Take the ``space`` of the environment ``id``."""
        if not isinstance(space, (spaces.Box, spaces.Discrete)):
            raise InvalidValue(f"{id} cannot be recorded: its actions must be a Box or Discrete, but are {space}.")
        self.space = space

    def by_chance(self, seed: int, steps: int) -> np.ndarray:
        """Return actions by chance, within their bounds."""
        draws, space = np.random.default_rng(seed), self.space
        if isinstance(space, spaces.Discrete):
            return np.asarray(space.start + draws.integers(space.n, size=steps))
        return _within(space, draws.uniform(-1.0, 1.0, (steps, *space.shape)))

    def held(self, seed: int, steps: int) -> np.ndarray:
        """Return actions by chance, vectors at the ends of their bounds, each held for a while."""
        draws, space = np.random.default_rng(seed), self.space
        held_steps = _HELD_STEPS[seed % len(_HELD_STEPS)]
        turns = 1 + steps // held_steps
        if isinstance(space, spaces.Discrete):
            chosen = np.asarray(space.start + draws.integers(space.n, size=turns))
        else:
            chosen = _within(space, draws.choice([-1.0, 1.0], (turns, *space.shape)))
        return np.repeat(chosen, held_steps, axis=0)[:steps]

    def waves(self, space: spaces.Box, steps: int) -> np.ndarray:
        """Return vectors that swing between their bounds, each component at a period of its own."""
        periods_steps = 8.0 + 5.0 * np.arange(np.prod(space.shape, dtype=np.int64))
        waves = np.sin(2 * np.pi * np.arange(steps)[:, None] / periods_steps)
        return _within(space, waves.reshape(steps, *space.shape))

    def still(self, steps: int) -> np.ndarray:
        """Return the vector nearest to zero, or the first of all actions, ``steps`` times."""
        if isinstance(self.space, spaces.Discrete):
            return np.full(steps, self.space.start)
        zeros = np.zeros((steps, *self.space.shape))
        return np.clip(zeros, self.space.low, self.space.high).astype(self.space.dtype)


def _within(space: spaces.Box, shares: np.ndarray) -> np.ndarray:
    """Return vectors for ``shares`` -1 to 1 of the way between the bounds; one that is absent counts as 1 away."""
    low = np.where(np.isfinite(space.low), space.low, np.minimum(-1.0, space.high - 1.0)).astype(np.float64)
    high = np.where(np.isfinite(space.high), space.high, np.maximum(1.0, low + 1.0)).astype(np.float64)
    vectors = (low + high) / 2 + shares * (high - low) / 2
    if not np.issubdtype(space.dtype, np.floating):
        vectors = np.rint(vectors)
    return np.clip(vectors.astype(space.dtype), space.low, space.high)


# -- the state ---------------------------------------------------------------------------------------------


class _Mujoco:
    """All that MuJoCo integrates from one step to the next, by field."""

    def __init__(self, unwrapped: Any):
        import mujoco

        self._mujoco = mujoco
        self.engine = f"mujoco {mujoco.__version__}"
        self._model, self._frame_skip = unwrapped.model, getattr(unwrapped, "frame_skip", None)
        self._whole = mujoco.mjtState.mjSTATE_INTEGRATION
        bits = [bit for bit in mujoco.mjtState.__members__.values() if _is_field(int(bit), int(self._whole))]
        self._spans: dict[str, slice] = {}
        end = 0
        for bit in sorted(bits, key=int):
            begin, end = end, end + mujoco.mj_stateSize(unwrapped.model, int(bit))
            if end > begin:
                self._spans[_field_name(bit.name)] = slice(begin, end)
        self._size = end

    def read(self, unwrapped: Any) -> Trace:
        """Return the fields of the state."""
        whole = np.empty(self._size)
        self._mujoco.mj_getState(unwrapped.model, unwrapped.data, whole, int(self._whole))
        return {name: whole[span].copy() for name, span in self._spans.items()}

    def write(self, unwrapped: Any, trace: Trace, moment: int) -> None:
        """Put a recorded moment in place, and all that follows from it without a step.

        What a step leaves behind for the next, such as the positions of bodies, is one substep older than the state;
        here it is of the state itself. A step from here is therefore compared with one that was recorded from here.
        """
        fields = self.read(unwrapped)
        for name, numbers in fields.items():
            if name in trace:
                numbers[:] = _recorded(name, numbers, trace, moment)
        whole = np.concatenate(list(fields.values()))
        self._mujoco.mj_setState(unwrapped.model, unwrapped.data, whole, int(self._whole))
        self._mujoco.mj_forward(unwrapped.model, unwrapped.data)
        self._mujoco.mj_rnePostConstraint(unwrapped.model, unwrapped.data)

    def physics(self) -> dict[str, Any]:
        """Return the numbers of the compiled model on which its motion depends."""
        model = self._model
        found: dict[str, Any] = {"frame_skip": self._frame_skip}
        found |= {f"opt.{name}": _listed(getattr(model.opt, name)) for name in _OPTIONS}
        found |= {name: _listed(getattr(model, name)) for name in _PHYSICS if getattr(model, name).size}
        return found


_OPTIONS = (
    "timestep", "integrator", "solver", "iterations", "tolerance", "ls_iterations", "ls_tolerance", "noslip_iterations",
    "noslip_tolerance", "ccd_iterations", "ccd_tolerance", "cone", "jacobian", "impratio", "gravity", "wind", "density",
    "viscosity", "magnetic", "disableflags", "enableflags", "o_margin", "o_solref", "o_solimp", "o_friction",
)  # fmt: skip
_PHYSICS = (
    "qpos0", "qpos_spring",
    *(f"body_{name}" for name in ("parentid", "pos", "quat", "ipos", "iquat", "mass", "inertia", "gravcomp")),
    *(f"jnt_{name}" for name in (
        "type", "bodyid", "pos", "axis", "limited", "range", "stiffness", "margin", "solref", "solimp",
        "actfrclimited", "actfrcrange",
    )),
    *(f"dof_{name}" for name in ("damping", "armature", "frictionloss", "solref", "solimp")),
    *(f"geom_{name}" for name in (
        "type", "bodyid", "pos", "quat", "size", "friction", "margin", "gap", "condim", "contype", "conaffinity",
        "priority", "solmix", "solref", "solimp",
    )),
    *(f"actuator_{name}" for name in (
        "trntype", "trnid", "dyntype", "dynprm", "gaintype", "gainprm", "biastype", "biasprm", "gear", "ctrllimited",
        "ctrlrange", "forcelimited", "forcerange",
    )),
    *(f"tendon_{name}" for name in (
        "stiffness", "damping", "frictionloss", "armature", "limited", "range", "lengthspring", "margin",
    )),
    *(f"eq_{name}" for name in ("type", "obj1id", "obj2id", "active0", "solref", "solimp", "data")),
    *(f"pair_{name}" for name in ("geom1", "geom2", "friction", "margin", "gap", "solref", "solimp")),
)  # fmt: skip


def _is_mujoco(unwrapped: Any) -> bool:
    mujoco = sys.modules.get("mujoco")
    return mujoco is not None and isinstance(getattr(unwrapped, "data", None), mujoco.MjData)


def _is_field(bit: int, whole: int) -> bool:
    return bit.bit_count() == 1 and bool(bit & whole)


def _field_name(bit: str) -> str:
    name = bit.removeprefix("mjSTATE_").lower()
    return "state." + {"warmstart": "qacc_warmstart"}.get(name, name)


class _Attributes:
    """The attributes of an environment that hold numbers and move, and the place in its stream of random numbers."""

    def __init__(self, watched: list[Trace], again: list[Trace], unwrapped: Env):
        """Choose by the numbers after two resets and some steps; what is not the same ``again`` is no state."""
        first, types = watched[0], vars(unwrapped)
        self._dtypes = {
            name: np.result_type(*(found[name] for found in watched))
            for name in first
            if all(name in found and found[name].shape == first[name].shape for found in [*watched, *again])
            and not all(_same_numbers(found[name], first[name]) for found in watched)
            and all(_same_numbers(one[name], other[name]) for one, other in zip(watched, again, strict=False))
        }
        self._kinds = {
            name: (watched[1][name].dtype, watched[-1][name].dtype, type(types[name])) for name in self._dtypes
        }

    def read(self, unwrapped: Env) -> Trace:
        """Return their numbers."""
        found = {f"state.{name}": _numbers(getattr(unwrapped, name)).astype(t) for name, t in self._dtypes.items()}
        generator = _generator(unwrapped)
        return found if generator is None else found | {"state.rng": _words(generator)}

    def write(self, unwrapped: Env, trace: Trace, moment: int) -> None:
        """Put those of a recorded moment in place, each of the type that it has after a reset or after a step."""
        for name, (at_reset, stepped, kind) in self._kinds.items():
            if f"state.{name}" not in trace:
                continue
            numbers = _recorded(f"state.{name}", _numbers(getattr(unwrapped, name)), trace, moment)
            numbers = numbers.astype(at_reset if moment == 0 else stepped)
            if moment == 0:
                kind = type(getattr(unwrapped, name))
            setattr(unwrapped, name, numbers.copy() if kind is np.ndarray else kind(numbers))
        generator = _generator(unwrapped)
        if generator is not None and "state.rng" in trace:
            _set_words(generator, trace["state.rng"][moment])


def _recorded(name: str, present: np.ndarray, trace: Trace, moment: int) -> np.ndarray:
    """Return the recorded numbers of an array of the state, which must be as many as there are at ``present``."""
    numbers: np.ndarray = trace[name][moment]
    if numbers.shape != present.shape:
        raise InvalidValue(
            f"A moment that is put in place must be shaped as the environment's are, {name} as {present.shape}; got "
            f"{numbers.shape}. Record anew what has become another environment."
        )
    return numbers


def _numbers_of(unwrapped: Env) -> Trace:
    """Return all attributes that hold numbers, by name."""
    found = {name: _numbers(value) for name, value in vars(unwrapped).items() if name != "_np_random_seed"}
    return {name: numbers for name, numbers in found.items() if numbers is not None}


def _numbers(value: Any) -> Any:
    """Return the numbers of an attribute as an array; None if it is none, or several of different kinds."""
    if isinstance(value, (tuple, list)) and not all(isinstance(one, (bool, int, float, np.number)) for one in value):
        return None
    if not isinstance(value, (bool, int, float, np.generic, np.ndarray, tuple, list)):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "biuf" else None


def _generator(unwrapped: Env) -> np.random.Generator | None:
    """Return the random numbers of an environment, if a reset seeds them and their place can be read."""
    generator = vars(unwrapped).get("_np_random")
    known = isinstance(generator, np.random.Generator) and isinstance(generator.bit_generator, np.random.PCG64)
    return generator if known else None


_WORD = (1 << 64) - 1


def _words(generator: np.random.Generator) -> np.ndarray:
    """Return the place of a generator as words ``(6,)``."""
    state: Any = generator.bit_generator.state
    wide = [state["state"]["state"], state["state"]["inc"]]
    halves = [half for number in wide for half in (number >> 64, number & _WORD)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def _set_words(generator: np.random.Generator, words: np.ndarray) -> None:
    state_high, state_low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state_high << 64 | state_low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }


def _observer(unwrapped: Any) -> str | None:
    """Return the method that observes without a step, by the names that Gymnasium's environments give it."""
    for name in ("_get_obs", "_get_ob"):
        method = getattr(unwrapped, name, None)
        if callable(method) and not inspect.signature(method).parameters:
            return name
    return None


def _is_over(outcome: Trace) -> bool:
    return bool(outcome["ended.terminated"] or outcome["ended.truncated"])


# -- traces and declarations -------------------------------------------------------------------------------


def _stacked(records: list[Trace]) -> Trace:
    return {name: np.stack([one[name] for one in records]) for name in records[0]} if records else {}


def _by_construction(trace: Trace) -> Trace:
    """Return what the moments of ``trace`` bring if each that is put in place is as it was."""
    steps = len(trace["reward"])
    expected = {}
    for name, array in trace.items():
        after = name.startswith("state.")
        expected[name] = (array[1:] if after else array[:steps]) if clock(name) == MOMENTS else array
    return expected


def _same(one: Trace, other: Trace) -> bool:
    """Return whether two traces hold the same numbers."""
    return one.keys() == other.keys() and all(_same_numbers(array, other[name]) for name, array in one.items())


def _same_numbers(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _space(space: spaces.Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.Box):
        bounds = {"low": _listed(space.low), "high": _listed(space.high)}
        return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype)} | bounds
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    return {"kind": type(space).__name__, "size": spaces.flatdim(space), "repr": repr(space)}


def _listed(numbers: Any) -> Any:
    """Return numbers to nine digits of their largest, ready for JSON: one if all are equal, a hash if they are many."""
    array = np.asarray(numbers)
    if array.dtype.kind == "b":  # releases of an engine differ in whether a switch is a bool or a byte
        array = array.astype(np.uint8)
    if array.dtype.kind == "f":
        finite = np.abs(array[np.isfinite(array)], dtype=np.float64)
        largest = float(finite.max()) if finite.size else 0.0
        digits = 8 - int(np.floor(np.log10(largest))) if largest > 0 else 0
        array = np.round(array.astype(np.float64), digits) + 0.0  # no negative zero
    if array.size and (array == array.flat[0]).all():
        return _plain(array.flat[0].item())
    if array.size > _LISTED:
        shape = "x".join(str(size) for size in array.shape)
        return f"{shape} sha256:{hashlib.sha256(repr(array.tolist()).encode()).hexdigest()}"
    return _plain(array.tolist())


def _plain(value: Any) -> Any:
    """Return ``value`` ready for JSON; infinities and what is no data as words."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _listed(value)
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value)):
        return value
    return repr(value) if isinstance(value, float) else f"{type(value).__module__}.{type(value).__qualname__}"


def _import_maker(id: str) -> None:
    """Import what registers and what makes ``id``: an engine is kept quiet only once it is there."""
    module, _, name = id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gymnasium.registry.get(name)
    if spec is not None and isinstance(spec.entry_point, str):
        importlib.import_module(spec.entry_point.partition(":")[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of others' environments and engines from whoever asked for a check.

    Among them are those about newer versions and deprecated models; MuJoCo would put its own into a file in the working
    directory.
    """
    mujoco = sys.modules.get("mujoco")
    handler = None if mujoco is None else mujoco.get_mju_user_warning()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if mujoco is not None:
            mujoco.set_mju_user_warning(lambda message: None)
        try:
            yield
        finally:
            if mujoco is not None:
                mujoco.set_mju_user_warning(handler)
