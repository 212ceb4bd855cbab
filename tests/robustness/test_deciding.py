"""A trained policy decides for a row as if the others were not there, whether it takes its best action or draws one."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from gymnasium.vector import AutoresetMode

from rlops.agents_baseline.train import train
from rlops.agents_baseline.worlds import World
from rlops.errors import InvalidFile, InvalidValue
from rlops.robustness.deciding import BLOCK, Carried, configuration, digest_of, policy
from rlops.robustness.episodes import Design, play

ID = "rlops/Dispatch-v0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "agent"
    settings = {"n_steps": 40, "batch_size": 80, "n_epochs": 1, "num_envs": 2, "policy_kwargs": {"net_arch": [16]}}
    train(ID, steps=80, out=out, hyperparameters=settings, randomization="mild")
    return out


def design(n):
    return Design("nominal", World(ID), np.arange(n), ("",) * n)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("file", ["policy.json", "model.zip"])
def test_an_episode_of_a_trained_policy_is_the_same_beside_any_others(trained, file, deterministic):
    agent = policy(trained / file, ID, deterministic)
    together = play(design(4), agent, rows=4)
    assert play(design(4), agent, rows=1).tobytes() == together.tobytes()
    assert play(design(4), policy(trained / file, ID, deterministic), rows=3).tobytes() == together.tobytes()


def test_a_drawn_action_is_not_always_the_best_and_leaves_torch_as_it_was(trained):
    import torch

    best, drawn = (play(design(2), policy(trained / "model.zip", ID, deterministic)) for deterministic in (True, False))
    assert (best["return"] != drawn["return"]).any()
    agent = policy(trained / "model.zip", ID, deterministic=False)
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    play(design(1), agent)
    assert torch.rand(1) == first


def test_a_network_always_sees_blocks_of_one_size(trained):
    agent = policy(trained / "model.zip", ID)
    seen = []
    inner = agent.agent.actions
    agent.agent.actions = lambda envs, obs, masks: seen.append(obs.shape) or inner(envs, obs, masks)
    envs = World(ID).rows(BLOCK + 3, AutoresetMode.DISABLED)
    obs, _ = envs.reset(seed=0)
    assert agent.actions(envs, obs, envs.action_masks()).shape == (BLOCK + 3,)
    assert seen == [(BLOCK, 122)] * 2


def test_an_agent_of_another_environment_is_refused_and_told_by_its_digest(trained):
    assert configuration(trained)["id"] == ID
    assert configuration("nearest_idle") == {}
    for file in (".", "policy.json", "model.zip"):
        assert digest_of(trained / file, policy(trained / file, ID)).startswith("sha256:")
    assert digest_of("nearest_idle", policy("nearest_idle", ID)).endswith(": nearest_idle")
    config = trained / "config.yaml"
    before = config.read_text()
    config.write_text(yaml.safe_dump({**yaml.safe_load(before), "id": "rlops/Dispatch-v1"}))
    with pytest.raises(
        InvalidValue, match=r"must be trained for rlops/Dispatch-v0, got .* trained for rlops/Dispatch-v1"
    ):
        policy(trained, ID)
    config.write_text(before)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("file", [".", "policy.json", "model.zip", "best.zip"])
def test_a_trained_agent_is_carried_to_where_its_files_are_not(trained, file, deterministic, tmp_path):
    here = tmp_path / "agent"
    shutil.copytree(trained, here)
    shutil.copy(here / "model.zip", here / "best.zip")
    agent = policy(here / file, ID, deterministic)
    packed = pickle.dumps(Carried.of(here / file, agent, ID, deterministic))
    shutil.rmtree(here)
    again = pickle.loads(packed)()
    assert (again.name, type(again)) == (agent.name, type(agent))
    assert play(design(3), again).tobytes() == play(design(3), agent).tobytes()


def test_a_controller_is_carried_by_its_name():
    carried = Carried.of("hungarian", policy("hungarian", ID), ID)
    assert (carried.source, carried.files) == ("hungarian", {})
    assert carried().name == "hungarian"


def test_an_agent_that_changes_on_its_way_is_refused(trained, tmp_path):
    carried = Carried.of(trained, policy(trained, ID), ID)
    changed = {name: b.replace(b'"maskable_ppo"', b'"ppo"') for name, b in carried.files.items()}
    with pytest.raises(InvalidValue, match="it was changed meanwhile"):
        replace(carried, files=changed)()
    with pytest.raises(InvalidFile, match="must stay as it is until its report is written"):
        Carried.of(tmp_path / "gone" / "policy.json", policy(trained, ID), ID)
