"""An image is the same wherever it is built, says what it is, and runs by itself."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlops.errors import (
    CorruptContent,
    ImmutableVersion,
    InvalidFile,
    InvalidReference,
    InvalidValue,
    MissingContent,
    UnknownName,
    UntrustedImage,
)
from rlops.registry import images, inside, oci, signing
from rlops.registry.dynamics.fingerprint import fingerprint
from rlops.registry.dynamics.kernels import KernelSubject
from rlops.registry.labels import about, about_image
from rlops.registry.layers import File
from rlops.registry.project import project_files
from rlops.registry.references import Reference
from rlops.registry.store import Store
from rlops.registry.unpacking import unpack
from rlops.registry.wheels import Requirement, fetch, files_of, lock_file, locked, with_bytecode
from tests.registry.conftest import COOLING, ROOT, skopeo, wheels
from tests.registry.synthetic import small_image

NAME = Reference.parse("datacenter-cooling:0.0.1")


@pytest.fixture
def image(store):
    return store.resolve(NAME)


def config_of(store, image):
    return json.loads(store.read(store.manifest(image).config))


def test_an_image_says_what_it_is(store, image):
    told = about_image(store, image)
    assert told.id == COOLING
    assert told.fingerprint == fingerprint(KernelSubject(COOLING))
    labels = told.told
    assert labels["org.opencontainers.image.version"] == "0.0.1"
    assert labels["dev.rlops.env.spec"]["id"] == COOLING
    assert labels["dev.rlops.env.autoreset"] == ["NextStep", "SameStep", "Disabled"]
    assert all("unit" in one and "nominal" in one for one in labels["dev.rlops.env.parameters"].values())
    assert labels["dev.rlops.env.randomization"] == told.fingerprint.randomization
    assert {"dev.rlops.protocol", "dev.rlops.lock", "dev.rlops.env.spaces", "dev.rlops.cpu"} <= set(labels)


def test_an_image_runs_without_being_anybody(store, image):
    config = config_of(store, image)["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][-4:] == ["serve", COOLING, "--socket", "/run/rlops/env.sock"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert "PYTHONPATH=/opt/rlops/project:/opt/rlops/dependencies" in config["Env"]


def test_a_layer_each_for_dependencies_project_and_compiled_code(store, image, built):
    manifest = store.manifest(image)
    assert [one.annotations[oci.LAYER_OF] for one in manifest.layers] == ["dependencies", "project", "compiled"]
    assert config_of(store, image)["rootfs"]["diff_ids"] == [one.digest for one in manifest.layers]
    assert built[1].layers["project"].size < 20e6


def test_other_tools_read_the_image(store):
    told = json.loads(skopeo("inspect", "--config", f"oci:{store.root}:{NAME}"))
    assert told["config"]["Labels"]["dev.rlops.env.id"] == COOLING


def test_the_code_within_uses_nothing_of_this_interpreter(store):
    root = unpack(store, NAME)
    program = (
        "import numpy, numba, gymnasium, rlops, sys; print([m.__file__ for m in (numpy, numba, gymnasium, rlops)])"
    )
    told = inside.run(root, ["-c", program], {})
    assert all(str(path).startswith(str(root)) for path in json.loads(told.replace("'", '"')))


def test_threads_are_those_of_the_tbb_within(store, image):
    program = f"""
import json
import numba
from rlops.envs import parse_id
from rlops.envs.faces import VectorEnv
envs = VectorEnv(*parse_id({COOLING!r}), 4, threads=2)
envs.reset(seed=0)
envs.step(envs.action_space.sample())
libraries = sorted({{line.split()[-1] for line in open("/proc/self/maps") if "libtbb.so" in line}})
print(json.dumps([numba.threading_layer(), libraries]))
"""
    layer, libraries = inside.asked(store, image, program)
    assert layer == "tbb"
    assert [library.endswith("/opt/rlops/dependencies/lib/libtbb.so.12") for library in libraries] == [True]


def test_nothing_is_compiled_when_an_image_runs(store, image):
    program = f"""
import json, os, pathlib
import numba
from rlops.envs import parse_id
from rlops.envs.faces import VectorEnv
folder = pathlib.Path(os.environ["RLOPS_CACHE_DIR"])
before = sorted(str(p) for p in folder.rglob("*"))
for threads in (1, 2):
    envs = VectorEnv(*parse_id({COOLING!r}), 4, threads=threads)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
print(json.dumps([before, sorted(str(p) for p in folder.rglob("*"))]))
"""
    before, after = inside.asked(store, image, program)
    assert len(before) >= 3
    assert before == after


def test_compiled_code_of_a_layer_is_not_tidied_away_as_old(tmp_path):
    from rlops.envs.compiling import cache_folder

    for name in ("a" * 16, "b" * 16):
        (tmp_path / "layer" / name).mkdir(parents=True)
        (tmp_path / "layer" / name / "code").write_text("machine code")
        os.utime(tmp_path / "layer" / name, (0, 0))  # as container engines unpack it
    inside.copy_compiled(tmp_path / "layer", tmp_path / "own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLOPS_CACHE_DIR", str(tmp_path / "own"))
        cache_folder.__wrapped__("c" * 16)
    assert sorted(path.parent.name[0] for path in (tmp_path / "own").glob("*/code")) == ["a", "b"]


def test_the_same_build_again_is_the_same_image(store, image):
    again = images.build(store, "DatacenterCooling-v0", release="0.0.1", wheels=wheels())
    assert again.descriptor.digest == image.digest


def test_a_release_cannot_be_built_over(store, image, monkeypatch):
    changed = {**project_files(), "rlops/changed.py": File(b"changed = True\n")}
    monkeypatch.setattr(images, "project_files", lambda: changed)
    with pytest.raises(ImmutableVersion):
        images.build(store, COOLING, release="0.0.1", wheels=wheels())
    assert store.resolve(NAME) == image
    other = images.build(store, COOLING, release="0.0.2", wheels=wheels())
    assert other.descriptor.digest != image.digest
    assert other.layers["dependencies"] == images.build(store, COOLING, wheels=wheels()).layers["dependencies"]


LAYERS = """
import hashlib, os, sys
from pathlib import Path
os.umask(int(sys.argv[1], 8))
from rlops.registry.layers import layer
from rlops.registry.project import project_files
from rlops.registry.wheels import files_of, with_bytecode
files = with_bytecode(project_files(), "/opt/rlops/project")
files |= with_bytecode(files_of(next(Path(sys.argv[2]).glob("rich-*.whl"))), "/opt/rlops/dependencies")
print(hashlib.sha256(b"".join(layer(files))).hexdigest())
"""


def test_two_checkouts_under_other_conditions_make_the_same_layers(tmp_path):
    found = set()
    conditions = [("022", "UTC", "C", "1"), ("077", "Asia/Kathmandu", "C.UTF-8", "4242")]
    for number, (umask, zone, locale, seed) in enumerate(conditions):
        tree = tmp_path / f"checkout {number}"
        tree.mkdir()
        for name in ("rlops", "pyproject.toml", "README.md", "LICENSE"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        for path in tree.rglob("*"):
            os.utime(path, (1e9 * (number + 1), 1e9 * (number + 1)))
            path.chmod(path.stat().st_mode & ~(0o077 * number))
        variables = {**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONPATH": str(tree)}
        command = [sys.executable, "-c", LAYERS, umask, str(wheels())]
        found.add(subprocess.run(command, env=variables, cwd=tree, capture_output=True, check=True).stdout)
    assert len(found) == 1


COMPILED = """
import sys
import numba
import numpy as np
from rlops.registry.probe import make_compilation_reproducible

make_compilation_reproducible()
sys.path.insert(0, sys.argv[1])
import kernel

kernel.total(3)
"""
KERNEL = """
import numba
import numpy as np

@numba.njit(cache=True, parallel=True)
def total(n):
    if n < 0:
        raise ValueError("no rows")
    rows = np.empty(n)
    for i in numba.prange(n):
        rows[i] = i
    return rows.sum()
"""


def test_compiled_code_does_not_say_where_it_was_compiled(tmp_path):
    found = set()
    for root in (tmp_path / "here", tmp_path / "somewhere" / "else"):
        project = root / "opt" / "rlops" / "project"
        project.mkdir(parents=True)
        (project / "kernel.py").write_text(KERNEL)
        variables = {**os.environ, "NUMBA_CACHE_DIR": str(root / "cache"), "NUMBA_NUM_THREADS": "2"}
        variables.pop("PYTHONHASHSEED", None)
        subprocess.run([sys.executable, "-c", COMPILED, str(project)], env=variables, check=True, cwd=ROOT)
        (compiled,) = (root / "cache").rglob("*.nbc")
        found.add(compiled.read_bytes())
    assert len(found) == 1


@pytest.mark.slow
def test_a_build_is_the_same_from_nothing(tmp_path, built):
    from rlops.registry.rebuilding import rebuilt

    store = Store(tmp_path / "store")
    again = rebuilt(store, COOLING, release="0.0.1", base=None, wheels=wheels(), tell=lambda told: None)
    assert again.descriptor.digest == built[1].descriptor.digest


def test_an_installed_package_is_taken_as_its_wheel_brought_it(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--target", tmp_path / "site", ROOT], check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    program = "import sys; from rlops.registry.project import project_files as p; f = p(); print(hash_of(f))"
    hashed = (
        "import hashlib\ndef hash_of(f): return hashlib.sha256(b''.join(k.encode() + b''.join(f[k].chunks())"
        " for k in sorted(f))).hexdigest()\n"
    )
    told = set()
    for where in (tmp_path / "site", ROOT):
        command = [sys.executable, "-c", hashed + program]
        variables = {**os.environ, "PYTHONPATH": str(where)}
        told.add(subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert len(told) == 1


def test_a_base_is_under_the_image(store, image, tmp_path):
    other = Store(tmp_path / "bases")
    base = small_image(other, "python:3.11.9", files={"usr/bin/python3": File(b"#!", True)})
    found = images.find_base(f"{other.root}:python:3.11.9", store)
    assert images.find_base(str(other.root), store).descriptor == found.descriptor
    built = images.build(store, COOLING, release="0.0.3", base=found, wheels=wheels())
    layers = store.manifest(built.descriptor).layers
    assert layers[0] == other.manifest(base).layers[0]
    assert layers[1:] == store.manifest(image).layers
    labels = about_image(store, built.descriptor).labels
    assert labels["org.opencontainers.image.base.digest"] == base.digest
    assert config_of(store, built.descriptor)["rootfs"]["diff_ids"] == [one.digest for one in layers]
    assert unpack(store, built.reference) == unpack(store, NAME)


def test_a_base_for_other_machines_is_refused(store, tmp_path):
    other = Store(tmp_path / "bases")
    base = small_image(other, "python:3.11.9")
    config = config_of(other, base) | {"architecture": "s390x"}
    changed = other.manifest(base).model_copy(update={"config": other.add(oci.canonical_json(config), oci.CONFIG)})
    found = images.Base("python", other.add_manifest(changed.encoded()), other)
    with pytest.raises(InvalidValue, match="linux/s390x"):
        images.build(store, COOLING, release="0.0.3", base=found, wheels=wheels())


def test_a_base_is_named_by_its_digest(store, image):
    with pytest.raises(InvalidReference, match="with its digest"):
        images.find_base("python:3.11.9", store)
    assert images.find_base(f"x@{image.digest}", store).descriptor.digest == image.digest
    small_image(store)
    with pytest.raises(InvalidFile, match="must hold one image"):
        images.find_base(str(store.root), store)


@pytest.mark.parametrize("release", ["1.0.0", "0.1", "latest", "0.0.1+x"])
def test_a_release_belongs_to_its_id(release):
    with pytest.raises(InvalidReference):
        images.named(COOLING, release)
    assert str(images.named(COOLING, "")) == "datacenter-cooling:0-dev"


def test_an_unknown_environment_is_not_built(tmp_path):
    with pytest.raises(UnknownName, match="DatacenterCooling-v0"):
        images.build(Store(tmp_path / "s"), "DatacenterCoolin-v0")


def test_a_wheel_with_other_bytes_is_refused(tmp_path):
    wanted = next(one for one in locked(lock_file()) if one.name == "rich")
    source = next(wheels().glob("rich-*.whl"))
    (tmp_path / source.name).write_bytes(source.read_bytes() + b"\0")
    with pytest.raises(CorruptContent, match="other bytes"):
        fetch([wanted], tmp_path)


def test_a_missing_wheel_that_nobody_has_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(MissingContent, match="pip must bring them"):
        fetch([Requirement("nobody-has-this", "1.0", "0" * 64)], tmp_path)


@pytest.mark.parametrize("line", ["rich==15.0.0", "rich --hash=sha256:" + "0" * 64, "rich>=15 --hash=sha256:1"])
def test_a_line_without_exact_version_or_hash_is_refused(tmp_path, line):
    (tmp_path / "lock.txt").write_text(f"# comment\n{line}\n")
    with pytest.raises(InvalidFile, match="line 2"):
        locked(tmp_path / "lock.txt")


def test_the_lock_of_images_has_the_versions_of_the_projects_lock():
    pins = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    known = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    assert {one.name.lower().replace("_", "-"): one.version for one in locked(lock_file())}.items() <= known.items()


def test_a_wheels_parts_go_where_they_belong_and_nowhere_else(tmp_path):
    good, bad = tmp_path / "good-1-py3-none-any.whl", tmp_path / "bad-1-py3-none-any.whl"
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("good/__init__.py", "")
        archive.writestr("good-1.data/scripts/good", "#!python")
        archive.writestr("good-1.data/purelib/more.py", "")
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../evil.py", "")
    assert set(files_of(good)) == {"good/__init__.py", "bin/good", "more.py"}
    with pytest.raises(InvalidFile, match="below its folder"):
        files_of(bad)


def test_bytecode_is_loaded_in_place_of_the_source(tmp_path):
    files = with_bytecode({"m.py": File(b"value = 'from the source'\n"), "broken.py": File(b"def :")}, "/x")
    (tmp_path / "m.py").write_text("value = 'changed since'\n")
    (tmp_path / "__pycache__").mkdir()
    (code,) = [path for path in files if path.endswith(".pyc")]
    (tmp_path / code).write_bytes(files[code].content)
    told = subprocess.run(
        [sys.executable, "-c", "import m; print(m.value)"], cwd=tmp_path, capture_output=True, text=True
    )
    assert told.stdout == "from the source\n"


def test_the_list_of_parts_names_every_wheel_and_is_the_same_again(store, image):
    (artifact,) = store.referrers(image.digest, oci.SBOM)
    told = json.loads(store.read(store.manifest(artifact).layers[0]))
    assert told["bomFormat"] == "CycloneDX"
    listed = {part["name"].lower().replace("_", "-"): part for part in told["components"]}
    for one in locked(lock_file()):
        part = listed[one.name.lower().replace("_", "-")]
        assert part["version"] == one.version
        assert part["hashes"] == [{"alg": "SHA-256", "content": one.sha256}]
        assert part["licenses"], one.name
    assert "rlops" in listed
    images.build(store, COOLING, release="0.0.1", wheels=wheels())
    assert store.referrers(image.digest, oci.SBOM) == [artifact]


def test_a_signature_by_a_trusted_key_holds(store, image, tmp_path):
    public = signing.make_key(tmp_path / "keys" / "ada")
    assert (tmp_path / "keys" / "ada").stat().st_mode & 0o777 == 0o600
    made = signing.sign(store, NAME, image, tmp_path / "keys" / "ada")
    assert signing.sign(store, NAME, image, tmp_path / "keys" / "ada").digest == made.digest
    for trusted in (public, tmp_path / "keys"):
        (found,) = signing.verify(store, image, trusted)
        assert found.file == public
        assert found.statement["predicate"]["environment"] == COOLING


def test_an_image_is_not_trusted_without_a_good_signature(store, image, tmp_path):
    trusted = signing.make_key(tmp_path / "ada")
    signing.make_key(tmp_path / "eve")
    with pytest.raises(UntrustedImage, match="has no signature"):
        signing.verify(store, image, trusted)
    signing.sign(store, NAME, image, tmp_path / "eve")
    with pytest.raises(UntrustedImage, match="not trusted"):
        signing.verify(store, image, trusted)


@pytest.mark.parametrize("lie", ["signature", "image", "fingerprint", "_type", "predicateType"])
def test_a_signature_of_something_else_does_not_hold(store, image, tmp_path, lie):
    trusted = signing.make_key(tmp_path / "ada")
    made = signing.sign(store, NAME, image, tmp_path / "ada")
    envelope = json.loads(store.read(store.manifest(made).layers[0]))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    if lie == "image":
        statement["subject"][0]["digest"]["sha256"] = "0" * 64
    if lie == "fingerprint":
        statement["predicate"]["fingerprint"]["exact"] = "0" * 64
    if lie in statement:
        statement[lie] = "https://example.org/other/v1"
    payload = oci.canonical_json(statement)
    signed = signing._private(tmp_path / "ada").sign(signing._encoded(payload if lie != "signature" else b"other"))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signed).decode()
    store2 = Store(tmp_path / "other")
    for part in store.closure(image, referrers=False):
        store2.add(store.read(part), part.media_type)
    store2.add_artifact(image, oci.SIGNATURE, oci.canonical_json(envelope))
    with pytest.raises(UntrustedImage):
        signing.verify(store2, image, trusted)


def test_a_key_is_never_written_over_and_must_be_one(tmp_path):
    signing.make_key(tmp_path / "ada")
    with pytest.raises(InvalidValue, match="never written over"):
        signing.make_key(tmp_path / "ada")
    (tmp_path / "ada").rename(tmp_path / "put away")
    with pytest.raises(InvalidValue, match="never written over"):
        signing.make_key(tmp_path / "ada")
    (tmp_path / "nothing.d").mkdir()
    with pytest.raises(InvalidFile, match="public keys"):
        signing.trusted_keys(tmp_path / "nothing.d")
    with pytest.raises(InvalidFile, match="private key"):
        signing._private(tmp_path / "ada.pub")


def test_an_image_of_others_is_no_image_of_rlops(tmp_path):
    store = Store(tmp_path / "s")
    with pytest.raises(CorruptContent, match="must say its id"):
        about_image(store, small_image(store))
    with pytest.raises(CorruptContent):
        about(b"[]")


KILLED = """
import os, signal, sys
from pathlib import Path
at, calls, real = int(sys.argv[3]), 0, os.fsync
def fsync(file):
    global calls
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)
os.fsync = fsync
from rlops.registry import images
from rlops.registry.store import Store
images.build(Store(sys.argv[1]), "DatacenterCooling-v0", release="0.0.1", wheels=Path(sys.argv[2]))
"""


def lend(built, store):
    """Give ``store`` the layer of dependencies that has been built, as making it takes long."""
    made = built[1].layers["dependencies"]
    store.blob_path(made.digest).hardlink_to(built[0].blob_path(made.digest))


@pytest.mark.parametrize("at", [2, 6])
def test_a_build_that_is_killed_leaves_a_whole_store_and_the_next_completes(built, tmp_path, at):
    root = tmp_path / "store"
    lend(built, Store(root))
    command = [sys.executable, "-c", KILLED, str(root), str(wheels()), str(at)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = Store(root)
    named = {one.descriptor.digest for one in store.images()}
    assert named <= {built[1].descriptor.digest}  # killed late, it is named already, and then whole
    assert at > 2 or not named
    for path in (root / "blobs" / "sha256").iterdir():
        assert Path(path).name == oci.digest_of(path.read_bytes()).removeprefix("sha256:")
    again = images.build(store, COOLING, release="0.0.1", wheels=wheels())
    assert again.descriptor.digest == built[1].descriptor.digest
    store.gc()
    assert not list((root / "ingest").iterdir())
