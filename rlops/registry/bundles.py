"""Images in one file, to carry them where no registry reaches.

A bundle is a tar archive of an OCI image layout, which skopeo and podman read too. The same images make the same bytes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path

from rlops.errors import InvalidFile, MissingContent
from rlops.files import written
from rlops.registry import oci
from rlops.registry.layers import File, layer
from rlops.registry.oci import Descriptor, Index
from rlops.registry.references import Reference
from rlops.registry.store import CHUNK, Image, Store

_BLOBS = "blobs/sha256/"


def save(store: Store, references: Iterable[Reference], path: str | Path) -> list[Image]:
    """Write images, with all that they consist of and that refers to them, into the file ``path``; return them.

    Raises:
        MissingContent: If one of them is not in the store.
        CorruptContent: If something of it is damaged.
    """
    with store.writing():
        images = [Image(reference, store.resolve(reference)) for reference in references]
        named = [one.descriptor.annotated(**{oci.REF_NAME: str(one.reference)}) for one in images]
        parts: dict[str, Descriptor] = {}
        for image in images:
            parts |= {part.digest: part for part in store.closure(image.descriptor)}
        for part in parts.values():
            with store.reading(part) as reader:
                reader.drain()
        artifacts = [part for part in parts.values() if _refers(store, part)]
        entries = sorted([*named, *artifacts], key=lambda d: (str(d.annotations), d.digest))
        files = {f"{_BLOBS}{digest.removeprefix('sha256:')}": File(store.blob_path(digest)) for digest in parts}
        files["oci-layout"] = File((store.root / "oci-layout").read_bytes())
        files["index.json"] = File(Index(manifests=entries).encoded())
        with written(path) as partial, partial.open("wb") as file:
            for chunk in layer(files):
                file.write(chunk)
    return images


def load(store: Store, path: str | Path) -> list[Image]:
    """Bring the images of a bundle into the store and return those with a name.

    Every blob is verified while it is written. A name comes only after all that it needs.

    Raises:
        InvalidFile: If it is no bundle.
        CorruptContent: If something in it is not what its digest says. Nothing gets a name.
        ImmutableVersion: If a released version is another image here.
    """
    with store.writing():
        index = _blobs_of(store, Path(path))
        images = []
        for entry in index.manifests:
            for part in store.closure(entry, referrers=False):
                if not store.has(part):
                    raise MissingContent(f"{path} must hold {part.digest}, which {entry.digest} consists of.")
        for entry in index.manifests:
            name = (entry.annotations or {}).get(oci.REF_NAME)
            if name is None:
                store.attach(entry)
                continue
            image = Image(Reference.parse(name), entry.annotated())
            store.tag(image.reference, image.descriptor)
            images.append(image)
    return images


def _refers(store: Store, part: Descriptor) -> bool:
    return part.media_type in oci.MANIFESTS and store.manifest(part).subject is not None


def _blobs_of(store: Store, path: Path) -> Index:
    """Write the blobs of a bundle into the store and return its index."""
    index = None
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                if entry.name == "index.json" and entry.isreg() and entry.size <= oci.LARGEST_MANIFEST:
                    file = archive.extractfile(entry)
                    index = oci.index_of(file.read() if file else b"")
                elif entry.name.startswith(_BLOBS) and entry.isreg():
                    _blob(store, archive, entry)
    except (tarfile.TarError, OSError) as error:
        raise InvalidFile(f"{path} must be a whole archive of an OCI image layout, got: {error}.") from None
    if index is None:
        raise InvalidFile(f"{path} must be an archive of an OCI image layout, but it has no index.json.")
    return index


def _blob(store: Store, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    digest = "sha256:" + entry.name.removeprefix(_BLOBS)
    expected = Descriptor(media_type="application/octet-stream", digest=oci.checked_digest(digest), size=entry.size)
    if store.sound(expected):
        return
    source = archive.extractfile(entry)
    assert source is not None
    ingest = store.begin(expected)
    try:
        source.seek(ingest.offset)
        while chunk := source.read(CHUNK):
            ingest.write(chunk)
        ingest.commit()
    except BaseException:
        ingest.discard()
        raise
