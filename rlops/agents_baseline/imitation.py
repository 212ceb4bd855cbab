"""A warm start by imitation: before it learns on its own, an agent learns to do what a controller does.

The policy is fitted to the controller's actions (behavioural cloning), the critic to the discounted returns that
follow them, so that the first advantages of PPO are about what the policy does, not about a critic that knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import load_agent
from rlops.errors import InvalidValue, UnknownName

DEFAULTS = {"episodes": 64, "epochs": 4, "batch_size": 512, "learning_rate": 1e-3, "smoothing": 0.1}
"""Settings of ``demonstrations`` besides ``controller``."""


@dataclass(frozen=True)
class Demonstrations:
    """What a controller saw, did and got, over ``t`` steps of whole episodes.

    Attributes:
        obs: ``(t, k)`` float32.
        actions: ``(t,)`` int64, or ``(t, d)`` float64.
        masks: Legal actions, ``(t, m)`` bool; ``(t, 0)`` of vectors.
        returns: Discounted sum of the scaled rewards from each step on, ``(t,)``.
    """

    obs: np.ndarray
    actions: np.ndarray
    masks: np.ndarray
    returns: np.ndarray


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
    return {**DEFAULTS, **settings}


def demonstrate(
    envs: Any, id: str, controller: str, gamma: float, reward_scale: float, least_reward: float = -np.inf
) -> Demonstrations:
    """Let a controller play one whole episode in every row of ``envs``, which begin anew when they end."""
    agent = load_agent(controller, id)
    n = envs.num_envs
    obs, _ = envs.reset(seed=list(range(n)))
    running = np.ones(n, np.bool_)
    seen, done, legal, got, when = [], [], [], [], []
    while running.any():
        masks = envs.action_masks()
        actions = agent.actions(envs, obs, masks)
        seen.append(obs[running])
        done.append(actions[running])
        legal.append(masks[running])
        obs, rewards, terminated, truncated, _ = envs.step(actions)
        got.append(np.where(running, np.maximum(rewards, least_reward), 0.0) * reward_scale)
        when.append(running.copy())
        running &= ~(terminated | truncated)
    following, returns = np.zeros(n), []
    for rewards, played in zip(got[::-1], when[::-1], strict=True):
        following = rewards + gamma * following
        returns.append(following[played])
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
