"""Signatures: who says that an image is what it is, and that its dynamics are those of its environment.

A signature is made with an ed25519 key, needs no network and no service, and refers to the image without being part
of it. What is signed is an in-toto statement (DSSE envelope) that names the digest of the image's manifest, the
environment and the fingerprint of its dynamics. Who trusts a key has its public half in a file, or in a folder of such
files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlops.errors import InvalidFile, InvalidValue, MissingExtra, UntrustedImage
from rlops.registry import oci
from rlops.registry.labels import about_image
from rlops.registry.oci import Descriptor
from rlops.registry.references import Reference
from rlops.registry.store import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://rlops.dev/dynamics/v1"
PAYLOAD = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Signed:
    """A signature that holds.

    Attributes:
        key: Id of the key: the beginning of the SHA-256 of its public half.
        file: That holds the trusted public half.
        statement: What was signed.
    """

    key: str
    file: Path
    statement: dict[str, Any]


def make_key(path: Path) -> Path:
    """Make a key: the private half at ``path``, readable by its owner only, the public one beside it (``.pub``).

    Returns:
        Where the public half is.

    Raises:
        InvalidValue: If there is a file already.
    """
    _, ed25519 = _cryptography()
    from cryptography.hazmat.primitives import serialization

    public = path.with_name(path.name + ".pub")
    if path.exists() or public.exists():
        raise InvalidValue(f"{path} must not exist yet: a key is never written over. Name another file.")
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    told = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    public.write_bytes(told)
    return public


def sign(store: Store, reference: Reference, image: Descriptor, key: Path) -> Descriptor:
    """Sign an image of the store and return the descriptor of the signature's manifest.

    Signing again with the same key changes nothing.

    Raises:
        InvalidFile: If there is no such key.
    """
    private = _private(key)
    told = about_image(store, image)
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": reference.tagged, "digest": {"sha256": image.digest.removeprefix("sha256:")}}],
        "predicateType": PREDICATE,
        "predicate": {"environment": told.id, "fingerprint": told.fingerprint.as_json()},
    }
    payload = oci.canonical_json(statement)
    made = {"keyid": key_id(private.public_key()), "sig": _b64(private.sign(_encoded(payload)))}
    envelope = {"payloadType": PAYLOAD, "payload": _b64(payload), "signatures": [made]}
    with store.writing():
        content = oci.canonical_json(envelope)
        return store.add_artifact(image, oci.SIGNATURE, content, **{"dev.rlops.key": made["keyid"]})


def verify(store: Store, image: Descriptor, trusted: Path) -> list[Signed]:
    """Return the signatures of an image by trusted keys.

    Args:
        store: That holds the image and what refers to it.
        image: Its manifest.
        trusted: A public key, or a folder of them (``*.pub``).

    Raises:
        UntrustedImage: If there is none that holds, with what is wrong with each.
        InvalidFile: If there is no trusted key.
    """
    keys = trusted_keys(trusted)
    found, wrong = [], []
    for artifact in store.referrers(image.digest, oci.SIGNATURE):
        try:
            found.append(_verified(store, image, artifact, keys))
        except UntrustedImage as error:
            wrong.append(str(error))
    if not found:
        why = " ".join(wrong) or "It has no signature. Sign it: rlops sign."
        raise UntrustedImage(f"{image.digest} must be signed by one of {len(keys)} trusted keys of {trusted}. {why}")
    return found


def _verified(store: Store, image: Descriptor, artifact: Descriptor, keys: dict[str, Path]) -> Signed:
    from cryptography.exceptions import InvalidSignature

    envelope = json.loads(store.read(store.manifest(artifact).layers[0]))
    payload = base64.b64decode(envelope["payload"])
    for made in envelope["signatures"]:
        if made["keyid"] not in keys:
            continue
        try:
            _public(keys[made["keyid"]]).verify(base64.b64decode(made["sig"]), _encoded(payload))
        except InvalidSignature:
            raise UntrustedImage(f"The signature by key {made['keyid']} does not hold.") from None
        statement = json.loads(payload)
        _check_statement(store, image, statement)
        return Signed(made["keyid"], keys[made["keyid"]], statement)
    signers = ", ".join(made["keyid"] for made in envelope["signatures"])
    raise UntrustedImage(f"It is signed by {signers}, which is not trusted.")


def _check_statement(store: Store, image: Descriptor, statement: dict[str, Any]) -> None:
    told = about_image(store, image)
    expected = {"environment": told.id, "fingerprint": told.fingerprint.as_json()}
    digests = [subject["digest"]["sha256"] for subject in statement["subject"]]
    if statement["_type"] != STATEMENT or statement["predicateType"] != PREDICATE:
        raise UntrustedImage(f"What is signed must be a statement {PREDICATE}, got {statement['predicateType']}.")
    if digests != [image.digest.removeprefix("sha256:")]:
        raise UntrustedImage("What is signed is another image.")
    if statement["predicate"] != expected:
        raise UntrustedImage("What is signed are other dynamics than the image says it has.")


def trusted_keys(path: Path) -> dict[str, Path]:
    """Return the trusted public keys by their id.

    Raises:
        InvalidFile: If there is none.
    """
    files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
    if not files:
        raise InvalidFile(f"{path} must hold public keys (*.pub), got none.")
    return {key_id(_public(file)): file for file in files}


def key_id(key: Ed25519PublicKey) -> str:
    """Return the beginning of the SHA-256 of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def _encoded(payload: bytes) -> bytes:
    """Return what DSSE signs: type and payload, each with its length."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _private(path: Path) -> Ed25519PrivateKey:
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidFile(f"{path} must hold a private key; make one: rlops sign --new-key {path}. {error}") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InvalidFile(f"{path} must hold an ed25519 key, got another kind.")
    found: Ed25519PrivateKey = key
    return found


def _public(path: Path) -> Ed25519PublicKey:
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} must hold a public key. {error}") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidFile(f"{path} must hold an ed25519 key, got another kind.")
    found: Ed25519PublicKey = key
    return found


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtra("Signing and verifying", "registry") from None
    return serialization, ed25519
