"""A version of Dispatch recorded once, and a way to let its declarations be others."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rlops.envs.dispatch import kernel_v0
from rlops.registry.dynamics.golden import record
from rlops.registry.dynamics.subjects import subject

ID = "rlops/Dispatch-v0"
COOLING = "rlops/DatacenterCooling-v0"
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


def wheels():
    """Return the folder of wheels, in which those of the lock must be."""
    from rlops.registry.wheels import _files, lock_file, locked

    folder = ROOT / os.environ.get("RLOPS_WHEELS", ".cache/wheels")
    missing = [str(one) for one in locked(lock_file()) if not _files(folder, one)]
    if missing:
        pytest.fail(f"The wheels of images must be in {folder}, but {missing[0]} is not. Bring them: make wheels.")
    return folder
