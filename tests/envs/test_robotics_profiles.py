"""Reality profiles: declared within what is possible, unlike the nominal robot, and never changed once published."""

from __future__ import annotations

import hashlib
import json

import gymnasium as gym
import pytest

import rlops  # noqa: F401
from rlops.envs.contract import family
from rlops.envs.robotics import ROBOTICS
from rlops.envs.robotics.profiles import PROFILES, reality
from rlops.errors import UnknownName

PUBLISHED = {
    "CartBalance@a1": "583b81eba755926d90986c9947e0d2b88ee64b87527c5a5b2a079ea30e1651e8",
    "ArmReach@a1": "f4cdb1ca276fc909070e7888457af1ebf9e8dd69e8772fb2de26e4213fea8bc8",
    "ArmPush@a1": "31cac022666e11f1fa0f9591ae70f713c21b6daf754567258c68ec1799a6eba1",
    "WarehouseNav@a1": "9998948a12564d377ec129000da2e2e31e9b17ab13860105bc3666fbc94051a3",
    "WarehouseFleet@a1": "734a9590bf967d47eb1b26a8e076813f8171e3e9fa3d65c89b8cefb59ebb83c0",
}
"""SHA-256 of what each profile declares. A profile that is to differ gets a name of its own."""


def _all():
    return [(name, profile) for name, profiles in PROFILES.items() for profile in profiles]


def _digest(profile):
    said = {"engine": profile.engine, "params": dict(profile.params)}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("robot", [f.name for f in ROBOTICS])
def test_every_robot_has_a_reality(robot):
    assert reality(f"rlops/{robot}-v0").name == "a1"


@pytest.mark.parametrize(("robot", "profile"), _all())
def test_a_reality_is_possible_and_differs_in_every_parameter_that_it_names(robot, profile):
    env = gym.make(f"rlops/{robot}-v0", **profile.options()).unwrapped
    nominal = {p.name: p.nominal for p in family(robot).kernel(0).PARAMETERS}
    for name, value in profile.params.items():
        assert env.params[name][0] == value != nominal[name]


@pytest.mark.parametrize(("robot", "profile"), _all())
def test_a_published_reality_has_not_changed(robot, profile):
    assert PUBLISHED[f"{robot}@{profile.name}"] == _digest(profile)


def test_a_reality_is_no_level_of_randomization_and_cannot_be_written_to():
    with pytest.raises(TypeError):
        reality("rlops/ArmPush-v0").params["friction"] = 0.5
    options = reality("rlops/ArmPush-v0").options()
    options["params"]["friction"] = 0.5
    assert reality("rlops/ArmPush-v0").params["friction"] == 0.6


@pytest.mark.parametrize("id", ["rlops/ArmPush-v0", "rlops/Dispatch-v2"])
def test_an_unknown_reality_is_refused(id):
    with pytest.raises(UnknownName, match="reality profile"):
        reality(id, "z9")
