"""``python -m tests.mutants``: does ``rlops check`` notice every mutation, and say rightly what has moved?

Each mutation is made in a copy of the package, and the check of one environment that it touches is run there,
interpreted; if that one says the same, those of the others. Exit code 0: all were noticed and rightly attributed;
1: some were not; 2: the check of the unmutated package does not say the same.

``--out`` writes results as they come, so that ``--skip`` with the same file goes on where a run was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.catalogue import KINDS, Mutation, catalogue, sample
from tests.mutants.checking import BY_COST, LEVELS, Answer, check, copy_of_the_package
from tests.mutants.reach import IDS, PACKAGE

NOTICED = ("changed", "error")
DECLARED = ("bound", "spec")
"""Kinds that change only what is declared, and randomization that follows from it: L0 tells, replays take minutes."""
LEAST_LIMIT_S, TIMES_LONGER = 60.0, 3.0
"""A check is given up after so long [s] and so many times what that of the unmutated package took."""


@dataclass(frozen=True)
class Result:
    """What became of one mutation.

    Attributes:
        mutation: It.
        id: The environment whose check noticed it, or the last that was asked.
        answer: Of that check.
    """

    mutation: Mutation
    id: str
    answer: Answer

    @property
    def killed(self) -> bool:
        """Whether the check noticed it."""
        return self.answer.verdict in NOTICED or self.refused

    @property
    def refused(self) -> bool:
        """Whether the state has another layout, so that the check refuses to judge, and does not pass either."""
        return self.answer.verdict == "cannot judge" and self.mutation.layers == {"spec"}

    @property
    def crashed(self) -> bool:
        """Whether it was noticed only because nothing worked any more, which says nothing about layers."""
        return self.answer.verdict == "error"

    @property
    def attributed(self) -> bool:
        """Whether the check noticed it and says rightly what has moved."""
        return self.refused or (self.killed and not self.crashed and self.mutation.attributed(self.answer.moved))

    @property
    def right(self) -> bool:
        """Whether there is nothing to complain about."""
        return self.crashed or self.attributed

    def told(self) -> str:
        """Return the mutation and what was said of it, in one line."""
        said = ", ".join(self.answer.moved) or self.answer.detail
        wanted = " or ".join(sorted(self.mutation.layers))
        return (
            f"{self.mutation.name}  {self.mutation.file}:{self.mutation.change}  [{self.id}] "
            f"{self.answer.verdict}: {said} (must be: {wanted})"
        )


class NotTheSame(Exception):
    """The check of an unmutated environment does not say the same, so that no mutation of it can be judged."""


class Unmutated:
    """The package as it is: an environment is checked once, when the first mutation of it is judged."""

    def __init__(self, folder: Path):
        self._folder = copy_of_the_package(folder)
        self._asked = {id: Lock() for id in IDS}
        self._said: dict[str, Answer] = {}

    def seconds(self, id: str) -> float:
        """Return what the check of ``id`` takes [s]; raise :class:`NotTheSame` unless it says the same."""
        with self._asked[id]:
            if id not in self._said:
                self._said[id] = check(id, self._folder)
        said = self._said[id]
        if said.verdict != "same":
            told = ", ".join(said.moved) or said.detail
            raise NotTheSame(f"{id}: without a mutation the check must say same, got {said.verdict}: {told}")
        return said.seconds


def judged(mutation: Mutation, folder: Path, unmutated: Unmutated) -> Result:
    """Return what the checks say of a mutation, made in the copy of the package in ``folder``."""
    file = folder / "rlops" / mutation.file
    source = (PACKAGE / mutation.file).read_text()
    file.write_text(mutation.applied(source))
    try:
        for id in sorted(mutation.ids, key=BY_COST.index):
            limit_s = LEAST_LIMIT_S + TIMES_LONGER * unmutated.seconds(id)
            levels = "L0" if mutation.kind in DECLARED else LEVELS
            result = Result(mutation, id, check(id, folder, levels=levels, limit_s=limit_s))
            if result.killed:
                break
    finally:
        file.write_text(source)
    return result


def results(mutations: Iterable[Mutation], jobs: int) -> Iterator[Result]:
    """Yield what became of the mutations as they are done, on ``jobs`` processes at a time.

    Raises:
        NotTheSame: If the check of the package without a mutation does not say the same.
    """
    with tempfile.TemporaryDirectory(prefix="rlops-mutants-") as where:
        unmutated = Unmutated(Path(where) / "unmutated")
        idle: SimpleQueue[Path] = SimpleQueue()
        for job in range(jobs):
            idle.put(copy_of_the_package(Path(where) / str(job)))

        def done(mutation: Mutation) -> Result:
            folder = idle.get()
            try:
                return judged(mutation, folder, unmutated)
            finally:
                idle.put(folder)

        with ThreadPoolExecutor(jobs) as pool:
            try:
                for future in as_completed([pool.submit(done, mutation) for mutation in mutations]):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)


def table(found: list[Result]) -> Table:
    """Return how many mutations of each kind there were, were noticed and were rightly attributed."""
    shown = Table("kind", "mutants", "noticed", "of these crashed", "rightly attributed")
    for kind in (*KINDS, ""):
        of_kind = [one for one in found if kind in ("", one.mutation.kind)]
        if of_kind:
            numbers = (len(of_kind), *(sum(getattr(one, what) for one in of_kind) for what in _COUNTED))
            shown.add_row(kind or "all", *map(str, numbers), end_section=kind == KINDS[-1])
    return shown


_COUNTED = ("killed", "crashed", "attributed")


def told(found: list[Result], console: Console) -> None:
    """Print the table and each mutation that is not as it must be."""
    console.print(table(found))
    for title, chosen in (
        ("survived", [one for one in found if not one.killed]),
        ("wrongly attributed", [one for one in found if one.killed and not one.right]),
        ("crashed", [one for one in found if one.crashed]),
    ):
        if chosen:
            console.print(f"[bold]{title}: {len(chosen)}[/bold]")
        for one in sorted(chosen, key=lambda one: one.mutation.name):
            console.print("  " + one.told(), highlight=False, markup=False, soft_wrap=True)


def saved(found: list[Result], path: Path) -> None:
    """Write the results as JSON; the file is whole at any time."""
    rows = [
        {**_plain(one.mutation), **asdict(one.answer), "id": one.id, "killed": one.killed, "right": one.right}
        for one in sorted(found, key=lambda one: one.mutation.name)
    ]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps({"format": 1, "results": rows}, indent=1))
    os.replace(partial, path)


def _plain(mutation: Mutation) -> dict[str, object]:
    row = asdict(replace(mutation, edits=(), nodes=()))
    return row | {"layers": sorted(mutation.layers), "along": sorted(mutation.along)}


def kept(mutations: Iterable[Mutation], path: Path) -> list[Result]:
    """Return those of the saved results that are right and whose mutation still makes the same change."""
    if not path.exists():
        return []
    rows = {(row["name"], row["change"]): row for row in json.loads(path.read_text())["results"]}
    found = []
    for one in mutations:
        row = rows.get((one.name, one.change))
        if row is not None:
            answer = Answer(row["verdict"], tuple(row["moved"]), row["detail"], row["seconds"])
            found.append(Result(one, row["id"], answer))
    return [one for one in found if one.right]


def main() -> None:
    """Run the mutation test."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutations, in turn of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the catalogue and the sample")
    parser.add_argument("--per-kind", type=int, metavar="N", help="mutations of each kind that is chosen from")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--only", metavar="GLOB", help="only mutations with such a name, kind or environment")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the results as JSON, as they come")
    parser.add_argument("--skip", type=Path, metavar="FILE", help="take over what is right in such a file, if there")
    parser.add_argument("--list", action="store_true", help="only list the mutations")
    given = parser.parse_args()
    chosen = catalogue(given.seed, **({"per_kind": given.per_kind} if given.per_kind else {}))
    if given.only:
        chosen = tuple(m for m in chosen if any(fnmatch(name, given.only) for name in (m.name, m.kind, *m.ids)))
    if given.sample:
        chosen = sample(chosen, given.sample, given.seed)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if given.list:
        for one in chosen:
            console.print(f"{one.kind:12} {one.name:44} {one.file}:{one.change}", markup=False, soft_wrap=True)
        return
    found = kept(chosen, given.skip) if given.skip else []
    known = {one.mutation.name for one in found}
    chosen = tuple(one for one in chosen if one.name not in known)
    chosen = tuple(sorted(chosen, key=lambda one: min(map(BY_COST.index, one.ids))))
    try:
        for one in track(results(chosen, given.jobs), "mutants", total=len(chosen), console=console):
            found.append(one)
            if not one.right:
                console.print(one.told(), style="yellow", highlight=False, markup=False, soft_wrap=True)
            if given.out:
                saved(found, given.out)
    except NotTheSame as error:
        console.print(str(error), markup=False, soft_wrap=True)
        sys.exit(2)
    told(found, console)
    sys.exit(0 if all(one.right for one in found) else 1)


if __name__ == "__main__":
    main()
