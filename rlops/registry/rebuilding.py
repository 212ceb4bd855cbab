"""Is a build reproducible? Twice from nothing, under conditions that should not matter, and every byte compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import rlops
from rlops.errors import CorruptContent, RegistryError
from rlops.registry.bundles import load, save
from rlops.registry.images import Built, Tell
from rlops.registry.oci import LAYER_OF, Descriptor
from rlops.registry.store import Image, Store
from rlops.registry.wheels import wheel_folder

_CONDITIONS = (
    {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1", "umask": "022"},
    {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4242", "umask": "077"},
)


def rebuilt(store: Store, id: str, *, release: str, base: str | None, wheels: Path | None, tell: Tell) -> Built:
    """Build an image twice, each from nothing in a process and folders of its own; put it into ``store`` if it is one.

    The two have other time zones, locales, hash seeds, file modes and temporary folders.

    Raises:
        CorruptContent: If they differ, with the first file that does.
        RegistryError: If one of them fails.
    """
    arguments = ["build", id, "--fresh", "--json", "--wheels", str((wheels or wheel_folder()).absolute())]
    arguments += ["--release", release] if release else []
    arguments += ["--base", base] if base else []
    with tempfile.TemporaryDirectory() as folder:
        stores = []
        for number, conditions in enumerate(_CONDITIONS, 1):
            tell(f"from nothing, {number} of {len(_CONDITIONS)}")
            stores.append(_built(Path(folder) / f"build {number}", arguments, conditions, store if base else None))
        (one, image), (other, again) = ((aside, _only(aside)) for aside in stores)
        if image.descriptor.digest != again.descriptor.digest:
            differs = _difference(one, image.descriptor, other, again.descriptor)
            raise CorruptContent(f"Two builds of {id} must be the same, but {differs}.")
        save(one, [image.reference], Path(folder) / "image.tar")
        load(store, Path(folder) / "image.tar")
    return Built(image.reference, image.descriptor, _own_layers(store, image.descriptor))


def _built(place: Path, arguments: list[str], conditions: Mapping[str, str], bases: Store | None) -> Store:
    """Build in a process of its own and return the store that it has filled."""
    for name in ("tmp", "cache", "home"):
        (place / name).mkdir(parents=True)
    aside = Store(place / "store")
    if bases is not None:
        _lend(bases, arguments[arguments.index("--base") + 1], aside)
    variables = {
        **os.environ,
        **{name: value for name, value in conditions.items() if name != "umask"},
        "PYTHONPATH": str(Path(rlops.__file__).parents[1]),
        "TMPDIR": str(place / "tmp"),
        "HOME": str(place / "home"),
        "RLOPS_CACHE_DIR": str(place / "cache"),
    }
    command = [sys.executable, "-m", "rlops.cli", *arguments, "--store", str(aside.root)]
    ended = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, umask=int(conditions["umask"], 8)
    )
    if ended.returncode:
        raise RegistryError(f"Building must succeed, but ends with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return aside


def _lend(bases: Store, base: str, aside: Store) -> None:
    """Put a base of the store into ``aside`` too, where its digest is enough to find it."""
    from rlops.registry.images import find_base

    found = find_base(base, bases)
    if found.store is bases:
        for part in bases.closure(found.descriptor, referrers=False):
            with bases.reading(part) as reader:
                aside.add(reader, part.media_type)


def _only(store: Store) -> Image:
    (image,) = store.images()
    return image


def _own_layers(store: Store, image: Descriptor) -> dict[str, Descriptor]:
    layers = store.manifest(image).layers
    return {one.annotations[LAYER_OF]: one for one in layers if LAYER_OF in (one.annotations or {}) and one.annotations}


def _difference(one: Store, image: Descriptor, other: Store, again: Descriptor) -> str:
    """Return in words where two images first differ."""
    for name, layer in _own_layers(one, image).items():
        twin = _own_layers(other, again)[name]
        if layer.digest != twin.digest:
            differs = _differing_file(one.blob_path(layer.digest), other.blob_path(twin.digest))
            return f"their layers {name} differ: {differs}"
    configs = [json.loads(s.read(s.manifest(d).config)) for s, d in ((one, image), (other, again))]
    return "their configurations differ: " + ", ".join(k for k in configs[0] if configs[0][k] != configs[1].get(k))


def _differing_file(one: Path, other: Path) -> str:
    with tarfile.open(one) as a, tarfile.open(other) as b:
        for first, second in zip(a, b, strict=False):
            if first.get_info() != second.get_info():
                return f"{first.name} ({first.size} bytes) against {second.name} ({second.size} bytes)"
            mine, its = a.extractfile(first), b.extractfile(second)
            if mine is not None and its is not None and mine.read() != its.read():
                return f"the content of {first.name}"
    return "one has more files"
