"""Versioned reinforcement-learning environments whose dynamics are part of their name.

``import rlops`` registers every environment id with Gymnasium; nothing heavy is loaded until one is made::

    import gymnasium, rlops

    env = gymnasium.make("rlops/Dispatch-v2")
    envs = gymnasium.make_vec("rlops/Dispatch-v2", num_envs=1024)
    agents = rlops.envs.parallel_env("rlops/Dispatch-v2")
"""

from rlops import envs, errors
from rlops.envs import FAMILIES, register_family

__version__ = "0.1.0"

__all__ = ["__version__", "envs", "errors"]

for _family in FAMILIES:
    register_family(_family)
