"""Observations in physical units, made comparable inside the network: by numbers that are fixed before training.

A degree, a kilowatt and a share differ by orders of magnitude. What scales them belongs to the model, so that a saved
one takes what the environment shows; and it never changes, so that what a model does depends on nothing that it has
seen since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rlops.agents_baseline.controllers import make_controller
from rlops.errors import InvalidValue, UnknownName

LEAST_SHARE = 0.05
"""[-] A column varies at least by this share of its bounds' distance: what stood still once may move later."""
MOST = 10.0
"""[-] Standardised values are clipped there."""
DEFAULTS: Mapping[str, Any] = {"controller": "random", "steps": 512}


class Standardised(BaseFeaturesExtractor):
    """Observations less ``mean``, over ``scale``, clipped."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, observation_space: gym.spaces.Box, mean: list[float], scale: list[float]):
        """Take a mean and a scale for every column of ``observation_space``."""
        super().__init__(observation_space, len(mean))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return standardised observations, ``(n, k)``."""
        return torch.clamp((observations - self.mean) / self.scale, -MOST, MOST)


def checked(asked: Any) -> dict[str, Any]:
    """Return what ``standardise:`` says in full.

    Raises:
        InvalidValue: If it is no mapping.
        UnknownName: If it has an unknown key.
    """
    if not isinstance(asked, Mapping):
        raise InvalidValue(f"standardise must be a mapping such as {dict(DEFAULTS)}, got {asked!r}.")
    for name in asked:
        if name not in DEFAULTS:
            raise UnknownName("key", name, DEFAULTS, "standardise")
    return {**DEFAULTS, **asked}


def policy_settings(envs: Any, id: str, controller: str, steps: int) -> dict[str, Any]:
    """Return the ``policy_kwargs`` of a network that standardises by what ``controller`` sees in ``steps`` steps.

    Args:
        envs: Vector face; its rows are reset and played.
        id: The environment.
        controller: Name of a hand-written controller.
        steps: Steps of every row.
    """
    agent = make_controller(controller, id)
    obs, _ = envs.reset(seed=0)
    seen = []
    for _ in range(steps):
        obs = envs.step(agent.actions(envs, obs, envs.action_masks()))[0].copy()
        seen.append(obs)
    table = np.concatenate(seen).astype(float)
    space = envs.single_observation_space
    scale = np.maximum(table.std(axis=0), LEAST_SHARE * (space.high - space.low).astype(float))
    settings = {"mean": table.mean(axis=0).tolist(), "scale": scale.tolist()}
    return {"features_extractor_class": Standardised, "features_extractor_kwargs": settings}
