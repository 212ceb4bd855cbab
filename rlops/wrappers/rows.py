"""What wrappers of single and of vector environments share: rows, their episodes, and a stage that acts on them.

A *stage* says once, on arrays whose first axis are the rows, what happens to actions and observations.
:func:`staged` puts it around an environment; a single environment is one row. Row ``i`` of a vector environment with
seed ``s`` is, bit for bit, the single environment with seed ``s + i``, in every autoreset mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

_ONE = np.ones(1, np.bool_)


class Rows:
    """Which episode every row is in, and how far.

    Attributes:
        seeds: Seed of every row, ``(n,)`` uint64.
        seeded: Whether the seed was given, ``(n,)`` bool; if not it was drawn here, for the wrapper alone.
        numbers: Number of the present episode since the seed, from 0, ``(n,)``; -1 before the first.
        steps: Steps since the episode began, ``(n,)``.
        resetting: Rows whose next step is their reset and ignores its action, ``(n,)`` bool: with NEXT_STEP autoreset.
    """

    def __init__(self, count: int):
        """Hold ``count`` rows, none of which has begun."""
        self.seeds = np.zeros(count, np.uint64)
        self.seeded = np.zeros(count, np.bool_)
        self.numbers = np.full(count, -1)
        self.steps = np.zeros(count, np.int64)
        self.resetting = np.zeros(count, np.bool_)
        self._entropy = np.random.default_rng()

    def reset(self, seed: int | Sequence[int | None] | None, which: np.ndarray) -> None:
        """Begin an episode in the rows ``which``: the first of their seed, or the next where there is no new seed.

        Args:
            seed: Row ``i`` gets ``seed + i``, or its entry of a sequence.
            which: ``(n,)`` bool.
        """
        seeds = self._given(seed)
        given = which & np.array([one is not None for one in seeds])
        self.seeds[given] = np.array([0 if one is None else int(one) % 2**64 for one in seeds], np.uint64)[given]
        fresh = which & ~given & (self.numbers < 0)
        self.seeds[fresh] = self._entropy.integers(2**63, size=int(fresh.sum()))
        self.seeded |= given
        self.numbers[given] = -1
        self.begin(which)

    def _given(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * len(self.seeds)
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + row for row in range(len(self.seeds))]
        return seed

    def begin(self, which: np.ndarray) -> None:
        """Begin the next episode in the rows ``which``."""
        self.numbers[which] += 1
        self.steps[which] = 0
        self.resetting[which] = False


class Stage:
    """What happens to the actions and observations of ``n`` rows. Here: nothing; subclasses override what they need.

    State that belongs to an episode begins anew where ``rows.steps`` is 0. A stage returns new arrays and leaves those
    that it gets as they are.

    Attributes:
        acts: Whether :meth:`act` does anything.
        observes: Whether :meth:`observe` does anything.
    """

    acts = False
    observes = False

    def observation_space(self) -> gym.Space[Any] | None:
        """Return in what the observations of one row lie, or None if that stays what it was."""
        return None

    def action_space(self) -> gym.Space[Any] | None:
        """Return in what the actions that one row takes lie, or None if that stays what it was."""
        return None

    def act(self, actions: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return the actions that reach the environment; only the rows ``which`` move, to step ``rows.steps + 1``."""
        return actions

    def observe(self, obs: np.ndarray, rows: Rows, which: np.ndarray) -> np.ndarray:
        """Return what is observed: of the rows ``which`` at ``rows.steps``, of the others what was observed last."""
        return obs

    def watch(
        self,
        rows: Rows,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        told: Callable[[int], Mapping[str, Any]],
    ) -> None:
        """Take notice of a step before new episodes begin; ``told`` returns the info of a row that ended."""


class StagedEnv(gym.Wrapper):
    """A single environment behind a stage; made by :func:`staged`."""

    def __init__(self, env: gym.Env[Any, Any], stage: Stage, maker: Callable[..., Any], arguments: dict[str, Any]):
        """Put ``stage``, which ``maker(env, **arguments)`` made, around ``env``."""
        super().__init__(env)
        self.stage, self._maker, self._arguments = stage, maker, arguments
        self._rows = Rows(1)
        self._observation_space, self._action_space = stage.observation_space(), stage.action_space()

    def __str__(self) -> str:
        return f"<{type(self.stage).__name__}{self.env}>"

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """The specification from which ``gymnasium.make`` makes the same wrapped environment again."""
        spec = deepcopy(self.env.spec)
        if spec is not None:
            made = f"{self._maker.__module__}:{self._maker.__name__}"
            spec.additional_wrappers += (WrapperSpec(self._maker.__name__, made, self._arguments),)
        return spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode: the first of ``seed``, or the next one without."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._rows.reset([seed], _ONE)
        return self._observed(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Move one step."""
        stage, rows = self.stage, self._rows
        if stage.acts:
            action = stage.act(np.asarray(action)[None], rows, _ONE)[0]
        obs, reward, terminated, truncated, info = self.env.step(action)
        rows.steps += 1
        stage.watch(rows, np.array([reward]), np.array([terminated]), np.array([truncated]), lambda row: info)
        return self._observed(obs), reward, terminated, truncated, info

    def _observed(self, obs: Any) -> Any:
        return self.stage.observe(np.asarray(obs)[None], self._rows, _ONE)[0] if self.stage.observes else obs


class StagedVectorEnv(gym.vector.VectorWrapper):
    """A vector environment behind a stage; made by :func:`staged`."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], stage: Stage):
        """Put ``stage`` around ``env``."""
        super().__init__(env)
        self.stage = stage
        self._rows = Rows(env.num_envs)
        self._all = np.ones(env.num_envs, np.bool_)
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._next_step, self._same_step = mode is AutoresetMode.NEXT_STEP, mode is AutoresetMode.SAME_STEP
        observed, acted = stage.observation_space(), stage.action_space()
        if observed is not None:
            self.single_observation_space, self.observation_space = observed, batch_space(observed, env.num_envs)
        if acted is not None:
            self.single_action_space, self.action_space = acted, batch_space(acted, env.num_envs)

    def __repr__(self) -> str:
        return f"<{type(self.stage).__name__}, {self.env}>"

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every row, or in the rows of ``options["reset_mask"]``.

        Args:
            seed: Row ``i`` gets ``seed + i``, or its entry of a sequence; without, its next episode begins.
            options: What the environment takes. They are not changed.
        """
        passed = dict(options) if isinstance(options, Mapping) else options
        which = passed.get("reset_mask", self._all) if passed else self._all  # Gymnasium's own takes it out
        obs, infos = self.env.reset(seed=seed, options=passed)  # type: ignore[arg-type]
        self._rows.reset(seed, which)
        return self._observed(obs, which), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every row one step."""
        stage, rows = self.stage, self._rows
        moving = ~rows.resetting
        if stage.acts:
            actions = stage.act(np.asarray(actions), rows, moving)
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        rows.steps += moving
        ended = terminated | truncated
        told = infos.get("final_info", {}) if self._same_step else infos
        stage.watch(rows, rewards, terminated, truncated, lambda row: row_info(told, row))
        if self._same_step and ended.any():
            infos = self._with_final_obs(infos, obs, ended)
            begun = ended
        else:
            observed = self._observed(obs, moving)
            begun = ~moving
        if begun.any():
            rows.begin(begun)
            observed = self._observed(obs, begun)
        if self._next_step:
            rows.resetting = ended
        return observed, rewards, terminated, truncated, infos

    def _observed(self, obs: Any, which: np.ndarray) -> Any:
        return self.stage.observe(obs, self._rows, which) if self.stage.observes else obs

    def _with_final_obs(self, infos: dict[str, Any], obs: Any, ended: np.ndarray) -> dict[str, Any]:
        """Observe the step in which rows ``ended``, and return ``infos`` with what those rows observed last."""
        if not self.stage.observes:
            return infos
        last = np.array(obs)
        for row in np.flatnonzero(ended):
            last[row] = infos["final_obs"][row]
        observed = self._observed(last, self._all)
        final_obs = np.full(self.num_envs, None, object)
        for row in np.flatnonzero(ended):
            final_obs[row] = observed[row].copy()
        return infos | {"final_obs": final_obs}


def staged(env: Any, stage: Stage, maker: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Return ``env`` behind ``stage``.

    Args:
        env: A single or vector environment.
        stage: What happens to its actions and observations.
        maker: The public function that makes this wrapper; it is named in the specification of a single environment.
        arguments: The keywords with which it made it.
    """
    if isinstance(env, gym.vector.VectorEnv):
        return StagedVectorEnv(env, stage)
    return StagedEnv(env, stage, maker, arguments)


def row_count(env: Any) -> int:
    """Return the number of rows of a single or vector environment."""
    return env.num_envs if isinstance(env, gym.vector.VectorEnv) else 1


def row_spaces(env: Any) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Return the observation space and the action space of one row of a single or vector environment."""
    if isinstance(env, gym.vector.VectorEnv):
        return env.single_observation_space, env.single_action_space
    return env.observation_space, env.action_space


def row_info(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Return what Gymnasium's vector ``infos`` say about one ``row``."""
    told: dict[str, Any] = {}
    for name, value in infos.items():
        mask = infos.get(f"_{name}")
        if name.startswith("_") or name in ("final_obs", "final_info") or mask is None or not mask[row]:
            continue
        told[name] = row_info(value, row) if isinstance(value, dict) else value[row]
    return told
