import re
import socket
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
PINS = [line for line in LOCK if line and not line.startswith("#")]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def test_the_lock_pins_one_exact_version_of_each_package():
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in PINS)
    names = [normalised(pin) for pin in PINS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("extra", ["", "agents", "solvers", "data", "render", "registry", "ray", "dev"])
def test_the_lock_holds_what_the_package_asks_for(extra):
    asked = project()["optional-dependencies"][extra] if extra else project()["dependencies"]
    wanted = {normalised(requirement) for requirement in asked} - {"rlops"}
    assert wanted <= {normalised(pin) for pin in PINS}


def test_the_environment_of_rllib_differs_from_the_lock_in_the_gymnasium_that_it_pins():
    lines = (ROOT / "tests" / "rllib" / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    locked = dict(pin.split("==") for pin in PINS)
    assert {name for name in pins.keys() & locked.keys() if pins[name] != locked[name]} == {"gymnasium"}


def test_the_extra_all_holds_every_extra_but_those_for_development_its_oracles_and_an_older_gymnasium():
    extras = project()["optional-dependencies"]
    held = re.search(r"\[(.*)\]", extras["all"][0]).group(1).split(",")
    assert set(held) == set(extras) - {"all", "dev", "oracle", "rllib"}


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("example.org", 80)])
def test_a_test_cannot_leave_the_machine(address):
    with socket.socket() as outward, pytest.raises(PermissionError, match="must not leave"):
        outward.connect(address)


def test_a_test_may_talk_to_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname(), timeout=5)
        client.close()
