"""``rlops export``: an agent as arrays, and as a graph for other runtimes."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rlops.cli.options import terminal
from rlops.errors import InvalidFile, InvalidValue

if TYPE_CHECKING:
    from rlops.agents_baseline.export import Side
    from rlops.agents_baseline.policies import Policy


def export(
    agent: Annotated[Path, typer.Argument(metavar="AGENT", help="Folder that training wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write; created if needed.", show_default=False)],
    id: Annotated[str | None, typer.Option(metavar="ID", help="Environment; by default the one it says.")] = None,
    onnx: Annotated[bool, typer.Option(help="Also write policy.onnx.")] = False,
    int8: Annotated[bool, typer.Option(help="Also write policy.int8.onnx, with INT8 weights.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Decisions in which the runtimes are compared.")] = 2048,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write an agent as arrays and JSON, on request as ONNX, and measure how fast and faithful each is."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.export import compared, onnx_side, seen_by, write_int8, write_onnx
    from rlops.agents_baseline.policies import Policy

    if not agent.is_dir():
        raise InvalidFile(
            f"{agent} must be the folder of a trained agent, got none. Train one: rlops train ID --out DIR"
        )
    model = agent / "model.zip"
    if model.is_file():
        from rlops.agents_baseline.policies import of_model

        config = _configuration(agent)
        id = id or config.get("id")
        if id is None:
            raise InvalidValue(f"{agent} must say its environment in config.yaml, got none. Name it with --id.")
        trained: Any = load_agent(model, id)
        policy = of_model(trained.model, trained.algo, id, config)
    else:
        trained, policy = None, Policy.read(agent)
    file = policy.write(out)
    arrays = next(out.glob("policy-*.npz"))
    sides: dict[str, Any] = {}
    if trained is not None:
        sides["Stable-Baselines3"] = (partial(trained.actions, None), model.stat().st_size)
    sides["NumPy"] = (policy.actions, arrays.stat().st_size)
    if onnx or int8:
        graph = write_onnx(policy, out / "policy.onnx")
        sides["ONNX"] = (onnx_side(graph, policy.masked), graph.stat().st_size)
    if int8:
        small = write_int8(graph, out / "policy.int8.onnx")
        sides["ONNX INT8"] = (onnx_side(small, policy.masked), small.stat().st_size)
    found = compared(policy, sides, seen_by(policy, steps))
    if json:
        print(json_text.dumps({"policy": str(file), "id": policy.id, "runtimes": [asdict(side) for side in found]}))
        return
    console = terminal()
    console.print(side_table(policy, found, steps))
    console.print(f"Written to {out}", highlight=False)


def _configuration(agent: Path) -> dict[str, Any]:
    file = agent / "config.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    return content if isinstance(content, dict) else {}


def side_table(policy: Policy, sides: Sequence[Side], steps: int) -> Table:
    """Return the runtimes of a policy as a table."""
    title = f"{policy.algo} for {policy.id}: {steps:,} decisions in each runtime, against {sides[0].name}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("runtime")
    for column in ("size", "one row", "many rows", "equal", "greatest difference"):
        table.add_column(column, justify="right")
    for side in sides:
        off = "" if side.greatest is None else f"{side.greatest:.1e} of the range"
        table.add_row(
            side.name,
            f"{side.size_bytes / 1e3:,.0f} kB",
            f"{side.one_us:,.0f} µs",
            f"{side.rows_per_s / 1e3:,.0f} k/s",
            f"{side.equal:.2%}",
            off,
        )
    return table
