"""A policy for tables of pairs: every (slot, vehicle) is scored by one small network.

The actions of the dispatch environments are the cells of a table, booking by vehicle, and one action that
waits. A plain multi-layer perceptron has to learn every cell for itself. Here one network scores a cell from
what is known of its vehicle, its booking and the pair, given a summary of everything, so that what is learned
from one cell holds for all, whatever the order of vehicles and bookings (deep sets, Zaheer et al. 2017). Where idle
vehicles may be sent somewhere, another scores where to from what is known of each. Only cells whose booking, vehicle
and pair can be legal are computed; the score of the others is zero, and the mask of the algorithm excludes them.

``policy: PairPolicy`` in the hyperparameters chooses it, for MaskablePPO and the masked DQN alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn

from rlops.agents_baseline.pair_layout import Layout, layout


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers with rectifiers between them."""
    made: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        made += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*made[:-1])


class Summary(nn.Module):
    """What is known of the whole, from all vehicles and slots in any order: ``(n, k)`` to ``(n, width)``."""

    def __init__(self, layout: Layout, width: int):
        """Make a summary of ``width`` numbers."""
        super().__init__()
        self._layout = layout
        self.vehicle = nn.Linear(layout.vehicles.shape[1], width)
        self.slot = nn.Linear(layout.slots.shape[1], width)
        self.whole = _layers((len(layout.whole) + 2 * width, width, width))

    def forward(self, whole: torch.Tensor, vehicles: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Return the summary of ``whole`` (n, g), ``vehicles`` (n, v, f) and ``slots`` (n, k, s)."""
        by_vehicle = torch.relu(self.vehicle(vehicles)).sum(dim=1)
        by_slot = self._by_slot(slots)
        summary: torch.Tensor = self.whole(torch.cat([whole, by_vehicle, by_slot], dim=1))
        return torch.relu(summary)

    def _by_slot(self, slots: torch.Tensor) -> torch.Tensor:
        """Return the sum over slots, ``(n, width)``."""
        if not self._layout.sums_filled:
            return torch.relu(self.slot(slots)).sum(dim=1)
        row, k = (slots[:, :, self._layout.slot_filled] > 0).nonzero(as_tuple=True)
        of_filled = torch.relu(self.slot(slots[row, k]))
        return torch.zeros(len(slots), of_filled.shape[1], dtype=slots.dtype).index_add(0, row, of_filled)


class PairScores(nn.Module):
    """Scores of all actions, ``(n, m)``, and the features of a critic, ``(n, width)``, from observations ``(n, k)``."""

    _order: torch.Tensor
    _actions: torch.Tensor
    _moves: torch.Tensor

    def __init__(self, id: str, width: int = 64, with_value: bool = True):
        """Make the network of an id.

        Args:
            id: The environment.
            width: Width of the hidden layers.
            with_value: Whether it has the layers of a critic.
        """
        super().__init__()
        known = self._layout = layout(id)
        blocks = (known.whole, known.vehicles, known.slots, known.pairs)
        self._sizes, self._shapes = [block.size for block in blocks], [block.shape for block in blocks]
        order = np.concatenate([block.ravel() for block in blocks])
        self._in_order = bool((order == np.arange(len(order))).all())
        self.register_buffer("_order", torch.as_tensor(order), persistent=False)
        self.register_buffer("_actions", torch.as_tensor(known.actions), persistent=False)
        self.register_buffer("_moves", torch.as_tensor(known.moves), persistent=False)
        between = known.pairs.shape[2] + (1 if known.places else 0)
        self.summary = Summary(known, width)
        self.from_summary = nn.Linear(width, width)
        self.from_vehicle = nn.Linear(known.vehicles.shape[1], width)
        self.from_slot = nn.Linear(known.slots.shape[1], width)
        self.from_pair = nn.Linear(between, width)
        self.score = _layers((width, width, 1))
        self.score_wait = _layers((width, width, 1))
        self.score_move = _layers((width, width, known.moves.shape[1])) if known.moves.size else None
        self.critic = Summary(known, width) if with_value else None
        self.latent_dim_pi, self.latent_dim_vf = known.actions.size + 1 + known.moves.size, width
        for last in (self.score[-1], self.score_wait[-1], *((self.score_move[-1],) if self.score_move else ())):
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores of the actions and the critic's features."""
        return self.forward_actor(obs), self.forward_critic(obs)

    def forward_critic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the critic's features, ``(n, width)``."""
        assert self.critic is not None
        features: torch.Tensor = self.critic(*self._blocks(obs)[:3])
        return features

    def forward_actor(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the scores of the actions, ``(n, m)``; 0 where a pair cannot be legal."""
        whole, vehicles, slots, pairs = self._blocks(obs)
        summary = self.summary(whole, vehicles, slots)
        of_all, of_vehicle = self.from_summary(summary), self.from_vehicle(vehicles)
        row, k, v = self._cells(vehicles, slots, pairs)
        hidden = (
            of_all[row]
            + of_vehicle[row, v]
            + self.from_slot(slots)[row, k]
            + self.from_pair(self._between(vehicles[row, v], slots[row, k], pairs[row, k, v]))
        )
        scores = torch.zeros(len(obs), self.latent_dim_pi, dtype=obs.dtype, device=obs.device)
        scores[:, self._layout.wait] = self.score_wait(summary).squeeze(1)
        scores = scores.index_put((row, self._actions[k, v]), self.score(torch.relu(hidden)).squeeze(1))
        if self.score_move is None:
            return scores
        row, v = self._idle(vehicles)
        hidden = torch.relu(of_all[row] + of_vehicle[row, v])
        return scores.index_put((row.unsqueeze(1), self._moves[v]), self.score_move(hidden))

    def _blocks(self, obs: torch.Tensor) -> list[torch.Tensor]:
        """Return the whole (n, g), the vehicles (n, v, f), the slots (n, k, s) and the pairs (n, k, v, c)."""
        parts = torch.split(obs if self._in_order else obs[:, self._order], self._sizes, dim=1)
        return [part.view(len(obs), *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _between(self, vehicles: torch.Tensor, slots: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """Return what is known of cells beyond their vehicles (c, f) and slots (c, s), ``(c, p)``."""
        if not self._layout.places:
            return pairs
        *own, x, y = self._layout.places
        away = slots[:, [x, y]] - (vehicles[:, own] if own else 0.0)
        return torch.hypot(away[:, 0], away[:, 1]).unsqueeze(1)

    def _cells(
        self, vehicles: torch.Tensor, slots: torch.Tensor, pairs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return row, slot and vehicle of every pair that may be legal, each ``(c,)``."""
        there = (slots[:, :, self._layout.slot_filled] > 0).unsqueeze(2)
        if self._layout.vehicle_there >= 0:
            there = there & (vehicles[:, :, self._layout.vehicle_there] > 0).unsqueeze(1)
        if pairs.shape[3]:
            there = there & (pairs != 0).any(dim=3)
        row, k, v = there.nonzero(as_tuple=True)
        return row, k, v

    def _idle(self, vehicles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return row and vehicle of every vehicle that may be sent somewhere, each ``(c,)``."""
        idle, stops = self._layout.idle
        row, v = ((vehicles[:, :, idle] > 0) & (vehicles[:, :, stops] == 0)).nonzero(as_tuple=True)
        return row, v


class PairPolicy(MaskableActorCriticPolicy):
    """Actor and critic of MaskablePPO over :class:`PairScores`."""

    def __init__(self, *args: Any, id: str, width: int = 64, **settings: Any):
        """Make the policy of an id; ``settings`` are those of SB3's actor-critic policies."""
        self.id, self.width = id, width
        super().__init__(*args, **settings)

    def _build(self, lr_schedule: Any) -> None:
        self.mlp_extractor: Any = PairScores(self.id, self.width)
        self.action_net: Any = nn.Identity()
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        optimizer: Any = self.optimizer_class
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"id": self.id, "width": self.width}


class _PairQNetwork(QNetwork):
    """Action values from :class:`PairScores`."""

    def __init__(self, *args: Any, id: str, width: int, **settings: Any):
        super().__init__(*args, **settings)
        self.q_net: Any = _Actor(id, width)


class _Actor(PairScores):
    """The scores alone."""

    def __init__(self, id: str, width: int):
        super().__init__(id, width, with_value=False)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return self.forward_actor(obs)


class PairDQNPolicy(DQNPolicy):
    """Action values of the masked DQN over :class:`PairScores`."""

    def __init__(self, *args: Any, id: str, width: int = 64, **settings: Any):
        """Make the policy of an id; ``settings`` are those of SB3's DQN policies."""
        self.id, self.width = id, width
        super().__init__(*args, **settings)

    def make_q_net(self) -> QNetwork:
        """Return a network of action values."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return _PairQNetwork(**arguments, id=self.id, width=self.width).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"id": self.id, "width": self.width}
