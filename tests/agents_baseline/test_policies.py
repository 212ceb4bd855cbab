"""A policy in arrays does what its model does, in every runtime, and no file but a whole one is read."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import onnx
import pytest

from rlops.agents_baseline import agents, networks
from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.evaluate import evaluate
from rlops.agents_baseline.export import compared, onnx_side, seen_by, write_int8, write_onnx
from rlops.agents_baseline.networks import Linear
from rlops.agents_baseline.policies import POLICY_FILE, Policy, PolicyAgent
from rlops.agents_baseline.train import train
from rlops.envs.contract import family
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidFile, InvalidValue

DISPATCH, DISPATCH_V1, HALL, CART, PUSH = (
    "rlops/Dispatch-v0", "rlops/Dispatch-v1", "rlops/DatacenterCooling-v0", "rlops/CartBalance-v0", "rlops/ArmPush-v0"
)  # fmt: skip
REPOSITION, FLEET = "rlops/DispatchReposition-v2", "rlops/WarehouseFleet-v0"
STATIC = "rlops/DispatchStatic-v2"
SHORT = {"n_steps": 16, "batch_size": 64, "n_epochs": 1}
OFF_POLICY = {"learning_starts": 16, "buffer_size": 500, "batch_size": 16}
WIDE = {"policy_kwargs": {"net_arch": [8, 8]}}
SCALED = {"standardise": {"controller": "random", "steps": 16}}
AIMED = {"standardise": {"controller": "scripted_push", "steps": 16, "directions": ["left", "gap"]}}
PAIRS = {"policy": "PairPolicy", "policy_kwargs": {"width": 8}}
FLAT = {"policy": "MlpPolicy", "demonstrations": None, **WIDE}
KINDS = {
    "masked layers": (DISPATCH, "maskable_ppo", {**SHORT, **FLAT}),
    "layers without masks": (DISPATCH, "ppo", {**SHORT, **FLAT}),
    "values": (DISPATCH, "dqn", {**OFF_POLICY, "policy": "MlpPolicy", **WIDE}),
    "pairs by distance": (DISPATCH, "maskable_ppo", {**SHORT, **PAIRS}),
    "pairs with columns": (DISPATCH_V1, "maskable_ppo", {**SHORT, **PAIRS}),
    "pairs with moves": (REPOSITION, "maskable_ppo", {**SHORT, **PAIRS, "demonstrations": None}),
    "stops": (STATIC, "maskable_ppo", {**SHORT, **PAIRS, "demonstrations": None}),
    "values of pairs": (DISPATCH, "dqn", {**OFF_POLICY, **PAIRS}),
    "gaussian": (CART, "ppo", {**SHORT, **WIDE}),
    "standardised": (HALL, "ppo", {**SHORT, **WIDE, **SCALED, "demonstrations": None}),
    "with directions": (PUSH, "ppo", {**SHORT, **WIDE, **AIMED, "demonstrations": None}),
    "squashed with directions": (PUSH, "sac", {**OFF_POLICY, **WIDE, **AIMED}),
    "squashed": (CART, "sac", {**OFF_POLICY, **WIDE}),
    "shared": (FLEET, "ppo", {**SHORT, **WIDE, **SCALED}),
    "squashed and shared": (FLEET, "sac", {**OFF_POLICY, **WIDE, "shared": True}),
}
"""Environment, algorithm and settings of every kind of policy there is."""


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """Return the id, the model as an agent, and the folder of a policy that was trained for a few steps."""
    id, algo, settings = KINDS[request.param]
    out = tmp_path_factory.mktemp("agent") / "run"
    train(id, algo, steps=64, out=out, num_envs=4, hyperparameters=settings)
    rng = np.random.default_rng(0)
    model = load_agent(out / "model.zip", id)
    _stir(model.model, rng)
    from rlops.agents_baseline.policies import of_model

    of_model(model.model, algo, id).write(out)
    return id, model, out


def _stir(model, rng):
    """Give a model weights by chance, so that what it does differs from state to state."""
    import torch

    with torch.no_grad():
        for name, weight in model.policy.named_parameters():
            if weight.ndim == 2:
                weight.copy_(torch.as_tensor(rng.normal(0, 1.5 / np.sqrt(weight.shape[1]), weight.shape)))
            elif "log_std" not in name:
                weight.copy_(torch.as_tensor(rng.normal(0, 0.3, weight.shape)))


def test_a_policy_in_arrays_decides_as_its_model_does(trained):
    _, model, out = trained
    policy = Policy.read(out)
    obs, masks = seen_by(policy, 512)
    wanted, chosen = model.actions(None, obs, masks), policy.actions(obs, masks)
    if chosen.dtype == np.int64:
        assert len(np.unique(chosen)) > 2
        assert (chosen == wanted).mean() > 0.998  # scores that are equal but for the last bit
        if policy.masked:
            assert masks[np.arange(len(chosen)), chosen].all()
    else:
        assert chosen.std() > 0.01
        np.testing.assert_allclose(chosen, wanted, atol=2e-5)


def test_what_a_row_gets_does_not_depend_on_the_others_in_any_bit(trained):
    _, _, out = trained
    policy = Policy.read(out)
    obs, _ = seen_by(policy, 64)
    together = policy.scores(obs)
    for rows in (1, 3):
        apart = np.concatenate([policy.scores(obs[i : i + rows]) for i in range(0, len(obs), rows)])
        assert apart.tobytes() == together.tobytes()


def test_training_writes_a_policy_that_is_loaded_without_unpickling(trained, monkeypatch):
    id, _, out = trained

    def refuse(*args, **kwargs):
        raise AssertionError("something was unpickled")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (agents, "algorithm_class")):
        monkeypatch.setattr(owner, name, refuse)
    agent = load_agent(out, id)
    assert isinstance(agent, PolicyAgent)
    monkeypatch.undo()
    played = evaluate(id, agent, range(2), latency=False)
    assert np.isfinite(played.table["return"]).all()


def test_the_graph_of_onnx_decides_as_numpy_does_and_int8_about_so(trained, tmp_path):
    _, _, out = trained
    policy = Policy.read(out)
    graph = write_onnx(policy, tmp_path / "policy.onnx")
    small = write_int8(graph, tmp_path / "int8.onnx")
    sides = {"NumPy": (policy.actions, 1), **{p.name: (onnx_side(p, policy.masked), 1) for p in (graph, small)}}
    seen = tuple(part[:256] for part in seen_by(policy, 256))
    itself, whole, int8 = compared(policy, sides, seen)
    assert itself.equal == 1.0
    assert whole.equal > 0.995
    assert int8.equal > 0.5 or int8.greatest < 0.3
    assert min(side.one_us for side in (itself, whole, int8)) > 0


def test_sums_of_8_bit_products_do_not_overflow_on_any_processor(tmp_path):
    policy = _by_chance(CART, "squashed")
    columns = policy.arrays["actor.0.weight"].shape[1]
    policy.arrays["actor.0.weight"][:] = 0.5 / columns  # greatest weights times greatest activations
    int8 = write_int8(write_onnx(policy, tmp_path / "policy.onnx"), tmp_path / "int8.onnx")
    obs = np.ones((4, columns), np.float32)
    np.testing.assert_allclose(onnx_side(int8, policy.masked)(obs, obs), policy.actions(obs, None), rtol=0.02)
    kinds = {weights.data_type for weights in onnx.load(int8).graph.initializer if weights.name.endswith("_quantized")}
    assert kinds == {onnx.TensorProto.UINT8}  # signed ones overflow on some processors only


@pytest.mark.parametrize(("id", "head"), [(DISPATCH, "logits"), (CART, "gaussian"), (CART, "squashed")])
def test_drawn_actions_depend_on_episode_and_step_alone_and_differ_from_row_to_row(id, head):
    policy, rows = _by_chance(id, head), 6
    agent = PolicyAgent(policy, deterministic=False)
    name, number = id.removeprefix("rlops/").split("-v")
    many, one = (VectorEnv(family(name), int(number), n) for n in (rows, 1))
    obs, _ = many.reset(seed=3)
    first, _ = one.reset(seed=3 + 4)
    for _ in range(20):
        chosen = agent.actions(many, obs, many.action_masks())
        alone = agent.actions(one, first, one.action_masks())
        np.testing.assert_array_equal(chosen[4], alone[0])
        obs, first = many.step(chosen)[0], one.step(alone)[0]
    best = PolicyAgent(policy).actions(many, obs, many.action_masks())
    assert not np.array_equal(best, chosen)


def _by_chance(id, head):
    """Return a policy of one layer with weights by chance."""
    name, number = id.removeprefix("rlops/").split("-v")
    env = VectorEnv(family(name), int(number), 1)
    columns = env.single_observation_space.shape[0]
    outputs = env.single_action_space.n if head == "logits" else env.single_action_space.shape[0]
    rng = np.random.default_rng(1)
    arrays = {"actor.0.weight": rng.normal(0, 0.1, (outputs, columns)), "actor.0.bias": np.zeros(outputs)}
    if head == "gaussian":
        arrays["log_std"] = np.full(outputs, -1.0)
    if head == "squashed":
        arrays |= {"spread.weight": np.zeros((outputs, columns)), "spread.bias": np.full(outputs, -1.0)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Policy(id, "test", head, "layers", "tanh", head == "logits", arrays)


def test_the_share_of_drawn_numbers_is_what_the_logits_say():
    policy = _by_chance(DISPATCH, "logits")
    obs = np.zeros((20_000, policy.arrays["actor.0.weight"].shape[1]), np.float32)
    masks = np.zeros((len(obs), policy.arrays["actor.0.bias"].size), bool)
    masks[:, :3] = True
    policy.arrays["actor.0.bias"][:3] = np.log([0.2, 0.3, 0.5])
    keys = np.arange(len(obs), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    drawn = policy.actions(obs, masks, (keys, np.zeros(len(obs), np.int64)))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / len(obs), [0.2, 0.3, 0.5], atol=0.02)


def test_a_policy_that_draws_needs_the_keys_of_episodes():
    agent = PolicyAgent(_by_chance(CART, "gaussian"), deterministic=False)
    with pytest.raises(InvalidValue, match=r"must see the keys of episodes in envs\.state"):
        agent.actions(object(), np.zeros((1, 5), np.float32), np.zeros((1, 0), bool))


# -- files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    """Return the path of the description of a policy."""
    return _by_chance(CART, "gaussian").write(tmp_path)


def test_what_is_read_is_what_was_written_and_equal_policies_have_equal_bytes(written, tmp_path):
    policy = _by_chance(CART, "gaussian")
    found = Policy.read(written)
    assert {name: array.tobytes() for name, array in found.arrays.items()} == {
        name: array.tobytes() for name, array in policy.arrays.items()
    }
    other = policy.write(tmp_path / "other").parent
    assert {f.name: f.read_bytes() for f in other.iterdir()} == {
        f.name: f.read_bytes() for f in written.parent.iterdir() if f.is_file()
    }


def test_a_policy_that_is_replaced_leaves_nothing_of_the_old_one(written):
    policy = _by_chance(CART, "gaussian")
    policy.arrays["log_std"][:] = 0.5
    policy.write(written.parent)
    assert Policy.read(written).arrays["log_std"][0] == 0.5
    assert len(list(written.parent.iterdir())) == 2


def test_a_policy_that_was_written_before_there_were_directions_is_read_as_one_without(written):
    about = json.loads(written.read_text())
    assert about.pop("directions") == []
    written.write_text(json.dumps(about))
    assert Policy.read(written).directions == ()


def _aimed(directions, id=PUSH):
    """Return a policy of one layer that takes two directions of the arm's observation."""
    arrays = {"actor.0.weight": np.ones((2, 26)), "actor.0.bias": np.zeros(2), "log_std": np.zeros(2)}
    arrays |= {"mean": np.zeros(26), "scale": np.ones(26)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Policy(id, "ppo", "gaussian", "layers", "tanh", False, arrays, directions=directions)


def test_directions_are_kept_and_which_they_are_matters(tmp_path):
    obs, _ = seen_by(_aimed(("left", "gap")), 16)
    read = Policy.read(_aimed(("left", "gap")).write(tmp_path))
    assert read.directions == ("left", "gap")
    np.testing.assert_array_equal(read.scores(obs), _aimed(("left", "gap")).scores(obs))
    assert not np.array_equal(read.scores(obs), _aimed(("left", "tip")).scores(obs))


@pytest.mark.parametrize(
    ("directions", "told"),
    [
        (["left"], "the arrays must be"),
        (["left", "nowhere"], "has no vector named 'nowhere'"),
        ("left", "'directions' must be a list"),
        ([["left"], 3], "directions must be a list of different vectors"),
    ],
)
def test_directions_that_do_not_fit_are_refused(tmp_path, directions, told):
    written = _aimed(("left", "gap")).write(tmp_path)
    _edited(directions=directions)(written)
    with pytest.raises(InvalidFile, match=told):
        Policy.read(written)


def test_a_policy_with_directions_is_refused_where_they_are_not_observed(tmp_path):
    _aimed(("left", "gap")).write(tmp_path)
    with pytest.raises(InvalidValue, match=f"was trained for {PUSH}; to act in {CART}, "):
        load_agent(tmp_path, CART)


def _weights(written):
    return next(written.parent.glob("policy-*.npz"))


def _tampered(written):
    """Change a number in the arrays, and the checksum of its archive with it."""
    file = _weights(written)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["log_std.npy"] = members["log_std.npy"][:-1] + b"\x01"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _with_objects(written):
    with zipfile.ZipFile(_weights(written), "w") as archive, archive.open("log_std.npy", "w") as member:
        np.save(member, np.array([{"a": 1}], object), allow_pickle=True)


def _edited(**changes):
    def edit(written):
        about = json.loads(written.read_text())
        written.write_text(json.dumps({**about, **changes}))

    return edit


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_tampered, "must have the array log_std as policy.json declares it, got another"),
        (_with_objects, "got none that can be read"),
        (lambda w: _weights(w).write_bytes(_weights(w).read_bytes()[:200]), "got none that can be read"),
        (lambda w: _weights(w).unlink(), "got none that can be read"),
        (lambda w: w.write_text(w.read_text()[:-30]), "must be a policy's description in JSON"),
        (lambda w: w.write_text("[]"), "must be a policy's description in JSON"),
        (_edited(format=2), "must have format 1, got 2"),
        (_edited(head="squashed"), "the arrays must be"),
        (_edited(head="logits"), "the head must be one for the actions of"),
        (_edited(activation="elu"), "the activation must be tanh or relu, got elu"),
        (_edited(id="rlops/Nowhere-v0"), "Nowhere"),
        (_edited(id=HALL), "the arrays must be"),
        (_edited(arrays={}), "must describe a policy"),
        (_edited(arrays={"log_std": {"shape": [-1], "sha256": ""}}), "declared with its shape"),
        (_edited(arrays={"log_std": {"shape": [1 << 40], "sha256": ""}}), "at most 256 MiB"),
        (_edited(masked="no"), "'masked' must be a bool"),
    ],
)
def test_a_file_that_is_not_a_whole_policy_is_refused(written, change, told):
    change(written)
    with pytest.raises(InvalidFile, match=told):
        Policy.read(written)


def test_a_policy_of_another_environment_is_refused(written):
    with pytest.raises(InvalidValue, match=f"was trained for {CART}; to act in {DISPATCH}, "):
        load_agent(written.parent, DISPATCH)


def test_a_network_of_the_users_own_is_trained_but_not_written_as_arrays(tmp_path):
    from torch import nn

    settings = {**SHORT, "policy_kwargs": {"net_arch": [8], "activation_fn": nn.ELU}}
    train(CART, "ppo", steps=64, out=tmp_path, num_envs=4, hyperparameters=settings)
    assert not (tmp_path / POLICY_FILE).exists()
    assert "got ELU" in (tmp_path / "config.yaml").read_text()
    assert load_agent(tmp_path, CART).algo == "ppo"


def test_a_row_of_a_layer_is_the_same_alone_and_among_many_whoever_computes_it(monkeypatch):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=size).astype(np.float32) for size in ((2999, 35), (13, 35), (13,)))
    layer = Linear(weight, bias)
    assert x.size * len(bias) > networks._WORTH_THREADS
    monkeypatch.setattr(networks, "usable_threads", lambda: 2)
    on_threads = layer(x)
    monkeypatch.setattr(networks, "usable_threads", lambda: 1)
    in_order = bias + np.zeros((len(x), 1), np.float32)
    for column, weights in zip(x.T, weight.T, strict=True):
        in_order += column[:, None] * weights
    np.testing.assert_array_equal(on_threads, in_order)
    np.testing.assert_array_equal(on_threads, layer(x))
    np.testing.assert_array_equal(on_threads[1500], layer(x[1500]))
