"""``rlops replay``: an episode of a robustness report once more, as a film if wanted."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rlops.cli.options import terminal
from rlops.cli.robustness import data_of


def replay(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="Folder of a report, or its report.json.")],
    episode: Annotated[int, typer.Option(min=0, metavar="K", help="Number of the episode in the report's table.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE.mp4", help="Film of the episode.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the episode's row as JSON.")] = False,
) -> None:
    """Play an episode of a report again, bit for bit, and make its film.

    Exit codes: 0 it came out the same, 1 it did not, 2 wrong use, 3 internal error.
    """
    from rlops.agents_baseline.evaluate import finite
    from rlops.robustness import replay as replays
    from rlops.robustness.report import load

    content, _ = load(report)
    header = content["header"]
    files = {name: Path(told.rpartition(" sha256:")[0]) for name, told in header["data"].items() if name != "years"}
    named = {"demand": None, "weather": None, "load": None, **files}
    data = data_of(header["id"], named, header["data"].get("years"), {}, None)
    console = terminal()
    found = replays.replay(report, episode, data)
    if as_json:
        typer.echo(json_text.dumps(finite(found.episode)))
    else:
        place = f"{found.episode['part']}{' ' if found.episode['label'] else ''}{found.episode['label']}"
        console.print(
            f"[green]the same, bit for bit[/green]: episode {episode} ({place}), seed {found.episode['seed']}, return "
            f"{found.episode['return']:.6g} after {found.episode['steps']} steps",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if out is None:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task(f"film of episode {episode}", total=None, now="")
        count = replays.film(found, out, lambda now: bar.update(task, now=f"{now:.0f}"))
    if not as_json:
        console.print(
            f"[green]wrote[/green] {out} ({out.stat().st_size / 1e6:.1f} MB, {count} pictures)", soft_wrap=True
        )
