"""The demonstration notices a single bit, and says why there is no image."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from rlops.cli import demo


def result():
    return np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2), {"kpis": {"served": np.array([1.0, 2.0])}}


def test_the_same_results_have_the_same_bits():
    assert demo._bits(result()) == demo._bits(result())


@pytest.mark.parametrize("change", ["bit", "dtype", "name", "shape"])
def test_one_bit_or_name_more_is_noticed(change):
    obs, rewards, infos = result()
    if change == "bit":
        infos["kpis"]["served"][1] = np.nextafter(2.0, 3.0)
    elif change == "dtype":
        rewards = rewards.astype(np.float32)
    elif change == "name":
        infos = {"figures": infos["kpis"]}
    else:
        obs = obs.reshape(3, 2)
    assert demo._bits((obs, rewards, infos)) != demo._bits(result())


def test_an_image_that_cannot_be_built_is_said_with_the_reason():
    code = "import sys; sys.exit('error: the wheels must be there')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as building:
        console = Console(record=True, width=120)
        demo._image(console, building)
    assert "The image could not be built. error: the wheels must be there" in console.export_text()
