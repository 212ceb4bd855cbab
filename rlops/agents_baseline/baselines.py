"""Every baseline of every id: trained over several seeds, judged beside the hand-written controllers, in one document.

``rlops baselines`` trains what ``hyperparameters/`` describes, lets all play the same episodes, writes
``docs/baselines.json`` and from it ``docs/baselines.md``, and takes the best training of each into the package.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import ALGORITHMS, Agent, load_agent, shipped_folder
from rlops.agents_baseline.controllers import controllers_for, make_controller, reference_for
from rlops.agents_baseline.evaluate import COMPLETION, SERVED, SUCCESS, evaluate, least_share, save_json
from rlops.agents_baseline.policies import Policy
from rlops.agents_baseline.train import PROGRESS_FILE, hyperparameters
from rlops.envs import FAMILIES
from rlops.errors import InvalidFile, InvalidValue
from rlops.files import written
from rlops.robustness.statistics import iqm, nested_bootstrap

JUDGED, CHOSEN = 20_000, 30_000
"""First seeds of the episodes by which agents are judged, and of those by which the one that is shipped is chosen."""
EPISODES = 100
SLOW = ("rolling_horizon",)
"""Controllers that search for minutes a day: they are left out."""
_HEAD = """# Baselines

Every released environment, the hand-written controllers, and agents of Stable-Baselines3 with the shipped
hyperparameters (`rlops/agents_baseline/hyperparameters/`). This page is written by

```console
$ make baselines
$ rlops baselines --only rlops/CartBalance-v0 --seeds 0-4   # a part of it
```

All agents of a table play the same episodes, which no training has met. *Return* is the mean, *middle half* the
interquartile mean, over the episodes of all training seeds; brackets are 95 % intervals by a bootstrap over training
seeds and their episodes (of a controller: over episodes). *Against* is the difference in return to the controller of
reference, episode by episode: an agent is **better** or **worse** if the interval of the mean excludes zero.

`ppo_full` was trained with everything that is plausible drawn anew in every episode (`--randomize full`,
[randomization.md](randomization.md)) and plays the nominal world here: what robustness costs there. What it is worth
elsewhere, a robustness report says ([robustness.md](robustness.md)). Of every agent that beats `random` the training
seed with the highest return in other episodes than those here comes with the package and is loaded by its name:
`--agent ppo`. Minutes are those of training one seed on the machine of the run, which did other work beside it.

How far heuristics stay above published optima of static dispatch: [Static](../rlops/envs/dispatch/README.md#static).
"""


def trainable(id: str) -> tuple[str, ...]:
    """Return the algorithms whose shipped hyperparameters say how many steps suffice for an environment."""
    return tuple(algo for algo in ALGORITHMS if _has_settings(id, algo))


def _has_settings(id: str, algo: str) -> bool:
    try:
        return "steps" in hyperparameters(id, algo)
    except InvalidValue:
        return False


def ship(id: str, name: str, folders: Sequence[Path], episodes: int) -> Path:
    """Take the training with the highest mean return in other episodes into the package; return its folder there."""
    best = best_of(id, folders, episodes)
    folder = shipped_folder(id) / name
    Policy.read(best).write(folder)
    return folder


def update(file: Path, id: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write into ``file`` and its JSON what was found of an environment, beside what they say of others.

    Raises:
        InvalidFile: If the JSON is not what an earlier run wrote.
    """
    entries = _read(file.with_suffix(".json"))
    entries[id] = {**entries.get(id, {}), **found}
    entries = {name: entries[name] for name in every_id() if name in entries}
    save_json(file.with_suffix(".json"), entries)
    with written(file) as partial:
        partial.write_text(document(entries), encoding="utf-8")


def every_id() -> list[str]:
    """Return the ids of all released environments."""
    return [id for family in FAMILIES for id in family.ids]


def judged(
    id: str, trained: Mapping[str, Sequence[Path]], episodes: int, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Let controllers and trained agents play the same episodes and return what is said of each.

    Args:
        id: The environment.
        trained: Folders of trainings by the name of what they trained, one a seed.
        episodes: That each plays.
        tell: Called with a line for every agent.
    """
    seeds = range(JUDGED, JUDGED + episodes)
    reference = reference_for(id)
    groups: dict[str, list[Agent]] = {
        name: [make_controller(name, id)] for name in controllers_for(id) if name not in SLOW
    }
    groups |= {name: [load_agent(folder, id) for folder in folders] for name, folders in trained.items()}
    if reference is not None:  # first, so that the others can be compared with it
        groups = {reference.name: groups.pop(reference.name), **groups}
    found: dict[str, dict[str, Any]] = {}
    theirs: np.ndarray | None = None
    for name, agents in groups.items():
        tables = [evaluate(id, one, seeds, latency=False).table for one in agents]
        returns = np.array([table["return"] for table in tables])
        theirs = returns if theirs is None else theirs
        entry: dict[str, Any] = {
            "trained": name in trained,
            "seeds": len(agents),
            "episodes": episodes,
            "return": vars(nested_bootstrap(returns, _mean)),
            "iqm": vars(nested_bootstrap(returns, iqm)),
        }
        if reference is not None and name != reference.name:
            entry |= {"reference": reference.name, "against": vars(nested_bootstrap(returns - theirs, _mean))}
        columns = tables[0].dtype.names or ()
        for figure in _FIGURES:
            if figure in columns:
                entry |= {"figure": figure, "share": float(np.mean([table[figure] for table in tables]))}
        if SUCCESS in columns:
            entry["at_least"] = [least_share(int(table[SUCCESS].sum()), episodes) for table in tables]
        if name in trained:
            entry |= {"steps": int(Policy.read(trained[name][0]).trained["steps"]), "minutes": _minutes(trained[name])}
        found[name] = entry
        tell(f"{id} {name}: return {entry['return']['value']:,.1f}")
    return found


def beats_chance(found: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    """Return whether an agent has a higher mean return than ``random``: one that has not is not worth shipping."""
    return bool(found[name]["return"]["value"] > found["random"]["return"]["value"])


def best_of(id: str, folders: Sequence[Path], episodes: int) -> Path:
    """Return the training with the highest mean return in episodes by which none is judged."""
    seeds = range(CHOSEN, CHOSEN + episodes)
    means = [evaluate(id, load_agent(one, id), seeds, latency=False).table["return"].mean() for one in folders]
    return folders[int(np.argmax(means))]


def _minutes(folders: Sequence[Path]) -> float | None:
    """Return the median of how long the trainings took [min], as far as they have logged it; None: none has."""
    found = []
    for folder in folders:
        if not (folder / PROGRESS_FILE).is_file():
            continue
        with (folder / PROGRESS_FILE).open(encoding="utf-8", newline="") as file:
            times_s = [float(row["time/time_elapsed"]) for row in csv.DictReader(file) if row.get("time/time_elapsed")]
        found += times_s[-1:]
    return float(np.median(found)) / 60 if found else None


def _mean(values: np.ndarray) -> np.ndarray:
    mean: np.ndarray = values.mean(axis=-1)
    return mean


def _read(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InvalidFile(f"{file} must be what an earlier run wrote, got: {error}. Remove it.") from None


def document(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the document of what was said of each agent of each environment."""
    return "\n".join([_HEAD, *(_section(id, agents) for id, agents in entries.items() if agents)])


def _section(id: str, agents: Mapping[str, Any]) -> str:
    told = sorted(agents.items(), key=lambda one: -one[1]["return"]["value"])
    figure = next((one["figure"] for _, one in told if "figure" in one), "")
    reference = next((one["reference"] for _, one in told if "reference" in one), "")
    heads = ["agent", "seeds × episodes", "return", "middle half", *([_FIGURES[figure]] if figure else [])]
    heads += [f"against `{reference}`"] if reference else []
    lines = [f"## {id}\n", _row(heads), _row(["---"] * len(heads))]
    for name, one in told:
        cells = [_named(name, one), f"{one['seeds']} × {one['episodes']}", _ranged(one["return"]), _ranged(one["iqm"])]
        cells += [_share(one)] if figure else []
        cells += [_verdict(one)] if reference else []
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


_FIGURES = {SUCCESS: "success (at least, seed by seed)", COMPLETION: "completed", SERVED: "served"}


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _named(name: str, one: Mapping[str, Any]) -> str:
    if not one["trained"]:
        return f"`{name}`"
    minutes = "" if one["minutes"] is None else f", {max(1, one['minutes']):.0f} min"
    return f"**{name}**, {one['steps'] / 1e6:g} M steps{minutes}"


def _ranged(interval: Mapping[str, float], signed: bool = False) -> str:
    """Return a value with its interval, with as many digits as the interval is worth."""
    wide = abs((interval["high"] or 0) - (interval["low"] or 0))
    digits = int(np.clip(1 - np.floor(np.log10(wide)), 0, 4)) if wide > 0 else 1
    sign = "+" if signed else ""
    value, low, high = (f"{interval[name]:{sign},.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _share(one: Mapping[str, Any]) -> str:
    least = f" ({', '.join(f'{100 * share:.1f}' for share in one['at_least'])})" if "at_least" in one else ""
    return f"{one['share']:.1%}{least}" if "share" in one else ""


def _verdict(one: Mapping[str, Any]) -> str:
    if "against" not in one:
        return "reference"
    low, high = one["against"]["low"], one["against"]["high"]
    verdict = "**better**" if low > 0 else "**worse**" if high < 0 else "undecided"
    return f"{_ranged(one['against'], signed=True)}, {verdict}"
