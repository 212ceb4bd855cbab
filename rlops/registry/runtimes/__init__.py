"""Runtimes: what runs the server of an image, and how far it is kept away from everything else.

``docker``, ``podman`` and ``process`` run the same entry point of the same image. Each says what it isolates
(:class:`Isolation`); what is required and not given is refused, never left out.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from rlops.errors import NotIsolated, RuntimeUnavailable, UnknownName
from rlops.registry.remote.carriers import wait_for
from rlops.registry.remote.client import TIMEOUT_S, RemoteVectorEnv
from rlops.registry.remote.protocol import Identity

ASPECTS = ("filesystem", "network", "user", "limits")
IDLE_S = 10.0
"""After so long without a client a server that was started for one ends by itself, whatever became of the client."""
SOCKET = "env.sock"
INSIDE = "/run/rlops"
"""Folder of the socket within a container."""
LABEL = "dev.rlops.runtime"
"""Of every container: the process that it was started for."""


@dataclass(frozen=True)
class Isolation:
    """What a runtime keeps an environment away from; an empty text: nothing.

    Attributes:
        filesystem: Of what it sees and may write.
        network: Of what it can reach.
        user: As whom it runs.
        limits: What it cannot use up.
    """

    filesystem: str = ""
    network: str = ""
    user: str = ""
    limits: str = ""

    def require(self, wanted: Sequence[str], runtime: str) -> None:
        """Hold the isolation to what is ``wanted``: aspects by name, or ``isolation`` for all.

        Raises:
            NotIsolated: If one is not given.
            UnknownName: If there is no such aspect.
        """
        for aspect in aspects(wanted):
            if not getattr(self, aspect):
                given = ", ".join(name for name in ASPECTS if getattr(self, name)) or "nothing"
                raise NotIsolated(
                    f"The runtime {runtime} must isolate {aspect}, but isolates {given} here. "
                    "Use docker or podman, or do not require it."
                )

    def __str__(self) -> str:
        told = [f"{name}: {getattr(self, name)}" for name in ASPECTS if getattr(self, name)]
        return "; ".join(told) or "no isolation"


def aspects(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the aspects of isolation that ``wanted`` names.

    Raises:
        UnknownName: If there is no such aspect.
    """
    for name in wanted:
        if name not in (*ASPECTS, "isolation"):
            raise UnknownName("aspect of isolation", name, [*ASPECTS, "isolation"])
    return ASPECTS if "isolation" in wanted else tuple(wanted)


@dataclass(frozen=True)
class Image:
    """An image that is ready to be run.

    Attributes:
        identity: Environment id, digest of the manifest, and the fingerprint that its labels state.
        root: Folder of its unpacked layers, for the process runtime.
        variables: Environment variables that it sets.
        config_digest: By which a container engine knows it, ``sha256:…``.
        archive: Writes it for ``docker load`` and ``podman load``; None: the engine has it already.
    """

    identity: Identity
    root: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    config_digest: str = ""
    archive: Callable[[IO[bytes]], None] | None = None


@dataclass(frozen=True)
class Limits:
    """What a container may use.

    Attributes:
        memory_mb: Memory [MiB], that of ``/tmp`` included.
        cpus: Processors.
        pids: Processes and threads.
    """

    memory_mb: int = 4096
    cpus: float | None = None
    pids: int = 256


@dataclass(frozen=True)
class Started:
    """A server that was started.

    Attributes:
        socket: Where it listens, seen from here.
        alive: Raises ``RuntimeUnavailable`` once it has ended.
        stop: Ends it and removes what was made for it; may be called again.
        isolation: What the runtime keeps it away from.
    """

    socket: Path
    alive: Callable[[], None]
    stop: Callable[[], None]
    isolation: Isolation


class Runtime(Protocol):
    """Starts the server of an image."""

    name: str

    def isolation(self) -> Isolation:
        """Return what it isolates on this machine."""
        ...

    def start(self, image: Image, arguments: Sequence[str] = ()) -> Started:
        """Start the image's server with further ``arguments`` of ``rlops serve``."""
        ...


RUNTIMES = ("process", "docker", "podman")


def runtime(name: str, **options: Any) -> Runtime:
    """Return a runtime by its name.

    Args:
        name: ``process``, ``docker`` or ``podman``.
        options: Its own: see the module of that name.

    Raises:
        UnknownName: If there is none of that name.
        RuntimeUnavailable: If it is not installed, or does not answer.
    """
    if name == "process":
        from rlops.registry.runtimes.process import ProcessRuntime

        return ProcessRuntime(**options)
    if name == "docker":
        from rlops.registry.runtimes.docker import DockerRuntime

        return DockerRuntime(**options)
    if name == "podman":
        from rlops.registry.runtimes.podman import PodmanRuntime

        return PodmanRuntime(**options)
    raise UnknownName("runtime", name, [*RUNTIMES, "auto"])


def chosen(name: str, require: Sequence[str], **options: Any) -> Runtime:
    """Return the runtime ``name`` that gives what is required; ``auto``: the first that does.

    ``auto`` takes a plain process if nothing is required, else Docker, Podman, and a process, in this order.

    Raises:
        NotIsolated: If it does not isolate what is required.
    """
    wanted = aspects(require)
    if name != "auto":
        found = runtime(name, **options)
        found.isolation().require(wanted, name)
        return found
    told = []
    for candidate in ("docker", "podman", "process") if wanted else ("process",):
        try:
            found = runtime(candidate, **options)
            found.isolation().require(wanted, candidate)
        except (RuntimeUnavailable, NotIsolated) as error:
            told.append(str(error))
            continue
        return found
    raise NotIsolated(f"A runtime must isolate {', '.join(wanted)}, but none does here: {' '.join(told)}")


def connect(
    image: Image,
    num_envs: int | None = None,
    *,
    runtime: str | Runtime = "process",
    require: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
    start_s: float = 60.0,
    runtime_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> RemoteVectorEnv:
    """Start the server of an image and return the environment within, which ends with what is returned.

    Args:
        image: To be run.
        num_envs: How many rows.
        runtime: By its name, or made.
        require: Aspects that must be isolated (:data:`ASPECTS`); ``isolation``: all.
        timeout_s: How long a reply may take [s].
        start_s: How long the start may take [s].
        runtime_options: Of a runtime that is named.
        options: Of :class:`~rlops.registry.remote.client.RemoteVectorEnv`.

    Raises:
        NotIsolated: If the runtime does not isolate what is required; nothing was started.
        RuntimeUnavailable: If it cannot start the image.
        IdentityMismatch: If what started is something else.
    """
    if isinstance(runtime, str):
        runtime = chosen(runtime, require, **(runtime_options or {}))
    runtime.isolation().require(require, runtime.name)
    started = runtime.start(image)
    try:
        opened = wait_for(str(started.socket), start_s, started.alive)
        env = RemoteVectorEnv(
            str(started.socket), num_envs, expect=image.identity, timeout_s=timeout_s, stop=started.stop, opened=opened,
            **options,
        )  # fmt: skip
    except BaseException:
        started.stop()
        raise
    env.isolation = started.isolation
    return env


def socket_folder() -> Path:
    """Return a new folder for a socket, and remove those of processes that were killed."""
    base = Path(tempfile.gettempdir())
    for folder in base.glob("rlops-env-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
    folder = base / f"rlops-env-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    return folder


class Stopping:
    """Ends what was started, once: when asked, when nobody refers to it any more, or when the interpreter ends."""

    def __init__(self, end: Callable[..., None], *arguments: Any):
        """Call ``end(*arguments)`` then."""
        self._finalizer = weakref.finalize(self, end, *arguments)

    def __call__(self) -> None:
        """End it now."""
        self._finalizer()


__all__ = [
    "ASPECTS",
    "Image",
    "Isolation",
    "Limits",
    "Runtime",
    "Started",
    "aspects",
    "chosen",
    "connect",
    "runtime",
    "socket_folder",
]
