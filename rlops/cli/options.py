"""Options that several verbs share, and what their values mean."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rlops.envs import parse_id
from rlops.errors import InvalidValue

Id = Annotated[
    str, typer.Argument(metavar="ID", help="Environment, for example rlops/Dispatch-v2.", show_default=False)
]
Played = Annotated[
    str,
    typer.Argument(
        metavar="ID|IMAGE", help="Environment, for example rlops/Dispatch-v2, or an image of one, dispatch:2.0.1.",
        show_default=False,
    ),
]  # fmt: skip
Demand = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Bookings: a CSV or Parquet file, or a YAML file that describes one."),
]
WeatherFile = Annotated[
    Path | None,
    typer.Option("--weather", metavar="FILE", help="Weather at a cooled hall: an EPW file, or a CSV by the hour."),
]
Years = Annotated[
    str | None,
    typer.Option(metavar="YEAR[-YEAR]", help="Only these years of the weather, for example 2020-2022."),
]
LoadFile = Annotated[
    Path | None, typer.Option("--load", metavar="FILE", help="Load of a cooled hall: a CSV of utilisation.")
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Another value of a parameter; repeatable."),
]
Engine = Annotated[
    str | None, typer.Option(metavar="NAME", help="Physics engine of a robot: mujoco or pybullet.", show_default=False)
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="On a cluster of Ray: auto, HOST:PORT, ray://HOST:PORT, or local.", show_default=False,
    ),
]  # fmt: skip
RealityProfile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="What stands for reality, for example a1: engine and parameters."),
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


def environment(text: str) -> tuple[str, str]:
    """Return id and image of an environment: an id has no image, and an image of the store says its id.

    Raises:
        MissingContent: If there is no such image.
        InvalidReference: If it may be another one tomorrow.
    """
    if not {":", "@"}.intersection(text):
        return text, ""
    from rlops.registry.labels import about_image
    from rlops.registry.references import Reference
    from rlops.registry.store import Store

    store = Store.default()
    return about_image(store, store.resolve(Reference.parse(text).checked_fixed())).id, text


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


def robot_options(id: str, engine: str | None, profile: str | None) -> dict[str, Any]:
    """Return the construction options of a robot: its engine, and the parameters of a reality profile."""
    options: dict[str, Any] = {} if engine is None else {"engine": engine}
    if profile is not None:
        from rlops.envs.robotics.profiles import reality

        options = {**reality(id, profile).options(), **options}
    return options


@dataclass(frozen=True)
class UserData:
    """The user's files, read.

    Attributes:
        options: Construction options of the environment, for example ``{"demand": …}``.
        params: Parameters that describe what was read.
        told: What was read, in a line each.
    """

    options: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def user_data(
    id: str,
    demand: Path | None = None,
    weather: Path | None = None,
    load: Path | None = None,
    years: str | None = None,
) -> UserData:
    """Return what the user's files say.

    An id that knows no such data gets the paths themselves, and says what it does know.
    """
    family, number = parse_id(id)
    known = getattr(family.kernel(number), "DATA_OPTION", None)
    if years is not None and weather is None:
        raise InvalidValue(f"--years chooses years of --weather, got {years} without a weather file. Name one.")
    options: dict[str, Any] = {} if demand is None else {"demand": demand}
    params: dict[str, Any] = {}
    told: list[str] = []
    if demand is not None and known == "demand":
        from rlops.envs.dispatch.demand import read_demand

        options["demand"] = bookings = read_demand(demand)
        params |= bookings.params()
        told.append(str(bookings))
    traces: dict[str, Any] = {}
    if weather is not None:
        from rlops.envs.cooling.weather import read_weather

        whole = read_weather(weather)
        traces["weather"] = whole if years is None else whole.years(*_years(years))
    if load is not None:
        from rlops.envs.cooling.load import read_load

        traces["load"] = read_load(load)
    if traces:
        options["traces"] = traces
        told += map(str, traces.values())
    return UserData(options, params, tuple(told))


def _years(text: str) -> range:
    """Return the years of ``2024`` or ``2020-2022``."""
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit() and int(first) <= int(last or first)):
        raise InvalidValue(f"--years must look like 2024 or 2020-2022, got {text!r}.")
    return range(int(first), int(last or first) + 1)
