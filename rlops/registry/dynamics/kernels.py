"""Environments of rlops as subjects of the dynamics check: kernels whose whole state can be read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import llvmlite
import numba
import numpy as np

from rlops.envs import parse_id
from rlops.envs.batch import Batch
from rlops.envs.contract import Column, Family, Parameter
from rlops.randomization import levels, plan_of
from rlops.registry.dynamics.subjects import Episode, Recording, host
from rlops.registry.dynamics.traces import MOMENTS, ONCE, Trace, clock, leaves

_CHECKED_EVERY = 32
"""Steps between looks at whether a replay has left what is expected of it."""
_ROWS = 256
"""States that are loaded side by side."""


class KernelSubject:
    """One version of a family.

    Attributes:
        id: For example ``rlops/Dispatch-v2``.
        engine: Name and release of the physics engine; empty without one.
        forces: True: every moment of a kernel can be put in place.
    """

    forces = True

    def __init__(self, id: str, threads: int = 1):
        """Take the version of ``id``, stepped on ``threads``."""
        self.id, self.threads = id, threads
        self.family, self.number = parse_id(id)
        self.kernel = self.family.kernel(self.number)
        engines = getattr(self.kernel, "ENGINES", ())
        self.engine = f"{engines[0]} {version(engines[0])}" if engines else ""

    @property
    def stem(self) -> str:
        """Name of the golden file, without suffix."""
        return ".".join([self.id.removeprefix("rlops/"), *self.engine.split()[:1]])

    def platform(self) -> dict[str, str]:
        """Return all that the last bit of a result may depend on."""
        return host() | {"numba": numba.__version__, "llvmlite": llvmlite.__version__}

    def layer(self, name: str) -> str:
        """Return the layer that the array ``name`` of a trace belongs to."""
        first, _, rest = name.partition(".")
        if first == "state":
            return str(getattr(self.kernel, "DERIVED", {}).get(rest, "dynamics"))
        return {"params": "parameters", "ended": "termination", "terms": "reward", "rewards": "agents"}.get(
            first, first
        )

    def specification(self) -> dict[str, Any]:
        """Return everything that is declared, ready for JSON: spaces, parameters, terms, randomization."""
        kernel = self.kernel
        variants = {name: self.family.kernel(self.number, name) for name in getattr(kernel, "VARIANTS", ())}
        return {
            "observation": _columns(kernel.OBSERVATION),
            "action": _action(kernel.ACTION),
            "reward terms": list(kernel.REWARD_TERMS),
            "key figures": _columns(getattr(kernel, "KPIS", ())),
            "context": _columns(getattr(kernel, "CONTEXT", ())),
            "info": {name: str(kernel.STATE[name]) for name in getattr(kernel, "INFO", ())},
            "agents": {
                "names": list(getattr(kernel, "AGENTS", ())),
                "action": _of_agents(getattr(kernel, "AGENT_ACTION", 0), _action),
                "observation": _of_agents(getattr(kernel, "AGENT_OBSERVATION", ()), _columns),
            },
            "variants": {
                name: {
                    "action": _action(variant.ACTION),
                    "observation": _columns(variant.OBSERVATION),
                    "reward terms": list(variant.REWARD_TERMS),
                    "key figures": _columns(getattr(variant, "KPIS", ())),
                }
                for name, variant in variants.items()
            },
            "option": getattr(kernel, "DATA_OPTION", None),
            "step_minutes": getattr(kernel, "STEP_MINUTES", None),
            "parameters": _parameters(self.family, self.number),
            "randomization": {name: spec.hash for name, spec in levels(self.id).items()},
        }

    def recorded(self, reference: Any = None) -> list[Recording]:
        """Return the episodes of a golden file (:mod:`rlops.registry.dynamics.scripts`)."""
        from rlops.registry.dynamics.scripts import recordings

        return recordings(self, reference)

    def sampled(self) -> Iterator[Trace]:
        """Return the traces of the episodes that no controller plays."""
        from rlops.registry.dynamics.scripts import scripted

        return (self.play(episode) for episode in scripted(self))

    def returns(self, policy: str, episodes: int, reference: Any = None) -> np.ndarray:
        """Return the returns of ``episodes`` episodes, side by side, by ``random`` or by the ``reference``."""
        from rlops.registry.dynamics.scripts import returns

        return returns(self, reference if policy == "reference" else None, episodes)

    # -- playing ---------------------------------------------------------------------------------------------

    def opened(self, episode: Episode, rows: int = 1) -> Batch:
        """Return a batch as the ``episode`` wants it; no row has begun."""
        return Batch(
            self.family, self.number, rows, params=episode.params, data=episode.data, variant=episode.variant,
            agents=episode.agents, threads=self.threads,
        )  # fmt: skip

    def begun(self, episode: Episode) -> Batch:
        """Return a batch of one row at the beginning of ``episode``."""
        batch = self.opened(episode)
        if episode.start is not None:
            _load(batch, episode.start, np.zeros(1, np.int64))
            return batch
        if episode.level != "off":
            nominal = self.family.nominal(self.number)[0]
            plan = plan_of(levels(self.id)[episode.level], self.id, self.kernel.PARAMETERS, nominal)
            batch.set_plan(plan.terms.copy(), plan.values)
        batch.seed(np.array([0]), [episode.seed])
        batch.reset()
        return batch

    def play(self, episode: Episode, expected: Trace | None = None) -> Trace:
        """Play ``episode`` from its beginning and return what happened.

        Args:
            episode: What is played.
            expected: What should happen; playing ends soon after it does not.
        """
        batch = self.begun(episode)
        recorder = _Recorder(batch, len(episode.actions), episode.agents)
        for step, action in enumerate(episode.actions):
            if batch.state["terminated"][0] or batch.state["truncated"][0]:
                break
            recorder.step(action)
            if expected is not None and step % _CHECKED_EVERY == 0 and recorder.differs(expected):
                break
        return recorder.trace()

    def forced(self, episode: Episode, trace: Trace, steps: np.ndarray) -> Trace:
        """Return what follows from the recorded moments ``steps`` (n,), each by one step.

        What is observed there is that of the loaded moments themselves, ``(n,)``; the state, rewards and ends are those
        after the step.
        """
        found: list[Trace] = []
        rewards: Trace
        for first in range(0, len(steps), _ROWS):
            some = steps[first : first + _ROWS]
            batch = self.opened(episode, len(some))
            _load(batch, trace, some)
            shown = _shown(batch, episode.agents)
            if episode.agents:
                batch.step_agents(episode.actions[some])
                rewards = {"rewards.agents": batch.out.agent_reward.copy()}
            else:
                batch.step(np.ascontiguousarray(episode.actions[some], batch.actions.dtype), False)
                rewards = {"reward": batch.out.reward.copy()}
            records = np.asarray(batch.state)
            found.append(
                shown | rewards | {n: a.copy() for n, a in (_state_of(records) | _brought(batch, records)).items()}
            )
        joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        over = batch.state["terminated"][-1] or batch.state["truncated"][-1]
        return joined | (_figures(batch) if over else {})

    def reset_again(self, episode: Episode, trace: Trace) -> Trace:
        """Return the state ``(1,)`` that a reset makes from the recorded parameters and seed."""
        batch = self.opened(episode)
        _write(batch.base, "params", trace, np.zeros(1, np.int64))
        batch.seed(np.array([0]), [episode.seed])
        batch.reset()
        return {name: array.copy() for name, array in _state_of(batch.state).items()}

    def excited(self, episode: Episode) -> dict[str, int]:
        """Return the parameters on which ``episode`` depends, each with the first step that shows it.

        Each is played at the farther of its bounds, with the same actions.
        """
        first = self.begun(episode)
        parameters = self.kernel.PARAMETERS
        batch = self.opened(replace(episode, params={}), 1 + len(parameters))
        batch.base[:] = first.params[0]
        for k, parameter in enumerate(parameters):
            column: np.ndarray = batch.base[parameter.name]
            column[1 + k] = _other_bound(parameter, float(first.params[parameter.name][0]))
        batch.seed(np.arange(batch.rows), [episode.seed] * batch.rows)
        batch.reset()
        found: dict[str, int] = {}
        for step in range(len(episode.actions) + 1):
            rewards = batch.out.agent_reward if episode.agents else batch.state["terms"]
            shown: list[np.ndarray] = [
                batch.state.view(np.uint8).reshape(batch.rows, -1),
                batch.out.obs,
                batch.out.mask,
                rewards,
            ]
            apart = [(array != array[:1]).reshape(batch.rows, -1).any(axis=1) for array in shown]
            moved = np.logical_or.reduce(apart)
            for parameter in (p for k, p in enumerate(parameters) if moved[1 + k]):
                found.setdefault(parameter.name, step)
            if step == len(episode.actions) or batch.state["terminated"][0] or batch.state["truncated"][0]:
                break
            if episode.agents:
                batch.step_agents(np.broadcast_to(episode.actions[step], batch.bids.shape))
            else:
                action = np.asarray(episode.actions[step], batch.actions.dtype)
                batch.step(np.ascontiguousarray(np.broadcast_to(action, batch.actions.shape)), True)
        return found


class _Recorder:
    """Writes down the moments of a batch of one row."""

    def __init__(self, batch: Batch, steps: int, agents: bool):
        self.batch, self.agents, self.taken = batch, agents, 0
        self._moments = np.zeros(steps + 1, batch.kernel.STATE)
        self._moments[0] = batch.state[0]
        self._params = {name: array.copy() for name, array in leaves(batch.params, "params")}
        self._shown: list[Trace] = [_shown(batch, agents)]
        self._rewards: list[np.ndarray] = []

    def step(self, action: Any) -> None:
        """Take one step and write down what it brings."""
        batch = self.batch
        if self.agents:
            batch.step_agents(np.asarray(action)[None])
        else:
            batch.step(np.asarray(action, batch.actions.dtype)[None], False)
        self.taken += 1
        self._moments[self.taken] = batch.state[0]
        self._shown.append(_shown(batch, self.agents))
        self._rewards.append((batch.out.agent_reward if self.agents else batch.out.reward).copy())

    def differs(self, expected: Trace) -> bool:
        """Return whether anything since the last look differs from what is ``expected``."""
        low, high = max(self.taken - _CHECKED_EVERY, 0), self.taken + 1
        now = self.trace(low)
        return any(
            not np.array_equal(array, expected[name][span], equal_nan=array.dtype.kind == "f")
            for name, array in now.items()
            for span in [slice(low, high) if clock(name) == MOMENTS else slice(low, high - 1)]
            if name in expected and clock(name) != ONCE
        )

    def trace(self, first: int = 0) -> Trace:
        """Return all that was written down, from moment ``first`` on."""
        moments = self._moments[first : self.taken + 1]
        trace = self._params | _state_of(moments)
        trace |= {name: np.concatenate([one[name] for one in self._shown[first:]]) for name in self._shown[0]}
        if self.taken > first:
            rewards = np.concatenate(self._rewards[first:])
            trace |= _brought(self.batch, moments[1:]) | {"rewards.agents" if self.agents else "reward": rewards}
            if moments["terminated"][-1] or moments["truncated"][-1]:
                trace |= _figures(self.batch)
        return trace


_SHOWN_ELSEWHERE = ("state.terms", "state.terminated", "state.truncated")


def _state_of(records: np.ndarray) -> Trace:
    return {name: array for name, array in leaves(np.asarray(records), "state") if name not in _SHOWN_ELSEWHERE}


def _shown(batch: Batch, agents: bool) -> Trace:
    """Return what the rows observe and may do now."""
    out = batch.out
    if agents:
        return {"agents.observation": out.agent_obs.copy(), "agents.mask": out.agent_mask.copy()}
    shown = {"observation": out.obs.copy(), "mask": out.mask.copy(), "context": batch.context()}
    return {name: array for name, array in shown.items() if array.size}


def _brought(batch: Batch, records: np.ndarray) -> Trace:
    """Return the reward terms and ends that state ``records`` (n,) hold of the step before them."""
    brought = {f"terms.{name}": records["terms"][:, k] for k, name in enumerate(batch.kernel.REWARD_TERMS)}
    return brought | {f"ended.{name}": records[name] for name in ("terminated", "truncated")}


def _figures(batch: Batch) -> Trace:
    """Return the key figures of the last row, whose episode has ended."""
    columns = enumerate(getattr(batch.kernel, "KPIS", ()))
    return {f"key figures.{column.name}": batch.out.kpis[-1:, k].copy() for k, column in columns}


def _load(batch: Batch, trace: Trace, moments: np.ndarray) -> None:
    """Put recorded ``moments`` (n,) in place of the rows of ``batch`` and observe them."""
    for params in (batch.base, batch.params):
        _write(params, "params", trace, np.zeros(batch.rows, np.int64))
    batch.state.view(np.uint8)[:] = 0
    _write(batch.state, "state", trace, moments)
    batch.started[:] = True
    batch.observe()


def _write(records: np.ndarray, name: str, trace: Mapping[str, np.ndarray], moments: np.ndarray) -> None:
    for leaf, array in leaves(np.asarray(records), name):
        if leaf in trace:
            array[...] = trace[leaf][moments]


def _other_bound(parameter: Parameter, value: float) -> float:
    """Return the hard bound that is farther from ``value``."""
    return parameter.high if parameter.high - value >= value - parameter.low else parameter.low


def _columns(columns: tuple[Column, ...]) -> list[list[Any]]:
    """Return columns without their meaning, runs of equal ones together."""
    listed: list[list[Any]] = []
    for c in columns:
        one = [c.name, c.unit, float(c.low), float(c.high)]
        if listed and listed[-1][:4] == one:
            listed[-1][4] += c.count
        else:
            listed.append([*one, c.count])
    return listed


def _of_agents(declared: Any, plain: Callable[[Any], Any]) -> Any:
    """Return what is declared for all agents alike, or by agent."""
    alike = isinstance(declared, int) or not declared or isinstance(declared[0], Column)
    return plain(declared) if alike else [plain(one) for one in declared]


def _action(action: int | tuple[Column, ...]) -> int | list[list[Any]]:
    return action if isinstance(action, int) else _columns(action)


def _parameters(family: Family, number: int) -> dict[str, dict[str, Any]]:
    nominal = family.nominal(number)[0]
    declared = ("unit", "low", "high", "kind", "integer", "choices", "plausible", "engines")
    return {
        p.name: {"nominal": float(nominal[p.name])} | {name: _plain(asdict(p)[name]) for name in declared}
        for p in family.kernel(number).PARAMETERS
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
