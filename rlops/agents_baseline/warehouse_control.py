"""Hand-written controllers of the warehouse's robots.

==================== ============== ==========================================================================
name                 environment    rule
==================== ============== ==========================================================================
random               all            any action, each as likely as another
pure_pursuit         WarehouseNav   along the map's shortest way, towards its next place (after Coulter 1992)
give_way             WarehouseFleet the same, but looks ahead a second and a half for what would be met, and gives way
                                    to robots of a lower number (dynamic window: Fox, Burgard, Thrun 1997)
==================== ============== ==========================================================================

They know the map, the goals and where the robots believe to be: what a traffic controller knows, and more than an agent
sees, who has the lidar instead. The truth of the state they do not look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.robot_control import RandomVector
from rlops.agents_baseline.warehouse_moves import BRAKING_M_PER_S2, SLOWEST_M_PER_S, next_on_the_way, ways_given
from rlops.envs.robotics.amr import FASTEST_M_PER_S, FASTEST_RAD_PER_S, TURNED, X, Y

TURN_PER_S = 3.0
"""[1/s] A robot turns so fast towards where it wants to go, for every rad that it looks past it."""
ASIDE_RAD = 0.7
"""It drives only if it looks past it by less."""


class PurePursuit:
    """Turns to the next place of the shortest way and drives there; slows down at the goal."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name``."""
        self.name, self.seed = name, seed

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, 2 · robots)`` float64 within -1 … 1."""
        n, robots = envs.state["wheel"].shape[:2]
        next_places = np.zeros((n, robots, 3))
        next_on_the_way(envs.state, next_places)
        pose = envs.state["read"][:, 0].reshape(n, robots, 3)
        wanted = np.stack(self.speed_and_turn(envs, pose, next_places), axis=2)
        return np.asarray(np.clip(wanted, -1.0, 1.0).reshape(n, 2 * robots))

    def speed_and_turn(self, envs: Any, pose: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return speed and turn of every robot, ``(n, robots)``, as shares of the greatest.

        Args:
            envs: The environment.
            pose: Where the robots believe to be: x, y [m], turned [rad], ``(n, robots, 3)``.
            places: What they are to go to next: x, y [m], and the whole way that is left [m], ``(n, robots, 3)``.
        """
        to = places[:, :, :2] - pose[:, :, :2]
        past = np.arctan2(to[:, :, Y], to[:, :, X]) - pose[:, :, TURNED]
        past = (past + np.pi) % (2.0 * np.pi) - np.pi
        speed = np.minimum(np.sqrt(2.0 * BRAKING_M_PER_S2 * places[:, :, 2]), FASTEST_M_PER_S)
        speed = np.maximum(speed, SLOWEST_M_PER_S) * np.clip(1.0 - np.abs(past) / ASIDE_RAD, 0.0, 1.0)
        return speed / FASTEST_M_PER_S, TURN_PER_S * past / FASTEST_RAD_PER_S


class GiveWay:
    """Tries speeds and turns, and takes what brings a robot on and leaves room; low numbers go first."""

    def __init__(self, name: str, version: int, seed: int = 0):
        """Make the controller ``name``."""
        self.name, self.seed = name, seed

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n, 2 · robots)`` float64 within -1 … 1."""
        chosen = np.zeros((len(envs.state), envs.state["wheel"].shape[1], 2))
        ways_given(envs.state, chosen)
        return chosen.reshape(len(chosen), -1)


WAREHOUSE: dict[str, dict[str, Callable[[str, int, int], Agent]]] = {
    "WarehouseNav": {"random": RandomVector, "pure_pursuit": PurePursuit},
    "WarehouseFleet": {"random": RandomVector, "give_way": GiveWay},
}
"""How each controller is made from its name, the version and a seed, by family, the simplest first."""
