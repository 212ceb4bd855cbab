"""``rlops serve``, ``run``, ``verify`` and ``conformance``: from words to exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rlops
from rlops.cli.serve import _unpack_compiled
from rlops.registry.remote.client import RemoteVectorEnv

ROOT = Path(rlops.__file__).parent.parent


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("serve", "rlops/Dispatch-v0"), "--socket"),
        (("serve", "rlops/Dispatch-v0", "--socket", "/tmp/x", "--tcp", "localhost:1"), "--socket"),
        (("serve", "rlops/Dispatch-v0", "--tcp", "127.0.0.1:0"), "--token"),
        (("serve", "rlops/Dispatch-v77", "--socket", "/tmp/x"), "Dispatch-v77"),
        (("serve", "rlops/Dispatch-v0", "--socket", "/no/such/folder/x"), "/no/such/folder/x"),
        (("conformance", "/no/such/socket"), "rlops serve"),
        (("run", "dispatch:2.0.0", "--require", "everything"), "aspect of isolation"),
        (("verify", "dispatch:2.0.0", "--runtime", "magic"), "docker"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(run, words, told):
    code, _, error = run(*words)
    assert code == 2
    assert told in error
    assert len(error.strip().splitlines()) == 1


def test_a_served_environment_conforms_and_says_where_it_is(run, tmp_path_factory):
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rlops-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "rlops.cli", "serve", "rlops/Dispatch-v0", "--socket", f"{folder}/s", "--json",
             "--num-envs", "5", "--autoreset-mode", "SameStep", "--param", "speed_kmh=25"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert json.loads(process.stdout.readline())["address"] == f"{folder}/s"
        with RemoteVectorEnv(f"{folder}/s") as remote:
            remote.reset(seed=0)
            assert (remote.num_envs, remote.autoreset_mode.value) == (5, "SameStep")
            assert (remote.params["speed_kmh"] == 25).all()
        code, out, _ = run("conformance", f"{folder}/s", "--json")
        assert code == 0
        assert all(finding["holds"] is not False for finding in json.loads(out))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()
        assert os.listdir(folder) == []


def test_compiled_code_of_an_image_is_copied_to_where_it_can_be_written(tmp_path, monkeypatch):
    image = tmp_path / "compiled"
    (image / "stamp").mkdir(parents=True)
    (image / "stamp" / "code.nbc").write_bytes(b"code")
    monkeypatch.setenv("RLOPS_CACHE_DIR", str(image))
    _unpack_compiled()
    assert os.environ["RLOPS_CACHE_DIR"] == str(image), "it can be written to: root, or its owner"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    _unpack_compiled()
    own = Path(os.environ["RLOPS_CACHE_DIR"])
    assert own != image
    assert (own / "stamp" / "code.nbc").read_bytes() == b"code"
    (own / "stamp" / "more.nbc").write_bytes(b"")
