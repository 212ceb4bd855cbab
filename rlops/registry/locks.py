"""``rlops.lock``: the images that a project was trained and judged with, down to the last bit.

Names are for people; the lock holds digests and fingerprints. What is pulled by it is that, or an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlops.errors import CorruptContent, InvalidFile, MovedDynamics
from rlops.files import written
from rlops.registry.labels import about_image
from rlops.registry.references import Reference
from rlops.registry.store import Store

FILE = Path("rlops.lock")
FORMAT = 1


@dataclass(frozen=True)
class Locked:
    """One image of a lock.

    Attributes:
        resolved_from: The name, with version, that was locked.
        id: Of the environment.
        digest: Of the manifest.
        config: Digest of the configuration.
        layers: Digests of the layers, lowest first.
        fingerprint: Of the dynamics.
        protocol: Version of the protocol that it speaks.
    """

    resolved_from: str
    id: str
    digest: str
    config: str
    layers: list[str]
    fingerprint: dict[str, str]
    protocol: str

    @property
    def reference(self) -> Reference:
        """The name with its digest."""
        return Reference.parse(self.resolved_from).at(self.digest)


def lock_image(store: Store, reference: Reference) -> Locked:
    """Return the entry of an image of the store.

    Raises:
        MissingContent: If it is not in the store.
        CorruptContent: If it is no image of rlops, or damaged.
    """
    image = store.resolve(reference)
    manifest = store.manifest(image)
    told = about_image(store, image)
    return Locked(
        resolved_from=reference.tagged,
        id=told.id,
        digest=image.digest,
        config=manifest.config.digest,
        layers=[one.digest for one in manifest.layers],
        fingerprint=told.fingerprint.as_json(),
        protocol=told.labels.get("dev.rlops.protocol", ""),
    )


def read_lock(path: Path = FILE) -> dict[str, Locked]:
    """Return the entries of a lock by the name that was locked.

    Raises:
        InvalidFile: If it is no lock.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise InvalidFile(f"{path} must be of format {FORMAT}, got {document['format']}. Use a newer rlops.")
        entries = [Locked(**told) for told in document["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InvalidFile):
            raise
        raise InvalidFile(f"{path} must be a lock that `rlops lock` wrote, got: {error}.") from None
    return {one.resolved_from: one for one in entries}


def write_lock(entries: Mapping[str, Locked], path: Path = FILE) -> None:
    """Write a lock; the same entries make the same file."""
    images = [asdict(entries[name]) for name in sorted(entries)]
    text = json.dumps({"format": FORMAT, "images": images}, indent=1, sort_keys=True, ensure_ascii=False)
    with written(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def check_locked(store: Store, expected: Locked) -> None:
    """Hold an image of the store to its entry.

    Raises:
        CorruptContent: If a digest is another.
        MovedDynamics: If the fingerprint is another.
    """
    found = asdict(lock_image(store, expected.reference))
    for name, value in asdict(expected).items():
        if found[name] != value:
            told = (
                f"{expected.resolved_from} must have the {name} {_shown(value)} of its lock, got {_shown(found[name])}."
            )
            raise MovedDynamics(told) if name == "fingerprint" else CorruptContent(told)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
