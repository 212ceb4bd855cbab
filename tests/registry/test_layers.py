"""A layer is the same wherever it is made, and stays in its folder wherever it is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops.errors import CorruptContent, UnsafeLayer
from rlops.registry import oci
from rlops.registry.layers import File, Limits, extract, layer
from rlops.registry.references import Reference
from rlops.registry.store import Store
from rlops.registry.unpacking import unpack
from tests.registry.synthetic import image_of, small_image, tar

NAME = Reference.parse("team/thing:1.0.0")


def unpacked(folder, blob, media_type=oci.LAYER, **limits):
    folder.mkdir(exist_ok=True)
    extract(io.BytesIO(blob), media_type, len(blob), folder, Limits(**limits))
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_a_layer_is_known_by_its_digest():
    files = {"opt/a": File(b"1"), "opt/" + "é" * 90 + "/" + "b" * 120: File(b"run me", True)}
    digest = hashlib.sha256(b"".join(layer(files))).hexdigest()
    assert digest == "cbf4a68d4bd7e083a54cf68edf6cbd197a1b4bc5569919a7ec05e7c622637987"


def test_times_modes_and_order_of_files_do_not_reach_a_layer(tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"1")
    (tmp_path / "two").chmod(0o600)
    os.utime(tmp_path / "two", (1, 1))
    a = b"".join(layer({"x/b": File(tmp_path / "one"), "a": File(b"2")}))
    b = b"".join(layer({"a": File(b"2"), "x/b": File(tmp_path / "two")}))
    assert a == b


def test_a_layer_is_an_archive_that_anybody_reads():
    blob = b"".join(layer({"opt/a": File(b"1", True), "opt/long/" + "n" * 200: File(b"22")}))
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        entries = {entry.name: entry for entry in archive}
        assert archive.extractfile("opt/long/" + "n" * 200).read() == b"22"
    assert {name: oct(entry.mode) for name, entry in entries.items()} == {
        "opt": "0o755", "opt/a": "0o755", "opt/long": "0o755", "opt/long/" + "n" * 200: "0o644",
    }  # fmt: skip
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries.values()} == {(0, 0, "", "", 0)}


@settings(max_examples=30)
@given(st.dictionaries(st.text("abcé-. ", min_size=1, max_size=150).filter(lambda t: t.strip(".")), st.binary()))
def test_what_is_packed_comes_back(tmp_path_factory, contents):
    files = {f"d/{name}": File(content) for name, content in contents.items()}
    folder = tmp_path_factory.mktemp("back")
    unpacked(folder, b"".join(layer(files)))
    assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == contents


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "a\0b"])
def test_a_path_that_leaves_its_layer_is_not_packed(path):
    with pytest.raises(UnsafeLayer, match="below its root"):
        list(layer({path: File(b"")}))


BAD = {
    "an absolute path": [("/etc/evil", {"content": b"1"})],
    "a path that climbs": [("a/../../evil", {"content": b"1"})],
    "a link to an absolute path": [("a", {"type": tarfile.SYMTYPE, "linkname": "/etc"})],
    "a link that climbs": [("a/b", {"type": tarfile.SYMTYPE, "linkname": "../../etc"})],
    "a link that climbs out of another link": [
        ("d/e/up", {"type": tarfile.SYMTYPE, "linkname": "../.."}),
        ("d/e/x", {"type": tarfile.SYMTYPE, "linkname": "up/../../etc"}),
    ],
    "a file through a link": [
        ("d/", {"type": tarfile.DIRTYPE}),
        ("a", {"type": tarfile.SYMTYPE, "linkname": "d"}),
        ("a/b", {"content": b"1"}),
    ],
    "a hard link to an absolute path": [("a", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})],
    "a hard link that climbs": [("a", {"type": tarfile.LNKTYPE, "linkname": "../evil"})],
    "a hard link to a link": [
        ("b", {"content": b"1"}),
        ("s", {"type": tarfile.SYMTYPE, "linkname": "b"}),
        ("a", {"type": tarfile.LNKTYPE, "linkname": "s"}),
    ],
    "a device": [("a", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
    "a pipe": [("a", {"type": tarfile.FIFOTYPE})],
    "a setuid file": [("a", {"content": b"1", "mode": 0o4755})],
    "a setgid file": [("a", {"content": b"1", "mode": 0o2755})],
    "a whiteout that climbs": [("a/.wh...", {"content": b""})],
    "an endless name": [("n" * (2 << 20), {"content": b""})],
}


@pytest.mark.parametrize("case", BAD)
def test_a_layer_is_refused_that_holds(case, tmp_path):
    blob = tar(*[(name, dict(options)) for name, options in BAD[case]])
    with pytest.raises(UnsafeLayer):
        unpacked(tmp_path / "root", blob)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root"]


def test_a_zip_bomb_is_refused_before_it_fills_the_disk(tmp_path):
    bomb = gzip.compress(tar(("a", {"content": bytes(64 << 20)})))
    assert len(bomb) < 1 << 17
    with pytest.raises(UnsafeLayer, match="disk would fill"):
        unpacked(tmp_path / "root", bomb, oci.LAYER_GZIP)
    assert sum(p.stat().st_size for p in (tmp_path / "root").rglob("*")) <= 16 << 20


def test_a_layer_of_too_many_entries_or_bytes_is_refused(tmp_path):
    blob = tar(*[(f"f{n}", {"content": b"12345"}) for n in range(20)])
    with pytest.raises(UnsafeLayer, match="at most 19 entries"):
        unpacked(tmp_path / "root", blob, entries=19)
    with pytest.raises(UnsafeLayer, match="at most"):
        unpacked(tmp_path / "other", blob, size=50)


@pytest.mark.parametrize("media_type", [oci.LAYER, oci.LAYER_GZIP])
def test_a_layer_cut_short_or_of_another_type_is_no_archive(tmp_path, media_type):
    blob = tar(("a", {"content": os.urandom(30_000)}))
    with pytest.raises(CorruptContent):
        unpacked(tmp_path / "a", blob[:8000] if media_type == oci.LAYER else gzip.compress(blob)[:8000], media_type)
    with pytest.raises(CorruptContent):
        unpacked(tmp_path / "b", b"no archive" * 1000, media_type)


def test_a_compressed_layer_of_other_tools_is_read(tmp_path):
    blob = tar(("./a/b", {"content": b"1", "mode": 0o755}), ("./c", {"type": tarfile.SYMTYPE, "linkname": "a/b"}))
    assert unpacked(tmp_path / "x", gzip.compress(blob) + bytes(600), oci.LAYER_GZIP) == {"a", "a/b", "c"}
    assert (tmp_path / "x" / "c").read_bytes() == b"1"


def test_an_unknown_compression_is_refused(tmp_path):
    with pytest.raises(UnsafeLayer, match="plain or gzipped"):
        unpacked(tmp_path / "x", b"", oci.LAYER + "+zstd")


def test_whiteouts_hide_what_lower_layers_hold(tmp_path):
    store = Store(tmp_path / "store")
    low = tar(
        ("d/a", {"content": b"1"}), ("d/b", {"content": b"1"}), ("e/f/g", {"content": b"1"}), ("k", {"content": b"low"})
    )
    high = tar(
        ("d/.wh.a", {"content": b""}), ("e/new", {"content": b"2"}), ("e/.wh..wh..opq", {"content": b""}),
        ("k", {"content": b"high"}),
    )  # fmt: skip
    image_of(store, str(NAME), [low, high])
    root = unpack(store, NAME)
    assert {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} == {"d/b", "e/new", "k"}
    assert (root / "k").read_bytes() == b"high"
    lower = image_of(store, "team/thing:1.0.1", [low])
    assert (unpack(store, lower) / "k").read_bytes() == b"low"


def test_layers_are_unpacked_once_and_shared(tmp_path):
    store = Store(tmp_path / "store")
    base, a, b = (tar((name, {"content": name.encode()})) for name in ("base", "a", "b"))
    image_of(store, "thing:1.0.0", [base, a])
    image_of(store, "thing:1.0.1", [base, b])
    first, second = (unpack(store, Reference.parse(f"thing:1.0.{n}")) for n in (0, 1))
    assert unpack(store, Reference.parse("thing:1.0.0")) == first
    assert (first / "base").samefile(second / "base")
    assert (first / "base").stat().st_mode & 0o777 == 0o444
    assert first.stat().st_mode & 0o777 == 0o555


def test_of_an_image_of_rlops_a_process_gets_only_its_own_layers(tmp_path):
    store = Store(tmp_path / "store")
    image = image_of(store, "thing:1.0.0", [tar(("bin/setuid", {"content": b"", "mode": 0o4755}))])
    manifest = store.manifest(image)
    ours = store.add(tar(("opt/x", {"content": b"1"})), oci.LAYER, **{oci.LAYER_OF: "project"})
    both = store.add_manifest(manifest.model_copy(update={"layers": [*manifest.layers, ours]}).encoded())
    assert (unpack(store, both) / "opt" / "x").read_bytes() == b"1"
    with pytest.raises(UnsafeLayer, match="setuid"):
        unpack(store, image)
    assert len(list((store.root / "unpacked").iterdir())) == 1


def test_a_damaged_layer_leaves_no_folder(tmp_path):
    store = Store(tmp_path / "store")
    image = small_image(store, content=b"good bytes")
    path = store.blob_path(store.manifest(image).layers[0].digest)
    path.write_bytes(path.read_bytes().replace(b"good", b"evil"))
    with pytest.raises(CorruptContent, match="damaged"):
        unpack(store, NAME)
    assert not list((store.root / "unpacked").iterdir())
