"""Asymmetric actor and critic: the critic sees privileged parameters, the actor does not.

For observations ``{"obs": …, "privileged": …}`` of :func:`rlops.wrappers.privileged`. The critic is thrown away after
training, so it may see what no sensor measures; the actor is trained with exactly the observation that it will have
(asymmetric actor-critic, Pinto et al. 2018)::

    envs = gymnasium.make_vec("rlops/Dispatch-v2", num_envs=64, autoreset_mode="SameStep")
    envs = to_sb3(privileged(randomize(envs, "wide.yaml")))
    model = MaskablePPO(MaskableAsymmetricPolicy, envs).learn(1_000_000)

Where there are no parameters to show, the actor acts on zeros in their place::

    action, _ = model.predict({"obs": obs, "privileged": np.zeros(m, np.float32)}, action_masks=masks)
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor

from rlops.errors import InvalidValue

ACTOR_SEES = ("obs",)
CRITIC_SEES = ("obs", "privileged")


class _Asymmetric:
    """Features extractors and first layers of an actor and a critic that do not see the same."""

    def __init__(self, observation_space: gym.Space[Any], *args: Any, **settings: Any):
        """Make the policy; ``settings`` are those of SB3's actor-critic policies."""
        keys = set(observation_space.spaces) if isinstance(observation_space, gym.spaces.Dict) else set()
        if keys != set(CRITIC_SEES):
            raise InvalidValue(
                f"An asymmetric policy needs observations with the keys {' and '.join(CRITIC_SEES)}, got "
                f"{observation_space}. Wrap the environment with rlops.wrappers.privileged."
            )
        if settings.pop("share_features_extractor", False):
            raise InvalidValue("share_features_extractor must be False, got True: the actor must not see the critic's.")
        made: Any = super()
        made.__init__(observation_space, *args, share_features_extractor=False, **settings)

    def make_features_extractor(self: Any) -> BaseFeaturesExtractor:
        """Return the extractor of the actor at the first call and that of the critic at the second, as SB3 asks."""
        keys = CRITIC_SEES if hasattr(self, "pi_features_extractor") else ACTOR_SEES
        space = gym.spaces.Dict({key: self.observation_space[key] for key in keys})
        extractor: BaseFeaturesExtractor = self.features_extractor_class(space, **self.features_extractor_kwargs)
        return extractor

    def _build_mlp_extractor(self: Any) -> None:
        """Give the critic layers of its own input width; SB3's have the actor's for both."""
        actor, critic = (
            MlpExtractor(extractor.features_dim, self.net_arch, self.activation_fn, self.device)
            for extractor in (self.pi_features_extractor, self.vf_features_extractor)
        )
        actor.value_net, actor.latent_dim_vf = critic.value_net, critic.latent_dim_vf
        self.mlp_extractor = actor


class AsymmetricPolicy(_Asymmetric, MultiInputActorCriticPolicy):
    """Asymmetric policy of PPO and A2C."""


class MaskableAsymmetricPolicy(_Asymmetric, MaskableMultiInputActorCriticPolicy):
    """Asymmetric policy of MaskablePPO."""
