"""The Podman runtime: the same container by Podman's command line, which needs no daemon and no root.

Options that a machine needs beyond these stand in ``RLOPS_PODMAN_OPTIONS``, for example
``--runtime runc --ulimit nofile=1024:1024``.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rlops.errors import RuntimeUnavailable
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
from rlops.registry.runtimes.docker import ISOLATION, give_folder


class PodmanRuntime:
    """Starts an image's server as a container of Podman.

    Attributes:
        name: ``podman``.
    """

    name = "podman"

    def __init__(self, limits: Limits | None = None, idle_s: float = IDLE_S, options: Sequence[str] | None = None):
        """Find Podman.

        Args:
            limits: What the container may use.
            idle_s: How long the server waits for a client [s].
            options: Further ones of ``podman run``; None: those of ``RLOPS_PODMAN_OPTIONS``.

        Raises:
            RuntimeUnavailable: If it is not installed.
        """
        if shutil.which("podman") is None:
            raise RuntimeUnavailable("Podman must be installed, but there is no podman. Use the runtime process.")
        self._limits = limits or Limits()
        self._options = shlex.split(os.environ.get("RLOPS_PODMAN_OPTIONS", "")) if options is None else list(options)
        self.idle_s = idle_s

    def isolation(self) -> Isolation:
        """Return what a container isolates."""
        return ISOLATION

    def start(self, image: Image, arguments: Sequence[str] = ()) -> Started:
        """Start the image's server.

        Raises:
            RuntimeUnavailable: If Podman cannot.
        """
        self._load(image)
        folder = socket_folder()
        user = give_folder(folder)
        limits = self._limits
        rootless = [] if os.geteuid() == 0 else ["--userns=keep-id"]
        cpus = ["--cpus", str(limits.cpus)] if limits.cpus else []
        try:
            _podman(
                "run", "--detach", "--rm", "--name", folder.name, "--label", f"{LABEL}={os.getpid()}",
                "--env", f"RLOPS_IMAGE_DIGEST={image.identity.digest}", "--network", "none", "--read-only",
                "--tmpfs", "/tmp:rw,nosuid,nodev,size=1g,mode=1777", "--volume", f"{folder}:{INSIDE}:rw,z",
                "--user", user, "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                "--memory", f"{limits.memory_mb}m", "--pids-limit", str(limits.pids), "--no-healthcheck",
                *cpus, *rootless, *self._options, image.config_digest.removeprefix("sha256:"),
                "--idle", str(self.idle_s), *arguments,
            )  # fmt: skip
        except RuntimeUnavailable:
            _end(folder)
            raise
        return Started(folder / SOCKET, functools.partial(_check, folder.name), Stopping(_end, folder), ISOLATION)

    def _load(self, image: Image) -> None:
        """Give the image to Podman, unless it has it."""
        name = image.config_digest.removeprefix("sha256:")
        if subprocess.run(["podman", "image", "exists", name], check=False, capture_output=True).returncode == 0:
            return
        if image.archive is None:
            raise RuntimeUnavailable(f"Podman must have the image {image.config_digest}, but does not. Load it.")
        with tempfile.NamedTemporaryFile() as file:
            image.archive(file.file)
            file.flush()
            _podman("load", "--quiet", "--input", file.name)
        if subprocess.run(["podman", "image", "exists", name], check=False, capture_output=True).returncode:
            raise RuntimeUnavailable(f"Podman must load the image {image.config_digest}, but made another of it.")


def _podman(*arguments: str) -> str:
    """Return what Podman prints.

    Raises:
        RuntimeUnavailable: If it fails.
    """
    ended = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        told = ended.stderr.strip().splitlines()
        raise RuntimeUnavailable(f"Podman must {arguments[0]} the image, got: {told[-1] if told else 'nothing said'}.")
    return ended.stdout


def _check(name: str) -> None:
    """Raise if the container has ended."""
    found = subprocess.run(
        ["podman", "inspect", "--format", "{{.State.Running}}", name], capture_output=True, text=True, check=False
    )
    if found.stdout.strip() != "true":
        raise RuntimeUnavailable("The image's server must start in its container, but ended. See RLOPS_PODMAN_OPTIONS.")


def _end(folder: Path) -> None:
    """Stop and remove a container, and its folder."""
    subprocess.run(
        ["podman", "rm", "--force", "--time", "3", "--ignore", folder.name], check=False, capture_output=True
    )
    shutil.rmtree(folder, ignore_errors=True)
