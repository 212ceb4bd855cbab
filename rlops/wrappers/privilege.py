"""Privileged observation: the parameters in force, shown beside what the environment observes.

A critic that is used in training only may see what the actor must do without, for example the friction that an
episode has drawn. The parameters are *added*; the actor's observation stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from rlops.envs.contract import Parameter
from rlops.errors import InvalidValue, UnknownName


def privileged(env: Any, names: Iterable[str] | None = None, flat: bool = False) -> Any:
    """Return ``env`` with the parameters of the running episode added to its observation.

    Every parameter is scaled by its hard bounds to [-1, 1], so that the space is the same whatever is randomized. What
    is shown are the values in force after the step: those that change within an episode are fresh in every step.

    Args:
        env: A single or vector environment of rlops, wrapped or not, in any autoreset mode.
        names: Parameters to show, in this order; None: those that the environment's randomization marks as privileged.
        flat: Whether the observation is one vector, what ``env`` observes first, for algorithms that take no other.

    Returns:
        The environment with observations ``{"obs": as before, "privileged": (m,) float32}``, or ``(k + m,)`` with
        ``flat``; in a vector environment with a leading axis of rows. With SAME_STEP autoreset the observation of a
        row that ended belongs to the new episode and shows its parameters; ``infos["final_obs"]`` belongs to the old
        episode and shows those that were in force then.

    Raises:
        UnknownName: If the environment has no such parameter.
        InvalidValue: If ``env`` is not of rlops, no parameter is chosen, one is chosen twice, or ``flat`` is asked for
            an observation that is not a vector of floating-point numbers.
    """
    kind = VectorPrivileged if isinstance(env, gym.vector.VectorEnv) else Privileged
    return kind(env, names, flat)


class Privileged(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """The single environment of :func:`privileged`.

    Attributes:
        parameters: The parameters that are shown.
    """

    def __init__(self, env: gym.Env[Any, Any], names: Iterable[str] | None = None, flat: bool = False):
        """Show the parameters ``names`` of ``env``."""
        self.parameters = _chosen(env, names)
        gym.utils.RecordConstructorArgs.__init__(self, names=[p.name for p in self.parameters], flat=flat)
        gym.Wrapper.__init__(self, env)
        self.flat = flat
        self._face: Any = env.unwrapped
        self._scale = Scale(self.parameters)
        self.observation_space = _space(env.observation_space, len(self.parameters), flat)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode and show its parameters."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._shown(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Move one step and show the parameters in force."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(obs), reward, terminated, truncated, info

    def _shown(self, obs: Any) -> Any:
        return _joined(obs, self._scale.of(self._face.params)[0], self.flat)


class VectorPrivileged(gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """The vector environment of :func:`privileged`.

    Attributes:
        parameters: The parameters that are shown.
    """

    def __init__(
        self, env: gym.vector.VectorEnv[Any, Any, Any], names: Iterable[str] | None = None, flat: bool = False
    ):
        """Show the parameters ``names`` of every row of ``env``."""
        self.parameters = _chosen(env, names)
        super().__init__(env)
        self.flat = flat
        self._face: Any = env.unwrapped
        self._scale = Scale(self.parameters)
        self.single_observation_space = _space(env.single_observation_space, len(self.parameters), flat)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes and show their parameters."""
        obs, infos = self.env.reset(seed=seed, options=options)
        return self._shown(obs), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Move every row one step and show the parameters in force."""
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            infos = infos | {"final_obs": self._final(infos["final_obs"], np.flatnonzero(infos["_final_obs"]))}
        return self._shown(obs), rewards, terminated, truncated, infos

    def _shown(self, obs: Any) -> Any:
        return _joined(obs, self._scale.of(self._face.params), self.flat)

    def _final(self, obs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the last observations of ``rows``, which ended and have the next episode's parameters already."""
        final = np.full(self.num_envs, None, object)
        for row, shown in zip(rows, self._scale.of(self._face.final_params), strict=True):
            final[row] = _joined(obs[row], shown, self.flat)
        return final


class Scale:
    """Reads parameters out of records and scales them by their hard bounds to [-1, 1]."""

    def __init__(self, parameters: tuple[Parameter, ...]):
        """Read ``parameters``, in this order."""
        self._names = [p.name for p in parameters]
        self._low = np.array([p.low for p in parameters], np.float64)
        self._span = np.array([p.high for p in parameters]) - self._low

    def of(self, records: np.ndarray) -> np.ndarray:
        """Return the parameters of ``records`` (n,) scaled, ``(n, m)`` float32."""
        scaled = np.empty((len(records), len(self._names)))
        for column, name in enumerate(self._names):
            scaled[:, column] = records[name]
        scaled -= self._low
        scaled /= self._span
        scaled *= 2.0
        scaled -= 1.0
        return scaled.astype(np.float32)


def _joined(obs: Any, shown: np.ndarray, flat: bool) -> Any:
    """Return ``obs`` and what is ``shown`` beside it, ``(…, m)``, as one observation."""
    return np.concatenate([obs, shown.astype(obs.dtype)], axis=-1) if flat else {"obs": obs, "privileged": shown}


def _space(before: gym.Space[Any], count: int, flat: bool) -> gym.Space[Any]:
    """Return the space of one row that observes ``before`` and ``count`` parameters."""
    shown = gym.spaces.Box(-1.0, 1.0, (count,), np.float32)
    if not flat:
        return gym.spaces.Dict({"obs": before, "privileged": shown})
    if not isinstance(before, gym.spaces.Box) or len(before.shape) != 1 or before.dtype.kind != "f":
        raise InvalidValue(
            f"privileged with flat=True needs a vector of floating-point numbers as observation, got {before}. "
            "Flatten it first, or leave flat out."
        )
    bounds = (np.concatenate([getattr(before, b), getattr(shown, b).astype(before.dtype)]) for b in ("low", "high"))
    low, high = bounds
    return gym.spaces.Box(low, high, dtype=before.dtype.type)


def _chosen(env: Any, names: Iterable[str] | None) -> tuple[Parameter, ...]:
    """Return the parameters ``names`` of ``env``, or those that its randomization marks as privileged."""
    face = getattr(env, "unwrapped", env)
    if not isinstance(env, (gym.Env, gym.vector.VectorEnv)) or not hasattr(face, "kernel"):
        raise InvalidValue(
            f"privileged needs a single or vector environment of rlops, got {type(face).__name__}. "
            "Make it by its rlops id."
        )
    id = f"rlops/{face.family.name}-v{face.version}"
    known = {p.name: p for p in face.kernel.PARAMETERS}
    asked = tuple(getattr(face, "privileged", ()) if names is None else names)
    for name in asked:
        if name not in known:
            raise UnknownName("parameter", name, known, id)
    if not asked or len(set(asked)) < len(asked):
        raise InvalidValue(
            f"{id}: privileged needs at least one parameter and each of them once, got {', '.join(asked) or 'none'}. "
            "Pass names=[…], or mark parameters in the randomization: expose: {privileged: […]}."
        )
    return tuple(known[name] for name in asked)
