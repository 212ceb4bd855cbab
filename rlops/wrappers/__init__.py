"""Wrappers around single and vector environments.

Each is imported where it is used, so that heavy libraries load only then.

* :func:`~rlops.wrappers.sensing.sensors`: noise, bias, drift, rounding, drop-out and delay of observations,
* :func:`~rlops.wrappers.acting.actuators`: delay, drop-out, dead-band and slew limit of actions,
* :func:`~rlops.wrappers.scaling.scaled`: observations and actions within [-1, 1], and
  :func:`~rlops.wrappers.scaling.unscaled` back,
* :func:`~rlops.wrappers.history.frames`: the last observations side by side,
* :func:`~rlops.wrappers.hindsight.goals`: achieved and desired goals apart, for hindsight experience replay,
* :func:`~rlops.wrappers.episodes.logged`: a log of finished episodes,
* :func:`~rlops.wrappers.privilege.privileged`: parameters in force beside the observation,
* :func:`~rlops.wrappers.agents.agents_as_rows`: the agents of parallel environments as rows of a vector environment,
* :func:`~rlops.wrappers.sb3.to_sb3`: a vector environment for Stable-Baselines3.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlops.wrappers.acting import actuators
    from rlops.wrappers.agents import agents_as_rows
    from rlops.wrappers.episodes import logged
    from rlops.wrappers.hindsight import goals
    from rlops.wrappers.history import frames
    from rlops.wrappers.privilege import privileged
    from rlops.wrappers.sb3 import to_sb3
    from rlops.wrappers.scaling import scaled, unscaled
    from rlops.wrappers.sensing import sensors

__all__ = [
    "actuators", "agents_as_rows", "frames", "goals", "logged", "privileged", "scaled", "sensors", "to_sb3", "unscaled",
]  # fmt: skip

_HOMES = {
    "actuators": "acting",
    "agents_as_rows": "agents",
    "frames": "history",
    "goals": "hindsight",
    "logged": "episodes",
    "privileged": "privilege",
    "scaled": "scaling",
    "sensors": "sensing",
    "to_sb3": "sb3",
    "unscaled": "scaling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
