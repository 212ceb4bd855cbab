"""``rlops robustness`` and ``rlops replay`` from their words to their files and exit codes."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.robustness.conftest import ID, SPEC

SMALL = {
    **SPEC,
    "nominal": {"episodes": 6},
    "in_distribution": {"episodes": 6},
    "curves": {"params": ["speed_kmh"], "points": 3, "episodes": 4},
    "heatmap": {"points": 2, "episodes": 2},
    "battery": {"params": [], "episodes": 4},
    "transfer": {"episodes": 2},
    "catalogue": {"worst": 1, "borderline": 0},
}


@pytest.fixture
def files(tmp_path):
    spec, gates = tmp_path / "s.yaml", tmp_path / "g.yaml"
    spec.write_text(yaml.safe_dump(SMALL))
    gates.write_text("require: [{figure: completion_rate, at_least: 0.3}]")
    return spec, gates, tmp_path / "out"


def test_a_report_is_written_and_an_episode_of_it_replayed(run, files):
    spec, gates, out = files
    base = ("robustness", ID, "--agent", "nearest_idle", "--spec", spec, "--out", out)
    code, told, _ = run(*base, "--gates", gates)
    assert code == 0
    assert "mean completion_rate ≥ 0.3, nominal" in told
    assert {"report.html", "report.json", "report.junit.xml", "episodes.parquet"} == {p.name for p in out.iterdir()}
    code, told, _ = run("replay", out, "--episode", 7)
    assert code == 0
    assert "the same, bit for bit: episode 7 (in_distribution), seed 1" in told
    code, told, _ = run("replay", out / "report.json", "--episode", 7, "--json")
    assert json.loads(told)["seed"] == 1
    code, _, err = run("replay", out, "--episode", 9999)
    assert (code, "The episode must be within 0 … " in err) == (2, True)


@pytest.mark.parametrize(("least", "code", "word"), [(0.999, 1, "fail"), (None, 2, "cannot decide")])
def test_the_exit_code_is_that_of_the_gates(run, files, least, code, word):
    spec, gates, out = files
    demand = (
        {"figure": "success", "at_least": 0.9} if least is None else {"figure": "completion_rate", "at_least": least}
    )
    if least is None:  # six successes of six decide nothing
        spec.write_text(yaml.safe_dump({**SMALL, "success": "completion_rate >= 0.1"}))
    gates.write_text(yaml.safe_dump({"require": [demand]}))
    base = ("robustness", ID, "--agent", "nearest_idle", "--spec", spec, "--out", out)
    ended, told, _ = run(*base, "--gates", gates, "--json")
    assert ended == code
    assert json.loads(told)["verdict"] == word


def test_a_foreign_baseline_is_wrong_use(run, files):
    spec, gates, out = files
    code, _, err = run(
        "robustness", ID, "--agent", "nearest_idle", "--spec", spec, "--out", out, "--baseline", gates
    )  # fmt: skip
    assert code == 2
    assert "must be the report.json of a robustness report" in err
    assert not out.exists()


@pytest.mark.parametrize(("agent", "code", "verdict"), [("ppo_full", 0, "pass"), ("ppo", 1, "fail")])
def test_of_two_shipped_agents_the_robust_one_passes_its_gates_and_the_brittle_one_fails(
    run, tmp_path, agent, code, verdict
):
    from rlops.robustness.spec import shipped

    cart = "rlops/CartBalance-v0"
    gates = shipped(cart).gates.model_dump(mode="json", exclude_none=True)
    spec = tmp_path / "spec.yaml"
    parts = {name: SMALL[name] for name in ("heatmap", "battery", "transfer", "catalogue")}
    curves = {"params": ["pole_mass_kg"], "points": 3, "episodes": 4}
    spec.write_text(
        yaml.safe_dump(
            {
                "env": cart,
                "nominal": {"episodes": 64},
                "in_distribution": {"episodes": 200},
                "curves": curves,
                "gates": gates,
            }
            | parts
        )
    )
    ended, told, _ = run("robustness", cart, "--agent", agent, "--spec", spec, "--out", tmp_path / "out", "--json")
    assert json.loads(told)["verdict"] == verdict
    assert ended == code
