"""``rlops check`` on a copy of the package, in a process of its own."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from tests.mutants.reach import PACKAGE, ROOT

GOLDEN = ROOT / "tests" / "golden"
LIMIT_S = 1800.0
"""[s] More than any check of the package as it is takes."""

BY_COST = (
    "rlops/Dispatch-v0",
    "rlops/CartBalance-v0",
    "rlops/ArmPush-v0",
    "rlops/ArmReach-v0",
    "rlops/DispatchStatic-v2",
    "rlops/Dispatch-v1",
    "rlops/DatacenterCooling-v0",
    "rlops/DatacenterCooling-v1",
    "rlops/Dispatch-v2",
    "rlops/DispatchReposition-v2",
    "rlops/WarehouseNav-v0",
    "rlops/WarehouseFleet-v0",
)
"""The environments, that with the cheapest check first."""


@dataclass(frozen=True)
class Answer:
    """What a check said.

    Attributes:
        verdict: ``same``, ``round-off``, ``changed``, ``cannot judge`` or ``error``, which it also is if the process
            ended with a traceback; ``no answer`` if it was none of these, ``hung`` if it did not end.
        moved: The layers that it says have moved.
        detail: Where it first diverged, or the last line of what it printed.
        seconds: It took so long [s].
    """

    verdict: str
    moved: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0


def copy_of_the_package(folder: Path) -> Path:
    """Make a compiled copy of the package in ``folder`` and return the folder."""
    shutil.copytree(PACKAGE, folder / "rlops", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    # By hash: a mutated file may have the size and the time of the one before.
    compileall.compile_dir(folder / "rlops", quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return folder


LEVELS = "L0,L1,L2"
"""Levels of a check that tell everything that a mutation may move."""


def check(
    id: str, folder: Path, threads: int = 1, levels: str = LEVELS, limit_s: float = LIMIT_S, **environment: str
) -> Answer:
    """Return what the check of ``id`` says of the copy in ``folder``, interpreted unless ``environment`` differs."""
    command = [sys.executable, "-m", "rlops.cli", "check", id, "--folder", str(GOLDEN), "--levels", levels]
    variables = os.environ | {"PYTHONPATH": str(folder), "NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "--brief", "--json", "--threads", str(threads)],
            cwd=folder,
            env=variables | environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return Answer("hung", detail=f"after {limit_s:.0f} s", seconds=limit_s)
    return answer_of(done.stdout, done.stderr, done.returncode, time.monotonic() - begun)


def answer_of(printed: str, errors: str, code: int, seconds: float) -> Answer:
    """Return what the JSON that a check printed says of its one environment; without any, whether it raised an error.

    A package that asserts its own layout cannot even be imported after some mutations.
    """
    try:
        (result,) = json.loads(printed)["results"]
        where = result["first"] or {}
        detail = ", ".join(f"{name} {value}" for name, value in where.items())
        return Answer(result["verdict"], tuple(result["moved"]), detail, seconds)
    except (ValueError, KeyError, TypeError):
        last = (errors or printed).strip().splitlines()[-1:]
        raised = code == 1 and errors.startswith("Traceback")
        return Answer("error" if raised else "no answer", detail="".join(last), seconds=seconds)
