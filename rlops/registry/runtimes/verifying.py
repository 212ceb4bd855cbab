"""From the name of an image to what runs, and back: does what runs do what the image's label says?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlops.errors import IdentityMismatch, RuntimeUnavailable
from rlops.registry.remote.client import RemoteVectorEnv
from rlops.registry.remote.protocol import Identity
from rlops.registry.runtimes import Image, chosen, connect


def image_of(ref: str, runtime: str) -> Image:
    """Return the image of a name in the store on this machine, unpacked if ``runtime`` is a process.

    Every byte that is used is verified against its digest on the way.

    Raises:
        MissingContent, CorruptContent: If the image is not there, or damaged.
        RuntimeUnavailable: If it is for another Python, or for other processors.
    """
    from rlops.registry.labels import about
    from rlops.registry.processors import check_processor
    from rlops.registry.references import Reference
    from rlops.registry.runtimes.docker import write_archive
    from rlops.registry.store import Store
    from rlops.registry.unpacking import unpack
    from rlops.registry.wheels import python_tag

    store = Store.default()
    reference = Reference.parse(ref).checked_fixed()
    descriptor = store.resolve(reference)
    manifest = store.manifest(descriptor)
    config = store.read(manifest.config)
    told = about(config)
    python = told.labels.get("dev.rlops.python", "")
    if runtime == "process" and python != python_tag():
        raise RuntimeUnavailable(
            f"A process runs an image with this Python, {python_tag()}, but {ref} is for {python or 'none'}. "
            "Use docker or podman."
        )
    variables = dict(line.split("=", 1) for line in json.loads(config)["config"].get("Env") or [])
    check_processor(variables.get("NUMBA_CPU_NAME", ""))
    layers = [store.blob_path(layer.digest) for layer in manifest.layers]

    def archive(file: Any) -> None:
        for layer in manifest.layers:
            with store.reading(layer) as reader:
                reader.drain()
        write_archive(file, config, manifest.config.digest, layers)

    return Image(
        Identity(told.id, descriptor.digest, told.fingerprint.as_json()),
        root=unpack(store, descriptor) if runtime == "process" else None,
        variables=variables,
        config_digest=manifest.config.digest,
        archive=archive,
    )


def check_signature(ref: str, trusted: Path) -> None:
    """Raise if no key of ``trusted``, a file or a folder, has signed an image in the store on this machine.

    Raises:
        UntrustedImage: If none has.
    """
    from rlops.registry import signing
    from rlops.registry.references import Reference
    from rlops.registry.store import Store

    store = Store.default()
    signing.verify(store, store.resolve(Reference.parse(ref).checked_fixed()), trusted)


def check_fingerprint(env: RemoteVectorEnv) -> dict[str, str]:
    """Recompute the fingerprint where the environment runs and return it.

    The exact tier is held to only on the class of platforms that it was taken on, the portable one everywhere.

    Raises:
        IdentityMismatch: If it is not the one that was stated.
    """
    found, stated = env.fingerprint(), dict(env.identity.fingerprint)
    if not stated:
        raise IdentityMismatch("An image must state its fingerprint to be verified, got none. Build it again.")
    if stated.get("platform") != found["platform"]:
        stated.pop("exact", None)
        stated.pop("platform", None)
    Identity(env.identity.id, env.identity.digest, stated).check(Identity(env.identity.id, env.identity.digest, found))
    return found


@dataclass(frozen=True)
class Verified:
    """What was found when an image was started and asked.

    Attributes:
        identity: Environment id, digest and stated fingerprint.
        runtime: What ran it.
        isolation: What that kept it away from.
        fingerprint: Recomputed within.
    """

    identity: Identity
    runtime: str
    isolation: str
    fingerprint: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {
            **self.identity.as_json(), "runtime": self.runtime, "isolation": self.isolation,
            "recomputed": self.fingerprint,
        }  # fmt: skip


def verified(image: Image, runtime: str = "process", require: Sequence[str] = (), **options: Any) -> Verified:
    """Start an image, shake hands, take a step, replay its fingerprint within, and return what was found.

    Raises:
        IdentityMismatch: If it is something else, or does something else, than its labels say.
        NotIsolated, RuntimeUnavailable: If it cannot be run as asked.
    """
    engine = chosen(runtime, require, **options)
    with connect(image, 1, runtime=engine, require=require) as env:
        env.reset(seed=0)
        env.step(env.action_space.sample())
        return Verified(env.identity, engine.name, str(env.isolation), check_fingerprint(env))
