"""What every test may rely on: the data folder, a quiet machine and no network but loopback."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Kept between runs, so that only the first one compiles. It must be set before rlops is imported.
os.environ.setdefault("RLOPS_CACHE_DIR", str(ROOT / ".cache" / "compiled"))
os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".cache" / "matplotlib"))
os.environ.setdefault("MPLBACKEND", "agg")
# Test workers share the cores; OpenMP threads that spin at a barrier would take them from each other.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

hypothesis.configuration.set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")
hypothesis.settings.register_profile("local", deadline=None)  # the first example compiles
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a home folder of its own and close the network."""
    home = tempfile.TemporaryDirectory(prefix="rlops-home-", ignore_cleanup_errors=True)
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", home.name)
    patch.delenv("XDG_CACHE_HOME", raising=False)
    patch.setenv("SB3_LOGDIR", home.name)  # otherwise a folder below /tmp for every model that learns
    patch.setattr(socket.socket, "connect", _loopback_only(socket.socket.connect))
    patch.setattr(socket.socket, "connect_ex", _loopback_only(socket.socket.connect_ex))
    config.add_cleanup(home.cleanup)
    config.add_cleanup(patch.undo)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the module that takes longest, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_built_images.py")


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of calibration data: RLOPS_DATA, or ../shared/data beside the repository."""
    folder = (ROOT / os.environ.get("RLOPS_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.fail(
            f"The data folder must exist, got {folder}. Put the calibration data there, or name its folder: "
            "RLOPS_DATA=… make test.",
            pytrace=False,
        )
    return folder


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch use one thread, so that its sums do not depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _loopback_only(connect: Any) -> Any:
    """Return ``connect`` of a socket, refusing every address that is not on this machine."""

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise PermissionError(f"A test must not leave this machine, got a connection to {address!r}.")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs the command line: exit code, output, error output."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    from rlops.cli.__main__ import main

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run
