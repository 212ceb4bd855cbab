"""The process runtime: the image's code in a child process of its own, with no engine.

The child gets the image's dependencies and project only, a cleaned environment, a session of its own and an interpreter
that knows no installed packages. Where bubblewrap is installed it also gets a file system and a network of its own;
where only ``unshare`` is, a network. Without either nothing is isolated, and that is said.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from rlops.errors import RuntimeUnavailable, UnknownName
from rlops.registry.runtimes import IDLE_S, SOCKET, Image, Isolation, Started, Stopping, socket_folder

_ROOT = "/opt/rlops"
_KEPT = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "RLOPS_THREADS", "RLOPS_CACHE_DIR")
WRAPPERS = ("bwrap", "unshare", "none")
_ISOLATION = {
    "bwrap": Isolation(
        filesystem="own root: system, interpreter and image read-only, /tmp in memory",
        network="none",
        user="own namespaces, no capabilities",
    ),
    "unshare": Isolation(network="none"),
    "none": Isolation(),
}


class ProcessRuntime:
    """Starts an image's server as a child process.

    Attributes:
        name: ``process``.
        wrapper: What isolates the child: ``bwrap``, ``unshare`` or ``none``.
    """

    name = "process"

    def __init__(self, wrapper: str = "auto", idle_s: float = IDLE_S):
        """Choose what isolates: ``auto`` takes the first of :data:`WRAPPERS` that works here.

        Raises:
            UnknownName: If there is no such wrapper.
            RuntimeUnavailable: If it does not work here.
        """
        if wrapper not in (*WRAPPERS, "auto"):
            raise UnknownName("wrapper", wrapper, [*WRAPPERS, "auto"])
        if wrapper != "auto" and not _works(wrapper):
            raise RuntimeUnavailable(
                f"{wrapper} must be installed and allowed here, but does not work. Use another wrapper."
            )
        self.wrapper = next(one for one in WRAPPERS if _works(one)) if wrapper == "auto" else wrapper
        self.idle_s = idle_s

    def isolation(self) -> Isolation:
        """Return what the wrapper isolates."""
        return _ISOLATION[self.wrapper]

    def start(self, image: Image, arguments: Sequence[str] = ()) -> Started:
        """Start the image's server.

        Raises:
            RuntimeUnavailable: If the image has no unpacked layers.
        """
        if image.root is None:
            raise RuntimeUnavailable("The process runtime needs an image's unpacked layers, got none. Pull it first.")
        folder = socket_folder()
        log = open(folder / "log", "wb")  # noqa: SIM115, until the child has ended
        command = [
            sys.executable, "-S", "-s", "-P", "-m", "rlops.cli", "serve", image.identity.id,
            "--socket", str(folder / SOCKET), "--idle", str(self.idle_s), *arguments,
        ]  # fmt: skip
        child = subprocess.Popen(
            [*self._wrapped(image.root, folder), *command],
            env=_variables(image, folder),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stop = Stopping(_end, child, folder, log)
        return Started(folder / SOCKET, functools.partial(_check, child, folder), stop, self.isolation())

    def _wrapped(self, root: Path, folder: Path) -> list[str]:
        if self.wrapper == "none":
            return []
        if self.wrapper == "unshare":
            return [*_unshare(), "--kill-child=SIGTERM", "--"]
        seen = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", sys.base_prefix, sys.prefix, str(root)]
        compiled = os.environ.get("RLOPS_CACHE_DIR")
        binds = [part for path in seen if os.path.exists(path) for part in ("--ro-bind", path, path)]
        if compiled and os.path.isdir(compiled):
            binds += ["--bind", compiled, compiled]
        return [*_bwrap(), *binds, "--bind", str(folder), str(folder), "--"]


def _bwrap() -> list[str]:
    return [
        "bwrap", "--unshare-all", "--cap-drop", "ALL", "--tmpfs", "/tmp",
        "--proc", "/proc", "--dev", "/dev",
    ]  # fmt: skip


def _unshare() -> list[str]:
    return ["unshare", "--net", "--pid", "--fork", *([] if os.geteuid() == 0 else ["--map-current-user"])]


@functools.cache
def _works(wrapper: str) -> bool:
    """Return whether a wrapper is installed and allowed: user namespaces often are not."""
    if wrapper == "none":
        return True
    if shutil.which(wrapper) is None:
        return False
    trial = [*_bwrap(), "--ro-bind", "/", "/"] if wrapper == "bwrap" else _unshare()
    return subprocess.run([*trial, "true"], capture_output=True, check=False, timeout=30).returncode == 0


def _variables(image: Image, folder: Path) -> dict[str, str]:
    """Return the whole environment of the child: a few variables of ours, and those of the image within its root."""
    root = str(image.root)
    own = {name: value.replace(_ROOT, root + _ROOT) for name, value in image.variables.items() if name != "PATH"}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        **own,
        "PYTHONPATH": f"{root}{_ROOT}/project{os.pathsep}{root}{_ROOT}/dependencies",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONWARNINGS": "ignore",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "RLOPS_IMAGE_DIGEST": image.identity.digest,
    }


def _check(child: subprocess.Popen[bytes], folder: Path) -> None:
    """Raise if the child has ended."""
    if child.poll() is not None:
        told = (folder / "log").read_text(errors="replace").strip().splitlines() if folder.exists() else []
        raise RuntimeUnavailable(
            f"The image's server must start, but ended with code {child.returncode}: "
            f"{told[-1] if told else 'nothing said'}."
        )


def _end(child: subprocess.Popen[bytes], folder: Path, log: IO[Any]) -> None:
    """End the child, politely at first, and remove its folder."""
    if child.poll() is None:
        for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)  # the server, and what wraps it
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience_s)
                break
    log.close()
    shutil.rmtree(folder, ignore_errors=True)
