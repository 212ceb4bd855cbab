"""The parts of a report as episodes to be played, from a specification and the environment's declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from rlops.agents_baseline.worlds import World
from rlops.envs import parse_id
from rlops.envs.contract import Parameter
from rlops.randomization import LEVELS, Randomization, levels
from rlops.robustness.episodes import Design
from rlops.robustness.spec import Spec

SWEPT = 8
"""Parameters that are swept if a specification names none."""
DISTURBING = ("latency", "noise", "disturbance")
"""Kinds of parameters that the battery takes, and payloads."""
SEVERITIES = ("mild", "strong", "extreme")
"""The end of what is plausible, half-way from there to what is possible, and the end of that."""


@dataclass(frozen=True)
class Setting:
    """What all parts have in common.

    Attributes:
        spec: What is played.
        trained: What the policy was trained for.
        options: For the environment's construction.
        params: Parameters that differ from the nominal ones, beyond those of ``spec``.
    """

    spec: Spec
    trained: Randomization
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The environment."""
        return self.spec.env

    @cached_property
    def kernel(self) -> Any:
        """Its kernel."""
        family, number = parse_id(self.id)
        return family.kernel(number)

    @cached_property
    def engine(self) -> str:
        """The engine in which it is played; empty without one."""
        engines = getattr(self.kernel, "ENGINES", ("",))
        return str(self.options.get("engine", engines[0]))

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Its parameters by name, those that the engine can vary."""
        return {p.name: p for p in self.kernel.PARAMETERS if not p.engines or self.engine in p.engines}

    @cached_property
    def world(self) -> World:
        """The nominal world."""
        return World(self.id, dict(self.options), {**self.spec.params, **self.params})

    @cached_property
    def nominal(self) -> dict[str, float]:
        """The nominal value of every parameter in that world."""
        family, number = parse_id(self.id)
        row = family.nominal(number)[0]
        values = {name: float(row[name]) for name in row.dtype.names}
        known = {p.name: p for p in self.kernel.PARAMETERS}
        return {**values, **{name: known[name].checked(v, self.id) for name, v in self.world.params.items()}}

    def seeds(self, count: int) -> np.ndarray:
        """Return the first ``count`` seeds; all parts begin with the same one, so that they are paired."""
        return np.arange(self.spec.seed, self.spec.seed + count)

    def trained_range(self, name: str) -> tuple[float, float] | None:
        """Return from where to where the policy saw a parameter in training, None if it was always nominal."""
        term = self.trained.params.get(name)
        if term is None:
            return None
        content: Any = term
        if term.dist == "constant":
            ends = [content.value, content.value]
        elif term.dist == "normal":
            ends = [content.mean - 2 * content.std, content.mean + 2 * content.std]
        elif term.dist == "choice":
            ends = [self.parameters[name].checked(v, self.id) if isinstance(v, str) else v for v in content.values]
        elif term.dist == "empirical":
            return None
        else:
            ends = [content.low, content.high]
        usual = self.nominal[name]
        moved = [{"abs": end, "scale": usual * end, "add": usual + end}[term.op] for end in ends]
        return min(moved), max(moved)

    @cached_property
    def swept(self) -> tuple[str, ...]:
        """The parameters that have a curve."""
        if self.spec.curves.params is not None:
            return self.spec.curves.params
        return tuple(p.name for p in self.parameters.values() if p.plausible)[:SWEPT]

    @cached_property
    def disturbing(self) -> tuple[str, ...]:
        """The parameters of the battery."""
        if self.spec.battery.params is not None:
            return self.spec.battery.params
        known = (p for p in self.parameters.values() if p.plausible)
        return tuple(p.name for p in known if p.kind in DISTURBING or "payload" in p.name)

    def values(self, name: str, points: int) -> np.ndarray:
        """Return ``points`` values of a parameter over its hard bounds, fewer if it has no more."""
        parameter = self.parameters[name]
        values = np.linspace(parameter.low, parameter.high, points)
        return np.unique(np.round(values)) if parameter.dtype == "i8" else values

    def severities(self, name: str) -> tuple[float, float, float]:
        """Return the values of a disturbance, away from the nominal value on the side where more is plausible."""
        parameter = self.parameters[name]
        low, high = parameter.plausible or (parameter.low, parameter.high)
        upwards = high - self.nominal[name] >= self.nominal[name] - low
        mild, extreme = (high, parameter.high) if upwards else (low, parameter.low)
        strong = (mild + extreme) / 2
        return mild, (round(strong) if parameter.dtype == "i8" else strong), extreme


def nominal(setting: Setting) -> Design:
    """Return the episodes of the nominal floor."""
    count = setting.spec.nominal.episodes
    return Design("nominal", setting.world, setting.seeds(count), ("",) * count)


def in_distribution(setting: Setting) -> Design:
    """Return episodes that each draw their world from what the policy was trained for, independently."""
    count = setting.spec.in_distribution.episodes
    world = replace(setting.world, randomization=setting.trained)
    return Design("in_distribution", world, setting.seeds(count), ("",) * count)


def curves(setting: Setting) -> Design:
    """Return the episodes in which one parameter at a time goes over its hard bounds."""
    spec = setting.spec.curves
    points = [(name, {name: value}) for name in setting.swept for value in setting.values(name, spec.points).tolist()]
    return _crossed(setting, "curves", points, spec.episodes)


def battery(setting: Setting) -> Design:
    """Return the episodes with one disturbance at a time, at each severity."""
    points = [
        (f"{name} {severity}", {name: value})
        for name in setting.disturbing
        for severity, value in zip(SEVERITIES, setting.severities(name), strict=True)
    ]
    return _crossed(setting, "battery", points, setting.spec.battery.episodes)


def heatmap(setting: Setting, pair: Sequence[str]) -> Design:
    """Return the episodes in which two parameters go over their hard bounds together."""
    spec = setting.spec.heatmap
    across, up = (setting.values(name, spec.points).tolist() for name in pair)
    points = [(f"{pair[0]} × {pair[1]}", {pair[0]: x, pair[1]: y}) for y in up for x in across]
    return _crossed(setting, "heatmap", points, spec.episodes)


def _crossed(setting: Setting, part: str, points: list[tuple[str, dict[str, float]]], episodes: int) -> Design:
    """Return a design that plays the same seeds at every point: what differs between points is the point."""
    names = sorted({name for _, values in points for name in values})
    overrides = {
        name: np.repeat([values.get(name, setting.nominal[name]) for _, values in points], episodes) for name in names
    }
    labels = tuple(label for label, _ in points for _ in range(episodes))
    return Design(part, setting.world, np.tile(setting.seeds(episodes), len(points)), labels, overrides)


def transfer(setting: Setting) -> list[Design]:
    """Return the same episodes in other worlds: engines and reality profiles of a robot, otherwise levels.

    The first column is the nominal world.
    """
    count = setting.spec.transfer.episodes
    return [
        Design("transfer", world, setting.seeds(count), (label,) * count) for label, world in _columns(setting).items()
    ]


def _columns(setting: Setting) -> dict[str, World]:
    world = setting.world
    if not hasattr(setting.kernel, "ENGINES"):
        specs = levels(setting.id)
        drawn = {level: replace(world, randomization=specs[level]) for level in LEVELS if specs[level].params}
        return {"nominal": world, **drawn}
    from rlops.envs.robotics.profiles import PROFILES

    family, _ = parse_id(setting.id)
    engines = (setting.engine, *(name for name in setting.kernel.ENGINES if name != setting.engine))
    columns = {name: replace(world, options={**world.options, "engine": name}) for name in engines}
    for profile in PROFILES.get(family.name, ()):
        own = profile.options()
        params = {**world.params, **own["params"]}
        columns[f"profile {profile.name}"] = replace(
            world, options={**world.options, "engine": own["engine"]}, params=params
        )
    return columns
