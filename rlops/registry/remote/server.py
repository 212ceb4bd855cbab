"""Serves a vector environment: each client has a session with an environment of its own.

A session is a thread that reads a frame, lets its environment act, and answers. An error of the environment travels to
the client and the session goes on; a client that is gone takes its environment with it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.errors import (
    ConnectionLost,
    InvalidValue,
    ProtocolError,
    Refused,
    RlopsError,
    UnknownName,
)
from rlops.registry.remote.carriers import SLOTS, Address, Channel, SharedMemory, listening, shown, tune
from rlops.registry.remote.frames import ALIGNED, HEADER, Op, layout_of
from rlops.registry.remote.protocol import (
    CALLS,
    VERSION,
    Identity,
    Token,
    check_proof,
    check_version,
    error_as_json,
    new_challenge,
    space_as_json,
)

_HANDSHAKE_S = 30.0
_SLOT_FACTOR = 8
"""Room of a slot over what observations, rewards and flags take: infos come on top, unused room costs nothing."""


@dataclass(frozen=True)
class Offer:
    """What a server serves, and to how many.

    Attributes:
        identity: Environment id, and where known the image's digest and fingerprint.
        num_envs: Rows of a session that asks for no other number.
        autoreset_mode: Of a session that asks for no other.
        options: Construction options of every environment; a session's own come on top.
        sessions: At most so many at a time.
        rows: At most so many over all sessions.
        shared_memory: Whether clients on the same host may have it.
        token: That clients must know; None: none.
        idle_s: The server ends when it has had no session for so long [s]; None: never.
    """

    identity: Identity
    num_envs: int = 1
    autoreset_mode: str = AutoresetMode.NEXT_STEP.value
    options: Mapping[str, Any] = field(default_factory=dict)
    sessions: int = 16
    rows: int = 1 << 20
    shared_memory: bool = True
    token: Token | None = None
    idle_s: float | None = None


class Server:
    """Listens at an address and serves an offer until it is stopped.

    Attributes:
        address: Where it listens; a port of 0 has become the one that was free.
    """

    def __init__(self, offer: Offer, address: Address):
        """Listen at ``address``; nothing is served before :meth:`serve`.

        Raises:
            InvalidValue: If the address cannot be had, or it is one of TCP and there is no token.
            UnknownName: If there is no such environment.
        """
        if not isinstance(address, str) and offer.token is None:
            raise InvalidValue(
                f"A server at {shown(address)} must have a token, as anybody could come in. Give it --token FILE."
            )
        known_spec(offer.identity.id)
        self.offer = offer
        self._listening = listening(address)
        self.address: Address = address if isinstance(address, str) else self._listening.getsockname()[:2]
        self._inode = os.stat(address).st_ino if isinstance(address, str) else 0
        self._stopped = threading.Event()
        self._changes = threading.Lock()
        self._sessions: dict[int, Session] = {}
        self._threads: set[threading.Thread] = set()
        self._numbered = 0
        self._busy_at = time.monotonic()

    def serve(self) -> None:
        """Serve until :meth:`stop` is called, or nobody has had a session for ``idle_s``."""
        self._listening.settimeout(0.2)
        self._busy_at = time.monotonic()
        try:
            while not self._stopped.is_set() and not self._idle():
                with contextlib.suppress(TimeoutError):
                    opened, _ = self._listening.accept()
                    self._begin(opened)
        except OSError:
            if not self._stopped.is_set():
                raise
        finally:
            self._end()

    def stop(self) -> None:
        """Let :meth:`serve` end soon; may be called from a signal handler or another thread."""
        self._stopped.set()

    def _idle(self) -> bool:
        if self._sessions or self.offer.idle_s is None:
            return False
        return time.monotonic() - self._busy_at > self.offer.idle_s

    def _begin(self, opened: socket.socket) -> None:
        opened.settimeout(_HANDSHAKE_S)
        tune(opened)
        with self._changes:
            self._numbered += 1
            session = Session(self, opened, self._numbered)
            thread = threading.Thread(target=self._run, args=(session,), daemon=True, name=f"session-{self._numbered}")
            self._threads.add(thread)
        thread.start()

    def _run(self, session: Session) -> None:
        try:
            session.run()
        finally:
            with self._changes:
                self._threads.discard(threading.current_thread())
                if self._sessions.pop(session.number, None) is not None:  # a look whether it listens is no session
                    self._busy_at = time.monotonic()

    def admit(self, session: Session, rows: int) -> None:
        """Count ``session`` among those that have an environment.

        Raises:
            Refused: If there is no room for it.
        """
        with self._changes:
            if len(self._sessions) >= self.offer.sessions:
                raise Refused(
                    f"A server has at most {self.offer.sessions} sessions at a time, and all are taken. "
                    "Close one, or start it with more: --sessions."
                )
            taken = sum(one.rows for one in self._sessions.values())
            if taken + rows > self.offer.rows:
                raise Refused(
                    f"A server has at most {self.offer.rows} rows over all sessions, {taken} are taken, got {rows}. "
                    "Ask for fewer, or start it with more: --rows."
                )
            session.rows = rows
            self._sessions[session.number] = session

    def _end(self) -> None:
        """Close the sockets, wait for what is under way, and leave nothing behind."""
        self._listening.close()
        if isinstance(self.address, str):
            with contextlib.suppress(OSError):
                if os.stat(self.address).st_ino == self._inode:
                    os.unlink(self.address)
        with self._changes:
            open_sessions, threads = list(self._sessions.values()), list(self._threads)
        for session in open_sessions:
            session.hang_up()
        for thread in threads:
            thread.join(5.0)


class Session:
    """One client and its environment.

    Attributes:
        number: Of the session, in every frame.
        rows: Of its environment.
    """

    def __init__(self, server: Server, opened: socket.socket, number: int):
        """Serve the client at the other end of ``opened``."""
        self.server, self.number, self.rows = server, number, 0
        self._opened = opened
        self._channel = Channel(opened, serves=True)
        self._env: Any = None

    def hang_up(self) -> None:
        """Let :meth:`run` end after what is under way."""
        with contextlib.suppress(OSError):
            self._opened.shutdown(socket.SHUT_RD)

    def run(self) -> None:
        """Shake hands, serve until the client is gone, and close the environment."""
        try:
            if self._shake_hands():
                self._serve()
        except ConnectionLost:
            pass
        except ProtocolError as error:  # what follows cannot be read any more
            self._tell(error, 0)
        finally:
            if self._env is not None:
                self._env.close()
            self._channel.close()

    def _tell(self, error: BaseException, sequence: int) -> None:
        with contextlib.suppress(ConnectionLost):
            self._channel.send_json(Op.ERROR, sequence, error_as_json(error))

    # -- handshake -----------------------------------------------------------------------------------------

    def _shake_hands(self) -> bool:
        """Make the environment that the client asks for; false if it is not let in."""
        challenge = new_challenge(self.server.offer.token)
        try:
            self._channel.send_json(Op.CHALLENGE, 0, challenge)
            header, opening = self._channel.receive()
            if header.op != Op.OPEN or not isinstance(opening, dict):
                raise ProtocolError(f"A client must answer a challenge with an opening, got operation {header.op}.")
            check_version(opening.get("protocol"))
            check_proof(self.server.offer.token, challenge["nonce"], opening.get("proof"))
            wanted = Identity.from_json(opening.get("expect", Identity().as_json()))
            wanted.check(self.server.offer.identity)
            welcome, descriptor = self._open(opening)
        except RlopsError as error:
            self._tell(error, 0)
            return False
        except Exception as error:  # of the environment's constructor
            self._tell(error, 0)
            return False
        try:
            self._channel.session = self.number
            self._channel.send_json(Op.WELCOME, 0, welcome)
            if descriptor is not None:
                socket.send_fds(self._opened, [b"\0"], [descriptor])
        finally:
            if descriptor is not None:
                self._channel.shared = SharedMemory(descriptor, SLOTS, welcome["shared_memory"]["slot_bytes"])
        self._channel.summed = bool(opening.get("checksums"))
        self._opened.settimeout(None)
        return True

    def _open(self, opening: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        """Return the welcome, and a descriptor of shared memory if that was asked for."""
        offer = self.server.offer
        rows, mode = opening.get("num_envs"), opening.get("autoreset_mode")
        rows = offer.num_envs if rows is None else rows
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise InvalidValue(f"num_envs must be a whole number of at least 1, got {rows!r}.")
        self.server.admit(self, rows)
        options = {**offer.options, **opening.get("options", {})}
        env = self._env = made(offer.identity.id, rows, offer.autoreset_mode if mode is None else mode, options)
        self._numbers = np.arange(rows)
        actions = gym.vector.utils.create_empty_array(env.single_action_space, rows, fn=np.zeros)
        observations = gym.vector.utils.create_empty_array(env.single_observation_space, rows, fn=np.zeros)
        flags = np.zeros(rows, np.bool_)
        request, _ = layout_of(actions, 1)
        reply, _ = layout_of((observations, np.zeros(rows), flags, flags.copy(), {}), 1)
        self._channel.received.add(request)
        self._channel.sent.add(reply)
        welcome: dict[str, Any] = {
            "protocol": VERSION,
            "session": self.number,
            "identity": offer.identity.as_json(),
            "spec": spec_as_json(offer.identity.id, options),
            "num_envs": rows,
            "autoreset_mode": AutoresetMode(env.metadata["autoreset_mode"]).value,
            "metadata": _plain(env.metadata),
            "render_mode": env.render_mode,
            "spaces": {
                "observation": space_as_json(env.single_observation_space),
                "action": space_as_json(env.single_action_space),
            },
            "layouts": {"request": request.as_json(), "reply": reply.as_json()},
            "calls": self._known_calls(),
            "shared_memory": None,
        }
        if not (opening.get("shared_memory") and offer.shared_memory and self._opened.family == socket.AF_UNIX):
            return welcome, None
        room = HEADER.size + _SLOT_FACTOR * (reply.size + request.size) + (1 << 20)
        room = -(-room // mmap_page()) * mmap_page()
        welcome["shared_memory"] = {"slots": SLOTS, "slot_bytes": room}
        return welcome, SharedMemory.descriptor(SLOTS, room)

    def _known_calls(self) -> list[str]:
        there = [name for name in CALLS if hasattr(self._env, name)]
        ours = hasattr(self._env, "draw_parameters")
        return sorted({*there, "render", "fingerprint", *(["randomize"] if ours else [])})

    # -- serving -------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        verbs: dict[int, Callable[[Any], Any]] = {
            Op.STEP: self._env.step, Op.RESET: self._reset, Op.CALL: self._call, Op.PING: lambda value: value,
        }  # fmt: skip
        channel = self._channel
        in_slots = self._show_in_slots()
        while True:
            header, value = channel.receive()
            if header.session != self.number:
                raise ProtocolError(f"A frame must be of session {self.number}, got {header.session}.")
            if header.op == Op.CLOSE:
                return
            if header.op not in verbs:
                self._tell(
                    ProtocolError(f"An operation must be one of docs/remote.md, got {header.op}."), header.sequence
                )
                continue
            slot, keep = self._slot(header.slot), header.op in (Op.STEP, Op.RESET)
            try:
                if in_slots:
                    self._env.turn_to(slot - 1 if slot and keep else None)
                result = verbs[header.op](value)
                channel.send(Op.RESULT, header.sequence, result, keep=keep, slot=slot)
            except ConnectionLost:
                raise
            except Exception as error:
                self._tell(error, header.sequence)

    def _slot(self, wanted: int) -> int:
        shared = self._channel.shared
        return wanted if shared is not None and 0 < wanted < len(shared.slots) else 0

    def _show_in_slots(self) -> bool:
        """Let the environment, if it can, write what it observes where the client reads it."""
        shared, space = self._channel.shared, self._env.observation_space
        if shared is None or not hasattr(self._env, "show_in"):
            return False
        places = [np.ndarray(space.shape, space.dtype, frame.bytes, HEADER.size) for frame in shared.slots[1:]]
        self._env.show_in(places)
        return True

    def _reset(self, value: Any) -> Any:
        given = value if isinstance(value, dict) else {}
        return self._env.reset(seed=given.get("seed"), options=given.get("options"))

    def _call(self, value: Any) -> Any:
        """Return what a call that the server has stated returns."""
        if not isinstance(value, dict) or not isinstance(value.get("arguments", {}), dict):
            raise ProtocolError(f"A call must have a name and arguments, got {value!r:.200}.")
        name, arguments = value.get("name"), value.get("arguments", {})
        known = self._known_calls()
        if name not in known:
            raise UnknownName("call", name, known, self.server.offer.identity.id)
        if name == "fingerprint":
            return fingerprint_of(self.server.offer.identity.id)
        if name == "randomize":
            from rlops.randomization import randomize

            randomize(self._env, **arguments)
            return None
        found = getattr(self._env, str(name))
        if "ids" in arguments:
            arguments["ids"] = self._numbers[arguments["ids"]]
        return found(**arguments) if callable(found) else found


def known_spec(id: str) -> gym.envs.registration.EnvSpec:
    """Return the specification of an installed id.

    Raises:
        UnknownName: If nothing is installed under it.
    """
    try:
        return gym.spec(id)
    except gym.error.Error:
        raise UnknownName("environment", id, [name for name in gym.registry if name.startswith("rlops/")]) from None


def made(id: str, rows: int, autoreset_mode: str, options: Mapping[str, Any]) -> Any:
    """Return the vector environment of an installed id, without copies: what it returns is sent at once."""
    import warnings

    try:
        mode = AutoresetMode(autoreset_mode)
    except ValueError:
        raise UnknownName("autoreset_mode", autoreset_mode, [m.value for m in AutoresetMode], id) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        if str(known_spec(id).vector_entry_point).startswith("rlops.envs.faces:"):
            return gym.make_vec(id, num_envs=rows, autoreset_mode=mode, **{**options, "copy": False})
        return gym.make_vec(
            id,
            num_envs=rows,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": mode, "copy": False},
            **options,
        )


def spec_as_json(id: str, options: Mapping[str, Any]) -> str | None:
    """Return the specification of an environment as Gymnasium writes it; None if an option of it is no JSON."""
    spec = copy.deepcopy(known_spec(id))
    spec.kwargs.update(options)
    try:
        return str(spec.to_json())
    except Exception:  # Gymnasium names no type of error
        return None


def fingerprint_of(id: str) -> dict[str, Any]:
    """Return the fingerprint of what is installed, recomputed."""
    from rlops.registry.dynamics.fingerprint import fingerprint
    from rlops.registry.dynamics.subjects import subject

    return fingerprint(subject(id)).as_json()


def mmap_page() -> int:
    """Return a multiple of the alignment by which slots begin [B]."""
    import mmap

    return max(mmap.PAGESIZE, ALIGNED)


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    plain = (bool, int, float, str, type(None), list)
    return {str(name): value for name, value in metadata.items() if type(value) in plain}
