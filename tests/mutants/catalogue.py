"""The mutations of the released environments, generated from their sources.

Everything declared at the top of a module is mutated exhaustively: each constant (of a table, one number of every
row), each parameter's nominal value, one of its hard bounds and one end of its plausible range. Of what the operators
could change within functions, a seeded choice of each kind is taken: as many of each environment as of another.

``layers`` of a mutation are those of which the check must name at least one as the root cause; ``along`` are those that
may be named with it, because the same step shows them. Anything else is a wrong attribution.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate

from tests.mutants import equivalent, operators
from tests.mutants.flow import layers_of_a_step, source_of
from tests.mutants.reach import IDS, LAYERS, PACKAGE, Module, Name, derived, layers_by_name, module, resolved, users

KINDS = (
    "constant", "nominal", "bound", "range", "off by one", "swapped", "draw", "literal", "sign", "reward",
    "termination", "reset", "observation", "mask", "context", "key figures", "agents", "variant", "sampling", "spec",
)  # fmt: skip

THRESHOLD = 0.05
"""By which share a constant is moved that is only compared with something: what lies between must occur."""

PER_KIND = 12
"""Mutations of a kind that is chosen from [-]."""


@dataclass(frozen=True)
class Mutation:
    """One change of the sources.

    Attributes:
        name: ``module.function.operator.n`` or ``module.constant.what``.
        file: Of the package, relative to it.
        line: Of the file.
        change: For people, ``LINE: before → after``.
        kind: One of :data:`KINDS`.
        ids: The environments that it touches.
        layers: At least one must be named as moved.
        along: May be named besides.
        edits: ``(start, end, text)``, offsets into the source.
        within: The names whose definitions are changed.
        nodes: What is changed of them.
    """

    name: str
    file: str
    line: int
    change: str
    kind: str
    ids: tuple[str, ...]
    layers: frozenset[str]
    along: frozenset[str]
    edits: tuple[tuple[int, int, str], ...]
    within: tuple[Name, ...] = ()
    nodes: tuple[ast.AST, ...] = field(default=(), compare=False, repr=False)

    @property
    def folder(self) -> str:
        """The family's folder; empty for what families share, and for Dispatch."""
        return _folder(self.file)

    def applied(self, source: str) -> str:
        """Return the mutated source."""
        for start, end, text in sorted(self.edits, reverse=True):
            source = source[:start] + text + source[end:]
        return source

    def attributed(self, moved: Iterable[str]) -> bool:
        """Return whether what the check says has moved is right."""
        named = set(moved)
        return bool(named & self.layers) and named <= self.layers | self.along


def catalogue(seed: int = 0, per_kind: int = PER_KIND) -> tuple[Mutation, ...]:
    """Return the mutations, those that cannot change anything left out; a seed makes one catalogue."""
    every = candidates()
    chosen = [one for one in every if one.kind in _EXHAUSTIVE and not equivalent.reason(one.name)]
    for kind in KINDS:
        for folder in _FOLDERS if kind not in _EXHAUSTIVE else ():
            of_kind = [one for one in every if one.kind == kind and one.folder == folder]
            chosen += _spread(of_kind, per_kind, random.Random(f"{seed} {kind} {folder}".strip()))
    return tuple(_followed(one) for one in chosen)


def _followed(one: Mutation) -> Mutation:
    """Return a mutation of a step with only those layers that what is changed goes into."""
    if "dynamics" not in one.layers:
        return one
    followed = (layers_of_a_step(source_of(name, one.nodes), one.ids) for name in one.within)
    known = (one.layers - {"dynamics"}).union(*followed)
    return replace(one, layers=known, along=_along(known, one.ids))


_FOLDERS = ("", "cooling", "robotics")
"""What mutations are chosen from: Dispatch with what families share, then every other family for itself, so that
another family leaves the others' choice as it is."""


def _folder(file: str) -> str:
    return next((folder for folder in _FOLDERS if file.startswith(f"envs/{folder}/")), "")


_EXHAUSTIVE = ("constant", "nominal", "bound", "range", "spec")


def _spread(mutations: list[Mutation], number: int, draws: random.Random) -> list[Mutation]:
    """Return ``number`` mutations, in turn of each set of environments, in the order of the sources.

    Those that cannot change anything are left out after the draw, so that to list another leaves the others chosen.
    """
    groups: dict[tuple[str, ...], list[Mutation]] = {}
    for one in draws.sample(mutations, len(mutations)):
        if not equivalent.reason(one.name):
            groups.setdefault(tuple(id for id in one.ids if one.folder or "Dispatch" in id), []).append(one)
    turns = [one for turn in range(len(mutations)) for group in groups.values() for one in group[turn : turn + 1]]
    chosen = {one.name for one in turns[:number]}
    return [one for one in mutations if one.name in chosen]


def sample(mutations: tuple[Mutation, ...], number: int, seed: int) -> tuple[Mutation, ...]:
    """Return ``number`` mutations, in turn of each kind."""
    draws = random.Random(seed)
    groups = [[one for one in mutations if one.kind == kind] for kind in KINDS]
    for group in groups:
        draws.shuffle(group)
    turns = [one for turn in range(len(mutations)) for group in groups for one in group[turn : turn + 1]]
    return tuple(turns[:number])


@cache
def candidates() -> tuple[Mutation, ...]:
    """Return everything that could be mutated, in the order of the sources."""
    return tuple(_candidates())


def _candidates() -> Iterator[Mutation]:
    names: dict[str, list[str]] = {}
    for where, what in sorted(layers_by_name()):
        if where.removeprefix("rlops.envs.").startswith(_DYNAMICS):
            names.setdefault(where, []).append(what)
    for where in (*names, *_LEVELS):
        read = module(where)
        for what in read.defines:
            if what in names.get(where, ()) or where in _LEVELS:
                yield from _of_name(read, what)


_DYNAMICS = (
    "draws", "sampling", "dispatch.city", "dispatch.fleet", "dispatch.plan", "dispatch.schedule", "dispatch.params",
    "dispatch.kernel_", "cooling.accounts", "cooling.elementary", "cooling.hall", "cooling.kernel_", "cooling.params",
    "cooling.plant", "cooling.psychrometrics", "cooling.sensors", "cooling.site", "robotics.amr", "robotics.arm",
    "robotics.hall", "robotics.kernel_", "robotics.model", "robotics.motors", "robotics.params", "robotics.rays",
)  # fmt: skip
"""Modules that environments are made of; the others check, draw pictures or read files."""

_LEVELS = ("rlops.randomization.shipped",)
"""Modules that make the levels of randomization; they act on every environment."""


def _of_name(read: Module, what: str) -> Iterator[Mutation]:
    statement = read.defines[what][0]
    if isinstance(statement, ast.FunctionDef):
        for operator, changes in operators.OPERATORS.items():
            for k, change in enumerate(changes(read, statement)):
                name = f"{_short(read)}.{what}.{operator}.{k}"
                yield _mutation(read, (read.name, what), name, _kind(read, what, operator, change), change)
    elif _declares_parameters(read, what):
        yield from _of_parameters(read, what)
    else:
        for k, (statement, node, text) in enumerate(_constants(read, what)):
            name = f"{_short(read)}.{what}.value.{k}"
            change = operators.Change(statement, ((node, text),))
            yield _mutation(read, (read.name, what), name, "constant", change)
        yield from _of_streams(read, what)
        yield from _of_columns(read, what)


def _short(read: Module) -> str:
    """Return the name of a module, with its family's where another has modules of the same names."""
    folder = _folder(str(read.path.relative_to(PACKAGE)))
    return ".".join([*([folder] if folder else []), read.path.stem])


def _declares_parameters(read: Module, what: str) -> bool:
    return any(operators.is_call(node, "Parameter") for one in read.defines[what] for node in ast.walk(one))


# --- declarations ---------------------------------------------------------------------------------------


def _constants(read: Module, what: str) -> Iterator[tuple[ast.stmt, ast.AST, str]]:
    """Yield the numbers of a constant, of a table one of each row; whole numbers only where they stand alone."""
    draws = random.Random(f"{read.name}.{what}")
    by = THRESHOLD if _is_threshold((read.name, what)) else operators.RELATIVE
    for statement in read.defines[what]:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        value = _own_value(statement, what)
        rows = _rows(value)
        floats = [node for node in ast.walk(value) if operators.is_number(node)]
        for node in [draws.choice(row) for row in rows] if rows else floats:
            yield statement, node, operators.moved(node.value, by)
        for node in (value, *getattr(value, "args", ())):
            if not floats and operators.is_number(node, int) and not operators.is_call(value, "range"):
                yield statement, node, str(node.value + 1)


_THRESHOLDS = {
    ("rlops.envs.dispatch.plan", "RESERVE_SHARE"),
    ("rlops.envs.cooling.elementary", "_PER_LN_2"),
    ("rlops.envs.robotics.hall", "BLOCKING_M"),
}
"""Constants of a function whose result is only compared with something, or rounded to a whole number."""


@cache
def _is_threshold(name: Name) -> bool:
    """Return whether a constant is only ever compared with something."""
    if name in _THRESHOLDS:
        return True
    for where, what in users(name):
        statement = module(where).defines[what][0]
        if not isinstance(statement, ast.FunctionDef):
            return False
        for place in operators.places(statement):
            used = isinstance(place.node, ast.Name) and resolved((where, place.node.id)) == name
            if used and not place.within(ast.Compare):
                return False
    return True


def _own_value(statement: ast.Assign | ast.AnnAssign, what: str) -> ast.expr:
    """Return what ``what`` is set to: of ``A, B = 1, 2`` its own part."""
    value, target = statement.value, statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    assert value is not None
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        names = [name.id for name in target.elts if isinstance(name, ast.Name)]
        return value.elts[names.index(what)]
    return value


def _rows(value: ast.expr) -> list[list[ast.Constant]]:
    """Return the numbers of a table by row; none if it is no table."""
    inner = [node for node in ast.walk(value) if isinstance(node, ast.List | ast.Tuple)]
    numbers = [[node for element in row.elts for node in _number(element)] for row in inner]
    return [row for row in numbers if row]


def _number(element: ast.expr) -> list[ast.Constant]:
    """Return an element of a row if it is a number, perhaps a negative one."""
    if isinstance(element, ast.UnaryOp):
        element = element.operand
    return [element] if isinstance(element, ast.Constant) and isinstance(element.value, float) else []


def _of_columns(read: Module, what: str) -> Iterator[Mutation]:
    """Yield another name for one of the columns that ``what`` declares."""
    draws = random.Random(f"{read.name}.{what}")
    names = [
        node.args[0]
        for statement in read.defines[what]
        for node in ast.walk(statement)
        if operators.is_call(node, "Column") and isinstance(node.args[0], ast.Constant)
    ]
    if names:
        node = draws.choice(names)
        change = operators.Change(read.defines[what][0], ((node, repr(f"{node.value}_")),))
        yield _mutation(read, (read.name, what), f"{_short(read)}.{what}.name", "spec", change)


def _of_streams(read: Module, what: str) -> Iterator[Mutation]:
    """Yield the stream ``what`` swapped with the one declared after it."""
    names = operators.streams_beside(read, what)
    statement = read.defines[what][0]
    if (read.name, what) not in _drawn_streams() or what not in names[:-1]:
        return
    assert isinstance(statement, ast.Assign)
    assert isinstance(statement.targets[0], ast.Tuple)
    one = next(e for e in statement.targets[0].elts if isinstance(e, ast.Name) and e.id == what)
    other = statement.targets[0].elts[names.index(what) + 1]
    assert isinstance(other, ast.Name)
    change = operators.Change(statement, ((one, other.id), (other, one.id)))
    label = f"{_short(read)}.{what}.stream"
    mine, its = (_mutation(read, (read.name, name), label, "draw", change) for name in (what, other.id))
    layers = mine.layers | its.layers
    yield replace(mine, layers=layers, along=(mine.along | its.along) - layers, within=mine.within + its.within)


@cache
def _drawn_streams() -> frozenset[Name]:
    """Return the constants that are given as streams anywhere."""
    found = set()
    for where, what in layers_by_name():
        for node in ast.walk(module(where).defines[what][0]):
            stream = operators.stream_of(node)
            found.add(resolved((where, stream.id)) if stream else None)
    return frozenset(name for name in found if name)


_AT = {"nominal": 2, "low": 3, "high": 4}
"""Where a declaration of a parameter has its numbers."""


def _of_parameters(read: Module, what: str) -> Iterator[Mutation]:
    """Yield of each declared parameter: the nominal value, a hard bound, an end of the plausible range."""
    for statement in read.defines[what]:
        for call in ast.walk(statement):
            if not operators.is_call(call, "Parameter"):
                continue
            name = ast.literal_eval(call.args[0])
            draws = random.Random(name)
            table = f"{what}." if _times_declared(read.name)[name] > 1 else ""
            extra = {keyword.arg: keyword.value for keyword in call.keywords}
            step = 1.0 if {"integer", "choices"} & set(extra) else 0.0
            bound = draws.choice(("low", "high"))
            numbers: list[tuple[str, str, ast.AST]] = [("nominal", "nominal", call.args[_AT["nominal"]])]
            numbers.append(("bound", bound, call.args[_AT[bound]]))
            if isinstance(extra.get("plausible"), ast.Tuple):
                numbers.append(("range", "plausible", draws.choice(extra["plausible"].elts)))
            for kind, part, node in numbers:
                if isinstance(node, ast.Constant | ast.UnaryOp):
                    value = ast.literal_eval(node)
                    text = str(int(value + step)) if step else operators.moved(value)
                    change = operators.Change(statement, ((node, text),))
                    mutation_name = f"{_short(read)}.{table}{name}.{part}"
                    yield _mutation(read, (read.name, what), mutation_name, kind, change)


@cache
def _times_declared(name: str) -> Counter[str]:
    """Return how many parameters of a module have each name."""
    calls = (node for node in ast.walk(module(name).tree) if operators.is_call(node, "Parameter"))
    return Counter(ast.literal_eval(call.args[0]) for call in calls)


# --- what a mutation is ---------------------------------------------------------------------------------

_BY_OPERATOR = {
    "literal": "literal", "weight": "literal", "count": "off by one", "compare": "off by one", "flip": "sign",
    "sign": "sign", "lost": "sign", "swapped": "swapped", "index": "swapped", "draw": "draw",
    "columns": "observation", "scale": "observation", "clip": "observation",
}  # fmt: skip

_BY_LAYER = ("reset", "observation", "mask", "context", "key figures", "agents")
"""Layers that give a mutation its kind if it moves no other."""

_LEGAL = {
    "_write_legal", "write_legal", "can_append", "can_end", "in_time", "takes_bookings", "legal_place", "may_move",
    "_is_legal",
}  # fmt: skip
"""Functions that say what is legal, although some of them write it into the state."""

_PAID = {"load_deviation", "assignable", "miss_charge", "round_trip"}
"""Functions of a step that only the reward depends on."""

_SHOWN = {"_show_vehicle", "_fill_slot", "_move_slot", "_clear_slot"}
"""Functions that write columns of the observation into the state."""


def _kind(read: Module, what: str, operator: str, change: operators.Change) -> str:
    """Return the kind of a change within a function."""
    if read.name in _LEVELS or read.name.endswith(".sampling"):
        return "sampling"
    if "kernel_v2_" in read.name:
        return "variant"
    targets = _targets(change.statement)
    if what in _PAID or (targets and all(_is_paid(target) for target in targets)):
        return "reward"
    if any(target in ("s.terminated", "s.truncated") for target in targets):
        return "termination"
    if what in _LEGAL:
        return "mask"
    layers = frozenset().union(*layers_by_name()[(read.name, what)].values())
    if layers <= {"agents", "dynamics", "reward"} and "agents" in layers:
        return "agents"
    if operator == "draw":
        return "draw"
    return next((layer for layer in _BY_LAYER if layers == {layer}), _BY_OPERATOR[operator])


def _targets(statement: ast.stmt) -> list[str]:
    """Return what a statement writes, or what the statements under its condition write."""
    if isinstance(statement, ast.If):
        return [target for inner in (*statement.body, *statement.orelse) for target in _targets(inner)]
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets]
    return [ast.unparse(statement.target)] if isinstance(statement, ast.AugAssign) else []


def _is_paid(target: str) -> bool:
    """Return whether what is written is a reward, a sum of rewards, or on its way there."""
    return target.partition("[")[0] in ("s.terms", *_ON_THE_WAY, *_kept("reward"))


_ON_THE_WAY = ("usd", "driven", "rewards")
"""Local names whose value goes nowhere but into a reward."""


@cache
def _kept(layer: str) -> frozenset[str]:
    """Return the fields that only keep what this layer says, as they are written in kernels."""
    return frozenset(f"s.{field}" for id in IDS for field, of in derived(id).items() if of == layer)


def _layers(name: Name, kind: str, known: frozenset[str], ids: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which layers must be named, and which may be besides."""
    if kind in ("range", "sampling"):
        return frozenset({"randomization"}), frozenset()
    if known == {"parameters"}:
        return known, frozenset({"randomization"})  # the levels follow from nominal values and bounds
    if kind == "reward":  # what the agents get of it is theirs
        layers = frozenset({"agents" if "agents" in known else "reward"})
        return layers, _paid_out(ids) - layers
    if kind == "termination":
        return frozenset({"termination"}), frozenset({"dynamics", "reward", "mask"})  # the end of a day charges
    if "spec" in known:
        return frozenset({"spec"}), frozenset(LAYERS)
    around = {what for _, what in users(name) | {name}}
    if around & _LEGAL:
        known |= {"mask"}
    if around & _SHOWN:
        known |= {"observation"}
    return known, _along(known, ids)


def _along(known: frozenset[str], ids: Iterable[str]) -> frozenset[str]:
    """Return which layers may be named besides those that are ``known`` to move."""
    along = {"termination", "reward"} if "dynamics" in known else set()
    if known & {"dynamics", "reset"}:
        along |= {layer for id in ids for layer in derived(id).values()}
    if "reward" in known:
        along |= _paid_out(ids)
    return frozenset(along - known)


def _paid_out(ids: Iterable[str]) -> frozenset[str]:
    """Return the layer of agents who are paid what a step has kept for each of them: it moves as rewards do."""
    return frozenset({"agents"} if any("pay" in derived(id) for id in ids) else ())


def _mutation(read: Module, name: Name, label: str, kind: str, change: operators.Change) -> Mutation:
    """Return a change as a mutation: where it stands, what it touches."""
    touched = layers_by_name().get(name, dict.fromkeys(IDS, frozenset({"randomization"})))
    layers, along = _layers(name, kind, frozenset().union(*touched.values()), touched)
    edits = tuple((*_span(read, node), text) for node, text in change.edits)
    line = min(getattr(node, "lineno", 0) for node, _ in change.edits)
    told = "; ".join(f"{' '.join(read.source[start:end].split())} → {text}" for start, end, text in edits)
    file = str(read.path.relative_to(PACKAGE))
    nodes = tuple(node for node, _ in change.edits)
    return Mutation(label, file, line, f"{line}: {told}", kind, tuple(touched), layers, along, edits, (name,), nodes)


def _span(read: Module, node: ast.AST) -> tuple[int, int]:
    """Return where the text of a node begins and ends."""
    lines, starts = _lines(read.name)

    def at(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())  # columns count bytes

    begin = at(node.lineno, node.col_offset)
    return begin, at(node.end_lineno, node.end_col_offset)


@cache
def _lines(name: str) -> tuple[list[str], list[int]]:
    """Return the lines of a module, and where each begins."""
    lines = module(name).source.splitlines(keepends=True)
    return lines, [0, *accumulate(len(line) for line in lines)]
