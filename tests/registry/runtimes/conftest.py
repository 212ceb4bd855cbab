"""An image made of the source tree and of what is installed, one that was built, and the engines that are there."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

import rlops
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import Image
from rlops.registry.runtimes.verifying import image_of
from tests.registry.conftest import runtime_or_skip

DISPATCH = "rlops/Dispatch-v0"
ROOT = Path(rlops.__file__).parent.parent
VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": "/opt/rlops/project:/opt/rlops/dependencies",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/tmp",
}


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    """Return the root folder of an image: this project, and what is installed."""
    root = tmp_path_factory.mktemp("image")
    parts = root / "opt" / "rlops"
    parts.mkdir(parents=True)
    shutil.copytree(ROOT / "rlops", parts / "project" / "rlops", ignore=shutil.ignore_patterns("__pycache__"))
    (parts / "dependencies").symlink_to(sysconfig.get_path("purelib"))
    return root


@pytest.fixture
def image(unpacked) -> Image:
    """Return an image for the process runtime."""
    return Image(Identity(DISPATCH, "sha256:" + "ab" * 32), unpacked, VARIABLES)


@pytest.fixture(scope="session", params=["docker", "podman"])
def engine(request):
    """Return each container runtime in turn, and the image, which it has loaded."""
    made = runtime_or_skip(request.param)
    store, image = request.getfixturevalue("dispatch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLOPS_REGISTRY", str(store.root))
        loaded = image_of(image, request.param)
    made._load(loaded)
    return request.param, loaded
