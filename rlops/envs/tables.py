"""Markdown tables of a family, generated from its declarations so that they cannot drift.

``python -m rlops.envs.tables`` (``make docs``) rewrites every region of a README between
``<!-- table: NAME ID -->`` and ``<!-- end -->``; a test fails when one is stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

from rlops.envs import FAMILIES, parse_id
from rlops.envs.contract import Column, Family, agent_observations

_REGION = re.compile(r"(<!-- table: (?P<table>\w+) (?P<id>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _number(value: float) -> str:
    return {float("inf"): "∞", float("-inf"): "-∞"}.get(value, f"{value:g}")


def _unit(unit: str) -> str:
    return "" if unit == "-" else unit


def parameters(family: Family, number: int) -> str:
    """Return the table of a version's parameters: name, unit, nominal, bounds, what is plausible, kind, source."""
    nominal = family.nominal(number)[0]
    return markdown(
        ("parameter", "unit", "nominal", "bounds", "plausible", "kind", "source"),
        (
            (
                f"`{p.name}`",
                _unit(p.unit),
                p.choices[int(nominal[p.name])] if p.choices else _number(nominal[p.name]),
                ", ".join(p.choices) if p.choices else f"{_number(p.low)} … {_number(p.high)}",
                f"{_number(p.plausible[0])} … {_number(p.plausible[1])}" if p.plausible else "",
                p.kind,
                p.source,
            )
            for p in family.kernel(number).PARAMETERS
        ),
    )


def _runs(columns: tuple[Column, ...]) -> list[tuple[int, int, str, Column]]:
    """Return ``columns`` with equal meanings gathered: (first, how many, name, one of them).

    Repeated things (``slot_0_due``, ``slot_1_due`` …) are one row of the table.
    """
    rows: list[tuple[int, int, str, Column]] = []
    places: dict[tuple[object, ...], int] = {}
    at = 0
    for column in columns:
        name = re.sub(r"_\d+(?=_|$)", "_i", column.name)
        key = (name, column.unit, column.low, column.high, column.meaning)
        if key in places:
            first, count, *_ = rows[places[key]]
            rows[places[key]] = (first, count + column.count, name, column)
        else:
            places[key] = len(rows)
            rows.append((at, column.count, name, column))
        at += column.count
    return rows


def observation(family: Family, number: int) -> str:
    """Return the table of what a version observes; ``×`` says how often a column is repeated."""
    return _columns(family.kernel(number).OBSERVATION)


def agent_observation(family: Family, number: int) -> str:
    """Return the table of what an agent of the parallel face observes; a table each if they differ."""
    kernel = family.kernel(number)
    each = agent_observations(kernel)
    tables = []
    for columns in dict.fromkeys(each):
        names = [agent for agent, own in zip(kernel.AGENTS, each, strict=True) if own == columns]
        tables.append((f"`{names[0]}` … `{names[-1]}`" if len(names) > 1 else f"`{names[0]}`", _columns(columns)))
    return tables[0][1] if len(tables) == 1 else "\n".join(f"{title}:\n\n{table}" for title, table in tables)


def kpis(family: Family, number: int) -> str:
    """Return the table of a version's key figures."""
    return _columns(family.kernel(number).KPIS, places=False)


def _columns(columns: tuple[Column, ...], places: bool = True) -> str:
    head = ("first", "×") if places else ()
    return markdown(
        (*head, "column", "unit", "bounds", "meaning"),
        (
            (
                *((first, count) if places else ()),
                f"`{name}`",
                _unit(column.unit),
                f"{_number(column.low)} … {_number(column.high)}",
                column.meaning,
            )
            for first, count, name, column in _runs(columns)
        ),
    )


def versions(family: Family, number: int) -> str:
    """Return the version history of a family: id and reason (``number`` is not used)."""
    return markdown(("id", "why"), ((f"`{id}`", v.reason) for id, v in zip(family.ids, family.versions, strict=True)))


TABLES: dict[str, Callable[[Family, int], str]] = {
    f.__name__: f for f in (parameters, observation, agent_observation, kpis, versions)
}


def refreshed(text: str) -> str:
    """Return ``text`` with all its table regions made anew."""
    return _REGION.sub(lambda m: f"{m[1]}{TABLES[m['table']](*parse_id(m['id']))}{m[4]}", text)


def readmes() -> list[Path]:
    """Return the READMEs of all families, each once."""
    import importlib

    modules = {family.versions[0].kernel.rpartition(".")[0] for family in FAMILIES}
    folders = [Path(str(importlib.import_module(name).__file__)).parent for name, _ in groupby(sorted(modules))]
    return [folder / "README.md" for folder in folders]


if __name__ == "__main__":
    for path in readmes():
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
