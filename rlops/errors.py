"""Every exception of rlops.

Each message says what must hold, what was got and what to do::

    RlopsError
    ├── UnknownName(KeyError)      an id, version, parameter, option or controller that does not exist
    ├── InvalidValue(ValueError)   a value that has the wrong type, shape, unit or range
    │   ├── InvalidAction          an action outside the action space; names row, value and step
    │   ├── InvalidFile            a file that cannot be used; names file, row and column
    │   └── InvalidReference       a text that names no image, or one that may mean another tomorrow
    ├── NotReproduced              an episode that came out otherwise than its report says
    ├── EpisodeEnded               a step after the end of an episode, or before the first reset
    ├── MissingExtra(ImportError)  an optional dependency that is not installed
    ├── EngineLost(RuntimeError)   a process of a physics engine that has ended
    ├── RegistryError              a store or registry of images that cannot do what was asked
    │   ├── MissingContent         an image, a manifest or a blob that is not there
    │   ├── CorruptContent         bytes that are not what their digest, size or type promises
    │   ├── UnsafeLayer            a layer that would leave its folder, or fill the disk
    │   ├── AccessDenied           a registry that wants other credentials
    │   ├── ImmutableVersion       a released version that would become another image
    │   ├── MovedDynamics          an image whose dynamics are not those of its version
    │   └── UntrustedImage         an image without a valid signature by a trusted key
    ├── RemoteError                what a remote environment could not do
    │   ├── ConnectionLost(ConnectionError)  the other side is gone, or never answered
    │   ├── ReplyTimeout(TimeoutError)       no reply in time; the connection goes on
    │   ├── ProtocolError          bytes that are not of the protocol, or of another version of it
    │   ├── IdentityMismatch       another image or other dynamics than asked for
    │   └── Refused                a server that is full, or a wrong token
    └── RuntimeUnavailable         an engine that is not there, or does not start
        └── NotIsolated            a runtime that does not isolate what it is required to
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RlopsError(Exception):
    """Base of every error that rlops raises on purpose.

    Attributes:
        exit_code: With which the command line ends: 1 a verdict against what was asked for, 2 wrong use, or no verdict.
    """

    exit_code = 2


class UnknownName(RlopsError, KeyError):
    """A name that does not exist; the message lists those that do, the nearest first."""

    def __init__(self, kind: str, name: object, known: Iterable[str], owner: str = "rlops"):
        """Name the ``kind`` of thing, the ``name`` that was asked for and the ``known`` ones of ``owner``."""
        names = sorted(known)
        near = get_close_matches(str(name), names, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        listed = ", ".join(names) or "none"
        super().__init__(f"{owner} has no {kind} named {name!r}.{hint} It has: {listed}.")

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.args))


class InvalidValue(RlopsError, ValueError):
    """A value of the wrong type, shape, unit or range."""


class InvalidAction(InvalidValue):
    """An action that is not in the action space."""


class InvalidFile(InvalidValue):
    """A file whose content cannot be used; the message names the file, the row and the column."""


class InvalidReference(InvalidValue):
    """A text that does not name an image as strictly as is needed."""


class NotReproduced(RlopsError):
    """An episode of a report was played again and came out otherwise."""

    exit_code = 1


class EpisodeEnded(RlopsError, RuntimeError):
    """A step was asked for although no episode is running."""


class MissingExtra(RlopsError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str):
        """Say ``what`` needs the ``extra``."""
        super().__init__(f"{what} needs an optional dependency. Install it: pip install 'rlops[{extra}]'.")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.args))


class EngineLost(RlopsError, RuntimeError):
    """A process that moves rows for a physics engine has ended, or its engine has raised an error."""

    def __init__(self, why: str):
        """Say ``why``."""
        super().__init__(
            f"The physics engine must move the rows, but {why}. Their episodes are lost: make the environment anew."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.args))


class RegistryError(RlopsError):
    """A store or registry of images cannot do what was asked."""


class MissingContent(RegistryError):
    """An image, a manifest or a blob is not there."""


class CorruptContent(RegistryError):
    """Bytes are not what their digest, their size or their type promises."""

    exit_code = 1


class UnsafeLayer(RegistryError):
    """A layer holds what must not be unpacked: a way out of its folder, a device, or too much."""

    exit_code = 1


class AccessDenied(RegistryError):
    """A registry refuses the credentials, or asks for some."""


class ImmutableVersion(RegistryError):
    """A released version would become another image."""

    exit_code = 1


class MovedDynamics(RegistryError):
    """The dynamics of an image are not those that its version has; the message shows the first divergence."""

    exit_code = 1


class UntrustedImage(RegistryError):
    """No trusted key has signed an image."""

    exit_code = 1


class RemoteError(RlopsError):
    """A remote environment could not do what was asked, for a reason that is none of the other errors."""


class ConnectionLost(RemoteError, ConnectionError):
    """The other side of a connection is gone, or was never there."""


class ReplyTimeout(RemoteError, TimeoutError):
    """A reply did not come in time; should it come later, it is not taken for another one."""


class ProtocolError(RemoteError):
    """What came is not of the protocol, or of a version of it that does not fit."""


class IdentityMismatch(RemoteError):
    """A server serves another image, other dynamics or another environment than asked for."""

    exit_code = 1


class Refused(RemoteError):
    """A server does not take the client: it is full, or the token is wrong."""


class RuntimeUnavailable(RlopsError):
    """What should run an image is not installed, does not answer, or could not start it."""


class NotIsolated(RuntimeUnavailable):
    """A runtime does not isolate what it is required to isolate."""

    exit_code = 1


def _rebuilt(kind: type[RlopsError], args: tuple[object, ...]) -> RlopsError:
    """Return an exception whose constructor does not take its own ``args`` (for pickling)."""
    error = kind.__new__(kind)
    error.args = args
    return error
