"""Parameter sharing: the agents of a PettingZoo parallel environment as rows of a Gymnasium vector environment.

One policy for all agents is trained like one policy for many environments: every agent of every copy is a row::

    envs = agents_as_rows(lambda: rlops.envs.parallel_env("rlops/Dispatch-v2"), 8, autoreset_mode="SameStep")
    model = MaskablePPO("MlpPolicy", to_sb3(envs)).learn(1_000_000, callback=WithoutPadding())

Agents may leave before their episode ends for all; their rows are *padding* until then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from pettingzoo import ParallelEnv

from rlops.errors import EpisodeEnded, InvalidAction, InvalidValue, UnknownName

_MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


def agents_as_rows(
    make: Callable[[], Any], num_copies: int, *, autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP
) -> AgentRows:
    """Return a vector environment whose rows are the agents of several copies of a parallel environment.

    Args:
        make: Returns a PettingZoo parallel environment whose agents all have one observation and one action space.
        num_copies: How many copies there are.
        autoreset_mode: NEXT_STEP or SAME_STEP.

    Raises:
        InvalidValue: If it is no parallel environment, the spaces of its agents differ, or ``num_copies`` is below 1.
        UnknownName: If the autoreset mode is another one.
    """
    try:
        mode = AutoresetMode(autoreset_mode)
    except ValueError:
        mode = None
    if mode not in _MODES:
        raise UnknownName("autoreset_mode", autoreset_mode, [m.value for m in _MODES], "agents_as_rows")
    if not isinstance(num_copies, (int, np.integer)) or num_copies < 1:
        raise InvalidValue(f"num_copies must be a whole number of at least 1, got {num_copies!r}.")
    copies = tuple(make() for _ in range(num_copies))
    for copy in copies:
        _check(copy)
    return AgentRows(copies, mode)


class AgentRows(gym.vector.VectorEnv[Any, Any, np.ndarray]):
    """Agents as rows: row = copy x agents + agent; made by :func:`agents_as_rows`.

    The rows of a copy share its world and its episode, which ends when none of its agents is left. An agent that
    leaves earlier ends its row alone (``terminated`` or ``truncated`` in that one step, with SAME_STEP also
    ``final_obs`` and ``final_info``). From then until the next episode of its copy the row is *padding*: its
    observation is zero, its reward 0, both flags are False, its infos are masked out, its action is ignored, and
    ``infos["padding"]`` is True. What begins with the observation of such a row is not experience: leave it out of
    training, for Stable-Baselines3 with :class:`rlops.wrappers.sb3.WithoutPadding`. Off-policy algorithms and
    ``VecNormalize`` have no way to leave it out; their samples and statistics hold padding, too.

    Infos are those of the agents in Gymnasium's form: arrays over all rows with ``_key`` masks.

    Attributes:
        copies: The parallel environments.
        agents: The agents of a copy, in the order of their rows.
        padding: Rows whose present observation belongs to no agent, ``(num_envs,)`` bool.
    """

    def __init__(self, copies: tuple[Any, ...], autoreset_mode: AutoresetMode):
        """Make rows of ``copies``, which have the same agents and spaces."""
        first = copies[0]
        self.copies = copies
        self.agents = tuple(first.possible_agents)
        self.num_envs = len(copies) * len(self.agents)
        self.autoreset_mode = autoreset_mode
        self.metadata = {**first.metadata, "autoreset_mode": autoreset_mode}
        self.render_mode = getattr(first, "render_mode", None)
        self.single_observation_space = first.observation_space(self.agents[0])
        self.single_action_space = first.action_space(self.agents[0])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.padding = np.ones(self.num_envs, np.bool_)
        self._same_step = autoreset_mode is AutoresetMode.SAME_STEP
        empty = create_empty_array(self.single_observation_space, 1)
        self._nothing = next(iterate(batch_space(self.single_observation_space, 1), empty))
        self._obs: list[Any] = [self._nothing] * self.num_envs
        self._masks: np.ndarray | None = None
        if isinstance(self.single_action_space, gym.spaces.Discrete):
            self._masks = np.ones((self.num_envs, int(self.single_action_space.n)), np.bool_)
        self._started = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every copy.

        Args:
            seed: Copy ``c`` gets ``seed + c``, or from a sequence with one entry a row that of its first agent.
            options: Handed to every copy.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        infos: dict[str, Any] = {}
        self.padding = self.padding.copy()
        for number, own_seed in enumerate(self._seeds(seed)):
            self._begin(number, self.copies[number].reset(seed=own_seed, options=options), infos)
        self._started = True
        return self._observations(), self._told(infos)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * len(self.copies)
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + number for number in range(len(self.copies))]
        if len(seed) != self.num_envs:
            raise InvalidValue(f"A sequence of seeds must have one entry a row, {self.num_envs}, got {len(seed)}.")
        return seed[:: len(self.agents)]

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every copy one step; with NEXT_STEP a copy that has ended is reset instead.

        Args:
            actions: One action a row; those of padding rows are ignored.

        Returns:
            Observations, rewards ``(n,)`` float64, terminated and truncated ``(n,)`` bool, infos.

        Raises:
            InvalidAction: If there is not one action a row.
            EpisodeEnded: If no episode was begun.
        """
        if not self._started:
            raise EpisodeEnded("reset must be called before step.")
        chosen = list(iterate(self.action_space, actions))
        if len(chosen) != self.num_envs:
            raise InvalidAction(f"There must be one action a row, {self.num_envs}, got {len(chosen)}.")
        rewards, infos = np.zeros(self.num_envs), dict[str, Any]()
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        self.padding = self.padding.copy()
        for number, copy in enumerate(self.copies):
            if not copy.agents:
                self._begin(number, copy.reset(), infos)
                continue
            rows = {agent: row for agent, row in self._rows(number).items() if agent in copy.agents}
            obs, reward, over, cut, told = copy.step({agent: chosen[row] for agent, row in rows.items()})
            for agent, row in rows.items():
                rewards[row], terminated[row], truncated[row] = reward[agent], over[agent], cut[agent]
            self._go_on(number, rows, obs, told, infos)
        return self._observations(), rewards, terminated, truncated, self._told(infos)

    def _rows(self, number: int) -> dict[str, int]:
        """Return the row of every agent of a copy."""
        return {agent: number * len(self.agents) + place for place, agent in enumerate(self.agents)}

    def _begin(self, number: int, first: tuple[Any, Any], infos: dict[str, Any]) -> None:
        """Show the ``first`` observations and infos of a copy's episode."""
        obs, told = first
        for agent, row in self._rows(number).items():
            if agent in self.copies[number].agents:
                self._show(row, obs[agent], told.get(agent, {}), infos)
            else:
                self._pad(row)

    def _go_on(
        self, number: int, moved: dict[str, int], obs: Mapping[str, Any], told: Mapping[str, Any], infos: dict[str, Any]
    ) -> None:
        """Show what the agents of a copy observe after a step in which the rows ``moved``, by agent, have acted."""
        copy = self.copies[number]
        for agent, row in self._rows(number).items():
            left = agent in moved and agent not in copy.agents
            if left and self._same_step:
                last = {"final_obs": deepcopy(obs[agent]), "final_info": told.get(agent, {})}
                infos.update(self._add_info(infos, last, row))
            if agent in copy.agents or (left and not self._same_step):
                self._show(row, obs[agent], told.get(agent, {}), infos)
            else:
                self._pad(row)
        if self._same_step and not copy.agents:
            self._begin(number, copy.reset(), infos)

    def _show(self, row: int, obs: Any, info: dict[str, Any], infos: dict[str, Any]) -> None:
        """Let a row observe ``obs`` and write its ``info`` into ``infos``."""
        self._obs[row], self.padding[row] = obs, False
        infos.update(self._add_info(infos, info, row))
        if self._masks is not None:
            mask = info.get("action_mask", obs.get("action_mask") if isinstance(obs, Mapping) else None)
            self._masks[row] = True if mask is None else mask

    def _pad(self, row: int) -> None:
        """Let a row observe nothing; only its last action is legal then, as a distribution needs one."""
        self._obs[row], self.padding[row] = self._nothing, True
        if self._masks is not None:
            self._masks[row] = False
            self._masks[row, -1] = True

    def _observations(self) -> Any:
        out: Any = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, self._obs, out)

    def _told(self, infos: dict[str, Any]) -> dict[str, Any]:
        return infos | {"padding": self.padding, "_padding": np.ones(self.num_envs, np.bool_)}

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal now, ``(n, m)`` bool; the name that sb3-contrib looks for.

        They are taken from ``action_mask`` in an agent's info, or in its observation; without, every action is legal.

        Raises:
            InvalidValue: If the actions are not numbered.
        """
        if self._masks is None:
            raise InvalidValue(f"action_masks needs a Discrete action space, got {self.single_action_space}.")
        return self._masks.copy()

    def render(self) -> tuple[Any, ...]:
        """Return the picture of every row: that of its copy."""
        pictures = [copy.render() for copy in self.copies]
        return tuple(picture for picture in pictures for _ in self.agents)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the copies."""
        for copy in self.copies:
            copy.close()


def _check(env: Any) -> None:
    """Refuse what is no parallel environment, or one whose agents have different spaces."""
    if not isinstance(env, ParallelEnv):
        raise InvalidValue(
            f"agents_as_rows needs a function that returns a PettingZoo ParallelEnv, got {type(env).__name__}. "
            "Convert an AEC environment with pettingzoo.utils.conversions.aec_to_parallel."
        )
    first, *others = env.possible_agents
    for what in ("observation_space", "action_space"):
        shared = getattr(env, what)(first)
        for agent in others:
            own = getattr(env, what)(agent)
            if own != shared:
                raise InvalidValue(
                    f"agents_as_rows needs one {what} for all agents, got {shared} for {first} and {own} for {agent}. "
                    "Make them equal with a wrapper around the parallel environment."
                )
