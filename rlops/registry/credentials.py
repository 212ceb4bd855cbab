"""What Docker knows of registries: names and passwords from its ``config.json``, or from the helpers that it names."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlops.errors import AccessDenied, InvalidFile

_HUB = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HELPER_S = 30.0


@dataclass(frozen=True)
class Credentials:
    """A name and its password; neither is ever printed."""

    user: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of the header ``Authorization``."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def docker_credentials(host: str) -> Credentials | None:
    """Return what Docker would show to the registry ``host``; None: nothing.

    ``config.json`` lies in ``$DOCKER_CONFIG``, or in ``~/.docker``. A helper for the host is asked before the file's
    own entries are read, as Docker does.

    Raises:
        InvalidFile: If the file is damaged.
        AccessDenied: If a helper is missing or fails, or there is only a token of an identity provider.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidFile(f"{path} must be JSON, got: {error}. Repair it, or log in again: docker login.") from None
    if not isinstance(config, dict):
        raise InvalidFile(f"{path} must hold a JSON object, got {type(config).__name__}.")
    names = _names(host)
    helpers = config.get("credHelpers") or {}
    helper = next((helpers[name] for name in names if name in helpers), config.get("credsStore"))
    entries = config.get("auths") or {}
    entry = next((entries[name] for name in names if name in entries), None)
    if helper:
        found = _asked(str(helper), names[0])
        if found or not entry:
            return found
    return _of_entry(entry, host, path) if entry else None


def _names(host: str) -> list[str]:
    if host in _HUB_HOSTS:
        return [_HUB, *_HUB_HOSTS]
    return [host, f"https://{host}", f"http://{host}", f"https://{host}/v2/", f"https://{host}/v1/"]


def _of_entry(entry: dict[str, Any], host: str, path: Path) -> Credentials | None:
    if entry.get("identitytoken"):
        raise AccessDenied(
            f"{path} must hold a name and a password for {host}, got a token of an identity provider, which rlops does "
            "not speak to. Log in with a password or an access token: docker login."
        )
    if not entry.get("auth"):
        return None
    try:
        user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (ValueError, TypeError):
        user = colon = password = ""
    if not colon:
        raise InvalidFile(f"{path} must hold base64 of NAME:PASSWORD for {host}, got something else. Log in again.")
    return Credentials(user, password)


def _asked(helper: str, name: str) -> Credentials | None:
    """Return what the program ``docker-credential-HELPER`` says of a registry; None: it knows nothing."""
    program = f"docker-credential-{helper}"
    try:
        told = subprocess.run(
            [program, "get"], input=name, capture_output=True, text=True, timeout=_HELPER_S, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise AccessDenied(f"Docker keeps the password for {name} with {program}, which failed: {error}.") from None
    if told.returncode:
        if "credentials not found" in told.stdout + told.stderr:
            return None
        raise AccessDenied(f"Docker keeps the password for {name} with {program}, which failed: {told.stdout.strip()}.")
    try:
        found = json.loads(told.stdout)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise AccessDenied(f"{program} must answer with Username and Secret in JSON, got something else.") from None
    if user == "<token>":
        raise AccessDenied(
            f"{program} must know a name and a password for {name}, got a token of an identity provider, which rlops "
            "does not speak to. Log in with a password or an access token."
        )
    return Credentials(user, secret)
