"""The project's own files as an image holds them: from its source tree, or from where it is installed.

What is imported now is what gets into the image. In a source tree the wheel is built with hatchling; an installed
package is taken as its wheel brought it. Both give the same files, and ``RECORD`` lists them in order.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path

import rlops
from rlops.errors import InvalidFile, MissingExtra
from rlops.registry.layers import File
from rlops.registry.wheels import files_of

_OF_THE_INSTALLER = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")


def project_files() -> dict[str, File]:
    """Return the files of this package's wheel, by path.

    Raises:
        MissingExtra: If it is a source tree and hatchling is not installed.
        InvalidFile: If it is neither a source tree nor installed.
    """
    tree = Path(rlops.__file__).parents[1]
    files = _built(tree) if (tree / "pyproject.toml").is_file() else _installed()
    return _recorded(files)


def _built(tree: Path) -> dict[str, File]:
    try:
        from hatchling.builders.wheel import WheelBuilder
    except ImportError:
        raise MissingExtra("Building an image from a source tree", "dev") from None
    with tempfile.TemporaryDirectory() as folder:
        wheel = next(iter(WheelBuilder(str(tree)).build(directory=folder, versions=["standard"])))
        files = files_of(Path(wheel))
    return {path: File(file.content) for path, file in files.items() if not path.endswith("/RECORD")}


def _installed() -> dict[str, File]:
    try:
        found = importlib.metadata.distribution("rlops").files or []
    except importlib.metadata.PackageNotFoundError:
        found = []
    kept = {
        str(path): File(Path(str(path.locate())).read_bytes())
        for path in found
        if ".." not in path.parts and "__pycache__" not in path.parts and path.name not in _OF_THE_INSTALLER
    }
    if "rlops/__init__.py" not in kept:
        raise InvalidFile(f"rlops must be a source tree, or installed with its list of files, got {rlops.__file__}.")
    return kept


def _recorded(files: Mapping[str, File]) -> dict[str, File]:
    """Return ``files`` with the list of them that an installed package has."""
    folder = next(path.partition("/")[0] for path in files if path.partition("/")[0].endswith(".dist-info"))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for path in sorted(files):
        content = b"".join(files[path].chunks())
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow([path, f"sha256={digest}", len(content)])
    record = f"{folder}/RECORD"
    writer.writerow([record, "", ""])
    return {**files, record: File(lines.getvalue().encode())}
