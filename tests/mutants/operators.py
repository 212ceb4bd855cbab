"""How one place of the sources is mutated: every operator yields the changes that it could make in one function.

A change is a replacement of the text of one or two nodes of the syntax tree; everything else keeps its text and its
line. Operators name what they do, not where: which environments and layers a change can move follows from
:mod:`tests.mutants.reach`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import filterfalse, pairwise
from typing import TypeGuard

from rlops.envs.contract import Parameter
from tests.mutants.reach import Module, module, only_seen, resolved

RELATIVE = 1e-6
"""By how much a number is moved."""

Edit = tuple[ast.AST, str]


@dataclass(frozen=True)
class Change:
    """What an operator would do: the statement that it touches, and new texts for nodes of it."""

    statement: ast.stmt
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class Place:
    """A node of a function, with what stands around it."""

    node: ast.AST
    statement: ast.stmt
    above: tuple[ast.AST, ...]
    """From the statement down to the node's parent."""

    def within(self, *kinds: type[ast.AST]) -> bool:
        """Return whether the node is part of one of these kinds of nodes."""
        return any(isinstance(node, kinds) for node in self.above)


Operator = Callable[[Module, ast.FunctionDef], Iterator[Change]]


def moved(value: float, by: float = RELATIVE) -> str:
    """Return a number moved by a share of it; from 0, by that much."""
    return repr(value * (1.0 + by) if value else by)


def places(function: ast.FunctionDef) -> Iterator[Place]:
    """Yield the nodes of a function's body, docstring left out, in the order of the text."""

    def below(node: ast.AST, statement: ast.stmt, above: tuple[ast.AST, ...]) -> Iterator[Place]:
        yield Place(node, statement, above)
        for child in filterfalse(only_seen, ast.iter_child_nodes(node)):
            inner = child if isinstance(child, ast.stmt) else statement
            yield from below(child, inner, () if inner is child else (*above, node))

    body = function.body[1:] if ast.get_docstring(function) else function.body
    for statement in body:
        yield from below(statement, statement, ())


def is_number(node: ast.AST, kind: type = float) -> bool:
    """Return whether a node is a literal number of exactly this type."""
    return isinstance(node, ast.Constant) and type(node.value) is kind


def is_call(node: ast.AST, *names: str) -> TypeGuard[ast.Call]:
    """Return whether a node calls one of these functions."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def written(node: ast.AST) -> str:
    """Return the text of a (changed) node, in brackets so that it may stand anywhere."""
    return f"({ast.unparse(node)})" if isinstance(node, ast.BinOp | ast.Compare | ast.BoolOp) else ast.unparse(node)


# --- numbers --------------------------------------------------------------------------------------------


def literal(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Move a number by 1e-6; not a threshold, which only a value in between would tell from the other."""
    for place in places(function):
        if is_number(place.node) and not place.within(ast.Compare):
            value = place.node.value
            if value:
                yield Change(place.statement, ((place.node, moved(value)),))


def weight(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Use a parameter as if it were larger by 1e-6; not where it is a threshold, a count or an index."""
    whole = _whole_parameters()
    if "p" not in {argument.arg for argument in function.args.args}:
        return
    for place in places(function):
        node = place.node
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "p":
            tested = any(isinstance(above, ast.If | ast.IfExp) and above.test is node for above in place.above)
            if node.attr not in whole and not tested and not place.within(ast.Compare, ast.Subscript):
                yield Change(place.statement, ((node, f"({ast.unparse(node)} * {1.0 + RELATIVE!r})"),))


@cache
def _whole_parameters() -> frozenset[str]:
    names = set()
    for where in ("dispatch.params", "dispatch.kernel_static", "robotics.params", "robotics.params_warehouse"):
        for call in ast.walk(module(f"rlops.envs.{where}").tree):
            if is_call(call, Parameter.__name__) and {"integer", "choices"} & {word.arg for word in call.keywords}:
                names.add(ast.literal_eval(call.args[0]))
    return frozenset(names)


def count(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Add one to a whole number of a calculation or a call; not to an index."""
    for place in places(function):
        parent = place.above[-1] if place.above else None
        if is_number(place.node, int) and isinstance(parent, ast.BinOp | ast.Call) and not place.within(ast.Subscript):
            value = place.node.value
            if value > 1:
                yield Change(place.statement, ((place.node, str(value + 1)),))


# --- comparisons and conditions -------------------------------------------------------------------------

_BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_CONTINUOUS = (
    "slot", "_min", "_km", "_usd", "km", "usd", "added", "usd_sum", "u", "_m", "_wh", "_lag_s", "_noise", "_step",
    "distance", "clearance", "speed", "work", "total", "part", "way", "ways", "near", "far", "best", "half", "square",
    "inside",
)  # fmt: skip
_PLACES = ("x", "y", "along_x", "along_y", "along")
_DISCRETE = ("now_min", "clock_min", "deadline_min")


def _is_discrete(node: ast.expr) -> bool:
    """Return whether a side of a comparison takes whole numbers only, as far as its names tell."""
    for part in ast.walk(node):
        name = part.attr if isinstance(part, ast.Attribute) else part.id if isinstance(part, ast.Name) else ""
        if isinstance(part, ast.Call):
            return False
        if name in _PLACES or (name and not name.isupper() and name not in _DISCRETE and name.endswith(_CONTINUOUS)):
            return False
    return True


def compare(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Move a threshold: across the boundary if both sides are whole numbers, else by one."""
    for place in places(function):
        if not isinstance(place.node, ast.Compare):
            continue
        sides = [place.node.left, *place.node.comparators]
        for k, operation in enumerate(place.node.ops):
            if type(operation) not in _BOUNDARY or any("inf" in ast.unparse(side) for side in sides[k : k + 2]):
                continue
            new = copy.deepcopy(place.node)
            if _is_discrete(sides[k]) and _is_discrete(sides[k + 1]):
                new.ops[k] = _BOUNDARY[type(operation)]()
            else:
                new.comparators[k] = ast.BinOp(new.comparators[k], ast.Add(), ast.Constant(1.0))
            yield Change(place.statement, ((place.node, ast.unparse(new)),))


def flip(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Turn ``==`` into ``!=``, ``and`` into ``or``, and the other way."""
    turned: dict[type, type] = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And}
    for place in places(function):
        if not isinstance(place.node, ast.Compare | ast.BoolOp):
            continue
        node = copy.deepcopy(place.node)
        if isinstance(node, ast.Compare) and type(node.ops[0]) in turned:
            node.ops[0] = turned[type(node.ops[0])]()
        elif isinstance(node, ast.BoolOp):
            node.op = turned[type(node.op)]()
        else:
            continue
        yield Change(place.statement, ((place.node, written(node)),))


# --- signs and statements -------------------------------------------------------------------------------


def sign(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Turn + into -, the other way, or a least into a greatest; not in an index or a bound of a loop."""
    turned: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
    for place in places(function):
        if not isinstance(place.node, ast.BinOp | ast.AugAssign | ast.Call):
            continue
        looped = isinstance(place.statement, ast.For | ast.While) or place.within(ast.Subscript)
        node = copy.deepcopy(place.node)
        counts = isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
        if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in turned and not looped and not counts:
            node.op = turned[type(node.op)]()
        elif is_call(node, "min", "max"):
            node.func = ast.Name("max" if ast.unparse(node.func) == "min" else "min")
        else:
            continue
        yield Change(place.statement, ((place.node, written(node)),))


_ENDS_A_LOOP = ("until_min", "event_min", "next_booking", "trial")


def lost(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Leave out a statement that writes the state; not one without which a loop would never end."""
    for place in places(function):
        node = place.node
        target: ast.expr | None = None
        if isinstance(node, ast.AugAssign):
            target = node.target
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(node.value, ast.Constant):
            target = node.targets[0]
        ends = target is not None and any(name in ast.unparse(target) for name in _ENDS_A_LOOP)
        if isinstance(target, ast.Attribute | ast.Subscript) and not ends:
            yield Change(place.statement, ((node, "pass"),))


# --- indices and names ----------------------------------------------------------------------------------

_PAIRS = (
    ("pickup", "dropoff"), ("north", "east"), ("x_km", "y_km"), ("amb", "wc"), ("ambulatory", "wheelchair"),
    ("earliest", "latest"), ("board", "alight"), ("_x", "_y"), ("qpos", "qvel"),
)  # fmt: skip


@cache
def _attributes(name: str) -> frozenset[str]:
    """Return the attributes that a module mentions."""
    return frozenset(node.attr for node in ast.walk(module(name).tree) if isinstance(node, ast.Attribute))


def swapped(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Take the other coordinate, the other end of the trip, the other kind of place."""
    for place in places(function):
        node = place.node
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            for one, other in (*_PAIRS, *((b, a) for a, b in _PAIRS)):
                name = node.attr.replace(one, other)
                if name != node.attr and name in _attributes(module.name):
                    new = copy.deepcopy(node)
                    new.attr = name
                    yield Change(place.statement, ((node, ast.unparse(new)),))


def index(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Read an array with another index of the same function: that of another vehicle, stop or node."""
    reads: dict[str, list[tuple[Place, ast.Name]]] = {}
    for place in places(function):
        node = place.node
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Name):
            reads.setdefault(ast.unparse(node.value), []).append((place, node.slice))
    for found in reads.values():
        names = sorted({slice.id for _, slice in found})
        for place, slice in found:
            if len(names) > 1:
                yield Change(place.statement, ((slice, names[(names.index(slice.id) + 1) % len(names)]),))


# --- draws ----------------------------------------------------------------------------------------------

_DRAWS: dict[str, tuple[int, int]] = {
    "stream_key": (2, 1),
    "_uniform": (1, 2),
    "_normal": (1, 2),
    **dict.fromkeys(("uniform", "normal", "integer", "exponential"), (-1, 1)),
}
"""Functions that draw: which argument is the stream (-1: none), and which the entity or the step."""


def stream_of(node: ast.AST) -> ast.Name | None:
    """Return the stream that a call draws from, if it names one."""
    if not is_call(node, *_DRAWS):
        return None
    at = _DRAWS[ast.unparse(node.func)][0]
    stream = node.args[at] if 0 <= at < len(node.args) else None
    return stream if isinstance(stream, ast.Name) else None


def streams_beside(where: Module, name: str) -> list[str]:
    """Return the streams that are declared together with ``name``."""
    home = resolved((where.name, name))
    for statement in module(home[0]).defines[home[1]] if home else ():
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple):
            return [node.id for node in statement.targets[0].elts if isinstance(node, ast.Name)]
    return []


def draw(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Draw from another stream, for the next entity, or with the key of the next step."""
    for place in places(function):
        node = place.node
        if not is_call(node, *_DRAWS):
            continue
        later_at = _DRAWS[ast.unparse(node.func)][1]
        later = node.args[later_at] if later_at < len(node.args) else None
        stream = stream_of(node)
        if stream is not None:
            beside = [n for n in streams_beside(module, stream.id) if n != stream.id and n in _known(module)]
            if beside:
                yield Change(place.statement, ((stream, beside[len(stream.id) % len(beside)]),))
        if later is not None:
            yield Change(place.statement, ((later, f"{ast.unparse(later)} + 1"),))


def _known(where: Module) -> set[str]:
    return {*where.defines, *where.imports}


# --- columns --------------------------------------------------------------------------------------------


def _is_column(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Subscript):
        return False
    column = statement.targets[0]
    return ast.unparse(column.value) in ("out", "s.seen") and not isinstance(column.slice, ast.Slice)


def columns(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Swap two neighbouring columns."""
    for place in places(function):
        for name in ("body", "orelse"):
            body = getattr(place.node, name, None)
            yield from _neighbours(body if isinstance(body, list) else [])
    yield from _neighbours(function.body)


def _neighbours(body: list[ast.stmt]) -> Iterator[Change]:
    for one, other in pairwise(body):
        if _is_column(one) and _is_column(other):
            a, b = one.targets[0], other.targets[0]
            yield Change(one, ((a, ast.unparse(b)), (b, ast.unparse(a))))


def scale(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Make a column larger by 1e-6; not one of a mask, which is a whole number."""
    if function.name.startswith("mask"):
        return
    for place in places(function):
        node = place.node
        if isinstance(node, ast.Assign) and _is_column(node) and not isinstance(node.value, ast.Constant):
            yield Change(node, ((node.value, f"({ast.unparse(node.value)}) * {1.0 + RELATIVE!r}"),))


def clip(module: Module, function: ast.FunctionDef) -> Iterator[Change]:
    """Clip a column otherwise."""
    narrower = {"-1.0": "-0.5", "0.0": "0.25", "1.0": "0.5"}
    for place in places(function):
        node = place.node
        if is_call(node, "_clip", "_clipped", "min", "max") and _is_column(place.statement):
            bound = ast.unparse(node.args[-1])
            if bound in narrower:
                yield Change(place.statement, ((node.args[-1], narrower[bound]),))


OPERATORS: dict[str, Operator] = {
    operator.__name__: operator
    for operator in (literal, weight, count, compare, flip, sign, lost, swapped, index, draw, columns, scale, clip)
}
"""By name, in the order in which a catalogue takes them."""
