"""Whole images between the store on this machine and registries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rlops.errors import CorruptContent, ImmutableVersion, MissingContent
from rlops.registry import oci
from rlops.registry.distribution import Progress, Registry
from rlops.registry.oci import Descriptor
from rlops.registry.references import Reference
from rlops.registry.store import Store, released_already

PARALLEL = 4


def nothing(descriptor: Descriptor, count: int) -> None:
    """Show no progress."""


def pull(store: Store, registry: Registry, reference: Reference, progress: Progress = nothing) -> Descriptor:
    """Bring an image, and what refers to it, into the store, give it its name and return its manifest's descriptor.

    Of an image for several platforms only the one for this machine is brought.

    Args:
        store: Where it is put.
        registry: Where it is.
        reference: Its name. A digest decides; its version, if there is one too, must mean that digest.
        progress: Told of every piece.

    Raises:
        MissingContent: If there is no such image, or part of it is missing.
        CorruptContent: If anything is not what its digest says. It does not get a name.
        ImmutableVersion: If the version means another image than the digest, or than it does in the store.
    """
    repository = reference.repository
    with store.writing():
        descriptor, content = _found(registry, reference)
        if descriptor.media_type in oci.INDEXES:
            descriptor, content = registry.manifest(repository, for_this_machine(content).digest)
            reference = reference.at(descriptor.digest) if reference.digest else reference
        _bring(store, registry, repository, content, progress)
        store.add_manifest(content)
        for artifact in registry.referrers(repository, descriptor.digest):
            _bring_artifact(store, registry, repository, descriptor, artifact, progress)
        store.tag(reference, descriptor)
    return descriptor


def _found(registry: Registry, reference: Reference) -> tuple[Descriptor, bytes]:
    if not reference.digest:
        return registry.manifest(reference.repository, reference.version or "latest")
    if reference.version:
        now = registry.digest(reference.repository, reference.version)
        if not now:
            raise MissingContent(
                f"{registry.host} must have {reference}, but {reference.version} has been deleted, or never "
                "was. Its digest alone may still be there."
            )
        if now != reference.digest:
            raise ImmutableVersion(released_already(reference.tagged, reference.digest, now))
    return registry.manifest(reference.repository, reference.digest)


def for_this_machine(index: bytes) -> Descriptor:
    """Return the manifest of an index that is for this machine's platform.

    Raises:
        MissingContent: If there is none.
    """
    wanted = oci.this_platform()
    manifests = oci.index_of(index).manifests
    for one in manifests:
        if one.platform == wanted:
            return one
    has = ", ".join(f"{one.platform.os}/{one.platform.architecture}" for one in manifests if one.platform)
    raise MissingContent(f"The image must be for {wanted.os}/{wanted.architecture}, got one for {has or 'nothing'}.")


def _bring(store: Store, registry: Registry, repository: str, manifest: bytes, progress: Progress) -> None:
    _each(oci.manifest_of(manifest).blobs, lambda part: registry.pull_blob(store, repository, part, progress))


def _bring_artifact(
    store: Store, registry: Registry, repository: str, subject: Descriptor, listed: Descriptor, progress: Progress
) -> None:
    artifact, content = registry.manifest(repository, listed.digest)
    refers_to = oci.manifest_of(content).subject
    if refers_to is None or refers_to.digest != subject.digest:
        raise CorruptContent(
            f"{registry.host} says that {artifact.digest} refers to {subject.digest}, but it does not."
        )
    _bring(store, registry, repository, content, progress)
    store.add_manifest(content)
    store.attach(artifact)


def push(store: Store, registry: Registry, source: Reference, target: Reference, progress: Progress = nothing) -> bool:
    """Take an image of the store, and what refers to it, to a registry; return whether it was not there yet.

    Args:
        store: Where it is.
        registry: Where it is taken.
        source: Its name in the store.
        target: Its name there; a version is needed.
        progress: Told of every piece.

    Raises:
        MissingContent: If it is not in the store.
        ImmutableVersion: If the version is another image there already, and a full one.
    """
    repository = target.repository
    with store.writing():
        image = store.resolve(source)
        before = registry.digest(repository, target.version)
        if before and before != image.digest and target.release is not None:
            raise ImmutableVersion(released_already(str(target.tagged), before, image.digest))
        manifests = [
            part for part in store.closure(image) if part.media_type in (*oci.MANIFESTS, *oci.INDEXES) and part != image
        ]
        for manifest in [*(m for m in manifests if not _refers_to(store, m, image)), image]:
            _take(store, registry, repository, manifest, target.version if manifest == image else "", progress)
        for artifact in (m for m in manifests if _refers_to(store, m, image)):
            _take(store, registry, repository, artifact, "", progress)
    return before != image.digest


def _refers_to(store: Store, manifest: Descriptor, image: Descriptor) -> bool:
    return manifest.media_type in oci.MANIFESTS and store.manifest(manifest).subject is not None


def _take(
    store: Store, registry: Registry, repository: str, manifest: Descriptor, version: str, progress: Progress
) -> None:
    content = store.read(manifest)
    if manifest.media_type in oci.MANIFESTS:
        parts = list({part.digest: part for part in oci.manifest_of(content).blobs}.values())
        _each(parts, lambda part: registry.push_blob(store, repository, part, progress))
    registry.push_manifest(repository, version or manifest.digest, content)


def _each(parts: Sequence[Descriptor], work: Callable[[Descriptor], object]) -> None:
    """Do ``work`` for all parts, some at a time; the first failure ends it."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        waiting = [pool.submit(work, part) for part in parts]
        try:
            for one in waiting:
                one.result()
        except BaseException:
            for one in waiting:
                one.cancel()
            raise
