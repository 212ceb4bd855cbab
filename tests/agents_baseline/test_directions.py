"""What a network is given of vectors beside their components."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlops.agents_baseline import directions
from rlops.agents_baseline.directions import appended, checked, indices, ranges
from rlops.agents_baseline.standardised import Standardised, policy_settings
from rlops.envs.contract import Column, bounds, family
from rlops.envs.faces import VectorEnv
from rlops.errors import InvalidValue, UnknownName

PUSH = "rlops/ArmPush-v0"
AT = np.array([[0, 2], [1, 3]])


def test_unit_vectors_and_logarithms_of_lengths_follow_the_observation():
    obs = np.array([[3.0, -4.0, 0.0, 0.5, 9.0]], np.float32)
    np.testing.assert_array_equal(appended(obs, AT)[:, :5], obs)
    expected = [3 / 5.001, 0, -4 / 5.001, 0.5 / 0.501, np.log(5.001), np.log(0.501)]
    np.testing.assert_allclose(appended(obs, AT)[0, 5:], expected, rtol=1e-6)


def test_half_a_small_distance_is_as_much_as_half_a_large_one():
    one, half, small, smaller = appended(np.array([[1, 0], [0.5, 0], [0.04, 0], [0.02, 0]], np.float32), AT[:, :1])[
        :, -1
    ]
    assert small - smaller == pytest.approx(one - half, rel=0.05)


def test_a_vector_without_length_has_no_direction_and_a_finite_logarithm():
    np.testing.assert_allclose(appended(np.zeros((1, 4), np.float32), AT)[0, 4:8], 0.0)
    assert np.isfinite(appended(np.zeros((1, 4), np.float32), AT)).all()


def test_the_components_of_a_vector_are_found_by_its_name():
    names = [column.name for column in family("ArmPush").kernel(0).OBSERVATION]
    at = indices(["left", "box_speed"], PUSH)
    assert [[names[place] for place in row] for row in at] == [["left_x", "box_speed_x"], ["left_y", "box_speed_y"]]


def test_what_is_appended_stays_within_its_range():
    low, high = bounds(family("ArmPush").kernel(0).OBSERVATION)
    at = indices(["tip", "gap"], PUSH)
    obs = np.random.default_rng(0).uniform(low, high, (20_000, len(low))).astype(np.float32)
    obs[0] = 0.0
    spread = np.ptp(appended(obs, at), axis=0)
    assert (spread <= ranges(low, high, at) * (1 + 1e-6)).all()
    assert (spread[-6:] > 0.9 * ranges(low, high, at)[-6:]).all()


@pytest.mark.parametrize("asked", ["left", ["left", "left"], {"left": 1}, [["left"], ["left"]]])
def test_directions_that_are_no_list_of_different_names_are_refused(asked):
    with pytest.raises(InvalidValue, match="directions must be a list of different vectors"):
        checked(asked, PUSH)


def test_a_vector_that_is_not_observed_is_refused():
    with pytest.raises(UnknownName, match=r"The observation of rlops/ArmPush-v0 has no vector named 'lef'\. Did you"):
        checked(["lef"], PUSH)
    with pytest.raises(UnknownName, match="It has: none"):
        checked(["left"], "rlops/CartBalance-v0")


def test_columns_that_are_there_several_times_are_no_vector(monkeypatch):
    repeated = tuple(Column(f"far_{axis}", "m", -1, 1, "of what is far", count=2) for axis in "xy")
    monkeypatch.setattr(directions, "_columns", lambda id: repeated)
    with pytest.raises(UnknownName, match="has no vector named 'far'"):
        checked(["far"], PUSH)


def test_the_extractor_computes_what_arrays_do_and_standardises_all_columns():
    envs = VectorEnv("ArmPush", 0, 4, autoreset_mode="SameStep")
    given = policy_settings(envs, PUSH, "scripted_push", 40, ["left", "gap"])["features_extractor_kwargs"]
    seen = Standardised(envs.single_observation_space, **given)
    obs = envs.reset(seed=1)[0].copy()
    wanted = (appended(obs, indices(["left", "gap"], PUSH)) - np.array(given["mean"])) / np.array(given["scale"])
    assert seen.features_dim == 20 + 6
    np.testing.assert_allclose(seen(torch.as_tensor(obs)).numpy(), np.clip(wanted, -10, 10), rtol=1e-4, atol=1e-4)
