"""The store holds whole images or none, whoever writes and whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from rlops.errors import CorruptContent, ImmutableVersion, InvalidFile, MissingContent, RegistryError
from rlops.registry import oci
from rlops.registry.bundles import load, save
from rlops.registry.oci import Descriptor
from rlops.registry.references import Reference
from rlops.registry.store import Store
from rlops.registry.unpacking import in_use, unpack
from tests.registry.conftest import skopeo
from tests.registry.synthetic import small_image

NAME = Reference.parse("team/thing:1.0.0")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def damage(store, descriptor):
    """Flip one bit of a blob."""
    path = store.blob_path(descriptor.digest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_store_is_an_oci_layout(store):
    image = small_image(store)
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.root / "index.json").read_bytes())
    (entry,) = index["manifests"]
    assert entry["digest"] == image.digest
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "team/thing:1.0.0"
    for path in (store.root / "blobs" / "sha256").iterdir():
        assert oci.digest_of(path.read_bytes()) == f"sha256:{path.name}"


def test_skopeo_reads_a_store_and_a_bundle(store, tmp_path):
    image = small_image(store, "thing:1.0.0")
    save(store, [Reference.parse("thing:1.0.0")], tmp_path / "bundle.tar")
    for source in (f"oci:{store.root}:thing:1.0.0", f"oci-archive:{tmp_path / 'bundle.tar'}"):
        assert json.loads(skopeo("inspect", source))["Digest"] == image.digest


def test_the_folder_of_the_default_store_is_the_users_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("RLOPS_REGISTRY", str(tmp_path / "mine"))
    assert Store.default().root == tmp_path / "mine"
    monkeypatch.delenv("RLOPS_REGISTRY")
    assert Store.default().root.parts[-2:] == (".rlops", "registry")


def test_a_folder_of_other_things_is_not_made_a_store(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidFile, match="OCI image layout, or empty"):
        Store(tmp_path)


def test_a_layout_of_another_version_is_refused(store):
    (store.root / "oci-layout").write_text('{"imageLayoutVersion": "9.0.0"}')
    with pytest.raises(InvalidFile, match=r"got '9\.0\.0'"):
        Store(store.root)


def test_a_damaged_blob_is_never_returned(store):
    image = small_image(store)
    part = store.manifest(image).layers[0]
    damage(store, part)
    with pytest.raises(CorruptContent, match="damaged"):
        store.read(part)
    with store.reading(part) as reader, pytest.raises(CorruptContent):
        reader.drain()
    assert not store.sound(part)
    assert not store.has(part)


def test_a_blob_that_grew_is_never_returned(store):
    image = small_image(store)
    with store.blob_path(image.digest).open("ab") as file:
        file.write(b" ")
    with pytest.raises(CorruptContent):
        store.read(image)


def test_what_is_not_as_promised_gets_no_name(store):
    promised = oci.descriptor_of(b"good", "text/plain")
    ingest = store.begin(promised)
    ingest.write(b"evil")
    with pytest.raises(CorruptContent, match="Nothing of it is kept"):
        ingest.commit()
    assert not store.has(promised)
    assert not list((store.root / "ingest").iterdir())


def test_not_a_byte_more_than_promised_is_written(store):
    ingest = store.begin(oci.descriptor_of(b"good", "text/plain"))
    with pytest.raises(CorruptContent, match="got more"):
        ingest.write(b"good and much more")
    assert ingest.path.stat().st_size == 0
    ingest.discard()


def test_an_interrupted_blob_is_gone_on_with(store):
    promised = oci.descriptor_of(b"first second", "text/plain")
    ingest = store.begin(promised)
    ingest.write(b"first ")
    ingest.close()
    again = store.begin(promised)
    assert again.offset == 6
    again.write(b"second")
    assert again.commit().digest == promised.digest


def test_two_writers_of_the_same_blob_do_not_mix(store):
    promised = oci.descriptor_of(b"good", "text/plain")
    one, other = store.begin(promised), store.begin(promised)
    one.write(b"go")
    other.write(b"good")
    other.commit()
    one.write(b"od")
    one.commit()
    assert store.read(promised) == b"good"


def test_a_released_version_means_one_image(store):
    first = small_image(store, content=b"1")
    with pytest.raises(ImmutableVersion, match="must stay what it was released as"):
        small_image(store, content=b"2")
    assert store.resolve(NAME) == first
    small_image(store, content=b"1")


def test_a_moving_name_moves(store):
    small_image(store, "thing:latest", b"1")
    second = small_image(store, "thing:latest", b"2")
    assert store.resolve(Reference.parse("thing:latest")) == second


def test_a_digest_that_the_version_does_not_have_is_refused(store):
    small_image(store, content=b"1")
    other = small_image(store, "team/thing:1.0.1", b"2")
    with pytest.raises(ImmutableVersion):
        store.resolve(NAME.at(other.digest))
    assert store.resolve(Reference.parse(f"anything@{other.digest}")) == other


def test_an_unknown_image_is_answered_with_what_there_is(store):
    small_image(store)
    with pytest.raises(MissingContent, match=r"It has: team/thing:1\.0\.0"):
        store.resolve(Reference.parse("thing:2.0.0"))


def test_a_manifest_comes_after_its_parts(store):
    missing = Descriptor(media_type=oci.CONFIG, digest="sha256:" + "0" * 64, size=2)
    with pytest.raises(MissingContent, match="must come after"):
        store.add_manifest(oci.Manifest(config=missing, layers=[]).encoded())


def test_garbage_collection_keeps_named_images_and_what_refers_to_them(store):
    image = small_image(store)
    note = store.add_artifact(image, "application/vnd.test", b"a note", title="about it")
    gone = small_image(store, "team/thing:1.0.1", b"2")
    orphan = store.add_artifact(gone, "application/vnd.test", b"about what is gone")
    store.untag(Reference.parse("team/thing:1.0.1"))
    wanted = {d.digest for d in store.closure(image)}
    removed = store.gc()
    assert removed.blobs > 0
    assert {f"sha256:{p.name}" for p in (store.root / "blobs" / "sha256").iterdir()} == wanted
    assert note.digest in wanted
    assert orphan.digest not in wanted
    assert [one.digest for one in store.referrers(image.digest, "application/vnd.test")] == [note.digest]
    assert store.gc() == type(removed)(0, 0, 0, 0)


def test_what_other_tools_put_there_without_a_name_or_with_a_strange_one_is_kept(store):
    image = small_image(store)
    (entry,) = json.loads((store.root / "index.json").read_bytes())["manifests"]
    for told in ({}, {"org.opencontainers.image.ref.name": "NOT A NAME"}):
        index = {"schemaVersion": 2, "manifests": [entry | {"annotations": told}]}
        (store.root / "index.json").write_text(json.dumps(index))
        assert store.gc().blobs == 0
        assert not store.images()
        assert [one.digest for one in store.roots()] == [image.digest]


def test_a_dry_run_removes_nothing(store):
    store.add(b"nobody wants it", "text/plain")
    assert store.gc(dry_run=True).blobs == 1
    assert store.gc().blobs == 1


def test_garbage_collection_waits_for_writers_and_gives_up(store):
    with store.writing():
        store.add(b"not named yet", "text/plain")
        with pytest.raises(RegistryError, match="Nobody may be writing"):
            store.gc(patience_s=0.1)
    assert store.gc().blobs == 1


def test_many_threads_tag_and_collect_without_losing_a_name(store):
    def work(n):
        small_image(store, f"thing:1.0.{n}", b"%d" % n)
        store.gc()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.images()) == 12
    assert all(store.sound(part) for one in store.images() for part in store.closure(one.descriptor))


def test_garbage_collection_removes_unpacked_folders_that_nothing_needs(store):
    image = small_image(store)
    folder = unpack(store, NAME)
    assert store.gc().unpacked == 0
    store.untag(NAME)
    with in_use(folder):
        store.gc()
        assert folder.is_dir()
    assert not store.has(image)
    store.gc()
    assert not folder.exists()


KILLED = """
import os, signal, sys
from rlops.registry import store as module
from rlops.registry.store import Store
from tests.registry.synthetic import small_image

at, calls, real = int(sys.argv[2]), 0, {}

def deadly(name):
    real = getattr(os, name)
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(os, name, call)

store = Store(sys.argv[1])
for name in ("fsync", "replace", "rename", "unlink"):
    deadly(name)
small_image(store, "killed:1.0.0", b"x" * 5000)
"""


@pytest.mark.parametrize("at", range(1, 10))
def test_a_writer_killed_at_any_moment_leaves_a_whole_store(store, at):
    before = small_image(store)
    ended = subprocess.run([sys.executable, "-c", KILLED, store.root, str(at)], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    opened = Store(store.root)
    for path in (store.root / "blobs" / "sha256").iterdir():
        assert oci.digest_of(path.read_bytes()) == f"sha256:{path.name}"
    assert opened.resolve(NAME) == before
    small_image(opened, "killed:1.0.0", b"x" * 5000)
    opened.gc()
    assert not list((store.root / "ingest").iterdir())
    assert len(opened.images()) == 2


def test_a_bundle_brings_images_and_what_refers_to_them_to_another_store(store, tmp_path):
    image = small_image(store)
    store.add_artifact(image, "application/vnd.test", b"a note")
    save(store, [NAME], tmp_path / "a.tar")
    other = Store(tmp_path / "other")
    assert [one.reference for one in load(other, tmp_path / "a.tar")] == [NAME]
    assert {d.digest for d in other.closure(image)} == {d.digest for d in store.closure(image)}
    assert all(other.sound(part) for part in other.closure(image))
    assert other.gc().blobs == 0


def test_the_same_images_make_the_same_bundle(store, tmp_path):
    small_image(store)
    small_image(store, "team/thing:1.0.1", b"2")
    names = [one.reference for one in store.images()]
    save(store, names, tmp_path / "a.tar")
    os.utime(store.root / "index.json", (1, 1))
    save(Store(store.root), names[::-1], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_bundle_with_a_damaged_blob_brings_nothing(store, tmp_path):
    image = small_image(store, content=b"find me in the bundle")
    save(store, [NAME], tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content.replace(b"find me", b"fund me"))
    other = Store(tmp_path / "other")
    with pytest.raises(CorruptContent):
        load(other, tmp_path / "a.tar")
    assert not other.images()
    assert not other.has(store.manifest(image).layers[0])


def test_a_bundle_repairs_what_has_been_damaged(store, tmp_path):
    image = small_image(store)
    save(store, [NAME], tmp_path / "a.tar")
    damage(store, store.manifest(image).layers[0])
    load(store, tmp_path / "a.tar")
    assert all(store.sound(part) for part in store.closure(image))


def test_a_bundle_that_is_cut_short_brings_nothing(store, tmp_path):
    small_image(store, content=os.urandom(40_000))
    save(store, [NAME], tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[:20_000])
    other = Store(tmp_path / "other")
    with pytest.raises((CorruptContent, InvalidFile)):
        load(other, tmp_path / "a.tar")
    assert not other.images()
