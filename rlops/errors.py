"""Every exception of rlops.

Each message says what must hold, what was got and what to do::

    RlopsError
    ├── UnknownName(KeyError)      an id, version, parameter, option or controller that does not exist
    ├── InvalidValue(ValueError)   a value that has the wrong type, shape, unit or range
    │   ├── InvalidAction          an action outside the action space; names row, value and step
    │   └── InvalidFile            a file that cannot be used; names file, row and column
    ├── EpisodeEnded               a step after the end of an episode, or before the first reset
    ├── MissingExtra(ImportError)  an optional dependency that is not installed
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
    """Base of every error that rlops raises on purpose."""


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


class EpisodeEnded(RlopsError, RuntimeError):
    """A step was asked for although no episode is running."""


class MissingExtra(RlopsError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str):
        """Say ``what`` needs the ``extra``."""
        super().__init__(f"{what} needs an optional dependency. Install it: pip install 'rlops[{extra}]'.")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.args))


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


class Refused(RemoteError):
    """A server does not take the client: it is full, or the token is wrong."""


class RuntimeUnavailable(RlopsError):
    """What should run an image is not installed, does not answer, or could not start it."""


class NotIsolated(RuntimeUnavailable):
    """A runtime does not isolate what it is required to isolate."""


def _rebuilt(kind: type[RlopsError], args: tuple[object, ...]) -> RlopsError:
    """Return an exception whose constructor does not take its own ``args`` (for pickling)."""
    error = kind.__new__(kind)
    error.args = args
    return error
