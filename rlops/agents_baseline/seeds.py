"""Several trainings of one agent that differ in their seed alone: what a claim about a method is made over.

A folder of trainings has a folder for each, ``seed_0``, ``seed_1``, …, as :func:`rlops.agents_baseline.train.train`
writes it. A training appears there when it is complete, so that one that was interrupted is done again and those before
it are not: the weights are the same as without an interruption.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rlops.agents_baseline.agents import CONFIG_FILE, MODEL_FILE
from rlops.agents_baseline.train import Progress, planned, train
from rlops.errors import InvalidFile, InvalidValue
from rlops.files import written

if TYPE_CHECKING:
    from rlops.agents_baseline.scale import Pool

_FOLDER = "seed_{}"


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that ``text`` names.

    >>> parse_seeds("0-2,7")
    [0, 1, 2, 7]

    Raises:
        InvalidValue: If it names none, or one twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise InvalidValue(f"Seeds must be whole numbers and ranges such as 0-4 or 0,3,7, got {text!r}.")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(seeds)) < len(seeds):
        raise InvalidValue(f"Every seed must be named once, got {text!r}.")
    return seeds


def trained_seeds(folder: str | Path) -> dict[int, Path]:
    """Return the folders of complete trainings in ``folder`` by their seed; empty: it is no folder of several."""
    found = {}
    for path in Path(folder).glob(_FOLDER.format("*")):
        match = re.fullmatch(_FOLDER.format(r"(\d+)"), path.name)
        if match and (path / MODEL_FILE).is_file():
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def train_seeds(
    id: str,
    algo: str,
    seeds: Sequence[int],
    *,
    out: str | Path,
    overwrite: bool = False,
    progress: Callable[[int, Progress], None] | None = None,
    pool: Pool | None = None,
    **options: Any,
) -> list[Path]:
    """Train one agent a seed, those that are not trained yet, and return the folders of all.

    Args:
        id: The environment.
        algo: The algorithm.
        seeds: One training each.
        out: Folder of the trainings.
        overwrite: Whether trainings of other settings that are there may be replaced.
        progress: Called a few times a second with the seed and how far its training is; of a training elsewhere, when
            it is complete, and at once of one that is there already.
        pool: Where to train, side by side: a cluster of :mod:`rlops.agents_baseline.scale`; None: here, one by one.
        options: Those of :func:`rlops.agents_baseline.train.train`.

    Raises:
        InvalidValue: If a seed comes twice, or there is a training of other settings and ``overwrite`` is false.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InvalidValue(f"seeds must be at least one and differ from each other, got {list(seeds)}.")
    folders = {seed: Path(out) / _FOLDER.format(seed) for seed in seeds}
    left = [seed for seed in seeds if not is_complete(folders[seed], id, algo, seed, overwrite=overwrite, **options)]

    def tell_complete(seed: int) -> None:
        if progress is not None:
            steps = planned(id, algo, seed=seed, **options)["steps"]
            progress(seed, Progress(steps, steps))

    for seed in seeds:
        if seed not in left:
            tell_complete(seed)
    if pool is not None:
        for number, files in pool.map(_train_elsewhere, [(id, algo, seed, options) for seed in left]):
            _write(folders[left[number]], files)
            tell_complete(left[number])
        return list(folders.values())
    for seed in left:
        tell = None if progress is None else partial(progress, seed)
        train(id, algo, out=folders[seed], seed=seed, overwrite=overwrite, progress=tell, **options)
    return list(folders.values())


def _train_elsewhere(id: str, algo: str, seed: int, options: Mapping[str, Any]) -> dict[str, bytes]:
    """Train in a temporary folder and return the content of its files by their path, the model's last."""
    with tempfile.TemporaryDirectory() as folder:
        model = train(id, algo, out=folder, seed=seed, **options)
        files = sorted((file for file in Path(folder).rglob("*") if file.is_file()), key=lambda file: file == model)
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a training, each all or nothing, the model last, whose presence says that it is complete."""
    (folder / MODEL_FILE).unlink(missing_ok=True)
    for name, content in files.items():
        with written(folder / name) as partial_file:
            partial_file.write_bytes(content)


def is_complete(folder: Path, id: str, algo: str, seed: int, *, overwrite: bool = False, **options: Any) -> bool:
    """Return whether ``folder`` has the training that these arguments of ``train`` describe.

    Raises:
        InvalidValue: If it has another one, and ``overwrite`` is false.
        InvalidFile: If its configuration cannot be read.
    """
    if not (folder / MODEL_FILE).is_file():
        return False
    try:
        there = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidFile(f"{folder / CONFIG_FILE} must say what was trained, got: {error}. Remove {folder}.") from None
    wanted = planned(id, algo, seed=seed, **options)
    theirs: dict[str, Any] = {name: there.get(name) for name in wanted} if isinstance(there, dict) else {}
    drawn = theirs.get("randomization")
    if isinstance(drawn, dict):
        theirs["randomization"] = drawn["hash"]
    if theirs == wanted:
        return True
    if not overwrite:
        differing = ", ".join(name for name in wanted if theirs.get(name) != wanted[name])
        raise InvalidValue(
            f"{folder} must have no other training, but there is one that differs in {differing}. Choose another "
            "folder, or overwrite it on purpose."
        )
    return False
