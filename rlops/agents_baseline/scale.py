"""Calls of functions on a cluster of Ray: each on one CPU and one thread, and made again elsewhere if its node is lost.

::

    with cluster("auto", ids=[id]) as pool:
        for number, result in pool.map(function, [(1, "a"), (2, "b")]):  # as they finish
            ...

What a call returns must follow from its arguments alone: then it does not matter where, when or how often it was made.
So that it is what this process would have computed, every worker is held to the releases and the dynamics that are
installed here. Nodes need no file system in common: arguments and results travel as they are pickled, the content of
files as bytes.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import rlops
from rlops.errors import ConnectionLost, IdentityMismatch, InvalidValue, MissingExtra, RlopsError
from rlops.registry.origins import installed_fingerprint

RETRIES = 5
"""How often a call is made again that was lost with its worker or node; an error that it raises is final."""
ADDRESSES = "auto, HOST:PORT, ray://HOST:PORT, or local for one on this machine"
REACH_S = 10.0
"""[s] In which a host must answer; Ray itself would go on trying for minutes."""
_PACKAGES = ("numpy", "numba", "gymnasium", "mujoco", "pybullet", "torch", "stable-baselines3")
_BITS = ("specification", "randomization", "exact")


def versions() -> dict[str, str]:
    """Return the releases of Python and of the packages that results depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Installed:
    """What results depend on beside the arguments.

    Attributes:
        rlops: Its release.
        versions: Releases of Python and other packages (:func:`versions`).
        fingerprints: Of the dynamics, by environment.
    """

    rlops: str
    versions: Mapping[str, str]
    fingerprints: Mapping[str, Mapping[str, str]]

    @classmethod
    def here(cls, ids: Iterable[str] = ()) -> Installed:
        """Return what is installed in this process."""
        return cls(rlops.__version__, versions(), {id: dict(installed_fingerprint(id)) for id in ids})

    def check(self, found: Installed) -> None:
        """Hold what is ``found`` on a worker to this; a package that only one of them has is not compared.

        Raises:
            IdentityMismatch: If something differs.
        """
        where = f"got another on {platform.node()}"
        if found.rlops != self.rlops:
            raise IdentityMismatch(f"Every node must have rlops {self.rlops}, {where}: {found.rlops}. {_REMEDY}")
        for package in self.versions.keys() & found.versions.keys():
            wanted, got = self.versions[package], found.versions[package]
            if wanted != got:
                raise IdentityMismatch(f"Every node must have {package} {wanted}, {where}: {got}. {_REMEDY}")
        for id, ours in self.fingerprints.items():
            theirs = found.fingerprints[id]
            moved = [tier for tier in _BITS if ours[tier] != theirs[tier]]
            if moved:
                raise IdentityMismatch(
                    f"Every node must compute {id} to the bit as here ({ours['platform']}), {where} "
                    f"({theirs['platform']}): the fingerprint's {moved[0]} tier differs. {_REMEDY}"
                )


_REMEDY = "Run all nodes and this command from one image."


class Pool:
    """The CPUs of a cluster."""

    def __init__(self, ray: Any, needed: Installed):
        """Use the cluster that ``ray`` is connected to; its workers must have what is ``needed``."""
        self._ray, self._needed = ray, ray.put(needed)

    def share(self, value: Any) -> Any:
        """Return a handle that stands for ``value`` as an argument of many calls, which then travels once a node."""
        return self._ray.put(value)

    def map(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the result of every call, from 0, in the order in which they finish.

        Args:
            function: Importable on every node; what it returns can be pickled, and follows from its arguments alone.
            arguments: Of every call, by position; handles of :meth:`share` become their values.

        Raises:
            IdentityMismatch: If a worker has other releases or dynamics.
            ConnectionLost: If a call was lost with its worker or node too often.
            RlopsError: That a call raised. Any other exception of a call comes with its trace on the node.
        """
        call = self._ray.remote(num_cpus=1, max_retries=RETRIES)(_called)
        numbers = {call.remote(self._needed, function, *one): number for number, one in enumerate(arguments)}
        try:
            while numbers:
                (done,), _ = self._ray.wait(list(numbers), num_returns=1)
                yield numbers.pop(done), self._result(done)
        finally:
            for left in numbers:
                self._ray.cancel(left)

    def _result(self, done: Any) -> Any:
        lost = self._ray.exceptions
        try:
            return self._ray.get(done)
        except lost.RayTaskError as error:
            if isinstance(error.cause, RlopsError):
                raise error.cause from None
            if _NOT_IMPORTED in str(error):
                raise IdentityMismatch(
                    f"Every node must have rlops {rlops.__version__}, but a worker could not import what it is to "
                    f"call: {str(error).strip().splitlines()[-1]}. {_REMEDY}"
                ) from None
            raise
        except lost.RayError as error:
            raise ConnectionLost(
                f"A call must come back from the cluster, but it was lost with its worker or node, and again "
                f"{RETRIES} times: {type(error).__name__}: {str(error).strip().splitlines()[0]} Look at the logs of "
                "the nodes, most often for memory."
            ) from None


_NOT_IMPORTED = "failed to import on the worker"
"""What Ray says of a function whose module a worker lacks."""


@contextmanager
def cluster(address: str, ids: Iterable[str] = ()) -> Iterator[Pool]:
    """Connect this process to a cluster of Ray, and let go of it afterwards.

    Args:
        address: As ``ray.init`` takes it: ``auto``, ``HOST:PORT``, ``ray://HOST:PORT``; ``local`` starts a cluster on
            this machine, for as long as it is used.
        ids: Environments whose dynamics every worker must compute to the bit as this process does.

    Raises:
        MissingExtra: If Ray is not installed.
        InvalidValue: If this process is connected already.
        ConnectionLost: If there is no cluster, or one of another release of Ray or Python.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _ray()
    if ray.is_initialized():
        raise InvalidValue(
            "This process must not be connected to Ray yet, but it is. Call ray.shutdown() first; a call on a cluster "
            "cannot spread calls of its own."
        )
    needed = Installed.here(ids)
    try:
        _reach(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = str(error).strip() or type(error).__name__
        raise ConnectionLost(f"The address of a cluster of Ray must be {ADDRESSES}, got {address!r}: {why}") from None
    try:
        yield Pool(ray, needed)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """See that somebody listens at an address, if it has a host."""
    url = urlsplit(address if "://" in address else f"//{address}")
    if url.hostname and url.port:
        socket.create_connection((url.hostname, url.port), timeout=REACH_S).close()


def _called(needed: Installed, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on a worker, which has one thread and what is ``needed``."""
    os.environ["RLOPS_THREADS"] = "1"
    needed.check(_installed(tuple(needed.fingerprints)))
    return function(*arguments)


_installed = cache(Installed.here)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingExtra("A cluster of Ray", "ray") from None
    return ray
