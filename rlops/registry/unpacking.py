"""Images as folders, for runtimes that need no container engine.

A chain of layers is unpacked once, into ``unpacked/sha256-…`` below the store, and is read-only ever after. It is made
under another name and gets its own only when every byte of its layers has been verified. A chain that goes on from
another shares its files with it (hard links), so two images with the same dependencies hold them once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rlops.errors import CorruptContent
from rlops.registry import oci
from rlops.registry.layers import Limits, extract
from rlops.registry.oci import Descriptor, Manifest
from rlops.registry.references import Reference
from rlops.registry.store import Store, remove_folder

_IN_USE = ".in-use"


def unpack(store: Store, image: Reference | Descriptor, limits: Limits | None = None) -> Path:
    """Return the root folder of an image, unpacked if it has not been before.

    Of an image that rlops built only its own layers are unpacked, which a plain process needs; not those of its base.

    Args:
        store: That holds it.
        image: Its name, or the descriptor of its manifest.
        limits: What a layer may unfold to.

    Raises:
        MissingContent: If the image or one of its layers is not in the store.
        CorruptContent: If a layer is damaged, or it is no image.
        UnsafeLayer: If a layer holds what must not be unpacked.
    """
    manifest = store.manifest(store.resolve(image) if isinstance(image, Reference) else image)
    with store.writing():
        return _chain(store, wanted_layers(manifest), limits)


def unpack_layers(store: Store, layers: Sequence[Descriptor], limits: Limits | None = None) -> Path:
    """Return the folder that holds ``layers`` over one another, before they are an image."""
    with store.writing():
        return _chain(store, layers, limits)


def wanted_layers(manifest: Manifest) -> list[Descriptor]:
    """Return the layers that a plain process needs: those that rlops wrote, or all if there are none of them."""
    ours = [one for one in manifest.layers if oci.LAYER_OF in (one.annotations or {})]
    if not (ours or manifest.layers):
        raise CorruptContent("An image must have layers to be unpacked, but this one has none.")
    return ours or manifest.layers


def _chain(store: Store, layers: Sequence[Descriptor], limits: Limits | None) -> Path:
    """Return the folder that holds ``layers`` over one another."""
    folder = store.root / "unpacked" / chain_name(layers)
    if folder.is_dir():
        return folder
    below = _chain(store, layers[:-1], limits) if len(layers) > 1 else None
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir(parents=True)
    try:
        if below is not None:
            _share(below, partial)
        with store.reading(layers[-1]) as reader:
            extract(reader, layers[-1].media_type, layers[-1].size, partial, limits)
            reader.drain()
        _close(partial)
        _name(partial, folder)
    finally:
        if partial.exists():
            remove_folder(partial)
    return folder


def chain_name(layers: Sequence[Descriptor]) -> str:
    """Return the name of the folder that holds ``layers`` over one another."""
    digests = "\n".join(one.digest for one in layers)
    return f"sha256-{hashlib.sha256(digests.encode()).hexdigest()}"


def _share(below: Path, above: Path) -> None:
    """Give ``above`` the folders of ``below`` and, as hard links, its files."""
    for root, folders, files in os.walk(below):
        target = above / Path(root).relative_to(below)
        for name in list(folders):
            if (Path(root) / name).is_symlink():
                files.append(name)
            else:
                (target / name).mkdir(mode=0o755)
        for name in files:
            os.link(Path(root) / name, target / name, follow_symlinks=False)


def _close(folder: Path) -> None:
    """Take from every folder the right to be written."""
    for root, _, _ in os.walk(folder):
        os.chmod(root, 0o555)


def _name(partial: Path, folder: Path) -> None:
    """Give a folder its name, unless another process was first; a folder must be writable to be moved."""
    partial.chmod(0o755)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(0o555)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep an unpacked folder from garbage collection while something runs from it; also in another process."""
    marker = folder.with_name(folder.name + _IN_USE)
    descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def unneeded(store: Store, kept: Mapping[str, Descriptor]) -> list[Path]:
    """Return what lies in ``unpacked/`` for none of the ``kept`` manifests, and is not in use."""
    folder = store.root / "unpacked"
    names = set()
    for descriptor in kept.values():
        if descriptor.media_type in oci.MANIFESTS:
            layers = store.manifest(descriptor).layers
            ours = [one for one in layers if oci.LAYER_OF in (one.annotations or {})] or layers
            names |= {chain_name(ours[:end]) for end in range(1, len(ours) + 1)}
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.name.removesuffix(_IN_USE) not in names and not _is_in_use(path)]


def _is_in_use(path: Path) -> bool:
    marker = path if path.name.endswith(_IN_USE) else path.with_name(path.name + _IN_USE)
    try:
        descriptor = os.open(marker, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
