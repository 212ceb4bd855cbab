"""Whether two results are the same: in type, order of keys, shape and every bit."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same(ours: Any, theirs: Any, where: str = "result") -> None:
    """Fail where ``theirs`` differs from ``ours``."""
    assert type(ours) is type(theirs), f"{where}: {type(ours)} and {type(theirs)}"
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for name in ours:
            assert_same(ours[name], theirs[name], f"{where}[{name!r}]")
    elif isinstance(ours, (tuple, list)) or (isinstance(ours, np.ndarray) and ours.dtype == object):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(ours, (np.ndarray, np.generic)):
        assert ours.dtype == theirs.dtype, f"{where}: {ours.dtype} and {theirs.dtype}"
        assert ours.shape == theirs.shape, f"{where}: {ours.shape} and {theirs.shape}"
        for name in ours.dtype.names or ():  # what lies between the fields of a record may differ
            assert_same(ours[name], theirs[name], f"{where}[{name!r}]")
        assert ours.dtype.names or ours.tobytes() == theirs.tobytes(), where
    else:
        assert ours == theirs, where


def play_both(ours: Any, theirs: Any, steps: int, seed: int = 0) -> int:
    """Play the same random actions in two environments and return how many episodes ended; fail at a difference."""
    assert_same(ours.reset(seed=seed), theirs.reset(seed=seed), "reset")
    ours.action_space.seed(seed)
    ends = 0
    for step in range(steps):
        actions = ours.action_space.sample()
        left, right = ours.step(actions), theirs.step(actions)
        assert_same(left, right, f"step {step}")
        over = left[2] | left[3]
        ends += int(over.sum())
        if over.any() and ours.metadata["autoreset_mode"].value == "Disabled":
            again = [env.reset(options={"reset_mask": over}) for env in (ours, theirs)]  # Gymnasium empties the dict
            assert_same(*again, f"reset after {step}")
    return ends
