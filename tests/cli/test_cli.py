"""The command line: every verb from its words to its output, and one line for every error."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rlops
from rlops.agents_baseline import evaluate as evaluation
from rlops.cli import __main__ as cli
from rlops.cli.options import parameters
from rlops.envs.effects import Effect
from rlops.errors import InvalidValue
from tests.agents_baseline.policies import DoNothing, Random

ID = "rlops/Dispatch-v0"
ROOT = Path(rlops.__file__).parent.parent


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs the command line: exit code, output, error output."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def small_agents(monkeypatch):
    known = {"do_nothing": DoNothing, "random": Random}
    monkeypatch.setattr("rlops.agents_baseline.agents.load_agent", lambda name, id, deterministic=True: known[name]())


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "h.yaml"
    file.write_text("{n_steps: 50, batch_size: 100, n_epochs: 1, num_envs: 2, policy_kwargs: {net_arch: [8]}}")
    return file


def test_help_names_every_verb(run):
    code, out, _ = run("--help")
    assert code == 0
    for verb in cli.VERBS:
        assert verb in out


def test_training_writes_a_model_and_says_where(run, tmp_path, settings):
    out = tmp_path / "agent"
    code, told, _ = run(
        "train",
        ID,
        "--steps",
        200,
        "--out",
        out,
        "--hyperparameters",
        settings,
        "--seed",
        2,
        "--param",
        "speed_kmh=25",
    )
    assert code == 0
    assert f"wrote {out / 'model.zip'}" in told
    assert "speed_kmh: 25.0" in (out / "config.yaml").read_text()
    assert (out / "model.zip").is_file()


def test_a_trained_agent_is_evaluated_by_its_path(run, tmp_path, settings):
    out = tmp_path / "agent"
    run("train", ID, "--algo", "ppo", "--steps", 100, "--out", out, "--hyperparameters", settings)
    code, told, _ = run("evaluate", ID, "--agent", out, "--episodes", 2)
    assert code == 0
    assert "knows no action masks" in told


def test_evaluation_prints_completion_beside_figures_of_served_bookings(run, small_agents, tmp_path):
    file = tmp_path / "k.json"
    code, told, _ = run(
        "evaluate",
        ID,
        "--agent",
        "do_nothing",
        "--agent",
        "random",
        "--episodes",
        3,
        "--seed",
        5,
        "--json",
        file,
    )
    assert code == 0
    assert "3 days from seed 5" in told
    assert "completed" in told
    assert len(re.findall(r"\(\d+%\)", told)) >= 4  # two figures, two agents
    assert "in brackets: share served" in " ".join(told.split())
    first, second = json.loads(file.read_text())
    assert first["seeds"] == [5, 6, 7]
    assert second["difference"]["return"]["mean"] > 0
    assert second["latency_ms"]["p50_ms"] > 0


def test_training_and_evaluation_take_a_level_or_a_file_of_a_randomization(run, tmp_path, settings):
    out, file = tmp_path / "agent", tmp_path / "speed.yaml"
    file.write_text(f"env: {ID}\nparams:\n  speed_kmh: {{dist: uniform, low: 20, high: 40, unit: km/h}}\n")
    code, _, _ = run("train", ID, "--steps", 100, "--out", out, "--hyperparameters", settings, "--randomize", file)
    assert code == 0
    assert "speed_kmh" in (out / "config.yaml").read_text()
    code, told, _ = run("evaluate", ID, "--agent", out, "--episodes", 2, "--randomize", "ood")
    assert code == 0
    assert "Every day draws its parameters: ood, sha256 " in told
    code, _, err = run("evaluate", ID, "--agent", out, "--episodes", 2, "--randomize", "odd")
    assert code == 2
    assert "odd must be a level (off, mild, full, ood) or the YAML or JSON file of a randomization, got neither." in err


def test_the_full_table_has_every_figure(run, small_agents):
    code, told, _ = run("evaluate", ID, "--agent", "random", "--episodes", 2, "--full")
    assert code == 0
    for name in evaluation.evaluate(ID, DoNothing(), [0], latency=False).figures():
        assert name.replace("_", " ") in told


def test_parameters_are_numbers_or_names_of_choices():
    assert parameters(["speed_kmh=25", "demand_profile=nyc"]) == {"speed_kmh": 25.0, "demand_profile": "nyc"}
    for wrong in ("speed", "=3", "speed="):
        with pytest.raises(InvalidValue, match="must look like NAME=VALUE"):
            parameters([wrong])


def test_a_description_has_parameters_columns_terms_and_versions(run):
    code, told, _ = run("describe", ID)
    assert code == 0
    for word in (
        "speed_kmh",
        "minutes_left",
        "122 numbers",
        "one of 201",
        "near_pickup",
        "completion_rate",
        "Kept so that",
    ):
        assert word in told


def test_describe_shows_the_variants_of_a_version(run):
    code, told, _ = run("describe", "rlops/Dispatch-v2")
    assert code == 0
    assert "allow_decline=True  one of 273: a booking may be refused" in told
    assert "one of 257" in told


def test_golden_files_are_recorded_once_and_replayed(run, tmp_path):
    code, told, _ = run("golden", "record", ID, "--folder", tmp_path)
    assert code == 0
    assert "Dispatch-v0.npz" in told
    assert run("golden", "replay", "--folder", tmp_path)[0] == 0
    code, _, err = run("golden", "record", ID, "--folder", tmp_path)
    assert code == 2
    assert "a recorded version never changes" in err


def test_check_replays_and_plays_every_parameter_at_its_bounds(run, tmp_path):
    code, told, _ = run("check", ID, "--folder", ROOT / "tests" / "golden")
    assert code == 0
    assert "same" in told
    assert "15 of 15 do what they declare" in told
    code, told, _ = run("check", ID, "--folder", tmp_path)
    assert code == 2
    assert "none at" in told


def test_check_names_a_parameter_that_does_not_do_what_it_declares(run, tmp_path, monkeypatch):
    nothing = Effect("paint", None, "", math.nan, math.nan, math.nan)
    wrong = Effect("speed_kmh", 3, "-lateness_share", 0.2, 0.4, -7.0)
    right = Effect("near_km", 1, "+reward.near_pickup", 0.0, 500.0, 20.0)
    monkeypatch.setattr("rlops.envs.effects.effects", lambda family, number: [nothing, wrong, right])
    code, told, _ = run("check", ID, "--folder", tmp_path)
    assert code == 1
    assert "1 of 3 do what they declare" in told
    assert f"{ID}: parameter paint must change something between its bounds, but nothing differs." in told
    assert (
        f"{ID}: parameter speed_kmh differs from step 3; -lateness_share must hold, but does not: 0.2 at the low "
        "bound, 0.4 at the high one (-7.0 standard errors along the sign)."
    ) in told


def test_a_golden_file_that_diverges_exits_1(run, tmp_path, monkeypatch):
    run("golden", "record", ID, "--folder", tmp_path)
    family = type(rlops.envs.FAMILIES[0])
    nominal = family.nominal

    def faster(self, number):
        row = nominal(self, number)
        row["speed_kmh"] = 15.0
        return row

    monkeypatch.setattr(family, "nominal", faster)
    code, told, _ = run("golden", "replay", ID, "--folder", tmp_path)
    assert code == 1
    assert "Dispatch-v0.npz: seed 0, step" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["describe", "rlops/Dispach-v2"],
            "error: rlops has no environment named 'rlops/Dispach-v2'. Did you mean",
        ),
        (
            ["describe", "Dispatch"],
            "error: An environment id must look like rlops/Dispatch-v2, got 'Dispatch'.",
        ),
        (
            ["train", ID, "--out", "x", "--param", "speed=1"],
            "has no parameter named 'speed'. Did you mean speed_kmh?",
        ),
        (["train", ID, "--out", "x", "--demand", "trips.csv"], "has no option named 'demand'"),
        (["evaluate", ID, "--agent", "absent/model.zip"], "has no agent named 'absent/model.zip'"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_wrong_use_exits_2(run):
    assert run("train", ID)[0] == 2
    assert run("fly")[0] == 2
    assert run("train", ID, "--out", "x", "--algo", "sac")[0] == 2


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(rlops.errors.UnknownName):
        cli.main(["--debug", "describe", "rlops/Dispatch-v9"])


def test_an_interrupt_exits_130(run, monkeypatch):
    def interrupt(id):
        raise KeyboardInterrupt

    monkeypatch.setattr("rlops.cli.describe.parse_id", interrupt)
    assert run("describe", ID)[0] == 130


def test_the_module_runs_and_help_loads_nothing_heavy():
    code = (
        "import sys, rlops.cli.__main__ as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('heavy', sorted({'torch', 'stable_baselines3', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert "heavy []" in done.stdout
