"""Files that are written whole or not at all, and files of the user's that are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rlops.errors import InvalidFile


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path, with the suffix of ``path``; the file gets its name when the block ends without an error.

    The folder is made if needed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file, which a JSON file is too.

    Raises:
        InvalidFile: If it cannot be read.
    """
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidFile(f"{path} must be a readable YAML or JSON file, got: {error}") from None
