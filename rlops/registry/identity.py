"""The dynamics of an image are part of its name: what is pushed under an N does what that N has always done."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rlops.errors import InvalidReference, MissingContent, MovedDynamics, RegistryError
from rlops.registry import oci
from rlops.registry.distribution import Registry
from rlops.registry.dynamics.fingerprint import Fingerprint
from rlops.registry.inside import asked
from rlops.registry.labels import About, about, about_image
from rlops.registry.oci import Descriptor
from rlops.registry.references import Reference, environment_id
from rlops.registry.store import Store

_FINGERPRINT = """
import json, sys
from rlops.registry.dynamics.fingerprint import fingerprint
from rlops.registry.dynamics.kernels import KernelSubject
print(json.dumps(fingerprint(KernelSubject(sys.argv[1])).as_json()))
"""
_CHECK = """
import json, sys
from rlops.registry.dynamics.check import check_id
found = check_id(sys.argv[1], sys.argv[2], ["L0", "L1", "L2"], brief=True)
print(json.dumps({"told": found.told, "first": str(found.first or ""), "verdict": found.verdict}))
"""


def check_push(store: Store, image: Descriptor, registry: Registry, target: Reference) -> None:
    """Refuse to let ``image`` become the release ``target``, unless its dynamics are those of that N.

    The fingerprint is taken anew, by running the code in the image, and held to that of the label and to the registry's
    other releases of the same N.

    Raises:
        InvalidReference: If the image holds another environment than the name says.
        MovedDynamics: If its dynamics are not those of its label, or of the releases before; with the first divergence.
    """
    told = about_image(store, image)
    if target.release is None:
        return
    named = environment_id(target)
    if told.id != named:
        raise InvalidReference(
            f"{target} must hold {named}, but the image holds {told.id}. Name it after what it holds."
        )
    check_label(store, image, told)
    before = previous(registry, target)
    if before is None:
        return
    reference, descriptor, content = before
    released = _about(registry, reference, content)
    if moved := moved_tier(released.fingerprint, told.fingerprint):
        first = first_divergence(store, image, told.id, registry, reference, descriptor)
        raise MovedDynamics(
            f"{target} must have the dynamics of {reference.tagged}, the release of the same N, but its {moved} moved. "
            f"{first} Release what has changed as a new N of {told.id.rpartition('-v')[0]}."
        )
    _check_declared(released, told, reference, target)


def check_label(store: Store, image: Descriptor, told: About) -> Fingerprint:
    """Return the fingerprint of the code in an image, which must be that of its label.

    Raises:
        MovedDynamics: If it is another.
    """
    found = recomputed(store, image, told.id)
    if moved := moved_tier(told.fingerprint, found):
        raise MovedDynamics(
            f"The code in {image.digest} must have the dynamics that its label says, but its {moved} is another: label "
            f"{told.fingerprint}; code {found}. Build it anew."
        )
    return found


def recomputed(store: Store, image: Descriptor, id: str) -> Fingerprint:
    """Return the fingerprint of the code in an image, run as a plain process."""
    return Fingerprint(**asked(store, image, _FINGERPRINT, id))


def moved_tier(before: Fingerprint, now: Fingerprint) -> str:
    """Return which tier of a fingerprint moved; empty: none.

    Bits are compared within one class of platforms, rounded numbers between two.
    """
    if before.platform == now.platform:
        return "" if before.exact == now.exact else "fingerprint (exact tier)"
    return "" if before.portable == now.portable else "fingerprint (portable tier, as the platforms differ)"


def _check_declared(released: About, told: About, reference: Reference, target: Reference) -> None:
    """Refuse a patch that declares something else than the release before; a minor release may."""
    assert reference.release is not None
    assert target.release is not None
    if reference.release[:2] != target.release[:2]:
        return
    for tier in ("specification", "randomization"):
        if getattr(released.fingerprint, tier) != getattr(told.fingerprint, tier):
            raise MovedDynamics(
                f"{target} must declare what {reference.tagged} declares, as it is a patch of it, but its {tier} is "
                f"another. Release it as {target.release[0]}.{target.release[1] + 1}.0."
            )


def previous(registry: Registry, target: Reference) -> tuple[Reference, Descriptor, bytes] | None:
    """Return the nearest release before ``target`` of the same N, or else after it; None: there is none."""
    try:
        tags = registry.tags(target.repository)
    except MissingContent:
        return None
    nearest = _nearest([Reference(target.repository, tag, host=target.host) for tag in tags], target)
    return (nearest, *registry.manifest(nearest.repository, nearest.version)) if nearest else None


def _nearest(others: Sequence[Reference], target: Reference) -> Reference | None:
    assert target.release is not None
    same = {
        one.release: one
        for one in others
        if one.release and one.release[0] == target.release[0] and one.version != target.version
    }
    earlier = [release for release in same if release < target.release]
    return same[max(earlier)] if earlier else same[min(same)] if same else None


def _about(registry: Registry, reference: Reference, manifest: bytes) -> About:
    return about(_blob(registry, reference, oci.manifest_of(manifest).config))


def first_divergence(
    store: Store, image: Descriptor, id: str, registry: Registry, reference: Reference, released: Descriptor
) -> str:
    """Return in a sentence where the code of ``image`` first leaves the golden file of a release."""
    golden = _golden(registry, reference, released)
    if golden is None:
        return "Where, cannot be told, as the release has no golden file."
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{id.removeprefix('rlops/')}.npz").write_bytes(golden)
        try:
            found = asked(store, image, _CHECK, id, folder)
        except RegistryError as error:
            return f"Where, cannot be told: {error}"
    where = f" First divergence: {found['first']}." if found["first"] else ""
    return f"{found['told']}.{where}"


def _golden(registry: Registry, reference: Reference, released: Descriptor) -> bytes | None:
    for artifact in registry.referrers(reference.repository, released.digest, oci.GOLDEN):
        manifest = oci.manifest_of(registry.manifest(reference.repository, artifact.digest)[1])
        if manifest.subject is not None and manifest.subject.digest == released.digest:
            return _blob(registry, reference, manifest.layers[0])
    return None


def _blob(registry: Registry, reference: Reference, descriptor: Descriptor) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        aside = Store(folder)
        registry.pull_blob(aside, reference.repository, descriptor, lambda part, count: None)
        return aside.read(descriptor)
