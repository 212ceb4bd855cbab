"""A server keeps its clients apart, notices who is gone, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rlops.errors import ConnectionLost, InvalidValue, ProtocolError, Refused, UnknownName
from rlops.registry.remote.carriers import Channel, connected
from rlops.registry.remote.client import RemoteVectorEnv
from rlops.registry.remote.frames import Op
from rlops.registry.remote.protocol import Identity
from rlops.registry.remote.server import Offer, Server
from tests.registry.remote.comparing import assert_same, play_both
from tests.registry.remote.conftest import DISPATCH


def until(fact, seconds=20):
    """Return whether ``fact`` became true in time."""
    end = time.monotonic() + seconds
    while not (true := fact()) and time.monotonic() < end:
        time.sleep(0.02)
    return true


@pytest.fixture
def small(serve):
    """Return a server for two clients with six rows together."""
    serving = serve(DISPATCH, "--sessions", 2, "--rows", 6)
    yield serving
    assert serving.end() == 0


def test_clients_have_environments_of_their_own(dispatch, local):
    environments = [RemoteVectorEnv(dispatch.address, 3) for _ in range(3)]
    for seed, remote in enumerate(environments):
        remote.reset(seed=seed)
    for seed, remote in enumerate(environments):
        ours = local(DISPATCH, 3)
        ours.reset(seed=seed)
        for _ in range(5):
            assert_same(ours.step(np.zeros(3, np.int64)), remote.step(np.zeros(3, np.int64)))
        remote.close()


def test_clients_step_at_the_same_time_and_get_their_own(dispatch, local):
    failures = []

    def play(seed):
        try:
            with RemoteVectorEnv(dispatch.address, 2) as remote:
                play_both(local(DISPATCH, 2), remote, 100, seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_full_server_refuses_and_takes_the_next_when_one_leaves(small):
    first, second = RemoteVectorEnv(small.address, 2), RemoteVectorEnv(small.address, 2)
    with pytest.raises(Refused, match="--sessions"):
        RemoteVectorEnv(small.address, 1)
    second.close()
    assert until(lambda: _opens(small.address, 4))
    assert until(lambda: "--rows" in _refusal(small.address, 5))
    first.close()


def _opens(address, rows):
    return not _refusal(address, rows)


def _refusal(address, rows):
    try:
        RemoteVectorEnv(address, rows).close()
    except Refused as error:
        return str(error)
    return ""


def test_a_client_that_is_killed_gives_its_place_back(small):
    code = (
        "import sys, time\nfrom rlops.registry.remote.client import RemoteVectorEnv\n"
        "env = RemoteVectorEnv(sys.argv[1], 6)\nenv.reset(seed=0)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code, small.address], stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "ready\n"
    assert not _opens(small.address, 1)
    client.kill()
    client.wait()
    client.stdout.close()
    assert until(lambda: _opens(small.address, 6))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order_although_clients_are_there(serve, number):
    serving = serve(DISPATCH)
    remote = RemoteVectorEnv(serving.address, 2)
    remote.reset(seed=0)
    serving.process.send_signal(number)
    assert serving.process.wait(20) == 0
    assert not os.path.exists(serving.address)
    with pytest.raises(ConnectionLost):
        remote.step(np.zeros(2, np.int64))


def test_an_idle_server_ends_by_itself_but_not_before_its_client(serve, ended):
    serving = serve(DISPATCH, "--idle", 1)
    remote = RemoteVectorEnv(serving.address, 1)
    assert not ended(serving.process, 2)
    remote.ping()
    remote.close()
    assert ended(serving.process)
    assert serving.process.returncode == 0
    assert not os.path.exists(serving.address)


def test_a_socket_of_a_killed_server_is_taken_over_and_of_a_living_one_not(serve):
    serving = serve(DISPATCH)
    with pytest.raises(InvalidValue, match="free"):
        Server(Offer(Identity(DISPATCH)), serving.address)
    serving.process.kill()
    serving.process.wait()
    server = Server(Offer(Identity(DISPATCH), idle_s=0.0), serving.address)
    server.serve()
    assert not os.path.exists(serving.address)


def test_a_socket_can_be_reached_by_its_owner_only(dispatch):
    assert os.stat(dispatch.address).st_mode & 0o777 == 0o600


def test_tcp_needs_a_token_and_who_knows_it_gets_the_same_results(serve, local, tmp_path):
    with pytest.raises(InvalidValue, match="--token"):
        Server(Offer(Identity(DISPATCH)), ("127.0.0.1", 0))
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123456789abcdef")
    serving = serve(DISPATCH, "--token", file, tcp=True)
    assert serving.address.startswith("tcp://127.0.0.1:")
    for wrong in (None, b"another token of 32 bytes length"):
        with pytest.raises(Refused, match="token"):
            RemoteVectorEnv(serving.address, 2, token=wrong)
    with RemoteVectorEnv(serving.address, 40, token=file.read_bytes(), checksums=True, shared_memory=True) as remote:
        play_both(local(DISPATCH, 40), remote, 250)
    assert serving.end() == 0


def test_an_id_that_is_not_installed_is_refused():
    with pytest.raises(UnknownName, match="Dispatch-v2"):
        Server(Offer(Identity("rlops/Dispatch-v99")), "/nowhere")


def test_a_client_of_another_major_version_is_refused_with_what_to_do(dispatch):
    channel = Channel(connected(dispatch.address, 10), serves=False)
    channel.receive()
    channel.send_json(Op.OPEN, 0, {"protocol": "99.0.0"})
    header, told = channel.receive()
    assert header.op == Op.ERROR
    assert told["type"] == "ProtocolError"
    assert "99.0.0" in told["message"]
    channel.close()


class Impostor:
    """A server that says what a test tells it to say."""

    def __init__(self, *frames):
        ours, theirs = socket.socketpair()
        self.ours = ours
        channel = Channel(theirs, serves=True)
        self.channel = channel

        def answer():
            for op, value in frames:
                channel.send_json(op, 0, value)
                if op is Op.CHALLENGE:
                    with contextlib.suppress(ConnectionLost):
                        channel.receive()

        self.thread = threading.Thread(target=answer)
        self.thread.start()

    def end(self):
        self.thread.join()
        self.channel.close()


def test_a_server_of_another_major_version_is_refused_and_of_another_minor_told():
    impostor = Impostor((Op.CHALLENGE, {"protocol": "2.0.0", "nonce": ""}))
    with pytest.raises(ProtocolError, match=r"2\.0\.0"):
        RemoteVectorEnv("unused", opened=impostor.ours)
    impostor.end()
    impostor = Impostor((Op.CHALLENGE, {"protocol": "1.9.0", "nonce": ""}), (Op.PING, {}))
    with pytest.warns(UserWarning, match=r"1\.9\.0"), pytest.raises(ProtocolError, match="welcome"):
        RemoteVectorEnv("unused", opened=impostor.ours)
    impostor.end()


def test_something_else_that_listens_there_is_told_apart():
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n" + b" " * 60)
    with pytest.raises(ProtocolError, match="does not speak"):
        RemoteVectorEnv("unused", opened=ours)
    theirs.close()
