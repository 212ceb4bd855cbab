"""Agents: hand-written controllers, Stable-Baselines3 training, and one evaluation for all of them.

* :mod:`~rlops.agents_baseline.agents`: what an agent is, and loading one by name or path
* :mod:`~rlops.agents_baseline.train`: training with MaskablePPO, PPO or DQN
* :mod:`~rlops.agents_baseline.evaluate`: paired evaluation, intervals, decision latency
"""
