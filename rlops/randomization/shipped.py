"""The levels of randomization that are shipped for every environment, made from its parameters' declarations."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlops.envs import parse_id
from rlops.envs.contract import Parameter
from rlops.randomization.spec import Randomization

LEVELS = ("off", "mild", "full", "ood")
_POINTS = 4
"""Values that ``ood`` takes on either side of what is plausible."""


def levels(id: str) -> dict[str, Randomization]:
    """Return the levels of an environment, by name.

    ``off`` draws nothing. ``full`` draws every parameter that has a plausible range
    (:attr:`rlops.envs.contract.Parameter.plausible`) from it, uniformly; ``mild`` from the half of it around the
    nominal value. ``ood`` (out of distribution) draws them from what is possible but not plausible: evenly spaced
    values between the plausible range and the hard bounds.

    Raises:
        UnknownName: If there is no such environment.
    """
    family, number = parse_id(id)
    nominal = family.nominal(number)[0]
    varied = [p for p in family.kernel(number).PARAMETERS if p.plausible]
    terms = {
        "off": {},
        "mild": {p.name: _uniform(*_half(p, float(nominal[p.name]))) for p in varied},
        "full": {p.name: _uniform(*p.plausible) for p in varied if p.plausible},
        "ood": {p.name: {"dist": "choice", "values": outside} for p in varied if (outside := _outside(p))},
    }
    return {name: Randomization.model_validate({"env": id, "params": terms[name]}) for name in LEVELS}


def _uniform(low: float, high: float) -> dict[str, Any]:
    return {"dist": "uniform", "low": low, "high": high}


def _half(parameter: Parameter, nominal: float) -> tuple[float, float]:
    assert parameter.plausible is not None
    low, high = ((nominal + bound) / 2 for bound in parameter.plausible)
    return (float(np.ceil(low)), float(np.floor(high))) if parameter.integer else (low, high)


def _outside(parameter: Parameter) -> list[float]:
    """Return values within the hard bounds but outside the plausible range."""
    assert parameter.plausible is not None
    low, high = parameter.plausible
    below = np.linspace(parameter.low, low, _POINTS, endpoint=False)
    above = np.linspace(parameter.high, high, _POINTS, endpoint=False)
    if parameter.integer:
        below, above = np.unique(np.floor(below)), np.unique(np.ceil(above))
    return [*(below[below < low].tolist()), *(sorted(above[above > high].tolist()))]
