"""The command line: every verb from its words to its output, and one line for every error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import rlops
from rlops.agents_baseline import evaluate as evaluation
from rlops.cli import __main__ as cli
from rlops.cli.options import parameters
from rlops.errors import InvalidValue
from rlops.registry.dynamics.negative import Finding
from tests.agents_baseline.policies import DoNothing, Random

ID = "rlops/Dispatch-v0"
ROOT = Path(rlops.__file__).parent.parent


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


def commands(group, path=()):
    """Return every command below ``group`` with the words that call it."""
    return [
        one
        for name, command in group.commands.items()
        for one in (commands(command, (*path, name)) if hasattr(command, "commands") else [((*path, name), command)])
    ]


COMMANDS = commands(typer.main.get_command(cli.application([])))


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_every_verb_explains_each_of_its_arguments_to_the_last_word(run, monkeypatch, words, command):
    monkeypatch.setenv("COLUMNS", "160")  # no word is broken
    code, out, err = run(*words, "--help")
    assert code == 0, err
    shown = " ".join(re.sub("[│╭╮╰╯─]", " ", out).split())
    for parameter in command.params:
        for word in (parameter.help or "").split():
            assert word in shown, f"{parameter.name}: {parameter.help}"


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


def test_several_seeds_are_trained_in_one_command_once_and_evaluated_by_their_folder(run, tmp_path, settings):
    out = tmp_path / "agents"
    command = (
        "train",
        ID,
        "--algo",
        "ppo",
        "--steps",
        100,
        "--out",
        out,
        "--hyperparameters",
        settings,
        "--seeds",
        "0-1",
    )
    code, told, _ = run(*command)
    assert code == 0
    assert f"wrote {out / 'seed_1'}" in told
    before = (out / "seed_1" / "model.zip").stat().st_mtime_ns
    assert run(*command)[0] == 0
    assert (out / "seed_1" / "model.zip").stat().st_mtime_ns == before
    code, told, _ = run("evaluate", ID, "--agent", out, "--episodes", 2)
    assert code == 0
    assert "ppo seed_0" in told
    assert "ppo seed_1" in told
    code, _, error = run("train", ID, "--out", out, "--ray", "local")
    assert (code, "without --seeds" in error) == (2, True)


def test_a_search_says_what_it_found_and_what_that_gained(run, tmp_path, settings):
    out, space = tmp_path / "study", tmp_path / "space.yaml"
    space.write_text("gamma: [0.9, 0.99]")
    code, told, _ = run(
        "tune", ID, "--algo", "ppo", "--trials", 1, "--steps", 100, "--episodes", 2, "--space", space,
        "--hyperparameters", settings, "--confirm", 2, "--out", out,
    )  # fmt: skip
    assert code == 0
    for word in ("trial 0 complete", "gamma", "found", "shipped", "gain", f"wrote {out / 'best.yaml'}"):
        assert word in told
    assert run("train", ID, "--algo", "ppo", "--steps", 100, "--hyperparameters", out / "best.yaml",
               "--out", tmp_path / "agent")[0] == 0  # fmt: skip


def test_baselines_judge_an_environment_and_write_the_document(run, tmp_path):
    docs = tmp_path / "baselines.md"
    only = ("--only", "rlops/WarehouseFleet-v0", "--algo", "dqn")  # has no settings for vectors: nothing is trained
    code, told, _ = run("baselines", *only, "--episodes", 2, "--out", tmp_path / "runs", "--docs", docs)
    assert code == 0
    assert "rlops/WarehouseFleet-v0 give_way: return" in told
    assert "| `give_way` | 1 × 2 |" in docs.read_text()


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
    assert "3 episodes from seed 5" in told
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
    assert "Every episode draws its parameters: ood, sha256 " in told
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
        "Fingerprint  exact ",
    ):
        assert word in told


def test_describe_shows_the_variants_of_a_version(run):
    code, told, _ = run("describe", "rlops/Dispatch-v2")
    assert code == 0
    assert "allow_decline=True  one of 273: a booking may be refused" in told
    assert "one of 257" in told


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a folder with a golden file that the command line recorded, and what it printed."""
    folder = tmp_path_factory.mktemp("golden")
    arguments = ["golden", "record", ID, "--reason", "For tests.", "--folder", folder, "--returns", "0"]
    command = [sys.executable, "-m", "rlops.cli", *map(str, arguments)]
    return folder, subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_golden_files_are_recorded_once(run, recorded):
    folder, told = recorded
    assert "Dispatch-v0.npz" in told.replace("\n", "")
    code, _, err = run("golden", "record", ID, "--folder", folder)
    assert code == 2
    assert "a recorded version never changes" in err


def test_a_recording_of_another_package_needs_a_reason(run, tmp_path):
    code, _, err = run("golden", "record", "CartPole-v1", "--folder", tmp_path, "--returns", 0)
    assert code == 2
    assert "must have a reason, got none. Say why: --reason TEXT." in err
    arguments = ("--folder", tmp_path, "--reason", "Before an upgrade.", "--returns", 2)
    assert run("golden", "record", "CartPole-v1", *arguments)[0] == 0
    code, told, _ = run("check", "CartPole-v1", "--folder", tmp_path, "--levels", "L0,L1,L2,L3,L4")
    assert code == 0
    assert "same" in told


def test_check_holds_a_version_to_its_golden_file_and_to_what_must_hold_anyway(run, recorded):
    code, told, _ = run("check", ID, "--folder", recorded[0])
    assert code == 0
    row = next(line for line in told.splitlines() if ID in line)
    assert row.split("│")[2:-2] == [" same    "] + [" same "] * 5


def test_check_without_a_golden_file_exits_2_and_says_how_to_record_one(run, tmp_path):
    code, told, _ = run("check", ID, "--folder", tmp_path, "--levels", "L0,L1,L2,L3")
    assert code == 2
    assert f"Record what is right: rlops golden record {ID} --reason TEXT" in told


def test_check_names_what_does_not_hold(run, recorded, monkeypatch):
    broken = Finding("different seeds differ", False, "must differ, but are equal")
    monkeypatch.setattr("rlops.registry.dynamics.reports.negative_checks", lambda id: [broken])
    code, told, _ = run("check", ID, "--folder", recorded[0])
    assert code == 1
    assert "N changed: different seeds differ: must differ, but are equal" in told


def test_check_prints_json_and_writes_junit(run, recorded, tmp_path):
    file = tmp_path / "check.xml"
    code, told, _ = run("check", ID, "--folder", recorded[0], "--levels", "L0,L1", "--json", "--junit", file)
    assert code == 0
    (result,) = json.loads(told)["results"]
    assert (result["id"], result["verdict"], list(result["levels"])) == (ID, "same", ["L0", "L1"])
    assert 'tests="2"' in file.read_text()


def test_a_version_that_diverges_exits_1(run, recorded, monkeypatch):
    family = type(rlops.envs.FAMILIES[0])
    nominal = family.nominal

    def slower(self, number):
        row = nominal(self, number)
        row["speed_kmh"] = 15.0
        return row

    monkeypatch.setattr(family, "nominal", slower)
    code, told, _ = run("check", ID, "--folder", recorded[0], "--levels", "L0,L1,L2,L3")
    assert code == 1
    assert f"{ID}: changed: parameters moved" in told
    assert "parameters.speed_kmh.nominal: golden 30.0 now 15.0" in told
    assert "first divergence: episode " in told


def test_an_internal_error_of_a_check_exits_3(run, recorded, monkeypatch):
    monkeypatch.setattr("rlops.registry.dynamics.kernels.KernelSubject.play", lambda *arguments: 1 / 0)
    code, told, _ = run("check", ID, "--folder", recorded[0], "--levels", "L1")
    assert code == 3
    assert "ZeroDivisionError" in told


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


def test_an_error_that_nobody_foresaw_ends_with_code_3_and_its_traceback(run, monkeypatch):
    def broken(id):
        raise RuntimeError("a bug")

    monkeypatch.setattr("rlops.cli.describe.parse_id", broken)
    code, _, err = run("describe", ID)
    assert code == 3
    assert "RuntimeError: a bug" in err
