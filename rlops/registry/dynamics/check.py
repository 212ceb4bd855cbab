"""Does what is installed do what was recorded? And if not: where first, by how much, and which layer moved.

=====  =================================================================================================================
level  question
=====  =================================================================================================================
L0     Is the same declared: spaces, columns, parameters, reward terms, randomization?
L1     Do the recorded episodes replay bit for bit? Required on the recorded platform, a remark on others.
L2     Does one step from every recorded moment lead where it led (teacher-forced)? A scaled error up to 1e-12 is the
       same, up to 1e-9 round-off, above it the dynamics have changed. It holds on every platform, and tells which
       layer moved, as errors of the steps before do not add up.
L3     Do free episodes stay within 1e-6 for their first 50 steps? This sees state that moments do not hold.
L4     Are the returns of many episodes distributed alike? It takes minutes, and answers whether learning would notice.
=====  =================================================================================================================
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlops.errors import MissingExtra, RlopsError, UnknownName
from rlops.registry.dynamics.golden import FOLDER, Golden, golden_file, read
from rlops.registry.dynamics.subjects import Episode, Recording, Subject, subject
from rlops.registry.dynamics.traces import (
    CHANGED,
    MOMENTS,
    ONCE,
    ROUND_OFF,
    ROUND_OFF_WITHIN,
    SAME,
    Difference,
    Trace,
    clock,
    compare,
    first_difference,
    largest,
    scaled_error,
)

CANNOT_JUDGE, ERROR = "cannot judge", "error"
EXIT_CODES = {SAME: 0, ROUND_OFF: 0, CHANGED: 1, CANNOT_JUDGE: 2, ERROR: 3}

LEVELS = ("L0", "L1", "L2", "L3", "L4")
USUAL_LEVELS = LEVELS[:4]

LAYERS = (
    "spec", "parameters", "randomization", "reset", "dynamics", "termination", "reward", "observation", "mask",
    "context", "key figures", "agents",
)  # fmt: skip
"""What can move, causes before consequences."""

FREE_STEPS = 50
FREE_WITHIN = 1e-6
"""L3: steps of a free episode that must stay near the recorded ones, and how near (scaled)."""
LIKELY_CHANCE = 1e-3
"""L4: a difference in returns that chance makes less often than this is taken for real."""
_BRIEF_BEFORE, _BRIEF_AFTER = 4, 28
"""Steps around the first divergence of an episode that a brief check judges layers by."""


@dataclass(frozen=True)
class Level:
    """What one level found: ``same``, ``round-off``, ``changed`` or ``cannot judge``, and what to say of it."""

    name: str
    status: str
    told: str


@dataclass(frozen=True)
class Declared:
    """A difference in what is declared; ``added`` if there is only something more than before."""

    path: str
    golden: Any
    now: Any
    layer: str
    added: bool

    def __str__(self) -> str:
        if self.added:
            return f"{self.path} has been added: {self.now!r}"
        return f"{self.path}: golden {self.golden!r} now {self.now!r}"


@dataclass(frozen=True)
class Result:
    """What the check of one id found.

    Attributes:
        id: What was checked.
        verdict: ``same``, ``round-off``, ``changed``, ``cannot judge`` or ``error``.
        told: The verdict in one line.
        moved: The layers that moved; what only follows from them is left out.
        layers: Status of every layer that was compared.
        first: The first divergence of a free episode, beyond the parameters themselves; None: there is none.
        levels: What each level found.
        declared: Differences in what is declared.
        platforms: The recorded platform and the present one.
        seconds: What the check took [s].
    """

    id: str
    verdict: str
    told: str
    moved: tuple[str, ...] = ()
    layers: dict[str, str] = field(default_factory=dict)
    first: Difference | None = None
    levels: tuple[Level, ...] = ()
    declared: tuple[Declared, ...] = ()
    platforms: tuple[dict[str, str], dict[str, str]] = ({}, {})
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "id": self.id,
            "verdict": self.verdict,
            "told": self.told,
            "moved": list(self.moved),
            "layers": self.layers,
            "first": self.first.as_json() if self.first else None,
            "levels": {level.name: {"status": level.status, "told": level.told} for level in self.levels},
            "declared": [{"path": d.path, "golden": d.golden, "now": d.now, "added": d.added} for d in self.declared],
            "platforms": {"golden": self.platforms[0], "now": self.platforms[1]},
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.verdict}: {self.told}"]
        lines += [f"  {level.name} {level.status}: {level.told}" for level in self.levels if level.status != SAME]
        lines += [f"  declared: {one}" for one in self.declared]
        if self.first is not None:
            lines.append(f"  first divergence: {self.first}")
        return "\n".join(lines)


def check_id(
    id: str,
    folder: str | Path = FOLDER,
    levels: Sequence[str] = USUAL_LEVELS,
    *,
    brief: bool = False,
    reference: Any = None,
    threads: int = 1,
) -> Result:
    """Judge what is installed under ``id`` by its golden file in ``folder``; whatever goes wrong is a result too.

    Args:
        id: Of rlops, or any that Gymnasium knows.
        folder: Where golden files lie.
        levels: Some of :data:`LEVELS`.
        brief: Whether replays end with the first episode that differs, the shortest first, and layers are judged by
            the steps around its divergence.
        reference: The controller of the recording, for L4; None: what it played is not compared.
        threads: On which kernels are stepped.

    Raises:
        UnknownName: If there is no such id or level.
    """
    for level in levels:
        if level not in LEVELS:
            raise UnknownName("level", level, LEVELS, "rlops check")
    one = subject(id, threads)
    started = time.perf_counter()
    path = golden_file(one, folder)
    if not path.exists():
        hint = f"Record what is right: rlops golden record {id} --reason TEXT"
        return Result(id, CANNOT_JUDGE, f"there is no golden file at {path}. {hint}")
    try:
        return _Check(one, read(path), brief, reference).result(levels, started)
    except RlopsError as error:
        return Result(id, CANNOT_JUDGE, str(error), seconds=time.perf_counter() - started)
    except Exception:
        return Result(id, ERROR, traceback.format_exc(), seconds=time.perf_counter() - started)


class _Check:
    """The comparison of one subject with one golden file."""

    def __init__(self, one: Subject, golden: Golden, brief: bool, reference: Any):
        self.subject, self.golden, self.brief, self.reference = one, golden, brief, reference
        self.recordings = sorted(golden.recordings, key=_steps) if brief else golden.recordings
        self.platform = one.platform()
        self.exact = self.platform == golden.manifest["platform"]
        self.levels: list[Level] = []
        self.layers: dict[str, str] = {}
        self.moved: set[str] = set()
        self.first: Difference | None = None
        self.declared: list[Declared] = []
        self.scales = _scales(golden.recordings)
        self.left = 0
        """Episodes that leave their recording."""
        self.diverged: dict[int, int] = {}
        """By the place of an episode the step at which its replay first differs."""
        self.stepped: set[str] = set()
        """Layers that single steps have compared."""
        self.unlike: list[str] = []
        """Arrays that have other shapes than recorded, or are gone."""
        self._told_steps = ""

    def result(self, levels: Sequence[str], started: float) -> Result:
        """Run ``levels`` and sum up what they found."""
        if "L0" in levels:
            self._specification()
        replays = self._replays() if {"L1", "L2", "L3"} & set(levels) else []
        if "L1" in levels:
            self._judge_replay(len(replays))
        if "L2" in levels:
            self._teacher_forced()
        if "L3" in levels:
            self._free(replays)
        if "L4" in levels:
            self._statistics()
        verdict, told = self._verdict()
        moved = tuple(layer for layer in LAYERS if layer in self.moved)
        platforms = (self.golden.manifest["platform"], self.platform)
        return Result(
            self.subject.id, verdict, told, moved, self.layers, self.first, tuple(self.levels), tuple(self.declared),
            platforms, time.perf_counter() - started,
        )  # fmt: skip

    def _verdict(self) -> tuple[str, str]:
        statuses = {level.status for level in self.levels}
        engines = self.golden.manifest["engine"], self.subject.engine
        under = f" ({engines[1]} against golden {engines[0]})" if engines[0] != engines[1] else ""
        moved = [layer for layer in LAYERS if layer in self.moved]
        if CHANGED in statuses:
            what = " and ".join(moved) or "free episodes"
            only = (
                "; by round-off only"
                if self.layers and CHANGED not in self.layers.values() and not self.declared
                else ""
            )
            restore = "pin the engine" if under else "restore what was released"
            return CHANGED, f"{what} moved{under}{only}. Release a new version, or {restore}"
        if CANNOT_JUDGE in statuses:
            return CANNOT_JUDGE, "; ".join(level.told for level in self.levels if level.status == CANNOT_JUDGE)
        if ROUND_OFF in statuses:
            return ROUND_OFF, f"the same but for rounding, as on another platform{under}"
        return SAME, f"nothing moved{under}"

    # -- L0 ----------------------------------------------------------------------------------------------------

    def _specification(self) -> None:
        self.declared = list(_differences(self.golden.manifest["specification"], self.subject.specification()))
        if any(one.path.startswith("parameters.") for one in self.declared):  # levels follow from the declarations
            self.declared = [one for one in self.declared if not one.path.startswith("randomization.")]
        gone = [one for one in self.declared if not one.added]
        for one in gone:
            self.layers[one.layer] = CHANGED
            self.moved.add(one.layer)
        s = "s" if len(self.declared) > 1 else ""
        told = f"{len(self.declared)} difference{s} in what is declared" if self.declared else "the same is declared"
        self.levels.append(Level("L0", CHANGED if gone else SAME, told))

    # -- L1 and L3: free episodes ------------------------------------------------------------------------------

    def _played(self, one: Recording) -> Trace:
        try:
            return self.subject.play(one.episode, one.trace)
        except RlopsError as error:  # for example a parameter that is gone
            self.unlike.append(f"episode {one.episode.name}: {error}")
            return {}

    def _replays(self) -> list[Trace]:
        """Replay the episodes, a brief check none after one that differs, and find the first divergence of each.

        The first of all is one that is more than its parameters, if there is any.
        """
        replays: list[Trace] = []
        begun: Difference | None = None
        for k, one in enumerate(self.recordings):
            if self.brief and (self.left or self.unlike):
                break
            now = self._played(one)
            replays.append(now)
            found = list(self._first_differences(one, now))
            parameters = [each for each in found if each.variable.startswith("params.")]
            if parameters:
                self._parameters_moved(one.episode, parameters)
            others = [each for each in found if each not in parameters]
            if found:
                self.left += 1
            if others:
                earliest = min(others, key=lambda each: (each.step, LAYERS.index(self._layer(each))))
                self.diverged[k] = earliest.step
                self.first = self.first or earliest
            begun = begun or next(iter(parameters), None)
        self.first = self.first or begun
        return replays

    def _parameters_moved(self, episode: Episode, found: list[Difference]) -> None:
        """Blame the nominal values, or what draws, for parameters that an episode begins with."""
        nominal = {one.path for one in self.declared}
        names = {one.variable.partition("[")[0].partition(".")[2] for one in found}
        if episode.level == "off" or all(f"parameters.{name}.nominal" in nominal for name in names):
            layer = "parameters"
        else:
            layer = "randomization"
        self.moved.add(layer)
        self.layers[layer] = CHANGED

    def _layer(self, found: Difference) -> str:
        name = found.variable.partition("[")[0]
        layer = self.subject.layer(name)
        return "reset" if layer == "dynamics" and found.step == 0 else layer

    def _first_differences(self, one: Recording, now: Trace) -> Iterator[Difference]:
        """Yield the first difference of every array of an episode."""
        for name, golden in one.trace.items():
            if name not in now:
                if now and not self._ended_early(name, now):
                    self.unlike.append(f"{name} is not there any more")
                continue
            if now[name].shape[1:] != golden.shape[1:]:
                self.unlike.append(f"{name} has shape {now[name].shape[1:]}, golden {golden.shape[1:]}")
                continue
            n = min(len(golden), len(now[name]))
            if compare(golden[:n], now[name][:n]).differs.any():
                first = 0 if clock(name) in (MOMENTS, ONCE) else 1
                if name.startswith("key figures"):
                    first = len(one.episode.actions)
                yield first_difference(one.episode.name, name, golden[:n], now[name][:n], first, self.scales[name])

    def _ended_early(self, name: str, now: Trace) -> bool:
        """Return whether ``name`` is missing only because the replay stopped where it had diverged."""
        return clock(name) == ONCE or len(now.get("reward", now.get("rewards.agents", ()))) == 0

    def _judge_replay(self, played: int) -> None:
        if self.unlike:
            self.unlike = sorted(set(self.unlike))
            self.levels.append(Level("L1", CANNOT_JUDGE, "; ".join(self.unlike[:3])))
            return
        if not self.left:
            self.levels.append(Level("L1", SAME, f"{len(self.recordings)} episodes replay bit for bit"))
            return
        told = f"{self.left} of {played} episodes differ"
        if self.exact:
            self.levels.append(Level("L1", CHANGED, told + " on the recorded platform"))
        else:
            self.levels.append(Level("L1", ROUND_OFF, told + ", as they may on another platform"))

    def _free(self, replays: list[Trace]) -> None:
        worst, where, jumps = 0.0, "", False
        for one, now in zip(self.recordings, replays, strict=False):  # a brief check has fewer replays
            for name in ("observation", "reward", "agents.observation", "rewards.agents"):
                if name in now and now[name].shape[1:] == one.trace[name].shape[1:]:
                    n = min(len(now[name]), len(one.trace[name]), FREE_STEPS)
                    error = scaled_error(one.trace[name][:n], now[name][:n], self.scales[name])
                    by_moment = error.reshape(n, -1).max(axis=1, initial=0.0)
                    jumps |= bool(np.any((by_moment[1:] > FREE_WITHIN) & (by_moment[:-1] < ROUND_OFF_WITHIN)))
                    if n and by_moment.max() > worst:
                        worst, where = float(by_moment.max()), f"{name} of episode {one.episode.name}"
        status = SAME if worst == 0 else ROUND_OFF if worst <= FREE_WITHIN else CHANGED
        told = f"the first {FREE_STEPS} steps differ by {worst:.2g} (scaled) at most: {where}" if worst else "equal"
        if status == CHANGED and self.subject.forces and not self.moved:
            if jumps:
                told += "; single steps agree, so there is state that the recorded moments do not hold"
            else:
                status, told = ROUND_OFF, told + "; single steps agree, and it grows gradually: round-off"
        self.levels.append(Level("L3", status, told))

    # -- L2 ----------------------------------------------------------------------------------------------------

    def _teacher_forced(self) -> None:
        level = self._not_forced()
        if level is None:
            status = self._forced_steps()
            level = Level("L2", status, self._told_steps)
        self.levels.append(level)

    def _not_forced(self) -> Level | None:
        """Return what to say of single steps without taking any, if none can or need be taken."""
        if not self.left and (self.brief or not self.subject.forces):
            return Level("L2", SAME, "follows from L1")
        if not self.subject.forces:
            self._blame_first()
            told = "states of this environment cannot be put in place, and its free episodes differ"
            return Level("L2", CHANGED if self.exact else CANNOT_JUDGE, told)
        if any(name.startswith("state") or "parameter" in name for name in self.unlike):
            self._blame_first()
            return Level("L2", CANNOT_JUDGE, "recorded moments do not fit the present state")
        return None

    def _forced_steps(self) -> str:
        """Take single steps from all recorded moments, and return their status."""
        taken = [
            _Step(self, one, steps) for k, one in enumerate(self.recordings) if len(steps := self._chosen_steps(k, one))
        ]
        for step in taken:
            step.judge()
        if self.left and not self.moved and self.exact:
            self._blame_first()
        worst = max(taken, key=lambda step: step.worst, default=None)
        if worst is None or not worst.worst:
            self._told_steps = f"{sum(len(step.steps) for step in taken)} single steps are equal"
        else:
            shares: dict[str, list[str]] = {}
            for step in taken:
                shares.setdefault(f"{100 * step.changed.mean():.3g} %", []).append(step.one.episode.name)
            listed = "; ".join(f"{share} of {', '.join(names)}" for share, names in shares.items())
            self._told_steps = f"single steps differ by more than round-off: {listed}; {worst.told}"
        statuses = [self.layers[layer] for layer in self.stepped if layer in self.layers]
        status = CHANGED if CHANGED in statuses else ROUND_OFF if ROUND_OFF in statuses else SAME
        return CHANGED if status == ROUND_OFF and self.exact else status

    def _chosen_steps(self, k: int, one: Recording) -> np.ndarray:
        steps = np.arange(len(one.episode.actions))
        if not self.brief:
            return steps
        if k not in self.diverged:
            return steps[:0]
        at = self.diverged[k] - 1
        return steps[max(at - _BRIEF_BEFORE, 0) : max(at, 0) + _BRIEF_AFTER]

    def _blame_first(self) -> None:
        """Blame the layer of the first divergence, where single steps do not say."""
        if self.first is not None:
            layer = self._layer(self.first)
            self.moved.add(layer)
            self.layers[layer] = CHANGED

    # -- L4 ----------------------------------------------------------------------------------------------------

    def _statistics(self) -> None:
        try:
            from scipy import stats
        except ImportError as error:
            raise MissingExtra("The comparison of statistics", "solvers") from error
        told, status = [], SAME
        for policy, golden in self.golden.returns.items():
            if policy == "reference" and self.reference is None:
                continue
            now = self.subject.returns(policy, len(golden), self.reference)
            if np.array_equal(golden, now):
                told.append(f"{policy}: {len(golden)} returns are equal")
                continue
            chance = float(stats.ks_2samp(golden, now).pvalue)
            test = stats.ttest_ind(now, golden, equal_var=False)
            low, high = test.confidence_interval(0.95)
            told.append(
                f"{policy}: mean return {golden.mean():.6g} now {now.mean():.6g}, difference {low:.4g} … {high:.4g} "
                f"(95 %), Kolmogorov-Smirnov p = {chance:.2g}"
            )
            if min(chance, float(test.pvalue)) < LIKELY_CHANCE:
                status = CHANGED
            elif status == SAME:
                status = ROUND_OFF
        if not told:
            self.levels.append(Level("L4", CANNOT_JUDGE, "the golden file holds no returns"))
        else:
            self.levels.append(Level("L4", status, "; ".join(told)))


class _Step:
    """Single steps from recorded moments of one episode: which layers differ at which of them."""

    def __init__(self, check: _Check, one: Recording, steps: np.ndarray):
        self.check, self.one, self.steps = check, one, steps
        self.worst, self.where = 0.0, ""
        self.changed = np.zeros(len(steps), np.bool_)
        self._differs: dict[str, np.ndarray] = {}
        self._any_bit: dict[str, np.ndarray] = {}

    @property
    def told(self) -> str:
        """Say where the worst error is."""
        return f"worst {self.worst:.2g} (scaled) in {self.where} of episode {self.one.episode.name}"

    def judge(self) -> None:
        """Compare, and blame layers: those whose differences do not follow from another's."""
        check, one = self.check, self.one
        now = check.subject.forced(one.episode, one.trace, self.steps)
        for name, array in now.items():
            golden = self._golden(name)
            if golden is not None and golden.shape == array.shape:
                self._note(check.subject.layer(name), name, golden, array)
        if one.episode.start is None:
            self._reset()
        self._blame()

    def _golden(self, name: str) -> np.ndarray | None:
        """Return what was recorded where ``forced`` now says ``name``."""
        recorded = self.one.forced or self.one.trace
        if name not in recorded:
            return None
        golden: np.ndarray = recorded[name]
        if self.one.forced is not None:
            return golden if clock(name) == ONCE else np.asarray(golden[self.steps])
        if clock(name) == ONCE:
            return golden
        return np.asarray(golden[self.steps + 1 if name.startswith("state") else self.steps])

    def _note(self, layer: str, name: str, golden: np.ndarray, now: np.ndarray) -> None:
        check = self.check
        check.stepped.add(layer)
        found = compare(golden, now, check.scales[name])
        differs = found.differs if check.exact else found.changed
        status = SAME if not found.differs.any() else found.status
        if check.exact and status == SAME and found.differs.any():
            status = ROUND_OFF
        check.layers[layer] = _worse(check.layers.get(layer, SAME), status)
        if clock(name) == ONCE:  # key figures, which belong to the last step
            at_end = np.arange(len(self.steps)) == len(self.steps) - 1
            differs, changed, any_bit = (
                at_end & differs.any(),
                at_end & found.changed.any(),
                at_end & found.differs.any(),
            )
        else:
            changed, any_bit = found.changed, found.differs
        none = np.zeros(len(self.steps), np.bool_)
        self._differs[layer] = self._differs.get(layer, none) | differs
        self._any_bit[layer] = self._any_bit.get(layer, none) | any_bit
        self.changed |= changed
        if found.worst > self.worst:
            self.worst, self.where = found.worst, name

    def _reset(self) -> None:
        """Compare the state that a reset makes from the recorded parameters."""
        now = self.check.subject.reset_again(self.one.episode, self.one.trace)
        for name, array in now.items():
            golden = self.one.trace.get(name)
            if golden is not None and golden[:1].shape == array.shape:
                found = compare(golden[:1], array, self.check.scales[name])
                self.check.stepped.add("reset")
                if (found.differs if self.check.exact else found.changed).any():
                    self.check.moved.add("reset")
                    self.check.layers["reset"] = _worse(self.check.layers.get("reset", SAME), found.status)

    def _blame(self) -> None:
        none = np.zeros(len(self.steps), np.bool_)
        state, end = self._differs.get("dynamics", none), self._differs.get("termination", none)
        moved = self.check.moved
        if (state & ~end).any():
            moved.add("dynamics")
            if (end & ~state).any():
                moved.add("termination")
        elif end.any():
            moved.add("termination")
        elif state.any():
            moved.add("dynamics")
        before = self._any_bit.get("dynamics", none) | self._any_bit.get("termination", none)
        paid = self._any_bit.get("reward", none)
        consequences = {"reward": before, "key figures": before | paid, "agents": before}
        for layer in ("reward", "observation", "mask", "context", "key figures", "agents"):
            follows = consequences.get(layer, none)
            if (self._differs.get(layer, none) & ~follows).any():
                moved.add(layer)


def _steps(one: Recording) -> int:
    return len(one.episode.actions)


def _scales(recordings: Iterable[Recording]) -> dict[str, float]:
    """Return by the name of an array its largest magnitude in any episode: what errors are divided by."""
    scales: dict[str, float] = {}
    for one in recordings:
        for trace in (one.trace, one.forced or {}):
            for name, array in trace.items():
                scales[name] = max(scales.get(name, 0.0), largest(array))
    return {name: scale or 1.0 for name, scale in scales.items()}


def _worse(one: str, other: str) -> str:
    order = (SAME, ROUND_OFF, CHANGED)
    return order[max(order.index(one), order.index(other))]


def _differences(golden: Any, now: Any, path: str = "") -> Iterator[Declared]:
    """Yield the differences of two specifications; what is only more than before is ``added``."""
    if isinstance(golden, dict) and isinstance(now, dict):
        for name in {**golden, **now}:
            where = f"{path}.{name}" if path else str(name)
            if name not in golden:
                yield Declared(where, None, now[name], _declared_layer(where), _may_grow(where))
            elif name not in now:
                yield Declared(where, golden[name], None, _declared_layer(where), False)
            else:
                yield from _differences(golden[name], now[name], where)
    elif golden != now:
        if isinstance(golden, list) and isinstance(now, list) and len(golden) > 8:
            golden, now = _unlike(golden, now)
        yield Declared(path, golden, now, _declared_layer(path), False)


def _unlike(golden: list[Any], now: list[Any]) -> tuple[Any, Any]:
    """Return the first entries in which two long lists differ."""
    for k, (a, b) in enumerate(zip(golden, now, strict=False)):
        if a != b:
            return [k, a], [k, b]
    return f"{len(golden)} entries", f"{len(now)} entries"


_GROWS = ("parameters", "context", "info", "variants")


def _may_grow(path: str) -> bool:
    """Return whether something more at ``path`` leaves what was there as it is."""
    return path.partition(".")[0] in _GROWS


def _declared_layer(path: str) -> str:
    """Return the layer of a declaration: what a parameter may be is its own, what is drawn of it is randomization."""
    first = path.partition(".")[0]
    if first == "randomization" or (first == "parameters" and ".plausible" in path):
        return "randomization"
    return "parameters" if first == "parameters" else "spec"


def combined(verdicts: Iterable[str]) -> int:
    """Return the exit code of several verdicts: 3 for any internal error, 1 for any change, then 2, else 0.

    >>> combined(["same", "cannot judge", "changed"])
    1
    """
    codes = {EXIT_CODES[verdict] for verdict in verdicts}
    return next((code for code in (3, 1, 2) if code in codes), 0)
