"""The episodes that a golden file of a kernel records: what must be in them so that nothing can move unnoticed.

* ``random``: a whole episode of legal actions by chance, now and then an illegal one;
* ``reference``: a whole episode of a hand-written controller;
* ``excited``: a whole episode in which as many parameters as possible are far from nominal;
* ``excited NAME``: the first steps of one for every parameter on which none of the others depends;
* ``mild``, ``full``, ``ood``: the first steps at every level of randomization;
* ``situation NAME``: what the family's module of situations says is rare (:class:`Situation`);
* one for every variant, one through the agents' face, one with records of the user's kind;
* ``terminated`` and ``truncated``: the last steps of episodes that end so, where the whole ones do not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import numpy as np

from rlops.envs.batch import Batch
from rlops.envs.compiling import compiled
from rlops.envs.contract import Parameter, agent_actions, bounds, widest
from rlops.envs.draws import episode_key, stream_key, uniform
from rlops.envs.effects import options_for
from rlops.randomization import LEVELS
from rlops.registry.dynamics.kernels import KernelSubject
from rlops.registry.dynamics.subjects import Episode, Recording
from rlops.registry.dynamics.traces import shortened

MAX_STEPS = 2000
"""Steps after which an episode is recorded no further."""
FIRST_STEPS = 150
"""Steps of episodes that are not recorded whole."""
LAST_STEPS = 40
"""Steps of episodes that are recorded for how they end."""
ANY_ACTION = 0.1
"""Share of the actions by chance that are chosen without regard to the mask."""
_TRIALS = 4
"""Episodes at either bound that are tried for a parameter of its own."""
_SEARCHED = 64
"""Episodes among which ends that are still missing are looked for."""


@dataclass(frozen=True)
class Situation:
    """Something that seldom happens by itself, and how to bring it about.

    Attributes:
        name: What it is.
        params: Parameters that differ from nominal.
        waits: Share of the steps in which the last legal action is taken: to wait, or, of a variant, what it adds.
        any_action: Share of the other steps in which an action is chosen without regard to the mask.
        actions: Taken in turn, again and again, instead of any by chance; none: by chance.
        first, last: Steps that are recorded.
        seed: Of the episode.
        data: Makes records of the user's kind; None: there are none.
        agents: Whether it is played through the agents' face.
        variant: The version's variant; None: the version itself.
    """

    name: str
    params: Mapping[str, float] = field(default_factory=dict)
    waits: float = 0.0
    any_action: float = ANY_ACTION
    actions: Sequence[Any] = ()
    first: int = 0
    last: int = MAX_STEPS
    seed: int = 300
    data: Callable[[], np.ndarray] | None = None
    agents: bool = False
    variant: str | None = None


Policy = Callable[[Batch], np.ndarray]
"""From a batch to an action for every row, or, through the agents' face, for every agent of every row."""


def recordings(subject: KernelSubject, reference: Any = None) -> list[Recording]:
    """Return the episodes of a golden file; ``reference`` is a controller, or None."""
    episodes = scripted(subject)
    if reference is not None:
        params = options_for(subject.family, "reference").get("params", {})
        named = Episode(f"reference {reference.name}", 1, np.zeros(0), params=params)
        policy = lambda batch: reference.actions(batch, batch.out.obs, batch.out.mask.astype(np.bool_))  # noqa: E731
        episodes.insert(1, _with_actions(subject, named, policy))
    episodes += _excited_alone(subject, episodes)
    recorded = [Recording(episode, subject.play(episode)) for episode in episodes]
    recorded += [_situation(subject, one) for one in _situations(subject)]
    return recorded + _ends(subject, recorded)


def _situations(subject: KernelSubject) -> list[Situation]:
    """Return what the family says is rare."""
    module = importlib.import_module(subject.family.excite) if subject.family.excite else None
    found: list[Situation] = [
        Situation(**one) for one in getattr(module, "SITUATIONS", {}).get(subject.id.removeprefix("rlops/"), ())
    ]
    return found


def _situation(subject: KernelSubject, one: Situation) -> Recording:
    """Return the steps of a situation that are recorded."""
    data = one.data() if one.data is not None else None
    named = Episode(f"situation {one.name}", one.seed, np.zeros(0), params=one.params)
    plain = replace(named, data=data, agents=one.agents, variant=one.variant)
    policy = _in_turn(one.actions) if one.actions else by_chance(one.seed, one.waits, one.any_action)
    episode = _with_actions(subject, plain, policy, one.last)
    return _part(subject, episode, one.first) if one.first else Recording(episode, subject.play(episode))


def scripted(subject: KernelSubject) -> list[Episode]:
    """Return the episodes that need neither a controller nor a search."""
    kernel, plain = subject.kernel, Episode("random", 0, np.zeros(0))
    whole = [plain, replace(plain, name="excited", seed=2, params=_far(subject))]
    parts = [replace(plain, name=level, seed=3 + k, level=level) for k, level in enumerate(LEVELS[1:])]
    parts += [replace(plain, name=variant, seed=6, variant=variant) for variant in getattr(kernel, "VARIANTS", ())]
    if hasattr(kernel, "AGENTS"):
        parts.append(replace(plain, name="agents", seed=7, agents=True))
    return [_with_actions(subject, one, by_chance(one.seed)) for one in whole] + [
        _with_actions(subject, one, by_chance(one.seed), FIRST_STEPS) for one in parts
    ]


def by_chance(seed: int, waits: float = 0.0, any_action: float = ANY_ACTION) -> Policy:
    """Return a policy that chooses among the legal actions, at times among all; vectors within their bounds.

    Args:
        seed: Of its draws.
        waits: Share of the steps in which it takes the last legal action instead: to wait.
        any_action: Share of the other steps in which it does not regard the mask.
    """
    draws = _Draws(seed)

    def policy(batch: Batch) -> np.ndarray:
        kernel = batch.kernel
        if batch.agents and not isinstance(kernel.AGENT_ACTION, int):
            return _vectors(draws, batch.rows, agent_actions(kernel))
        if batch.agents:
            legal = batch.out.agent_mask.reshape(-1, kernel.AGENT_ACTION)
            allowed = np.where(draws.random((len(legal), 1)) < any_action, 1, legal)
            return _one_of(draws, allowed).reshape(batch.rows, -1)
        if not isinstance(kernel.ACTION, int):
            return _vectors(draws, batch.rows, (kernel.ACTION,))[:, 0]
        legal = batch.out.mask if hasattr(kernel, "mask") else np.ones((batch.rows, kernel.ACTION), np.int8)
        chosen = _one_of(draws, np.where(draws.random((batch.rows, 1)) < any_action, 1, legal))
        last = legal.shape[1] - 1 - np.argmax(legal[:, ::-1], axis=1)
        return np.where(draws.random(batch.rows) < waits, last, chosen) if waits else chosen

    return policy


def _in_turn(actions: Sequence[Any]) -> Policy:
    """Return a policy that takes ``actions`` one after another, again and again."""
    turns = cycle(actions)
    return lambda batch: np.broadcast_to(next(turns), (batch.bids if batch.agents else batch.actions).shape)


@compiled
def _fill(key, count, out):  # type: ignore[no-untyped-def]
    """Write uniform draws into ``out`` (n,)."""
    h = stream_key(key, count, 0)
    for k in range(len(out)):
        out[k] = uniform(h, k)


class _Draws:
    """Uniform draws that are a hash of seed and count: they do not change with a library."""

    def __init__(self, seed: int):
        self.key, self.count = np.uint64(episode_key(seed, 0)), np.uint64(0)

    def random(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Return an array of draws from (0, 1)."""
        self.count += np.uint64(1)
        drawn = np.empty(shape)
        _fill(self.key, self.count, drawn.reshape(-1))
        return drawn


def _vectors(draws: _Draws, rows: int, each: tuple[Any, ...]) -> np.ndarray:
    """Return vectors within the bounds of ``each`` agent's columns, ``(rows, agents, w)``; the shorter end with 0."""
    vectors = np.zeros((rows, len(each), widest(each)))
    for own, columns in zip(vectors.transpose(1, 0, 2), each, strict=True):
        low, high = (bound.astype(np.float64) for bound in bounds(columns))
        own[:, : len(low)] = low + (high - low) * draws.random((rows, len(low)))
    return vectors


def _one_of(draws: _Draws, legal: np.ndarray) -> np.ndarray:
    """Return a legal action for every row of ``legal`` (n, m)."""
    wanted = (draws.random(len(legal)) * legal.sum(axis=1)).astype(np.int64)
    return np.asarray(np.argmax(np.cumsum(legal, axis=1) > wanted[:, None], axis=1))


def _with_actions(subject: KernelSubject, episode: Episode, policy: Policy, steps: int = MAX_STEPS) -> Episode:
    """Return ``episode`` with the actions of ``policy``."""
    batch = subject.begun(episode)
    actions: list[np.ndarray] = []
    while len(actions) < steps and not (batch.state["terminated"][0] or batch.state["truncated"][0]):
        chosen = np.ascontiguousarray(policy(batch), batch.bids.dtype if episode.agents else batch.actions.dtype)
        actions.append(chosen[0].copy())
        if episode.agents:
            batch.step_agents(chosen)
        else:
            batch.step(chosen, False)
    return replace(episode, actions=np.array(actions))


def _far(subject: KernelSubject) -> dict[str, float]:
    """Return values far from nominal for all parameters, those that make others matter among them."""
    nominal = subject.family.nominal(subject.number)[0]
    draws = _Draws(0)
    far = {p.name: _bound(p, float(nominal[p.name]), draws) for p in subject.kernel.PARAMETERS if not p.choices}
    known = [p.name for p in subject.kernel.PARAMETERS]
    for name in known:
        far |= {k: v for k, v in options_for(subject.family, name).get("params", {}).items() if k in known}
    return far


def _bound(parameter: Parameter, nominal: float, draws: _Draws) -> float:
    """Return a value on the way from nominal to the farther of the two bounds, with digits of its own."""
    far = parameter.high if parameter.high - nominal >= nominal - parameter.low else parameter.low
    value = nominal + (0.25 + 0.2 * float(draws.random(1)[0])) * (far - nominal)
    if not parameter.integer:
        return value
    return float(round(value)) if round(value) != nominal else nominal + float(np.sign(far - nominal))


def _excited_alone(subject: KernelSubject, episodes: list[Episode]) -> list[Episode]:
    """Return an episode for every parameter on which none of ``episodes`` depends, where one can be found."""
    excited = {name for episode in episodes for name in subject.excited(episode)}
    alone: list[Episode] = []
    for parameter in subject.kernel.PARAMETERS:
        options = options_for(subject.family, parameter.name)
        for seed, value in enumerate(_TRIALS * (parameter.low, parameter.high), 100):
            if parameter.name in excited:
                break
            params = {**options.get("params", {}), parameter.name: value}
            data = options.get(str(getattr(subject.kernel, "DATA_OPTION", None)))
            plain = Episode(f"excited {parameter.name}", seed, np.zeros(0), params=params, data=data)
            episode = _with_actions(subject, plain, by_chance(seed))
            found = subject.excited(episode)
            if parameter.name in found:
                excited |= found.keys()
                alone.append(replace(episode, actions=episode.actions[: found[parameter.name] + LAST_STEPS]))
    return alone


def _ends(subject: KernelSubject, recorded: list[Recording]) -> list[Recording]:
    """Return the last steps of episodes that end as none of ``recorded`` does."""
    found = []
    for end in ("terminated", "truncated"):
        if not any(one.trace[f"ended.{end}"].any() for one in recorded):
            episode = _ending(subject, end)
            found += [_tail(subject, episode)] if episode else []
    return found


def _ending(subject: KernelSubject, end: str) -> Episode | None:
    """Return an episode that is ``end``, looked for where the family says that it happens, played more or less idly."""
    draws = _Draws(0)
    known = {p.name for p in subject.kernel.PARAMETERS}
    params = {k: v for k, v in options_for(subject.family, end).get("params", {}).items() if k in known}
    batch = subject.opened(Episode(end, 0, np.zeros(0), params=params), _SEARCHED)
    batch.seed(np.arange(_SEARCHED), list(range(_SEARCHED)))
    batch.reset()
    chance, idle = by_chance(0), draws.random(_SEARCHED)
    actions: list[np.ndarray] = []
    running = np.ones(_SEARCHED, np.bool_)
    while len(actions) < MAX_STEPS and running.any():
        chosen = np.ascontiguousarray(chance(batch), batch.actions.dtype)
        if batch.out.mask.size:
            last = batch.out.mask.shape[1] - 1 - np.argmax(batch.out.mask[:, ::-1], axis=1)
            chosen = np.where(draws.random(_SEARCHED) < idle, last, chosen)
        actions.append(chosen)
        batch.step(chosen, True)
        hits = np.flatnonzero(running & getattr(batch.out, end))
        if len(hits):
            row = int(hits[0])
            return Episode(end, row, np.array([one[row] for one in actions]), params=params)
        running &= ~(batch.out.terminated | batch.out.truncated)
    return None


def _tail(subject: KernelSubject, episode: Episode) -> Recording:
    """Return the last steps of ``episode``."""
    return _part(subject, episode, max(len(episode.actions) - LAST_STEPS, 0))


def _part(subject: KernelSubject, episode: Episode, first: int) -> Recording:
    """Return ``episode`` from moment ``first`` on."""
    part = shortened(subject.play(episode), first, len(episode.actions))
    return Recording(replace(episode, actions=episode.actions[first:], params={}, start=shortened(part, 0, 0)), part)


def returns(subject: KernelSubject, reference: Any, episodes: int) -> np.ndarray:
    """Return the returns of ``episodes`` episodes side by side, seeds 0 …, by ``reference`` or by chance."""
    batch = subject.opened(Episode("", 0, np.zeros(0)), episodes)
    batch.seed(np.arange(episodes), list(range(episodes)))
    batch.reset()
    chance, total, running = by_chance(0), np.zeros(episodes), np.ones(episodes, np.bool_)
    for _ in range(MAX_STEPS):
        if reference is None:
            actions = chance(batch)
        else:
            actions = reference.actions(batch, batch.out.obs, batch.out.mask.astype(np.bool_))
        batch.step(np.ascontiguousarray(actions, batch.actions.dtype), True)
        total[running] += batch.out.reward[running]
        running &= ~(batch.out.terminated | batch.out.truncated)
        if not running.any():
            break
    return total
