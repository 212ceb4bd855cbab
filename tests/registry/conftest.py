"""A version of Dispatch recorded once, and a way to let its declarations be others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlops.envs.dispatch import kernel_v0
from rlops.registry.dynamics.golden import record
from rlops.registry.dynamics.subjects import subject

ID = "rlops/Dispatch-v0"


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
