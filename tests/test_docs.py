"""The README's code runs, and the tables in the families' READMEs are those of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import rlops
from rlops.envs.tables import readmes, refreshed
from rlops.randomization import randomize
from rlops.robustness.spec import checked as robustness_spec

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
CODE = {
    f"{page}-{number}": code
    for page, text in PAGES.items()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
}


@pytest.mark.parametrize("block", CODE)
def test_the_code_of_the_pages_runs(block, tmp_path, monkeypatch):
    if "ray.rllib" in CODE[block] and importlib.util.find_spec("tree") is None:
        pytest.skip("RLlib has an environment of its own: make rllib")
    monkeypatch.chdir(tmp_path)
    exec(compile(CODE[block], block, "exec"), {})


def test_the_programs_of_a_page_are_short():
    for block, code in CODE.items():
        assert len([line for line in code.splitlines() if line.strip()]) <= 20, block


def test_the_specifications_of_the_pages_fit_their_environments():
    for text in PAGES.values():
        for block in re.findall(r"```yaml\n(env:.*?)```", text, re.DOTALL):
            spec = yaml.safe_load(block)
            if "curves" in spec:
                robustness_spec(spec, spec["env"], "a page")
            else:
                randomize(gym.make(spec["env"]), spec)


def test_the_verbs_and_options_of_the_pages_exist():
    import typer.main

    from rlops.cli.__main__ import application

    app = typer.main.get_command(application([]))
    lines = [
        line
        for text in PAGES.values()
        for line in re.findall(r"^(?:\$|\s+- run:|\s+-) (rlops .*)$", text, re.MULTILINE)
    ]
    assert len(lines) > 10
    for line in lines:
        words = line.partition("#")[0].split()[1:]
        command = app.commands[words[0]]
        command = getattr(command, "commands", {}).get(words[-1] if len(words) < 2 else words[1], command)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_steps_for_ci_are_yaml():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGES["dynamics.md"], re.DOTALL)
    actions, gitlab = map(yaml.safe_load, blocks)
    assert any("rlops check" in step.get("run", "") for step in actions["jobs"]["dynamics"]["steps"])
    assert any("rlops check" in line for line in gitlab["dynamics"]["script"])


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
            numbered = isinstance(kernel.ACTION, int)
            actions = f"{kernel.ACTION}, masked" if numbered else f"a vector of {width(kernel.ACTION)}"
            assert f"| {width(kernel.OBSERVATION)} | {actions} |" in row


@pytest.mark.parametrize("path", readmes(), ids=lambda path: path.parent.name)
def test_the_tables_of_a_family_are_fresh(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("<!-- table:") >= 3
    assert refreshed(text) == text, "run `make docs`"


def test_links_and_pictures_of_the_readmes_exist():
    pages = (ROOT / "README.md", ROOT / "benchmarks" / "README.md", ROOT / "CONTRIBUTING.md")
    for path in (*pages, *readmes(), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
