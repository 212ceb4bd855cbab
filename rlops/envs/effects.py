"""Does a parameter do what it says? Every one at its low against its high bound, in the same worlds.

A parameter that changes nothing is worse than none: a team randomizes it, and believes its policy robust. So for each
one the same episodes are played at both bounds, with the same choices by chance among the legal actions, now and then
an illegal one. They must differ, and what its declaration says must rise or fall (:attr:`Parameter.effect`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlops.envs.contract import Family, Parameter
from rlops.errors import UnknownName

EPISODES = 12
ANY_ACTION = 0.1
"""Share of actions that are chosen without regard to the mask."""
CLEAR = 2.0
"""Standard errors that a mean difference of declared sign must have."""


@dataclass(frozen=True)
class Effect:
    """What happens between the low and the high bound of a parameter.

    Attributes:
        parameter: Its name.
        first_step: The earliest step after which anything observed, rewarded or legal differs; None: nothing does.
        declared: What the parameter's declaration says, for example ``"+bookings"``; may be empty.
        low, high: Mean of the declared figure at both bounds; NaN if none is declared.
        clear: The mean paired difference in units of its standard error, along the declared sign.
    """

    parameter: str
    first_step: int | None
    declared: str
    low: float
    high: float
    clear: float

    @property
    def holds(self) -> bool:
        """Whether the parameter changes anything, and the declared figure by its declared sign."""
        return self.first_step is not None and (not self.declared or self.clear > CLEAR)

    def __str__(self) -> str:
        if self.first_step is None:
            return f"parameter {self.parameter} must change something between its bounds, but nothing differs."
        told = f"parameter {self.parameter} differs from step {self.first_step}"
        if not self.declared:
            return f"{told}."
        must = "must hold" if self.holds else "must hold, but does not"
        moved = f"{self.low:.6g} at the low bound, {self.high:.6g} at the high one"
        return f"{told}; {self.declared} {must}: {moved} ({self.clear:+.1f} standard errors along the sign)."


def effects(
    family: Family, number: int, names: Iterable[str] | None = None, *, episodes: int = EPISODES, seed: int = 0
) -> list[Effect]:
    """Return the effect of the parameters ``names`` (default: all) of one version.

    Args:
        family: The family.
        number: N of ``-vN``.
        names: Parameters.
        episodes: Pairs of episodes that are played for each, with the seeds ``seed`` and following.
        seed: Of the first pair.
    """
    known = {p.name: p for p in family.kernel(number).PARAMETERS}
    for name in (names := list(known if names is None else names)):
        if name not in known:
            raise UnknownName("parameter", name, known, f"rlops/{family.name}-v{number}")
    alone = [name for name in names if set(options_for(family, name)) - {"params"}]
    # Apart from all others, which would have to be played as long.
    longer = [name for name in names if name.startswith("horizon") and name not in alone]
    together = [name for name in names if name not in (*alone, *longer)]
    found: dict[str, Effect] = {}
    for group in [together, longer, *([name] for name in alone)]:
        if group:
            found |= _played(family, number, [known[name] for name in group], episodes, seed)
    return [found[name] for name in names]


def options_for(family: Family, name: str) -> dict[str, Any]:
    """Return the options under which a parameter matters, an episode ends as ``name``, or a controller is recorded."""
    options: dict[str, Any] = importlib.import_module(family.excite).excite(name) if family.excite else {}
    return options


def _played(family: Family, number: int, parameters: list[Parameter], episodes: int, seed: int) -> dict[str, Effect]:
    """Play all ``parameters`` side by side: rows (parameter, bound, episode)."""
    from rlops.envs.faces import VectorEnv

    shape = (len(parameters), 2, episodes)
    options = options_for(family, parameters[0].name) if len(parameters) == 1 else {}
    options["params"] = _params(family, number, parameters, shape)
    envs = VectorEnv(family, number, int(np.prod(shape)), autoreset_mode="SameStep", **options)
    first, figures = _episodes(envs, shape, seed)
    found = {}
    for k, parameter in enumerate(parameters):
        name, sign = parameter.effect[1:], -1.0 if parameter.effect.startswith("-") else 1.0
        step, low, high, clear = first[k], float("nan"), float("nan"), float("nan")
        if step is None and hasattr(envs.kernel, "AGENTS"):
            step = _first_among_agents(family, number, parameter, seed)
        if name:
            if name not in figures:
                raise UnknownName("figure", name, figures, f"effect of parameter {parameter.name}")
            at_low, at_high = figures[name].reshape(shape)[k]
            low, high = float(at_low.mean()), float(at_high.mean())
            difference = at_high - at_low
            error = max(float(difference.std(ddof=1)) / episodes**0.5, 1e-12)
            clear = sign * float(difference.mean()) / error
        found[parameter.name] = Effect(parameter.name, step, parameter.effect, low, high, clear)
    return found


def _params(
    family: Family, number: int, parameters: list[Parameter], shape: tuple[int, int, int]
) -> Mapping[str, np.ndarray]:
    """Return the parameters of all rows: those with which one matters, and it itself at its bounds."""
    nominal = family.nominal(number)
    matters_with = [options_for(family, parameter.name).get("params", {}) for parameter in parameters]
    values: dict[str, np.ndarray] = {}
    for k, (parameter, others) in enumerate(zip(parameters, matters_with, strict=True)):
        for name, value in {**others, parameter.name: [[parameter.low], [parameter.high]]}.items():
            values.setdefault(name, np.full(shape, float(nominal[name][0])))[k] = value
    return {name: value.ravel() for name, value in values.items()}


def _episodes(envs: Any, shape: tuple[int, int, int], seed: int) -> tuple[list[int | None], dict[str, np.ndarray]]:
    """Play one episode in every row; return the first step that differs between bounds, and the rows' figures."""
    parameters, _, episodes = shape
    generators = [np.random.default_rng(seed + e) for e in range(episodes)]
    obs, infos = envs.reset(seed=[seed + e for _ in range(2 * parameters) for e in range(episodes)])
    n, width = envs.num_envs, 2 + sum(envs.single_action_space.shape or ())
    first: list[int | None] = [None] * parameters
    figures: dict[str, np.ndarray] = {"return": np.zeros(n)}
    running, step = np.ones(n, np.bool_), 0

    def compare(rows: np.ndarray, *shown: np.ndarray) -> None:
        """Take notice of the parameters by which ``shown`` (n, …) differs within the pairs of ``rows``."""
        both = np.all(rows.reshape(shape), axis=1)
        for k in range(parameters):
            if first[k] is None:
                pairs = [one.reshape(*shape, -1)[k][:, both[k]] for one in shown]
                first[k] = step if any(np.any(low != high) for low, high in pairs) else None

    while running.any():
        compare(running, obs, infos.get("action_mask", obs))
        u = np.stack([generator.random(width) for generator in generators])
        obs, reward, terminated, truncated, infos = envs.step(_actions(envs, infos, np.tile(u, (2 * parameters, 1))))
        step += 1
        compare(running, reward, terminated, truncated)
        ended = (terminated | truncated) & running
        last = infos["final_info"] if ended.any() else infos
        figures["return"][running] += reward[running]
        for term, value in _named(infos.get("reward_terms", {})):
            total = figures.setdefault(f"reward.{term}", np.zeros(n))
            total[running & ~ended] += value[running & ~ended]
            total[ended] += last["reward_terms"][term][ended]
        for name, value in _named(last.get("kpis", {}) if ended.any() else {}):
            figures.setdefault(name, np.zeros(n))[ended] = value[ended]
        running &= ~ended
    return first, figures


def _named(infos: Mapping[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Return what a dict of infos says, without its masks."""
    return [(name, value) for name, value in infos.items() if not name.startswith("_")]


def _actions(envs: Any, infos: Mapping[str, Any], u: np.ndarray) -> np.ndarray:
    """Return an action for every row from numbers ``u`` (n, 2 or more) within [0, 1)."""
    space = envs.single_action_space
    if space.shape:
        return np.asarray(space.low + (space.high - space.low) * u[:, 2:])
    legal = np.ones((len(u), space.n), np.int64)
    if "action_mask" in infos:
        legal[:] = infos["action_mask"]
        legal[u[:, 1] < ANY_ACTION] = 1
    wanted = (u[:, 0] * legal.sum(axis=1)).astype(np.int64)
    return np.asarray(np.argmax(np.cumsum(legal, axis=1) > wanted[:, None], axis=1))


def _first_among_agents(family: Family, number: int, parameter: Parameter, seed: int) -> int | None:
    """Return the first step at which the agents' observations or rewards differ between the bounds."""
    from rlops.envs.faces import ParallelEnv

    options = options_for(family, parameter.name)
    sides = []
    for bound in (parameter.low, parameter.high):
        params = {**options.get("params", {}), parameter.name: bound}
        side = ParallelEnv(family, number, **{**options, "params": params})
        sides.append((side, *side.reset(seed=seed)))
    generator, step = np.random.default_rng(seed), 0
    while all(side.agents for side, *_ in sides):
        u = dict(zip(sides[0][0].possible_agents, generator.random((len(sides[0][0].possible_agents), 8)), strict=True))
        seen = []
        for k, (side, _, infos) in enumerate(sides):
            chosen = {agent: _action_of(side.action_space(agent), infos[agent], u[agent]) for agent in side.agents}
            obs, rewards, _, _, infos = side.step(chosen)
            sides[k] = (side, obs, infos)
            seen.append((np.concatenate(list(obs.values())), np.array(list(rewards.values()))))
        step += 1
        if any(not np.array_equal(one, other) for one, other in zip(*seen, strict=True)):
            return step
    return None


def _action_of(space: Any, info: Mapping[str, Any], u: np.ndarray) -> Any:
    """Return a legal action of an agent from numbers ``u`` within [0, 1)."""
    if space.shape:
        return space.low + (space.high - space.low) * u[: space.shape[0]]
    legal = np.flatnonzero(info["action_mask"])
    return int(legal[int(u[0] * len(legal))])
