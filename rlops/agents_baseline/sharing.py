"""One policy for every agent of an environment whose observation and action are those of its agents, one after another.

``shared: true`` in the hyperparameters trains it: every agent is a row and gets its own rewards
(:mod:`rlops.wrappers.agents`). To play, it is given the observations of all and returns the actions of all, like any
other policy of the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlops.envs import parse_id
from rlops.envs.contract import Column, agent_actions, agent_observations, width
from rlops.errors import InvalidValue


@dataclass(frozen=True)
class Part:
    """What belongs to each agent alike.

    Attributes:
        agents: How many there are.
        columns: What each observes.
        action: What each does.
    """

    agents: int
    columns: tuple[Column, ...]
    action: tuple[Column, ...]


def part_of_each(id: str) -> Part:
    """Return the part that every agent of an environment has in its observation and action.

    Raises:
        InvalidValue: If it has no agents, they are not alike, or their parts do not make up the whole.
    """
    family, number = parse_id(id)
    kernel = family.kernel(number)
    names = getattr(kernel, "AGENTS", ())
    seen, done = set(agent_observations(kernel)), set(agent_actions(kernel))
    columns, action = next(iter(seen), ()), next(iter(done), 0)
    if len(seen) == len(done) == 1 and not isinstance(action, int):
        part = Part(len(names), columns, action)
        if _repeated(part.columns, kernel.OBSERVATION) and _repeated(part.action, kernel.ACTION):
            return part
    raise InvalidValue(
        f"A shared policy needs agents that are alike, whose vectors one after another are the observation and the "
        f"action, got {len(names)} agents of {id}, of which this does not hold. Train it without shared."
    )


def parts_taken(model: Any, id: str) -> int:
    """Return how many parts of what ``id`` shows a model of Stable-Baselines3 takes one by one; 1: the whole."""
    try:
        part = part_of_each(id)
    except InvalidValue:
        return 1
    spaces = model.observation_space.shape, model.action_space.shape
    return part.agents if spaces == ((width(part.columns),), (width(part.action),)) else 1


def _repeated(part: tuple[Column, ...], whole: tuple[Column, ...]) -> bool:
    """Return whether ``whole`` is ``part`` again and again, but for the names."""
    times = len(whole) // len(part)
    bounds = [(column.low, column.high, column.count) for column in part]
    return bounds * times == [(column.low, column.high, column.count) for column in whole]
