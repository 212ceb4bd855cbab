"""Search for hyperparameters with Optuna: trials that train and play, those that fall behind broken off early.

A study lives in a folder: ``study.db`` remembers every trial, so that a search that was interrupted goes on, and
``best.yaml`` is what ``rlops train --hyperparameters`` takes. A trial is judged by one training on a few episodes, and
the best of many is lucky as well as good: what the search gained is therefore said by new trainings, of the found and
of the shipped hyperparameters, over several seeds and in other episodes (:func:`gained`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.seeds import train_seeds
from rlops.agents_baseline.train import Progress, planned, train
from rlops.errors import InvalidFile, InvalidValue, MissingExtra
from rlops.files import read_yaml, written
from rlops.robustness.statistics import Estimate, nested_bootstrap

STUDY_FILE, BEST_FILE = "study.db", "best.yaml"
PRUNED_FROM, LOOKS = 5, 10
"""Trials before the first one is broken off, and how often a training is looked at."""
TUNED, CONFIRMED = 40_000, 50_000
"""First seeds of the episodes by which trials are judged, and of those by which the gain is."""
_TRAINED = 100
"""First seed of the trainings that confirm a gain; that of the trials is 0."""
_ON_POLICY: Mapping[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 3e-3, "scale": "log"},
    "n_steps": [32, 64, 128, 256],
    "batch_size": [256, 512, 1024, 2048],
    "n_epochs": {"low": 2, "high": 10},
    "gamma": {"low": 0.9, "high": 0.999, "scale": "to_one"},
    "gae_lambda": {"low": 0.8, "high": 0.99, "scale": "to_one"},
    "ent_coef": {"low": 1e-6, "high": 0.02, "scale": "log"},
}
SPACES: Mapping[str, Mapping[str, Any]] = {
    "ppo": _ON_POLICY,
    "maskable_ppo": _ON_POLICY,
    "dqn": {
        "learning_rate": {"low": 1e-4, "high": 3e-3, "scale": "log"},
        "gamma": {"low": 0.9, "high": 0.999, "scale": "to_one"},
        "target_update_interval": [500, 1000, 2000, 4000, 8000],
        "gradient_steps": [2, 4, 8, 16],
        "exploration_fraction": {"low": 0.05, "high": 0.5},
        "exploration_final_eps": {"low": 0.005, "high": 0.1, "scale": "log"},
    },
    "sac": {
        "learning_rate": {"low": 1e-4, "high": 3e-3, "scale": "log"},
        "gamma": {"low": 0.9, "high": 0.999, "scale": "to_one"},
        "tau": {"low": 0.001, "high": 0.05, "scale": "log"},
        "gradient_steps": [2, 4, 8, 16],
        "batch_size": [128, 256, 512],
    },
}
"""What is searched, by algorithm: a list of values, or a range on a ``linear`` or ``log`` scale, or one that is
logarithmic in the distance ``to_one``; a range of integers holds integers. A learning rate falls in a line to a
twentieth over the training."""


@dataclass(frozen=True)
class Search:
    """What a study searches.

    Attributes:
        id: The environment.
        algo: The algorithm.
        steps: Of each training.
        episodes: By which a trial is judged.
        space: As :data:`SPACES` describes it.
        hyperparameters: What all trials have in common, beside the shipped ones.
        randomization: What every training draws anew.
    """

    id: str
    algo: str
    steps: int
    episodes: int
    space: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    randomization: str | None = None

    def __post_init__(self) -> None:
        if self.episodes < 2:
            raise InvalidValue(f"episodes must be at least 2, got {self.episodes}.")
        for name, values in self.space.items():
            _check_range(name, values)
        some = {name: _value(name, _ends(values)[0]) for name, values in self.space.items()}
        self.planned({**self.hyperparameters, **some})

    def planned(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a training of the search with these hyperparameters depends on."""
        return planned(
            self.id, self.algo, seed=0, steps=self.steps, hyperparameters=hyperparameters,
            randomization=self.randomization,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Return all that a trial's value depends on but its own hyperparameters."""
        told = {"episodes": self.episodes, "space": {name: values for name, values in self.space.items()}}
        identity: dict[str, Any] = json.loads(json.dumps({**self.planned(self.hyperparameters), **told}))
        return identity


def read_space(path: str | Path) -> dict[str, Any]:
    """Return the space of a YAML file.

    Raises:
        InvalidFile: If it is no YAML mapping.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise InvalidFile(f"{path} must map hyperparameters to what is searched, got {content!r:.80}.")
    return content


_FITS: Mapping[str, Callable[[float, float], bool]] = {
    "linear": lambda low, high: low < high,
    "log": lambda low, high: 0 < low < high,
    "to_one": lambda low, high: low < high < 1,
}
"""By scale, which ends of a range are possible."""


def _check_range(name: str, values: Any) -> None:
    if isinstance(values, list) and values:
        return
    named = isinstance(values, Mapping) and {"low", "high"} <= set(values) <= {"low", "high", "scale"}
    if named and all(isinstance(values[end], (int, float)) for end in ("low", "high")):
        fits = _FITS.get(values.get("scale", "linear"))
        if fits is not None and fits(values["low"], values["high"]):
            return
    raise InvalidValue(
        f"The space of {name} must be a list of values, or have low and high and perhaps a scale of linear, log (above "
        f"0) or to_one (below 1), got {values!r}."
    )


def _ends(values: Any) -> tuple[Any, Any]:
    return (values[0], values[-1]) if isinstance(values, list) else (values["low"], values["high"])


def _value(name: str, value: Any) -> Any:
    """Return a suggested value as a hyperparameter."""
    return {"start": value, "end": value / 20} if name == "learning_rate" else value


def suggested(space: Mapping[str, Any], trial: Any) -> dict[str, Any]:
    """Return the hyperparameters that a trial of Optuna suggests."""
    found: dict[str, Any] = {}
    for name, values in space.items():
        if isinstance(values, list):
            value = trial.suggest_categorical(name, values)
        elif values.get("scale") == "to_one":
            value = 1.0 - trial.suggest_float(f"1 - {name}", 1.0 - values["high"], 1.0 - values["low"], log=True)
        elif isinstance(values["low"], int) and isinstance(values["high"], int):
            value = trial.suggest_int(name, values["low"], values["high"], log=values.get("scale") == "log")
        else:
            value = trial.suggest_float(name, values["low"], values["high"], log=values.get("scale") == "log")
        found[name] = _value(name, value)
    return found


def tune(
    search: Search,
    trials: int,
    *,
    out: str | Path,
    seed: int = 0,
    progress: Callable[[int, Progress], None] | None = None,
    told: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Search until ``trials`` have ended, those of earlier calls included, and return the best hyperparameters.

    Args:
        search: What is searched.
        trials: That have ended at last; a trial that was interrupted does not count.
        out: Folder of the study; one process at a time works in it.
        seed: Of the search.
        progress: Called with the number of a trial and how far its training is.
        told: Called with every trial that has ended, as Optuna describes it.

    Raises:
        InvalidValue: If the folder has the study of another search.
        MissingExtra: If Optuna is not installed.
    """
    optuna = _optuna()
    out = Path(out)
    study = _study(optuna, search, out, seed)

    def judge(trial: Any) -> float:
        settings = suggested(search.space, trial)
        trial.set_user_attr("hyperparameters", settings)
        folder = out / "trials" / f"{trial.number}"
        look = _look(optuna, trial, search.steps, progress)
        changed = {**search.hyperparameters, **settings}
        train(
            search.id, search.algo, steps=search.steps, out=folder, hyperparameters=changed,
            randomization=search.randomization, overwrite=True, progress=look,
        )  # fmt: skip
        seeds = range(TUNED, TUNED + search.episodes)
        played = evaluate(
            search.id, load_agent(folder, search.id), seeds, latency=False, randomization=search.randomization
        )
        return float(played.table["return"].mean())

    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    while len(study.get_trials(deepcopy=False, states=ended)) < trials:
        study.optimize(judge, n_trials=1, callbacks=[] if told is None else [lambda _, trial: told(trial)])
    if not study.get_trials(deepcopy=False, states=ended[:1]):
        raise InvalidValue(f"At least one of {trials} trials must have been played to its end. Allow more of them.")
    best: dict[str, Any] = {**search.hyperparameters, **study.best_trial.user_attrs["hyperparameters"]}
    with written(out / BEST_FILE) as partial:
        partial.write_text(yaml.safe_dump({search.algo: best}, sort_keys=False), encoding="utf-8")
    return best


def _look(optuna: Any, trial: Any, steps: int, progress: Callable[[int, Progress], None] | None) -> Callable[..., None]:
    """Return what reports a training to its trial now and then, and breaks it off if it falls behind."""
    looked = 0

    def look(now: Progress) -> None:
        nonlocal looked
        if progress is not None:
            progress(trial.number, now)
        reached = 0 if now.imitating else now.steps * LOOKS // steps
        if looked < reached < LOOKS and np.isfinite(now.mean_return):
            looked = reached
            trial.report(now.mean_return, reached)
            if trial.should_prune():
                raise optuna.TrialPruned

    return look


def _study(optuna: Any, search: Search, out: Path, seed: int) -> Any:
    """Return the study of a folder, which is made if needed."""
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{(out / STUDY_FILE).resolve()}",
        study_name="study",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNED_FROM, n_warmup_steps=2),
    )
    wanted = search.identity()
    theirs = study.user_attrs.get("search")
    if theirs is None:
        study.set_user_attr("search", wanted)
    elif theirs != wanted:
        differing = ", ".join(name for name in {**theirs, **wanted} if theirs.get(name) != wanted.get(name))
        raise InvalidValue(
            f"{out} must have no other study, but there is one that differs in {differing}. Choose another folder."
        )
    for interrupted in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(interrupted.number, state=optuna.trial.TrialState.FAIL)
    return study


def gained(
    search: Search,
    best: Mapping[str, Any],
    *,
    out: str | Path,
    seeds: int = 3,
    episodes: int = 50,
    progress: Callable[[str, int, Progress], None] | None = None,
) -> tuple[Estimate, Estimate, Estimate]:
    """Train with the found and with the shipped hyperparameters and return what either returns, and the difference.

    Args:
        search: What was searched.
        best: What :func:`tune` found.
        out: Folder of the study; the trainings go into ``found`` and ``shipped`` there and are not done twice.
        seeds: Trainings of each.
        episodes: That each plays, and that no trial has met.
        progress: Called with ``found`` or ``shipped``, the seed, and how far its training is.

    Returns:
        Mean return with the found ones, with the shipped ones, and by how much the former is higher, each with its
        interval over trainings and episodes.
    """
    played = {}
    for name, settings in (("found", best), ("shipped", search.hyperparameters)):
        tell = None if progress is None else (lambda seed, now, name=name: progress(name, seed, now))
        folders = train_seeds(
            search.id, search.algo, range(_TRAINED, _TRAINED + seeds), out=Path(out) / name, steps=search.steps,
            hyperparameters=settings, randomization=search.randomization, overwrite=True, progress=tell,
        )  # fmt: skip
        tables = [
            evaluate(
                search.id, load_agent(folder, search.id), range(CONFIRMED, CONFIRMED + episodes), latency=False,
                randomization=search.randomization,
            ).table
            for folder in folders
        ]  # fmt: skip
        played[name] = np.array([table["return"] for table in tables])

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.mean(axis=-1))

    found, shipped = played["found"], played["shipped"]
    return nested_bootstrap(found, mean), nested_bootstrap(shipped, mean), nested_bootstrap(found - shipped, mean)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("The search for hyperparameters", "tune") from None
    return optuna
