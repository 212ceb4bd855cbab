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

ID, PUSH = "rlops/Dispatch-v0", "rlops/ArmPush-v0"
SOON = {"horizon_steps": 100}
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


def test_in_a_further_round_the_agent_plays_and_the_controller_says_what_it_would_have_done():
    class Idle:
        name = "idle"

        def actions(self, envs, obs, masks):
            return np.zeros(len(obs), np.int64)

    envs = VectorEnv(*parse_id(ID), 3, autoreset_mode=AutoresetMode.SAME_STEP)
    shown = demonstrate(envs, ID, "nearest_idle", 1.0, 1.0, player=Idle(), seed=3)
    idle = evaluate(ID, Idle(), range(3, 6), latency=False)
    np.testing.assert_allclose(shown.returns[:3], idle.table["return"])
    assert (shown.actions != 0).any()


@pytest.fixture(scope="module")
def pushers(tmp_path_factory):
    """Return two agents that have seen as many samples, without and with rounds of correction, and what they told."""
    made, told = {}, []
    for rounds, episodes, epochs in ((0, 64, 5), (3, 16, 2)):
        lesson = {"controller": "scripted_push", "episodes": episodes, "epochs": epochs}
        lesson |= {"batch_size": 64, "rounds": rounds}
        settings = {**SMALL, "n_steps": 8, "policy_kwargs": {"net_arch": [32]}, "demonstrations": lesson}
        settings |= {"standardise": {"controller": "scripted_push", "steps": 50, "directions": ["left", "gap"]}}
        out, told = tmp_path_factory.mktemp("pusher"), []
        train(PUSH, "ppo", steps=32, out=out, params=SOON, hyperparameters=settings, progress=told.append)
        made[rounds] = load_agent(out, PUSH)
    return made, [one for one in told if one.imitating]


def test_who_is_corrected_where_it_went_itself_does_there_more_what_its_controller_would(pushers):
    off = {}
    for rounds, agent in pushers[0].items():
        envs = VectorEnv(*parse_id(PUSH), 32, params=SOON, autoreset_mode=AutoresetMode.SAME_STEP)
        met = demonstrate(envs, PUSH, "scripted_push", 1.0, 1.0, player=agent, seed=900)
        off[rounds] = np.square(agent.actions(envs, met.obs, met.masks) - met.actions).mean()
    assert off[3] < 0.6 * off[0]


def test_progress_counts_the_samples_of_all_rounds(pushers):
    told = pushers[1]
    assert {one.total for one in told} == {2 * 16 * 100 * (1 + 2 + 3 + 4)}
    assert [one.steps for one in told] == [16 * 100 * n for n in (0, 1, 2, 4, 6, 9, 12, 16)]


def test_wrong_demonstrations_are_refused(tmp_path):
    def trained(algo="maskable_ppo", **settings):
        return train(ID, algo, steps=32, out=tmp_path / "run", hyperparameters=settings)

    with pytest.raises(InvalidValue, match="demonstrations must name a controller, got 'nearest_idle'"):
        trained(demonstrations="nearest_idle")
    with pytest.raises(UnknownName, match="no setting of demonstrations named 'epoch'"):
        trained(demonstrations={"controller": "nearest_idle", "epoch": 3})
    with pytest.raises(InvalidValue, match="demonstrations must be used with maskable_ppo or ppo, got dqn"):
        trained("dqn", demonstrations={"controller": "nearest_idle"})
    with pytest.raises(InvalidValue, match="rounds of demonstrations must be a whole number of at least 0, got -1"):
        trained(demonstrations={"controller": "nearest_idle", "rounds": -1})
    with pytest.raises(UnknownName, match="no agent named 'fastest'"):
        trained(demonstrations={"controller": "fastest"})
    assert not (tmp_path / "run" / "model.zip").exists()
