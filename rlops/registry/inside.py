"""Running the code of an image as a plain process, with its own dependencies and none of this interpreter's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlops.errors import InvalidValue, RegistryError
from rlops.registry.oci import Descriptor
from rlops.registry.processors import check_processor
from rlops.registry.store import Store
from rlops.registry.unpacking import unpack
from rlops.registry.wheels import python_tag

ROOT = "opt/rlops"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL", "TZ", "PYTHONHASHSEED")


def environment(root: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables under which code in the unpacked image at ``root`` runs."""
    where = [str(root / ROOT / part) for part in ("project", "dependencies")]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(where), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
            "PYTHONWARNINGS": "ignore", **variables}  # fmt: skip


def run(root: Path, arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """Run Python with ``arguments`` within an unpacked image and return what it prints.

    Raises:
        RuntimeUnavailable: If the variables ask for code that this processor cannot run.
        RegistryError: If it fails.
    """
    check_processor(variables.get("NUMBA_CPU_NAME", ""))
    with tempfile.TemporaryDirectory() as home:
        ended = subprocess.run(
            [sys.executable, "-S", *arguments],
            env=environment(root, {"HOME": home, **variables}),
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise RegistryError(f"The code of the image must run, but it ends with: {lines[-1] if lines else 'nothing'}.")
    return ended.stdout


def copy_compiled(folder: Path, target: Path) -> None:
    """Copy compiled code of an image to where it may change.

    Its folders become new: those in a layer are of 1970, and would be tidied away as unused for more than a month.
    """
    shutil.copytree(folder, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for copied in (target, *(path for path in target.rglob("*") if path.is_dir())):
        copied.chmod(0o700)
        os.utime(copied)


def configuration(store: Store, image: Descriptor) -> dict[str, Any]:
    """Return how an image wants to be run: ``Env``, ``Entrypoint``, ``Labels`` and so on."""
    told: dict[str, Any] = json.loads(store.read(store.manifest(image).config))["config"]
    return told


def asked(store: Store, image: Descriptor, program: str, *arguments: str) -> Any:
    """Return what a ``program`` prints as JSON when it runs within an image.

    Raises:
        InvalidValue: If the image is for another Python.
        RegistryError: If the program fails.
    """
    told = configuration(store, image)
    python = (told.get("Labels") or {}).get("dev.rlops.python", "")
    if python != python_tag():
        raise InvalidValue(f"The image's code must run on this Python, {python_tag()}, but is for {python or 'none'}.")
    root = unpack(store, image)
    variables = dict(line.split("=", 1) for line in told.get("Env") or [])
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled"
        if (root / ROOT / "compiled").is_dir():
            copy_compiled(root / ROOT / "compiled", compiled)
        own = {name: value for name, value in variables.items() if name.startswith("NUMBA_")}
        return json.loads(run(root, ["-c", program, *arguments], {**own, "RLOPS_CACHE_DIR": str(compiled)}))
