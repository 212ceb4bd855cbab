"""Stepping a batch through a socket: against OpenEnv, against a gRPC stream, in containers, and against in-process.

The first table steps an environment that does nothing, so that only the way there and back counts: the same arrays,
64 rows of 32 numbers, through our Unix socket, OpenEnv's WebSocket and a bidirectional gRPC stream of raw bytes, each
served by a process of its own. The second steps Dispatch-v1.

Run ``make bench``, or ``python -m benchmarks.remote``. Peers that are not installed are left out. With
``RLOPS_BENCH_IMAGE``, the name of an image of Dispatch-v1 in the store, built on a base with Python
(``rlops build Dispatch-v1 --release 1.0.1 --base …``), process and container run that image; without, there is no
container, and the process runs what is installed.

Servers of peers end when the pipe to their parent breaks, so none is left behind, however the parent ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.rounds import ROOT, arguments, interleaved, median, per_second, ratio, repeated, show, write
from rlops.registry.remote.carriers import wait_for
from rlops.registry.remote.client import RemoteVectorEnv
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import Image, connect
from rlops.registry.runtimes.docker import DockerRuntime
from rlops.registry.runtimes.process import ProcessRuntime
from rlops.registry.runtimes.verifying import image_of

ROWS, COLUMNS, CONTROLS = 64, 32, 4
START_S, REPLY_S = 60.0, 20.0
"""How long a peer's server may take to start, and to answer [s]."""
DISPATCH, DISPATCH_ROWS = "rlops/Dispatch-v1", 1024
SOCKET, SHARED, OPENENV, GRPC = "rlops, socket", "rlops, shared memory", "OpenEnv", "gRPC stream"
TARGETS = (
    (f"{SOCKET} / {OPENENV}", 50.0),
    (f"{SOCKET} / {GRPC}", 5.0),
    ("process, socket / in-process", 0.6),
    ("process, shared memory / in-process", 0.8),
    ("container, socket / in-process", 0.6),
    ("container, shared memory / in-process", 0.8),
    ("container, socket / process, socket", 0.9),
)


class NullVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Rows that stay what they are."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int = ROWS, **_: Any):
        """Allocate what is returned."""
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(-1, 1, (COLUMNS,), np.float32)
        self.single_action_space = gym.spaces.Box(-1, 1, (CONTROLS,), np.float32)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self._result = result(num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Return what is always returned."""
        return self._result[0], {}

    def step(self, actions: np.ndarray) -> Any:
        """Return what is always returned."""
        return *self._result, {}


def result(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return observations, rewards and flags."""
    rng = np.random.default_rng(0)
    flags = np.zeros(rows, np.bool_)
    return rng.random((rows, COLUMNS), np.float32), rng.random(rows), flags, flags.copy()


# -- servers, each in a process of its own -----------------------------------------------------------------


def serve_null(path: str) -> None:
    """Serve the null environment with our server."""
    from rlops.registry.remote.server import Offer, Server

    gym.register("Null-v0", vector_entry_point=NullVectorEnv, entry_point="benchmarks.remote:NullVectorEnv")
    import rlops.registry.remote.server as module

    module.made = lambda id, rows, mode, options: NullVectorEnv(rows)  # it has no copy= to be told of
    NullVectorEnv.render_mode = None
    Server(Offer(Identity("Null-v0"), num_envs=ROWS), path).serve()


def serve_openenv(port: str) -> None:
    """Serve the same arrays with OpenEnv, as lists, as its messages are JSON."""
    import uvicorn
    from openenv.core.env_server import Action, Environment, Observation, State, create_app

    class Actions(Action):
        values: list[list[float]]

    class Seen(Observation):
        values: list[list[float]]
        rewards: list[float]
        terminated: list[bool]
        truncated: list[bool]

    class Null(Environment):
        def __init__(self) -> None:
            super().__init__()
            self._result = result(ROWS)

        def _seen(self) -> Seen:
            seen, reward, terminated, truncated = (array.tolist() for array in self._result)
            return Seen(values=seen, rewards=reward, terminated=terminated, truncated=truncated, done=False, reward=0.0)

        def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> Seen:
            return self._seen()

        def step(self, action: Any, timeout_s: Any = None, **_: Any) -> Seen:
            np.array(action.values, np.float32)
            return self._seen()

        @property
        def state(self) -> State:
            return State()

    uvicorn.run(create_app(Null, Actions, Seen, env_name="null"), host="127.0.0.1", port=int(port), log_level="error")


def serve_grpc(path: str) -> None:
    """Serve the same bytes over a bidirectional stream."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    whole = b"".join(array.tobytes() for array in result(ROWS))

    def process(requests: Any, context: Any) -> Iterator[bytes]:
        for request in requests:
            np.frombuffer(request, np.float32)
            yield whole

    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.stream_stream_rpc_method_handler(process)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Null", {"Process": handler}),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    server.wait_for_termination()


def end_with_parent() -> None:
    """End this server as soon as its parent closes the pipe that is its input, as the kernel does when it dies."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def served(kind: str, where: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of the servers above."""
    command = [sys.executable, "-m", "benchmarks.remote", f"serve-{kind}", where]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once ``process`` listens at ``port``.

    Raises:
        RuntimeError: If it has ended, or takes too long.
    """
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"a server must listen at port {port} within {START_S:g} s, but {process.args} does not")


# -- clients -----------------------------------------------------------------------------------------------


def ours(path: str, shared: bool, stack: contextlib.ExitStack) -> Callable[[], Any]:
    """Return our client's step."""
    wait_for(path, START_S).close()
    env = stack.enter_context(RemoteVectorEnv(path, ROWS, shared_memory=shared, copy=False, timeout_s=REPLY_S))
    actions = env.action_space.sample()
    env.reset(seed=0)
    expected = result(ROWS)
    for got, wanted in zip(env.step(actions), expected, strict=False):
        np.testing.assert_array_equal(got, wanted)
    return lambda: env.step(actions)


def openenv_step(port: int, process: subprocess.Popen[bytes], stack: contextlib.ExitStack) -> Callable[[], Any]:
    """Return a step by OpenEnv's own generic client, answer to arrays included."""
    from openenv import GenericEnvClient

    wait_for_port(port, process)
    patience = {"connect_timeout_s": REPLY_S, "message_timeout_s": REPLY_S}
    client = stack.enter_context(GenericEnvClient(base_url=f"http://127.0.0.1:{port}", **patience).sync())
    client.reset()
    actions = np.zeros((ROWS, CONTROLS), np.float32)

    def step() -> Any:
        seen = client.step({"values": actions.tolist()}).observation
        kinds = {"values": np.float32, "rewards": np.float64, "terminated": np.bool_, "truncated": np.bool_}
        return [np.array(seen[name], kind) for name, kind in kinds.items()]

    for got, wanted in zip(step(), result(ROWS), strict=True):
        np.testing.assert_array_equal(got, wanted)
    return step


def grpc_step(path: str, stack: contextlib.ExitStack) -> Callable[[], Any]:
    """Return a step over the gRPC stream."""
    import queue

    import grpc

    channel = grpc.insecure_channel(f"unix:{path}")
    stack.callback(channel.close)
    grpc.channel_ready_future(channel).result(START_S)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    replies = channel.stream_stream("/Null/Process")(iter(waiting.get, b""))
    stack.callback(waiting.put, b"")  # the end of what is asked
    actions = np.zeros((ROWS, CONTROLS), np.float32)

    def step() -> Any:
        waiting.put(actions.tobytes())
        return np.frombuffer(next(replies), np.uint8)

    assert step().tobytes() == b"".join(array.tobytes() for array in result(ROWS))
    return step


def null_rates(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return batches per second of the null environment by each way."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(served("null", f"{folder}/null"))
        sides = {SOCKET: ours(f"{folder}/null", False, stack), SHARED: ours(f"{folder}/null", True, stack)}
        if installed("openenv", OPENENV):
            port = free_port()
            sides[OPENENV] = openenv_step(port, stack.enter_context(served("openenv", str(port))), stack)
        if installed("grpc", GRPC):
            stack.enter_context(served("grpc", f"{folder}/grpc"))
            sides[GRPC] = grpc_step(f"{folder}/grpc", stack)
        return interleaved({name: repeated(step, 1) for name, step in sides.items()}, rounds, seconds)


def installed(module: str, name: str) -> bool:
    """Return whether a peer is installed; say so if it is not."""
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"{name} is left out: there is no module {module}", file=sys.stderr)
    return found


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


# -- Dispatch ----------------------------------------------------------------------------------------------


def installed_image(folder: Path) -> Image:
    """Return what is installed as an image of the process runtime."""
    import sysconfig

    parts = folder / "opt" / "rlops"
    parts.mkdir(parents=True)
    (parts / "dependencies").symlink_to(sysconfig.get_path("purelib"))
    (parts / "project").symlink_to(ROOT)
    return Image(Identity(DISPATCH), folder)


def dispatch_rates(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return environment steps per second of Dispatch-v1."""
    ref = os.environ.get("RLOPS_BENCH_IMAGE", "")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        images = {"process": image_of(ref, "process") if ref else installed_image(Path(folder))}
        if ref:
            images["container"] = image_of(ref, "docker")
        local = gym.make_vec(DISPATCH, num_envs=DISPATCH_ROWS, copy=False)
        stack.callback(local.close)
        sides: dict[str, Any] = {"in-process": local}
        for place, image in images.items():
            runtime = ProcessRuntime("none") if place == "process" else DockerRuntime()
            for shared, name in ((False, "socket"), (True, "shared memory")):
                env = connect(image, DISPATCH_ROWS, runtime=runtime, copy=False, shared_memory=shared)
                sides[f"{place}, {name}"] = stack.enter_context(env)
        wait = np.zeros(DISPATCH_ROWS, np.int64)
        for env in sides.values():
            env.reset(seed=0)
            env.step(wait)
        steps = {name: repeated(lambda env=env: env.step(wait), DISPATCH_ROWS) for name, env in sides.items()}
        return interleaved(steps, rounds, seconds)


def main() -> None:
    """Measure, print the tables and write them."""
    options = arguments(__doc__ or "")
    null, dispatch = (measure(options.rounds, options.seconds) for measure in (null_rates, dispatch_rates))
    show(f"{ROWS} rows, null environment", ("way", "batches/s"), [(n, per_second(median(null, n))) for n in null])
    show(
        f"{DISPATCH}, {DISPATCH_ROWS} rows", ("way", "steps/s"),
        [(n, per_second(median(dispatch, n))) for n in dispatch],
    )  # fmt: skip
    ratios: dict[str, float] = {}
    for rates in (null, dispatch):
        ratios |= {f"{a} / {b}": ratio(rates, a, b) for a in rates for b in rates if a != b}
    met = [
        (name, f"≥ {least:g}x", f"{ratios[name]:.2f}x", "yes" if ratios[name] >= least else "no")
        for name, least in TARGETS
        if name in ratios
    ]
    show("Targets", ("ratio", "target", "measured", "met"), met)
    medians = {name: median(rates, name) for rates in (null, dispatch) for name in rates}
    write("remote", {"rates": medians, "ratios": ratios})


if __name__ == "__main__":
    verbs = {"serve-null": serve_null, "serve-openenv": serve_openenv, "serve-grpc": serve_grpc}
    if len(sys.argv) == 3 and sys.argv[1] in verbs:
        end_with_parent()
        verbs[sys.argv[1]](sys.argv[2])
    else:
        main()
