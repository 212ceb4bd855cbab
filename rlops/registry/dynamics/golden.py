"""Golden files: the recorded episodes of a released version, in one file that is written once.

A file is a zip archive: ``manifest.json`` (what, why, on which platform, the specification, the fingerprint, how each
episode is played) and arrays. States, actions, parameters, observations, masks, rewards, reward terms, ends and key
figures are recorded to the last bit, never made again; later moments hold only what differs from the one before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlops.errors import InvalidFile, InvalidValue
from rlops.registry.dynamics.subjects import Episode, Recording, Subject
from rlops.registry.dynamics.traces import Trace, pack, shortened, unpack

FORMAT = 2
FOLDER = Path("tests/golden")
"""Where golden files are unless told otherwise."""
RETURNS = 256
"""Episodes whose returns are kept for the comparison of statistics."""
_MANIFEST = "manifest.json"
_WRITTEN_AT = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Golden:
    """What a golden file says.

    Attributes:
        path: The file.
        manifest: Id, reason, platform, specification, fingerprint, episodes.
        recordings: The episodes.
        returns: Returns of many episodes, by policy.
    """

    path: Path
    manifest: dict[str, Any]
    recordings: list[Recording]
    returns: dict[str, np.ndarray]

    @property
    def id(self) -> str:
        """What was recorded."""
        return str(self.manifest["id"])


def golden_file(subject: Subject, folder: str | Path = FOLDER) -> Path:
    """Return where the golden file of ``subject`` lies in ``folder``."""
    return Path(folder) / f"{subject.stem}.npz"


def record(
    subject: Subject, reason: str, folder: str | Path = FOLDER, reference: Any = None, returns: int = RETURNS
) -> Path:
    """Record the golden file of a version and return its path.

    Args:
        subject: What is recorded.
        reason: Why there is this version, or this recording.
        folder: Where the file is put.
        reference: A controller that plays one of the episodes; None: there is none.
        returns: Episodes whose returns are kept too, for the comparison of statistics; 0: none.

    Raises:
        InvalidValue: If the file exists: a released version does not change. Or if there is no reason.
    """
    from rlops.registry.dynamics.fingerprint import fingerprint

    path = golden_file(subject, folder)
    if path.exists():
        raise InvalidValue(
            f"{path} must not exist yet: a recorded version never changes. If its dynamics must, release a new "
            f"version; what is not released yet, remove by hand."
        )
    if not reason.strip():
        raise InvalidValue(f"The recording of {subject.id} must have a reason, got none. Say why: --reason TEXT.")
    recordings = subject.recorded(reference)
    policies = ["random", *(["reference"] if reference is not None else [])] if returns else []
    manifest = {
        "format": FORMAT,
        "id": subject.id,
        "reason": reason,
        "platform": subject.platform(),
        "engine": subject.engine,
        "specification": subject.specification(),
        "fingerprint": fingerprint(subject).as_json(),
        "reference": getattr(reference, "name", None),
    }
    kept = {policy: subject.returns(policy, returns, reference) for policy in policies}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial, manifest, recordings, kept)
        os.link(partial, path)  # fails if another process was first
    finally:
        partial.unlink(missing_ok=True)
    return path


def write(
    path: Path, manifest: Mapping[str, Any], recordings: list[Recording], returns: Mapping[str, np.ndarray]
) -> None:
    """Write a golden file; the same content makes the same bytes."""
    arrays: dict[str, np.ndarray] = {f"returns/{policy}": values for policy, values in returns.items()}
    episodes = []
    for k, one in enumerate(recordings):
        layout, packed = pack(one.trace)
        forced, forced_packed = pack(one.forced) if one.forced is not None else (None, {})
        arrays |= {f"{k}/{name}": array for name, array in packed.items()}
        arrays |= {f"{k}/forced/{name}": array for name, array in forced_packed.items()}
        arrays[f"{k}/actions"] = one.episode.actions
        if one.episode.data is not None:
            arrays[f"{k}/data"] = np.asarray(one.episode.data)
        told = {name: getattr(one.episode, name) for name in ("name", "seed", "level", "variant", "agents")}
        told |= {"params": dict(one.episode.params), "from": "reset" if one.episode.start is None else "state"}
        episodes.append({**told, "layout": layout, "forced": forced})
    contents = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    full = {**manifest, "episodes": episodes, "sha256": hashes}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        text = json.dumps(full, indent=1, sort_keys=True).encode()
        for name, content in {_MANIFEST: text, **contents}.items():
            entry = zipfile.ZipInfo(name, _WRITTEN_AT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def manifest_of(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a golden file.

    Raises:
        InvalidFile: If it is none, or of another format.
    """
    try:
        with zipfile.ZipFile(path) as file:
            manifest: dict[str, Any] = json.loads(file.read(_MANIFEST))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidFile(f"{path} must be a golden file that rlops recorded, got: {error}.") from None
    if manifest.get("format") != FORMAT:
        raise InvalidFile(f"{path} must be of format {FORMAT}, got {manifest.get('format')}. Record it anew.")
    return manifest


def read(path: str | Path) -> Golden:
    """Return what a golden file says.

    Raises:
        InvalidFile: If it is none, of another format, or damaged.
    """
    manifest = manifest_of(path)
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as file:
            for name, expected in manifest["sha256"].items():
                content = file.read(name)
                if hashlib.sha256(content).hexdigest() != expected:
                    raise InvalidFile(f"{path} must be as it was recorded, but its {name} has changed. Restore it.")
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidFile(f"{path} must be a whole golden file, got: {error}. Restore it.") from None
    recordings = [_recording(k, told, arrays) for k, told in enumerate(manifest["episodes"])]
    returns = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("returns/")}
    return Golden(Path(path), manifest, recordings, returns)


def _recording(k: int, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Recording:
    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    trace: Trace = unpack(told["layout"], part(f"{k}/"))
    forced = unpack(told["forced"], part(f"{k}/forced/")) if told["forced"] is not None else None
    episode = Episode(
        told["name"], told["seed"], arrays[f"{k}/actions"], told["level"], told["params"], told["variant"],
        told["agents"], arrays.get(f"{k}/data"), None if told["from"] == "reset" else shortened(trace, 0, 0),
    )  # fmt: skip
    return Recording(episode, trace, forced)
