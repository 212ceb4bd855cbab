"""Evaluation is paired, whole, and independent of how many rows play side by side."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

import rlops
from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.evaluate import (
    COMPLETION,
    SERVED,
    SERVED_ONLY,
    Episodes,
    Interval,
    bootstrap,
    evaluate,
    least_share,
    proportion,
    shown,
    summary,
    write_json,
)
from rlops.errors import InvalidValue, UnknownName
from rlops.randomization import levels
from tests.agents_baseline.policies import DoNothing, Random

ID = "rlops/Dispatch-v0"


@pytest.fixture(scope="module")
def random():
    return evaluate(ID, Random(), range(100, 107), latency=False)


@pytest.fixture(scope="module")
def idle():
    return evaluate(ID, DoNothing(), range(100, 107), latency=False)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_an_episode_does_not_depend_on_its_neighbours(random, rows):
    again = evaluate(ID, Random(), range(100, 107), latency=False, max_rows=rows)
    assert again.table.tobytes() == random.table.tobytes()


def test_an_episode_is_the_one_of_the_single_environment(random):
    env = gym.make(ID)
    for record in random.table[:2]:
        obs, _ = env.reset(seed=int(record["seed"]))
        total, ended = 0.0, False
        while not ended:
            masks = env.unwrapped.action_masks()[None]
            (action,) = Random().actions(env.unwrapped, obs[None], masks)
            obs, reward, terminated, truncated, info = env.step(int(action))
            total, ended = total + reward, terminated or truncated
        assert record["return"] == total
        assert record["end"] == "terminated"
        assert record["steps"] == 96
        assert {name: record[name] for name in info["kpis"]} == info["kpis"]


def test_terms_sum_to_the_return(random):
    terms = sum(random.table[f"term_{term}"] for term in random.terms)
    np.testing.assert_allclose(terms, random.table["return"], rtol=1e-12)


def test_agents_meet_the_same_world(random, idle):
    assert (random.table["seed"] == idle.table["seed"]).all()
    difference = random.difference(idle)
    paired = random.table["return"] - idle.table["return"]
    assert difference["return"].mean == pytest.approx(paired.mean())
    assert difference["return"].low <= difference["return"].mean <= difference["return"].high
    assert difference["return"].low > 0  # assigning at random beats doing nothing


def test_other_seeds_cannot_be_compared(random):
    other = evaluate(ID, DoNothing(), range(7), latency=False)
    with pytest.raises(InvalidValue, match="same id and seeds"):
        random.difference(other)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_must_be_some_and_different(seeds):
    with pytest.raises(InvalidValue, match="seeds must be at least one and differ"):
        evaluate(ID, DoNothing(), seeds)


def test_parameters_reach_the_environment(idle):
    busy = evaluate(ID, DoNothing(), range(100, 107), latency=False, params={"arrival_else": 1.0})
    assert busy.table["bookings"].mean() > idle.table["bookings"].mean() + 10
    with pytest.raises(UnknownName, match="no option named 'demand'"):
        evaluate(ID, DoNothing(), [1], demand="trips.csv")


def test_every_day_of_a_randomized_evaluation_draws_its_parameters(random):
    level = levels(ID)["full"]
    full = evaluate(ID, Random(), range(100, 107), randomization="full", latency=False)
    assert random.randomization == ""
    assert full.randomization == level.hash
    assert not np.array_equal(full.table["bookings"], random.table["bookings"])
    again = evaluate(ID, Random(), range(100, 107), randomization=level, latency=False, max_rows=3)
    np.testing.assert_array_equal(again.table["return"], full.table["return"])
    with pytest.raises(InvalidValue, match=r"Evaluate both with the same randomization\."):
        full.difference(random)


def test_progress_counts_ended_episodes():
    told = []
    evaluate(ID, DoNothing(), range(5), latency=False, max_rows=2, progress=told.append)
    assert told[-1] == 5
    assert told == sorted(told)


def test_latency_counts_real_choices_only():
    forced = evaluate(ID, DoNothing(), [0], params={"arrival_rush": 0, "arrival_midday": 0, "arrival_else": 0})
    free = evaluate(ID, DoNothing(), [0])
    assert 0 < forced.latency.decisions < free.latency.decisions  # the first bookings expire after an hour
    assert 0 < free.latency.p50_ms <= free.latency.p95_ms


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(1)
    covered = [
        (i := bootstrap({"x": draws.normal(5, 2, 40)}, resamples=400)["x"]).low <= 5 <= i.high for _ in range(400)
    ]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_one_episode_and_nan_have_an_interval_too():
    assert bootstrap({"x": np.array([3.0])})["x"] == Interval(3.0, 3.0, 3.0)
    assert np.isnan(bootstrap({"x": np.array([3.0, np.nan])})["x"].mean)


@pytest.mark.parametrize("name", sorted(SERVED_ONLY))
@pytest.mark.parametrize("share", [COMPLETION, SERVED])
def test_a_figure_of_served_bookings_is_never_shown_alone(name, share):
    intervals = {name: Interval(4.2, 4, 5), share: Interval(0.3, 0.2, 0.4)}
    assert shown(name, intervals).endswith("(30% served)")


def test_every_figure_of_served_bookings_is_known():
    said = (
        "completed pickups",
        "of the completed",
        "of completed",
        "over assigned",
        "/ assigned",
        "per completed",
        "the served",
        "/ served",
    )
    for family in rlops.envs.FAMILIES:
        for version in family.versions:
            for column in getattr(family.kernel(version.number), "KPIS", ()):
                if any(words in column.meaning for words in said):
                    assert column.name in SERVED_ONLY, f"{family.name}-v{version.number} {column.name}"


def test_the_summary_is_json_with_completion_beside_served_only_figures(random, idle, tmp_path):
    write_json(tmp_path / "new" / "k.json", [idle, random])
    first, second = json.loads((tmp_path / "new" / "k.json").read_text())
    assert (first["agent"], second["agent"]) == ("do_nothing", "random")
    assert "difference" not in first
    assert second["difference"]["return"]["low"] > 0
    assert second["figures"]["lateness_share"]["completion_rate"] == second["figures"]["completion_rate"]["mean"]
    assert first["seeds"] == list(range(100, 107))
    assert first["ends"] == {"terminated": 7}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["k.json"]


def test_numbers_that_json_lacks_become_null(tmp_path, idle):
    table = idle.table.copy()
    table["lateness_share"] = np.nan
    result = Episodes(idle.id, idle.agent, table, None, idle.terms, idle.kpis)
    write_json(tmp_path / "k.json", [result])
    (entry,) = json.loads((tmp_path / "k.json").read_text())
    assert entry["figures"]["lateness_share"]["mean"] is None
    assert summary([result])[0]["latency_ms"] is None


@pytest.mark.parametrize(("failures", "trials"), [(0, 59), (1, 93), (2, 124), (5, 208)])
def test_a_gate_of_95_percent_opens_at_the_published_numbers_of_episodes(failures, trials):
    """See the table of exact one-sided tests: failures allowed, episodes needed."""
    assert least_share(trials - failures, trials) >= 0.95
    assert least_share(trials - 1 - failures, trials - 1) < 0.95


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_an_exact_interval_covers_the_share_at_least_as_often_as_it_says(share):
    drawn = np.random.default_rng(0).binomial(40, share, 3000)
    found = {int(k): proportion(int(k), 40) for k in set(drawn)}
    assert 0.95 <= np.mean([found[k].low <= share <= found[k].high for k in drawn]) < 1.0


def test_exact_intervals_are_those_of_the_tables():
    """Clopper and Pearson: 8 of 10, and none and all of 10."""
    assert proportion(8, 10).low == pytest.approx(0.4439, abs=1e-4)
    assert proportion(8, 10).high == pytest.approx(0.9748, abs=1e-4)
    assert proportion(0, 10).high == pytest.approx(1 - 0.025**0.1)
    assert (proportion(0, 10).low, proportion(10, 10).high) == (0.0, 1.0)


def test_success_has_an_exact_interval_also_where_no_episode_failed(tmp_path):
    id = "rlops/CartBalance-v0"
    played = evaluate(id, make_controller("lqr", id), range(8), latency=False, params={"horizon_steps": 200})
    assert played.successes() == (8, 8)
    assert played.intervals()["is_success"] == proportion(8, 8)
    assert played.intervals()["is_success"].low < 0.7
    (told,) = summary([played])
    assert told["success_at_least"] == pytest.approx(0.05 ** (1 / 8))
