"""Layers: folders as tar files that are the same wherever they are made, and their safe way back.

Layers are written **uncompressed**: their digest is part of an image's identity, and the same compressor in another
version, or another zlib, makes other bytes of the same files. Entries are sorted and belong to root at time zero; a
file is 0644 or 0755, a folder 0755; what an entry's name needs beyond USTAR is a PAX record of the name alone.

What is unpacked is nobody's friend: paths and links stay in their folder, there are no devices and no setuid files, and
what an archive unfolds to is bounded.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from rlops.errors import CorruptContent, UnsafeLayer
from rlops.registry import oci

CHUNK = 1 << 20
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Limits:
    """What a layer may unfold to.

    Attributes:
        size: Bytes of all files together, and of the archive.
        ratio: Bytes of the archive for each that is stored.
        entries: Files, folders and links.
    """

    size: int = 8 << 30
    ratio: float = 100.0
    entries: int = 500_000


@dataclass(frozen=True)
class File:
    """What becomes of a file in a layer: its bytes, or a file that holds them, and whether it can be run."""

    content: bytes | Path
    executable: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, some at a time."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


class Readable(Protocol):
    """Where a layer's bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        ...


def layer(files: Mapping[str, File]) -> Iterator[bytes]:
    """Yield the bytes of the layer that holds ``files`` by their path, and the folders that they need.

    >>> import hashlib
    >>> hashlib.sha256(b"".join(layer({"opt/a": File(b"1")}))).hexdigest()[:16]
    'fd70a1e6f295b9de'

    Raises:
        UnsafeLayer: If a path leaves the layer.
    """
    folders = {str(parent) for path in files for parent in _checked(path).parents if str(parent) != "."}
    written = 0
    for path in sorted({*files, *folders}):
        file = files.get(path)
        head = _header(path, file)
        yield head
        written += len(head)
        if file is not None:
            for chunk in file.chunks():
                yield chunk
                written += len(chunk)
            padding = -file.size % _BLOCK
            yield bytes(padding)
            written += padding
    yield bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % tarfile.RECORDSIZE)


def _header(path: str, file: File | None) -> bytes:
    entry = tarfile.TarInfo(path)
    entry.type = tarfile.DIRTYPE if file is None else tarfile.REGTYPE
    entry.mode = 0o755 if file is None or file.executable else 0o644
    entry.size = 0 if file is None else file.size
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _checked(path: str) -> PurePosixPath:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\0" in path:
        raise UnsafeLayer(f"A path in a layer must stay below its root, got {path!r}.")
    return parts


def extract(source: Readable, media_type: str, stored: int, folder: Path, limits: Limits | None = None) -> None:
    """Unpack a layer over what ``folder`` holds of the layers below it.

    Args:
        source: The stored layer, which is read to its end.
        media_type: Of the layer: plain or gzip.
        stored: Its size [bytes].
        folder: Root of the image; nothing outside of it is touched.
        limits: What it may unfold to.

    Raises:
        UnsafeLayer: If it holds a path or link that leaves ``folder``, a device, a setuid file, or too much. What has
            been unpacked by then stays: unpack into a folder that can be thrown away.
        CorruptContent: If it is no archive of its type.
    """
    bounds = limits or Limits()
    stream = _Bounded(_opened(source, media_type), media_type, stored, bounds)
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK, tarinfo=_Entry) as archive:  # type: ignore[call-overload]
            _Extraction(folder, bounds).all(archive)
        while stream.read(CHUNK):  # padding
            pass
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise CorruptContent(f"A layer must be a whole archive of type {media_type}, got: {error}.") from None


def _opened(source: Readable, media_type: str) -> Readable:
    if media_type == oci.LAYER:
        return source
    if media_type in (oci.LAYER_GZIP, oci.DOCKER_LAYER_GZIP):
        return _Gunzipped(source)
    raise UnsafeLayer(f"A layer must be a tar file, plain or gzipped, to be unpacked, got {media_type}.")


class _Gunzipped:
    """Reads gzip, never more of it than was asked for."""

    def __init__(self, source: Readable):
        self._source, self._inflate = source, zlib.decompressobj(wbits=31)

    def read(self, size: int = -1) -> bytes:
        while True:
            pending = self._inflate.unconsumed_tail
            if self._inflate.eof:
                return self._next_member(size)
            compressed = pending or self._source.read(CHUNK)
            if not compressed:
                raise EOFError("it ends too early")
            if found := self._inflate.decompress(compressed, size):
                return found

    def _next_member(self, size: int) -> bytes:
        rest = self._inflate.unused_data or self._source.read(CHUNK)
        if not rest.strip(b"\0"):
            return b""
        self._inflate = zlib.decompressobj(wbits=31)
        found = self._inflate.decompress(rest, size)
        return found or self.read(size)


class _Bounded:
    """Reads until more comes out than is allowed."""

    def __init__(self, source: Readable, media_type: str, stored: int, limits: Limits):
        allowed_by_ratio = max(int(stored * limits.ratio), CHUNK)
        self._allowed = min(limits.size, allowed_by_ratio)
        self._source, self._told = source, f"{stored} stored bytes"
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self._read += len(chunk)
        if self._read > self._allowed:
            raise UnsafeLayer(
                f"A layer of {self._told} must unfold to at most {self._allowed} bytes, got more: the disk would fill."
            )
        return chunk


class _Entry(tarfile.TarInfo):
    """An entry whose name and other records are not so long that they would fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Entry:
        """Return the entry of a header."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.type not in (*tarfile.REGULAR_TYPES, *_PLAIN_TYPES) and entry.size > CHUNK:
            raise UnsafeLayer(f"A record of a layer must have at most {CHUNK} bytes, got {entry.size}.")
        return entry


_PLAIN_TYPES = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


class _Extraction:
    """One layer on its way into a folder."""

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self.limits = folder, limits
        self.written: set[Path] = set()
        self.size = 0

    def all(self, archive: tarfile.TarFile) -> None:
        for count, entry in enumerate(archive, 1):
            if count > self.limits.entries:
                raise UnsafeLayer(f"A layer must have at most {self.limits.entries} entries, got more.")
            self.one(archive, entry)
            archive.members = []  # type: ignore[attr-defined]  # or a million of them stay in memory

    def one(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        name = entry.name.removeprefix("./")
        if name in ("", "."):
            return
        path = self.folder / _checked(name)
        if path.name == _OPAQUE:
            self.hide_below(self.parent(path))
        elif path.name.startswith(_WHITEOUT):
            hidden = path.with_name(path.name.removeprefix(_WHITEOUT))
            if hidden.name in ("", ".", ".."):
                raise UnsafeLayer(f"A whiteout must name a file beside it, got {name!r}.")
            self.parent(path)
            _remove(hidden)
        elif entry.isdir():
            self.directory(path)
        elif entry.isreg() and not entry.issparse():
            self.file(archive, entry, path)
        elif entry.issym():
            self.link(path, entry.linkname)
        elif entry.islnk():
            self.hard_link(path, entry.linkname)
        else:
            raise UnsafeLayer(f"A layer must hold files, folders and links only, got {name!r} of type {entry.type!r}.")
        self.written.add(path)

    def parent(self, path: Path) -> Path:
        """Return the folder that ``path`` lies in; no part of the way there may be a link."""
        at = self.folder
        for part in path.parent.relative_to(self.folder).parts:
            at = at / part
            if at.is_symlink() or (at.exists() and not at.is_dir()):
                raise UnsafeLayer(f"A layer must not write through {at.relative_to(self.folder)}, which is no folder.")
            at.mkdir(mode=0o755, exist_ok=True)
        return at

    def directory(self, path: Path) -> None:
        self.parent(path)
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir(mode=0o755)

    def file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
        if entry.mode & (stat.S_ISUID | stat.S_ISGID):
            raise UnsafeLayer(f"A file in a layer must not be setuid or setgid, got {entry.name!r}.")
        self.size += entry.size
        if self.size > self.limits.size:
            raise UnsafeLayer(f"The files of a layer must have at most {self.limits.size} bytes, got more.")
        self.parent(path)
        _remove(path)
        source = archive.extractfile(entry)
        assert source is not None
        mode = 0o555 if entry.mode & 0o111 else 0o444
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, mode), "wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
            os.fchmod(target.fileno(), mode)

    def link(self, path: Path, target: str) -> None:
        """Make a symbolic link whose target climbs only at its beginning: later it might climb out of another link."""
        depth = len(self.parent(path).relative_to(self.folder).parts)
        steps = PurePosixPath(target).parts
        climbs = next((n for n, part in enumerate(steps) if part != ".."), len(steps))
        if target.startswith("/") or "\0" in target or climbs > depth or ".." in steps[climbs:]:
            raise UnsafeLayer(f"A link in a layer must stay below its root, got {path.name!r} to {target!r}.")
        _remove(path)
        path.symlink_to(target)

    def hard_link(self, path: Path, target: str) -> None:
        self.parent(path)
        source = self.folder / _checked(target.removeprefix("./"))
        if self.parent(source) and (source.is_symlink() or not source.is_file()):
            raise UnsafeLayer(f"A hard link in a layer must mean a file in it, got {path.name!r} to {target!r}.")
        _remove(path)
        os.link(source, path, follow_symlinks=False)

    def hide_below(self, folder: Path) -> None:
        """Remove what lower layers have put into ``folder``."""
        ours = {parent for path in self.written for parent in [path, *path.parents]}
        for path in sorted(folder.iterdir()):
            if path not in ours:
                _remove(path)
            elif path.is_dir() and not path.is_symlink():
                self.hide_below(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
