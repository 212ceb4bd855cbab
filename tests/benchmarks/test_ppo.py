"""What the benchmark of PPO trains with."""

from __future__ import annotations

import pytest

from benchmarks.ppo import VERSIONS, shipped, training, vector_face


@pytest.mark.parametrize("version", VERSIONS)
def test_ppo_takes_the_shipped_hyperparameters_that_are_measured(version):
    settings = shipped(version)
    model = training(vector_face(version, settings["num_envs"]), settings).model
    assert model.batch_size == settings["batch_size"]
