"""How far two engines are apart, measured where a policy goes, instead of assumed.

* **One-step error**: both engines take the same step from the same state; what differs, by group of coordinates, as a
  share of what the step changes.
* **Equivalent parameter**: the smallest change of one parameter that moves the first engine as far from itself.
* **Returns**: what agents get in either engine, in the same episodes.

Where nothing touches, both engines solve the same equations in the same way, and the gap is round-off. That is a
property of the twin, and no evidence about reality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import Agent
from rlops.envs import parse_id
from rlops.envs.batch import Batch
from rlops.envs.contract import Parameter
from rlops.envs.robotics.engines import nominal_model
from rlops.errors import InvalidValue

ROUND_OFF = 1e-9
"""A gap below this share of a step is round-off: no parameter is its equivalent."""
PROBE = 0.01
"""Share of a parameter's plausible range by which it is moved to see what that changes."""
MOST_STATES = 600
"""States that are compared, of all that were visited."""
AT_ONCE = 32
"""States that are compared at a time: each has a world of its own, and one of Bullet takes 30 MB."""
KEPT = 5
"""Equivalent parameters that are told, the least change first."""


@dataclass(frozen=True)
class Group:
    """Coordinates that belong together.

    Attributes:
        name: Of the body, and whether it is its position, orientation or velocity.
        error: Root mean square of the difference after one step, over all states and coordinates.
        moved: Root mean square of what a step changes.
        share: ``error / moved``.
        worst: The greatest difference.
    """

    name: str
    error: float
    moved: float
    worst: float

    @property
    def share(self) -> float:
        """The error as a share of what a step changes."""
        return self.error / self.moved if self.moved > 0.0 else 0.0


@dataclass(frozen=True)
class Equivalent:
    """A parameter whose change from ``nominal`` to ``value`` moves the first engine as far as the second is from it."""

    name: str
    unit: str
    nominal: float
    value: float
    share: float
    """The change as a share of the parameter's plausible range."""


@dataclass(frozen=True)
class Gap:
    """The gap between two engines where an agent goes.

    Attributes:
        id: Of the environment.
        agent: Whose states were compared.
        engines: The first, which played, and the other.
        states: How many were compared.
        groups: By group of coordinates.
        share: Over all groups: the root mean square of their shares.
        equivalents: Parameters that would explain it, the least change first; empty for round-off.
    """

    id: str
    agent: str
    engines: tuple[str, str]
    states: int
    groups: tuple[Group, ...]
    share: float
    equivalents: tuple[Equivalent, ...]


def engine_gap(
    id: str,
    agent: Agent,
    engines: tuple[str, str] = ("mujoco", "pybullet"),
    *,
    episodes: int = 16,
    every: int = 5,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gap:
    """Return how far two engines are apart in the states that ``agent`` visits in the first of them.

    Args:
        id: Of a robot's environment.
        agent: Who plays.
        engines: The one that plays, and the other.
        episodes: That are played, with the seeds ``seed`` and following.
        every: One state of so many is compared, but not more than :data:`MOST_STATES` in all, spread evenly.
        seed: Of the first episode.
        params: Parameters that differ from the nominal ones.
        progress: Called with the number of comparisons done and to do.

    Raises:
        InvalidValue: If the environment has no engines.
        UnknownName: If it does not have these.
    """
    family, number = parse_id(id)
    kernel = family.kernel(number)
    if not hasattr(kernel, "ENGINES"):
        raise InvalidValue(f"{id} must have physics engines to compare, but it has none. Choose a robot.")
    names = [p.name for p in kernel.PARAMETERS if p.kind in ("physical", "actuation") and p.plausible]
    done, todo = 0, 2 + len(names)

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, todo)

    def opened(engine: str, rows: int) -> Batch:
        return Batch(family, number, rows, params=params, engine=engine)

    saved, actions = _visited(opened(engines[0], episodes), agent, episodes, every, seed)
    spread = np.linspace(0, len(saved) - 1, min(len(saved), MOST_STATES)).astype(np.int64)
    saved, actions = saved[spread], actions[spread]
    tell()
    first = _after(opened(engines[0], len(saved)), saved, actions)
    parts = np.array_split(np.arange(len(saved)), -(-len(saved) // AT_ONCE))
    other = np.concatenate([_after(opened(engines[1], len(part)), saved[part], actions[part]) for part in parts])
    before = _coordinates(saved["state"])
    groups = tuple(_groups(kernel, before, first, other))
    share = _overall(groups)
    tell()
    equivalents = []
    for name in names:
        if share > ROUND_OFF:
            parameter = next(p for p in kernel.PARAMETERS if p.name == name)
            found = _equivalent(kernel, parameter, opened(engines[0], len(saved)), saved, actions, before, first, share)
            equivalents += [found] if found else []
        tell()
    equivalents.sort(key=lambda one: abs(one.share))
    return Gap(id, agent.name, engines, len(saved), groups, share, tuple(equivalents[:KEPT]))


def _visited(batch: Batch, agent: Agent, episodes: int, every: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return saved rows on the way of ``agent``, and the actions that it took there."""
    batch.seed(np.arange(episodes), list(range(seed, seed + episodes)))
    batch.reset()
    saved, taken = [], []
    for step in range(10_000):
        actions = np.ascontiguousarray(agent.actions(batch, batch.out.obs, batch.out.mask.astype(np.bool_)), np.float64)
        running = ~(batch.state["terminated"] | batch.state["truncated"])
        if not running.any():
            break
        if step % every == 0:
            saved.append(batch.save(running))
            taken.append(actions[running])
        batch.step(actions, True)
        batch.state["terminated"] |= ~running  # who has ended plays no second episode
    return np.concatenate(saved), np.concatenate(taken)


def _after(batch: Batch, saved: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return the coordinates after one step from every saved row."""
    batch.load(saved)
    batch.step(actions, False)
    return _coordinates(batch.state)


def _coordinates(state: np.ndarray) -> np.ndarray:
    return np.concatenate([state["qpos"], state["qvel"]], axis=1)


def _slices(kernel: Any) -> Iterable[tuple[str, slice]]:
    """Yield the groups of coordinates of a kernel's bodies."""
    model = nominal_model(kernel)
    q, v = 0, model.positions
    for body in model.bodies:
        if body.joint == "free":
            yield f"{body.name} position", slice(q, q + 3)
            yield f"{body.name} orientation", slice(q + 3, q + 7)
            yield f"{body.name} velocity", slice(v, v + 3)
            yield f"{body.name} spin", slice(v + 3, v + 6)
            q, v = q + 7, v + 6
        else:
            yield f"{body.name} position", slice(q, q + 1)
            yield f"{body.name} velocity", slice(v, v + 1)
            q, v = q + 1, v + 1


def _groups(kernel: Any, before: np.ndarray, first: np.ndarray, other: np.ndarray) -> Iterable[Group]:
    for name, part in _slices(kernel):
        difference, change = other[:, part] - first[:, part], first[:, part] - before[:, part]
        yield Group(name, _rms(difference), _rms(change), float(np.abs(difference).max()))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values * values)))


def _overall(groups: Iterable[Group]) -> float:
    return _rms(np.array([group.share for group in groups]))


def _equivalent(
    kernel: Any,
    parameter: Parameter,
    batch: Batch,
    saved: np.ndarray,
    actions: np.ndarray,
    before: np.ndarray,
    first: np.ndarray,
    share: float,
) -> Equivalent | None:
    """Return the change of ``parameter`` that makes a gap of ``share`` within one engine, or None if none can.

    What a small change does is taken to grow in proportion, and checked where it leads.
    """
    assert parameter.plausible is not None
    nominal, span = float(saved["params"][parameter.name][0]), parameter.plausible[1] - parameter.plausible[0]
    upwards = nominal + PROBE * span <= parameter.high
    sign = 1.0 if upwards else -1.0

    def gap_at(change: float) -> float:
        moved = saved.copy()
        moved["params"][parameter.name] = moved["base"][parameter.name] = nominal + change
        return _overall(_groups(kernel, before, first, _after(batch, moved, actions)))

    change = sign * PROBE * span
    for _ in range(4):  # secant steps from the origin
        found = gap_at(change)
        if found <= 0.0:
            return None
        wanted = change * share / found
        if not parameter.low <= nominal + wanted <= parameter.high:
            return None
        if abs(found / share - 1.0) < 0.02:
            break
        change = wanted
    return Equivalent(parameter.name, parameter.unit, nominal, nominal + change, change / span)
