"""Domain randomization: declared in YAML, checked against the environment, drawn in its compiled reset.

::

    import gymnasium, rlops
    from rlops.randomization import randomize

    envs = gymnasium.make_vec("rlops/Dispatch-v2", num_envs=64)
    randomize(envs, {"env": "rlops/Dispatch-v2",
                     "params": {"base_speed_kmh": {"dist": "uniform", "low": 26, "high": 38, "unit": "km/h"}}})

The same (seed, episode) draws the same parameters in every face, for any number of rows and any order of terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rlops.errors import InvalidFile, InvalidValue
from rlops.randomization.plan import Plan, plan_of
from rlops.randomization.shipped import LEVELS, levels
from rlops.randomization.spec import Randomization, read

__all__ = ["LEVELS", "Plan", "Randomization", "levels", "plan_of", "randomize", "read", "spec_of"]

AnyEnv = TypeVar("AnyEnv")


def spec_of(id: str, spec: Randomization | Mapping[str, Any] | str | Path) -> Randomization:
    """Return the specification that ``spec`` means for an environment: itself, that in its file, or that of a level.

    Raises:
        InvalidFile, InvalidValue, UnknownName: If it means none.
    """
    if isinstance(spec, str) and spec in LEVELS:
        return levels(id)[spec]
    if isinstance(spec, str) and not Path(spec).exists():
        known = ", ".join(LEVELS)
        raise InvalidFile(f"{spec} must be a level ({known}) or the YAML or JSON file of a randomization, got neither.")
    return read(spec)


def randomize(env: AnyEnv, spec: Randomization | Mapping[str, Any] | str | Path) -> AnyEnv:
    """Let every episode of ``env`` that begins from now on draw its parameters, and return ``env``.

    Args:
        env: A single, vector or parallel environment of rlops, wrapped or not.
        spec: A specification, the path of its YAML or JSON file (:mod:`rlops.randomization.spec`), or a level:
            ``"off"``, ``"mild"``, ``"full"`` or ``"ood"`` (:func:`levels`).

    Raises:
        InvalidValue, InvalidFile, UnknownName: If ``env`` is not of rlops, or the specification does not fit it.
    """
    face: Any = getattr(env, "unwrapped", env)
    if not hasattr(face, "draw_parameters"):
        got = type(face).__name__
        raise InvalidValue(f"randomize needs an environment of rlops, got {got}. Make it by its rlops id.")
    id = f"rlops/{face.family.name}-v{face.version}"
    checked = spec_of(id, spec)
    kernel = face.kernel
    plan = plan_of(
        checked,
        id,
        kernel.PARAMETERS,
        face.family.nominal(face.version)[0],
        kpis=tuple(column.name for column in getattr(kernel, "KPIS", ())),
        engine=face.engine,
    )
    face.draw_parameters(plan, checked.expose.info, checked.expose.privileged)
    return env
