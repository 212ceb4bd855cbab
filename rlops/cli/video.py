"""``rlops video``: a day under an agent as a film."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rlops.cli.options import Demand, Id, LoadFile, Params, WeatherFile, Years, parameters, user_data


def video(
    id: Id,
    agent: Annotated[str, typer.Option(metavar="NAME|PATH", help="Controller or trained agent.")],
    out: Annotated[Path, typer.Option(metavar="FILE.mp4", help="File to write.")] = Path("day.mp4"),
    seed: Annotated[int, typer.Option(min=0, help="Of the day.")] = 0,
    demand: Demand = None,
    weather: WeatherFile = None,
    years: Years = None,
    load: LoadFile = None,
    param: Params = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Pictures per second.", show_default="20, v0: 4")] = None,
    gif: Annotated[bool, typer.Option("--gif", help="Write an animated GIF beside the film.")] = False,
) -> None:
    """Play a day and write it as an MP4 film, one picture a minute."""
    from rlops.agents_baseline.agents import load_agent
    from rlops.agents_baseline.video import write_gif, write_video

    data = user_data(id, demand, weather, load, years)
    dispatcher = load_agent(agent, id)
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[now]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{id} by {dispatcher.name}", total=None, now="")
        count = write_video(
            out,
            id,
            dispatcher,
            seed,
            params={**data.params, **parameters(param)},
            fps=fps,
            progress=lambda now: bar.update(task, now=f"minute {now:.0f}"),
            **data.options,
        )
        written = [out]
        if gif:
            bar.update(task, description="GIF", now="")
            written.append(write_gif(out, out.with_suffix(".gif")))
    for path in written:
        console.print(
            f"[green]wrote[/green] {path} ({path.stat().st_size / 1e6:.1f} MB, {count} pictures)",
            soft_wrap=True,
        )
