"""Stable-Baselines3 on a Gymnasium vector environment, without one Python object a row.

:func:`to_sb3` gives SB3 the ``VecEnv`` that its algorithms expect; training through it yields the same
weights, bit for bit, as training through SB3's own ``DummyVecEnv`` over the single environments.
:class:`ScaledReward` multiplies the rewards that an algorithm sees by a constant and leaves the reported
returns in their unit. :class:`WithoutPadding` keeps rows of agents that have left out of training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.errors import InvalidValue, MissingExtra
from rlops.wrappers.rows import row_info

try:
    from stable_baselines3.common.buffers import RolloutBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
except ImportError as error:
    raise MissingExtra("The Stable-Baselines3 adapter", "agents") from error


def to_sb3(vector_env: gym.vector.VectorEnv[Any, Any, Any]) -> Sb3VecEnv:
    """Return ``vector_env`` as a Stable-Baselines3 ``VecEnv``.

    Args:
        vector_env: Any Gymnasium vector environment with SAME_STEP autoreset, for example
            ``gymnasium.make_vec("rlops/Dispatch-v2", num_envs=64, autoreset_mode="SameStep")``. Observations may be
            arrays or, as in SB3, dicts of arrays. With ``copy=False`` (rlops's own) steps of few rows are half as
            long; SB3's algorithms keep copies of what they need for longer than a step.

    Returns:
        An adapter for PPO, DQN, SAC, MaskablePPO and the like. Rows that ended have ``terminal_observation``,
        ``TimeLimit.truncated``, ``episode`` (return ``r``, length ``l``, seconds ``t``) and what the
        environment said at the end, for example ``kpis``, in their info dict; the dicts of the other rows are
        empty.

    Raises:
        InvalidValue: If the autoreset mode is another one. SB3 expects the first observation of the next
            episode in the step that ends one.
    """
    mode = vector_env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise InvalidValue(
            f"to_sb3 needs a vector environment with SAME_STEP autoreset, got "
            f"{getattr(mode, 'name', mode)}. Pass "
            "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP when making it (gymnasium's own vector "
            'environments: vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}).'
        )
    return Sb3VecEnv(vector_env)


class Sb3VecEnv(VecEnv):
    """Stable-Baselines3's view of a Gymnasium vector environment; made by :func:`to_sb3`.

    Attributes:
        envs: The vector environment.
    """

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any]):
        """Adapt ``envs``, which has SAME_STEP autoreset."""
        self.envs = envs
        self._started_s = time.perf_counter()
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, np.int64)
        self._padding = np.zeros(envs.num_envs, np.bool_)
        self._actions: Any = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Any:
        """Start an episode in every row with the seeds and options set before; both are used once."""
        seeded = any(seed is not None for seed in self._seeds)
        seeds: Any = list(self._seeds) if seeded else None
        obs, infos = self.envs.reset(seed=seeds, options=self._common_options())
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._padding = infos.get("padding", self._padding)
        self.reset_infos = [row_info(infos, row) for row in range(self.num_envs)]
        return obs

    def _common_options(self) -> dict[str, Any] | None:
        first, *others = self._options
        if any(options != first for options in others):
            raise InvalidValue("set_options needs the same options for all rows, got different ones.")
        return first or None

    def step_async(self, actions: np.ndarray) -> None:
        """Keep ``actions`` for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step every row and return observations, rewards float32, dones and one info dict a row."""
        obs, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        done = terminated | truncated
        self._returns += rewards
        self._lengths += ~self._padding
        self._padding = infos.get("padding", self._padding)
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for row in np.flatnonzero(done).tolist():
                told[row] = self._ended(row, infos, bool(truncated[row] and not terminated[row]))
                self.reset_infos[row] = row_info(infos, row)
        return obs, rewards.astype(np.float32), done, told

    def _ended(self, row: int, infos: dict[str, Any], cut: bool) -> dict[str, Any]:
        """Return the info of a ``row`` that ended, ``cut`` short or not, and clear its statistics."""
        episode = {
            "r": round(float(self._returns[row]), 6),
            "l": int(self._lengths[row]),
            "t": round(time.perf_counter() - self._started_s, 6),
        }
        self._returns[row] = 0.0
        self._lengths[row] = 0
        return {
            **row_info(infos.get("final_info", {}), row),
            "terminal_observation": infos["final_obs"][row],
            "TimeLimit.truncated": cut,
            "episode": episode,
        }

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return the picture of every row."""
        pictures: Sequence[np.ndarray | None] = self.envs.render()  # type: ignore[assignment]
        return pictures

    def has_attr(self, attr_name: str) -> bool:
        """Return whether the rows have an attribute or method of this name."""
        if hasattr(self.envs.unwrapped, "envs"):  # asking Gymnasium's own for a method would call it
            return all(env.has_wrapper_attr(attr_name) for env in self.envs.unwrapped.envs)
        try:
            self._attribute(attr_name)
        except AttributeError:
            return False
        return True

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of every chosen row; an array with one entry a row is taken apart."""
        value = self._attribute(attr_name)
        if isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.shape[:1] == (self.num_envs,)):
            return [value[row] for row in self._get_indices(indices)]
        return [value for _ in self._get_indices(indices)]

    def _attribute(self, name: str) -> Any:
        """Return an attribute of the vector environment, a tuple if it keeps one object a row.

        Raises:
            AttributeError: If there is none.
        """
        inner = self.envs.unwrapped
        if hasattr(inner, "call") and hasattr(inner, "get_attr"):  # Gymnasium's own: one object a row
            return tuple(inner.get_attr(name))
        return getattr(inner, name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all rows.

        Raises:
            InvalidValue: If only some rows are chosen; rows share one object.
        """
        self._require_all(f"set_attr({attr_name!r})", indices)
        setattr(self.envs.unwrapped, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the rows and return one result a chosen row.

        ``action_masks`` and ``render`` return what belongs to each row; any other method is called once for
        all rows and its result repeated.

        Raises:
            InvalidValue: If such another method is asked for some rows only.
        """
        inner = self.envs.unwrapped
        if hasattr(inner, "call"):
            results = inner.call(method_name, *method_args, **method_kwargs)
        elif method_name in ("action_masks", "render"):
            results = getattr(inner, method_name)(*method_args, **method_kwargs)
        else:
            self._require_all(f"env_method({method_name!r})", indices)
            return [getattr(inner, method_name)(*method_args, **method_kwargs)] * self.num_envs
        return list(results) if indices is None else [results[row] for row in self._get_indices(indices)]

    def _require_all(self, what: str, indices: Any) -> None:
        if indices is not None and sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise InvalidValue(
                f"{what} must be for all {self.num_envs} rows, got indices={indices!r}. Rows share one "
                "vector environment: use its own methods, which take rows, on the attribute envs."
            )

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return True for SB3's ``Monitor``, whose statistics are reported here, else False, a row."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


class ScaledReward(VecEnvWrapper):
    """Rewards times a constant. Episode returns in the infos stay as they were, for example in dollars."""

    def __init__(self, venv: VecEnv, factor: float, least: float | None = None):
        """Multiply the rewards of ``venv`` by ``factor``, a fixed number above 0; those below ``least`` are that."""
        if not factor > 0:
            raise InvalidValue(f"reward_scale must be above 0, got {factor!r}.")
        super().__init__(venv)
        self.factor, self.least = np.float32(factor), np.float32(-np.inf if least is None else least)

    def reset(self) -> Any:
        """Start an episode in every row."""
        return self.venv.reset()

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Return the step with its rewards scaled."""
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, np.maximum(rewards, self.least) * self.factor, dones, infos


class WithoutPadding(BaseCallback):
    """Leaves padding rows out of the training of PPO, A2C and MaskablePPO.

    For environments whose rows are sometimes padding, see :class:`rlops.wrappers.agents.AgentRows`. SB3 knows no
    weights of samples; so, when a rollout is complete and its advantages are known, its samples are put side by side
    without those that begin with padding. Minibatches keep their size and there are fewer of them. Nothing leaks from
    padding into what stays: a row is done where its agent leaves. ``num_timesteps`` goes on counting all rows. Give it
    to ``learn(callback=…)`` every time.
    """

    model: Any

    def _on_training_start(self) -> None:
        """Refuse what has no padding or no rollouts.

        Raises:
            InvalidValue: If the environment has no ``padding``, or the algorithm has no rollouts of single steps.
        """
        buffer = getattr(self.model, "rollout_buffer", None)
        if not isinstance(buffer, RolloutBuffer) or hasattr(buffer, "cell_states_pi"):
            raise InvalidValue(
                f"WithoutPadding needs PPO, A2C or MaskablePPO, got {type(self.model).__name__}. Others cannot leave "
                "samples out: train them without it."
            )
        if not self.training_env.has_attr("padding"):
            raise InvalidValue(
                "WithoutPadding needs an environment that says which rows are padding, got none that does. "
                "Make it with agents_as_rows, or leave the callback out."
            )

    def _on_rollout_start(self) -> None:
        self._restore_size()
        self._padding = [self._present()]

    def _on_step(self) -> bool:
        self._padding.append(self._present())
        return True

    def _on_rollout_end(self) -> None:
        padding = np.array(self._padding[:-1])  # of the observation that each step began with
        if padding.any():
            self._keep(~RolloutBuffer.swap_and_flatten(padding).ravel())

    def _on_training_end(self) -> None:
        self._restore_size()

    def _present(self) -> np.ndarray:
        return np.array(self.training_env.get_attr("padding"))

    def _keep(self, kept: np.ndarray) -> None:
        """Let the buffer hold the samples ``kept``, (n_steps * n_envs,) bool, as the steps of a single row."""
        buffer = self.model.rollout_buffer
        for name in ("observations", "actions", "values", "log_probs", "advantages", "returns", "action_masks"):
            array = getattr(buffer, name, None)
            if isinstance(array, dict):
                setattr(buffer, name, {key: buffer.swap_and_flatten(part)[kept] for key, part in array.items()})
            elif array is not None:
                setattr(buffer, name, buffer.swap_and_flatten(array)[kept])
        buffer.buffer_size, buffer.n_envs, buffer.generator_ready = int(kept.sum()), 1, True

    def _restore_size(self) -> None:
        """Let the buffer hold all samples of a rollout again."""
        model, buffer = self.model, self.model.rollout_buffer
        if (buffer.buffer_size, buffer.n_envs) != (model.n_steps, model.n_envs):
            buffer.buffer_size, buffer.n_envs = model.n_steps, model.n_envs
            buffer.reset()
