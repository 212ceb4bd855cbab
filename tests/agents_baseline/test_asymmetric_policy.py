"""The critic sees what is privileged; the actor neither sees it nor learns from it directly."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import CombinedExtractor

import rlops  # noqa: F401
from rlops.agents_baseline.asymmetric_policy import AsymmetricPolicy, MaskableAsymmetricPolicy
from rlops.errors import InvalidValue
from rlops.randomization import randomize
from rlops.wrappers import privileged, to_sb3

pytestmark = pytest.mark.usefixtures("one_torch_thread")

ID = "rlops/Dispatch-v0"
NAMES = ["speed_kmh", "traffic_slowdown"]
SPEC = {"env": ID, "params": {name: {"dist": "uniform", "low": 0.5, "high": 1.5, "op": "scale"} for name in NAMES}}
POLICIES = {PPO: AsymmetricPolicy, MaskablePPO: MaskableAsymmetricPolicy}


class WeighedExtractor(CombinedExtractor):
    """A features extractor with weights."""

    def __init__(self, observation_space):
        super().__init__(observation_space)
        self.layer = torch.nn.Linear(self.features_dim, 7)
        self._features_dim = 7

    def forward(self, observations):
        return self.layer(super().forward(observations))


def envs(rows=2):
    made = gym.make_vec(ID, num_envs=rows, autoreset_mode="SameStep")
    return to_sb3(privileged(randomize(made, SPEC), NAMES))


def model(algorithm=PPO, **policy):
    settings = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 3, "device": "cpu"}
    return algorithm(POLICIES[algorithm], envs(), policy_kwargs={"net_arch": [8], **policy}, **settings)


def two_sights(rows=5):
    """Return observations that differ in what is privileged only."""
    rng = np.random.default_rng(0)
    obs = rng.random((rows, 122)).astype(np.float32)
    return [
        {
            "obs": torch.tensor(obs, requires_grad=True),
            "privileged": torch.tensor(rng.uniform(-1, 1, (rows, 2)).astype(np.float32), requires_grad=True),
        }
        for _ in range(2)
    ]


@pytest.mark.parametrize("extractor", [CombinedExtractor, WeighedExtractor])
@pytest.mark.parametrize("algorithm", POLICIES)
def test_actions_do_not_depend_on_what_is_privileged_but_values_do(algorithm, extractor):
    policy = model(algorithm, features_extractor_class=extractor).policy
    one, other = two_sights()
    first, second = (policy.get_distribution(obs).distribution.logits for obs in (one, other))
    assert torch.equal(first, second)
    assert (policy.predict_values(one) != policy.predict_values(other)).all()
    _, values, _ = policy(one, deterministic=True)
    assert torch.equal(values, policy.predict_values(one))

    logits = policy.get_distribution(one).distribution.logits.square().sum()
    seen, hidden = torch.autograd.grad(logits, [one["obs"], one["privileged"]], allow_unused=True)
    assert hidden is None or not hidden.any()
    assert seen.any()
    assert torch.autograd.grad(policy.predict_values(one).sum(), one["privileged"])[0].all()


@pytest.mark.parametrize("algorithm", POLICIES)
def test_the_loss_of_the_critic_moves_no_weight_of_the_actor(algorithm):
    policy = model(algorithm, features_extractor_class=WeighedExtractor).policy
    values, log_prob, _ = policy.evaluate_actions(two_sights()[0], torch.zeros(5, dtype=torch.int64))
    parts = {
        "actor": [policy.pi_features_extractor, policy.mlp_extractor.policy_net, policy.action_net],
        "critic": [policy.vf_features_extractor, policy.mlp_extractor.value_net, policy.value_net],
    }
    weights = {name: [w for module in modules for w in module.parameters()] for name, modules in parts.items()}
    assert {id(w) for part in weights.values() for w in part} == {id(w) for w in policy.parameters()}
    for loss, mover, other in ((values.sum(), "critic", "actor"), (log_prob.sum(), "actor", "critic")):
        moved = torch.autograd.grad(loss, weights[mover], retain_graph=True)
        assert all(gradient.any() for gradient in moved)
        untouched = torch.autograd.grad(loss, weights[other], retain_graph=True, allow_unused=True)
        assert all(gradient is None for gradient in untouched)


@pytest.mark.parametrize("algorithm", POLICIES)
def test_a_trained_model_and_its_policy_are_saved_and_loaded(algorithm, tmp_path):
    trained = model(algorithm)
    before = {name: weight.clone() for name, weight in trained.policy.state_dict().items()}
    trained.learn(64)
    after = trained.policy.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    trained.save(tmp_path / "model")
    trained.policy.save(tmp_path / "policy")
    obs = two_sights()[0]
    for loaded in (
        algorithm.load(tmp_path / "model", device="cpu").policy,
        POLICIES[algorithm].load(tmp_path / "policy", device="cpu"),
    ):
        assert torch.equal(loaded.predict_values(obs), trained.policy.predict_values(obs))
        ours, theirs = (p.get_distribution(obs).distribution.logits for p in (loaded, trained.policy))
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("algorithm", POLICIES)
def test_at_deployment_zeros_stand_in_for_what_is_privileged(algorithm):
    trained = model(algorithm).learn(32)
    seen = {name: part.detach().numpy() for name, part in two_sights()[0].items()}
    blind = seen | {"privileged": np.zeros((5, 2), np.float32)}
    legal = np.tile(np.arange(201) > 100, (5, 1))

    def actions(obs, masks):
        masks = {"action_masks": masks} if algorithm is MaskablePPO else {}
        return trained.predict(obs, deterministic=True, **masks)[0]

    np.testing.assert_array_equal(actions(blind, legal), actions(seen, legal))
    assert actions({name: part[0] for name, part in blind.items()}, legal[0]) == actions(seen, legal)[0]


def test_actor_and_critic_have_the_layers_that_were_asked_for():
    policy = model(net_arch={"pi": [5, 6], "vf": [7]}).policy
    shapes = {name: tuple(weight.shape) for name, weight in policy.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "mlp_extractor.policy_net.0.weight": (5, 122),
        "mlp_extractor.policy_net.2.weight": (6, 5),
        "mlp_extractor.value_net.0.weight": (7, 124),
        "action_net.weight": (201, 6),
        "value_net.weight": (1, 7),
    }


def test_another_observation_and_shared_features_are_refused():
    with pytest.raises(InvalidValue, match=r"the keys obs and privileged, got Box.*rlops.wrappers.privileged"):
        PPO(AsymmetricPolicy, "CartPole-v1")
    with pytest.raises(InvalidValue, match="share_features_extractor must be False, got True"):
        model(share_features_extractor=True)
