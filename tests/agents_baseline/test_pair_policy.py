"""One small network scores every pair of booking and vehicle: those that are legal, in any order of the vehicles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlops.agents_baseline import pair_layout
from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.pair_layout import layout
from rlops.agents_baseline.pair_policy import PairScores
from rlops.agents_baseline.train import train
from rlops.envs import parse_id
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidValue

IDS = ("rlops/Dispatch-v0", "rlops/Dispatch-v1", "rlops/Dispatch-v2")
STATIC = "rlops/DispatchStatic-v2"
SMALL = {
    "maskable_ppo": {"n_steps": 50, "batch_size": 100, "n_epochs": 1},
    "dqn": {"learning_starts": 50, "buffer_size": 1000},
}


def seen(id, steps=250, rows=6):
    """Return what rows observe in the middle of a day, and what they may do then."""
    envs = VectorEnv(*parse_id(id), rows)
    obs, _ = envs.reset(seed=0)
    rng = np.random.default_rng(0)
    for step in range(steps):
        masks = envs.action_masks()
        actions = np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
        obs = envs.step(np.full(rows, layout(id).wait) if step % 3 else actions)[0]
    return torch.as_tensor(obs), envs.action_masks()


@pytest.mark.parametrize("id", IDS)
def test_exactly_the_legal_pairs_are_scored(id):
    obs, masks = seen(id)
    scores = PairScores(id).forward_actor(obs).detach().numpy()
    assert scores.shape == masks.shape
    np.testing.assert_array_equal(scores != 0, masks)


@pytest.mark.parametrize("id", IDS)
def test_the_order_of_the_vehicles_does_not_matter(id):
    obs, _ = seen(id)
    known, net = layout(id), PairScores(id)
    scores, features = net(obs)
    order = np.random.default_rng(1).permutation(len(known.vehicles))
    turned = obs.clone()
    turned[:, known.vehicles.ravel()] = obs[:, known.vehicles[order].ravel()]
    turned[:, known.pairs.ravel()] = obs[:, known.pairs[:, order].ravel()]
    turned_scores, turned_features = net(turned)
    torch.testing.assert_close(turned_features, features)
    torch.testing.assert_close(turned_scores[:, known.actions.ravel()], scores[:, known.actions[:, order].ravel()])
    torch.testing.assert_close(turned_scores[:, known.wait], scores[:, known.wait])
    assert (scores != turned_scores).any()


def test_moves_of_idle_vehicles_are_scored_and_a_vehicle_is_known_by_what_it_does_and_not_by_its_number():
    id = "rlops/DispatchReposition-v2"
    obs, masks = seen(id, steps=1)  # in the morning, when some have nothing to do
    known, net = layout(id), PairScores(id)
    scores, _ = net(obs)
    assert scores.shape == masks.shape == (6, 401)
    scored = (scores != 0).numpy()
    idle = scored[:, known.moves].any(axis=2)
    assert masks[:, known.moves].any()
    assert (idle | ~masks[:, known.moves].any(axis=2)).all()
    assert not idle.all()
    np.testing.assert_array_equal(scored[:, : known.moves[0, 0]], masks[:, : known.moves[0, 0]])
    order = np.random.default_rng(1).permutation(len(known.vehicles))
    turned = obs.clone()
    turned[:, known.vehicles.ravel()] = obs[:, known.vehicles[order].ravel()]
    turned[:, known.pairs.ravel()] = obs[:, known.pairs[:, order].ravel()]
    torch.testing.assert_close(net(turned)[0][:, known.moves.ravel()], scores[:, known.moves[order].ravel()])


def test_the_distance_to_a_pickup_is_known_where_the_pairs_do_not_say_it():
    known, net = layout("rlops/Dispatch-v0"), PairScores("rlops/Dispatch-v0")
    assert known.pairs.shape == (20, 10, 0)
    north, east = (known.vehicles[:, known.places[i]] for i in (0, 1))
    obs = torch.zeros(1, 122)
    obs[0, known.vehicles[:, known.vehicle_there]] = 1.0
    obs[0, known.slots[0, known.slot_filled]] = 0.2
    obs[0, north[1]], obs[0, east[2]] = 0.3, 0.4
    _, vehicles, slots, pairs = net._blocks(obs)
    row, k, v = net._cells(vehicles, slots, pairs)
    between = net._between(vehicles[row, v], slots[row, k], pairs[row, k, v])
    assert between[:3, 0].tolist() == pytest.approx([0.0, 0.3, 0.4])


def test_the_stops_of_whoever_waits_or_rides_are_scored_and_a_request_is_known_by_what_it_is_and_not_by_its_number():
    obs, masks = seen(STATIC, steps=9)
    known, net = layout(STATIC), PairScores(STATIC)
    scores, features = net(obs)
    assert scores.shape == masks.shape == (6, 201)
    scored, stops = (scores != 0).numpy()[:, 1:], obs.numpy()[:, known.slots]
    np.testing.assert_array_equal(scored, stops[:, :, known.slot_filled] > 0)
    assert not (masks[:, 1:] & ~scored).any()
    assert scored[:, 100:].any()
    order = np.random.default_rng(1).permutation(100)
    turned = obs.clone()
    turned[:, known.slots[:100].ravel()] = obs[:, known.slots[order].ravel()]
    turned_scores, turned_features = net(turned)
    torch.testing.assert_close(turned_features, features)
    for first in (1, 101):
        torch.testing.assert_close(turned_scores[:, first : first + 100], scores[:, first + order])
    assert (scores != turned_scores).any()


def test_the_distance_to_a_stop_that_is_seen_from_the_vehicle_needs_no_place_of_the_vehicle():
    known, net = layout(STATIC), PairScores(STATIC)
    obs = torch.zeros(1, 1311)
    obs[0, known.slots[[4, 105], known.slot_filled]] = 1.0
    obs[0, known.vehicles[0, :2]] = torch.tensor([0.5, 0.5])
    obs[0, known.slots[4, [2, 3]]], obs[0, known.slots[105, [2, 3]]] = (
        torch.tensor([0.3, -0.4]),
        torch.tensor([0.0, 0.6]),
    )
    _, vehicles, slots, pairs = net._blocks(obs)
    row, k, v = net._cells(vehicles, slots, pairs)
    assert k.tolist() == [4, 105]
    between = net._between(vehicles[row, v], slots[row, k], pairs[row, k, v])
    assert between[:, 0].tolist() == pytest.approx([0.5, 0.6])


@pytest.mark.parametrize("algo", SMALL)
def test_an_agent_with_a_pair_policy_is_trained_saved_and_loaded(algo, tmp_path):
    settings = {**SMALL[algo], "policy": "PairPolicy", "policy_kwargs": {"width": 8}}
    model = train(IDS[0], algo, steps=500, num_envs=4, out=tmp_path / "run", hyperparameters=settings)
    for agent in (tmp_path / "run", model):  # in arrays and in torch, whose last bits decide between equal cells
        assert (evaluate(IDS[0], load_agent(agent, IDS[0]), range(3), latency=False).table["illegal"] == 0).all()
    known = load_agent(model, IDS[0])
    (tmp_path / "run" / "config.yaml").unlink()  # the model alone says what it is
    alone = load_agent(model, IDS[0])
    obs, masks = seen(IDS[0])
    np.testing.assert_array_equal(alone.actions(None, obs.numpy(), masks), known.actions(None, obs.numpy(), masks))


def test_an_algorithm_without_masks_is_refused():
    with pytest.raises(InvalidValue, match="PairPolicy must be used with maskable_ppo or dqn, got ppo"):
        train(IDS[0], "ppo", steps=1, out="unused", hyperparameters={"policy": "PairPolicy"})


def test_an_environment_without_pairs_is_refused(monkeypatch):
    kernel = parse_id(IDS[0])[0].kernel(0)
    monkeypatch.setattr(kernel, "ACTION", 5)
    with pytest.raises(
        InvalidValue, match="every slot and vehicle, one that waits, and moves of vehicles at most, got 5"
    ):
        pair_layout.layout(IDS[0])
