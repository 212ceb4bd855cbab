"""What agents are worth outside the world that they were trained in: one row an agent, one column a world.

The worlds are the nominal robot, the same with its parameters drawn anew for every episode, its twin in another engine,
and a declared reality (:mod:`rlops.envs.robotics.profiles`). Every agent plays the same seeds in every world, so all
cells of a row, and of a column, are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.evaluate import SUCCESS, Episodes, evaluate
from rlops.envs import parse_id
from rlops.envs.robotics.profiles import reality
from rlops.errors import InvalidValue


@dataclass(frozen=True)
class World:
    """A column of the matrix.

    Attributes:
        name: Of the world.
        options: Construction options of the environment there, for example ``engine``.
        params: Parameters that differ there from the nominal ones.
        randomization: What every episode draws its parameters from, as in :func:`rlops.randomization.randomize`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    randomization: Any = None


def worlds(id: str, randomization: Any = "full", profile: str = "a1") -> tuple[World, ...]:
    """Return the worlds in which the agents of a robot are compared, the nominal one first.

    Args:
        id: Of a robot's environment.
        randomization: A level such as ``full``, or a specification.
        profile: Name of the reality.

    Raises:
        InvalidValue: If the environment has fewer than two engines.
        UnknownName: If there is no such level or reality.
    """
    family, number = parse_id(id)
    engines: tuple[str, ...] = getattr(family.kernel(number), "ENGINES", ())
    if len(engines) < 2:
        raise InvalidValue(f"{id} must have two physics engines to compare, got {len(engines)}. Choose a robot.")
    declared = reality(id, profile)
    return (
        World(engines[0], {"engine": engines[0]}),
        World(f"{engines[0]}, {randomization}", {"engine": engines[0]}, randomization=randomization),
        World(engines[1], {"engine": engines[1]}),
        World(f"reality {profile}", {"engine": declared.engine}, declared.params),
    )


def transfer(
    id: str,
    agents: Sequence[Agent],
    seeds: Sequence[int],
    where: Sequence[World],
    *,
    params: Mapping[str, Any] | None = None,
    progress: Callable[[str, str, int], None] | None = None,
) -> list[list[Episodes]]:
    """Return what every agent did in every world: rows are ``agents``, columns are ``where``.

    Args:
        id: Of a robot's environment.
        agents: Who play.
        seeds: One episode each, in every world.
        where: The worlds.
        params: Parameters that differ from the nominal ones in every world, whatever it says of them.
        progress: Called with the agent, the world and the number of its episodes that have ended.
    """
    matrix = []
    for agent in agents:
        row = []
        for world in where:

            def tell(ended: int, agent: Agent = agent, world: World = world) -> None:
                if progress is not None:
                    progress(agent.name, world.name, ended)

            row.append(
                evaluate(
                    id, agent, seeds, params={**world.params, **(params or {})}, randomization=world.randomization,
                    latency=False, progress=tell, **world.options,
                )
            )  # fmt: skip
        matrix.append(row)
    return matrix


def cells(matrix: Sequence[Sequence[Episodes]], where: Sequence[World]) -> list[dict[str, Any]]:
    """Return the matrix ready for JSON: success and return of every agent in every world, with 95 % intervals."""
    told = []
    for row in matrix:
        for world, played in zip(where, row, strict=True):
            intervals, (successes, episodes) = played.intervals(), played.successes()
            told.append(
                {
                    "agent": played.agent,
                    "world": world.name,
                    "options": dict(world.options),
                    "params": dict(world.params),
                    "randomization": played.randomization,
                    "first_seed": int(played.table["seed"][0]),
                    "episodes": episodes,
                    "successes": successes,
                    "success": vars(intervals[SUCCESS]),
                    "return": vars(intervals["return"]),
                }
            )
    return told
