"""Physics engines: what moves the bodies of a model by a control step.

An engine keeps nothing that matters between steps. The state of a row has its positions, its velocities and what the
solver starts from; an engine reads them, moves them and writes them back, so that saving, loading and cloning a row
works as everywhere, and a process that was forked or unpickled makes an engine of its own.

The order of positions and velocities is that of the model's bodies. A free body has seven positions, x, y, z and a unit
quaternion w, x, y, z, and six velocities: linear ones in the world's frame, angular ones in its own.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np

from rlops.envs.robotics.model import Model, from_row
from rlops.errors import UnknownName

ENGINES = {"mujoco": "rlops.envs.robotics.engines.mujoco", "pybullet": "rlops.envs.robotics.engines.pybullet"}
"""Import path of every engine's module, the default one first. Each has a function ``opened`` that returns one."""


COMFORTABLE_ROWS = {"mujoco": 4096, "pybullet": 64}
"""Rows of a batch from which more gain nothing but take memory: a world of Bullet's takes 36 MB."""


class Engine(Protocol):
    """What every engine does."""

    def advance(self) -> None:
        """Move the rows that are ``moving`` by a control step: their ``qpos``, ``qvel`` and ``warmstart``.

        A row whose simulation fails keeps what it was, and its ``failed`` becomes true.
        """

    def close(self) -> None:
        """Let go of what the operating system lent."""


def open_engine(name: str, kernel: Any, params: np.ndarray, state: np.ndarray, threads: int) -> Engine:
    """Return an engine by its name, with a simulation for every record of ``params`` and ``state``, ``(n,)``.

    ``kernel`` says what its model is; ``threads`` (or processes) share the rows.

    Raises:
        UnknownName: If there is none of that name.
        MissingExtra: If its library is not installed.
    """
    engine: Engine = importlib.import_module(engine_module(name)).opened(kernel, params, state, threads)
    return engine


def engine_module(name: str) -> str:
    """Return the import path of an engine's module."""
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES, "rlops")
    return ENGINES[name]


def nominal_model(kernel: Any) -> Model:
    """Return the model of a kernel's nominal parameters."""
    return from_row(kernel.build, {parameter.name: parameter.nominal for parameter in kernel.PARAMETERS})
