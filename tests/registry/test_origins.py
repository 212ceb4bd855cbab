"""Checkpoints and reports say what they were made in, and an agent that meets other dynamics is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.evaluate import evaluate, summary
from rlops.agents_baseline.train import train
from rlops.errors import IdentityMismatch, InvalidValue
from rlops.randomization import levels
from rlops.randomization.spec import Linear
from rlops.registry import origins
from rlops.registry.dynamics import fingerprint as fingerprints
from rlops.registry.dynamics.subjects import subject
from rlops.registry.references import Reference
from tests.registry.conftest import ID

SETTINGS = {"n_steps": 20, "batch_size": 40, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}}


def trained(out, **options):
    return train(ID, "ppo", steps=80, num_envs=4, out=out, hyperparameters=SETTINGS, **options).parent


def configured(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return the folder of an agent that was trained in this process."""
    return trained(tmp_path_factory.mktemp("run") / "here")


@pytest.fixture
def image(dispatch, monkeypatch):
    """Return the name of an image of the environment, in the user's store, and its digest."""
    store, name = dispatch
    monkeypatch.setenv("RLOPS_REGISTRY", str(store.root))
    return name, store.resolve(Reference.parse(name)).digest


def test_a_checkpoint_and_a_report_name_the_dynamics(here):
    wanted = fingerprints.fingerprint(subject(ID)).as_json()
    assert configured(here)["fingerprint"] == wanted
    assert configured(here)["digest"] is None
    (entry,) = summary([evaluate(ID, load_agent(here, ID), [0, 1], latency=False)])
    assert (entry["fingerprint"], entry["digest"]) == (wanted, None)


def test_what_is_trained_within_an_image_is_what_is_trained_here(here, image, tmp_path):
    name, digest = image
    there = trained(tmp_path / "there", image=name, runtime="process")
    assert configured(there)["digest"] == digest
    assert configured(there)["fingerprint"] == configured(here)["fingerprint"]
    weights = [load_agent(folder / "model.zip", ID).model.policy.state_dict() for folder in (here, there)]
    assert all((weights[0][part] == weights[1][part]).all() for part in weights[0])
    agent = load_agent(there, ID)
    inside = evaluate(ID, agent, [0, 1, 2], latency=False, image=name, runtime="process")
    assert inside.digest == digest
    np.testing.assert_array_equal(inside.table, evaluate(ID, agent, [0, 1, 2], latency=False).table)


def test_an_agent_that_meets_other_dynamics_is_refused(here, tmp_path):
    agent = load_agent(here, ID)
    agent.origin.fingerprint["exact"] = agent.origin.fingerprint["portable"] = "0" * 64
    with pytest.raises(IdentityMismatch, match=r"must meet the dynamics of rlops/Dispatch-v0 .*exact tier"):
        evaluate(ID, agent, [0], latency=False)
    assert len(evaluate(ID, agent, [0], latency=False, any_dynamics=True).table) == 1
    agent.origin.fingerprint["platform"] = "elsewhere"
    with pytest.raises(IdentityMismatch, match="portable tier"):
        evaluate(ID, agent, [0], latency=False)


def test_the_command_line_plays_within_an_image_and_writes_its_digest(run, here, image, tmp_path):
    name, digest = image
    report = tmp_path / "report.json"
    code, _, err = run("evaluate", name, "--agent", here, "--agent", "random", "--episodes", 2, "--json", report)
    assert code == 0, err
    assert [one["digest"] for one in json.loads(report.read_text())] == [digest, digest]


def test_a_schedule_does_not_come_out_of_an_image(image, tmp_path):
    widening = levels(ID)["mild"].model_copy(update={"schedule": Linear(kind="linear", steps=10)})
    with pytest.raises(InvalidValue, match="does not come out of an image"):
        trained(tmp_path / "there", image=image[0], randomization=widening)


def test_a_fingerprint_is_taken_once_for_the_same_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("RLOPS_CACHE_DIR", str(tmp_path))
    taken = []
    monkeypatch.setattr(
        fingerprints, "fingerprint", lambda one: taken.append(one.id) or fingerprints.Fingerprint(*"abcde")
    )
    for _ in range(2):
        origins.installed_fingerprint.cache_clear()
        assert origins.installed_fingerprint(ID)["exact"] == "d"
    assert taken == [ID]
    monkeypatch.setattr(origins, "dynamics_sources", lambda tree: ["another source"])
    origins.installed_fingerprint.cache_clear()
    assert origins.installed_fingerprint(ID)["exact"] == "d"
    assert taken == [ID, ID]
    origins.installed_fingerprint.cache_clear()
