"""``pytest --rlops-check``: one test an environment, whose failure is the report."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

from rlops.registry.dynamics import check, golden

pytest_plugins = ["pytester"]

MODULE = "rlops.registry.dynamics.pytest_plugin"
LOADED = [] if any(one.value == MODULE for one in entry_points(group="pytest11")) else ["-p", MODULE]
VERDICTS = {
    "rlops/Good-v0": "same",
    "Rounded-v1": "round-off",
    "rlops/Moved-v0": "changed",
    "rlops/New-v0": "cannot judge",
    "rlops/Broken-v0": "error",
}
CONFTEST = f"""
    from rlops.registry.dynamics import check

    class Result:
        def __init__(self, id):
            self.id, self.verdict = id, {VERDICTS!r}[id]

        def __str__(self):
            return f"{{self.id}}: {{self.verdict}}: told at length"

    check.check_id = lambda id, folder: Result(id)
"""


class Result(SimpleNamespace):
    def __str__(self):
        return f"{self.id}: {self.verdict}: told at length"


@pytest.fixture
def run(pytester, monkeypatch):
    """Return a function that runs pytest in a folder with one test of its own."""
    monkeypatch.setattr(check, "check_id", lambda id, folder: Result(id=id, verdict=VERDICTS[id]))
    pytester.makepyfile(test_own="def test_own(): pass")
    return lambda *arguments: pytester.runpytest_inprocess(*LOADED, "-p", "no:cacheprovider", *arguments)


def golden_files(folder, *ids):
    folder.mkdir(parents=True)
    for id in ids:
        with zipfile.ZipFile(folder / f"{id.replace('/', '.')}.npz", "w") as file:
            file.writestr("manifest.json", json.dumps({"format": golden.FORMAT, "id": id}))


def test_without_the_option_nothing_is_checked(run):
    run().assert_outcomes(passed=1)


def test_every_id_is_a_test_with_a_name_of_its_own(run):
    told = run("--rlops-check=rlops/Good-v0,Rounded-v1,rlops/Good-v0", "-v")
    told.assert_outcomes(passed=3)
    told.stdout.fnmatch_lines(["test_own.py::test_own PASSED*", "rlops-check[[]rlops/Good-v0[]] PASSED*"])
    told.stdout.fnmatch_lines(["rlops-check[[]Rounded-v1[]] PASSED*"])


@pytest.mark.parametrize("id", ["rlops/Moved-v0", "rlops/Broken-v0"])
def test_what_moved_fails_with_the_report_and_without_a_traceback(run, id):
    told = run(f"--rlops-check={id}")
    told.assert_outcomes(passed=1, failed=1)
    assert told.ret == pytest.ExitCode.TESTS_FAILED
    told.stdout.fnmatch_lines([f"{id}: {VERDICTS[id]}: told at length"])
    told.stdout.no_fnmatch_line("*CheckFailed*")
    told.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_what_cannot_be_judged_is_skipped_with_the_reason_unless_that_is_too_lax(run):
    told = run("--rlops-check=rlops/New-v0", "-rs")
    told.assert_outcomes(passed=1, skipped=1)
    told.stdout.fnmatch_lines(["SKIPPED*rlops/New-v0: cannot judge: told at length"])
    run("--rlops-check=rlops/New-v0", "--rlops-check-strict").assert_outcomes(passed=1, failed=1)


def test_without_a_value_all_golden_files_are_checked(run, pytester):
    golden_files(pytester.path / "tests" / "golden", "rlops/Good-v0", "Rounded-v1")
    told = run("test_own.py", "--rlops-check", "-v")
    told.assert_outcomes(passed=3)
    told.stdout.fnmatch_lines_random(["rlops-check[[]rlops/Good-v0[]] PASSED*", "rlops-check[[]Rounded-v1[]] PASSED*"])


def test_another_folder_is_looked_into_and_handed_on(run, pytester, monkeypatch):
    golden_files(pytester.path / "mine", "rlops/Good-v0")
    folders = []
    monkeypatch.setattr(check, "check_id", lambda id, folder: folders.append(folder) or Result(id=id, verdict="same"))
    run("--rlops-check", "--rlops-golden=mine").assert_outcomes(passed=2)
    run("--rlops-check=rlops/New-v0", "--rlops-golden", pytester.path / "far").assert_outcomes(passed=2)
    run("--rlops-check=rlops/New-v0").assert_outcomes(passed=2)
    assert folders == [pytester.path / "mine", pytester.path / "far", pytester.path / "tests" / "golden"]


def test_checks_are_selected_like_other_tests(run):
    ids = "--rlops-check=rlops/Good-v0,rlops/Moved-v0"
    run(ids, "-k", "Good").assert_outcomes(passed=1, deselected=2)
    run(ids, "-k", "not rlops-check").assert_outcomes(passed=1, deselected=2)
    run(ids, "--deselect", "rlops-check[rlops/Moved-v0]").assert_outcomes(passed=2, deselected=1)


def test_wrong_use_is_an_error_of_usage(run, pytester):
    told = run("--rlops-check", "test_own.py")
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    told.stderr.fnmatch_lines(["*must be followed by ids, got the path test_own.py*"])
    told = run("--rlops-check")
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    told.stderr.fnmatch_lines(["*--rlops-check needs golden files, got none in *"])
    (pytester.path / "bad").mkdir()
    (pytester.path / "bad" / "x.npz").write_bytes(b"no archive")
    told = run("--rlops-check", "--rlops-golden=bad")
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    told.stderr.fnmatch_lines(["*x.npz must be a golden file*"])


def test_an_id_that_does_not_exist_fails_in_one_line(pytester):
    told = pytester.runpytest_inprocess(*LOADED, "--rlops-check=rlops/Nothing-v0")
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["*has no environment named 'rlops/Nothing-v0'*"])
    told.stdout.no_fnmatch_line("*Traceback*")


def test_checks_are_shared_among_processes(pytester):
    pytester.makeconftest(CONFTEST)
    ids = ",".join(VERDICTS)
    told = pytester.runpytest_subprocess(*LOADED, f"--rlops-check={ids}", "-n2", "-rs")
    told.assert_outcomes(passed=2, failed=2, skipped=1)
    told.stdout.fnmatch_lines(["rlops/Moved-v0: changed: told at length"])


def test_the_plugin_loads_nothing_heavy():
    script = f"import rlops, sys; before = set(sys.modules); import {MODULE}; print(*set(sys.modules) - before)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert not loaded & {"numba", "llvmlite", "gymnasium", "numpy", "scipy", "matplotlib", "torch", "typer"}
