"""The dependencies of an image: wheels, each known by its hash, and what becomes of them in a layer.

``locks/`` holds a list for each platform: ``numpy==2.4.6 --hash=sha256:…``. Wheels are looked for in a folder of the
user's, ``$RLOPS_WHEELS`` or ``~/.cache/rlops/wheels``; those that are missing are brought by pip, which refuses any
other bytes. A wheel is unpacked by itself, no installer runs: its files go where Python looks for them, its programs to
``bin/``, and its modules are compiled to bytecode that says nothing of time or place.

``python -m rlops.registry.wheels --lock`` writes the lists of this platform anew from ``requirements.lock``: one of the
base dependencies, and for each of :data:`EXTRAS` one of what it adds. ``python -m rlops.registry.wheels`` brings what
is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import marshal
import os
import platform
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from rlops.errors import CorruptContent, InvalidFile, MissingContent, UnknownName
from rlops.registry.layers import File

LOCKS = Path(__file__).parent / "locks"
BASE = ("numpy", "numba", "tbb", "gymnasium", "pettingzoo", "pydantic", "typer", "rich", "pyyaml")
EXTRAS = {"robotics": ("mujoco",)}
"""Packages beside the base ones by the extra that they belong to; images whose environment needs none are free of them.
"""
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.]+)\s+--hash=sha256:(?P<hash>[0-9a-f]{64})")
_DATA_PARTS = {"purelib": "", "platlib": "", "scripts": "bin/", "data": "", "headers": "include/"}
_MARSHAL = 2
"""Version of the format that does not tell what else refers to an object: the same code makes the same bytes."""


@dataclass(frozen=True)
class Requirement:
    """A wheel that is wanted, and no other."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Wheel:
    """A wheel that is here, with the bytes that were wanted."""

    requirement: Requirement
    path: Path


def python_tag() -> str:
    """Return the tag of this Python, for example ``cp311``: wheels and bytecode are made for it."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def lock_file(extra: str = "") -> Path:
    """Return the list of this platform's wheels: the base ones, or those that an ``extra`` adds."""
    name = f"{platform.system().lower()}-{platform.machine()}-{python_tag()}"
    return LOCKS / (f"{name}.{extra}.txt" if extra else f"{name}.txt")


def wheel_folder() -> Path:
    """Return where wheels are kept: ``$RLOPS_WHEELS``, or ``~/.cache/rlops/wheels``."""
    return Path(os.environ.get("RLOPS_WHEELS") or Path.home() / ".cache" / "rlops" / "wheels")


def locked(path: Path) -> list[Requirement]:
    """Return the wheels that a list names.

    Raises:
        UnknownName: If there is no such list.
        InvalidFile: If a line has no exact version or no hash.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        known = [p.name for p in path.parent.glob("*.txt")]
        raise UnknownName("list of wheels", path.name, known, "rlops.registry.locks") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InvalidFile(f"{path}, line {number}, must be NAME==VERSION --hash=sha256:…, got {line!r}.")
        found.append(Requirement(match["name"], match["version"], match["hash"]))
    return found


def fetch(requirements: Sequence[Requirement], folder: Path) -> list[Wheel]:
    """Return the wanted wheels from ``folder``, where those that are missing are brought first.

    Nothing is asked of the network when none is missing.

    Raises:
        MissingContent: If pip cannot bring one.
        CorruptContent: If a file has the right name, but other bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [one for one in requirements if not _files(folder, one)]
    if missing:
        _download(missing, folder)
    return [_checked(folder, one) for one in requirements]


def _download(missing: Iterable[Requirement], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        wanted = Path(partial) / "wanted.txt"
        wanted.write_text("".join(f"{one}\n" for one in missing))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", partial, "--requirement", str(wanted)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            told = " ".join(ended.stderr.split())[-500:]
            raise MissingContent(f"The wheels of {lock_file()} must be in {folder}, or pip must bring them: {told}")
        for wheel in Path(partial).glob("*.whl"):
            wheel.replace(folder / wheel.name)


def _files(folder: Path, wanted: Requirement) -> list[Path]:
    name = re.sub(r"[-_.]+", "_", wanted.name).lower()
    return [
        path
        for path in sorted(folder.glob("*.whl"))
        if re.sub(r"[-_.]+", "_", path.name.split("-")[0]).lower() == name and path.name.split("-")[1] == wanted.version
    ]


def _checked(folder: Path, wanted: Requirement) -> Wheel:
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in _files(folder, wanted)}
    if wanted.sha256 not in found:
        names = ", ".join(path.name for path in found.values()) or "none"
        raise CorruptContent(
            f"{folder} must hold a wheel {wanted.name} {wanted.version} with SHA-256 {wanted.sha256}, got {names} with "
            "other bytes. Remove it."
        )
    return Wheel(wanted, found[wanted.sha256])


def files_of(wheel: Path, told_only: bool = False) -> dict[str, File]:
    """Return what a wheel becomes, by path below the folder that Python looks into; or only what it tells of itself.

    Raises:
        InvalidFile: If it is no wheel, or holds a path that leaves its folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if told_only:
                entries = [entry for entry in entries if entry.filename.partition("/")[0].endswith(".dist-info")]
            return {
                _place(entry.filename, wheel): File(archive.read(entry), bool(entry.external_attr >> 16 & 0o100))
                for entry in entries
            }
    except (zipfile.BadZipFile, OSError) as error:
        raise InvalidFile(f"{wheel} must be a wheel, got: {error}.") from None


def _place(name: str, wheel: Path) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise InvalidFile(f"{wheel} must hold paths below its folder, got {name!r}.")
    if parts[0].endswith(".data") and len(parts) > 2:
        return _DATA_PARTS.get(parts[1], "") + "/".join(parts[2:])
    return "/".join(parts)


def with_bytecode(files: Mapping[str, File], below: str) -> dict[str, File]:
    """Return ``files`` and, for every module but tests, its bytecode, which says that it lies ``below`` a folder.

    The bytecode is not held against the source (PEP 552, unchecked): layers cannot be written.
    """
    compiled = dict(files)
    for path, file in files.items():
        place = PurePosixPath(path)
        if place.suffix == ".py" and isinstance(file.content, bytes) and "tests" not in place.parts:
            code = _bytecode(file.content, f"{below}/{path}")
            if code:
                name = f"{place.stem}.{sys.implementation.cache_tag}.pyc"
                compiled[str(place.parent / "__pycache__" / name)] = File(code)
    return compiled


def _bytecode(source: bytes, path: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):  # templates, and code for other versions of Python
        return b""
    unchecked = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source) + marshal.dumps(code, _MARSHAL)


@cache
def lock_hash(*paths: Path) -> str:
    """Return the SHA-256 of lists of wheels."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def write_lock(path: Path, pins: Path, names: Sequence[str], without: Sequence[Requirement] = ()) -> None:
    """Write the list of the wheels that ``names`` need on this platform, in the versions that ``pins`` names.

    Those that stand in another list, ``without``, are left out.
    """
    versions = dict(line.split("==") for line in pins.read_text().splitlines() if "==" in line and line[0] != "#")
    known = {name.lower(): f"{name}=={version}" for name, version in versions.items()}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary", ":all:", "--report", str(report), "--constraint", str(pins)]
        subprocess.run([*command, *(known[name] for name in names)], check=True)
        installed = json.loads(report.read_text())["install"]
    found = [
        Requirement(
            one["metadata"]["name"],
            one["metadata"]["version"],
            one["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for one in installed
    ]
    lines = [str(one) for one in found if one not in without]
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# Wheels of an image, written by `python -m rlops.registry.wheels --lock`.\n"
    path.write_text(head + "\n".join(sorted(lines, key=str.lower)) + "\n")


def _main() -> None:
    parser = argparse.ArgumentParser(description="The wheels that images are made of.")
    parser.add_argument("--lock", action="store_true", help="write this platform's list from requirements.lock")
    parser.add_argument("--into", type=Path, default=None, help="folder of the wheels")
    given = parser.parse_args()
    if given.lock:
        pins = Path("requirements.lock")
        write_lock(lock_file(), pins, BASE)
        for extra, names in EXTRAS.items():
            write_lock(lock_file(extra), pins, names, locked(lock_file()))
    wanted = [one for extra in ("", *EXTRAS) for one in locked(lock_file(extra))]
    wheels = fetch(wanted, given.into or wheel_folder())
    print(f"{len(wheels)} wheels in {wheels[0].path.parent}")


if __name__ == "__main__":
    _main()
