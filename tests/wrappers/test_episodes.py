"""The log holds one true record for every finished episode."""

from __future__ import annotations

import functools
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics

import rlops  # noqa: F401
from rlops.errors import InvalidFile
from rlops.randomization import randomize
from rlops.wrappers import logged, sensors
from tests.wrappers.walk import (
    MODES,
    Clock,
    Walk,
    assert_made_again,
    assert_rows_are_singles,
    check,
    played,
    played_rows,
)


def without_row(records):
    return [{name: value for name, value in record.items() if name != "row"} for record in records]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_logged_goes_through_unchanged(mode):
    assert_rows_are_singles(logged, mode)


@pytest.mark.parametrize("mode", MODES)
def test_the_records_of_row_i_are_those_of_the_single_environment_with_seed_s_plus_i(mode):
    envs = logged(SyncVectorEnv([Walk] * 3, autoreset_mode=mode))
    played_rows(envs, 11, 25)
    for row in range(3):
        single = logged(Walk())
        played(single, 11 + row, row, 25)
        ours = [record for record in envs.episodes if record["row"] == row]
        assert len(single.episodes) > 3
        assert without_row(ours)[: len(single.episodes)] == without_row(single.episodes)


@pytest.mark.parametrize("mode", MODES)
def test_the_key_figures_of_a_compiled_environment_are_in_its_records(mode):
    envs = logged(gym.make_vec("rlops/Dispatch-v0", num_envs=2, autoreset_mode=mode))
    single = logged(gym.make("rlops/Dispatch-v0"))
    envs.reset(seed=5), single.reset(seed=6)
    for _ in range(96):
        envs.step(np.zeros(2, int)), single.step(0)
    assert [record["row"] for record in envs.episodes] == [0, 1]
    assert without_row(envs.episodes[1:]) == without_row(single.episodes)
    assert set(single.episodes[0]["kpis"]) == {column.name for column in single.unwrapped.kernel.KPIS}


@pytest.mark.parametrize(
    ("make", "action"), [(gym.make, 0), (functools.partial(gym.make_vec, num_envs=1), np.zeros(1, int))]
)
def test_the_parameters_drawn_for_an_episode_are_in_its_record(make, action):
    spec = {"env": "rlops/Dispatch-v0", "params": {"speed_kmh": {"dist": "uniform", "low": 20, "high": 40}}}
    env = logged(randomize(make("rlops/Dispatch-v0"), spec))
    env.reset(seed=5)
    drawn = env.unwrapped.params["speed_kmh"].item()
    for _ in range(96):
        env.step(action)
    assert env.episodes[0]["params"] == {"speed_kmh": drawn}


def test_return_and_length_are_those_of_gymnasiums_statistics():
    log = logged(RecordEpisodeStatistics(Walk()))
    log.reset(seed=2)
    statistics = []
    for _ in range(40):
        _, _, terminated, truncated, info = log.step(np.ones(2, np.float32))
        if terminated or truncated:
            statistics.append((info["episode"]["r"], info["episode"]["l"]))
            log.reset()
    assert [(record["return"], record["length"]) for record in log.episodes] == statistics


def test_a_record_says_which_episode_of_which_seed_it_is_and_how_it_ended():
    log = logged(Walk())
    ends = []
    for seed in (None, 3, None, 4):
        log.reset(seed=seed)
        ended = (False, False)
        while not any(ended):
            ended = log.step(np.zeros(2, np.float32))[2:4]
        ends.append(ended)
    assert [(record["seed"], record["episode"]) for record in log.episodes] == [(None, 0), (3, 0), (3, 1), (4, 0)]
    assert [(record["terminated"], record["truncated"]) for record in log.episodes] == ends


def test_an_episode_that_is_cut_off_by_a_reset_leaves_no_record_and_no_trace():
    envs = logged(SyncVectorEnv([lambda: Clock(steps=3)] * 2, autoreset_mode=AutoresetMode.DISABLED))
    envs.reset(seed=1)
    envs.step(np.zeros(2, int))
    envs.reset(options={"reset_mask": np.array([True, False])})
    for _ in range(2):
        envs.step(np.zeros(2, int))
    assert [(r["row"], r["episode"], r["length"], r["return"]) for r in envs.episodes] == [(1, 0, 3, 3.0)]
    envs.reset(options={"reset_mask": np.array([False, True])})
    envs.step(np.zeros(2, int))
    assert [(r["row"], r["episode"], r["length"], r["return"]) for r in envs.episodes[1:]] == [(0, 1, 3, 3.0)]


def test_the_file_holds_the_records_as_they_end_one_a_line(tmp_path):
    file = tmp_path / "runs" / "today" / "episodes.jsonl"
    envs = logged(SyncVectorEnv([Walk] * 3, autoreset_mode=AutoresetMode.SAME_STEP), file)
    assert file.read_text() == ""
    envs.reset(seed=0)
    for _ in range(20):
        envs.step(np.zeros((3, 2), np.float32))
        text = file.read_text()
        assert not text or text.endswith("\n")
        assert [json.loads(line) for line in text.splitlines()] == envs.episodes
    again = logged(Walk(), str(file))
    played(again, 0, 0, 10)
    assert len(file.read_text().splitlines()) == len(envs.episodes) + len(again.episodes)


def test_a_number_that_is_not_finite_is_none_and_an_array_a_list(tmp_path):
    class Odd(Clock):
        def step(self, action):
            info = {"kpis": {"mean": np.float64("nan"), "most": np.inf, "hist": np.array([1.0, np.nan]), "name": "a"}}
            return *super().step(action)[:4], info

    log = logged(Odd(steps=1), tmp_path / "log.jsonl")
    log.reset()
    log.step(0)
    assert log.episodes[0]["kpis"] == {"mean": None, "most": None, "hist": [1.0, None], "name": "a"}
    assert json.loads((tmp_path / "log.jsonl").read_text()) == log.episodes[0]


def test_a_copy_by_pickle_goes_on_in_mid_episode(tmp_path):
    log = logged(Clock(steps=3), tmp_path / "log.jsonl")
    log.reset(seed=8)
    log.step(0)
    copy = pickle.loads(pickle.dumps(log))
    for env in (log, copy):
        env.step(0), env.step(0)
    assert copy.episodes == log.episodes
    assert log.episodes[0]["return"] == 3.0
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_log_goes_around_other_wrappers():
    log = logged(sensors(Walk(), noise_sd=0.1))
    played(log, 0, 0, 10)
    assert log.episodes


def test_gymnasiums_checker_passes_and_the_specification_makes_the_same_again():
    check(logged(Walk()))
    assert_made_again(logged(gym.make("Pendulum-v1")))


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InvalidFile) as caught:
        logged(Walk(), tmp_path)
    assert str(caught.value) == f"{tmp_path}: the log of episodes must be writable, got: Is a directory."
