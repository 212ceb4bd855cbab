"""Wrappers around the faces; each is imported where it is used, so that heavy libraries load only then."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlops.wrappers.sb3 import to_sb3

__all__ = ["to_sb3"]


def __getattr__(name: str) -> Any:
    if name == "to_sb3":
        from rlops.wrappers.sb3 import to_sb3

        return to_sb3
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
