"""What an image consists of, as CycloneDX 1.6: the list that scanners for known weaknesses read."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import BytesParser
from typing import Any

from rlops.errors import InvalidFile
from rlops.registry.layers import File
from rlops.registry.oci import canonical_json
from rlops.registry.references import Reference
from rlops.registry.wheels import Wheel, files_of


def sbom(digest: str, image: Reference, wheels: Iterable[Wheel], project: Mapping[str, File]) -> bytes:
    """Return the list of an image's parts; the same image has the same list.

    Args:
        digest: Of the image's manifest, from which the list's own number follows.
        image: Its name.
        wheels: Its dependencies.
        project: The files of the package itself.
    """
    parts = [_component(files_of(wheel.path, told_only=True), wheel.requirement.sha256) for wheel in wheels]
    parts.append(_component(project, ""))
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'oci:{digest}')}",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "container",
                    "bom-ref": digest,
                    "name": image.repository,
                    "version": digest,
                    "purl": f"pkg:oci/{image.name}@{digest.replace(':', '%3A')}",
                }
            },
            "components": sorted(parts, key=lambda part: str(part["bom-ref"])),
        }
    )


def _component(files: Mapping[str, File], sha256: str) -> dict[str, Any]:
    """Return what a package's METADATA and RECORD say of it."""
    path = next((p for p in files if p.endswith(".dist-info/METADATA") and p.count("/") == 1), None)
    if path is None:
        raise InvalidFile("A wheel must hold METADATA in its .dist-info, but there is none.")
    told: Message = BytesParser().parsebytes(_content(files[path]))
    name, version = str(told["Name"]), str(told["Version"])
    purl = f"pkg:pypi/{name.lower().replace('_', '-').replace('.', '-')}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": _licences(told),
        "properties": [{"name": "dev.rlops.record.sha256", "value": _record(files)}],
    }
    if told["Summary"]:
        component["description"] = str(told["Summary"])
    if sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    return component


def _licences(told: Message) -> list[dict[str, Any]]:
    if told["License-Expression"]:
        return [{"expression": str(told["License-Expression"])}]
    named = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier", []) if c.startswith("License :: ")]
    short = str(told["License"] or "").strip()
    if not named and short and "\n" not in short:
        named = [short]
    return [{"license": {"name": name}} for name in named]


def _record(files: Mapping[str, File]) -> str:
    path = next(p for p in files if p.endswith(".dist-info/RECORD") and p.count("/") == 1)
    return hashlib.sha256(_content(files[path])).hexdigest()


def _content(file: File) -> bytes:
    return b"".join(file.chunks())
