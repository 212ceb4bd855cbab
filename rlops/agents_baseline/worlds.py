"""Where agents are trained and judged: rows of an environment in this process, or within an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium.vector import AutoresetMode

from rlops.envs import parse_id
from rlops.envs.faces import ParallelEnv, VectorEnv
from rlops.errors import InvalidValue
from rlops.randomization import Randomization, randomize


@dataclass(frozen=True)
class World:
    """An environment with its own options, its parameters and its randomization.

    Attributes:
        id: The environment.
        options: Of its construction; one that is None is left out.
        params: Parameters that differ from the nominal ones.
        randomization: What every episode draws anew; None: nothing.
        image: Reference of the image in which its rows step, which holds ``id``; empty: they step in this process.
        runtime: What runs the image, as :func:`rlops.registry.make` takes it.
    """

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    randomization: Randomization | None = None
    image: str = ""
    runtime: str = "auto"

    def rows(self, count: int, mode: AutoresetMode, copy: bool = True) -> Any:
        """Return ``count`` rows of it, a vector environment; without ``copy`` the second step after overwrites a step.

        Raises:
            InvalidValue: If an image is to follow a schedule, or gets options that JSON cannot say.
        """
        if self.image:
            return self._within_image(count, mode, copy)
        given = self._given()
        envs = VectorEnv(*parse_id(self.id), count, autoreset_mode=mode, copy=copy, params=self.params, **given)
        return self.prepared(envs)

    def agents_as_rows(self, copies: int, mode: AutoresetMode) -> Any:
        """Return the agents of so many copies of it as rows, a vector environment; see :mod:`rlops.wrappers.agents`.

        Raises:
            InvalidValue: If it is in an image, or is to follow a schedule, which copies cannot share.
        """
        from rlops.wrappers.agents import agents_as_rows

        if self.image or (self.randomization is not None and self.randomization.schedule.kind != "constant"):
            raise InvalidValue(
                f"Agents are rows in this process, and draw without a schedule, got {self.image or 'a schedule'}. "
                f"Train {self.id} in-process, with another randomization, or without shared."
            )

        def copy() -> Any:
            return self.prepared(ParallelEnv(*parse_id(self.id), params=self.params, **self._given()))

        return agents_as_rows(copy, copies, autoreset_mode=mode)

    def prepared(self, env: Any) -> Any:
        """Let an environment of this process draw what the world draws, and return it."""
        return env if self.randomization is None else randomize(env, self.randomization)

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if value is not None}

    def _within_image(self, count: int, mode: AutoresetMode, copy: bool) -> Any:
        from rlops.registry import make

        if self.randomization is not None and self.randomization.schedule.kind != "constant":
            raise InvalidValue(
                f"What a schedule remembers does not come out of an image, got one for {self.image}. Train in-process, "
                "or draw without a schedule."
            )
        options: dict[str, Any] = {**self._given(), **({"params": dict(self.params)} if self.params else {})}
        envs = make(self.image, count, runtime=self.runtime, autoreset_mode=mode, copy=copy, **options)
        return envs if self.randomization is None else envs.randomize(json.loads(self.randomization.canonical()))
