"""Building images: without a daemon, without running an installer, and to the same last bit on every machine.

An image has three or four layers of its own, over those of a base image if one is given::

    /opt/rlops/dependencies    the wheels that the lock names; in a layer above, those of an extra that is needed
    /opt/rlops/project         this package
    /opt/rlops/compiled        its kernels, compiled for a class of processors, so that the first step comes at once

Without a base an image holds no Python and no system: it is run by the process runtime, with the Python of the machine.
What may differ between two builds (signatures, where it was built, how long it took) refers to an image, and is not in
it; so do the list of its parts (SBOM) and the golden file of its dynamics.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlops.envs import parse_id
from rlops.errors import InvalidFile, InvalidReference, InvalidValue
from rlops.files import written
from rlops.registry import inside, oci
from rlops.registry.labels import labels
from rlops.registry.layers import File, layer
from rlops.registry.oci import Descriptor, Manifest
from rlops.registry.origins import dynamics_sources
from rlops.registry.project import project_files
from rlops.registry.references import Reference, full_id, image_name
from rlops.registry.sbom import sbom
from rlops.registry.store import Store
from rlops.registry.transfers import for_this_machine
from rlops.registry.unpacking import unpack_layers
from rlops.registry.wheels import (
    Wheel,
    fetch,
    files_of,
    lock_file,
    lock_hash,
    locked,
    python_tag,
    wheel_folder,
    with_bytecode,
)

SOCKET = "/run/rlops/env.sock"
USER = "65532:65532"
_PARTS = f"/{inside.ROOT}"
_CPU = {"amd64": "x86-64-v3"}
"""Class of processors that kernels are compiled for, by architecture: x86-64 with AVX2, of 2013 and later."""
_SECOND_NS = 1_000_000_000
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """An image that another is built on.

    Attributes:
        name: How it was asked for.
        descriptor: Of its manifest.
        store: That holds it.
    """

    name: str
    descriptor: Descriptor
    store: Store


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        reference: Its name.
        descriptor: Of its manifest.
        layers: Its own layers, each by what it holds.
    """

    reference: Reference
    descriptor: Descriptor
    layers: Mapping[str, Descriptor]


@dataclass(frozen=True)
class _Probed:
    """What the code said of itself, and what was compiled for it to say it."""

    facts: dict[str, Any]
    golden: bytes
    compiled: dict[str, File]


def build(
    store: Store,
    id: str,
    *,
    release: str = "",
    base: Base | None = None,
    wheels: Path | None = None,
    fresh: bool = False,
    tell: Tell = lambda told: None,
) -> Built:
    """Build the image of an environment and put it into ``store``.

    Args:
        store: Where it is put.
        id: Of the environment; ``rlops/`` may be left out.
        release: Full version, whose first number is the id's; without one the image gets the moving name ``N-dev``.
        base: Image under it; None: the image holds no Python, and runs as a process of this machine.
        wheels: Folder of wheels; None: the user's.
        fresh: Whether to do everything again, whatever earlier builds have left.
        tell: Told what is being done.

    Raises:
        InvalidReference: If the release is no full version of the id.
        ImmutableVersion: If the release is another image already.
        MissingContent: If a wheel is missing and cannot be brought.
    """
    id = full_id(id)
    parse_id(id)
    reference = named(id, release)
    with store.writing():
        tell("dependencies")
        found = {name: fetch(locked(path), wheels or wheel_folder()) for name, path in wheel_lists(id).items()}
        dependencies = {name: _dependencies(store, name, brought, fresh) for name, brought in found.items()}
        tell("project")
        own = project_files()
        project = _part(store, "project", "project", with_bytecode(own, f"{_PARTS}/project"))
        tell("fingerprint and compiled code (minutes, unless the same dynamics have been built before)")
        probed = _probed(store, id, [*dependencies.values(), project], fresh)
        compiled = _part(store, "compiled", "compiled", probed.compiled)
        tell("image")
        parts = {**dependencies, "project": project, "compiled": compiled}
        image = _image(store, reference, probed.facts, parts, base)
        store.tag(reference, image)
        brought = [wheel for some in found.values() for wheel in some]
        store.add_artifact(image, oci.SBOM, sbom(image.digest, reference, brought, own))
        store.add_artifact(image, oci.GOLDEN, probed.golden, **{"org.opencontainers.image.title": "golden.npz"})
    return Built(reference, image, parts)


def named(id: str, release: str) -> Reference:
    """Return the name of the image of ``id``.

    Raises:
        InvalidReference: If the release is no full version, or of another N.
    """
    number = id.rpartition("-v")[2]
    reference = Reference.parse(f"{image_name(id)}:{release or f'{number}-dev'}")
    if release and (reference.release is None or reference.release[0] != int(number)):
        raise InvalidReference(f"A release of {id} must be a full version such as {number}.0.1, got {release!r}.")
    return reference


def wheel_lists(id: str) -> dict[str, Path]:
    """Return the lists of the wheels that an environment needs, each by the layer that they make."""
    family, number = parse_id(id)
    extras = ["robotics"] if hasattr(family.kernel(number), "ENGINES") else []
    return {"dependencies": lock_file(), **{extra: lock_file(extra) for extra in extras}}


def find_base(text: str, store: Store) -> Base:
    """Return the image that ``--base`` means: ``NAME@sha256:…`` of the store, or a layout's folder, ``FOLDER[:NAME]``.

    Raises:
        InvalidReference: If a name has no digest.
        InvalidFile: If a layout holds several images and none is named.
    """
    folder, name = _layout(text)
    if folder is None:
        reference = Reference.parse(text)
        if not reference.digest:
            raise InvalidReference(f"A base must be named with its digest, NAME@sha256:…, got {text!r}.")
        return Base(text, _for_this_machine(store, store.resolve(reference)), store)
    layout = Store(folder)
    if name:
        return Base(name, _for_this_machine(layout, layout.resolve(Reference.parse(name))), layout)
    roots = layout.roots()
    if len(roots) != 1:
        names = ", ".join(str(one.reference) for one in layout.images()) or "none with a name"
        raise InvalidFile(
            f"{folder} must hold one image, or one must be named, {folder}:NAME; it holds {len(roots)}: {names}."
        )
    known = [str(one.reference) for one in layout.images()]
    return Base(known[0] if known else roots[0].digest, _for_this_machine(layout, roots[0]), layout)


def _for_this_machine(store: Store, image: Descriptor) -> Descriptor:
    """Return the manifest itself, or that of an index which is for this machine."""
    return for_this_machine(store.read(image)) if image.media_type in oci.INDEXES else image


def _layout(text: str) -> tuple[Path | None, str]:
    """Return the folder of a layout and the name in it; no folder if ``text`` means none."""
    if (Path(text) / "oci-layout").is_file():
        return Path(text), ""
    for at in (k for k, sign in enumerate(text) if sign == ":"):
        if (Path(text[:at]) / "oci-layout").is_file():
            return Path(text[:at]), text[at + 1 :]
    return None, ""


# -- layers ------------------------------------------------------------------------------------------------------------


def _part(store: Store, name: str, folder: str, files: Mapping[str, File]) -> Descriptor:
    """Write the layer ``name``, which lies in ``/opt/rlops/<folder>``."""
    placed = {f"{inside.ROOT}/{folder}/{path}": file for path, file in files.items()}
    return store.add(layer(placed), oci.LAYER, **{oci.LAYER_OF: name})


def _dependencies(store: Store, name: str, wheels: list[Wheel], fresh: bool) -> Descriptor:
    """Write a layer of dependencies, unless the store has that which an earlier build has made of the same wheels."""
    hashes = [wheel.requirement.sha256 for wheel in wheels]
    note = _cache("layers") / f"{_key(python_tag(), *hashes)}.json"
    if note.is_file() and not fresh:
        made = Descriptor.model_validate_json(note.read_bytes())
        if store.sound(made):
            return made
    files: dict[str, File] = {}
    for wheel in wheels:
        files |= files_of(wheel.path)
    made = _part(store, name, "dependencies", with_bytecode(files, f"{_PARTS}/dependencies"))
    with written(note) as partial:
        partial.write_bytes(made.encoded())
    return made


def _probed(store: Store, id: str, layers: list[Descriptor], fresh: bool) -> _Probed:
    """Let the code in ``layers`` say what it is, or remember what the same code said."""
    root = unpack_layers(store, layers)
    cpu = _CPU.get(oci.this_platform().architecture, "generic")
    hashes = dynamics_sources(root / inside.ROOT / "project")
    kept = _cache("probed") / _key(id, cpu, *(layer.digest for layer in layers[:-1]), *hashes)
    if fresh or not kept.is_dir():
        with tempfile.TemporaryDirectory(dir=_cache("probed"), prefix=".") as partial:
            folder = Path(partial) / "probed"
            folder.mkdir()
            _probe(root, id, cpu, folder)
            if fresh:
                return _read(folder)
            if not kept.is_dir():
                folder.rename(kept)
    return _read(kept)


def _probe(root: Path, id: str, cpu: str, folder: Path) -> None:
    variables = {
        "RLOPS_CACHE_DIR": str(folder / "compiled"),
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_NUM_THREADS": "2",  # so that loops on threads are compiled on one core too
    }
    inside.run(root, ["-m", "rlops.registry.probe", id, str(folder)], variables)


def _read(folder: Path) -> _Probed:
    compiled = folder / "compiled"
    files = {str(p.relative_to(compiled)): File(p.read_bytes()) for p in compiled.rglob("*") if p.is_file()}
    facts = json.loads((folder / "facts.json").read_bytes())
    return _Probed(facts, (folder / "golden.npz").read_bytes(), files)


# -- the image ---------------------------------------------------------------------------------------------------------


def _image(
    store: Store, reference: Reference, facts: Mapping[str, Any], parts: Mapping[str, Descriptor], base: Base | None
) -> Descriptor:
    """Write configuration and manifest and return the manifest's descriptor."""
    below = _based(store, base) if base else _Below([], {}, [])
    created = _created()
    platform = oci.this_platform()
    cpu = _CPU.get(platform.architecture, "generic")
    lock = lock_hash(*wheel_lists(facts["id"]).values())
    told = labels(facts, reference.version, created, cpu=cpu, python=python_tag(), lock=lock)
    if base:
        told |= {"org.opencontainers.image.base.name": base.name}
        told |= {"org.opencontainers.image.base.digest": base.descriptor.digest}
    config = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "config": {**below.config, **_running(facts, cpu, below.config), "Labels": dict(sorted(told.items()))},
        "rootfs": {"type": "layers", "diff_ids": [*below.diff_ids, *(part.digest for part in parts.values())]},
    }
    shown = {name: value for name, value in told.items() if name.startswith("org.opencontainers.")}
    manifest = Manifest(
        config=store.add(oci.canonical_json(config), oci.CONFIG),
        layers=[*below.layers, *parts.values()],
        annotations={**shown, "dev.rlops.env.id": told["dev.rlops.env.id"]},
    )
    return store.add_manifest(manifest.encoded())


def _running(facts: Mapping[str, Any], cpu: str, below: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the image is run."""
    path = next(
        (line for line in below.get("Env") or [] if line.startswith("PATH=")), "PATH=/usr/local/bin:/usr/bin:/bin"
    )
    listening = f"import socket; socket.socket(socket.AF_UNIX).connect({SOCKET!r})"
    return {
        "Env": [
            path,
            f"PYTHONPATH={_PARTS}/project:{_PARTS}/dependencies",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONUNBUFFERED=1",
            "HOME=/tmp",
            f"RLOPS_CACHE_DIR={_PARTS}/compiled",
            f"RLOPS_IMAGE_FINGERPRINT={oci.canonical_json(facts['fingerprint']).decode()}",
            f"NUMBA_CPU_NAME={cpu}",
            "NUMBA_CPU_FEATURES=",
        ],
        "Entrypoint": ["python3", "-m", "rlops.cli", "serve", facts["id"], "--socket", SOCKET],
        "Cmd": [],
        "User": USER,
        "WorkingDir": "/tmp",
        "Healthcheck": {
            "Test": ["CMD", "python3", "-c", listening],
            "Interval": 10 * _SECOND_NS,
            "Timeout": 5 * _SECOND_NS,
            "StartPeriod": 10 * _SECOND_NS,
            "Retries": 3,
        },
    }


@dataclass(frozen=True)
class _Below:
    """What a base brings: layers, how it is run, and digests of its unpacked layers."""

    layers: list[Descriptor]
    config: dict[str, Any]
    diff_ids: list[str]


def _based(store: Store, base: Base) -> _Below:
    """Bring the blobs of a base into ``store``."""
    manifest = base.store.manifest(base.descriptor)
    config = json.loads(base.store.read(manifest.config))
    platform = oci.this_platform()
    if (config.get("architecture"), config.get("os")) != (platform.architecture, platform.os):
        raise InvalidValue(
            f"The base {base.name} must be for {platform.os}/{platform.architecture}, got "
            f"{config.get('os')}/{config.get('architecture')}."
        )
    for part in manifest.layers:
        if not store.sound(part):
            with base.store.reading(part) as reader:
                store.add(reader, part.media_type)
    return _Below(manifest.layers, config.get("config") or {}, config["rootfs"]["diff_ids"])


def _created() -> str:
    """Return the time that the image says: ``$SOURCE_DATE_EPOCH`` [s], or the beginning of time."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not epoch.isdigit():
        raise InvalidValue(f"SOURCE_DATE_EPOCH must be seconds since 1970, got {epoch!r}.")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- what earlier builds have left -------------------------------------------------------------------------------------


def _cache(name: str) -> Path:
    root = Path(os.environ.get("RLOPS_CACHE_DIR") or Path.home() / ".cache" / "rlops")
    folder = root / "images" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def forget() -> None:
    """Remove what earlier builds have left for later ones."""
    for name in ("layers", "probed"):
        shutil.rmtree(_cache(name), ignore_errors=True)
