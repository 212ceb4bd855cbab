"""A benchmark leaves no server behind, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.rounds import ROOT

PARENT = """
import sys, time
from benchmarks.remote import served
from rlops.registry.remote.carriers import wait_for
with served("null", sys.argv[1]) as process:
    wait_for(sys.argv[1], 60.0).close()
    print(process.pid, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_server_ends_with_its_parent(tmp_path, how):
    command = [sys.executable, "-W", "ignore", "-c", PARENT, tmp_path / "socket", "600" if how == "killed" else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        server = Path(f"/proc/{int(parent.stdout.readline())}")
        if how == "killed":
            parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while server.exists() and "State:\tZ" not in (server / "status").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert not server.exists() or "State:\tZ" in (server / "status").read_text()
