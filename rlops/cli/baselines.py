"""``rlops baselines``: train the baselines, judge them beside the controllers, and write the document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.options import Randomize, terminal
from rlops.cli.train import Algorithm, train_seeds_with_bar


def baselines(
    only: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Environment; repeatable; all without any.")
    ] = None,
    algo: Annotated[list[Algorithm] | None, typer.Option(help="Repeatable; all that have settings.")] = None,
    seeds: Annotated[str, typer.Option(metavar="0-4", help="One training each.")] = "0-4",
    episodes: Annotated[int, typer.Option(min=2, help="That every agent plays.")] = 100,
    randomize: Randomize = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the trainings.")] = Path("runs/baselines"),
    docs: Annotated[Path, typer.Option(metavar="FILE", help="The document; beside it, the same as JSON.")] = Path(
        "docs/baselines.md"
    ),
    ship: Annotated[bool, typer.Option(help="Take the best training of each into the package.")] = False,
) -> None:
    """Train the baselines over several seeds, judge them beside the controllers, and write the document.

    What is trained already is not trained again, and the document keeps what is not judged anew.
    """
    from rlops.agents_baseline import baselines as found
    from rlops.agents_baseline.seeds import parse_seeds

    console, wanted = terminal(), parse_seeds(seeds)
    for id in only or found.every_id():
        trained = {}
        for chosen in found.trainable(id):
            if algo is None or chosen in {one.value for one in algo}:
                name = chosen if randomize is None else f"{chosen}_{Path(randomize).stem}"
                folder = out / id.removeprefix("rlops/") / name
                trained[name] = train_seeds_with_bar(console, id, chosen, wanted, out=folder, randomization=randomize)
        told = found.judged(id, trained, episodes, lambda line: console.print(line, highlight=False))
        found.update(docs, id, told)
        for name, folders in trained.items() if ship else ():
            if found.beats_chance(told, name):
                console.print(f"[green]shipped[/green] {found.ship(id, name, folders, episodes)}", highlight=False)
            else:
                console.print(f"[yellow]not shipped[/yellow] {id} {name}: it is no better than random", highlight=False)
    console.print(f"[green]wrote[/green] {docs}")
