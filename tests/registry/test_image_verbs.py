"""The verbs about images, from their words to their output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from rlops.cli.push import destination
from rlops.errors import InvalidReference
from rlops.registry.references import Reference
from rlops.registry.server import RegistryServer
from rlops.registry.store import Store
from tests.registry.conftest import COOLING, ROOT, wheels
from tests.registry.lying_registry import running
from tests.registry.synthetic import small_image


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Return a small store, which is the user's."""
    store = Store(tmp_path / "mine")
    monkeypatch.setenv("RLOPS_REGISTRY", str(store.root))
    small_image(store, "thing:1.0.0", b"1")
    return store


def test_an_image_goes_from_build_to_an_empty_store(run, store, tmp_path, monkeypatch):
    monkeypatch.setenv("RLOPS_REGISTRY", str(store.root))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("build", "DatacenterCooling-v0", "--release", "0.0.1", "--wheels", wheels(), "--json")
    assert code == 0
    digest = json.loads(out)["digest"]
    with running(RegistryServer(Store(tmp_path / "far"))) as server:
        name = f"{server.address}/datacenter-cooling:0.0.1"
        assert run("push", "datacenter-cooling:0.0.1", server.address)[0] == 0
        code, out, _ = run("push", "datacenter-cooling:0.0.1", name, "--json")
        assert json.loads(out) == {"image": f"{name}@{digest}", "new": False}
        assert run("list", server.address)[1].split() == [name]
        assert run("search", "cooling", "--registry", server.address)[1].split() == [name]
        monkeypatch.setenv("RLOPS_REGISTRY", str(tmp_path / "empty"))
        code, out, _ = run("pull", name)
        assert (code, out.split()[-1]) == (0, f"{name}@{digest}")
        assert run("lock", name)[0] == 0
        monkeypatch.setenv("RLOPS_REGISTRY", str(tmp_path / "second"))
        code, out, _ = run("pull", "--locked", "--json")
        assert json.loads(out) == [{"image": f"{name}@{digest}", "locked": True}]
        text = (tmp_path / "rlops.lock").read_text()
        (tmp_path / "rlops.lock").write_text(text.replace('"exact": "', '"exact": "0'))
        code, _, err = run("pull", "--locked")
        assert code == 1
        assert "fingerprint" in err
    code, out, _ = run("inspect", name, "--json")
    told = json.loads(out)
    assert told["environment"] == COOLING
    assert [one["holds"] for one in told["layers"]] == ["dependencies", "project", "compiled"]
    assert told["labels"]["dev.rlops.fingerprint"] == told["fingerprint"]
    assert len(told["referrers"]) == 2
    assert COOLING in run("inspect", name)[1]
    assert json.loads(run("inspect", name, "--sbom")[1])["bomFormat"] == "CycloneDX"
    assert [one["image"] for one in json.loads(run("search", "fan_power", "--json")[1])] in ([name], [])
    assert json.loads(run("list", "--json")[1])[0]["environment"] == COOLING


def test_signing_verifying_and_refusing(run, store, tmp_path, monkeypatch):
    monkeypatch.setenv("RLOPS_REGISTRY", str(store.root))
    name = "datacenter-cooling:0.0.1"
    assert run("sign", "--new-key", tmp_path / "ada")[0] == 0
    assert run("sign", "--new-key", tmp_path / "eve", "--json")[0] == 0
    assert run("sign", name, "--key", tmp_path / "ada")[0] == 0
    assert run("sign", name, "--check", tmp_path / "ada.pub")[0] == 0
    code, _, err = run("sign", name, "--check", tmp_path / "eve.pub")
    assert code == 1
    assert "not trusted" in err
    assert run("sign", name)[0] == 2


def test_images_are_listed_saved_loaded_and_forgotten(run, mine, tmp_path, monkeypatch):
    assert "thing:1.0.0" in run("list")[1]
    assert "thing:1.0.0" in run("search", "THIN")[1]
    assert "thing:1.0.0" not in run("search", "other")[1]
    code, out, _ = run("save", "thing:1.0.0", "--out", tmp_path / "a.tar", "--json")
    assert json.loads(out)["images"] == ["thing:1.0.0"]
    assert run("gc", "thing:1.0.0")[0] == 0
    assert json.loads(run("list", "--json")[1]) == []
    assert json.loads(run("gc", "--json")[1])["blobs"] == 0
    code, out, _ = run("load", tmp_path / "a.tar")
    assert code == 0
    assert "loaded thing:1.0.0@sha256:" in out
    assert json.loads(run("gc", "--dry-run", "--json")[1]) == {
        "blobs": 0, "unfinished": 0, "unpacked": 0, "size": 0, "dry_run": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("inspect", "thing:9.9.9"), 2, "has no image thing:9.9.9"),
        (("pull", "localhost:1/thing"), 2, "another image tomorrow"),
        (("pull", "thing:1.0.0"), 2, "must be named HOST"),
        (("pull",), 2, "--locked"),
        (("pull", "--locked"), 2, "rlops.lock must be a lock"),
        (("push", "thing:1.0.0"), 2, "must go to HOST/NAME:VERSION"),
        (("build", "Nothing-v0"), 2, "rlops/Nothing-v0"),
        (("build", "Dispatch-v2", "--release", "1.0.0"), 2, "must be a full version such as 2.0.1"),
        (("lock", "thing:latest"), 2, "another image tomorrow"),
        (("gc", "thing:1.0.0", "--dry-run"), 2, "--dry-run goes with none"),
        (("registry", "serve", "--address", "here"), 2, "must look like 127.0.0.1:5000"),
    ],
)
def test_wrong_use_is_explained_in_a_line(run, mine, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    ended, _, err = run(*arguments)
    assert ended == code
    assert told in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_damaged_image_ends_with_one(run, mine):
    image = mine.resolve(Reference.parse("thing:1.0.0"))
    path = mine.blob_path(mine.manifest(image).layers[0].digest)
    path.write_bytes(b"evil" + path.read_bytes()[4:])
    code, _, err = run("save", "thing:1.0.0", "--out", mine.root.parent / "a.tar")
    assert code == 1
    assert "damaged" in err
    assert not (mine.root.parent / "a.tar").exists()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, "localhost:5000/team/thing:1.0.0"),
        ("ghcr.io", "ghcr.io/thing:1.0.0"),
        ("ghcr.io/me", "ghcr.io/me/thing:1.0.0"),
        ("localhost:5000", "localhost:5000/thing:1.0.0"),
        ("ghcr.io/me/thing", "ghcr.io/me/thing:1.0.0"),
        ("ghcr.io/me/other:2.0.0", "ghcr.io/me/other:2.0.0"),
    ],
)
def test_where_a_push_goes(target, expected):
    source = "localhost:5000/team/thing:1.0.0" if target is None else "thing:1.0.0"
    assert str(destination(Reference.parse(source), target)) == expected
    with pytest.raises(InvalidReference):
        destination(Reference.parse("thing:1.0.0"), None)


def test_a_registry_is_served_until_it_is_stopped(mine):
    command = [sys.executable, "-m", "rlops.cli", "registry", "serve", "--address", "127.0.0.1:0", "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            lines = ""
            while not lines.endswith("}\n"):
                lines += process.stdout.readline()
            address = json.loads(lines)["address"]
            with urllib.request.urlopen(f"http://{address}/v2/thing/tags/list") as answer:
                assert json.loads(answer.read()) == {"name": "thing", "tags": ["1.0.0"]}
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert mine.gc(patience_s=0.1).blobs == 0
