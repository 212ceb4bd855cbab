"""The shipped levels: from nothing over the plausible to what lies beyond."""

import numpy as np
import pytest

from rlops.envs import FAMILIES
from rlops.envs.faces import VectorEnv
from rlops.randomization import LEVELS, levels, randomize

VERSIONS = [(f, v.number) for f in FAMILIES for v in f.versions]
IDS = [f"{f.name}-v{number}" for f, number in VERSIONS]


@pytest.mark.parametrize(("family", "number"), VERSIONS, ids=IDS)
def test_every_level_of_every_environment_is_drawn_where_it_says(family, number):
    shipped = levels(f"rlops/{family.name}-v{number}")
    assert tuple(shipped) == LEVELS
    nominal = family.nominal(number)[0]
    plausible = {p.name: p.plausible for p in family.kernel(number).PARAMETERS if p.plausible}
    assert plausible
    drawn = {}
    for level in LEVELS:
        envs = VectorEnv(family, number, 64)
        randomize(envs, level)
        envs.reset(seed=0)
        drawn[level] = envs.params
    for parameter in family.kernel(number).PARAMETERS:
        name = parameter.name
        assert np.all(drawn["off"][name] == nominal[name])
        if name not in plausible:
            assert all(np.all(drawn[level][name] == nominal[name]) for level in LEVELS)
            continue
        low, high = plausible[name]
        assert parameter.low <= low <= nominal[name] <= high <= parameter.high  # a clean coil is the least fouled
        assert low < high
        full, mild, ood = (drawn[level][name] for level in ("full", "mild", "ood"))
        assert np.all((full >= low) & (full <= high))
        assert np.ptp(full) > np.ptp(mild) > 0
        assert np.all(abs(mild - nominal[name]) <= max(nominal[name] - low, high - nominal[name]) / 2 + 1e-9)
        if name in shipped["ood"].params:
            assert np.all((ood < low) | (ood > high))
            assert np.ptp(ood) > 0
        else:
            assert (low, high) == (parameter.low, parameter.high)


def test_levels_have_hashes_of_their_own():
    assert len({spec.hash for spec in levels("rlops/Dispatch-v2").values()}) == len(LEVELS)
