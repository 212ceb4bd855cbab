"""What is shipped for Kubernetes names what exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml

from rlops.cli.__main__ import application
from rlops.envs import parse_id
from rlops.robustness.deciding import policy

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "kuberay"
CLAIM, JOB = yaml.safe_load_all((FOLDER / "robustness.yaml").read_text(encoding="utf-8"))
CLUSTER = JOB["spec"]["rayClusterSpec"]
PODS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def asked():
    """Return the arguments of the entry point as the command line reads them."""
    program, verb, *words = JOB["spec"]["entrypoint"].split()
    assert (program, verb) == ("rlops", "robustness")
    command = typer.main.get_command(application([])).commands[verb]
    return command.make_context(verb, words).params


def test_the_entry_point_of_the_job_is_a_command_of_rlops_on_its_own_cluster(asked):
    assert asked["ray"] == "auto"
    parse_id(asked["id"])
    assert policy(asked["agent"], asked["id"]).name == asked["agent"]


def test_the_report_is_written_to_the_volume_that_is_claimed(asked):
    head = CLUSTER["headGroupSpec"]["template"]["spec"]
    (mount,) = head["containers"][0]["volumeMounts"]
    (volume,) = head["volumes"]
    assert asked["out"].is_relative_to(mount["mountPath"])
    assert mount["name"] == volume["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]


def test_the_job_is_of_the_api_of_kuberay_and_all_pods_run_one_image():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert len({pod["template"]["spec"]["containers"][0]["image"] for pod in PODS}) == 1
    for pod in PODS:
        resources = pod["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]


def test_the_release_of_ray_is_that_of_the_lock():
    (pinned,) = re.findall(r"^ray==(.*)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert CLUSTER["rayVersion"] == pinned
    assert f"rayproject/ray:{pinned}-py311" in DOCKERFILE


def test_the_image_has_the_environment_of_the_job_and_extras_that_exist(asked):
    assert re.search(r"^ARG ID=(.*)$", DOCKERFILE, re.MULTILINE).group(1) == asked["id"]
    wheels, installed = re.findall(r'"(?:\.|rlops)\[(.*?)\]"', DOCKERFILE)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert wheels == installed
    assert {"ray", "data"} <= set(installed.split(",")) <= set(known)
