"""From a specification to the plan that compiled code draws from, checked against the environment that it is for."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlops.envs.contract import Parameter
from rlops.envs.sampling import (
    ABS,
    ADD,
    CONSTANT,
    EPISODE,
    HEAD,
    INTERVAL,
    LOGUNIFORM,
    NORMAL,
    SCALE,
    STEP,
    TABLE,
    TERM,
    UNIFORM,
    normal_share,
)  # fmt: skip
from rlops.errors import InvalidFile, InvalidValue, MissingExtra, UnknownName
from rlops.randomization import spec as specs
from rlops.randomization.schedule import AdrSchedule, LinearSchedule, Schedule, metric_column
from rlops.randomization.spec import Randomization

_OPERATIONS = {"abs": ABS, "scale": SCALE, "add": ADD}
_PER = {"episode": EPISODE, "step": STEP, "interval": INTERVAL}
_ALMOST_HALF = 0.5 - 1e-9
_AT_RESET = ("demand", "reset")
"""Kinds of parameters that an episode is made from where it begins; to change them later would do nothing."""


@dataclass(frozen=True)
class Plan:
    """What :meth:`rlops.envs.batch.Batch.set_plan` takes.

    Attributes:
        terms: One :data:`~rlops.envs.sampling.TERM` a parameter, in the order of their names.
        values: The numbers that they look up.
        names: The parameters, in the same order.
        schedule: What moves the ends of their ranges; None: nothing does.
    """

    terms: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    schedule: Schedule | None = None


def plan_of(
    spec: Randomization,
    id: str,
    parameters: tuple[Parameter, ...],
    nominal: np.ndarray,
    *,
    kpis: tuple[str, ...] = (),
    engine: str = "",
) -> Plan:
    """Return the plan of ``spec`` for the environment ``id``.

    Args:
        spec: What is to be drawn.
        id: The environment.
        parameters: What it declares.
        nominal: The record of its nominal parameters.
        kpis: Its key figures, which may be a schedule's metric.
        engine: Its physics engine, if the family has several.

    Raises:
        UnknownName: For a parameter or a metric that the environment does not have.
        InvalidValue: For another environment, a wrong unit, a value outside the hard bounds, a parameter that the
            engine cannot vary, terms that contradict one another, or a schedule that does not fit them.
    """
    if spec.env != id:
        raise InvalidValue(f"{id}: env of the randomization must be {id}, got {spec.env}. Write one for {id}.")
    return _Planner(spec, id, parameters, nominal, kpis, engine).plan()


def stream_of(name: str) -> int:
    """Return the stream of a term: 64 bits of the hash of its name, which no number of a kernel's stream reaches."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"rlops-params").digest(), "little")


class _Planner:
    def __init__(
        self,
        spec: Randomization,
        id: str,
        parameters: tuple[Parameter, ...],
        nominal: np.ndarray,
        kpis: tuple[str, ...],
        engine: str,
    ):
        self.id, self.spec, self.kpis, self.engine = id, spec, kpis, engine
        self.known = {p.name: (k, p) for k, p in enumerate(parameters)}
        self.nominal = nominal
        for name in (*spec.params, *spec.expose.privileged):
            if name not in self.known:
                raise UnknownName("parameter", name, self.known, id)
        # correlated terms side by side, otherwise by name: the order of the file must not matter
        self.groups = _groups(spec)
        order = [name for group in self.groups for name in group]
        self.names = tuple(order + sorted(set(spec.params) - set(order)))
        self.terms = np.zeros(len(self.names), TERM)
        self.values: list[float] = [0.0] * HEAD

    def plan(self) -> Plan:
        for row, name in zip(self.terms, self.names, strict=True):
            self._write(row, name, self.spec.params[name])
        self._design("grid", specs.Grid)
        self._design("sobol", specs.Sobol)
        self._design("lhs", specs.LatinHypercube)
        for group in self.groups:
            self._correlate(group)
        self.values[2] = float(np.any(self.terms["per"] != EPISODE))
        schedule = self._schedule()
        return Plan(self.terms, np.array(self.values), self.names, schedule)

    def _refused(self, name: str, message: str) -> InvalidValue:
        return InvalidValue(f"{self.id}: randomized parameter {name}: {message}")

    def _write(self, row: Any, name: str, term: Any) -> None:
        k, parameter = self.known[name]
        if parameter.engines and self.engine not in parameter.engines:
            able = f"Leave it out, or use {' or '.join(parameter.engines)}."
            raise self._refused(name, f"the engine must be able to vary it, got {self.engine or 'none'}. {able}")
        if term.unit is not None and term.unit != parameter.unit:
            raise self._refused(name, f"unit must be {parameter.unit}, got {term.unit}. Convert the values.")
        if term.per != "episode" and parameter.kind in _AT_RESET:
            acts = f"a parameter of kind {parameter.kind} acts where an episode begins"
            raise self._refused(name, f"per must be episode, got {term.per}: {acts}.")
        if parameter.choices and (term.op != "abs" or term.dist not in ("constant", "choice")):
            raise self._refused(
                name, f"dist must be constant or choice with op abs, as it is one of {', '.join(parameter.choices)}."
            )
        row["stream"], row["parameter"], row["whole"] = stream_of(name), k, parameter.dtype == "i8"
        row["low"], row["high"] = parameter.low, parameter.high
        row["operation"], row["per"], row["pinned"] = _OPERATIONS[term.op], _PER[term.per], -1
        if term.every is not None:
            row["every_low"], row["every_high"] = term.every
        self._write_distribution(row, name, term, parameter)

    def _write_distribution(self, row: Any, name: str, term: Any, parameter: Parameter) -> None:
        if isinstance(term, specs.Constant):
            self._check(name, term.op, [term.value])
            row["distribution"], row["a"] = CONSTANT, term.value
        elif isinstance(term, specs.LogUniform):
            self._check(name, term.op, [term.low, term.high])
            row["distribution"], row["a"], row["b"] = LOGUNIFORM, math.log(term.low), math.log(term.high)
        elif isinstance(term, specs.Normal):
            low, high = sorted(self._undone(name, term.op, bound) for bound in (parameter.low, parameter.high))
            self._write_normal(row, name, term, low, high)
        elif isinstance(term, specs.TruncNormal):
            self._check(name, term.op, [term.low, term.high])
            self._write_normal(row, name, term, term.low, term.high)
        elif isinstance(term, specs.Choice):
            values = [parameter.checked(v, self.id) if isinstance(v, str) else v for v in term.values]
            self._check(name, term.op, values)
            self._write_table(row, values, list(term.weights or [1.0] * len(values)))
        elif isinstance(term, specs.Empirical):
            values, digest = _samples(term.file, term.column)
            self._check(name, term.op, values)
            self._write_table(row, values, [1.0] * len(values))
            row["stream"] = stream_of(digest)
        else:  # uniform, and the designs, which are uniform at given points
            self._check(name, term.op, [term.low, term.high])
            # so that rounding leaves the first and the last whole number as likely as the others
            margin = _ALMOST_HALF if row["whole"] and term.op == "abs" and term.dist != "grid" else 0.0
            row["distribution"], row["a"], row["b"] = UNIFORM, term.low - margin, term.high + margin

    def _write_normal(self, row: Any, name: str, term: Any, low: float, high: float) -> None:
        row["distribution"], row["a"], row["b"] = NORMAL, term.mean, term.std
        row["c"], row["d"] = (normal_share((bound - term.mean) / term.std) for bound in (low, high))
        if not row["c"] < row["d"]:
            raise self._refused(name, f"the hard bounds must hold a part of the Gaussian, got mean {term.mean:g}.")

    def _write_table(self, row: Any, values: list[float], weights: list[float]) -> None:
        row["distribution"], row["table_at"], row["entries"] = TABLE, len(self.values), len(values)
        self.values += values
        self.values += (np.cumsum(weights) / np.sum(weights)).tolist()

    def _done(self, name: str, op: str, value: float) -> float:
        usual = float(self.nominal[name])
        return {"abs": value, "scale": usual * value, "add": usual + value}[op]

    def _undone(self, name: str, op: str, bound: float) -> float:
        usual = float(self.nominal[name])
        if op == "scale" and usual == 0.0:
            raise self._refused(name, "op must not be scale, as the nominal value is 0. Use add or abs.")
        return {"abs": bound, "scale": bound / usual if usual else 0.0, "add": bound - usual}[op]

    def _check(self, name: str, op: str, values: list[float]) -> None:
        """Refuse values that lead out of the hard bounds."""
        parameter = self.known[name][1]
        if op == "scale":
            self._undone(name, op, 0.0)
        for value in values:
            reached = self._done(name, op, value)
            if not parameter.low - 1e-12 <= reached <= parameter.high + 1e-12:
                by = {"abs": "", "scale": f" = {value:g} x nominal", "add": f" = nominal + {value:g}"}[op]
                unit = "" if parameter.unit == "-" else f" {parameter.unit}"
                raise self._refused(
                    name,
                    f"values must stay within the hard bounds [{parameter.low:g}, {parameter.high:g}]{unit}, "
                    f"got {reached:g}{by}.",
                )

    def _design(self, dist: str, kind: type) -> None:
        """Give the terms of a design their points: all have one number of points, but for a grid."""
        names = sorted(name for name in self.names if isinstance(self.spec.params[name], kind))
        if not names:
            return
        sizes = [self.spec.params[name].n for name in names]  # type: ignore[union-attr]
        if dist == "grid":
            axes = [np.linspace(0.0, 1.0, n) if n > 1 else np.array([0.5]) for n in sizes]
            points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        else:
            if len(set(sizes)) > 1:
                told = ", ".join(f"{name} {n}" for name, n in zip(names, sizes, strict=True))
                raise InvalidValue(
                    f"{self.id}: all terms with dist {dist} must have one n, as they make one design, got {told}."
                )
            points = _points(dist, sizes[0], len(names))
        for name, column in zip(names, points.T, strict=True):
            row = self.terms[self.names.index(name)]
            if row["per"] != EPISODE:
                raise self._refused(name, f"per must be episode for dist {dist}, which has one point an episode.")
            row["points_at"], row["points"] = len(self.values), len(column)
            self.values += column.tolist()

    def _schedule(self) -> Schedule | None:
        """Let the schedule take charge of the ends of the ranges."""
        spec = self.spec.schedule
        if isinstance(spec, specs.Always):
            return None
        moving = [name for name in self.names if self.spec.params[name].dist != "constant"]
        if not moving:
            raise InvalidValue(f"{self.id}: schedule {spec.kind} must have a range to move, got none. Randomize one.")
        start = np.array([self._start(name, spec.kind) for name in moving])
        rows = np.array([self.names.index(name) for name in moving])
        ends = start, self.terms["a"][rows], self.terms["b"][rows]
        schedule: Schedule
        if isinstance(spec, specs.Linear):
            schedule = LinearSchedule(spec, tuple(moving), rows, *ends)
        else:
            self.values[:2] = spec.boundary_prob, float(len(moving))
            self.terms["pinned"][rows] = np.arange(len(moving))
            schedule = AdrSchedule(spec, metric_column(spec.metric, self.kpis, self.id), tuple(moving), rows, *ends)
        schedule.write(self.terms)
        return schedule

    def _start(self, name: str, kind: str) -> float:
        """Return where the range of a parameter begins: at the nominal value, in what its term is uniform in."""
        term = self.spec.params[name]
        if not isinstance(term, (specs.Uniform, specs.LogUniform)):
            must = f"dist must be uniform, loguniform or constant under schedule {kind}"
            raise self._refused(name, f"{must}, got {term.dist}.")
        if kind == "adr" and term.per != "episode":
            raise self._refused(name, f"per must be episode under schedule adr, got {term.per}.")
        start = self._undone(name, term.op, float(self.nominal[name]))
        if not term.low <= start <= term.high:
            nominal = f"the nominal value, {float(self.nominal[name]):g}"
            raise self._refused(name, f"the range must hold {nominal}, from which schedule {kind} widens it.")
        return math.log(start) if isinstance(term, specs.LogUniform) else start

    def _correlate(self, group: list[str]) -> None:
        """Write the factor of the group's correlation matrix."""
        first = self.names.index(group[0])
        rows = self.terms[first : first + len(group)]
        for name, row in zip(group, rows, strict=True):
            if (
                row["distribution"] == CONSTANT
                or row["points"]
                or row["per"] != rows[0]["per"]
                or row["per"] == INTERVAL
            ):
                must = "a correlated parameter must be drawn, neither constant nor designed"
                raise self._refused(name, f"{must}, and per episode or per step as those that it is correlated with.")
        matrix = np.eye(len(group))
        for pair in self.spec.correlations:
            if pair.params[0] in group:
                i, j = (group.index(name) for name in pair.params)
                matrix[i, j] = matrix[j, i] = pair.rho
        try:
            factor = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            raise InvalidValue(
                f"{self.id}: the correlations of {', '.join(group)} must be possible together "
                "(a positive definite matrix). Lower them."
            ) from None
        for row, weights in zip(rows, factor, strict=True):
            row["mix_at"], row["mixed"], row["mix_first"] = len(self.values), len(group), first
            self.values += weights.tolist()


def _groups(spec: Randomization) -> list[list[str]]:
    """Return the parameters that are correlated with one another, each group sorted."""
    groups: list[set[str]] = []
    seen: set[frozenset[str]] = set()
    for pair in spec.correlations:
        names = set(pair.params)
        for name in pair.params:
            if name not in spec.params:
                raise UnknownName("randomized parameter", name, spec.params, "correlations")
        if len(names) < 2 or frozenset(names) in seen:
            raise InvalidValue(
                f"correlations must name every pair of two parameters once, got {' and '.join(pair.params)} again."
            )
        seen.add(frozenset(names))
        touched = [group for group in groups if group & names]
        groups = [group for group in groups if not group & names] + [names.union(*touched)]
    return sorted(sorted(group) for group in groups)


def _points(dist: str, n: int, columns: int) -> np.ndarray:
    """Return a design of ``n`` points within (0, 1), ``(n, columns)``; always the same one."""
    try:
        from scipy.stats import qmc
    except ImportError:
        raise MissingExtra(f"dist {dist}", "solvers") from None
    kind = qmc.Sobol if dist == "sobol" else qmc.LatinHypercube
    return np.asarray(np.clip(kind(columns, rng=0).random(n), 2.0**-53, 1 - 2.0**-53))


def _samples(file: str, column: str) -> tuple[list[float], str]:
    """Return the samples of a column of a CSV file, and a digest of the file."""
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise InvalidFile(f"{file} must be a CSV file of samples, got: {error}") from None
    lines = list(csv.reader(content.decode().splitlines()))
    head = lines[0] if lines else []
    if column not in head:
        raise InvalidFile(f"{file} must have a column {column}, got {', '.join(head) or 'nothing'}.")
    values = []
    for number, line in enumerate(lines[1:], 2):
        try:
            value = float(line[head.index(column)])
        except (ValueError, IndexError):
            value = math.nan
        if not math.isfinite(value):
            raise InvalidFile(f"{file}, row {number}, column {column}: a number is needed, got {','.join(line)!r}.")
        values.append(value)
    if not values:
        raise InvalidFile(f"{file} must have samples, got only its heading.")
    return values, hashlib.sha256(content).hexdigest()
