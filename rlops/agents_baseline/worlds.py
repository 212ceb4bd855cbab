"""Where agents are trained and judged: rows of an environment in this process, or within an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium.vector import AutoresetMode

from rlops.envs import parse_id
from rlops.envs.faces import VectorEnv
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

    def rows(self, count: int, mode: AutoresetMode) -> Any:
        """Return ``count`` rows of it, a vector environment.

        Raises:
            InvalidValue: If an image is to follow a schedule, or gets options that JSON cannot say.
        """
        given = {name: value for name, value in self.options.items() if value is not None}
        if self.image:
            return self._within_image(count, mode, given)
        envs = VectorEnv(*parse_id(self.id), count, autoreset_mode=mode, params=self.params, **given)
        return self.prepared(envs)

    def prepared(self, env: Any) -> Any:
        """Let an environment of this process draw what the world draws, and return it."""
        return env if self.randomization is None else randomize(env, self.randomization)

    def _within_image(self, count: int, mode: AutoresetMode, given: Mapping[str, Any]) -> Any:
        from rlops.registry import make

        if self.randomization is not None and self.randomization.schedule.kind != "constant":
            raise InvalidValue(
                f"What a schedule remembers does not come out of an image, got one for {self.image}. Train in-process, "
                "or draw without a schedule."
            )
        options: dict[str, Any] = {**given, **({"params": dict(self.params)} if self.params else {})}
        envs = make(self.image, count, runtime=self.runtime, autoreset_mode=mode, **options)
        return envs if self.randomization is None else envs.randomize(json.loads(self.randomization.canonical()))
