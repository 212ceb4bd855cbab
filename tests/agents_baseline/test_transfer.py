"""The transfer matrix: each cell is the evaluation that its world says, and all are of the same seeds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.evaluate import evaluate, proportion
from rlops.agents_baseline.transfer import cells, transfer, worlds
from rlops.cli.__main__ import main
from rlops.envs.robotics.profiles import reality
from rlops.errors import InvalidValue, UnknownName
from rlops.randomization import levels

CART = "rlops/CartBalance-v0"
SEEDS = range(40, 45)
SHORT = {"horizon_steps": 120}


@pytest.fixture(scope="module")
def matrix():
    agents = [make_controller("lqr", CART), load_agent("constant:0", CART)]
    told = []
    where = worlds(CART)
    found = transfer(CART, agents, SEEDS, where, params=SHORT, progress=lambda *said: told.append(said))
    return where, found, told


def test_every_cell_is_what_an_evaluation_in_its_world_gives(matrix):
    where, found, _ = matrix
    declared = reality(CART)
    options = [
        {"params": SHORT},
        {"params": SHORT, "randomization": levels(CART)["full"]},
        {"params": SHORT, "engine": "pybullet"},
        {"params": {**declared.params, **SHORT}, "engine": declared.engine},
    ]
    assert [world.name for world in where] == ["mujoco", "mujoco, full", "pybullet", "reality a1"]
    for played, option in zip(found[0], options, strict=True):
        alone = evaluate(CART, make_controller("lqr", CART), SEEDS, latency=False, **option)
        np.testing.assert_array_equal(played.table, alone.table)
    assert len({tuple(played.table["return"].round(6)) for played in found[0]}) == 3  # pybullet is a twin


def test_who_does_nothing_fails_where_the_controller_succeeds(matrix):
    where, found, _ = matrix
    told = cells(found, where)
    assert [cell["agent"] for cell in told[::4]] == ["lqr", "constant:0"]
    assert [cell["successes"] for cell in told] == [5, told[1]["successes"], 5, 5, 0, 0, 0, 0]
    assert told[0]["success"] == vars(proportion(5, 5))
    assert told[1]["randomization"] == levels(CART)["full"].hash
    assert told[3]["params"] == dict(reality(CART).params)
    assert json.loads(json.dumps(told)) == told


def test_progress_tells_every_cell(matrix):
    where, _, told = matrix
    whole = {(agent, world) for agent, world, ended in told if ended == len(SEEDS)}
    assert whole == {(agent, world.name) for agent in ("lqr", "constant:0") for world in where}


def test_an_environment_with_one_engine_or_none_has_no_worlds():
    with pytest.raises(InvalidValue, match=r"rlops/Dispatch-v2 must have two physics engines.*got 0"):
        worlds("rlops/Dispatch-v2")


def test_an_unknown_reality_is_refused_with_those_that_exist():
    with pytest.raises(UnknownName, match=r"z9.*a1"):
        worlds(CART, profile="z9")


def test_the_verb_prints_the_matrix_and_writes_it(tmp_path, capsys):
    file = tmp_path / "new" / "gap.json"
    with pytest.raises(SystemExit) as ended:
        main(["gap", CART, "--agent", "lqr", "--episodes", "2", "--param", "horizon_steps=60", "--json", str(file)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "2 episodes from seed 0 in every world" in said
    assert all(name in said for name in ("mujoco, full", "pybullet", "reality a1", "round-off"))
    written = json.loads(file.read_text())
    assert written["gap"]["states"] == 24
    assert [cell["episodes"] for cell in written["transfer"]] == [2] * 4
    assert [path.name for path in file.parent.iterdir()] == ["gap.json"]
