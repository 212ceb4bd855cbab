"""The README's code runs, and the tables in the families' READMEs are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rlops
from rlops.envs.tables import readmes, refreshed

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(re.findall(r"```python\n", README))))
def test_the_code_of_the_readme_runs(number):
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]
    exec(compile(code, "README.md", "exec"), {})


def test_the_readme_is_short_to_run_and_names_every_id():
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    for family in rlops.envs.FAMILIES:
        for id in family.ids:
            assert f"`{id}`" in README


def test_the_sizes_in_the_readme_are_those_of_the_kernels():
    from rlops.envs.contract import width

    for family in rlops.envs.FAMILIES:
        for version, id in zip(family.versions, family.ids, strict=True):
            kernel = family.kernel(version.number)
            row = next(line for line in README.splitlines() if line.startswith(f"| [`{id}`]"))
            assert f"| {width(kernel.OBSERVATION)} | {kernel.ACTION}, masked |" in row


@pytest.mark.parametrize("path", readmes(), ids=lambda path: path.parent.name)
def test_the_tables_of_a_family_are_fresh(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("<!-- table:") >= 3
    assert refreshed(text) == text, "run `make docs`"


def test_links_and_pictures_of_the_readmes_exist():
    for path in (ROOT / "README.md", *readmes(), ROOT / "benchmarks" / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
