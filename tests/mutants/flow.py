"""Which layers of a step a number can move: where it goes within the functions of the kernels, read from the sources.

What a step reaches can move anything that a step writes; but a price only ever goes into rewards, and a limit only into
whether an episode ends. So a number is followed from where it stands through local names, conditions, arguments and
results into the fields of the state that are written with it. It is not followed through the state itself, for that is
what the check judges by: a field that has moved is a cause, and what it then moves its consequence.

Where in doubt, more is taken for written than is: after a condition that may leave a function or a loop, all the rest.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from tests.mutants.reach import STEPPING, Name, derived, kernels, local_names, module, reached, resolved

_LEAVES = ast.Return | ast.Break | ast.Continue


@dataclass(frozen=True)
class Source:
    """What is followed: constants, or nodes of the syntax tree of a function, by their identity."""

    names: frozenset[Name] = frozenset()
    nodes: frozenset[int] = frozenset()
    function: Name | None = None

    def within(self, name: Name) -> bool:
        """Return whether a call of the function ``name`` comes by."""
        return self.function in reached(name) or not self.names.isdisjoint(reached(name))


def source_of(name: Name, nodes: Iterable[ast.AST] = ()) -> Source:
    """Return some nodes within the function ``name``, or, of a constant, it and those that are made of it."""
    if isinstance(module(name[0]).defines[name[1]][0], ast.FunctionDef):
        return Source(nodes=frozenset(id(node) for node in nodes), function=name)
    return Source(names=_made_of(name))


@cache
def _made_of(name: Name) -> frozenset[Name]:
    return frozenset(
        one
        for one in _step_names()
        if name in reached(one) and not isinstance(module(one[0]).defines[one[1]][0], ast.FunctionDef)
    )


@cache
def _step_names() -> frozenset[Name]:
    """Return everything that the steps of all kernels reach."""
    from tests.mutants.reach import IDS

    roots = [_root(kernel, verb) for id in IDS for kernel in kernels(id) for verb in STEPPING]
    return frozenset().union(*(reached(root) for root in roots if root is not None))


def _root(kernel: str, verb: str) -> Name | None:
    return resolved((kernel, verb))


def layers_of_a_step(source: Source, ids: Iterable[str]) -> frozenset[str]:
    """Return the layers that ``source`` can move within a step of these environments."""
    return frozenset().union(*(_of_one(source, id) for id in ids))


@cache
def _of_one(source: Source, id: str) -> frozenset[str]:
    kinds = {"terms": "reward", "terminated": "termination", "truncated": "termination", **derived(id)}
    found: set[str] = set()
    for kernel in kernels(id):
        for verb in STEPPING:
            root = _root(kernel, verb)
            if root is not None:
                written = written_by(root, source)
                found |= {kinds.get(one, "dynamics") for one in written.fields}
                found |= {"agents"} if verb == "step_agents" and written.arguments else set()
                found |= {"dynamics"} if verb == "build" and written.returned else set()
    return frozenset(found)


@dataclass(frozen=True)
class Written:
    """Where something goes from a function.

    Attributes:
        fields: Of the state.
        arguments: Arrays that the function was given.
        returned: Whether it decides what the function returns.
    """

    fields: frozenset[str] = frozenset()
    arguments: frozenset[str] = frozenset()
    returned: bool = False


@cache
def written_by(name: Name, source: Source, given: frozenset[str] = frozenset(), all: bool = False) -> Written:
    """Return where ``source`` goes from a call of the function ``name``.

    Args:
        name: The function.
        source: What is followed.
        given: Arguments that depend on it.
        all: Whether it depends on it that the function is called.
    """
    if not given and not all and not source.within(name):
        return Written()
    return _Followed(name, source, set(given), all).written()


@dataclass
class _Followed:
    """One function, walked until nothing more is found to depend on the source."""

    name: Name
    source: Source
    known: set[str]
    """Local names that depend on it."""
    all: bool
    fields: set[str] = field(default_factory=set)
    arguments: set[str] = field(default_factory=set)
    returned: bool = False

    def written(self) -> Written:
        function = module(self.name[0]).defines[self.name[1]][0]
        assert isinstance(function, ast.FunctionDef)
        self.parameters = {argument.arg for argument in function.args.args}
        self.hidden = local_names(function)
        self.views = _views(function)
        before: object = None
        while before != (before := (len(self.known), len(self.fields), len(self.arguments), self.returned, self.all)):
            self.walk(function.body, self.all)
        return Written(frozenset(self.fields), frozenset(self.arguments), self.returned)

    def walk(self, body: list[ast.stmt], hangs: bool) -> None:
        """Take statements; ``hangs``: whether it depends on the source that they are reached."""
        for statement in body:
            self.statement(statement, hangs or self.all)

    def statement(self, statement: ast.stmt, hangs: bool) -> None:
        itself = hangs or id(statement) in self.source.nodes
        if isinstance(statement, ast.If | ast.While | ast.For):
            decides = self.depends(statement.iter if isinstance(statement, ast.For) else statement.test)
            inner = itself or decides
            if isinstance(statement, ast.For) and decides:
                self.write(statement.target)
            self.walk(statement.body, inner)
            self.walk(statement.orelse, inner)
            if inner and any(isinstance(node, _LEAVES) for part in statement.body for node in ast.walk(part)):
                self.all = True
        elif isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target, value in _pairs(statement):
                if self.depends(value) | itself | self.depends_place(target):
                    self.write(target)
        elif isinstance(statement, ast.Return):
            self.returned |= itself or (statement.value is not None and self.depends(statement.value))
        elif isinstance(statement, ast.Expr) and (self.depends(statement.value, itself) or itself):
            changed = _called_on(statement.value)
            if changed is not None and changed.id in self.hidden:
                self.write(changed)

    def depends_place(self, target: ast.expr) -> bool:
        """Return whether it depends on the source where ``target`` is."""
        parts = _parts(target)
        indices = [part.slice for part in parts if isinstance(part, ast.Subscript)]
        return any(id(part) in self.source.nodes for part in parts) or any(self.depends(index) for index in indices)

    def write(self, target: ast.expr) -> None:
        if isinstance(target, ast.Tuple):
            for one in target.elts:
                self.write(one)
            return
        part = isinstance(target, ast.Subscript)
        target = _whole(target)
        if isinstance(target, ast.Attribute):
            self.fields.add(target.attr)
        elif isinstance(target, ast.Name):
            self.known.add(target.id)
            if part and target.id in self.views:
                self.fields.add(self.views[target.id])
            if target.id in self.parameters:
                self.arguments.add(target.id)

    def depends(self, node: ast.AST, hangs: bool = False) -> bool:
        """Return whether the value of ``node`` depends on the source; note what calls within it write."""
        if isinstance(node, ast.Call):
            called = self.called(node)
            if called is not None:
                return self.call(node, called, hangs) or id(node) in self.source.nodes
        found = id(node) in self.source.nodes
        if isinstance(node, ast.Name):
            found |= node.id in self.known or (
                node.id not in self.hidden and resolved((self.name[0], node.id)) in self.source.names
            )
        for child in _children(node):
            found |= self.depends(child, hangs)
        return found

    def called(self, node: ast.Call) -> Name | None:
        """Return the function of the package that is called."""
        name = resolved((self.name[0], node.func.id)) if isinstance(node.func, ast.Name) else None
        if name is None or not isinstance(module(name[0]).defines[name[1]][0], ast.FunctionDef):
            return None
        return name

    def call(self, node: ast.Call, called: Name, hangs: bool) -> bool:
        """Note what a call writes and return whether its result depends on the source."""
        function = module(called[0]).defines[called[1]][0]
        assert isinstance(function, ast.FunctionDef)
        given = dict(zip((argument.arg for argument in function.args.args), node.args, strict=False))
        given |= {word.arg: word.value for word in node.keywords if word.arg}
        if function.args.vararg:
            given[function.args.vararg.arg] = ast.Tuple(node.args[len(function.args.args) :])
        moved = frozenset(name for name, value in given.items() if self.depends(value))
        written = written_by(called, self.source, moved, hangs)
        self.fields |= written.fields
        for name in written.arguments:
            self.write(given[name])
        return written.returned


def _called_on(node: ast.expr) -> ast.Name | None:
    """Return the local name whose method is called, which may change what it stands for."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return node.func.value
    return None


def _whole(target: ast.expr) -> ast.expr:
    """Return the array that ``target`` is a part of, or itself."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target


def _views(function: ast.FunctionDef) -> dict[str, str]:
    """Return the local names that stand for a field of the state or a row of it, and which."""
    pairs = (pair for node in ast.walk(function) if isinstance(node, ast.Assign) for pair in _pairs(node))
    named = ((target.id, _whole(value)) for target, value in pairs if isinstance(target, ast.Name))
    return {name: whole.attr for name, whole in named if isinstance(whole, ast.Attribute)}


@cache
def _children(node: ast.AST) -> tuple[ast.AST, ...]:
    return tuple(ast.iter_child_nodes(node))


@cache
def _parts(node: ast.AST) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(node))


def _pairs(statement: ast.Assign | ast.AugAssign | ast.AnnAssign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what is written with what: of ``a, b = 1, 2`` both."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    for target in targets:
        value = statement.value
        assert value is not None
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from zip(target.elts, value.elts, strict=True)
        else:
            yield target, value
