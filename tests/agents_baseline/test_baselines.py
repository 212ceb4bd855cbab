"""The document of the baselines says what was measured, and the agents that are shipped are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlops.agents_baseline import baselines
from rlops.agents_baseline.agents import load_agent, shipped_folder, shipped_for
from rlops.agents_baseline.evaluate import evaluate
from rlops.errors import InvalidFile, UnknownName
from rlops.registry.origins import installed_fingerprint
from rlops.robustness.statistics import estimated, iqm, nested_bootstrap

ID = "rlops/CartBalance-v0"
DOCUMENT = Path(__file__).parents[2] / "docs" / "baselines.md"
SHIPPED = [(id, name) for id in baselines.every_id() for name in shipped_for(id)]


@pytest.fixture(scope="module")
def found():
    told = []
    folder = shipped_folder(ID) / "ppo"
    return baselines.judged(ID, {"ppo": [folder, folder]}, 4, told.append), told


@pytest.mark.parametrize(("id", "name"), SHIPPED)
def test_a_shipped_agent_is_for_the_dynamics_that_are_installed(id, name):
    agent = load_agent(name, id)
    assert agent.policy.id == id
    assert agent.origin.fingerprint["exact"] == installed_fingerprint(id)["exact"]
    assert agent.name == name


def test_a_name_of_no_shipped_agent_lists_those_there_are():
    with pytest.raises(UnknownName, match=r"Did you mean ppo.*ppo_full"):
        load_agent("ppo_ful", ID)


def test_all_agents_are_judged_on_the_same_episodes(found):
    entries, told = found
    assert list(entries) == ["lqr", "random", "ppo"]
    assert len(told) == 3
    played = evaluate(ID, load_agent("ppo", ID), range(baselines.JUDGED, baselines.JUDGED + 4), latency=False)
    reference = evaluate(ID, load_agent("lqr", ID), range(baselines.JUDGED, baselines.JUDGED + 4), latency=False)
    ppo = entries["ppo"]
    assert ppo["return"]["value"] == pytest.approx(played.table["return"].mean())
    difference = played.table["return"] - reference.table["return"]
    assert ppo["against"]["value"] == pytest.approx(difference.mean())
    assert (ppo["seeds"], ppo["trained"], ppo["reference"]) == (2, True, "lqr")
    assert entries["lqr"]["seeds"] == 1
    assert "against" not in entries["lqr"]


def test_a_document_keeps_what_it_says_of_other_environments(found, tmp_path):
    entries, _ = found
    file = tmp_path / "baselines.md"
    baselines.update(file, "rlops/ArmReach-v0", entries)
    baselines.update(file, ID, entries)
    baselines.update(file, ID, {"ppo": {**entries["ppo"], "steps": 7_000_000}})
    text = file.read_text()
    assert text == baselines.document(baselines._read(file.with_suffix(".json")))
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {ID}", "## rlops/ArmReach-v0"]
    assert "**ppo**, 7 M steps |" in text
    assert "| `lqr` | 1 × 4 |" in text
    assert "reference |" in text
    file.with_suffix(".json").write_text("{")
    with pytest.raises(InvalidFile, match=r"baselines\.json must be what an earlier run wrote"):
        baselines.update(file, ID, entries)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.0, 3.0, "**better**"), (-3.0, -1.0, "**worse**"), (-1.0, 1.0, "undecided")]
)
def test_a_verdict_needs_an_interval_that_excludes_zero(low, high, verdict):
    entry = {"against": {"value": (low + high) / 2, "low": low, "high": high}}
    assert baselines._verdict(entry).endswith(verdict)


def test_the_document_is_what_its_figures_say():
    entries = baselines._read(DOCUMENT.with_suffix(".json"))
    assert DOCUMENT.read_text(encoding="utf-8") == baselines.document(entries)


def test_the_training_that_is_shipped_is_the_best_one(found, tmp_path, monkeypatch):
    good = shipped_folder(ID) / "ppo"
    from dataclasses import replace

    from rlops.agents_baseline.policies import Policy

    policy = Policy.read(good)
    bad = replace(
        policy, arrays={name: np.zeros_like(a) if "actor" in name else a for name, a in policy.arrays.items()}
    )
    bad.write(tmp_path / "bad")
    monkeypatch.setattr(baselines, "shipped_folder", lambda id: tmp_path / "shipped")
    where = baselines.ship(ID, "ppo", [tmp_path / "bad", good], 2)
    assert {n: a.tobytes() for n, a in Policy.read(where).arrays.items()} == {
        n: a.tobytes() for n, a in policy.arrays.items()
    }


def test_an_agent_that_is_no_better_than_random_is_not_worth_shipping():
    found = {name: {"return": {"value": value}} for name, value in (("random", -3.0), ("ppo", -2.5), ("dqn", -3.0))}
    assert [name for name in found if baselines.beats_chance(found, name)] == ["ppo"]


def test_an_interval_of_one_seed_is_that_over_its_episodes_and_of_several_over_seeds_too():
    draws = np.random.default_rng(0)
    scores = draws.normal(size=200)
    one, usual = nested_bootstrap(scores[None], iqm), estimated(scores)
    assert one.value == usual.value
    assert (one.low, one.high) == pytest.approx((usual.low, usual.high), abs=0.03)
    apart = nested_bootstrap(scores[None] + 10 * np.arange(4)[:, None], iqm)
    alike = nested_bootstrap(np.tile(scores, (4, 1)), iqm)
    assert apart.high - apart.low > 5 > 1 > alike.high - alike.low
