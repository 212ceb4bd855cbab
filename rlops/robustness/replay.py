"""One episode of a report once more: the same to the last bit, and as a film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlops.errors import InvalidValue, NotReproduced
from rlops.robustness.episodes import Design, play, records
from rlops.robustness.failures import design_of
from rlops.robustness.report import Data, Policy, load, setting_of


@dataclass(frozen=True)
class Replayed:
    """An episode that came out as its report says.

    Attributes:
        id: Of the environment.
        episode: Its row in the table of episodes.
        design: What was played.
        policy: Who played.
    """

    id: str
    episode: dict[str, Any]
    design: Design
    policy: Policy


def replay(report: str | Path, number: int, data: Data | None = None) -> Replayed:
    """Play an episode of a report once more, and see that it comes out the same.

    Args:
        report: Folder of the report, or its ``report.json``.
        number: Of the episode, from 0, as the failure catalogue names it.
        data: The user's data of the report, read again.

    Raises:
        InvalidFile: If it is no report.
        InvalidValue: If it has no such episode, or the agent is no longer the one that played.
        NotReproduced: If any column of the table comes out otherwise.
    """
    content, table = load(report)
    if not 0 <= number < len(table):
        raise InvalidValue(f"The episode must be within 0 … {len(table) - 1}, got {number}.")
    episode = table[number]
    who = content["policies"][str(episode["policy"])]
    policy = Policy.load(who["source"], content["header"]["id"], who["deterministic"])
    if policy.digest != who["digest"]:
        raise InvalidValue(
            f"{who['source']} must be the agent that played, {who['digest']}, got {policy.digest}. "
            "Restore it, or write the report anew."
        )
    design = design_of(setting_of(content, data or Data()), episode)
    (again,) = play(design, policy.agent, str(episode["policy"]))
    differing = [name for name in table.dtype.names or () if not same(again[name], episode[name])]
    if differing:
        name = differing[0]
        raise NotReproduced(
            f"Episode {number} must come out as the report says, but {len(differing)} of its columns "
            f"differ, first {name}: {episode[name]} in the report, {again[name]} now. See rlops check "
            f"{content['header']['id']}, and the versions in the report."
        )
    return Replayed(content["header"]["id"], next(records(table[[number]])), design, policy)


def same(one: Any, other: Any) -> bool:
    """Return whether two values of a table are the same, bit for bit; NaN is NaN."""
    return bool(one == other) or (isinstance(one, np.floating) and bool(np.isnan(one)) and bool(np.isnan(other)))


def film(found: Replayed, out: str | Path, progress: Callable[[float], None] | None = None) -> int:
    """Write the film of an episode that was played again, and return how many pictures it has.

    Raises:
        InvalidValue, MissingExtra: As :func:`rlops.agents_baseline.video.write_video`.
    """
    from rlops.agents_baseline.video import write_video

    design = found.design
    return write_video(
        out,
        found.id,
        found.policy.agent,
        int(design.seeds[0]),
        params=design.world.params,
        override={name: float(values[0]) for name, values in design.overrides.items()},
        prepare=design.world.prepared,
        progress=progress,
        **design.world.options,
    )
