"""Two versions side by side: what they declare differently, and what they do under the same seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from rlops.agents_baseline.evaluate import Interval, bootstrap, finite
from rlops.envs.contract import Column
from rlops.errors import InvalidValue
from rlops.registry.dynamics.negative import old_versions_wanted
from rlops.registry.dynamics.subjects import subject
from rlops.registry.dynamics.traces import Difference, compare, first_difference, leaves

if TYPE_CHECKING:
    from rlops.agents_baseline.agents import Agent

EPISODES = 32
MAX_STEPS = 3000
"""Steps after which an episode is not played on."""
_COLUMNS = ("observation", "action", "key figures", "context")


@dataclass(frozen=True)
class Change:
    """Something that two environments declare differently.

    Attributes:
        section: What it belongs to, for example ``parameters``.
        name: Of the thing.
        a, b: What either declares; empty if it has no such thing.
    """

    section: str
    name: str
    a: str
    b: str


@dataclass(frozen=True)
class Contrast:
    """One figure of both environments, over the same seeds.

    Attributes:
        a, b: Its means, each with its 95 % interval.
        difference: Mean of b less a, seed by seed, with its 95 % interval.
        spread: Standard deviation of the figure over the episodes of both, by which differences of several figures
            can be drawn on one axis; 0 if it never varies.
    """

    a: Interval
    b: Interval
    difference: Interval
    spread: float

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference excludes zero."""
        return self.difference.low > 0 or self.difference.high < 0


@dataclass(frozen=True)
class Diff:
    """How two environments differ.

    Attributes:
        a, b: Their ids.
        seeds: Of the episodes.
        declared: What they declare differently.
        played: How the actions were chosen.
        same_actions: Whether both took the same actions as long as both ran.
        first: The first difference, if they took the same actions and there is one; ``golden`` is a's number, ``now``
            b's.
        figures: Return, steps, reward terms and key figures that both have.
        only_a, only_b: Means of the reward terms and key figures that one of them has.
        returns: Of every episode, ``(2, n)``.
        so_far: Reward of every episode up to each step, ``(2, n, T + 1)``.
    """

    a: str
    b: str
    seeds: list[int]
    declared: list[Change]
    played: str
    same_actions: bool
    first: Difference | None
    figures: dict[str, Contrast]
    only_a: dict[str, Interval]
    only_b: dict[str, Interval]
    returns: np.ndarray
    so_far: np.ndarray = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return all but the course of the episodes, ready for JSON; what is not a number is None."""
        named: dict[str, Any] = {
            "a": self.a,
            "b": self.b,
            "seeds": self.seeds,
            "declared": [asdict(change) for change in self.declared],
            "played": self.played,
            "same_actions": self.same_actions,
            "first": self.first.as_json() if self.first else None,
            "figures": {name: asdict(one) | {"clear": one.clear} for name, one in self.figures.items()},
            "only_a": {name: asdict(one) for name, one in self.only_a.items()},
            "only_b": {name: asdict(one) for name, one in self.only_b.items()},
            "returns": self.returns.tolist(),
        }
        told: dict[str, Any] = finite(named)
        return told

    def picture(self, path: str | Path) -> Path:
        """Draw the behaviour into an image file whose suffix says the format, and return its path.

        Raises:
            MissingExtra: If Matplotlib is not installed.
        """
        from rlops.registry.dynamics.diff_chart import draw

        return draw(self, Path(path))


def diff(
    a: str,
    b: str,
    *,
    episodes: int = EPISODES,
    seed: int = 0,
    agent: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> Diff:
    """Return how the environment ``b`` differs from ``a``.

    Args:
        a: Id, of rlops or any that Gymnasium makes.
        b: The other.
        episodes: How many of either, with the seeds ``seed`` and following.
        seed: Of the first episode.
        agent: Name of a controller that both have, each choosing for itself; None: by chance, with the same actions
            for both where they take the same.
        params: Parameters of both that differ from the nominal ones.

    Raises:
        UnknownName: If an environment, the controller or a parameter does not exist.
        InvalidValue: If there is no episode to play, or a controller or parameters are given for environments that are
            not of rlops.
    """
    if episodes < 1:
        raise InvalidValue(f"episodes must be at least 1, got {episodes}.")
    ours = a.startswith("rlops/") and b.startswith("rlops/")
    if not ours and (agent or params):
        raise InvalidValue(
            f"A controller and parameters need two environments of rlops, got {a} and {b}. Leave them out."
        )
    declared = declared_differences(a, b)
    seeds = list(range(seed, seed + episodes))
    sides = [_Side(id, seeds, agent, params) for id in (a, b)]
    same = agent is None and _takes_same_actions(*sides)
    first = _play(sides[0], sides[1], same)
    figures = [side.figures() for side in sides]
    common = [name for name in figures[0] if name in figures[1]]
    contrasts = _contrasts({name: (figures[0][name], figures[1][name]) for name in common})
    only = [bootstrap(one) if (one := {k: v for k, v in mine.items() if k not in common}) else {} for mine in figures]
    length = max(len(side.rewards) for side in sides)
    return Diff(
        a, b, seeds, declared, _played_how(agent, same), same, first, contrasts, only[0], only[1],
        np.stack([side.returns for side in sides]), np.stack([side.so_far(length) for side in sides]),
    )  # fmt: skip


def _played_how(agent: str | None, same: bool) -> str:
    if agent:
        return f"{agent}, which chooses for each by what it sees there"
    if same:
        return "the same actions for both, by chance among those that are legal in the first"
    return "by chance among the legal actions, for each its own, as they do not take the same actions"


def _contrasts(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Contrast]:
    """Return every figure's contrast, of values ``(n,)`` each."""
    a = bootstrap({name: one for name, (one, _) in pairs.items()})
    b = bootstrap({name: other for name, (_, other) in pairs.items()})
    between = bootstrap({name: other - one for name, (one, other) in pairs.items()})
    return {
        name: Contrast(a[name], b[name], between[name], float(np.std(np.concatenate(pair), ddof=1)))
        for name, pair in pairs.items()
    }


# -- what is declared ---------------------------------------------------------------------------------------


def declared_differences(a: str, b: str) -> list[Change]:
    """Return what two environments declare differently: spaces, columns, parameters, terms, randomization."""
    one, other = (_declared(id) for id in (a, b))
    changes = []
    for section in one | other:
        mine, theirs = one.get(section, {}), other.get(section, {})
        for name in mine | theirs:
            if mine.get(name) != theirs.get(name):
                changes.append(_change(section, name, mine.get(name), theirs.get(name)))
    return changes


def _change(section: str, name: str, a: Any, b: Any) -> Change:
    """Return how a thing differs: of two things that both have parts, only the parts that differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        apart = [key for key in a | b if a.get(key) != b.get(key)]
        a, b = ({key: side[key] for key in apart if key in side} for side in (a, b))
    return Change(section, name, _text(a), _text(b))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items() if part not in ("", None, []))
    if isinstance(value, (list, tuple)):
        return " … ".join(_text(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _declared(id: str) -> dict[str, dict[str, Any]]:
    """Return what an environment declares: sections of named things."""
    declared: dict[str, dict[str, Any]] = {}
    for section, value in subject(id).specification().items():
        if section in _COLUMNS and isinstance(value, list):
            declared[section] = _columns(value)
        elif section == "reward terms":
            declared[section] = dict.fromkeys(value, "a term")
        elif section == "agents":
            declared[section] = {"names": value["names"], "action": value["action"]}
            observation = value["observation"]
            if observation and isinstance(observation[0][0], str):
                declared["agents' observation"] = _columns(observation)
            else:
                seen = dict(zip(value["names"], observation, strict=True))
                declared |= {f"{agent}'s observation": _columns(columns) for agent, columns in seen.items()}
        elif section == "randomization" and id.startswith("rlops/"):
            declared |= _levels(id)
        else:
            declared[section] = value if isinstance(value, dict) else {section: value}
    return declared


def _columns(listed: Sequence[Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Return columns by name, numbers within names left out: those of sixteen vehicles are one, sixteen times."""
    columns: dict[str, dict[str, Any]] = {}
    for name, unit, low, high, count in listed:
        key = re.sub(r"\d+", "#", name)
        one = columns.setdefault(key, {"columns": 0, "unit": unit, "bounds": [low, high]})
        one["columns"] += count
    order = list(columns)
    for before, name in zip(["the beginning", *order], order, strict=False):
        columns[name]["after"] = before
    return columns


def _levels(id: str) -> dict[str, dict[str, Any]]:
    """Return what every level of randomization draws, a section each."""
    from rlops.randomization import levels

    return {
        f"randomization {name}": {
            parameter: {key: value for key, value in term.items() if value is not None}
            for parameter, term in spec.model_dump(mode="json")["params"].items()
        }
        for name, spec in levels(id).items()
    }


# -- what they do -------------------------------------------------------------------------------------------


class _Side:
    """One of the environments while it is played: a row an episode.

    Attributes:
        running: Whether a row's episode runs, ``(n,)``.
        rewards: Of every step, each ``(n,)``, 0 for rows that do not run.
        steps: Of every row's episode so far, ``(n,)``.
    """

    def __init__(self, id: str, seeds: Sequence[int], agent: str | None, params: Mapping[str, Any] | None):
        self.id, self.ours, n = id, id.startswith("rlops/"), len(seeds)
        self.seeds = np.array(seeds, np.uint64)
        self.envs = _opened(id, n, params)
        self.agent: Agent | None = _controller(agent, id)
        self.obs, self.infos = self.envs.reset(seed=list(seeds))
        self.running, self.steps = np.ones(n, np.bool_), np.zeros(n, np.int64)
        self.rewards: list[np.ndarray] = []
        kernel = self.envs.kernel if self.ours else None
        self.term_names: tuple[str, ...] = tuple(kernel.REWARD_TERMS) if kernel else ()
        self.columns: tuple[Column, ...] = tuple(kernel.OBSERVATION) if kernel else ()
        self.terms, self.kpis = np.zeros((n, len(self.term_names))), dict[str, np.ndarray]()

    @property
    def returns(self) -> np.ndarray:
        """Sum of the rewards of every row, ``(n,)``."""
        return np.asarray(np.sum(self.rewards, axis=0))

    def masks(self) -> np.ndarray | None:
        """Return the legal actions ``(n, m)``, None if all are."""
        masks: np.ndarray | None = self.infos.get("action_mask")
        return masks

    def chosen(self) -> np.ndarray:
        """Return an action for every row, ``(n,)`` or ``(n, d)``."""
        if self.agent is not None:
            masks = self.envs.action_masks()
            return self.agent.actions(self.envs, self.obs, masks)
        return _by_chance(self.envs.single_action_space, self.masks(), self.seeds, self.steps)

    def step(self, actions: np.ndarray) -> None:
        """Take a step; rows that ended are stepped along, but not written down."""
        self.obs, reward, terminated, truncated, self.infos = self.envs.step(actions)
        self.rewards.append(np.where(self.running, reward, 0.0))
        self.steps += self.running
        if self.ours:
            self.terms += np.where(self.running[:, None], self.envs.state["terms"], 0.0)
        ended = self.running & (terminated | truncated)
        for name, values in self.infos.get("kpis", {}).items() if ended.any() else ():
            if not name.startswith("_"):
                self.kpis.setdefault(name, np.full(len(ended), np.nan))[ended] = values[ended]
        self.running = self.running & ~ended
        self.ended = {"terminated": terminated, "truncated": truncated}

    def shown(self) -> dict[str, np.ndarray]:
        """Return all that rows show and are now, by name, each ``(n, …)``."""
        shown = {"observation": self.obs} if isinstance(self.obs, np.ndarray) else {}
        if self.rewards:
            shown |= {"reward": self.rewards[-1]} | {f"ended.{name}": flag for name, flag in self.ended.items()}
        if self.ours:
            shown |= {f"terms.{name}": self.envs.state["terms"][:, k] for k, name in enumerate(self.term_names)}
            shown |= {
                name: part for name, part in leaves(np.asarray(self.envs.state), "state") if name != "state.terms"
            }
        return shown

    def figures(self) -> dict[str, np.ndarray]:
        """Return every figure by name, each ``(n,)``."""
        terms = {f"reward.{name}": self.terms[:, k] for k, name in enumerate(self.term_names)}
        return {"return": self.returns, "steps": self.steps.astype(np.float64), **terms, **self.kpis}

    def so_far(self, length: int) -> np.ndarray:
        """Return the reward up to each step, ``(n, length + 1)``."""
        found = np.zeros((len(self.seeds), length + 1))
        found[:, 1 : len(self.rewards) + 1] = np.cumsum(self.rewards, axis=0).T
        found[:, len(self.rewards) + 1 :] = found[:, [len(self.rewards)]]
        return found


def _opened(id: str, rows: int, params: Mapping[str, Any] | None) -> Any:
    """Return a vector of ``rows`` rows that go on by themselves after their end."""
    if id.startswith("rlops/"):
        from rlops.envs import parse_id
        from rlops.envs.faces import VectorEnv

        return VectorEnv(*parse_id(id), rows, params=params)
    with old_versions_wanted():
        return gym.make_vec(id, num_envs=rows, vectorization_mode="sync")


def _controller(name: str | None, id: str) -> Agent | None:
    if name is None:
        return None
    from rlops.agents_baseline.agents import load_agent

    return load_agent(name, id)


def _takes_same_actions(one: _Side, other: _Side) -> bool:
    """Return whether actions of one mean something to the other: versions of a family with the same action space."""
    related = one.id.rpartition("-v")[0] == other.id.rpartition("-v")[0]
    return related and bool(one.envs.single_action_space == other.envs.single_action_space)


def _play(a: _Side, b: _Side, same: bool) -> Difference | None:
    """Play both to the end; return the first difference, if both take the ``same`` actions."""
    both = a.running.copy()
    first = _first_among(a, b, both, 0) if same else None
    for step in range(1, MAX_STEPS + 1):
        both = a.running & b.running
        actions = a.chosen()
        others = b.chosen()
        if same:
            others = np.where(both.reshape(-1, *[1] * (actions.ndim - 1)), actions, others).astype(others.dtype)
        if a.running.any():
            a.step(actions)
        if b.running.any():
            b.step(others)
        if same and first is None and both.any():
            first = _first_among(a, b, both, step)
        if not (a.running.any() or b.running.any()):
            break
    return first


def _first_among(a: _Side, b: _Side, rows: np.ndarray, step: int) -> Difference | None:
    """Return a difference of what the ``rows`` (n,) bool of both show and are, what is shown before what is not."""
    mine, theirs = a.shown(), b.shown()
    for name, one in mine.items():
        other = theirs.get(name)
        if other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
            continue
        differs = compare(one[rows], other[rows]).differs
        if differs.any():
            row = int(np.flatnonzero(rows)[np.argmax(differs)])
            found = first_difference(f"of seed {a.seeds[row]}", name, one[[row]], other[[row]], step)
            return _named(found, a.columns)
    return None


def _named(found: Difference, columns: Sequence[Column]) -> Difference:
    """Return a difference in an observation with the name of the column."""
    match = re.fullmatch(r"observation\[(\d+)\]", found.variable)
    if match is None or not columns:
        return found
    names = [column.name for column in columns for _ in range(column.count)]
    return Difference(**asdict(found) | {"variable": f"{found.variable}, {names[int(match[1])]}"})


def _by_chance(space: gym.Space[Any], masks: np.ndarray | None, seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return legal actions that depend on the seed and step of a row only."""
    if isinstance(space, gym.spaces.Discrete):
        legal = np.ones((len(seeds), int(space.n)), np.int64) if masks is None else masks.astype(np.int64)
        wanted = (_uniform(seeds, steps, 0) * legal.sum(axis=1)).astype(np.int64)
        return int(space.start) + np.asarray(np.argmax(np.cumsum(legal, axis=1) > wanted[:, None], axis=1))
    if isinstance(space, gym.spaces.Box) and space.is_bounded():
        u = np.stack([_uniform(seeds, steps, k) for k in range(int(np.prod(space.shape)))], axis=1)
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        return np.asarray(low + (high - low) * u.reshape(len(seeds), *space.shape), space.dtype)
    raise InvalidValue(f"Actions by chance must be discrete or a bounded Box, got {space}.")


def _uniform(seeds: np.ndarray, steps: np.ndarray, k: int) -> np.ndarray:
    """Return numbers within [0, 1), hashed (SplitMix64) from seeds (n,) uint64, steps (n,) and ``k``."""
    x = (seeds << np.uint64(32)) + (steps.astype(np.uint64) << np.uint64(8)) + np.uint64(k + 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray((x >> np.uint64(11)) * 2.0**-53)
