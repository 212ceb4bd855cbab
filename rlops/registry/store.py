"""The images on this machine: an OCI image layout, that is, a folder that other tools can read too.

::

    oci-layout  index.json  blobs/sha256/…    as the OCI image specification says
    ingest/                                   what is still being written
    unpacked/                                 layers as folders (:mod:`rlops.registry.unpacking`)
    uploads/                                  where interrupted pushes go on (:mod:`rlops.registry.uploads`)
    locks/

A blob is hashed while it is written, under another name, and gets its own name only once it is whole and what was
promised; ``index.json`` is replaced as a whole. So whatever is killed, and whenever, what has a name is good. Who
writes holds the store's lock together with other writers; :meth:`Store.gc` holds it alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from rlops.errors import CorruptContent, ImmutableVersion, InvalidFile, MissingContent, RegistryError
from rlops.registry import oci
from rlops.registry.oci import Descriptor, Manifest
from rlops.registry.references import Reference, is_reference
from rlops.registry.uploads import Upload

CHUNK = 1 << 20
"""Bytes that are read or written at a time."""
_LAYOUT = {"imageLayoutVersion": "1.0.0"}
_LOCKED_FOR_S = 10.0


@dataclass(frozen=True)
class Image:
    """An image that the store knows by name.

    Attributes:
        reference: Its name.
        descriptor: Of its manifest.
    """

    reference: Reference
    descriptor: Descriptor


@dataclass(frozen=True)
class Removed:
    """What a garbage collection removed: blobs, unfinished files and unpacked folders, and their bytes."""

    blobs: int
    unfinished: int
    unpacked: int
    size: int


class Ingest:
    """A blob that is being written; it has no name yet.

    Attributes:
        path: Where it is written.
        offset: Bytes that are there.
    """

    def __init__(self, store: Store, path: Path, expected: Descriptor | None):
        """Go on writing the file at ``path``, which becomes the ``expected`` blob, or any if that is None."""
        self.path, self._store, self._expected = path, store, expected
        self._digest = hashlib.sha256()
        self.offset = 0
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (_is_still(self._file, path)):
                raise BlockingIOError  # who held it has just given it its name
        except BlockingIOError:
            self._file.close()
            raise
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._count(chunk)

    def write(self, chunk: bytes | memoryview) -> None:
        """Append ``chunk``.

        Raises:
            CorruptContent: If it is more than was promised. Nothing of it is written.
        """
        expected = self._expected
        if expected is not None and self.offset + len(chunk) > expected.size:
            raise CorruptContent(f"{expected.digest} must have {expected.size} bytes, got more. Nothing of it is kept.")
        self._file.write(chunk)
        self._count(chunk)

    def _count(self, chunk: bytes | memoryview) -> None:
        self._digest.update(chunk)
        self.offset += len(chunk)

    @property
    def digest(self) -> str:
        """Digest of what is there."""
        return "sha256:" + self._digest.hexdigest()

    def commit(self, digest: str = "") -> Descriptor:
        """Give the blob its name and return its descriptor (of no particular type).

        Args:
            digest: What it must be, if that became known only now.

        Raises:
            CorruptContent: If it is not what was promised. It is removed.
        """
        wanted = self._expected.digest if self._expected else digest
        size = self._expected.size if self._expected else self.offset
        if (wanted and wanted != self.digest) or size != self.offset:
            self.discard()
            raise CorruptContent(
                f"{wanted} must have that digest and {size} bytes, got {self.digest} and {self.offset} bytes. "
                "Nothing of it is kept."
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        target = self._store.blob_path(self.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        self._file.close()
        return Descriptor(media_type="application/octet-stream", digest=self.digest, size=self.offset)

    def close(self) -> None:
        """Stop writing; what is there stays, to go on with."""
        self._file.close()

    def discard(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        self._file.close()


class VerifyingReader:
    """Reads a blob; what has been read to its end is what its digest says, or the end is an error."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor):
        """Read the blob ``descriptor`` from ``file``."""
        self._file, self._descriptor = file, descriptor
        self._hash, self._read = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that are left if negative; none at the end.

        Raises:
            CorruptContent: If there are more bytes than promised, or at the end the digest is another.
        """
        chunk = self._file.read(size)
        self._hash.update(chunk)
        self._read += len(chunk)
        if self._read > self._descriptor.size or (size != 0 and (not chunk or size < 0)):
            self._judge()
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK):
            yield chunk

    def drain(self) -> None:
        """Read what is left, so that all of it is verified."""
        for _ in self:
            pass

    def _judge(self) -> None:
        found = "sha256:" + self._hash.hexdigest()
        if (found, self._read) != (self._descriptor.digest, self._descriptor.size):
            raise CorruptContent(
                f"The stored {self._descriptor.digest} must have {self._descriptor.size} bytes and that digest, got "
                f"{self._read} bytes and {found}: the disk has damaged it, or somebody has. Pull or build it anew."
            )


class Store:
    """An OCI image layout on disk, which several processes may use at once.

    Attributes:
        root: Its folder.
    """

    def __init__(self, root: str | Path):
        """Open the layout in the folder ``root``, which is made if it is missing.

        Raises:
            InvalidFile: If the folder holds something else.
        """
        self.root = Path(root)
        marker = self.root / "oci-layout"
        if marker.exists():
            _check_layout(marker)
            return
        if self.root.is_dir() and {path.name for path in self.root.iterdir()} - _OWN:
            raise InvalidFile(f"{self.root} must be an OCI image layout, or empty, got a folder of other things.")
        for name in ("blobs/sha256", "ingest", "locks"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        with self._index_locked():
            if not (self.root / "index.json").exists():
                self._write_index([])
            _replace(marker, oci.canonical_json(_LAYOUT))

    @classmethod
    def default(cls) -> Store:
        """Return the store of this user: ``$RLOPS_REGISTRY``, or ``~/.rlops/registry``."""
        return cls(os.environ.get("RLOPS_REGISTRY") or Path.home() / ".rlops" / "registry")

    # -- locks -----------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep garbage collection away while blobs are written that nothing refers to yet."""
        with _locked(self._lock("writers"), exclusive=False):
            yield

    @contextmanager
    def _index_locked(self) -> Iterator[None]:
        with _locked(self._lock("index"), exclusive=True):
            yield

    def _lock(self, name: str) -> Path:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    # -- blobs -----------------------------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> Path:
        """Return where the blob of ``digest`` lies, or would."""
        return self.root / "blobs" / "sha256" / oci.checked_digest(digest).removeprefix("sha256:")

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether a blob of that name and size is there; its bytes are looked at when it is read."""
        try:
            return self.blob_path(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    def sound(self, descriptor: Descriptor) -> bool:
        """Return whether the blob is there and every byte of it is right; a damaged one is removed."""
        try:
            with self.reading(descriptor) as reader:
                reader.drain()
        except MissingContent:
            return False
        except CorruptContent:
            self.blob_path(descriptor.digest).unlink(missing_ok=True)
            return False
        return True

    def begin(self, expected: Descriptor | None = None) -> Ingest:
        """Return a blob to write; of an ``expected`` one that which an earlier attempt has left.

        Two processes that pull the same blob write a file each.
        """
        folder = self.root / "ingest"
        folder.mkdir(parents=True, exist_ok=True)
        if expected is not None:
            try:
                ingest = Ingest(self, folder / expected.digest.removeprefix("sha256:"), expected)
            except BlockingIOError:
                pass
            else:
                return ingest if ingest.offset <= expected.size else self._begun_anew(ingest, expected)
        return Ingest(self, folder / uuid.uuid4().hex, expected)

    def _begun_anew(self, ingest: Ingest, expected: Descriptor) -> Ingest:
        ingest.discard()
        return self.begin(expected)

    def add(self, content: bytes | Iterable[bytes], media_type: str, **annotations: str) -> Descriptor:
        """Write a blob and return its descriptor."""
        ingest = self.begin()
        try:
            for chunk in [content] if isinstance(content, bytes) else content:
                ingest.write(chunk)
            written = ingest.commit()
        except BaseException:
            ingest.discard()
            raise
        return written.model_copy(update={"media_type": media_type, "annotations": annotations or None})

    @contextmanager
    def reading(self, descriptor: Descriptor) -> Iterator[VerifyingReader]:
        """Open a blob for reading.

        Raises:
            MissingContent: If it is not there.
        """
        try:
            file = self.blob_path(descriptor.digest).open("rb")
        except FileNotFoundError:
            raise MissingContent(
                f"{self.root} must hold {descriptor.digest}, but it does not. Pull or build the image anew."
            ) from None
        with file:
            yield VerifyingReader(file, descriptor)

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a blob.

        Raises:
            MissingContent: If it is not there.
            CorruptContent: If its bytes are not what its digest says.
        """
        with self.reading(descriptor) as reader:
            return reader.read()

    def upload(self, target: str) -> Upload:
        """Return the note of what goes to ``target``: registry, repository and digest."""
        return Upload(self.root / "uploads", target)

    # -- manifests and their names -----------------------------------------------------------------------------------

    def add_manifest(self, content: bytes) -> Descriptor:
        """Write a manifest or index and return its descriptor.

        Raises:
            MissingContent: If something that it consists of is not there.
            CorruptContent: If it is no manifest.
        """
        media_type = oci.media_type_of(content)
        for part in oci.children(content):
            if not self.has(part):
                raise MissingContent(f"A manifest must come after what it consists of, but {part.digest} is missing.")
        return self.add(content, media_type)

    def manifest(self, image: Descriptor) -> Manifest:
        """Return the manifest of an image.

        Raises:
            CorruptContent: If it is an index, or no manifest at all.
        """
        return oci.manifest_of(self.read(image))

    def tag(self, reference: Reference, descriptor: Descriptor) -> None:
        """Let ``reference`` mean the image ``descriptor``.

        Raises:
            ImmutableVersion: If it is a full version that means another image.
        """
        name = str(reference) if not reference.version else reference.tagged
        with self._index_locked():
            entries = self._entries()
            before = next((e for e in entries if _name_of(e) == name), None)
            if before is not None and before.digest != descriptor.digest and reference.fixed:
                raise ImmutableVersion(released_already(name, before.digest, descriptor.digest))
            kept = [e for e in entries if _name_of(e) != name]
            self._write_index([*kept, descriptor.annotated(**{oci.REF_NAME: name})])

    def untag(self, reference: Reference) -> Descriptor:
        """Forget the name ``reference``; :meth:`gc` removes what no name needs any more.

        Raises:
            MissingContent: If there is no such name.
        """
        name = str(reference) if not reference.version else reference.tagged
        with self._index_locked():
            entries = self._entries()
            found = next((e for e in entries if _name_of(e) == name), None)
            if found is None:
                raise MissingContent(self._no_such(reference))
            self._write_index([e for e in entries if e is not found])
        return found

    def images(self) -> list[Image]:
        """Return the images that have a name, sorted by it; other tools may give names that are none here."""
        named = [(name, entry) for entry in self._entries() if (name := _name_of(entry)) and is_reference(name)]
        return [Image(Reference.parse(name), entry.annotated()) for name, entry in sorted(named, key=lambda e: e[0])]

    def roots(self) -> list[Descriptor]:
        """Return what is there for its own sake: everything in the index but what refers to something else."""
        return [entry.annotated() for entry in self._entries() if _name_of(entry) or not self._artifact(entry)[0]]

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor of the manifest that ``reference`` means.

        Raises:
            MissingContent: If there is none.
            ImmutableVersion: If it names a digest, but its version means another one here.
        """
        entries = {_name_of(e): e for e in self._entries()}
        tagged = entries.get(reference.tagged) if reference.version else None
        if not reference.digest:
            if tagged is None:
                raise MissingContent(self._no_such(reference))
            return tagged.annotated()
        if tagged is not None and tagged.digest != reference.digest:
            raise ImmutableVersion(released_already(reference.tagged, tagged.digest, reference.digest))
        path = self.blob_path(reference.digest)
        if not path.exists():
            raise MissingContent(self._no_such(reference))
        content = path.read_bytes() if path.stat().st_size <= oci.LARGEST_MANIFEST else b""
        return oci.descriptor_of(content, oci.media_type_of(content))

    def _no_such(self, reference: Reference) -> str:
        known = [str(one.reference) for one in self.images()]
        near = [name for name in known if reference.name in name]
        has = f" It has: {', '.join(near or known[:8])}." if known else " It is empty."
        return f"The store {self.root} has no image {reference}.{has} Build or pull it."

    # -- what refers to an image ---------------------------------------------------------------------------------------

    def attach(self, artifact: Descriptor) -> None:
        """Keep an artifact, whose manifest has a ``subject``, as long as its subject is kept."""
        with self._index_locked():
            entries = self._entries()
            if not any(e.digest == artifact.digest for e in entries):
                self._write_index([*entries, artifact.annotated()])

    def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """Return the artifacts whose subject is ``digest``, with their type and annotations."""
        found = []
        for entry in self._entries():
            subject, artifact = self._artifact(entry)
            if subject == digest and artifact_type in ("", artifact.artifact_type):
                found.append(artifact)
        return sorted(found, key=lambda d: d.digest)

    def _artifact(self, entry: Descriptor) -> tuple[str, Descriptor]:
        """Return the subject of an unnamed manifest (empty: none) and its descriptor with type and annotations."""
        if _name_of(entry) or entry.media_type in oci.INDEXES:
            return "", entry
        manifest = self.manifest(entry)
        kind = manifest.artifact_type or manifest.config.media_type
        told = entry.model_copy(update={"artifact_type": kind, "annotations": manifest.annotations})
        return manifest.subject.digest if manifest.subject else "", told

    def add_artifact(
        self, subject: Descriptor, kind: str, content: bytes, media_type: str = "", **annotations: str
    ) -> Descriptor:
        """Write an artifact of one blob that refers to the image ``subject``, and return its manifest's descriptor."""
        manifest = Manifest(
            config=self.add(b"{}", oci.EMPTY),
            layers=[self.add(content, media_type or kind)],
            subject=subject.annotated(),
            artifact_type=kind,
            annotations=annotations or None,
        )
        artifact = self.add_manifest(manifest.encoded())
        self.attach(artifact)
        return artifact.model_copy(update={"artifact_type": kind})

    def closure(self, descriptor: Descriptor, referrers: bool = True) -> list[Descriptor]:
        """Return everything that an image consists of, parts first: blobs, manifests, and what refers to them."""
        found: dict[str, Descriptor] = {}
        self._close(descriptor, found, referrers)
        return list(found.values())

    def _close(self, descriptor: Descriptor, found: dict[str, Descriptor], referrers: bool) -> None:
        if descriptor.digest in found:
            return
        if descriptor.media_type in (*oci.MANIFESTS, *oci.INDEXES):
            for part in oci.children(self.read(descriptor)):
                self._close(part, found, referrers)
        found[descriptor.digest] = descriptor.annotated()
        if referrers and descriptor.media_type in (*oci.MANIFESTS, *oci.INDEXES):
            for artifact in self.referrers(descriptor.digest):
                self._close(artifact, found, referrers)

    # -- garbage -----------------------------------------------------------------------------------------------------

    def gc(self, dry_run: bool = False, patience_s: float = _LOCKED_FOR_S) -> Removed:
        """Remove what no named image needs, and what killed processes have left behind.

        Args:
            dry_run: Only say what would be removed.
            patience_s: How long to wait for those who are writing [s].

        Raises:
            RegistryError: If somebody goes on writing.
        """
        from rlops.registry.unpacking import unneeded

        with _locked(self._lock("writers"), exclusive=True, patience_s=patience_s), self._index_locked():
            kept: dict[str, Descriptor] = {}
            for root in self.roots():
                self._close(root, kept, referrers=True)
            blobs = [p for p in (self.root / "blobs" / "sha256").iterdir() if f"sha256:{p.name}" not in kept]
            unfinished = [path for name in ("ingest", "uploads") for path in (self.root / name).glob("*")]
            folders = unneeded(self, kept)
            removed = Removed(
                len(blobs), len(unfinished), len(folders), sum(map(_size, [*blobs, *unfinished, *folders]))
            )
            if not dry_run:
                self._write_index([e for e in self._entries() if e.digest in kept])
                for path in [*blobs, *unfinished]:
                    path.unlink(missing_ok=True)
                for folder in folders:
                    remove_folder(folder)
        return removed

    # -- index.json ----------------------------------------------------------------------------------------------------

    def _entries(self) -> list[Descriptor]:
        path = self.root / "index.json"
        try:
            return oci.index_of(path.read_bytes()).manifests
        except (FileNotFoundError, CorruptContent) as error:
            raise InvalidFile(f"{path} must be the index of an OCI image layout, got: {error}") from None

    def _write_index(self, entries: Iterable[Descriptor]) -> None:
        listed = sorted(entries, key=lambda e: (_name_of(e), e.digest))
        _replace(self.root / "index.json", oci.Index(manifests=listed).encoded())


_OWN = {"oci-layout", "index.json", "blobs", "ingest", "locks", "unpacked", "uploads"}


def released_already(name: str, before: str, now: str) -> str:
    """Return the message that a released version would become another image."""
    return (
        f"{name} must stay what it was released as, {before}, got {now}. Give what has changed a version of its own, "
        "or name one of the digests."
    )


def remove_folder(folder: Path) -> None:
    """Remove a folder whose parts may be read-only."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def _is_still(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _name_of(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(oci.REF_NAME, "")


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file() and not p.is_symlink())
    return path.stat().st_size


def _check_layout(marker: Path) -> None:
    try:
        version = json.loads(marker.read_bytes())["imageLayoutVersion"]
    except (ValueError, KeyError, TypeError):
        version = None
    if version != _LAYOUT["imageLayoutVersion"]:
        raise InvalidFile(f"{marker} must say imageLayoutVersion 1.0.0, got {version!r}. Name another folder.")


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole, or not at all."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class _Lock:
    """An advisory lock on a file; the kernel lets it go when its holder dies."""

    def __init__(self, path: Path, flags: int):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, flags)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)


@contextmanager
def _locked(path: Path, *, exclusive: bool, patience_s: float | None = None) -> Iterator[None]:
    flags = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    if patience_s is None:
        lock = _Lock(path, flags)
    else:
        lock = _patiently(lambda: _Lock(path, flags | fcntl.LOCK_NB), patience_s, path)
    with lock:
        yield


def _patiently(take: Callable[[], _Lock], patience_s: float, path: Path) -> _Lock:
    until = time.monotonic() + patience_s
    while True:
        try:
            return take()
        except BlockingIOError:
            if time.monotonic() >= until:
                raise RegistryError(
                    f"Nobody may be writing to {path.parent.parent} while it is tidied, but somebody is: a build, a "
                    "pull, or a server. Wait for it, or stop it."
                ) from None
            time.sleep(0.05)
