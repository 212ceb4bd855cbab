"""What the dynamics check can judge: environments of rlops, and others that Gymnasium makes."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import llvmlite.binding
import numpy as np

from rlops.registry.dynamics.traces import Trace


@dataclass(frozen=True)
class Episode:
    """How an episode of a golden file is played.

    Attributes:
        name: For example ``random``.
        seed: Of the reset.
        actions: One a step, ``(T, …)``; with ``agents`` one for each, ``(T, a)``.
        level: Level of randomization that draws the parameters.
        params: Parameters that differ from the nominal ones.
        variant: The version's variant; None: the version itself.
        agents: Whether it is played through the agents' face.
        data: Records that the rows share; None: none.
        start: The recorded moment, first of a trace, that it begins from; None: from a reset.
    """

    name: str
    seed: int
    actions: np.ndarray
    level: str = "off"
    params: Mapping[str, float] = field(default_factory=dict)
    variant: str | None = None
    agents: bool = False
    data: np.ndarray | None = None
    start: Trace | None = None


@dataclass(frozen=True)
class Recording:
    """An episode, what happened in it, and what one step makes of each of its moments.

    Attributes:
        episode: How it is played.
        trace: What happened.
        forced: What followed when each moment was put in place by itself (:meth:`Subject.forced`); None where that is
            the same by construction, as everything that a moment is can be put in place.
    """

    episode: Episode
    trace: Trace
    forced: Trace | None = None


class Subject(Protocol):
    """An environment that is recorded and judged.

    Attributes:
        id: What it is made by.
        engine: Name and release of its physics engine, for example ``mujoco 4.0.0``; empty without one.
        forces: Whether states can be put in place (:meth:`forced`).
    """

    id: str
    engine: str
    forces: bool

    @property
    def stem(self) -> str:
        """Name of the golden file, without suffix."""
        ...

    def platform(self) -> dict[str, str]:
        """Return all that the last bit of a result may depend on."""
        ...

    def layer(self, name: str) -> str:
        """Return the layer that the array ``name`` of a trace belongs to."""
        ...

    def specification(self) -> dict[str, Any]:
        """Return everything that is declared, ready for JSON."""
        ...

    def play(self, episode: Episode, expected: Trace | None = None) -> Trace:
        """Play ``episode`` from its beginning; with ``expected``, only until soon after something else happened."""
        ...

    def forced(self, episode: Episode, trace: Trace, steps: np.ndarray) -> Trace:
        """Return what each of the recorded moments ``steps`` (n,) shows when it is put in place, and one step from it.

        Arrays of moments but the state's are those of the moments in place; the state and arrays of steps are those
        after the step.
        """
        ...

    def reset_again(self, episode: Episode, trace: Trace) -> Trace:
        """Return the state ``(1,)`` that a reset makes from the recorded parameters and seed."""
        ...

    def recorded(self, reference: Any = None) -> list[Recording]:
        """Return the episodes of a golden file; ``reference`` is a controller to play one of them, or None."""
        ...

    def sampled(self) -> Iterable[Trace]:
        """Return the traces that a fingerprint is made of."""
        ...

    def returns(self, policy: str, episodes: int, reference: Any = None) -> np.ndarray:
        """Return the returns of ``episodes`` episodes by ``policy``: ``random``, or ``reference``, the controller."""
        ...


def subject(id: str, threads: int = 1) -> Subject:
    """Return what is made by ``id``: of rlops, or any that is registered with Gymnasium.

    Args:
        id: What it is made by.
        threads: On which a kernel of rlops is stepped; the result must not depend on it.

    Raises:
        UnknownName: If neither knows it.
    """
    if id.startswith("rlops/"):
        from rlops.registry.dynamics.kernels import KernelSubject

        return KernelSubject(id, threads)
    from rlops.registry.dynamics.gymnasium_envs import GymnasiumSubject

    return GymnasiumSubject(id)


def host() -> dict[str, str]:
    """Return what the last bit of NumPy's results may depend on."""
    return {
        "machine": platform.machine(),
        "system": platform.system().lower(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "cpu": str(llvmlite.binding.get_host_cpu_name()),
        "numpy": np.__version__,
    }


def platform_class(one: Subject) -> str:
    """Return the class of platforms, engine included, that a fingerprint of the exact tier is valid for.

    >>> from rlops.registry.dynamics.kernels import KernelSubject
    >>> platform_class(KernelSubject("rlops/Dispatch-v0")).split("-")[0] in ("linux", "darwin", "windows")
    True
    """
    found = one.platform()
    parts = [*(found[name] for name in ("system", "machine", "libc")), one.engine]
    return "-".join(part.replace(" ", "") for part in parts if part)
