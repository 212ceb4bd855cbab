"""The worlds of PyBullet's own functions, against which ours are measured."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bullet import World
from rlops.envs.batch import Batch
from rlops.envs.contract import family
from rlops.envs.robotics import ROBOTICS
from rlops.envs.robotics.engines.pybullet import rotation
from rlops.envs.robotics.model import from_row


@pytest.mark.parametrize("name", [one.name for one in ROBOTICS])
def test_the_engine_moves_a_robot_as_the_functions_of_pybullet_do_to_the_last_bit(name):
    rng = np.random.default_rng(0)
    batch = Batch(family(name), 0, 1, params={"horizon_steps": 1000}, engine="pybullet", threads=1)
    batch.seed(np.arange(1), [3])
    batch.reset()
    state = batch.state
    world = World(from_row(batch.kernel.build, batch.params[0]))
    world.place(state["qpos"][0], state["qvel"][0])
    began = state["qpos"].copy()
    for _ in range(150):
        batch.step(rng.uniform(-1, 1, batch.actions.shape), False)
        if state["terminated"][0]:
            break
        world.step(state["force"][0].tolist(), batch.kernel.SUBSTEPS)
        qpos, qvel = world.told()
        q = v = 0
        for body in world.model.bodies:
            if body.joint == "free":
                qvel[v + 3 : v + 6] = rotation(qpos[q + 3 : q + 7]).T @ qvel[v + 3 : v + 6]
                q, v = q + 7, v + 6
            else:
                q, v = q + 1, v + 1
        assert qpos.tobytes() == state["qpos"].tobytes()
        np.testing.assert_allclose(qvel, state["qvel"][0], rtol=1e-13, atol=1e-15)
    world.close()
    assert np.abs(state["qpos"] - began).max() > 0.01
