"""Golden files: recorded episodes of released versions, and the replay that says where dynamics leave them.

A file holds the actions of whole episodes and what followed: a hash of the state after every step, a hash of
the action mask, observations, rewards and reward terms, key figures, and the full state at a few steps. It is
recorded once, when a version is released, and never again: if a replay diverges, the dynamics have moved and
need a new version.

The replay takes the recorded actions. On the recorded platform (machine, system, NumPy, Numba, LLVM)
everything must be equal bit for bit; elsewhere hashes are not compared and numbers agree to
:data:`TOLERANCE`, because libraries round differently.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.envs import parse_id
from rlops.envs.contract import Family
from rlops.errors import InvalidFile, InvalidValue

SEEDS = (0, 1)
MAX_STEPS = 2000
SIZE_LIMIT = 200_000
SNAPSHOTS = 3
TOLERANCE = 1e-6
"""Relative and absolute; observations are float32, whose rounding is 6e-8."""
_FORMAT = 1


@dataclass(frozen=True)
class Divergence:
    """The first place at which a replay differs from its recording.

    Attributes:
        path: The golden file.
        seed: Of the episode.
        step: Steps taken, 0 being the reset.
        layer: What differs there: ``state``, ``mask``, ``observation``, ``reward``, ``terms``, ``ended`` or
            ``kpis``.
        detail: Recorded and replayed values, or the names of the fields of the state.
    """

    path: Path
    seed: int
    step: int
    layer: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path.name}: seed {self.seed}, step {self.step}: {self.layer} differs: {self.detail}"


def golden_file(id: str, folder: str | Path) -> Path:
    """Return where the golden file of ``id`` lies in ``folder``."""
    parse_id(id)
    return Path(folder) / f"{id.removeprefix('rlops/')}.npz"


def record(id: str, folder: str | Path) -> Path:
    """Record the golden file of a version and return its path.

    Raises:
        InvalidValue: If the file exists: a released version does not change.
    """
    path = golden_file(id, folder)
    family, number = parse_id(id)
    if path.exists():
        raise InvalidValue(
            f"{path} must not exist yet: a recorded version never changes. If its dynamics must, release "
            f"v{family.versions[-1].number + 1} of {family.name}."
        )
    arrays: dict[str, np.ndarray] = {}
    for i, seed in enumerate(SEEDS):
        arrays |= {f"{i}_{name}": array for name, array in _recorded(family, number, seed).items()}
    manifest = {
        "format": _FORMAT,
        "id": id,
        "reason": family.version(number).reason,
        "seeds": SEEDS,
        "platform": _platform(),
        "state_fields": list(family.kernel(number).STATE.names),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write_within(partial, manifest, arrays)
        os.link(partial, path)  # fails if another process was first
    finally:
        partial.unlink(missing_ok=True)
    return path


def replay(path: str | Path) -> Divergence | None:
    """Return where the dynamics leave the golden file at ``path``, or None if they do not.

    Raises:
        InvalidFile: If it is no golden file.
    """
    path = Path(path)
    manifest, arrays = _read(path)
    family, number = parse_id(manifest["id"])
    exact = manifest["platform"] == _platform()
    for i, seed in enumerate(manifest["seeds"]):
        recorded = {name.partition("_")[2]: array for name, array in arrays.items() if name.startswith(f"{i}_")}
        for step, now in enumerate(_played(family, number, seed, recorded["actions"])):
            found = _first_difference(now, recorded, step, exact)
            if found is not None:
                return Divergence(path, int(seed), step, *found)
    return None


def _platform() -> dict[str, str]:
    """Return what the last bit of a result may depend on."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }


def _opened(family: Family, number: int) -> Any:
    from rlops.envs.faces import VectorEnv

    return VectorEnv(family, number, 1, autoreset_mode=AutoresetMode.DISABLED)


def _moment(
    envs: Any, obs: np.ndarray, reward: float, ended: tuple[bool, bool], infos: dict[str, Any]
) -> dict[str, Any]:
    """Return what a file records of one step of a one-row environment."""
    kpis = infos.get("kpis", {})
    return {
        "state": state_hash(envs.state[0]),
        "mask": _hash(envs.action_masks()) if hasattr(envs.kernel, "mask") else 0,
        "observation": obs[0].copy(),
        "reward": reward,
        "terms": envs.state["terms"][0].copy(),
        "ended": np.array(ended),
        "kpis": np.array([kpis[name][0] for name in kpis if not name.startswith("_")]),
        "row": envs.state[:1].copy(),
    }


def _played(family: Family, number: int, seed: int, actions: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the reset and every step of one episode under ``actions``."""
    envs = _opened(family, number)
    obs, infos = envs.reset(seed=[int(seed)])
    yield _moment(envs, obs, 0.0, (False, False), infos)
    for action in actions:
        if envs.state["terminated"][0] or envs.state["truncated"][0]:
            return  # earlier than recorded: the step before said so
        obs, reward, terminated, truncated, infos = envs.step(np.asarray(action)[None])
        yield _moment(envs, obs, float(reward[0]), (bool(terminated[0]), bool(truncated[0])), infos)


def _scripted(family: Family, number: int, seed: int) -> np.ndarray:
    """Return the actions of one episode, drawn among the legal ones."""
    envs = _opened(family, number)
    draws = np.random.default_rng(seed)
    envs.reset(seed=[seed])
    actions: list[Any] = []
    while len(actions) < MAX_STEPS:
        if hasattr(envs.kernel, "mask"):
            action = draws.choice(np.flatnonzero(envs.action_masks()[0]))
        else:
            envs.single_action_space.seed(int(draws.integers(2**31)))
            action = envs.single_action_space.sample()
        actions.append(action)
        _, _, terminated, truncated, _ = envs.step(np.asarray(action)[None])
        if terminated[0] or truncated[0]:
            break
    return np.array(actions)


def _recorded(family: Family, number: int, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays that a file keeps of one episode."""
    actions = _scripted(family, number, seed)
    moments = list(_played(family, number, seed, actions))
    kept = np.unique(np.linspace(0, len(moments) - 1, SNAPSHOTS).astype(np.int64))
    return {
        "actions": actions.astype(np.int16) if actions.dtype.kind == "i" else actions,
        "state": np.array([m["state"] for m in moments], np.uint64),
        "mask": np.array([m["mask"] for m in moments], np.uint64),
        "observation": np.stack([m["observation"] for m in moments]),
        "reward": np.array([m["reward"] for m in moments]),
        "terms": np.stack([m["terms"] for m in moments]),
        "ended": np.stack([m["ended"] for m in moments]),
        "kpis": moments[-1]["kpis"],
        "row_steps": kept,
        "rows": np.concatenate([_bytes(moments[step]["row"][0])[None] for step in kept]),
    }


def _write_within(path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the file, keeping every second, third, … observation until it fits ``SIZE_LIMIT``."""
    every = 1
    while True:
        thinned = {n: a[::every] if n.endswith("_observation") else a for n, a in arrays.items()}
        text = json.dumps({**manifest, "observation_every": every})
        content: Any = {"manifest": np.frombuffer(text.encode(), np.uint8), **thinned}
        with path.open("wb") as file:
            np.savez_compressed(file, **content)
        size = path.stat().st_size
        if size <= SIZE_LIMIT:
            return
        if every > MAX_STEPS:
            raise InvalidValue(f"A golden file must have at most {SIZE_LIMIT} bytes, got {size} for {manifest['id']}.")
        every += 1


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        manifest = json.loads(arrays.pop("manifest").tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise InvalidFile(f"{path} must be a golden file that rlops recorded, got: {error}") from None
    if manifest.get("format") != _FORMAT:
        raise InvalidFile(f"{path} must be of format {_FORMAT}, got {manifest.get('format')}.")
    every = manifest["observation_every"]
    return manifest, arrays | {f"{i}_every": np.array(every) for i in range(len(manifest["seeds"]))}


def _first_difference(
    now: dict[str, Any], recorded: dict[str, np.ndarray], step: int, exact: bool
) -> tuple[str, str] | None:
    """Return the layer that differs at ``step`` and how, the cause before its consequences."""
    if exact and now["state"] != recorded["state"][step]:
        return "state", _fields(now["row"], recorded, step)
    for layer in ("terms", "reward", "ended"):
        if not _same(now[layer], recorded[layer][step], exact):
            return layer, f"recorded {recorded[layer][step]}, now {now[layer]}"
    every = int(recorded["every"])
    if step % every == 0:
        before = recorded["observation"][step // every]
        if before.shape != now["observation"].shape:
            return "observation", f"recorded {before.shape}, now {now['observation'].shape}"
        if not _same(now["observation"], before, exact):
            column = int(np.argmax(~_close(now["observation"], before, exact)))
            return (
                "observation",
                f"column {column}: recorded {before[column]}, now {now['observation'][column]}",
            )
    if exact and now["mask"] != recorded["mask"][step]:
        return "mask", "other actions are legal"
    if now["ended"].any() and not _same(now["kpis"], recorded["kpis"], exact):
        return "kpis", f"recorded {recorded['kpis']}, now {now['kpis']}"
    return None


def _close(now: Any, before: Any, exact: bool) -> np.ndarray:
    a, b = np.asarray(now), np.asarray(before)
    if exact or a.dtype.kind == "b":
        return np.asarray((a == b) | ((a != a) & (b != b)))
    close: np.ndarray = np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return close


def _same(now: Any, before: Any, exact: bool) -> bool:
    return np.shape(now) == np.shape(before) and bool(_close(now, before, exact).all())


def _fields(row: np.ndarray, recorded: dict[str, np.ndarray], step: int) -> str:
    """Return which fields of the state differ, where the file keeps the whole state of that step."""
    kept = np.flatnonzero(recorded["row_steps"] == step)
    if not len(kept):
        return "its hash (whole states are kept at steps " + ", ".join(map(str, recorded["row_steps"])) + ")"
    before, now = recorded["rows"][kept[0]], _bytes(row[0])
    if before.shape != now.shape:
        return f"its layout: {len(before)} bytes recorded, {len(now)} now"
    names, start = [], 0
    for name in row.dtype.names or ():
        end = start + len(_bytes(row[0][name]))
        if not np.array_equal(before[start:end], now[start:end]):
            names.append(name)
        start = end
    return ", ".join(names)


def _bytes(value: Any) -> np.ndarray:
    """Return the values of a record, or of records within it, without the padding between them."""
    if value.dtype.names:
        return np.concatenate([_bytes(value[name]) for name in value.dtype.names])
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)


def state_hash(row: Any) -> int:
    """Return a 64-bit hash of a state record: of its values, not of the padding between them."""
    return _hash(_bytes(row))


def _hash(array: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).digest(), "little")
