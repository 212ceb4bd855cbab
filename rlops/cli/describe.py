"""``rlops describe``: what an environment consists of, from the declarations that it is made of."""

from __future__ import annotations

import importlib
from typing import Any

from rich.table import Table

from rlops.cli.options import Id, terminal
from rlops.envs import parse_id
from rlops.envs.contract import Column, agent_actions, agent_observations, width


def describe(id: Id) -> None:
    """Show versions, parameters, observation, actions, reward terms, key figures and the dynamics' fingerprint."""
    from rlops.registry.dynamics.fingerprint import fingerprint
    from rlops.registry.dynamics.kernels import KernelSubject

    family, number = parse_id(id)
    kernel = family.kernel(number)
    console = terminal()
    console.print(f"[bold]{id}[/bold]  {family.story}\n", highlight=False)
    versions = _table("Versions", "id", "reason")
    for version, name in zip(family.versions, family.ids, strict=True):
        versions.add_row(f"[bold]{name}[/bold]" if version.number == number else name, version.reason)
    console.print(versions)
    console.print(_parameters(family, number, kernel))
    if isinstance(kernel.ACTION, int):
        console.print(f"[bold]Action[/bold]  one of {kernel.ACTION}, 0 … {kernel.ACTION - 1}\n", highlight=False)
    else:
        console.print(_columns(f"Action ({width(kernel.ACTION)} numbers)", kernel.ACTION))
    for option, module in getattr(kernel, "VARIANTS", {}).items():
        variant = importlib.import_module(module)
        told = (variant.__doc__ or "").partition("\n")[0].partition(": ")[2]
        console.print(f"[bold]{option}=True[/bold]  one of {variant.ACTION}: {told}\n", highlight=False)
    console.print(_columns(f"Observation ({width(kernel.OBSERVATION)} numbers)", kernel.OBSERVATION))
    if getattr(kernel, "AGENTS", ()):
        for (seen, done), agents in _alike(kernel).items():
            who = f"each of {len(agents)} agents" if len(agents) > 1 else agents[0]
            does = f"choosing one of {done}" if isinstance(done, int) else "wanting " + ", ".join(c.name for c in done)
            console.print(_columns(f"What {who} observes, {does} ({width(seen)} numbers)", seen))
    console.print(f"[bold]Reward terms[/bold]  {', '.join(kernel.REWARD_TERMS)}\n", highlight=False)
    console.print(_columns("Key figures at the end of an episode", getattr(kernel, "KPIS", ())))
    with console.status("playing the version for its fingerprint"):
        found = fingerprint(KernelSubject(id))
    console.print(f"[bold]Fingerprint[/bold]  {found}", highlight=False)


def _alike(kernel: Any) -> dict[tuple[Any, Any], list[str]]:
    """Return the agents by what they observe and do."""
    alike: dict[tuple[Any, Any], list[str]] = {}
    for agent, seen, done in zip(kernel.AGENTS, agent_observations(kernel), agent_actions(kernel), strict=True):
        alike.setdefault((seen, done), []).append(agent)
    return alike


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    for name in columns:
        table.add_column(name, justify="right" if name in ("nominal", "low", "high", "count") else "left")
    return table


def _parameters(family: Any, number: int, kernel: Any) -> Table:
    table = _table("Parameters", "name", "unit", "nominal", "bounds", "plausible", "effect", "kind", "source")
    nominal = family.nominal(number)
    for one in kernel.PARAMETERS:
        value = float(nominal[one.name][0])
        shown = one.choices[int(value)] if one.choices else f"{value:g}"
        plausible = f"{one.plausible[0]:g} … {one.plausible[1]:g}" if one.plausible else ""
        told = (f"{one.low:g} … {one.high:g}", plausible, one.effect, one.kind, one.source)
        table.add_row(one.name, one.unit, shown, *told)
    return table


def _columns(title: str, columns: tuple[Column, ...]) -> Table:
    """Return a table of ``columns``, those of the same name and meaning counted together."""
    counts: dict[tuple[str, ...], int] = {}
    for one in columns:
        row = (one.name, one.unit, f"{one.low:g}", f"{one.high:g}", one.meaning)
        counts[row] = counts.get(row, 0) + one.count
    table = _table(title, "name", "count", "unit", "low", "high", "meaning")
    for (name, *rest), count in counts.items():
        table.add_row(name, str(count), *rest)
    return table
