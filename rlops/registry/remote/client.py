"""A vector environment whose rows step elsewhere, with the same results and infos, bit for bit."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from rlops.envs import parse_id
from rlops.errors import ConnectionLost, InvalidAction, InvalidValue, ProtocolError, RemoteError
from rlops.registry.remote.carriers import Address, Channel, SharedMemory, connected, parse_address
from rlops.registry.remote.frames import Layout, Op
from rlops.registry.remote.protocol import (
    VERSION,
    Identity,
    Token,
    check_version,
    error_from_json,
    proof,
    space_from_json,
)

TIMEOUT_S = 600.0
"""How long a reply may take: the first step of an environment may compile it."""


class RemoteVectorEnv(gym.vector.VectorEnv[Any, Any, np.ndarray]):
    """A vector environment served by ``rlops serve``, here or elsewhere.

    Attributes:
        identity: What the server says it serves.
        isolation: What the runtime that started the server isolates; None: unknown.
        calls: What can be called besides reset and step.
    """

    def __init__(
        self,
        address: Address | str,
        num_envs: int | None = None,
        *,
        autoreset_mode: AutoresetMode | str | None = None,
        copy: bool = True,
        expect: Identity | None = None,
        shared_memory: bool = False,
        checksums: bool = False,
        token: Token | None = None,
        timeout_s: float = TIMEOUT_S,
        stop: Callable[[], None] | None = None,
        opened: socket.socket | None = None,
        **options: Any,
    ):
        """Connect to a server and open a session with an environment of its own.

        Args:
            address: Path of a Unix socket, or ``tcp://host:port``.
            num_envs: How many rows; None: as many as the server was started for.
            autoreset_mode: NEXT_STEP, SAME_STEP or DISABLED; None: as the server was started.
            copy: Whether what ``reset`` and ``step`` return stays intact; without, it is overwritten by the second step
                after.
            expect: What must be served; anything else is refused.
            shared_memory: Whether arrays go through shared memory, where the server is on this host.
            checksums: Whether every frame carries a CRC-32.
            token: That the server asks for.
            timeout_s: How long a reply may take [s].
            stop: Called once when the environment is closed, collected, or the interpreter ends.
            opened: A socket that is connected to the server already.
            options: Construction options of the environment, for example ``params``.

        Raises:
            ConnectionLost: If there is no server, or it went away.
            ProtocolError: If it speaks another major version of the protocol.
            IdentityMismatch: If it serves something else.
            Refused: If it is full, or the token is wrong.
        """
        place = parse_address(address) if isinstance(address, str) else address
        self._channel = Channel(opened or connected(place, timeout_s), serves=False)
        self._channel.socket.settimeout(timeout_s)
        self._finalizer = weakref.finalize(self, _ended, self._channel, stop, os.getpid())
        self._sequence = 0
        self._expect = expect or Identity()
        self.copy = copy
        try:
            welcome = self._shake_hands(
                {
                    "num_envs": num_envs,
                    "autoreset_mode": None if autoreset_mode is None else AutoresetMode(autoreset_mode).value,
                    "options": options,
                    "shared_memory": shared_memory,
                    "checksums": checksums,
                },
                token,
            )
            self._take(welcome)
        except BaseException:
            self._finalizer()
            raise
        self.isolation: Any = None

    def _shake_hands(self, asked: dict[str, Any], token: Token | None) -> dict[str, Any]:
        channel = self._channel
        challenge = self._told(Op.CHALLENGE)
        told = check_version(challenge.get("protocol"))
        if told:
            warnings.warn(told, stacklevel=3)
        nonce = str(challenge.get("nonce", ""))
        opening = {
            "protocol": VERSION, "proof": proof(token, nonce), "expect": self._expect.as_json(), **asked,
        }  # fmt: skip
        try:
            channel.send_json(Op.OPEN, 0, opening)
        except TypeError as error:
            raise InvalidValue(
                f"Construction options of a remote environment must be what JSON can say, got {error}. "
                "Pass arrays through reset(options=…) or set_params."
            ) from None
        welcome = self._told(Op.WELCOME)
        if welcome.get("shared_memory"):
            # One descriptor comes with one byte, behind the welcome.
            _, descriptors, _, _ = socket.recv_fds(channel.socket, 1, 1)
            if not descriptors:
                raise ProtocolError("Shared memory must come with its descriptor, got none.")
            memory = welcome["shared_memory"]
            channel.shared = SharedMemory(descriptors[0], int(memory["slots"]), int(memory["slot_bytes"]))
        channel.summed = bool(asked["checksums"])
        channel.one_reply = True
        return welcome

    def _told(self, op: Op) -> dict[str, Any]:
        header, told = self._channel.receive()
        if header.op == Op.ERROR:
            raise error_from_json(told)
        if header.op != op or not isinstance(told, dict):
            raise ProtocolError(f"A server must send {op.name.lower()} now, got operation {header.op}.")
        return told

    def _take(self, welcome: dict[str, Any]) -> None:
        """Become what the welcome describes."""
        self._channel.session = int(welcome["session"])
        self.identity = Identity.from_json(welcome["identity"])
        self._expect.check(self.identity)
        self.num_envs = int(welcome["num_envs"])
        self.autoreset_mode = AutoresetMode(welcome["autoreset_mode"])
        self.metadata = {**welcome["metadata"], "autoreset_mode": self.autoreset_mode}
        self.render_mode = welcome["render_mode"]
        self.single_observation_space = space_from_json(welcome["spaces"]["observation"])
        self.single_action_space = space_from_json(welcome["spaces"]["action"])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.calls = tuple(welcome["calls"])
        self.spec = gym.envs.registration.EnvSpec.from_json(welcome["spec"]) if welcome["spec"] else None
        self._channel.sent.add(Layout.from_json(welcome["layouts"]["request"]))
        self._channel.received.add(Layout.from_json(welcome["layouts"]["reply"]))

    # -- requests ------------------------------------------------------------------------------------------

    def _ask(self, op: Op, value: Any, keep: bool = False) -> Any:
        """Send a request and return the value of its reply, never that of another one."""
        channel = self._channel
        if not self._finalizer.alive:
            raise ConnectionLost("The remote environment must be open, but it was closed. Make it again.")
        self._sequence += 1
        lend = self.copy or not keep
        try:
            channel.send(op, self._sequence, value, keep=keep, slot=channel.free_slot(lend))
            while True:
                header, reply = channel.receive(lend)
                if header.sequence >= self._sequence or (header.op == Op.ERROR and header.sequence == 0):
                    break
        except (ConnectionLost, ProtocolError):
            self._finalizer()
            raise
        if header.op == Op.ERROR:
            raise error_from_json(reply)
        if header.op != Op.RESULT or header.sequence != self._sequence or header.session != channel.session:
            self._finalizer()
            raise ProtocolError(
                f"The reply must be to request {self._sequence} of session {channel.session}, got operation "
                f"{header.op} to {header.sequence} of {header.session}."
            )
        return reply

    def call_remote(self, name: str, **arguments: Any) -> Any:
        """Return what a call returns, one of :attr:`calls`."""
        return self._ask(Op.CALL, {"name": name, "arguments": arguments})

    # -- Gymnasium -----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every row, or in the rows of ``options["reset_mask"]``; as in-process."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds = [None if s is None else int(s) for s in seed] if isinstance(seed, (Sequence, np.ndarray)) else seed
        reply: tuple[Any, dict[str, Any]] = self._ask(Op.RESET, {"seed": seeds, "options": options}, keep=True)
        return reply

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every row one step; as in-process.

        Raises:
            InvalidAction, EpisodeEnded: As in-process; no row has been moved then.
            ConnectionLost, ReplyTimeout: If the server is gone, or does not answer.
        """
        reply: tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
        try:
            reply = self._ask(Op.STEP, actions, keep=True)
        except ProtocolError:
            if not self._finalizer.alive:
                raise
            reply = self._ask(Op.STEP, _as_array(actions), keep=True)
        return reply

    def render(self) -> tuple[np.ndarray, ...]:
        """Return the picture of every row, each ``(height, width, 3)`` uint8."""
        pictures: tuple[np.ndarray, ...] = self.call_remote("render")
        return pictures

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal now, ``(n, m)`` bool; the name that sb3-contrib looks for."""
        masks: np.ndarray = self.call_remote("action_masks")
        return masks

    @property
    def kernel(self) -> Any:
        """What the environment of that id declares as it is installed here.

        Raises:
            UnknownName: If it is not.
        """
        family, number = parse_id(self.identity.id)
        return family.kernel(number)

    # -- rows ----------------------------------------------------------------------------------------------

    @property
    def params(self) -> np.ndarray:
        """A copy of the parameter records in force, ``(n,)``; change them with :meth:`set_params`."""
        records: np.ndarray = self.call_remote("params")
        return records

    @property
    def state(self) -> np.ndarray:
        """A copy of the state records, ``(n,)``."""
        records: np.ndarray = self.call_remote("state")
        return records

    def set_params(self, params: Mapping[str, Any], ids: Any = slice(None)) -> None:
        """Change sticky parameters of the rows ``ids`` from their next episode on."""
        self.call_remote("set_params", params=dict(params), ids=self._rows(ids))

    def save_state(self, ids: Any = slice(None)) -> np.ndarray:
        """Return a copy of the rows ``ids`` as records: parameters and state, all that an episode is."""
        saved: np.ndarray = self.call_remote("save_state", ids=self._rows(ids))
        return saved

    def load_state(self, saved: np.ndarray, ids: Any = slice(None)) -> np.ndarray:
        """Put ``saved`` rows in place of the rows ``ids`` and return what all rows observe, ``(n, k)``."""
        seen: np.ndarray = self.call_remote("load_state", saved=saved, ids=self._rows(ids))
        return seen

    def clone_rows(self, source: int, targets: Any) -> None:
        """Make the rows ``targets`` exact copies of the row ``source``."""
        self.call_remote("clone_rows", source=int(source), targets=self._rows(targets))

    def randomize(self, spec: Mapping[str, Any] | str) -> RemoteVectorEnv:
        """Let every episode from now on draw its parameters: a level or a specification; returns itself."""
        self.call_remote("randomize", spec=dict(spec) if isinstance(spec, Mapping) else spec)
        return self

    def fingerprint(self) -> dict[str, str]:
        """Return the fingerprint of the dynamics, recomputed where they are."""
        found: dict[str, str] = self.call_remote("fingerprint")
        return found

    def ping(self) -> None:
        """Ask for a sign of life.

        Raises:
            ConnectionLost, ReplyTimeout: If there is none.
        """
        if self._ask(Op.PING, self._sequence) != self._sequence - 1:
            raise RemoteError("A server must answer a ping with what it was sent.")

    def _rows(self, ids: Any) -> np.ndarray:
        rows: np.ndarray = np.atleast_1d(np.arange(self.num_envs)[ids])
        return rows

    # -- end -----------------------------------------------------------------------------------------------

    def close_extras(self, **kwargs: Any) -> None:
        """End the session, and the server if it was started for this environment."""
        self._finalizer()

    def __enter__(self) -> RemoteVectorEnv:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise InvalidValue(
            "A remote environment must not be pickled: its connection cannot go to another process. Send its reference "
            "or address, and connect there."
        )


def _ended(channel: Channel, stop: Callable[[], None] | None, owner: int) -> None:
    """Close a connection and stop what was started for it, in the process that opened it."""
    if os.getpid() == owner:
        with contextlib.suppress(Exception):
            channel.socket.settimeout(1.0)
            channel.send_json(Op.CLOSE, 0, None)
    channel.close()
    if stop is not None and os.getpid() == owner:
        stop()


def _as_array(actions: Any) -> np.ndarray:
    """Return what cannot travel as it is, for example a tensor, as an array."""
    array = np.asarray(actions)
    if array.dtype.hasobject:
        raise InvalidAction(f"Actions must be numbers, got {type(actions).__name__} of {array.dtype}.")
    return array
