"""An image from build to first step: what steps in it is what steps here, bit for bit."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

import rlops.registry
from rlops.cli.__main__ import main
from rlops.errors import CorruptContent, IdentityMismatch, RuntimeUnavailable, UntrustedImage
from rlops.registry import processors, signing
from rlops.registry.distribution import Registry
from rlops.registry.oci import LAYER_OF
from rlops.registry.references import Reference, image_name
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import RUNTIMES
from rlops.registry.runtimes.verifying import check_fingerprint, check_signature, image_of
from rlops.registry.store import Store
from rlops.registry.transfers import pull, push
from tests.registry.conftest import COOLING, RELEASES, runtime_or_skip
from tests.registry.remote.comparing import play_both

IMAGE = "datacenter-cooling:0.0.1"
ROWS, STEPS = 40, 60


@pytest.fixture
def here(store, monkeypatch):
    """Let the store with the built image be the user's."""
    monkeypatch.setenv("RLOPS_REGISTRY", str(store.root))
    return store


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_rows_within_a_built_image_are_those_of_this_process(here, mode):
    params = {"horizon_min": 1000 if mode == "Disabled" else 20}
    generator = np.random.default_rng(0)
    near = gym.make_vec(COOLING, num_envs=ROWS, autoreset_mode=mode, params=params)
    with rlops.registry.make(IMAGE, ROWS, runtime="process", autoreset_mode=mode, params=params) as far:
        np.testing.assert_array_equal(near.reset(seed=3)[0], far.reset(seed=3)[0])
        for _ in range(STEPS):
            actions = generator.uniform(0.5, 1, near.action_space.shape).astype(np.float32)
            for one, other in zip(near.step(actions)[:4], far.step(actions)[:4], strict=True):
                np.testing.assert_array_equal(one, other)


def test_what_runs_is_that_image_and_its_fingerprint_is_replayed_within(here):
    digest = here.resolve(Reference.parse(IMAGE)).digest
    with rlops.registry.make(IMAGE, 1, runtime="process", verify=True) as env:
        assert (env.identity.id, env.identity.digest) == (COOLING, digest)


def test_an_image_whose_label_states_other_dynamics_is_refused(here, monkeypatch):
    import rlops.registry.runtimes.verifying as verifying

    honest = verifying.image_of

    def relabelled(*arguments):
        image = honest(*arguments)
        image.identity.fingerprint["exact"] = "0" * 64
        image.variables["RLOPS_IMAGE_FINGERPRINT"] = image.variables["RLOPS_IMAGE_FINGERPRINT"].replace(
            honest(*arguments).identity.fingerprint["exact"], "0" * 64
        )
        return image

    monkeypatch.setattr(verifying, "image_of", relabelled)
    with pytest.raises(IdentityMismatch):
        rlops.registry.make(IMAGE, 1, runtime="process", verify=True)


def test_a_process_runs_no_image_for_another_python(here, monkeypatch):
    monkeypatch.setattr("rlops.registry.wheels.python_tag", lambda: "cp399")
    with pytest.raises(RuntimeUnavailable, match="with this Python, cp399, but"):
        image_of(IMAGE, "process")
    assert image_of(IMAGE, "docker").root is None, "a container brings its own"


def test_a_damaged_layer_is_given_to_no_engine(here):
    image = image_of(IMAGE, "docker")
    path = here.blob_path(here.manifest(here.resolve(Reference.parse(IMAGE))).layers[-1].digest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # the file is shared with the stores of other tests
    path.write_bytes(content)
    given = io.BytesIO()
    with pytest.raises(CorruptContent):
        image.archive(given)
    assert not given.getvalue()


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({}, "must state its fingerprint"),
        ({"platform": "here", "exact": "e", "portable": "p"}, None),
        ({"platform": "here", "exact": "f", "portable": "p"}, "field exact must be f, got e"),
        ({"platform": "elsewhere", "exact": "f", "portable": "p"}, None),
        ({"platform": "elsewhere", "exact": "e", "portable": "q"}, "field portable must be q, got p"),
    ],
)
def test_bits_are_held_to_on_the_platform_they_were_taken_on_and_rounded_numbers_everywhere(stated, told):
    found = {"platform": "here", "exact": "e", "portable": "p"}
    env = SimpleNamespace(identity=Identity(COOLING, "", stated), fingerprint=lambda: found)
    if told is None:
        assert check_fingerprint(env) == found
    else:
        with pytest.raises(IdentityMismatch, match=told):
            check_fingerprint(env)


def test_verify_wants_the_signature_of_a_trusted_key(here, tmp_path, capsys):
    key = tmp_path / "key"
    public = signing.make_key(key)
    with pytest.raises(UntrustedImage):
        check_signature(IMAGE, public)
    reference = Reference.parse(IMAGE)
    signing.sign(here, reference, here.resolve(reference), key)
    with pytest.raises(SystemExit) as ended:
        main(["verify", IMAGE, "--runtime", "process", "--key", str(public), "--json"])
    assert ended.value.code == 0
    assert '"verdict": "same"' in capsys.readouterr().out
    other = signing.make_key(tmp_path / "other")
    with pytest.raises(SystemExit) as ended:
        main(["verify", IMAGE, "--runtime", "process", "--key", str(other)])
    assert ended.value.code == 1


@pytest.fixture(scope="module")
def pulled(released, real_registry, tmp_path_factory):
    """Return a store that was empty, and got the releases from a registry of another make."""
    store = Store(tmp_path_factory.mktemp("pulled") / "store")
    with Registry(real_registry) as registry:
        for image in released.images():
            assert push(released, registry, image.reference, image.reference)
            assert pull(store, registry, image.reference) == image.descriptor
    return store


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("id", RELEASES)
def test_a_released_image_does_in_every_runtime_what_is_done_here(pulled, monkeypatch, id, runtime):
    runtime_or_skip(runtime)
    monkeypatch.setenv("RLOPS_REGISTRY", str(pulled.root))
    ref = f"{image_name(id)}:{RELEASES[id]}"
    ours = gym.make_vec(id, num_envs=8)
    with rlops.registry.make(ref, 8, runtime=runtime, verify=True) as theirs:
        assert theirs.identity.digest == pulled.resolve(Reference.parse(ref)).digest
        play_both(ours, theirs, 25)


def test_only_images_that_need_an_engine_hold_one(released):
    layers = {}
    for image in released.images():
        told = released.manifest(image.descriptor).layers
        layers[image.reference.name] = {(one.annotations or {}).get(LAYER_OF): one.digest for one in told}
    assert [name for name, held in layers.items() if "robotics" in held] == ["cart-balance"]
    assert len({held["dependencies"] for held in layers.values()}) == 1, "the rest is shared"


def test_infinite_bounds_are_said_in_labels(released):
    (image,) = (one for one in released.images() if one.reference.name == "dispatch")
    labels = json.loads(released.read(released.manifest(image.descriptor).config))["config"]["Labels"]
    figures = json.loads(labels["dev.rlops.env.spaces"])["variants"]["allow_decline"]["key figures"]
    assert any(bound == "inf" for figure in figures for bound in figure)


def test_a_processor_without_its_instructions_does_not_run_an_image(here, tmp_path, monkeypatch):
    older = tmp_path / "cpuinfo"
    older.write_text("processor\t: 0\nflags\t\t: fpu sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm avx\n")
    monkeypatch.setattr(processors, "CPUINFO", older)
    with pytest.raises(RuntimeUnavailable, match="class x86-64-v3, but this one has no abm, avx2, bmi1"):
        rlops.registry.make(IMAGE, 1, runtime="process")
    processors.check_processor("x86-64-v2")
    processors.check_processor("generic")
