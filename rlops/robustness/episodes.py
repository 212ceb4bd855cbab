"""The episodes of a report: what is to be played, played in chunks that survive an interruption, as one table.

The result of an episode depends on its design alone: its world, its seed, its parameters. It depends neither on how
many rows play side by side, nor on which of them it was, nor on whether the work was interrupted. Two policies that
play one design meet the same worlds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.agents_baseline.agents import Agent, one_torch_thread
from rlops.agents_baseline.evaluate import played
from rlops.agents_baseline.worlds import World
from rlops.envs.robotics.engines import COMFORTABLE_ROWS
from rlops.errors import InvalidFile, InvalidValue, MissingExtra
from rlops.files import written

CHUNK = 256
"""Episodes that are written together; what an interruption costs at most."""
ROWS = 64
MANIFEST = "manifest.json"
_FORMAT = 1
PLACE = ("part", "label", "policy")
"""Columns that say where in a report an episode belongs, before those of what happened in it."""


@dataclass(frozen=True)
class Design:
    """Episodes to be played.

    Attributes:
        part: Of the report that they belong to.
        world: What all of them meet.
        seeds: One for each, ``(e,)``.
        labels: Where in the part each belongs, ``(e,)``.
        overrides: Parameters by name, ``(e,)`` each, on top of the world's.
    """

    part: str
    world: World
    seeds: np.ndarray
    labels: tuple[str, ...]
    overrides: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.seeds)

    def between(self, first: int, end: int) -> Design:
        """Return the episodes from ``first`` up to ``end``."""
        cut = {name: values[first:end] for name, values in self.overrides.items()}
        return Design(self.part, self.world, self.seeds[first:end], self.labels[first:end], cut)


def play(
    design: Design,
    agent: Agent,
    policy: str = "a",
    *,
    rows: int = ROWS,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[np.ndarray, Any], None] | None = None,
) -> np.ndarray:
    """Return the episodes of a design under an agent as a record array ``(e,)``.

    Columns: ``part``, ``label``, ``policy``; ``seed``, ``return``, ``steps``, ``end``, ``term_<name>`` for every reward
    term, every key figure by its name, and ``param_<name>`` for every parameter, as the episode began with it.

    Args:
        design: What is played.
        agent: Who plays; its decision for a row must not depend on the others (:mod:`rlops.robustness.deciding`).
        policy: What the agent is called in the table, ``a`` or ``b``.
        rows: Played side by side.
        progress: As :func:`rlops.agents_baseline.evaluate.played` takes it.
        watch: As :func:`rlops.agents_baseline.evaluate.played` takes it.
    """
    most = COMFORTABLE_ROWS.get(design.world.options.get("engine", ""), rows)
    envs = design.world.rows(min(rows, most, len(design)), AutoresetMode.DISABLED)
    with one_torch_thread():
        table, params = played(envs, agent, design.seeds.tolist(), design.overrides, progress=progress, watch=watch)
    names = [f"param_{name}" for name in params.dtype.names or ()]
    place = [("part", "U24"), ("label", "U64"), ("policy", "U1")]
    whole = np.zeros(len(table), np.dtype([*place, *table.dtype.descr, *((name, "f8") for name in names)]))
    whole["part"], whole["label"], whole["policy"] = design.part, design.labels, policy
    for name in table.dtype.names or ():
        whole[name] = table[name]
    for name in names:
        whole[name] = params[name.removeprefix("param_")]
    return whole


class Work:
    """A folder of finished chunks, from which an interrupted evaluation goes on.

    A chunk is written whole and then entered in the manifest with its digest; what the manifest does not name does not
    count, so no episode is lost or counted twice.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]):
        """Open ``folder`` for the evaluation of an ``identity``: all that its episodes depend on.

        Raises:
            InvalidValue: If the folder holds the work of another evaluation.
            InvalidFile: If its manifest cannot be read.
        """
        self.folder, self.identity = Path(folder), dict(identity)
        self.chunks: dict[str, str] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / MANIFEST).exists():
            self._continue()

    def _continue(self) -> None:
        file = self.folder / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            theirs, chunks = manifest["identity"], dict(manifest["chunks"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidFile(f"{file} must be the manifest of an evaluation, got: {error!r}. Remove it.") from None
        if theirs != self.identity:
            other = [name for name in {**theirs, **self.identity} if theirs.get(name) != self.identity.get(name)]
            raise InvalidValue(
                f"{self.folder} must hold the work of this evaluation, but another one was interrupted there: it "
                f"differs in {', '.join(other)}. Finish that one, remove the folder, or write elsewhere."
            )
        self.chunks = chunks

    def table(
        self,
        designs: Sequence[Design],
        agent: Agent,
        policy: str = "a",
        *,
        rows: int = ROWS,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Return the episodes of some designs, those of finished chunks as they were written.

        Args:
            designs: What is played, in this order.
            agent: As :func:`play` takes it.
            policy: As :func:`play` takes it.
            rows: As :func:`play` takes it.
            progress: Called with the number of episodes that are finished.
        """
        parts, before = [], 0
        for design in designs:
            for first in range(0, len(design), CHUNK):
                chunk = design.between(first, first + CHUNK)
                parts.append(self._chunk(chunk, agent, policy, rows, _after(before, progress)))
                before += len(chunk)
        return np.concatenate(parts)

    def _chunk(
        self, chunk: Design, agent: Agent, policy: str, rows: int, progress: Callable[[int], None] | None
    ) -> np.ndarray:
        name = f"{_key(chunk, policy)}.npy"
        file = self.folder / name
        if name in self.chunks and file.is_file() and _digest(file) == self.chunks[name]:
            if progress is not None:
                progress(len(chunk))
            done: np.ndarray = np.load(file, allow_pickle=False)
            return done
        table = play(chunk, agent, policy, rows=rows, progress=progress)
        with written(file) as partial, partial.open("wb") as out:
            np.save(out, table, allow_pickle=False)
        self.chunks[name] = _digest(file)
        with written(self.folder / MANIFEST) as partial:
            content = {"format": _FORMAT, "identity": self.identity, "chunks": self.chunks}
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return table

    def remove(self) -> None:
        """Remove the folder: the report has all that was in it."""
        for file in (*(self.folder / name for name in self.chunks), self.folder / MANIFEST):
            file.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _after(before: int, progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    return None if progress is None else lambda ended: progress(before + ended)


def _key(chunk: Design, policy: str) -> str:
    """Return a name for the episodes of a chunk: a hash of all that they are designed from."""
    world = chunk.world
    drawn = world.randomization.hash if world.randomization else ""
    options = sorted(
        (name, value) for name, value in world.options.items() if isinstance(value, (str, bool, int, float))
    )
    told = [chunk.part, policy, world.id, options, sorted(world.params.items()), drawn]  # data stands in the identity
    content = hashlib.sha256(json.dumps([*told, list(chunk.labels)]).encode())
    content.update(np.asarray(chunk.seeds, "<i8").tobytes())
    for name, values in sorted(chunk.overrides.items()):
        content.update(name.encode() + np.asarray(values, "<f8").tobytes())
    return content.hexdigest()[:32]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_parquet(table: np.ndarray, path: str | Path) -> None:
    """Write an episode table as Parquet, all or nothing.

    Raises:
        MissingExtra: If PyArrow is not installed.
    """
    pyarrow = _pyarrow()
    from pyarrow import parquet

    columns = {name: table[name] for name in table.dtype.names or ()}
    with written(Path(path)) as partial:
        parquet.write_table(pyarrow.table(columns), partial)


def read_parquet(path: str | Path) -> np.ndarray:
    """Return an episode table that :func:`write_parquet` wrote.

    Raises:
        InvalidFile: If it is no such table.
        MissingExtra: If PyArrow is not installed.
    """
    pyarrow = _pyarrow()
    from pyarrow import parquet

    try:
        read = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidFile(f"{path} must be the table of episodes of a report, got: {error}") from None
    missing = [name for name in (*PLACE, "seed", "return", "steps", "end") if name not in read.column_names]
    if missing:
        raise InvalidFile(f"{path} must be the table of episodes of a report, but has no column {missing[0]}.")
    columns = {name: read[name].to_numpy() for name in read.column_names}
    kinds = [(name, "U64" if values.dtype.kind == "O" else values.dtype) for name, values in columns.items()]
    table = np.zeros(read.num_rows, np.dtype(kinds))
    for name, values in columns.items():
        table[name] = values
    return table


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("A table of episodes", "data") from None
    return pyarrow


def records(table: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the episodes of a table as plain values."""
    names = table.dtype.names or ()
    for row in table:
        yield dict(zip(names, row.tolist(), strict=True))
