"""Every parameter of every family does something, and what its declaration says."""

import math
from dataclasses import replace

import pytest

from rlops.envs import FAMILIES
from rlops.envs.effects import effects
from rlops.errors import UnknownName
from tests.envs import drift_kernel as kernel
from tests.envs.drift_kernel import DRIFT

VERSIONS = [(f, v.number) for f in FAMILIES for v in f.versions]


@pytest.mark.parametrize(("family", "number"), VERSIONS, ids=[f"{f.name}-v{number}" for f, number in VERSIONS])
def test_every_parameter_changes_the_episode_by_its_declared_sign(family, number):
    found = effects(family, number)
    assert [effect.parameter for effect in found] == [p.name for p in family.kernel(number).PARAMETERS]
    assert [effect for effect in found if not effect.holds] == []


def test_a_parameter_that_does_nothing_is_found():
    current, thrust, colour, _ = effects(DRIFT, 0)
    assert current.holds
    assert current.first_step == 0 + 1
    assert current.low < current.high
    assert current.clear > 2
    assert thrust.first_step == 1
    assert not colour.holds
    assert colour.first_step is None
    assert math.isnan(colour.clear)


def test_a_declared_sign_that_is_wrong_is_found():
    right = kernel.PARAMETERS
    kernel.PARAMETERS = (replace(right[0], effect="-distance_m"), *right[1:])
    try:
        (current,) = effects(DRIFT, 0, ["current"])
    finally:
        kernel.PARAMETERS = right
    assert current.first_step == 1
    assert current.clear < -2
    assert not current.holds


def test_only_parameters_that_exist_have_effects():
    with pytest.raises(UnknownName, match=r"Did you mean current\?"):
        effects(DRIFT, 0, ["curent"])
