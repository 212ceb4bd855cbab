"""An episode depends on its design alone, and no interruption loses one or counts one twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import rlops
from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.worlds import World
from rlops.errors import InvalidFile, InvalidValue
from rlops.randomization import levels
from rlops.robustness import episodes
from rlops.robustness.episodes import Design, Work, play, read_parquet, records, write_parquet
from tests.agents_baseline.policies import DoNothing, Random

ID = "rlops/Dispatch-v0"
ROOT = Path(rlops.__file__).parent.parent


def design(n=9, part="curves", **overrides):
    values = {"speed_kmh": np.linspace(20, 40, n), **overrides}
    return Design(part, World(ID), np.arange(n) % 4, tuple(f"speed {i}" for i in range(n)), values)


@pytest.fixture(scope="module")
def random():
    return play(design(), Random())


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_an_episode_does_not_depend_on_the_rows_beside_it(random, rows):
    assert play(design(), Random(), rows=rows).tobytes() == random.tobytes()


def test_an_episode_does_not_depend_on_the_row_that_it_ran_in(random):
    order = np.array([8, 3, 0, 5, 1, 7, 2, 6, 4])
    whole = design()
    values = {name: column[order] for name, column in whole.overrides.items()}
    turned = Design("curves", whole.world, whole.seeds[order], tuple(whole.labels[i] for i in order), values)
    assert play(turned, Random(), rows=4).tobytes() == random[order].tobytes()


def test_a_robot_under_its_controller_does_not_depend_on_the_rows_beside_it():
    id = "rlops/CartBalance-v0"
    some = Design(
        "curves", World(id, params={"horizon_steps": 60}), np.arange(5), ("",) * 5,
        {"pole_mass_kg": np.linspace(0.05, 0.5, 5), "position_noise": np.full(5, 0.01)},
    )  # fmt: skip
    agent = make_controller("lqr", id)
    assert play(some, agent, rows=1).tobytes() == play(some, agent, rows=5).tobytes()


def test_the_table_has_every_parameter_and_the_terms_sum_to_the_return(random):
    kernel = rlops.envs.parse_id(ID)[0].kernel(0)
    assert {f"param_{p.name}" for p in kernel.PARAMETERS} <= set(random.dtype.names)
    np.testing.assert_array_equal(random["param_speed_kmh"], np.linspace(20, 40, 9))
    terms = sum(random[f"term_{term}"] for term in kernel.REWARD_TERMS)
    np.testing.assert_allclose(terms, random["return"], rtol=1e-12)
    assert random["label"].tolist() == [f"speed {i}" for i in range(9)]
    assert (random["part"] == "curves").all()


def test_an_episode_is_the_one_of_the_single_environment(random):
    env = gym.make(ID)
    obs, _ = env.reset(seed=int(random["seed"][6]), options={"params": {"speed_kmh": 35.0}})
    total, ended = 0.0, False
    while not ended:
        (action,) = Random().actions(env.unwrapped, obs[None], env.unwrapped.action_masks()[None])
        obs, reward, terminated, truncated, info = env.step(int(action))
        total, ended = total + reward, terminated or truncated
    assert random["return"][6] == total
    assert {name: random[name][6] for name in info["kpis"]} == info["kpis"]


def test_policies_meet_the_same_drawn_worlds():
    some = Design("in_distribution", World(ID, randomization=levels(ID)["full"]), np.arange(4), ("",) * 4)
    first, second = play(some, Random()), play(some, DoNothing(), "b", rows=2)
    params = [name for name in first.dtype.names if name.startswith("param_")]
    assert all((first[name] == second[name]).all() for name in params)
    assert len(np.unique(first["param_speed_kmh"])) == 4
    assert (first["return"] != second["return"]).all()


def test_parquet_keeps_every_bit(random, tmp_path):
    random = random.copy()
    random["return"][0] = np.nan
    write_parquet(random, tmp_path / "e.parquet")
    again = read_parquet(tmp_path / "e.parquet")
    for name in random.dtype.names:
        np.testing.assert_array_equal(again[name], random[name])
    assert [p.name for p in tmp_path.iterdir()] == ["e.parquet"]
    assert next(records(again[1:]))["return"] == random["return"][1]


def test_a_foreign_file_is_no_table(tmp_path, random):
    (tmp_path / "e.parquet").write_text("not one")
    with pytest.raises(InvalidFile, match="must be the table of episodes of a report, got"):
        read_parquet(tmp_path / "e.parquet")
    write_parquet(random[["part", "label", "seed"]], tmp_path / "other.parquet")
    with pytest.raises(InvalidFile, match="has no column policy"):
        read_parquet(tmp_path / "other.parquet")


def test_finished_chunks_are_not_played_again(tmp_path, random, monkeypatch):
    monkeypatch.setattr(episodes, "CHUNK", 4)
    told = []
    whole = Work(tmp_path, {"a": 1}).table([design()], Random(), progress=told.append)
    assert whole.tobytes() == random.tobytes()
    assert told[-1] == 9
    assert told == sorted(told)

    class Nobody:
        name = "nobody"

        def actions(self, envs, obs, masks):
            raise AssertionError("played again")

    assert Work(tmp_path, {"a": 1}).table([design()], Nobody()).tobytes() == random.tobytes()
    with pytest.raises(AssertionError, match="played again"):
        Work(tmp_path, {"a": 1}).table([design(arrival_else=np.zeros(9))], Nobody())


def test_a_chunk_that_is_not_what_the_manifest_says_is_played_again(tmp_path, random, monkeypatch):
    monkeypatch.setattr(episodes, "CHUNK", 4)
    Work(tmp_path, {}).table([design()], Random())
    for chunk in tmp_path.glob("*.npy"):
        chunk.write_bytes(chunk.read_bytes()[:-8] + b"\0" * 8)
    assert Work(tmp_path, {}).table([design()], Random()).tobytes() == random.tobytes()


def test_work_of_another_evaluation_is_refused_and_says_what_differs(tmp_path):
    Work(tmp_path, {"spec": 1, "agent": "x"}).table([design(2)], DoNothing())
    with pytest.raises(InvalidValue, match="it differs in agent"):
        Work(tmp_path, {"spec": 1, "agent": "y"})
    (tmp_path / "manifest.json").write_text('{"identity": {')
    with pytest.raises(InvalidFile, match="must be the manifest of an evaluation"):
        Work(tmp_path, {"spec": 1})


def test_finished_work_leaves_nothing_behind(tmp_path):
    work = Work(tmp_path / "work", {})
    work.table([design(3)], DoNothing())
    work.remove()
    assert not (tmp_path / "work").exists()


PROGRAM = f"""
import sys, time
import numpy as np
from rlops.robustness import episodes
from tests.robustness.test_episodes import design
from tests.agents_baseline.policies import Random

class Slow(Random):
    def actions(self, envs, obs, masks):
        time.sleep(0.002)
        return super().actions(envs, obs, masks)

episodes.CHUNK = 2
episodes.Work(sys.argv[1], {{"of": "{ID}"}}).table([design()], Slow(), rows=1)
"""


def test_a_killed_evaluation_resumes_without_losing_or_doubling_an_episode(tmp_path, random, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path / "work"], cwd=ROOT)
    manifest = tmp_path / "work" / "manifest.json"
    for _ in range(6000):
        if child.poll() is not None or (manifest.exists() and len(json.loads(manifest.read_text())["chunks"]) >= 2):
            break
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL  # it had not finished
    monkeypatch.setattr(episodes, "CHUNK", 2)
    work = Work(tmp_path / "work", {"of": ID})
    assert 2 <= len(work.chunks) < 5
    assert work.table([design()], Random()).tobytes() == random.tobytes()
