"""Options that several verbs share, and what their values mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rlops.envs import parse_id
from rlops.errors import InvalidValue

Id = Annotated[
    str, typer.Argument(metavar="ID", help="Environment, for example rlops/Dispatch-v2.", show_default=False)
]
Demand = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Bookings: a CSV or Parquet file, or a YAML file that describes one."),
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Another value of a parameter; repeatable."),
]
Randomize = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL|FILE", help="Draw the parameters of every episode: mild, full, ood, or a YAML or JSON file."
    ),
]


def terminal() -> Console:
    """Return the console for output; a file or a pipe has 120 columns unless ``COLUMNS`` says otherwise."""
    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console() if wide else Console(width=120)


def parameters(assignments: list[str] | None) -> dict[str, Any]:
    """Return the parameters of ``NAME=VALUE`` texts; a value that is no number is the name of a choice."""
    values: dict[str, Any] = {}
    for assignment in assignments or []:
        name, sign, value = assignment.partition("=")
        if not (name and sign and value):
            raise InvalidValue(f"--param must look like NAME=VALUE, got {assignment!r}.")
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = value
    return values


def demand_of(id: str, file: Path | None) -> tuple[Any, dict[str, Any]]:
    """Return the demand in ``file`` (None without one) and the parameters that describe it.

    An id that knows no demand gets the path itself, and says what it does know.
    """
    family, number = parse_id(id)
    if file is None or getattr(family.kernel(number), "DATA_OPTION", None) != "demand":
        return file, {}
    from rlops.envs.dispatch.demand import read_demand

    demand = read_demand(file)
    return demand, demand.params()
