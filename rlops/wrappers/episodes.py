"""A log with one record for every finished episode, in memory and as JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from rlops.errors import InvalidFile
from rlops.wrappers.rows import Rows, Stage, StagedEnv, StagedVectorEnv, row_count


class EpisodeLog(Stage):
    """The records of finished episodes.

    Attributes:
        episodes: One record an episode, in the order in which they ended; see :func:`logged`.
    """

    def __init__(self, rows: int, file: Path | None):
        """Log the episodes of ``rows`` rows, also to the end of ``file``."""
        self.episodes: list[dict[str, Any]] = []
        self._returns = np.zeros(rows)
        self._file = file

    def watch(
        self,
        rows: Rows,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        told: Callable[[int], Mapping[str, Any]],
    ) -> None:
        """Add up the rewards, and record the episodes that ended."""
        self._returns[rows.steps == 1] = 0.0
        self._returns += rewards
        records = []
        for row in np.flatnonzero(terminated | truncated).tolist():
            info = told(row)
            records.append(
                {
                    "row": row,
                    "seed": int(rows.seeds[row]) if rows.seeded[row] else None,
                    "episode": int(rows.numbers[row]),
                    "length": int(rows.steps[row]),
                    "return": _plain(self._returns[row]),
                    "terminated": bool(terminated[row]),
                    "truncated": bool(truncated[row]),
                    **{name: _plain(info[name]) for name in ("kpis", "params") if name in info},
                }
            )
        self.episodes += records
        if self._file is not None and records:
            lines = "".join(json.dumps(record, allow_nan=False, default=str) + "\n" for record in records)
            _append(self._file, lines)


class LoggedEnv(StagedEnv):
    """A single environment whose episodes are logged; made by :func:`logged`."""

    stage: EpisodeLog

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """One record for every finished episode."""
        return self.stage.episodes


class LoggedVectorEnv(StagedVectorEnv):
    """A vector environment whose episodes are logged; made by :func:`logged`."""

    stage: EpisodeLog

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """One record for every finished episode, in the order in which they ended."""
        return self.stage.episodes


def logged(env: Any, file: str | Path | None = None) -> LoggedEnv | LoggedVectorEnv:
    """Return ``env`` with a log of its finished episodes, ``env.episodes``.

    A record holds ``row`` (0 in a single environment), ``seed`` (None if ``reset`` was never given one), ``episode``
    (from 0 since that seed), ``length`` [steps], ``return`` (the sum of rewards), ``terminated``, ``truncated``, and
    the ``kpis`` and ``params`` of the last info, where the environment tells them. A number that is not finite is None.
    An episode that a reset cuts off before its end leaves no record.

    Args:
        env: A single or vector environment.
        file: Records are also appended to it, one line of JSON an episode, each step's at once and whole; its folders
            are made.

    Raises:
        InvalidFile: If ``file`` cannot be written.
    """
    path = None if file is None else Path(file)
    if path is not None:
        _open_to_append(path)
    log = EpisodeLog(row_count(env), path)
    if isinstance(env, gym.vector.VectorEnv):
        return LoggedVectorEnv(env, log)
    return LoggedEnv(env, log, logged, {"file": None if file is None else str(file)})


def _open_to_append(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _append(file, "")
    except OSError as error:
        raise InvalidFile(f"{file}: the log of episodes must be writable, got: {error.strerror}.") from error


def _append(file: Path, lines: str) -> None:
    """Append whole ``lines`` in one write, so that a process that is ended leaves no half line."""
    with file.open("ab", buffering=0) as raw:
        raw.write(lines.encode())


def _plain(value: Any) -> Any:
    """Return ``value`` without NumPy's types, None for a number that is not finite."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
