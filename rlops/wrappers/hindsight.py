"""Goals as part of the observation: what hindsight experience replay learns from.

Environments with a goal observe what has been achieved and what is desired among their other numbers. Here these
stand apart, as in Gymnasium-Robotics, and the reward is a function of the two alone, so that a learner can ask what it
would have been for another goal (Andrychowicz et al. 2017). Nothing else that is observed depends on the goal: it would
go on telling the old one.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from rlops.errors import InvalidValue

PARTS = ("observation", "achieved_goal", "desired_goal")


def goals(env: Any) -> Any:
    """Return ``env`` with its goal apart, and rewards that follow from the goal alone.

    Args:
        env: A single or vector environment with a goal, for example ``rlops/ArmReach-v0``.

    Returns:
        The environment with observations ``{"observation": (k,), "achieved_goal": (g,), "desired_goal": (g,)}``, the
        first as before but without the goal and the way to it, and a method ``compute_reward(achieved, desired, info)``
        that takes any leading axes. Its rewards are the term ``goal`` of what is observed, without effort;
        ``info["reward_terms"]`` still has all terms.

    Raises:
        InvalidValue: If the environment has no goal.
    """
    kind = VectorGoals if isinstance(env, gym.vector.VectorEnv) else Goals
    return kind(env)


def kernel_of(face: Any) -> Any:
    """Return the kernel of an environment, or None."""
    return getattr(face, "kernel", None)


class _Parts:
    """Which columns of an observation are achieved, which desired, and which know nothing of the goal."""

    def __init__(self, env: Any):
        self.face = getattr(env, "unwrapped", env)
        self.kernel = kernel_of(self.face)
        if not hasattr(self.kernel, "GOAL"):
            raise InvalidValue(
                f"goals needs an environment with a goal, got {type(self.face).__name__}. "
                "Use for example rlops/ArmReach-v0 or rlops/ArmPush-v0."
            )
        names = [column.name for column in self.kernel.OBSERVATION]
        self.achieved, self.desired, left = (
            [k for k, name in enumerate(names) if name.rpartition("_")[0] == part and name[-1] in "xyz"]
            for part in self.kernel.GOAL
        )
        kept = [k for k in range(len(names)) if k not in (*self.desired, *left)]
        self._columns = dict(zip(PARTS, (kept, self.achieved, self.desired), strict=True))

    def split(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parts of ``obs``, ``(…, k)``."""
        return {name: obs[..., columns] for name, columns in self._columns.items()}

    def space(self, before: gym.Space[Any]) -> gym.spaces.Dict:
        """Return the space of one row."""
        assert isinstance(before, gym.spaces.Box)
        return gym.spaces.Dict(
            {name: gym.spaces.Box(before.low[part], before.high[part]) for name, part in self._columns.items()}
        )

    def rewards(self, params: np.ndarray, achieved: Any, desired: Any) -> np.ndarray:
        """Return the rewards ``(…)`` of goals ``(…, g)``, by the ``params`` (n,) of all of them in order, or (1,)."""
        given, wanted = np.broadcast_arrays(np.asarray(achieved, np.float64), np.asarray(desired, np.float64))
        out = np.zeros(given.shape[:-1])
        flat = [np.ascontiguousarray(goals).reshape(-1, given.shape[-1]) for goals in (given, wanted)]
        self.kernel.goal_rewards(params, *flat, out.reshape(-1))
        return out


class Goals(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """The single environment of :func:`goals`."""

    def __init__(self, env: gym.Env[Any, Any]):
        """Show the goal of ``env`` apart."""
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._parts = _Parts(env)
        self.observation_space = self._parts.space(env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._parts.split(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Move one step."""
        obs, _, terminated, truncated, info = self.env.step(action)
        shown = self._parts.split(obs)
        reward = float(self.compute_reward(shown["achieved_goal"], shown["desired_goal"], info))
        return shown, reward, terminated, truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Return what is earned by ``achieved_goal`` where ``desired_goal`` was wanted, both ``(…, g)``."""
        return self._parts.rewards(self._parts.face.params[:1], achieved_goal, desired_goal)


class VectorGoals(gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """The vector environment of :func:`goals`."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]):
        """Show the goal of every row of ``env`` apart."""
        super().__init__(env)
        self._parts = _Parts(env)
        self.single_observation_space = self._parts.space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes."""
        obs, infos = self.env.reset(seed=seed, options=options)
        return self._parts.split(obs), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Move every row one step."""
        obs, _, terminated, truncated, infos = self.env.step(actions)
        shown = self._parts.split(obs)
        last = obs
        if "final_obs" in infos:
            last, rows = obs.copy(), np.flatnonzero(infos["_final_obs"])
            final = np.full(self.num_envs, None, object)
            for row in rows:
                last[row] = infos["final_obs"][row]
                final[row] = self._parts.split(infos["final_obs"][row])
            infos = infos | {"final_obs": final}
        params = self._parts.face.params
        rewards = self._parts.rewards(params, last[:, self._parts.achieved], last[:, self._parts.desired])
        return shown, rewards, terminated, truncated, infos

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Return what is earned by ``achieved_goal`` where ``desired_goal`` was wanted, both ``(…, g)``."""
        return self._parts.rewards(self._parts.face.params[:1], achieved_goal, desired_goal)
