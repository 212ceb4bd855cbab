"""Uploads that were broken off: where each was going, kept in the store for the next process to go on with."""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class Upload:
    """A note of where an upload goes on, held by one process at a time; used as a context.

    A process that finds it held by another gets an empty one, which keeps nothing: both upload for themselves.

    Attributes:
        place: Address that the registry named last; empty: none has begun, or it is not known.
    """

    def __init__(self, folder: Path, target: str):
        """Take the note of what goes to ``target``: registry, repository and digest."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / hashlib.sha256(target.encode()).hexdigest()
        self._file: IO[str] | None = self._path.open("a+", encoding="utf-8")
        self.place = ""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            self._file = None
            return
        self._file.seek(0)
        self.place = self._file.read()

    def goes_on_at(self, place: str) -> None:
        """Remember that the upload goes on at ``place``."""
        self.place = place
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(place)
            self._file.flush()

    def over(self) -> None:
        """Forget it: the upload has ended, or cannot be gone on with."""
        self.place = ""
        if self._file is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
            if not self.place:
                self.over()
