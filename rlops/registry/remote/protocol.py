"""The handshake: version, who serves what, spaces, layouts, and who may come in.

Three frames of JSON: the server's **challenge**, the client's **opening**, the server's **welcome**. ``docs/remote.md``
has a table of each.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import rlops.errors
from rlops.errors import (
    IdentityMismatch,
    InvalidFile,
    InvalidValue,
    ProtocolError,
    Refused,
    RemoteError,
    RlopsError,
)
from rlops.registry.remote.frames import MAJOR

VERSION = f"{MAJOR}.0.0"
"""Semantic version of the protocol. Another major: refused. Another minor: what only one side knows is not used."""

CALLS = (
    "action_masks",
    "set_params",
    "save_state",
    "load_state",
    "clone_rows",
    "params",
    "state",
    "randomize",
    "render",
    "fingerprint",
)
"""What a client may call besides reset and step; a server states those that its environment has."""

Token = bytes


# -- versions ----------------------------------------------------------------------------------------------


def check_version(theirs: Any) -> str:
    """Return what is to be told about another minor version of the protocol; empty for the same.

    Raises:
        ProtocolError: For another major version, or none.
    """
    parts = str(theirs).split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ProtocolError(f"A protocol's version must look like {VERSION}, got {theirs!r}.")
    ours = VERSION.split(".")
    if parts[0] != ours[0]:
        raise ProtocolError(
            f"Both sides must speak the same major version of the protocol: this side speaks {VERSION}, the other "
            f"{theirs}. Install releases of rlops that do, or pull an image that does."
        )
    if parts[1] == ours[1]:
        return ""
    return f"The other side speaks version {theirs} of the protocol, this side {VERSION}: only what both know is used."


# -- identity ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """What is served, or asked for; an empty field is not known, or not asked for.

    Attributes:
        id: Of the environment, for example ``rlops/Dispatch-v2``.
        digest: Of the image, ``sha256:…``.
        fingerprint: Of the dynamics, field by field (:class:`rlops.registry.dynamics.fingerprint.Fingerprint`).
    """

    id: str = ""
    digest: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self) | {"fingerprint": dict(self.fingerprint)}

    @classmethod
    def from_json(cls, told: Any) -> Identity:
        """Return the identity that was told.

        Raises:
            ProtocolError: If none was.
        """
        try:
            return cls(str(told["id"]), str(told["digest"]), {str(k): str(v) for k, v in told["fingerprint"].items()})
        except (KeyError, TypeError, AttributeError):
            raise ProtocolError(f"An identity must have id, digest and fingerprint, got {told!r:.200}.") from None

    @classmethod
    def of_this_image(cls, id: str) -> Identity:
        """Return what the image's environment variables say of it; nothing outside an image.

        Raises:
            InvalidValue: If the fingerprint there is not JSON.
        """
        stated = os.environ.get("RLOPS_IMAGE_FINGERPRINT", "")
        try:
            fingerprint = {str(name): str(value) for name, value in json.loads(stated or "{}").items()}
        except (ValueError, AttributeError):
            raise InvalidValue(f"RLOPS_IMAGE_FINGERPRINT must be a JSON object, got {stated!r:.80}.") from None
        return cls(id, os.environ.get("RLOPS_IMAGE_DIGEST", ""), fingerprint)

    def check(self, served: Identity) -> None:
        """Hold what is ``served`` to this identity, as far as it says anything.

        Raises:
            IdentityMismatch: If something else is served.
        """
        wanted = {"id": self.id, "digest": self.digest, **self.fingerprint}
        got = {"id": served.id, "digest": served.digest, **served.fingerprint}
        for name, value in wanted.items():
            if value and value != got.get(name, ""):
                what = {"id": "environment", "digest": "image digest"}.get(name, f"fingerprint's field {name}")
                raise IdentityMismatch(
                    f"The server's {what} must be {value}, got {got.get(name) or 'none'}. "
                    "It serves something else: start it from the image that is meant, or pull that again."
                )


# -- who may come in ---------------------------------------------------------------------------------------


def new_challenge(token: Token | None) -> dict[str, Any]:
    """Return a server's challenge."""
    nonce = secrets.token_hex(16) if token is not None else ""
    return {"protocol": VERSION, "authentication": "hmac-sha256" if token is not None else "none", "nonce": nonce}


def proof(token: Token | None, nonce: str) -> str:
    """Return what shows that one knows ``token``, without telling it."""
    return hmac.new(token, nonce.encode(), hashlib.sha256).hexdigest() if token is not None else ""


def check_proof(token: Token | None, nonce: str, given: Any) -> None:
    """Let a client in.

    Raises:
        Refused: If it does not know the token.
    """
    if token is not None and not hmac.compare_digest(proof(token, nonce), str(given)):
        raise Refused(
            "The client must know the server's token, and does not. Give it the file that --token named: token=…"
        )


def read_token(path: str | Path) -> Token:
    """Return the token in a file.

    Raises:
        InvalidFile: If there is none of at least 16 bytes.
    """
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise InvalidFile(f"The token's file {path} must be readable, got: {error.strerror}.") from None
    if len(token) < 16:
        raise InvalidFile(
            f"The token in {path} must have at least 16 bytes, got {len(token)}. Make one: openssl rand -hex 32."
        )
    return token


# -- spaces ------------------------------------------------------------------------------------------------


def space_as_json(space: gym.Space[Any]) -> dict[str, Any]:
    """Return a space ready for JSON.

    Raises:
        InvalidValue: If a space of this kind cannot travel.
    """
    spaces = gym.spaces
    if isinstance(space, spaces.Box):
        return {
            "space": "Box", "dtype": space.dtype.str, "shape": list(space.shape), "low": _numbers(space.low),
            "high": _numbers(space.high),
        }  # fmt: skip
    if isinstance(space, spaces.Discrete):
        return {"space": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": space.dtype.str}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "space": "MultiDiscrete", "dtype": space.dtype.str, "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
        }  # fmt: skip
    if isinstance(space, spaces.MultiBinary):
        return {"space": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"space": "Dict", "spaces": [[name, space_as_json(one)] for name, one in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"space": "Tuple", "spaces": [space_as_json(one) for one in space.spaces]}
    raise InvalidValue(
        f"A space that travels must be Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple, got {space}."
    )


def space_from_json(told: Any) -> gym.Space[Any]:
    """Return the space that :func:`space_as_json` returned as JSON.

    Raises:
        ProtocolError: If it is none.
    """
    try:
        return _space(told)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise ProtocolError(f"A space must be told as docs/remote.md says, got {told!r:.200} ({error}).") from None


def _space(told: Any) -> gym.Space[Any]:
    spaces, kind = gym.spaces, told["space"]
    if kind == "Dict":
        return spaces.Dict({str(name): _space(one) for name, one in told["spaces"]})
    if kind == "Tuple":
        return spaces.Tuple([_space(one) for one in told["spaces"]])
    if kind == "MultiBinary":
        shape = told["shape"]
        return spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)
    dtype: Any = np.dtype(told["dtype"]).type
    if kind == "Box":
        shape = tuple(told["shape"])
        low, high = (_array(told[bound], dtype, shape) for bound in ("low", "high"))
        return spaces.Box(low, high, shape, dtype)
    if kind == "Discrete":
        return spaces.Discrete(told["n"], start=told["start"], dtype=dtype)
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(np.array(told["nvec"]), dtype=dtype, start=np.array(told["start"]))
    raise ValueError(f"{kind!r} is no kind of space")


def _numbers(bound: np.ndarray) -> Any:
    """Return a bound as numbers: one, if all are equal; infinity as a text, for which JSON has no number."""
    flat = bound.ravel().tolist()
    told = [number if math.isfinite(number) else str(float(number)) for number in flat]
    return told[0] if told and all(number == told[0] for number in told) else told


def _array(told: Any, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    flat = told if isinstance(told, list) else [told] * math.prod(shape)
    numbers = [float(number) if isinstance(number, str) else number for number in flat]
    return np.array(numbers, dtype).reshape(shape)


# -- errors ------------------------------------------------------------------------------------------------

_OTHERS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    AssertionError,
    RuntimeError,
)
"""Errors of an environment that are not of rlops, and travel by their name."""


def error_as_json(error: BaseException) -> dict[str, str]:
    """Return the type and the message of an error."""
    name = type(error).__name__ if isinstance(error, (RlopsError, *_OTHERS)) else "RemoteError"
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return {"type": name, "message": message if name == type(error).__name__ else f"{type(error).__name__}: {message}"}


def error_from_json(told: Any) -> Exception:
    """Return the error that happened on the other side; of a type that is not known here: ``RemoteError``."""
    name, message = (str(told.get(part, "")) for part in ("type", "message")) if isinstance(told, dict) else ("", told)
    kind: Any = getattr(rlops.errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, RlopsError)):
        kind = next((one for one in _OTHERS if one.__name__ == name), RemoteError)
    error: Exception = kind.__new__(kind)
    error.args = (message,)
    return error
