"""Names of images: ``[host/][namespace/]name[:version][@digest]``, and the environments that they hold.

``localhost:5000/team/dispatch:2.0.1@sha256:…`` is release 0.1 of ``rlops/Dispatch-v2``: the first number of a version
is the N of the environment's id, that is, its dynamics. A full version never changes its meaning; ``latest``, ``2``
and ``2.0`` move on with time, and are refused where the same image is wanted tomorrow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rlops.errors import InvalidReference

LOCAL = ""
"""The host of references to the store on this machine."""

_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST}(?::\d{{1,5}})?)/)??(?P<repository>{_WORD}(?:/{_WORD})*)"
    r"(?::(?P<version>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>[a-z0-9]+:[0-9a-f]+))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RELEASE = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-[0-9A-Za-z.-]+)?")
_ID = re.compile(r"(?:rlops/)?((?:[A-Z][a-z0-9]*)+)-v(\d+)")
_FORM = "[host/][namespace/]name[:version][@sha256:…], for example dispatch:2.0.1"
_LONGEST = 255


@dataclass(frozen=True)
class Reference:
    """What is meant by the name of an image.

    Attributes:
        repository: Namespace and name, for example ``team/dispatch``.
        version: The tag; empty: none is named.
        digest: Of the manifest; empty: none is named.
        host: Registry, with port if it has one; empty: the store on this machine.
    """

    repository: str
    version: str = ""
    digest: str = ""
    host: str = LOCAL

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return what ``text`` means.

        >>> Reference.parse("localhost:5000/team/dispatch:2.0.1")
        Reference(repository='team/dispatch', version='2.0.1', digest='', host='localhost:5000')

        Raises:
            InvalidReference: If it does not follow the grammar.
        """
        host, rest = _split_host(text)
        match = _REFERENCE.fullmatch(rest)
        if match is None or match["host"]:
            raise InvalidReference(f"An image must be named {_FORM}, got {text!r}.{_hint(text)}")
        if host and not re.fullmatch(rf"{_HOST}(?::\d{{1,5}})?", host):
            raise InvalidReference(f"The registry of an image must be HOST or HOST:PORT, got {host!r} in {text!r}.")
        if len(match["repository"]) > _LONGEST:
            raise InvalidReference(f"The name of an image must have at most {_LONGEST} letters, got {text!r}.")
        if match["digest"] and not _DIGEST.fullmatch(match["digest"]):
            raise InvalidReference(f"A digest must be sha256: and 64 digits 0-9a-f, got {match['digest']!r}.")
        return cls(match["repository"], match["version"] or "", match["digest"] or "", host)

    @property
    def name(self) -> str:
        """The last part of the repository, which says what environment it holds."""
        return self.repository.rpartition("/")[2]

    @property
    def release(self) -> tuple[int, int, int] | None:
        """The three numbers of a full version; None for anything that may move."""
        match = _RELEASE.fullmatch(self.version)
        return (int(match[1]), int(match[2]), int(match[3])) if match else None

    @property
    def fixed(self) -> bool:
        """Whether it means the same image for ever: it has a digest or a full version."""
        return bool(self.digest) or self.release is not None

    @property
    def tagged(self) -> str:
        """Host, repository and version without the digest: what a store files the image under."""
        where = f"{self.host}/" if self.host else ""
        return f"{where}{self.repository}" + (f":{self.version}" if self.version else "")

    def __str__(self) -> str:
        return self.tagged + (f"@{self.digest}" if self.digest else "")

    def at(self, digest: str) -> Reference:
        """Return the same name with ``digest``."""
        return replace(self, digest=digest)

    def local(self) -> Reference:
        """Return the same name in the store on this machine."""
        return replace(self, host=LOCAL)

    def checked_fixed(self, allow_moving: bool = False) -> Reference:
        """Return itself; with ``latest`` written out where neither version nor digest is named.

        Raises:
            InvalidReference: If it may mean another image tomorrow, unless ``allow_moving``.
        """
        named = self if self.version or self.digest else replace(self, version="latest")
        if not (named.fixed or allow_moving):
            raise InvalidReference(
                f"{self} must name a full version (2.0.1) or a digest (@sha256:…): {named.version!r} may mean another "
                "image tomorrow. Name one, or allow moving names (--allow-moving)."
            )
        return named


def is_reference(text: str) -> bool:
    """Return whether ``text`` follows the grammar."""
    try:
        Reference.parse(text)
    except InvalidReference:
        return False
    return True


def image_name(id: str) -> str:
    """Return the name of the images that hold environment ``id``.

    >>> image_name("rlops/DatacenterCooling-v0")
    'datacenter-cooling'
    """
    family, _ = _family(id)
    return "-".join(word.lower() for word in re.findall(r"[A-Z][a-z0-9]*", family))


def environment_id(reference: Reference) -> str:
    """Return the id of the environment that an image is named after.

    >>> environment_id(Reference.parse("team/datacenter-cooling:0.3.1"))
    'rlops/DatacenterCooling-v0'

    Raises:
        InvalidReference: If the version is not full, as its first number is the N of the id.
    """
    if reference.release is None:
        raise InvalidReference(f"{reference} must have a full version, as its first number is the N of the id.")
    return f"rlops/{''.join(word.capitalize() for word in reference.name.split('-'))}-v{reference.release[0]}"


def full_id(id: str) -> str:
    """Return ``id`` with its namespace, which may be left out where only environments of rlops are meant.

    >>> full_id("Dispatch-v2")
    'rlops/Dispatch-v2'
    """
    return "rlops/{}-v{}".format(*_family(id))


def _family(id: str) -> tuple[str, int]:
    match = _ID.fullmatch(id)
    if match is None:
        raise InvalidReference(f"An environment must look like rlops/Dispatch-v2, got {id!r}.")
    return match[1], int(match[2])


def _split_host(text: str) -> tuple[str, str]:
    """Return the host, as Docker tells it from a namespace (it has a dot, a port, or is localhost), and the rest."""
    first, slash, rest = text.partition("/")
    if slash and (first == "localhost" or any(sign in first for sign in ".:") or first != first.lower()):
        return first, rest
    return LOCAL, text


def _hint(text: str) -> str:
    if re.fullmatch(_ID, text):
        return f" {text} is an environment: its images are called {image_name(text)}."
    if "://" in text:
        return " Leave out the scheme."
    return " Names are lower case." if text != text.lower() else ""
