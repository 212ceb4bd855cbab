"""Observations in physical units, made comparable inside the network: by numbers that are fixed before training.

A degree, a kilowatt and a share differ by orders of magnitude. What scales them belongs to the model, so that a saved
one takes what the environment shows; and it never changes, so that what a model does depends on nothing that it has
seen since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.directions import NEAREST, appended, indices, ranges
from rlops.agents_baseline.directions import checked as checked_directions
from rlops.errors import InvalidValue, UnknownName

LEAST_SHARE = 0.05
"""[-] A column varies at least by this share of its bounds' distance: what stood still once may move later."""
MOST = 10.0
"""[-] Standardised values are clipped there."""
DEFAULTS: Mapping[str, Any] = {"controller": "random", "steps": 512, "directions": ()}


class Standardised(BaseFeaturesExtractor):
    """Observations, with ``directions`` appended (see ``directions.py``), less ``mean``, over ``scale``, clipped."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        observation_space: gym.spaces.Box,
        mean: list[float],
        scale: list[float],
        directions: Sequence[str] = (),
        at: Sequence[Sequence[int]] = ((), ()),
    ):
        """Take a mean and a scale for every column of ``observation_space``, and of what ``directions`` append.

        ``at`` says where the components of the directions stand, (2, m).
        """
        super().__init__(observation_space, len(mean))
        self.directions, self._at = tuple(directions), [list(places) for places in at]
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return standardised observations, ``(n, k)``, or ``(n, k + 3 m)`` with ``m`` directions."""
        if self.directions:
            observations = self._appended(observations)
        return torch.clamp((observations - self.mean) / self.scale, -MOST, MOST)

    def _appended(self, observations: torch.Tensor) -> torch.Tensor:
        """Return what :func:`rlops.agents_baseline.directions.appended` does."""
        x, y = (observations[:, places] for places in self._at)
        length = torch.sqrt(x * x + y * y) + NEAREST
        return torch.cat([observations, x / length, y / length, torch.log(length)], dim=1)


def checked(asked: Any, id: str) -> dict[str, Any]:
    """Return what ``standardise:`` says in full, for the environment ``id``.

    Raises:
        InvalidValue: If it is no mapping, or its directions are no list.
        UnknownName: If it has an unknown key, or names a vector that ``id`` does not show.
    """
    if not isinstance(asked, Mapping):
        raise InvalidValue(f"standardise must be a mapping such as {dict(DEFAULTS)}, got {asked!r}.")
    for name in asked:
        if name not in DEFAULTS:
            raise UnknownName("key", name, DEFAULTS, "standardise")
    return {**DEFAULTS, **asked, "directions": checked_directions(asked.get("directions", ()), id)}


def policy_settings(
    envs: Any, id: str, controller: str, steps: int, directions: Sequence[str], parts: int = 1
) -> dict[str, Any]:
    """Return the ``policy_kwargs`` of a network that standardises by what ``controller`` sees in ``steps`` steps.

    Args:
        envs: Vector face; its rows are reset and played.
        id: The environment.
        controller: Name of a hand-written controller.
        steps: Steps of every row.
        directions: Names of vectors whose directions and distances the network sees too.
        parts: How many equal parts of an observation the network takes one by one.
    """
    agent = make_controller(controller, id)
    obs, _ = envs.reset(seed=0)
    seen = []
    for _ in range(steps):
        obs = envs.step(agent.actions(envs, obs, envs.action_masks()))[0].copy()
        seen.append(obs)
    at, space = indices(directions, id), envs.single_observation_space
    table = appended(np.concatenate(seen).reshape(len(obs) * steps * parts, -1), at).astype(float)
    columns = space.shape[0] // parts
    scale = np.maximum(table.std(axis=0), LEAST_SHARE * ranges(space.low[:columns], space.high[:columns], at))
    settings = {"mean": table.mean(axis=0).tolist(), "scale": scale.tolist()}
    if directions:
        settings |= {"directions": list(directions), "at": at.tolist()}
    return {"features_extractor_class": Standardised, "features_extractor_kwargs": settings}
