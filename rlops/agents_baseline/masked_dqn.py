"""DQN that knows which actions are legal.

Differs from Stable-Baselines3's DQN in three places, all of them masks: exploration draws among legal actions
(each row for itself), the greedy action is the best legal one, and the target's maximum runs over the actions
that are legal in the next state, whose masks the replay buffer keeps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from torch.nn import functional

from rlops.errors import InvalidValue


class MaskedSamples(NamedTuple):
    """Transitions with the legal actions of the next state, ``(b, m)`` bool."""

    observations: torch.Tensor
    actions: torch.Tensor
    next_observations: torch.Tensor
    dones: torch.Tensor
    rewards: torch.Tensor
    next_masks: torch.Tensor


class MaskedReplayBuffer(ReplayBuffer):
    """Replay buffer that also keeps the action mask of every next state."""

    def __init__(self, *args: Any, **kwargs: Any):
        """Allocate what SB3's replay buffer allocates, and the masks."""
        super().__init__(*args, **kwargs)
        actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self.next_masks = np.ones((self.buffer_size, self.n_envs, actions), np.bool_)

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> Any:
        """Return :class:`MaskedSamples` of the steps ``batch_inds``, each of a row drawn at random."""
        rows = np.random.randint(0, high=self.n_envs, size=len(batch_inds))  # noqa: NPY002 (SB3 seeds it)
        # An episode that was cut short goes on in truth: its value is not zero.
        dones = self.dones[batch_inds, rows] * (1 - self.timeouts[batch_inds, rows])
        return MaskedSamples(
            self._observed(self.observations[batch_inds, rows], env),
            self.to_torch(self.actions[batch_inds, rows]),
            self._observed(self.next_observations[batch_inds, rows], env),
            self.to_torch(dones.reshape(-1, 1)),
            self.to_torch(self._normalize_reward(self.rewards[batch_inds, rows].reshape(-1, 1), env)),
            self.to_torch(self.next_masks[batch_inds, rows]),
        )

    def _observed(self, obs: Any, env: Any) -> torch.Tensor:
        normalised: Any = self._normalize_obs(obs, env)
        return self.to_torch(normalised)


class MaskedDQN(DQN):
    """DQN over legal actions; the environment must have ``action_masks()``. Saved and loaded as SB3's DQN."""

    def __init__(self, policy: Any, env: Any, **settings: Any):
        """Make the agent; ``settings`` are those of SB3's DQN."""
        settings["replay_buffer_class"] = settings.get("replay_buffer_class") or MaskedReplayBuffer
        super().__init__(policy, env, **settings)
        if self.env is not None and not is_masking_supported(self.env):
            raise InvalidValue("MaskedDQN needs an environment with action_masks(), got none. Use DQN for it.")

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Any]:
        """Return an action for every observation.

        Args:
            observation: ``(k,)`` or ``(n, k)``.
            state: Passed through.
            episode_start: Ignored.
            deterministic: Whether to leave out epsilon-greedy exploration.
            action_masks: Legal actions, ``(m,)`` or ``(n, m)`` bool; without them all are legal.

        Returns:
            Actions, a 0-d array or ``(n,)`` int64, and ``state``.
        """
        self.policy.set_training_mode(False)
        tensor, vectorised = self.policy.obs_to_tensor(observation)
        with torch.no_grad():
            values = self.q_net(tensor)
        legal = np.ones(tuple(values.shape), np.bool_)
        if action_masks is not None:
            legal = np.asarray(action_masks, np.bool_).reshape(legal.shape)
        actions = values.masked_fill(~torch.as_tensor(legal, device=values.device), -torch.inf).argmax(dim=1)
        chosen: np.ndarray = actions.cpu().numpy()
        if not deterministic:
            explores = self.action_space.np_random.random(len(chosen)) < self.exploration_rate
            chosen = np.where(explores, self._random_legal(legal), chosen)
        return (chosen if vectorised else chosen[0]), state

    def _random_legal(self, legal: np.ndarray) -> np.ndarray:
        """Return a uniformly drawn legal action of every row, ``(n,)`` int64."""
        drawn: np.ndarray = np.where(legal, self.action_space.np_random.random(legal.shape), -1.0)
        chosen: np.ndarray = drawn.argmax(axis=1)
        return chosen

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        masks = self._masks()
        if self.num_timesteps < learning_starts:
            actions = self._random_legal(masks)
        else:
            actions, _ = self.predict(self._last_obs, action_masks=masks)
        return actions, actions

    def _masks(self) -> np.ndarray:
        assert self.env is not None
        return get_action_masks(self.env)

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        masks = self._masks()
        for row in np.flatnonzero(dones):  # its mask is already that of the next episode
            masks[row] = infos[row]["action_mask"]
        replay_buffer.next_masks[replay_buffer.pos] = masks
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Take ``gradient_steps`` steps on the Huber loss against the legal one-step target."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        for _ in range(gradient_steps):
            batch: Any = self.replay_buffer.sample(  # type: ignore[union-attr]
                batch_size, env=self._vec_normalize_env
            )
            target = self._target(batch)
            values = torch.gather(self.q_net(batch.observations), 1, batch.actions.long())
            loss = functional.smooth_l1_loss(values, target)
            losses.append(loss.item())
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", np.mean(losses))

    @torch.no_grad()
    def _target(self, batch: MaskedSamples) -> torch.Tensor:
        """Return the one-step target, ``(b, 1)``; a state without legal actions is worth nothing more."""
        values = self.q_net_target(batch.next_observations).masked_fill(~batch.next_masks, -torch.inf)
        best = values.max(dim=1, keepdim=True).values
        best = torch.where(torch.isfinite(best), best, torch.zeros_like(best))
        return batch.rewards + (1 - batch.dones) * self.gamma * best
