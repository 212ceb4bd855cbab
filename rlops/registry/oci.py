"""The documents of an OCI image, as far as rlops reads and writes them: descriptors, manifests, indexes.

Documents are written as canonical JSON (sorted keys, no spaces, UTF-8), so that the same content has the same digest.
What was read is never written anew: its digest is that of the bytes that came.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from rlops.errors import CorruptContent

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)

SBOM = "application/vnd.cyclonedx+json"
SIGNATURE = "application/vnd.rlops.signature.v1"
GOLDEN = "application/vnd.rlops.golden.v1"

REF_NAME = "org.opencontainers.image.ref.name"
LAYER_OF = "dev.rlops.layer"
"""Annotation of a layer: ``dependencies``, ``project`` or ``compiled``; a base image's layers have none."""

LARGEST_MANIFEST = 4 * 1024 * 1024
"""Bytes that a manifest may have; the distribution protocol's own limit."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_M = TypeVar("_M", bound="_Document")


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, strict=True)

    def as_json(self) -> dict[str, Any]:
        """Return the fields under their names in JSON; what is not set is left out."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def encoded(self) -> bytes:
        """Return canonical JSON."""
        return canonical_json(self.as_json())


class Platform(_Document):
    """For which machines an image is."""

    architecture: str
    os: str


def this_platform() -> Platform:
    """Return what an image must be for to run here."""
    return Platform(architecture=_MACHINES.get(platform.machine(), platform.machine()), os="linux")


_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "AMD64": "amd64"}


class Descriptor(_Document):
    """What a blob or manifest is, and how it is told from any other."""

    media_type: str
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0)
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    platform: Platform | None = None

    def annotated(self, **annotations: str) -> Descriptor:
        """Return it with other annotations."""
        return self.model_copy(update={"annotations": annotations or None})


class Manifest(_Document):
    """An image, or an artifact that refers to one (its ``subject``)."""

    schema_version: int = Field(default=2, ge=2, le=2)
    media_type: str = MANIFEST
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None

    @property
    def blobs(self) -> list[Descriptor]:
        """Everything that it consists of."""
        return [self.config, *self.layers]


class Index(_Document):
    """Several manifests: the platforms of an image, the tags of a layout, or what refers to an image."""

    schema_version: int = Field(default=2, ge=2, le=2)
    media_type: str = INDEX
    manifests: list[Descriptor]


def manifest_of(content: bytes) -> Manifest:
    """Return the manifest that ``content`` holds.

    Raises:
        CorruptContent: If it is none.
    """
    return _parsed(Manifest, content, "manifest")


def index_of(content: bytes) -> Index:
    """Return the index that ``content`` holds.

    Raises:
        CorruptContent: If it is none.
    """
    return _parsed(Index, content, "index")


def _parsed(kind: type[_M], content: bytes, what: str) -> _M:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise CorruptContent(f"An OCI {what} was expected, but in what came {where}: {first['msg']}.") from None


def media_type_of(content: bytes) -> str:
    """Return the type that a manifest or index says it has, or has by what it holds.

    Raises:
        CorruptContent: If it is neither.
    """
    try:
        document = json.loads(content)
    except ValueError as error:
        raise CorruptContent(f"A manifest must be JSON, got {error}.") from None
    if not isinstance(document, dict):
        raise CorruptContent(f"A manifest must be a JSON object, got {type(document).__name__}.")
    told = document.get("mediaType") or (INDEX if "manifests" in document else MANIFEST)
    if told not in (*MANIFESTS, *INDEXES):
        raise CorruptContent(f"A manifest must be of one of the types {MANIFESTS + INDEXES}, got {told!r}.")
    return str(told)


def children(content: bytes) -> list[Descriptor]:
    """Return what a manifest or index consists of: blobs, or other manifests; its subject is not part of it."""
    if media_type_of(content) in INDEXES:
        return index_of(content).manifests
    return manifest_of(content).blobs


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces.

    >>> canonical_json({"b": "é", "a": [1, None]}).decode()
    '{"a":[1,null],"b":"é"}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(content: bytes) -> str:
    """Return the digest of ``content``: ``sha256:`` and 64 digits."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def checked_digest(text: str) -> str:
    """Return ``text``.

    Raises:
        CorruptContent: If it is not a digest by SHA-256, the only one that is used.
    """
    if not _DIGEST.fullmatch(text):
        raise CorruptContent(f"A digest must be sha256: and 64 digits 0-9a-f, got {text!r}.")
    return text


def descriptor_of(content: bytes, media_type: str, **annotations: str) -> Descriptor:
    """Return the descriptor of ``content``."""
    return Descriptor(
        media_type=media_type, digest=digest_of(content), size=len(content), annotations=annotations or None
    )
