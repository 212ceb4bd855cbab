"""Servers of the cheap environments, started once a run, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

import rlops

DISPATCH, COOLING = "rlops/Dispatch-v0", "rlops/DatacenterCooling-v0"
ROOT = Path(rlops.__file__).parent.parent


class Serving:
    """A server process and where it listens."""

    def __init__(self, process: subprocess.Popen[str], address: str):
        self.process, self.address = process, address

    def end(self) -> int:
        """Ask the server to end and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture(scope="session")
def serve() -> Iterator:
    """Return a function that starts ``rlops serve ID`` with more options and returns it once it listens."""
    folder = Path(tempfile.mkdtemp(prefix="rlops-sockets-"))  # pytest's own folders are too long for a socket's path
    started: list[Serving] = []

    def serve(id, *options, environ=(), tcp=False):
        path = str(folder / f"{len(started)}")
        where = ["--tcp", "127.0.0.1:0"] if tcp else ["--socket", path]
        process = subprocess.Popen(
            [sys.executable, "-m", "rlops.cli", "serve", id, *where, "--json", *map(str, options)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **dict(environ)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(Serving(process, path))
        line = process.stdout.readline()
        assert line, f"the server ended: {process.wait()}"
        import json

        started[-1].address = json.loads(line)["address"]
        return started[-1]

    yield serve
    for one in started:
        if one.process.poll() is None:
            one.end()
        one.process.stdout.close()
    assert os.listdir(folder) == [], "a server left its socket behind"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def dispatch(serve) -> Serving:
    """Return a server of the cheapest environment."""
    return serve(DISPATCH)


@pytest.fixture(scope="session")
def cooling(serve) -> Serving:
    """Return a server of an environment with continuous actions and key figures."""
    return serve(COOLING)


@pytest.fixture
def address(request, dispatch, cooling):
    """Return a function from an id to the address of its server."""
    return {DISPATCH: dispatch.address, COOLING: cooling.address}.__getitem__


@pytest.fixture
def local():
    """Return a function that makes the same environment in this process."""
    return lambda id, rows, **options: gym.make_vec(id, num_envs=rows, **options)


@pytest.fixture
def ended():
    """Return a function that waits until a process has ended, and says whether it did."""

    def ended(process, seconds=20):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.poll() is not None

    return ended
