"""An image from build to first step: what steps in it is what steps here, bit for bit."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import rlops.registry
from rlops.cli.__main__ import main
from rlops.errors import IdentityMismatch, UntrustedImage
from rlops.registry import signing
from rlops.registry.references import Reference
from rlops.registry.runtimes.verifying import check_signature
from tests.registry.conftest import COOLING

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
