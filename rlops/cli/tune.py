"""``rlops tune``: search for hyperparameters, and say what that gained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rlops.cli.options import Id, Randomize, terminal
from rlops.cli.train import Algorithm, tell, training_bar
from rlops.envs import parse_id


def tune(
    id: Id,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study, which goes on if it is there.")],
    algo: Annotated[
        Algorithm | None, typer.Option(help="What is tuned.", show_default="maskable_ppo; ppo for vectors")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="That have ended at last, earlier ones included.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 200_000,
    episodes: Annotated[int, typer.Option(min=2, help="By which a trial is judged.")] = 50,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with what is searched; else what is usual.")
    ] = None,
    hyperparameters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with what all trials have beside the shipped ones.")
    ] = None,
    randomize: Randomize = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    confirm: Annotated[
        int, typer.Option(min=0, help="Trainings of the found and of the shipped ones that say what was gained.")
    ] = 3,
) -> None:
    """Search for hyperparameters with Optuna: write best.yaml, and confirm what it gains over the shipped ones."""
    from rlops.agents_baseline import tune as tuning
    from rlops.agents_baseline.train import read_hyperparameters

    console = terminal()
    family, number = parse_id(id)
    usual = Algorithm.maskable_ppo if isinstance(family.kernel(number).ACTION, int) else Algorithm.ppo
    name = (algo or usual).value
    search = tuning.Search(
        id, name, steps, episodes, tuning.SPACES[name] if space is None else tuning.read_space(space),
        read_hyperparameters(hyperparameters, name) if hyperparameters else {}, randomize,
    )  # fmt: skip
    with training_bar(console) as bar:
        task = bar.add_task(f"{trials} trials", total=None, told="")

        def look(trial: int, now: Any) -> None:
            bar.update(task, description=f"trial {trial}")
            tell(bar, task, now)

        def told(trial: Any) -> None:
            value = "" if trial.value is None or trial.state.name != "COMPLETE" else f"return {trial.value:,.1f}"
            bar.console.print(f"trial {trial.number} {trial.state.name.lower()} {value}", highlight=False)

        best = tuning.tune(search, trials, out=out, seed=seed, progress=look, told=told)
    table = Table("hyperparameter", "value", title=f"the best of {trials} trials")
    for one, value in best.items():
        table.add_row(one, _shown(value))
    console.print(table)
    if confirm:
        with training_bar(console) as bar:
            tasks: dict[tuple[str, int], Any] = {}

            def confirming(which: str, one: int, now: Any) -> None:
                if (which, one) not in tasks:
                    tasks[which, one] = bar.add_task(f"{which}, seed {one}", total=None, told="")
                tell(bar, tasks[which, one], now)

            found, shipped, gain = tuning.gained(search, best, out=out, seeds=confirm, progress=confirming)
        for label, said in (("found", found), ("shipped", shipped), ("gain", gain)):
            console.print(f"{label:8} return {said.value:,.1f} [{said.low:,.1f}, {said.high:,.1f}]", markup=False)
    console.print(f"[green]wrote[/green] {out / tuning.BEST_FILE}")
    console.print(f"train with it: rlops train {id} --algo {name} --hyperparameters {out / tuning.BEST_FILE} --out …")


def _shown(value: Any) -> str:
    """Return a hyperparameter as text: a schedule by its ends, numbers with as many digits as matter."""
    if isinstance(value, dict) and set(value) == {"start", "end"}:
        return f"{value['start']:.3g} … {value['end']:.3g}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
