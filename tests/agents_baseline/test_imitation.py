"""Before it learns on its own, an agent does what a controller does."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.imitation import demonstrate
from rlops.agents_baseline.train import train
from rlops.envs import parse_id
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidValue, UnknownName

ID = "rlops/Dispatch-v0"
SMALL = {"n_steps": 8, "batch_size": 32, "n_epochs": 1, "learning_rate": 1e-6, "num_envs": 4}


def demonstrations(rows=3, gamma=0.9, scale=0.5):
    envs = VectorEnv(*parse_id(ID), rows, autoreset_mode=AutoresetMode.SAME_STEP)
    return demonstrate(envs, ID, "nearest_idle", gamma, scale)


def test_a_demonstration_is_one_whole_episode_a_row():
    shown = demonstrations()
    assert shown.obs.shape == (3 * 96, 122)
    assert shown.masks.shape == (3 * 96, 201)
    assert shown.masks[np.arange(3 * 96), shown.actions].all()
    played = evaluate(ID, load_agent("nearest_idle", ID), range(3), latency=False)
    undiscounted = demonstrations(gamma=1.0, scale=1.0).returns[:3]  # the first step of each row
    np.testing.assert_allclose(undiscounted, played.table["return"])


def test_returns_are_discounted_and_scaled():
    plain, shown = demonstrations(gamma=1.0, scale=1.0), demonstrations()
    rewards = plain.returns.reshape(96, 3) - np.vstack([plain.returns.reshape(96, 3)[1:], np.zeros((1, 3))])
    expected = np.array([(0.5 * rewards[t:].T * 0.9 ** np.arange(96 - t)).sum(axis=1) for t in range(96)])
    np.testing.assert_allclose(shown.returns.reshape(96, 3), expected, atol=1e-9)


def test_an_agent_that_has_imitated_acts_like_its_controller(tmp_path):
    told = []
    shown = {"controller": "nearest_idle", "episodes": 16, "epochs": 8, "batch_size": 64}
    for name, settings in (("imitator", {**SMALL, "demonstrations": shown}), ("novice", SMALL)):
        train(ID, steps=32, out=tmp_path / name, hyperparameters=settings, progress=told.append)
    kept = demonstrations(rows=2)
    agreed = {}
    for name in ("imitator", "novice"):
        agent = load_agent(tmp_path / name, ID)
        busy = kept.actions != 0
        agreed[name] = float((agent.actions(None, kept.obs, kept.masks) == kept.actions)[busy].mean())
    assert agreed["imitator"] > agreed["novice"] + 0.3
    assert told[0].imitating == "nearest_idle"
    assert told[0].total == 8 * 16 * 96


def test_wrong_demonstrations_are_refused(tmp_path):
    def trained(algo="maskable_ppo", **settings):
        return train(ID, algo, steps=32, out=tmp_path / "run", hyperparameters=settings)

    with pytest.raises(InvalidValue, match="demonstrations must name a controller, got 'nearest_idle'"):
        trained(demonstrations="nearest_idle")
    with pytest.raises(UnknownName, match="no setting of demonstrations named 'epoch'"):
        trained(demonstrations={"controller": "nearest_idle", "epoch": 3})
    with pytest.raises(InvalidValue, match="demonstrations must be used with maskable_ppo or ppo, got dqn"):
        trained("dqn", demonstrations={"controller": "nearest_idle"})
    with pytest.raises(UnknownName, match="no agent named 'fastest'"):
        trained(demonstrations={"controller": "fastest"})
    assert not (tmp_path / "run" / "model.zip").exists()
