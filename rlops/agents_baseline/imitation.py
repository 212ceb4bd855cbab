"""A warm start by imitation: before it learns on its own, an agent learns to do what a controller does.

The policy is fitted to the controller's actions (behavioural cloning), the critic to the discounted returns that
follow them, so that the first advantages of PPO are about what the policy does, not about a critic that knows nothing.

A clone errs, and then meets what its controller never showed. So in further rounds the agent itself plays, and the
controller says what it would have done (dataset aggregation: Ross, Gordon, Bagnell 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import Agent, load_agent
from rlops.errors import InvalidValue, UnknownName

DEFAULTS = {"episodes": 64, "epochs": 4, "batch_size": 512, "learning_rate": 1e-3, "smoothing": 0.1, "rounds": 0}
"""Settings of ``demonstrations`` besides ``controller``."""


@dataclass(frozen=True)
class Demonstrations:
    """What a player saw, what a controller does there, and what the player got, over ``t`` steps of whole episodes.

    Attributes:
        obs: ``(t, k)`` float32.
        actions: The controller's, ``(t,)`` int64, or ``(t, d)`` float64.
        masks: Legal actions, ``(t, m)`` bool; ``(t, 0)`` of vectors.
        returns: Discounted sum of the player's scaled rewards from each step on, ``(t,)``.
    """

    obs: np.ndarray
    actions: np.ndarray
    masks: np.ndarray
    returns: np.ndarray

    def __add__(self, other: Demonstrations) -> Demonstrations:
        """Return both, one after the other."""
        names = ("obs", "actions", "masks", "returns")
        return Demonstrations(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


def checked(settings: Any) -> dict[str, Any]:
    """Return the settings of ``demonstrations`` with defaults filled in.

    Raises:
        InvalidValue: If they are no mapping or name no controller.
        UnknownName: For a setting that does not exist.
    """
    if not isinstance(settings, dict) or "controller" not in settings:
        raise InvalidValue(
            f"demonstrations must name a controller, got {settings!r}. For example "
            "demonstrations: {controller: cheapest_insertion}."
        )
    for name in settings:
        if name not in (*DEFAULTS, "controller"):
            raise UnknownName("setting of demonstrations", name, [*DEFAULTS, "controller"])
    full = {**DEFAULTS, **settings}
    if not isinstance(full["rounds"], int) or full["rounds"] < 0:
        raise InvalidValue(f"rounds of demonstrations must be a whole number of at least 0, got {full['rounds']!r}.")
    return full


def demonstrate(
    envs: Any,
    id: str,
    controller: str,
    gamma: float,
    reward_scale: float,
    least_reward: float = -np.inf,
    *,
    player: Agent | None = None,
    seed: int = 0,
) -> Demonstrations:
    """Play one whole episode in every row of ``envs``, which begin anew when they end, and ask a controller all along.

    Args:
        envs: Vector face.
        id: The environment.
        controller: Name of the controller.
        gamma: Discount of a step.
        reward_scale: Factor on rewards.
        least_reward: Below it rewards are cut off.
        player: Who plays; None: the controller itself.
        seed: Of the first row; row ``i`` has ``seed + i``.
    """
    agent = load_agent(controller, id)
    n = envs.num_envs
    obs, _ = envs.reset(seed=list(range(seed, seed + n)))
    running = np.ones(n, np.bool_)
    seen, done, legal, got, when = [], [], [], [], []
    while running.any():
        masks = envs.action_masks()
        actions = agent.actions(envs, obs, masks)
        played = actions if player is None else player.actions(envs, obs, masks)
        seen.append(obs[running])
        done.append(actions[running])
        legal.append(masks[running])
        obs, rewards, terminated, truncated, _ = envs.step(played)
        got.append(np.where(running, np.maximum(rewards, least_reward), 0.0) * reward_scale)
        when.append(running.copy())
        running &= ~(terminated | truncated)
    following, returns = np.zeros(n), []
    for rewards, there in zip(got[::-1], when[::-1], strict=True):
        following = rewards + gamma * following
        returns.append(following[there])
    return Demonstrations(
        np.concatenate(seen), np.concatenate(done), np.concatenate(legal), np.concatenate(returns[::-1])
    )


def imitate(
    model: Any,
    shown: Demonstrations,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    smoothing: float,
    progress: Callable[[int, int], None],
) -> None:
    """Fit policy and critic of a PPO or MaskablePPO ``model`` to what was ``shown``.

    ``smoothing`` is the share of a sample's weight that goes to all legal actions alike: without it the policy is too
    sure of itself to explore afterwards. Of vectors the mean is fitted, and how far they scatter stays. ``progress``
    is called with how many samples have been seen, and how many will be. The order of the samples comes from PyTorch's
    generator, which SB3 seeds.
    """
    import torch

    optimizer = torch.optim.Adam(model.policy.parameters(), lr=learning_rate)
    obs, actions = torch.as_tensor(shown.obs), torch.as_tensor(shown.actions)
    masks_of, returns = torch.as_tensor(shown.masks), torch.as_tensor(shown.returns, dtype=torch.float32)
    model.policy.set_training_mode(True)
    for epoch in range(epochs):
        progress(epoch * len(obs), epochs * len(obs))
        for chosen in torch.split(torch.randperm(len(obs)), batch_size):
            masks = masks_of[chosen]
            features = model.policy.extract_features(obs[chosen])
            latent_pi, latent_vf = model.policy.mlp_extractor(features)
            wanted = model.policy.action_net(latent_pi)
            if masks.shape[1]:
                log_prob = wanted.masked_fill(~masks, -torch.inf).log_softmax(dim=1).masked_fill(~masks, 0.0)
                taken = log_prob.gather(1, actions[chosen].unsqueeze(1)).mean()
                alike = (log_prob.sum(dim=1) / masks.sum(dim=1)).mean()
                loss = -(1.0 - smoothing) * taken - smoothing * alike
            else:
                loss = torch.nn.functional.mse_loss(wanted, actions[chosen].float())
            errors = torch.nn.functional.mse_loss(model.policy.value_net(latent_vf).flatten(), returns[chosen])
            loss = loss + model.vf_coef * errors
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.policy.parameters(), model.max_grad_norm)
            optimizer.step()
