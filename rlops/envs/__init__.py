"""Environments: one kernel a family, three faces for all.

``FAMILIES`` lists the families: one import and one name each. Importing this package compiles and loads nothing heavy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rlops.envs.contract import Family, add_family, family
from rlops.envs.cooling import DATACENTER_COOLING
from rlops.envs.dispatch import DISPATCH, DISPATCH_REPOSITION, DISPATCH_STATIC
from rlops.envs.robotics import ROBOTICS
from rlops.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from rlops.envs.faces import ParallelEnv

FAMILIES: tuple[Family, ...] = (DISPATCH, DISPATCH_REPOSITION, DISPATCH_STATIC, DATACENTER_COOLING, *ROBOTICS)

__all__ = ["FAMILIES", "parallel_env", "parse_id", "register_family"]


def parse_id(id: str) -> tuple[Family, int]:
    """Return the family and version number of an id such as ``rlops/Dispatch-v2``.

    Raises:
        InvalidValue: If it is not of that form.
        UnknownName: If there is no such family or version.
    """
    match = re.fullmatch(r"rlops/([A-Za-z]+)-v(\d+)", id) if isinstance(id, str) else None
    if match is None:
        raise InvalidValue(f"An environment id must look like rlops/Dispatch-v2, got {id!r}.")
    known = [name for f in FAMILIES for name in f.ids]
    try:
        found = family(match[1])
        found.version(int(match[2]))
    except UnknownName:
        raise UnknownName("environment", id, known) from None
    return found, int(match[2])


def parallel_env(id: str, **kwargs: Any) -> ParallelEnv:
    """Return the PettingZoo parallel environment of an id, for example ``rlops/Dispatch-v2``.

    Args:
        id: Of a version whose kernel has agents.
        kwargs: Those of :class:`rlops.envs.faces.ParallelEnv`: ``params``, ``expose_context``, ``render_mode`` and the
            kernel's own option, for example ``demand=``.
    """
    from rlops.envs.faces import ParallelEnv

    found, number = parse_id(id)
    return ParallelEnv(found, number, **kwargs)


def register_family(new: Family) -> None:
    """Register every version of a family with Gymnasium; what ``import rlops`` does for ``FAMILIES``."""
    import gymnasium

    add_family(new)
    for version, id in zip(new.versions, new.ids, strict=True):
        gymnasium.register(
            id,
            entry_point="rlops.envs.faces:Env",
            vector_entry_point="rlops.envs.faces:VectorEnv",
            kwargs={"family": new.name, "version": version.number},
        )
