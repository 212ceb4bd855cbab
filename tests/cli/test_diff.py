"""``rlops diff`` from its words to its output."""

import json

import pytest
import typer

from rlops.cli import diff as verb
from rlops.envs import contract as contracts
from rlops.errors import RlopsError
from tests.registry.test_diff import DRIFT, A, B


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs the verb: exit code, output, error output."""
    monkeypatch.setattr(contracts, "_ADDED", [DRIFT])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(verb.diff)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            app([str(a) for a in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_it_shows_what_is_declared_and_what_they_do(run, tmp_path):
    code, out, _ = run(A, B, "--episodes", 3, "--seed", 4, "--out", tmp_path / "chart.png")
    assert code == 0
    assert "nominal 0.2" in out
    assert "nominal 0.3" in out
    assert "3 episodes, seeds 4 to 6, the same actions for both" in out
    assert "First difference: step 1 of an episode of seed 4, observation[0], x_m" in out
    assert "reward.stay" in out
    assert f"wrote {tmp_path / 'chart.png'}" in out.replace("\n", "")
    assert (tmp_path / "chart.png").stat().st_size > 10_000


def test_equal_environments_are_said_to_be_equal(run):
    code, out, _ = run(A, A, "--episodes", 2)
    assert code == 0
    assert "They declare the same." in out
    assert "Not one bit of what they show or are differs." in out


def test_json_alone_is_printed_when_asked_for(run):
    code, out, _ = run(A, B, "--episodes", 2, "--param", "current=0.4", "--json")
    assert code == 0
    named = json.loads(out)
    assert (named["a"], named["b"], named["first"]) == (A, B, None)


def test_long_sections_are_cut_unless_all_is_asked_for(run):
    ids = ("rlops/Dispatch-v1", "rlops/Dispatch-v2", "--episodes", 1)
    _, out, _ = run(*ids)
    assert "more: --full" in out
    _, whole, _ = run(*ids, "--full")
    assert "more: --full" not in whole
    assert "vehicle_#_shift_left" in whole
    assert "Their steps are not compared" in whole


def test_wrong_use_is_an_error(run):
    assert run(A)[0] == 2
    assert run(A, B, "--episodes", 0)[0] == 2
    with pytest.raises(RlopsError, match="no environment"):
        run(A, "rlops/Drift-v9")
