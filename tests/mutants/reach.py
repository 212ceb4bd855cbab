"""Which layers of which environments a name of the package can move: who calls and uses what, read from the sources.

A *name* is a function or a constant at the top of a module, written ``(module, name)``. What a kernel's verb reaches
through calls, constants and imports is what the verb's layer depends on, and nothing else can move that layer.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rlops.envs import FAMILIES, parse_id

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rlops"
IDS = tuple(id for family in FAMILIES for id in family.ids)

Name = tuple[str, str]

LAYERS = (
    "spec", "parameters", "randomization", "reset", "dynamics", "termination", "reward", "observation", "mask",
    "context", "key figures", "agents",
)  # fmt: skip
"""What ``rlops check`` says has moved."""

_VERBS = {
    "reset": "reset",
    "step": "dynamics",
    "observe": "observation",
    "mask": "mask",
    "context": "context",
    "kpis": "key figures",
    "step_agents": "joint step",
    "observe_agent": "agents",
    "mask_agent": "agents",
    "PARAMETERS": "parameters",
    **dict.fromkeys(("STATE", "ACTION", "OBSERVATION", "REWARD_TERMS", "KPIS", "CONTEXT", "INFO"), "spec"),
    **dict.fromkeys(("AGENTS", "AGENT_ACTION", "AGENT_OBSERVATION"), "spec"),
}
"""The layer that each name of a kernel makes."""

_VERBS_WITH_AN_ENGINE = {"act": "dynamics", "build": "dynamics", "SUBSTEPS": "dynamics", "STEP_MINUTES": "spec"}
"""Further names of a kernel that an engine moves: its steps are as long as constants say that others use."""

STEPPING = ("act", "build", "step", "step_agents")
"""The verbs that make a step."""

_SAMPLING = ("rlops.envs.sampling", "draw_parameters")


@dataclass(frozen=True)
class Module:
    """One source file and what its top level defines and imports."""

    name: str
    path: Path
    source: str
    tree: ast.Module
    defines: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Name] = field(default_factory=dict)


@cache
def module(name: str) -> Module:
    """Return a module of the package by its import path."""
    path = ROOT / (name.replace(".", "/") + ".py")
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    source = path.read_text()
    read = Module(name, path, source, ast.parse(source))
    for statement in read.tree.body:
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("rlops"):
            for alias in statement.names:
                read.imports[alias.asname or alias.name] = (str(statement.module), alias.name)
        for defined in defined_names(statement):
            read.defines.setdefault(defined, []).append(statement)
    return read


def defined_names(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        targets: list[ast.expr] = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    else:
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


@cache
def resolved(name: Name) -> Name | None:
    """Return where a name is defined, imports followed; None if it is no name of the package."""
    where, what = name
    found = module(where)
    if what in found.defines:
        return name
    return resolved(found.imports[what]) if what in found.imports and not _is_module(found.imports[what]) else None


def _is_module(name: Name) -> bool:
    path = ROOT / ".".join(name).replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def uses(name: Name) -> Iterator[Name]:
    """Yield the names of the package that the definition of ``name`` mentions."""
    where = module(name[0])
    for statement in where.defines[name[1]]:
        hidden = local_names(statement)
        for node in _walked(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found = None if node.id in hidden else resolved((name[0], node.id))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                imported = where.imports.get(node.value.id)
                found = resolved((".".join(imported), node.attr)) if imported and _is_module(imported) else None
            else:
                continue
            if found and found != name:
                yield found


def _walked(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all below it that may matter."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not only_seen(child):
            yield from _walked(child)


def only_seen(node: ast.AST) -> bool:
    """Return whether a node makes a shape of a robot that touches nothing."""
    makes = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Geom"
    return makes and not any(word.arg == "touches" for word in node.keywords)


@cache
def users(name: Name) -> frozenset[Name]:
    """Return the names that matter and mention ``name``."""
    return frozenset(other for other, used in _uses_by_name().items() if name in used)


@cache
def _uses_by_name() -> dict[Name, frozenset[Name]]:
    return {name: frozenset(uses(name)) for name in layers_by_name()}


@cache
def local_names(statement: ast.stmt) -> set[str]:
    """Return the names that a function binds itself; none of anything else."""
    if not isinstance(statement, ast.FunctionDef):
        return set()
    bound = {argument.arg for argument in statement.args.args}
    stored = (node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return bound | {node.id for node in stored}


def kernels(id: str) -> list[str]:
    """Return the kernel modules of an environment: its own, then those of its variants."""
    family, number = parse_id(id)
    kernel = family.kernel(number)
    return [kernel.__name__, *getattr(kernel, "VARIANTS", {}).values()]


@cache
def derived(id: str) -> dict[str, str]:
    """Return the fields of an environment's state that only keep what another layer says, and which."""
    kinds = [getattr(importlib.import_module(kernel), "DERIVED", {}) for kernel in kernels(id)]
    return {field: layer for fields in kinds for field, layer in fields.items()}


@cache
def reached(root: Name) -> frozenset[Name]:
    """Return every name that ``root`` depends on, itself included."""
    found, waiting = {root}, [root]
    while waiting:
        for used in uses(waiting.pop()):
            if used not in found:
                found.add(used)
                waiting.append(used)
    return frozenset(found)


@cache
def layers_by_name() -> dict[Name, dict[str, frozenset[str]]]:
    """Return for every name that matters: the environments that it matters to, and which layers it can move there."""
    table: dict[Name, dict[str, set[str]]] = {}

    def note(root: Name, id: str, layer: str) -> None:
        for name in reached(root):
            table.setdefault(name, {}).setdefault(id, set()).add(layer)

    for id in IDS:
        note(_SAMPLING, id, "randomization")
        for kernel in kernels(id):
            for verb, layer in _verbs(kernel).items():
                root = resolved((kernel, verb))
                if root is not None:
                    note(root, id, layer)
    return {name: {id: frozenset(_told(layers)) for id, layers in ids.items()} for name, ids in table.items()}


def _verbs(kernel: str) -> dict[str, str]:
    return _VERBS | (_VERBS_WITH_AN_ENGINE if resolved((kernel, "ENGINES")) else {})


def _told(layers: set[str]) -> set[str]:
    """Return layers as the check names them: what only the agents' step reaches may show in all that a step writes."""
    rest = layers - {"joint step"}
    return rest if rest & {"dynamics", "agents"} or rest == layers else rest | {"agents", "dynamics", "reward"}
