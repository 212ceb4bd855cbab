"""What an image says of itself: labels in its configuration, so that ``docker inspect`` is enough to know it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlops.errors import CorruptContent
from rlops.registry.dynamics.fingerprint import Fingerprint
from rlops.registry.oci import Descriptor, canonical_json
from rlops.registry.remote.protocol import VERSION
from rlops.registry.store import Store

OCI = "org.opencontainers.image."
OWN = "dev.rlops."
PROTOCOL = VERSION
"""Version of the protocol that an image's server speaks."""


@dataclass(frozen=True)
class About:
    """What the labels of an image say of its environment.

    Attributes:
        id: Of the environment.
        fingerprint: Of its dynamics.
        labels: All of them.
    """

    id: str
    fingerprint: Fingerprint
    labels: Mapping[str, str]

    @property
    def told(self) -> dict[str, Any]:
        """The labels, those of rlops as the JSON that they hold."""
        return {name: _plain(value) if name.startswith(OWN) else value for name, value in self.labels.items()}


def labels(facts: Mapping[str, Any], version: str, created: str, **more: str) -> dict[str, str]:
    """Return the labels of an image.

    Args:
        facts: What the code within says of itself (:mod:`rlops.registry.probe`).
        version: The image's version.
        created: When, as RFC 3339.
        more: Further labels of rlops.
    """
    own: dict[str, Any] = {
        "env.id": facts["id"],
        "env.reason": facts["reason"],
        "env.spec": facts["spec"],
        "env.spaces": facts["spaces"],
        "env.parameters": facts["parameters"],
        "env.autoreset": facts["autoreset"],
        "env.randomization": facts["fingerprint"]["randomization"],
        "fingerprint": facts["fingerprint"],
        "fingerprint.platform": facts["fingerprint"]["platform"],
        "protocol": PROTOCOL,
        "rlops": facts["rlops"],
        **more,
    }
    told = {
        "title": facts["id"],
        "description": facts["story"],
        "version": version,
        "created": created,
        "licenses": "Apache-2.0",
        "vendor": "rlops",
    }
    found = {OCI + name: value for name, value in told.items()}
    found |= {OWN + name: v if isinstance(v, str) else canonical_json(_finite(v)).decode() for name, v in own.items()}
    return dict(sorted(found.items()))


def _finite(value: Any) -> Any:
    """Return what is declared with infinite bounds as the texts ``inf`` and ``-inf``: JSON has no number for them."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def about(config: bytes) -> About:
    """Return what the configuration of an image says of it.

    Raises:
        CorruptContent: If it is no image of rlops.
    """
    try:
        told = json.loads(config)["config"]["Labels"] or {}
        fingerprint = Fingerprint(**json.loads(told[OWN + "fingerprint"]))
        return About(told[OWN + "env.id"], fingerprint, told)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptContent(f"An image of rlops must say its id and fingerprint in labels, got: {error!r}.") from None


def about_image(store: Store, image: Descriptor) -> About:
    """Return what the labels of an image in the store say."""
    return about(store.read(store.manifest(image).config))


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
