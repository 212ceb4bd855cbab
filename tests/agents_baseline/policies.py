"""Two small agents that need no controller."""

from __future__ import annotations

import numpy as np


class DoNothing:
    name = "do_nothing"
    action = 0

    def actions(self, envs, obs, masks):
        return np.full(len(obs), self.action, np.int64)


class Random:
    """Draws a legal action from the row's seed and step alone."""

    name = "random"

    def actions(self, envs, obs, masks):
        state = envs.state
        return np.array(
            [
                np.random.default_rng([int(seed), int(step)]).choice(np.flatnonzero(mask))
                for seed, step, mask in zip(state["seed"], state["steps"], masks, strict=True)
            ],
            np.int64,
        )
