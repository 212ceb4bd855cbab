"""What is pushed under an N does what that N has always done; what is locked stays what it was."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from rlops.errors import (
    CorruptContent,
    ImmutableVersion,
    InvalidFile,
    InvalidReference,
    MissingContent,
    MovedDynamics,
)
from rlops.registry import oci
from rlops.registry.distribution import Registry
from rlops.registry.dynamics import golden
from rlops.registry.dynamics.fingerprint import Fingerprint
from rlops.registry.identity import check_push, moved_tier, previous, recomputed
from rlops.registry.labels import OWN, about_image
from rlops.registry.locks import check_locked, lock_image, read_lock, write_lock
from rlops.registry.references import Reference
from rlops.registry.server import RegistryServer
from rlops.registry.store import Store
from rlops.registry.transfers import pull, push
from tests.registry.conftest import COOLING
from tests.registry.lying_registry import running
from tests.registry.synthetic import small_image

NAME = Reference.parse("datacenter-cooling:0.0.1")


@pytest.fixture
def image(store):
    return store.resolve(NAME)


@pytest.fixture
def registry(tmp_path):
    """Return a client of an empty registry."""
    with running(RegistryServer(Store(tmp_path / "far"))) as server, Registry(server.address) as client:
        yield client


def there(registry, version):
    return replace(Reference.parse(f"datacenter-cooling:{version}"), host=registry.host)


def relabelled(store, image, version, **changed):
    """Put into ``store`` the same image with other fields of the fingerprint in its label, under ``version``."""
    manifest = store.manifest(image)
    config = json.loads(store.read(manifest.config))
    labels = config["config"]["Labels"]
    fingerprint = json.loads(labels[OWN + "fingerprint"]) | changed
    labels[OWN + "fingerprint"] = oci.canonical_json(fingerprint).decode()
    other = manifest.model_copy(update={"config": store.add(oci.canonical_json(config), oci.CONFIG)})
    descriptor = store.add_manifest(other.encoded())
    store.tag(Reference.parse(f"datacenter-cooling:{version}"), descriptor)
    return descriptor


def golden_of(store, image):
    (artifact,) = store.referrers(image.digest, oci.GOLDEN)
    return store.read(store.manifest(artifact).layers[0])


def with_other_golden(store, image, tmp_path):
    """Attach the golden file of the built image, but for one bit of one state, and return that state's name."""
    (tmp_path / "a.npz").write_bytes(golden_of(store, store.resolve(NAME)))
    read = golden.read(tmp_path / "a.npz")
    recording = min((one for one in read.recordings if len(one.episode.actions) > 3), key=lambda one: len(one.trace))
    name = next(n for n, a in recording.trace.items() if n.startswith("state.") and a.dtype.kind == "f" and a.any())
    moved = recording.trace[name].copy()
    moved[3] = np.nextafter(moved[3] * 1.01, np.inf)
    recording.trace[name] = moved
    manifest = {key: value for key, value in read.manifest.items() if key not in ("episodes", "sha256")}
    golden.write(tmp_path / "b.npz", manifest, read.recordings, read.returns)
    store.add_artifact(image, oci.GOLDEN, (tmp_path / "b.npz").read_bytes())
    return name


def test_the_code_in_an_image_has_the_fingerprint_of_its_label(store, image):
    assert recomputed(store, image, COOLING) == about_image(store, image).fingerprint


def test_a_first_release_and_a_patch_of_the_same_dynamics_may_be_pushed(store, image, registry):
    check_push(store, image, registry, there(registry, "0.0.1"))
    push(store, registry, NAME, there(registry, "0.0.1"))
    check_push(store, image, registry, there(registry, "0.0.2"))


def test_a_moved_dynamics_is_refused_with_the_first_divergence(store, image, registry, tmp_path):
    other = relabelled(store, image, "0.0.0", exact="0" * 64)
    name = with_other_golden(store, other, tmp_path)
    push(store, registry, Reference.parse("datacenter-cooling:0.0.0"), there(registry, "0.0.0"))
    with pytest.raises(MovedDynamics) as refused:
        check_push(store, image, registry, there(registry, "0.0.1"))
    told = str(refused.value)
    assert "datacenter-cooling:0.0.0" in told
    assert "First divergence: episode" in told
    assert f"step 3, {name}" in told
    assert "new N of rlops/DatacenterCooling" in told
    assert refused.value.exit_code == 1


def test_a_release_without_golden_file_is_still_held_to(store, image, registry):
    relabelled(store, image, "0.0.0", exact="0" * 64)
    push(store, registry, Reference.parse("datacenter-cooling:0.0.0"), there(registry, "0.0.0"))
    with pytest.raises(MovedDynamics, match="has no golden file"):
        check_push(store, image, registry, there(registry, "0.0.1"))


def test_a_golden_file_that_refers_to_another_release_is_not_taken(store, image, registry, monkeypatch):
    push(store, registry, NAME, there(registry, "0.0.1"))
    relabelled(store, image, "0.0.5", exact="0" * 64)
    push(store, registry, Reference.parse("datacenter-cooling:0.0.5"), there(registry, "0.0.5"))
    others = registry.referrers(NAME.repository, image.digest, oci.GOLDEN)
    assert others
    monkeypatch.setattr(Registry, "referrers", lambda *of: others)
    with pytest.raises(MovedDynamics, match="has no golden file"):
        check_push(store, image, registry, there(registry, "0.0.6"))


def test_an_image_whose_code_is_not_what_its_label_says_is_refused(store, image, registry):
    liar = relabelled(store, image, "0.0.9", exact="0" * 64)
    with pytest.raises(MovedDynamics, match="that its label says"):
        check_push(store, liar, registry, there(registry, "0.0.9"))


@pytest.mark.parametrize("tier", ["specification", "randomization"])
def test_a_patch_declares_the_same_but_a_minor_release_may_declare_more(store, image, registry, tier):
    relabelled(store, image, "0.0.0", **{tier: "0" * 64})
    push(store, registry, Reference.parse("datacenter-cooling:0.0.0"), there(registry, "0.0.0"))
    with pytest.raises(MovedDynamics, match=rf"{tier} is another.*Release it as 0\.1\.0"):
        check_push(store, image, registry, there(registry, "0.0.1"))
    check_push(store, image, registry, there(registry, "0.1.0"))


def test_an_image_is_named_after_what_it_holds(store, image, registry):
    for name in ("dispatch:0.0.1", "datacenter-cooling:1.0.0"):
        with pytest.raises(InvalidReference, match="Name it after what it holds"):
            check_push(store, image, registry, replace(Reference.parse(name), host=registry.host))


def test_bits_are_compared_within_a_class_of_platforms_and_rounded_numbers_between_two():
    here = Fingerprint("s", "r", "linux-x86_64", "e", "p")
    assert moved_tier(here, here) == ""
    assert "exact" in moved_tier(here, replace(here, exact="f"))
    assert moved_tier(here, replace(here, exact="f", platform="linux-aarch64")) == ""
    assert "portable" in moved_tier(here, replace(here, portable="q", platform="linux-aarch64"))


def test_the_nearest_release_of_the_same_n_is_compared(tmp_path, registry):
    store = Store(tmp_path / "small")
    for version in ("0.0.1", "0.0.3", "0.2.0", "1.0.0", "latest"):
        small_image(store, f"datacenter-cooling:{version}", version.encode())
        push(store, registry, Reference.parse(f"datacenter-cooling:{version}"), there(registry, version))
    expected = {"0.0.2": "0.0.1", "0.1.0": "0.0.3", "0.0.0": "0.0.1", "1.1.0": "1.0.0"}
    assert {v: previous(registry, there(registry, v))[0].version for v in expected} == expected
    assert previous(registry, there(registry, "2.0.0")) is None


def test_a_lock_holds_digests_and_fingerprints_and_is_written_the_same_again(store, image, tmp_path):
    entry = lock_image(store, NAME)
    write_lock({entry.resolved_from: entry}, tmp_path / "rlops.lock")
    before = (tmp_path / "rlops.lock").read_bytes()
    assert read_lock(tmp_path / "rlops.lock") == {str(NAME): entry}
    write_lock(read_lock(tmp_path / "rlops.lock"), tmp_path / "rlops.lock")
    assert (tmp_path / "rlops.lock").read_bytes() == before
    assert entry.digest == image.digest
    assert entry.fingerprint == about_image(store, image).fingerprint.as_json()
    check_locked(store, entry)


@pytest.mark.parametrize("field", ["digest", "config", "layers", "fingerprint", "protocol", "id"])
def test_what_is_not_as_locked_is_refused(store, field):
    entry = lock_image(store, NAME)
    wrong = {"digest": "sha256:" + "0" * 64, "layers": entry.layers[::-1]}
    wrong["fingerprint"] = entry.fingerprint | {"exact": "0"}
    changed = replace(entry, **{field: wrong.get(field, "another")})
    kind = {"digest": (MissingContent, ImmutableVersion), "fingerprint": MovedDynamics}.get(field, CorruptContent)
    with pytest.raises(kind):
        check_locked(store, changed)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9, "images": []}', '{"format": 1, "images": [{"a": 1}]}'])
def test_a_file_that_is_no_lock_is_refused(tmp_path, text):
    (tmp_path / "rlops.lock").write_text(text)
    with pytest.raises(InvalidFile, match=r"rlops\.lock"):
        read_lock(tmp_path / "rlops.lock")


def test_a_locked_image_comes_on_an_empty_store(store, image, registry, tmp_path):
    target = there(registry, "0.0.1")
    push(store, registry, NAME, target)
    empty = Store(tmp_path / "empty")
    pull(empty, registry, target.at(image.digest))
    check_locked(empty, replace(lock_image(store, NAME), resolved_from=target.tagged))
    assert asdict(lock_image(empty, target))["digest"] == image.digest
    assert {d.digest for d in empty.referrers(image.digest)} == {d.digest for d in store.referrers(image.digest)}
