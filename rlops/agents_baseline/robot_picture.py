"""The robots at work, each under its controller, side by side in one picture: ``docs/robots.png``.

``python -m rlops.agents_baseline.robot_picture docs/robots.png``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rlops.agents_baseline.agents import decision
from rlops.agents_baseline.controllers import make_controller
from rlops.envs import parse_id
from rlops.envs.faces import Env
from rlops.errors import MissingExtra
from rlops.files import written

MOMENTS = (
    ("rlops/CartBalance-v0", "lqr", 1, 15),
    ("rlops/ArmReach-v0", "inverse_kinematics", 2, 10),
    ("rlops/ArmPush-v0", "scripted_push", 1, 35),
)
"""Environment, controller, seed and step at which each robot is on its way to its goal."""
WIDTH, HEIGHT = 480, 360
"""[pixels] Of each."""


def moment(id: str, controller: str, seed: int, step: int) -> np.ndarray:
    """Return the picture of an episode after ``step`` steps, ``(height, width, 3)`` uint8."""
    env, agent = Env(*parse_id(id), render_mode="rgb_array"), make_controller(controller, id)
    obs, _ = env.reset(seed=seed)
    for _ in range(step):
        obs = env.step(decision(agent, env, obs))[0]
    return env.render()


def write_picture(path: str | Path) -> Path:
    """Write the robots side by side into an image file and return its path; it appears when it is whole.

    Raises:
        MissingExtra: If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("The picture of the robots", "render") from None
    path = Path(path)
    whole = Image.new("RGB", (WIDTH * len(MOMENTS), HEIGHT))
    for k, one in enumerate(MOMENTS):
        shown = Image.fromarray(moment(*one)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        whole.paste(shown, (k * WIDTH, 0))
    with written(path) as partial:
        whole.save(partial, format="png", optimize=True)
    return path


if __name__ == "__main__":
    print(f"wrote {write_picture(sys.argv[1])}")
