"""The Docker runtime: the image in a container that has no network, a read-only root and limits.

The only way in or out is a Unix socket in a folder that both sides see. The container ends and is removed when its
server ends, which it does by itself when its client is gone. Docker is found as its own command line finds it
(``DOCKER_HOST``).
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rlops.errors import MissingExtra, RuntimeUnavailable
from rlops.registry.runtimes import (
    IDLE_S,
    INSIDE,
    LABEL,
    SOCKET,
    Image,
    Isolation,
    Limits,
    Started,
    Stopping,
    socket_folder,
)

USER = 65532
ISOLATION = Isolation(
    filesystem="own root, read-only; /tmp in memory",
    network="none",
    user="not root, no capabilities, no new privileges",
    limits="memory, processors, processes",
)


class DockerRuntime:
    """Starts an image's server as a container.

    Attributes:
        name: ``docker``.
    """

    name = "docker"

    def __init__(self, limits: Limits | None = None, idle_s: float = IDLE_S, options: Mapping[str, Any] | None = None):
        """Connect to the engine.

        Args:
            limits: What the container may use.
            idle_s: How long the server waits for a client [s].
            options: Further ones of the SDK's ``containers.run``, for example ``{"runtime": "runsc"}``.

        Raises:
            MissingExtra: If the docker package is not installed.
            RuntimeUnavailable: If the engine does not answer.
        """
        try:
            import docker
        except ImportError:
            raise MissingExtra("The Docker runtime", "registry") from None
        try:
            _look(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
            self._client = docker.from_env()
            self._client.ping()
        except (docker.errors.DockerException, OSError) as error:
            raise RuntimeUnavailable(
                f"The Docker engine must answer, got: {error}. Start it, or name it with DOCKER_HOST, or "
                "use the runtime process."
            ) from None
        self._limits, self._options = limits or Limits(), dict(options or {})
        self.idle_s = idle_s

    def isolation(self) -> Isolation:
        """Return what a container isolates."""
        return ISOLATION

    def start(self, image: Image, arguments: Sequence[str] = ()) -> Started:
        """Start the image's server.

        Raises:
            RuntimeUnavailable: If the engine cannot.
        """
        import docker

        self._load(image)
        folder = socket_folder()
        user = give_folder(folder)
        limits = self._limits
        try:
            container = self._client.containers.run(
                image.config_digest,
                command=["--idle", str(self.idle_s), *arguments],
                detach=True,
                remove=True,
                name=folder.name,
                labels={LABEL: str(os.getpid()), "dev.rlops.env.id": image.identity.id},
                environment={"RLOPS_IMAGE_DIGEST": image.identity.digest},
                network_mode="none",
                read_only=True,
                tmpfs={"/tmp": "rw,nosuid,nodev,size=1g,mode=1777"},
                volumes={str(folder): {"bind": INSIDE, "mode": "rw"}},
                user=user,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=f"{limits.memory_mb}m",
                memswap_limit=f"{limits.memory_mb}m",
                nano_cpus=int(limits.cpus * 1e9) if limits.cpus else None,
                pids_limit=limits.pids,
                healthcheck={"test": ["NONE"]},
                **self._options,
            )
        except (docker.errors.DockerException, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RuntimeUnavailable(f"Docker must start {image.identity.id}, got: {error}.") from None
        return Started(
            folder / SOCKET,
            functools.partial(_check, container),
            Stopping(_end, self._client, container, folder),
            ISOLATION,
        )

    def _load(self, image: Image) -> None:
        """Give the image to the engine, unless it has it."""
        import docker

        with contextlib.suppress(docker.errors.ImageNotFound):
            self._client.images.get(image.config_digest)
            return
        if image.archive is None:
            raise RuntimeUnavailable(
                f"The Docker engine must have the image {image.config_digest}, but does not. Load it."
            )
        with tempfile.TemporaryFile() as file:
            image.archive(file)
            file.seek(0)
            try:
                (loaded,) = self._client.images.load(file)
            except (docker.errors.DockerException, OSError) as error:
                raise RuntimeUnavailable(f"Docker must load {image.identity.id}, got: {error}.") from None
        if loaded.id != image.config_digest:
            raise RuntimeUnavailable(f"Docker must load the image {image.config_digest}, but made {loaded.id} of it.")


def _look(host: str) -> None:
    """Raise if nobody listens at a Unix socket; the SDK would find out too, but leave sockets open."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def give_folder(folder: Path) -> str:
    """Let the container's user, who is not root, put the socket into ``folder``; return that user."""
    if os.geteuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    os.chown(folder, USER, USER)
    return f"{USER}:{USER}"


def write_archive(file: IO[bytes], config: bytes, config_digest: str, layers: Iterable[Path]) -> None:
    """Write an image as ``docker load`` and ``podman load`` read it.

    Args:
        file: To write to.
        config: Configuration of the image.
        config_digest: Its digest, which becomes the image's id.
        layers: Files of its layers, lowest first.
    """
    name = config_digest.removeprefix("sha256:") + ".json"
    names = []
    with tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, name, config)
        for number, layer in enumerate(layers):
            names.append(f"{number}/layer.tar")
            archive.add(layer.resolve(), names[-1])
        _add(archive, "manifest.json", json.dumps([{"Config": name, "RepoTags": None, "Layers": names}]).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _check(container: Any) -> None:
    """Raise if the container has ended."""
    import docker

    try:
        container.reload()
        running = container.status in ("created", "running", "restarting")
        told = "" if running else container.logs(tail=1).decode(errors="replace").strip()
    except (docker.errors.DockerException, OSError):
        running, told = False, "the container is gone"
    if not running:
        raise RuntimeUnavailable(
            f"The image's server must start in its container, but ended: {told or 'nothing said'}."
        )


def _end(client: Any, container: Any, folder: Path) -> None:
    """Stop and remove a container and its folder, and leave the engine."""
    import docker

    for attempt in range(20):
        try:
            container.stop(timeout=3) if attempt == 0 else container.remove(force=True)
        except docker.errors.NotFound:
            break
        except docker.errors.APIError:  # it is being removed already
            time.sleep(0.1)
        except OSError:
            break
    client.close()
    shutil.rmtree(folder, ignore_errors=True)
