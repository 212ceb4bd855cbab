"""Recorded dynamics, images that were built and went through a registry, and a registry of another make.

Containers need an engine and a base with Python, which tests do not fetch: ``RLOPS_TEST_BASE`` names a tar of one
(``.ci/engines`` makes it). Without them their tests are skipped; with ``RLOPS_REQUIRE_DOCKER=1`` they fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rlops.envs.dispatch import kernel_v0
from rlops.registry.dynamics.golden import record
from rlops.registry.dynamics.subjects import subject

ID = "rlops/Dispatch-v0"
COOLING = "rlops/DatacenterCooling-v0"
RELEASES = {"rlops/Dispatch-v2": "2.0.1", "rlops/DatacenterCooling-v1": "1.0.1", "rlops/CartBalance-v0": "0.0.1"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder with a golden file of Dispatch-v0 that has just been recorded."""
    from rlops.agents_baseline.controllers import reference_for

    folder = tmp_path_factory.mktemp("golden")
    record(subject(ID), "For tests.", folder, reference_for(ID))
    return folder


@pytest.fixture
def redeclare(monkeypatch):
    """Return a function that lets a parameter of Dispatch-v0 be declared otherwise."""

    def redeclare(name, **changes):
        parameters = tuple(replace(p, **changes) if p.name == name else p for p in kernel_v0.PARAMETERS)
        monkeypatch.setattr(kernel_v0, "PARAMETERS", parameters)

    return redeclare


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return a store and what was built into it: release 0.0.1 of DatacenterCooling-v0."""
    from rlops.registry import images
    from rlops.registry.store import Store
    from rlops.registry.unpacking import unpack

    store = Store(tmp_path_factory.mktemp("built") / "store")
    made = images.build(store, COOLING, release="0.0.1", wheels=wheels())
    unpack(store, made.reference)
    return store, made


@pytest.fixture
def store(built, tmp_path):
    """Return a store of the test's own with the image that was built."""
    from rlops.registry.store import Store

    source = built[0].root
    shutil.copytree(source, tmp_path / "store", copy_function=os.link, symlinks=True)
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Return a base image with Python made of the tar that RLOPS_TEST_BASE names; None: there is none."""
    from rlops.registry import images, oci
    from rlops.registry.layers import File
    from rlops.registry.oci import Manifest
    from rlops.registry.references import Reference
    from rlops.registry.store import Store

    tar = Path(os.environ.get("RLOPS_TEST_BASE") or "/nonexistent")
    if not tar.is_file():
        return None
    store, platform = Store(tmp_path_factory.mktemp("base") / "store"), oci.this_platform()
    layer = store.add(File(tar).chunks(), oci.LAYER)
    config = {
        **platform.as_json(),
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }
    manifest = Manifest(config=store.add(oci.canonical_json(config), oci.CONFIG), layers=[layer])
    store.tag(Reference.parse("base:12"), store.add_manifest(manifest.encoded()))
    return images.find_base(f"{store.root}:base:12", store)


@pytest.fixture(scope="session")
def released(tmp_path_factory, base):
    """Return a store with a release of three families, on a base with Python where there is one."""
    from rlops.registry import images
    from rlops.registry.store import Store

    store = Store(tmp_path_factory.mktemp("released") / "store")
    for id, release in RELEASES.items():
        images.build(store, id, release=release, base=base, wheels=wheels())
    return store


@pytest.fixture(scope="session")
def dispatch(tmp_path_factory, base):
    """Return a store with release 0.0.1 of Dispatch-v0, on a base with Python where there is one, and its name."""
    from rlops.registry import images
    from rlops.registry.store import Store

    store = Store(tmp_path_factory.mktemp("dispatch") / "store")
    return store, str(images.build(store, ID, release="0.0.1", base=base, wheels=wheels()).reference)


@pytest.fixture(scope="module")
def real_registry(tmp_path_factory):
    """Return the address of a CNCF registry that has just been started."""
    program = shutil.which("docker-registry")
    if program is None:
        told = "docker-registry is not installed: apt-get install docker-registry"
        (pytest.fail if os.environ.get("RLOPS_REQUIRE_DOCKER") == "1" else pytest.skip)(told)
    folder = tmp_path_factory.mktemp("cncf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage:\n  filesystem: {{rootdirectory: {folder / 'data'}}}\n  delete: {{enabled: true}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
        try:
            _wait_for(port, process, folder / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder / "data", ignore_errors=True)


def _wait_for(port, process, log):
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"docker-registry does not answer: {log.read_text()}")


def runtime_or_skip(name):
    """Return the runtime ``name``; skip, or fail where engines are required, if it is not here."""
    from rlops.errors import RlopsError, RuntimeUnavailable
    from rlops.registry.runtimes import runtime

    try:
        if name != "process" and not Path(os.environ.get("RLOPS_TEST_BASE", "")).is_file():
            raise RuntimeUnavailable("RLOPS_TEST_BASE must name the tar of a base with Python")
        return runtime(name)
    except RlopsError as error:
        missing(f"no containers of {name}: {error}")


def missing(told):
    """Skip a test for what is not here, or fail where nothing may be missing: ``.ci/run`` installs it all."""
    (pytest.fail if os.environ.get("RLOPS_REQUIRE_DOCKER") == "1" else pytest.skip)(told)


def skopeo(*arguments):
    """Return what skopeo, a client of another make, prints."""
    if shutil.which("skopeo") is None:
        missing("no other client of registries: apt-get install skopeo")
    return subprocess.run(["skopeo", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def wheels():
    """Return the folder of wheels, in which those of the locks must be."""
    from rlops.registry.wheels import EXTRAS, _files, lock_file, locked

    folder = ROOT / os.environ.get("RLOPS_WHEELS", ".cache/wheels")
    wanted = [one for extra in ("", *EXTRAS) for one in locked(lock_file(extra))]
    missing = [str(one) for one in wanted if not _files(folder, one)]
    if missing:
        pytest.fail(f"The wheels of images must be in {folder}, but {missing[0]} is not. Bring them: make wheels.")
    return folder
