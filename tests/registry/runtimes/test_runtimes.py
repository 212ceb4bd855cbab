"""Every runtime gives the results of the same environment in-process, isolates what it says, and leaves nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlops.errors import (
    ConnectionLost,
    IdentityMismatch,
    NotIsolated,
    RuntimeUnavailable,
    UnknownName,
)
from rlops.registry import oci
from rlops.registry.layers import File, layer
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import ASPECTS, LABEL, Image, Isolation, Limits, chosen, connect, runtime, socket_folder
from rlops.registry.runtimes.docker import write_archive
from rlops.registry.runtimes.process import WRAPPERS, ProcessRuntime
from tests.registry.conftest import missing
from tests.registry.remote.comparing import play_both
from tests.registry.runtimes.conftest import DISPATCH, ROOT

MODES = ("NextStep", "SameStep", "Disabled")


def working(wrapper):
    """Return a process runtime with ``wrapper``; skip, or fail where nothing may be missing, if that does not work."""
    try:
        return ProcessRuntime(wrapper)
    except RuntimeUnavailable as error:
        missing(str(error))


def children_of(marker):
    """Return the processes whose command line has ``marker``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def folders():
    """Return the folders for sockets of this process."""
    return set(Path(tempfile.gettempdir()).glob(f"rlops-env-{os.getpid()}-*"))


def gone(fact, seconds=30):
    """Return whether ``fact()`` became empty in time."""
    end = time.monotonic() + seconds
    while fact() and time.monotonic() < end:
        time.sleep(0.05)
    return not fact()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_process_gives_the_results_of_this_process(image, wrapper):
    for mode in MODES if wrapper == "none" else MODES[:1]:
        ours = gym.make_vec(DISPATCH, num_envs=100, autoreset_mode=mode)
        with connect(image, 100, runtime=working(wrapper), autoreset_mode=mode, shared_memory=True) as remote:
            assert play_both(ours, remote, 100) >= 100, "10,000 steps, and every row came to an end"
            assert remote.identity.digest == image.identity.digest


def test_a_process_knows_only_the_image(image, unpacked):
    started = ProcessRuntime("none").start(image)
    with connect(image, 1, runtime="process", runtime_options={"wrapper": "none"}):
        marker = str(unpacked)
        servers = [pid for pid in children_of("rlops.cli") if marker in Path(f"/proc/{pid}/environ").read_text()]
        assert servers
        for pid in servers:
            variables = dict(
                line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if line
            )
            assert variables["PYTHONPATH"] == f"{unpacked}/opt/rlops/project:{unpacked}/opt/rlops/dependencies"
            assert "RLOPS_DATA" not in variables
            arguments = set(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
            assert {"-S", "-s", "-P"} <= arguments, "no site-packages of the trainer, of the user, or of a folder"
            assert os.getsid(pid) != os.getsid(0)
    started.stop()


@pytest.mark.parametrize("wrapper", ["bwrap", "unshare"])
def test_a_wrapped_process_has_no_network_and_writes_only_where_it_may(image, wrapper):
    code = (
        "import os, socket, sys\n"
        "try: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2); print('connected')\n"
        "except OSError: print('no network')\n"
        "print(bool(os.statvfs('/usr').f_flag & os.ST_RDONLY))\n"
    )
    wrapped = working(wrapper)
    folder = socket_folder()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        told = subprocess.run(
            [*wrapped._wrapped(image.root, folder), sys.executable, "-S", "-c", code, str(port)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    folder.rmdir()
    assert told.split() == ["no", "network", str(bool(wrapped.isolation().filesystem))]


def test_closing_leaves_no_process_and_no_folder(image):
    remote = connect(image, 1)
    folder = Path(remote._channel.socket.getpeername()).parent
    assert children_of(folder.name)
    remote.close()
    assert not folder.exists()
    assert gone(lambda: children_of(folder.name))


CLIENT = """
import sys, time, numpy as np
from pathlib import Path
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import Image, connect
image = Image(Identity("rlops/Dispatch-v0"), Path(sys.argv[1]))
env = connect(image, 2, runtime_options={"idle_s": 1.0})
env.reset(seed=0)
print(Path(env._channel.socket.getpeername()).parent, flush=True)
if sys.argv[2] == "exit": sys.exit()
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["exit", "killed"])
def test_a_client_that_ends_takes_its_server_along(unpacked, how):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(unpacked), how],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    folder = Path(client.stdout.readline().strip())
    if how == "killed":
        assert children_of(folder.name)
        client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdout.close()
    assert gone(lambda: children_of(folder.name)), "the server goes on"
    assert not (folder / "env.sock").exists()
    socket_folder().rmdir()  # the next one clears away what a killed one left
    assert not folder.exists()


def test_a_killed_server_is_noticed(image):
    remote = connect(image, 2, runtime_options={"wrapper": "none"})
    remote.reset(seed=0)
    folder = Path(remote._channel.socket.getpeername()).parent
    for pid in children_of(folder.name):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(ConnectionLost):
        remote.step(np.zeros(2, np.int64))
    assert not folder.exists()


def test_an_image_that_cannot_start_says_why(image, tmp_path):
    (tmp_path / "opt" / "rlops" / "project").mkdir(parents=True)
    before = folders()
    with pytest.raises(RuntimeUnavailable, match=r"No module named '?rlops"):
        connect(dataclasses.replace(image, root=tmp_path), 1)
    with pytest.raises(RuntimeUnavailable, match="v99") as told:
        connect(dataclasses.replace(image, identity=Identity("rlops/Dispatch-v99")), 1)
    assert folders() == before, f"although somebody holds {told.value!r} and with it all that was under way"


def test_an_image_that_states_other_dynamics_is_refused(image):
    variables = {**image.variables, "RLOPS_IMAGE_FINGERPRINT": '{"exact": "aa"}'}
    expected = Identity(DISPATCH, image.identity.digest, {"exact": "bb"})
    before = folders()
    with pytest.raises(IdentityMismatch, match="exact must be bb, got aa") as told:
        connect(dataclasses.replace(image, identity=expected, variables=variables), 1)
    assert folders() == before, f"although somebody holds {told.value!r} and with it all that was under way"


def test_what_is_not_isolated_is_refused_before_anything_starts(image, monkeypatch):
    monkeypatch.setattr(ProcessRuntime, "start", lambda *_: pytest.fail("it started"))
    for aspect in (*ASPECTS, "isolation"):
        with pytest.raises(NotIsolated, match="must isolate"):
            connect(image, 1, runtime="process", runtime_options={"wrapper": "none"}, require=[aspect])
        with pytest.raises(NotIsolated, match="must isolate"):
            connect(image, 1, runtime=ProcessRuntime("none"), require=[aspect])
        with pytest.raises(NotIsolated, match="must isolate"):
            chosen("process", [aspect], wrapper="none")
    with pytest.raises(UnknownName, match="network"):
        connect(image, 1, require=["net"])


def test_auto_takes_a_runtime_that_isolates_or_none(monkeypatch):
    assert chosen("auto", ()).name == "process"
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotIsolated, match="none does here"):
        chosen("auto", ["isolation"])


def test_an_isolation_says_what_it_is():
    assert str(Isolation()) == "no isolation"
    assert str(Isolation(network="none")) == "network: none"


def test_an_engine_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    with pytest.raises(RuntimeUnavailable, match="DOCKER_HOST"):
        runtime("docker")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeUnavailable, match="podman"):
        runtime("podman")
    with pytest.raises(UnknownName, match="docker"):
        runtime("dokcer")


# -- containers --------------------------------------------------------------------------------------------


def containers(name, client=None):
    """Return the names of an engine's containers that a process started, this one by default.

    An engine may hold others: those of another user of it, and what a machine left that was switched off.
    """
    told = subprocess.run(
        [name, "ps", "--all", "--filter", f"label={LABEL}={client or os.getpid()}", "--format", "{{.Names}}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return told.stdout.split()


def test_a_container_gives_the_results_of_this_process(engine):
    name, image = engine
    for mode in MODES:
        ours = gym.make_vec(DISPATCH, num_envs=100, autoreset_mode=mode)
        shared = mode != "NextStep"
        with connect(
            image, 100, runtime=name, require=["isolation"], autoreset_mode=mode, shared_memory=shared
        ) as remote:
            assert play_both(ours, remote, 100) >= 100, "10,000 steps, and every row came to an end"
            assert remote.identity.digest == image.identity.digest
            assert remote.isolation.network == "none"
    assert gone(lambda: containers(name))


def test_a_single_row_in_a_container_goes_on_for_many_episodes_as_here(engine):
    name, image = engine
    with connect(image, 1, runtime=name, autoreset_mode="SameStep") as remote:
        assert play_both(gym.make_vec(DISPATCH, num_envs=1, autoreset_mode="SameStep"), remote, 2_000) >= 20


def test_a_container_is_isolated_as_it_says(engine):
    name, image = engine
    with connect(image, 1, runtime=name) as remote:
        (container,) = containers(name)
        told = subprocess.run(
            [name, "exec", container, "python3", "-c",
             "import os, pathlib\n"
             "status = pathlib.Path('/proc/self/status').read_text()\n"
             "print(os.getuid(), sorted(os.listdir('/sys/class/net')))\n"
             "told = ('CapEff', 'CapBnd', 'NoNew')\n"
             "print([line.split()[1] for line in status.splitlines() if line.startswith(told)])\n"
             "for path in ('/opt/x', '/usr/x', '/tmp/x'):\n"
             "    try: open(path, 'w'); print(path, 'written')\n"
             "    except OSError: print(path, 'refused')\n"],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        remote.ping()
    assert told[0] == "65532 ['lo']"
    assert told[1] == "['0000000000000000', '0000000000000000', '1']"
    assert told[2:] == ["/opt/x refused", "/usr/x refused", "/tmp/x written"]


def test_a_container_gets_the_limits_it_is_given_and_no_network_and_nothing_to_write_to(engine):
    name, image = engine
    limits = Limits(memory_mb=768, cpus=1.5, pids=99)
    with connect(image, 1, runtime=name, runtime_options={"limits": limits}):
        told = subprocess.run([name, "inspect", *containers(name)], capture_output=True, text=True, check=True).stdout
    (host,) = [container["HostConfig"] for container in json.loads(told)]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (768 << 20, 1_500_000_000, 99)
    assert (host["NetworkMode"], host["ReadonlyRootfs"]) == ("none", True), "whatever the engine has by default"


def test_an_engine_that_makes_another_image_of_an_archive_is_not_believed(engine, tmp_path):
    name, _ = engine
    files = tmp_path / "layer.tar"
    files.write_bytes(b"".join(layer({"opt/thing": File(b"thing")})))
    config = oci.canonical_json(
        {
            **oci.this_platform().as_json(),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [oci.digest_of(files.read_bytes())]},
        }
    )
    other = Image(
        Identity(DISPATCH),
        config_digest="sha256:" + "0" * 64,
        archive=lambda file: write_archive(file, config, oci.digest_of(config), [files]),
    )
    with pytest.raises(RuntimeUnavailable, match=r"must load the image sha256:0+, but made"):
        connect(other, 1, runtime=name)


def test_the_container_of_a_killed_client_goes_away(engine, tmp_path):
    name, image = engine
    code = (
        "import sys, time\nfrom rlops.registry.remote.protocol import Identity\n"
        "from rlops.registry.runtimes import Image, connect\n"
        "image = Image(Identity('rlops/Dispatch-v0'), config_digest=sys.argv[2])\n"
        "env = connect(image, 1, runtime=sys.argv[1], runtime_options={'idle_s': 1.0})\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code, name, image.config_digest],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert client.stdout.readline() == "ready\n"
    assert containers(name, client.pid)
    client.kill()
    client.wait()
    client.stdout.close()
    assert gone(lambda: containers(name, client.pid))


def test_the_fingerprint_within_a_container_is_that_of_this_process(engine):
    from rlops.registry.dynamics.fingerprint import fingerprint
    from rlops.registry.dynamics.subjects import subject

    name, image = engine
    with connect(image, 1, runtime=name) as remote:
        assert remote.fingerprint() == fingerprint(subject(DISPATCH)).as_json()


def test_an_image_that_the_engine_does_not_have_is_named(engine):
    name, _ = engine
    with pytest.raises(RuntimeUnavailable, match="Load it"):
        connect(Image(Identity(DISPATCH), config_digest="sha256:" + "0" * 64), 1, runtime=name)
