"""Released dynamics do not move."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlops.envs import FAMILIES
from rlops.registry.dynamics.check import check_id
from rlops.registry.dynamics.golden import golden_file, manifest_of
from rlops.registry.dynamics.subjects import subject

FOLDER = Path(__file__).parent / "golden"
RELEASED = [id for family in FAMILIES for id in family.ids]


@pytest.mark.parametrize("id", RELEASED)
def test_a_released_version_is_as_its_golden_file_recorded_it(id):
    result = check_id(id, FOLDER)
    assert result.verdict == "same", str(result)


def test_every_golden_file_is_of_a_released_version():
    paths = {golden_file(subject(id), FOLDER) for id in RELEASED}
    assert set(FOLDER.glob("*.npz")) == paths
    assert sorted(manifest_of(path)["id"] for path in paths) == sorted(RELEASED)
