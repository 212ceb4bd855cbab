"""What an agent was trained or judged in: the environment, the image that it ran from, and what its dynamics are.

It is written into every checkpoint and report. An environment in this process has no image; its fingerprint is taken
once and kept beside the compiled code, under a name that follows from all that it depends on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import rlops
from rlops.envs import parse_id
from rlops.errors import IdentityMismatch
from rlops.files import written
from rlops.registry.remote.protocol import Identity

DYNAMICS = ("rlops/__init__.py", "rlops/errors.py", "rlops/envs/", "rlops/randomization/", "rlops/registry/dynamics/",
            "rlops/registry/probe.py")  # fmt: skip
"""What the compiled code and the fingerprint follow from."""


def dynamics_sources(tree: Path) -> list[str]:
    """Return path and SHA-256 of every source below ``tree`` that the dynamics follow from."""
    sources = sorted(p for p in (tree / "rlops").rglob("*.py") if str(p.relative_to(tree)).startswith(DYNAMICS))
    return [f"{p.relative_to(tree)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in sources]


def identity_of(envs: Any, id: str) -> Identity:
    """Return what ``envs`` step: what the server of their image states, or what is installed."""
    stated = getattr(envs, "identity", None)
    return stated if isinstance(stated, Identity) else Identity(id, "", installed_fingerprint(id))


@cache
def installed_fingerprint(id: str) -> Mapping[str, str]:
    """Return the fingerprint of the environment ``id`` in this process, by field."""
    from rlops.registry.dynamics.fingerprint import fingerprint
    from rlops.registry.dynamics.subjects import subject

    one = subject(id)
    kept = _kept(id, one.platform(), one.engine)
    if kept.is_file():
        return dict(json.loads(kept.read_bytes()))
    found = fingerprint(one).as_json()
    _keep(kept, json.dumps(found))
    return found


def _kept(id: str, platform: Mapping[str, str], engine: str) -> Path:
    """Return the file of a fingerprint, whose name follows from sources, releases and machine."""
    from rlops.envs.compiling import source_stamp

    family, number = parse_id(id)
    stamp = source_stamp(family.kernel(number).__name__)
    parts = [
        id,
        stamp,
        engine,
        json.dumps(platform, sort_keys=True),
        *dynamics_sources(Path(rlops.__file__).parents[1]),
    ]
    root = Path(os.environ.get("RLOPS_CACHE_DIR") or Path.home() / ".cache" / "rlops")
    return root / "fingerprints" / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"


def _keep(path: Path, text: str) -> None:
    """Write a file as a whole; where none can be written, nothing is kept."""
    with contextlib.suppress(OSError), written(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_origin(trained: Identity, met: Identity, name: str) -> None:
    """Hold the environment that an agent meets to the one of the same id that it was trained in.

    Args:
        trained: What its checkpoint names.
        met: What it meets now.
        name: Of the agent.

    Raises:
        IdentityMismatch: If they have the same id, but other dynamics.
    """
    from rlops.registry.dynamics.fingerprint import Fingerprint
    from rlops.registry.identity import moved_tier

    if trained.id != met.id or not (trained.fingerprint and met.fingerprint):
        return
    before, now = Fingerprint(**trained.fingerprint), Fingerprint(**met.fingerprint)
    if moved := moved_tier(before, now):
        raise IdentityMismatch(
            f"{name} must meet the dynamics of {met.id} that it was trained in, but their {moved} is another: trained "
            f"in {before}; now {now}. Evaluate it in the image or release that it names, or with --any-dynamics."
        )
