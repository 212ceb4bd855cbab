"""Fingerprints: the dynamics of a version in a few hashes that fit into a label.

* ``specification``: what is declared; ``randomization``: what its levels draw, by itself, so that the same
  dynamics under wider randomization can be told from other dynamics.
* ``exact``: every bit of scripted episodes: states, observations, masks, rewards, ends. One for each class of
  platforms, as libraries round differently. A hash of observations alone would be blind: float32 hides small changes.
* ``portable``: the first steps of the same episodes, to about five digits: the same on every platform, but for the odd
  number that lies on the edge between two roundings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rlops.registry.dynamics.subjects import Subject, platform_class
from rlops.registry.dynamics.traces import Trace, largest, pack, shortened

PORTABLE_STEPS = 50
"""Steps of an episode that the portable tier looks at: chaos makes more of round-off than it can bear."""
_MANTISSA = 2.0**16
_NOTHING = 1e-9
"""Share of a field's magnitude below which a number counts as zero in the portable tier: what is left of a difference
of equal numbers."""


@dataclass(frozen=True)
class Fingerprint:
    """The dynamics of a version.

    Attributes:
        specification, randomization: SHA-256 of what is declared.
        platform: Class of platforms for which ``exact`` holds.
        exact: SHA-256 of all bits.
        portable: SHA-256 of rounded numbers.
    """

    specification: str
    randomization: str
    platform: str
    exact: str
    portable: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        short = {name: value[:16] for name, value in self.as_json().items() if name != "platform"}
        exact = f"exact {short['exact']} ({self.platform})"
        return f"{exact}, portable {short['portable']}, specification {short['specification']}"


def fingerprint(subject: Subject) -> Fingerprint:
    """Return the fingerprint of what is installed."""
    specification = subject.specification()
    randomization = specification.pop("randomization", {})
    exact, portable = hashlib.sha256(), hashlib.sha256()
    for trace in subject.sampled():
        layout, packed = pack(trace)
        exact.update(hash_of(layout).encode())
        for array in packed.values():
            exact.update(np.ascontiguousarray(array).data)
        _add_rounded(portable, shortened(trace, 0, PORTABLE_STEPS))
    return Fingerprint(
        hash_of(specification), hash_of(randomization), platform_class(subject), exact.hexdigest(),
        portable.hexdigest(),
    )  # fmt: skip


def hash_of(value: Any) -> str:
    """Return the SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _add_rounded(digest: Any, trace: Trace) -> None:
    for name, array in sorted(trace.items()):
        for part in _rounded(array):
            digest.update(name.encode() + np.ascontiguousarray(part).tobytes())


def _rounded(array: np.ndarray) -> Iterable[np.ndarray]:
    """Return numbers as a mantissa of 16 bits and an exponent of two; whole numbers as they are."""
    if array.dtype.kind != "f":
        return [array]
    numbers = array.astype(np.float64)
    finite = np.isfinite(numbers) & (np.abs(numbers) > _NOTHING * largest(array))
    mantissa, exponent = np.frexp(np.where(finite, numbers, 0.0))
    special = np.where(np.isposinf(numbers), 1, np.where(np.isneginf(numbers), 2, np.where(np.isnan(numbers), 3, 0)))
    return [np.rint(mantissa * _MANTISSA).astype(np.int32), exponent.astype(np.int16), special.astype(np.int8)]
