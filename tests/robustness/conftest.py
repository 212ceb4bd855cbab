"""One small report that several tests read, and what it was played from."""

from __future__ import annotations

import pytest

from rlops.robustness.report import robustness
from rlops.robustness.spec import checked

ID = "rlops/Dispatch-v0"
SPEC = {
    "env": ID,
    "success": "completion_rate >= 0.97",
    "nominal": {"episodes": 24},
    "in_distribution": {"episodes": 40},
    "curves": {"params": ["speed_kmh", "arrival_else"], "points": 3, "episodes": 12},
    "heatmap": {"points": 2, "episodes": 4},
    "battery": {"params": ["traffic_slowdown"], "episodes": 8},
    "transfer": {"episodes": 8},
    "catalogue": {"worst": 3, "borderline": 1},
    "gates": {
        "require": [
            {"figure": "completion_rate", "where": "nominal", "at_least": 0.5},
            {"figure": "return", "statistic": "cvar5", "where": "in_distribution", "at_least": 0},
        ]
    },
}


def spec(**changes):
    return checked({**SPEC, **changes}, ID, "a test")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Return the folder of a report of two policies, and its content."""
    out = tmp_path_factory.mktemp("report")
    told = []
    report = robustness(
        spec(), "nearest_idle", out, against="hungarian", tell=lambda what, done, todo: told.append((what, done, todo))
    )
    return out, report, told
