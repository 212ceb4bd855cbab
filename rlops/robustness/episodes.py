"""The episodes of a report: what is to be played, played in chunks that survive an interruption, as one table.

The result of an episode depends on its design alone: its world, its seed, its parameters. It depends neither on how
many rows play side by side, nor on which of them it was, nor on whether the work was interrupted. Two policies that
play one design meet the same worlds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.agents_baseline.agents import Agent, one_torch_thread
from rlops.agents_baseline.evaluate import played
from rlops.agents_baseline.worlds import World
from rlops.envs.robotics.engines import COMFORTABLE_ROWS
from rlops.errors import InvalidFile, InvalidValue, MissingExtra
from rlops.files import written

if TYPE_CHECKING:
    from rlops.agents_baseline.scale import Pool

CHUNK = 256
"""Episodes that are written together; what an interruption costs at most."""
ROWS = 64
"""Episodes that are played side by side; on a cluster, also those that are written together, so that it has more to
share out."""
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


@dataclass(frozen=True)
class Job:
    """A design and who plays it.

    Attributes:
        design: What is played.
        agent: Who plays.
        policy: What the agent is called in the table, ``a`` or ``b``.
        carried: Makes the agent on another machine, to which it goes pickled; None: it plays in this process only.
    """

    design: Design
    agent: Agent
    policy: str = "a"
    carried: Callable[[], Agent] | None = None

    def chunks(self, size: int) -> list[Job]:
        """Return it in pieces of at most ``size`` episodes."""
        return [
            replace(self, design=self.design.between(first, first + size)) for first in range(0, len(self.design), size)
        ]

    def key(self) -> str:
        """Return a name for its episodes: a hash of all that they are designed from."""
        design, world = self.design, self.design.world
        drawn = world.randomization.hash if world.randomization else ""
        options = sorted(
            (name, value) for name, value in world.options.items() if isinstance(value, (str, bool, int, float))
        )
        told = [design.part, self.policy, world.id, options, sorted(world.params.items()), drawn]
        content = hashlib.sha256(json.dumps([*told, list(design.labels)]).encode())  # data stands in the identity
        content.update(np.asarray(design.seeds, "<i8").tobytes())
        for name, values in sorted(design.overrides.items()):
            content.update(name.encode() + np.asarray(values, "<f8").tobytes())
        return content.hexdigest()[:32]


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
        told = None if progress is None else lambda job, ended: progress(ended)
        return self.tables([Job(design, agent, policy) for design in designs], rows=rows, progress=told)

    def tables(
        self,
        jobs: Sequence[Job],
        *,
        rows: int = ROWS,
        progress: Callable[[Job, int], None] | None = None,
        pool: Pool | None = None,
    ) -> np.ndarray:
        """Return the episodes of some jobs in this order, those of finished chunks as they were written.

        Args:
            jobs: What is played, and by whom.
            rows: As :func:`play` takes it.
            progress: Called with the job that goes on and the number of episodes that are finished.
            pool: The cluster that plays, in any order; None: this process does. Either way this process alone writes.
        """
        size = CHUNK if pool is None else ROWS
        chunks = [chunk for job in jobs for chunk in job.chunks(size)]
        tables = {number: done for number, chunk in enumerate(chunks) if (done := self._finished(chunk)) is not None}
        ended = sum(map(len, tables.values()))
        todo = {number: chunk for number, chunk in enumerate(chunks) if number not in tables}
        playing = _here(todo, rows, ended, progress) if pool is None else _elsewhere(todo, rows, pool)
        for number, table in playing:
            self._enter(chunks[number], table)
            tables[number] = table
            ended += len(table)
            if progress is not None:
                progress(chunks[number], ended)
        if progress is not None and not todo:
            progress(jobs[-1], ended)
        return np.concatenate([tables[number] for number in range(len(chunks))])

    def _finished(self, chunk: Job) -> np.ndarray | None:
        """Return the episodes of a chunk as they were written; None if they were not, or changed since."""
        name = f"{chunk.key()}.npy"
        file = self.folder / name
        if name not in self.chunks or not file.is_file() or _digest(file) != self.chunks[name]:
            return None
        done: np.ndarray = np.load(file, allow_pickle=False)
        return done

    def _enter(self, chunk: Job, table: np.ndarray) -> None:
        """Write the episodes of a chunk, and then into the manifest that they are there."""
        name = f"{chunk.key()}.npy"
        file = self.folder / name
        with written(file) as partial, partial.open("wb") as out:
            np.save(out, table, allow_pickle=False)
        self.chunks[name] = _digest(file)
        with written(self.folder / MANIFEST) as partial:
            content = {"format": _FORMAT, "identity": self.identity, "chunks": self.chunks}
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def remove(self) -> None:
        """Remove the folder: the report has all that was in it."""
        for file in (*(self.folder / name for name in self.chunks), self.folder / MANIFEST):
            file.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _here(
    todo: Mapping[int, Job], rows: int, before: int, progress: Callable[[Job, int], None] | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Play chunks in this process, ``before`` episodes having ended."""
    for number, job in todo.items():
        table = play(job.design, job.agent, job.policy, rows=rows, progress=_after(before, job, progress))
        before += len(table)
        yield number, table


def _after(before: int, job: Job, progress: Callable[[Job, int], None] | None) -> Callable[[int], None] | None:
    return None if progress is None else lambda ended: progress(job, before + ended)


def _elsewhere(todo: Mapping[int, Job], rows: int, pool: Pool) -> Iterator[tuple[int, np.ndarray]]:
    """Let a cluster play chunks."""
    numbers, makers = list(todo), {}
    for job in todo.values():
        if job.carried is None:
            raise InvalidValue(
                f"An agent must be made anew on a cluster, but {job.agent.name} says not how. Play here."
            )
        if id(job.carried) not in makers:
            makers[id(job.carried)] = pool.share(job.carried)
    calls = [(makers[id(job.carried)], job.design, job.policy, rows) for job in todo.values()]
    for call, table in pool.map(_played_by, calls):
        yield numbers[call], table


def _played_by(make: Callable[[], Agent], design: Design, policy: str, rows: int) -> np.ndarray:
    """Play a design on a worker."""
    return play(design, make(), policy, rows=rows)


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
