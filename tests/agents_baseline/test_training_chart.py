"""A chart of trainings shows what they logged."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import image

from rlops.agents_baseline.train import train
from rlops.agents_baseline.training_chart import draw, main, read_curve
from rlops.errors import InvalidFile

ID = "rlops/CartBalance-v0"
SMALL = {"n_steps": 32, "batch_size": 64, "n_epochs": 1, "num_envs": 2, "policy_kwargs": {"net_arch": [8]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "short"
    train(ID, "ppo", steps=300, out=out, params={"horizon_steps": 20}, hyperparameters={**SMALL, "standardise": None})
    return out


def test_a_curve_is_what_the_training_logged(run):
    curve = read_curve(run)
    assert (curve.id, curve.name) == (ID, "short")
    np.testing.assert_array_equal(np.diff(curve.steps), 64)
    assert curve.steps[-1] == 320
    assert (np.diff(curve.minutes) >= 0).all()
    assert ((curve.done >= 0) & (curve.done <= 1)).all()


def test_trainings_become_a_picture_with_a_panel_an_environment(run, tmp_path):
    one, other = (tmp_path / name for name in ("one.png", "other.png"))
    main([str(run), "--out", str(one)])
    curve = read_curve(run)
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]
    draw([curve, type(curve)("rlops/ArmReach-v0", "x", curve.steps, curve.minutes, curve.done)], other)
    assert image.imread(other).shape[1] > 1.8 * image.imread(one).shape[1]


def test_a_folder_that_no_training_wrote_is_refused(tmp_path, run):
    with pytest.raises(InvalidFile, match=r"must be the folder of a training, with config\.yaml and .*progress\.csv"):
        read_curve(tmp_path)
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "progress.csv").write_text("time/total_timesteps\n64\n")
    with pytest.raises(InvalidFile, match=r"must have one of .*success_mean, got none"):
        read_curve(tmp_path)
