"""Fixtures over every released environment id."""

from __future__ import annotations

import warnings

import gymnasium as gym
import pytest

import rlops

IDS = [id for family in rlops.envs.FAMILIES for id in family.ids]
AGENT_IDS = [
    f"rlops/{f.name}-v{v.number}"
    for f in rlops.envs.FAMILIES
    for v in f.versions
    if hasattr(f.kernel(v.number), "AGENTS")
]


@pytest.fixture(params=IDS)
def id(request):
    """Return each released id in turn."""
    return request.param


@pytest.fixture
def make():
    """Return ``gymnasium.make`` without its remark that a family has a newer version."""

    def make(id, **kwargs):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is out of date.*")
            return gym.make(id, **kwargs)

    return make


@pytest.fixture
def make_vec():
    """Return ``gymnasium.make_vec`` without its remark that a family has a newer version."""

    def make_vec(id, num_envs, **kwargs):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is out of date.*")
            return gym.make_vec(id, num_envs=num_envs, **kwargs)

    return make_vec
