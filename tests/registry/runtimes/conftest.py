"""An image made of the source tree and of what is installed, and the engines that are there.

Containers need an engine and a base with Python, which tests do not fetch: ``RLOPS_TEST_BASE`` names a tar of one
(``.ci/run`` makes it). Without them their tests are skipped; with ``RLOPS_REQUIRE_DOCKER=1`` they fail.
"""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
from pathlib import Path

import pytest

import rlops
from rlops.errors import RlopsError
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import Image, runtime
from rlops.registry.runtimes.docker import write_archive

DISPATCH = "rlops/Dispatch-v0"
ROOT = Path(rlops.__file__).parent.parent
KEPT = ROOT / ".cache" / "test-image"
BASE_DISTRIBUTIONS = ("numpy", "numba", "gymnasium", "pettingzoo", "pydantic", "typer", "rich", "pyyaml")
VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": "/opt/rlops/project:/opt/rlops/dependencies",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/tmp",
}
WARM = """
import gymnasium, rlops, warnings
warnings.simplefilter("ignore")
for mode in ("NextStep", "SameStep", "Disabled"):
    envs = gymnasium.make_vec("rlops/Dispatch-v0", num_envs=4, autoreset_mode=mode)
    envs.reset(seed=0), envs.step(envs.action_space.sample())
from rlops.registry.dynamics.fingerprint import fingerprint
from rlops.registry.dynamics.subjects import subject
fingerprint(subject("rlops/Dispatch-v0"))
"""


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
    """Return each container runtime in turn, with the image loaded."""
    return request.param, _container_image(request.param)


def _container_image(name: str) -> Image:
    base = os.environ.get("RLOPS_TEST_BASE", "")
    required = os.environ.get("RLOPS_REQUIRE_DOCKER") == "1" and name == "docker"
    try:
        runtime(name)
        if not Path(base).is_file():
            raise RlopsError("RLOPS_TEST_BASE must name the tar of a base with Python")
    except RlopsError as error:
        (pytest.fail if required else pytest.skip)(f"no containers of {name}: {error}")
    KEPT.mkdir(parents=True, exist_ok=True)
    layers = [Path(base), _dependencies(), _project()]
    made = _image(layers)
    compiled = _compiled(name, made)
    return _image([*layers, compiled]) if compiled else made


def _image(layers: list[Path]) -> Image:
    """Return the image of some layers; its files are read when an engine loads it."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Env": [f"{name}={value}" for name, value in VARIABLES.items()]
                + ["RLOPS_CACHE_DIR=/opt/rlops/compiled"],
                "Entrypoint": ["python3", "-m", "rlops.cli", "serve", DISPATCH, "--socket", "/run/rlops/env.sock"],
                "User": "65532:65532",
                "WorkingDir": "/tmp",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}" for layer in layers]},
        }
    ).encode()
    digest = "sha256:" + hashlib.sha256(config).hexdigest()
    return Image(
        Identity(DISPATCH, "sha256:" + "cd" * 32),
        config_digest=digest,
        archive=lambda file: write_archive(file, config, digest, layers),
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _layer(path: Path, folders: dict[str, Path]) -> Path:
    """Write a layer with ``folders`` by their place within, the same every time."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if "__pycache__" in entry.name:
            return None
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    partial = path.with_suffix(f".{os.getpid()}")
    with tarfile.open(partial, "w") as archive:
        for place, folder in sorted(folders.items()):
            archive.add(folder, place, filter=plain)
    partial.replace(path)
    return path


def _dependencies() -> Path:
    """Return a layer of the base dependencies as they are installed, made once."""
    found: set[str] = set()
    waiting = list(BASE_DISTRIBUTIONS)
    while waiting:
        name = re.split(r"[ ;\[<>=!~(]", waiting.pop())[0].lower()
        if name in found:
            continue
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system, or an older Python
            continue
        found.add(name)
        waiting += [one for one in wanted if "extra ==" not in one]
    versions = "".join(f"{name}=={metadata.version(name)}\n" for name in sorted(found))
    path = KEPT / f"dependencies-{hashlib.sha256(versions.encode()).hexdigest()[:16]}.tar"
    if path.is_file():
        return path
    site = Path(sysconfig.get_path("purelib"))
    tops = {str(file).split("/")[0] for name in found for file in metadata.files(name) or []}
    tops -= {"..", "__pycache__"}
    return _layer(path, {f"opt/rlops/dependencies/{top}": site / top for top in tops})


def _project() -> Path:
    return _layer(KEPT / f"project-{os.getpid()}.tar", {"opt/rlops/project/rlops": ROOT / "rlops"})


def _compiled(name: str, image: Image) -> Path | None:
    """Return a layer of code that the container compiled, kept for later runs."""
    from rlops.envs.compiling import source_stamp

    sources = source_stamp("rlops.envs.dispatch.kernel_v0")
    layer = KEPT / f"compiled-{sources}.tar"
    if layer.is_file():
        return layer
    folder = KEPT / f"compiled-{sources}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    runtime(name)._load(image)
    options = os.environ.get("RLOPS_PODMAN_OPTIONS", "").split() if name == "podman" else []
    subprocess.run(
        [name, "run", "--rm", "--network", "none", "--volume", f"{folder}:/compiled", "--env",
         "RLOPS_CACHE_DIR=/compiled", *options, "--entrypoint", "python3", image.config_digest, "-c", WARM],
        check=True,
    )  # fmt: skip
    return _layer(layer, {"opt/rlops/compiled": folder})
