"""What any server of the protocol must do, whatever it is written in: checks by frames, from a client's side.

``rlops conformance ADDRESS`` runs them. Each check opens connections of its own, so that one that fails does not spoil
the next.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import data_equivalence

from rlops.errors import ConnectionLost, ProtocolError, RlopsError
from rlops.registry.remote.carriers import Address, Channel, connected, parse_address
from rlops.registry.remote.client import RemoteVectorEnv
from rlops.registry.remote.frames import HEADER, LARGEST_PAYLOAD, MAGIC, MAJOR, Flag, Op
from rlops.registry.remote.protocol import VERSION, Identity, Token, check_version, proof

ROWS = 3
_GONE_S = 20.0


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: What must hold.
        holds: Whether it does; None: it does not apply.
        told: What was found instead.
    """

    name: str
    holds: bool | None
    told: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


class Broken(Exception):
    """What a check found to be wrong."""


class DoesNotApply(Exception):
    """Why a check says nothing of this server."""


class Peer:
    """How to reach the server under test."""

    def __init__(self, address: Address, token: Token | None, timeout_s: float):
        """Test the server at ``address``; a reply that takes longer than ``timeout_s`` is none."""
        self.address, self.token, self.timeout_s = address, token, timeout_s

    @contextlib.contextmanager
    def environment(self, rows: int = ROWS, **options: Any) -> Iterator[RemoteVectorEnv]:
        """Open a session as any client would."""
        with RemoteVectorEnv(self.address, rows, token=self.token, timeout_s=self.timeout_s, **options) as env:
            yield env

    @contextlib.contextmanager
    def channel(self) -> Iterator[tuple[Channel, dict[str, Any]]]:
        """Open a connection and return it with the server's challenge."""
        channel = Channel(connected(self.address, self.timeout_s), serves=False)
        try:
            header, challenge = channel.receive()
            _need(header.op == Op.CHALLENGE and isinstance(challenge, dict), f"the first frame is {header.op}")
            yield channel, challenge
        finally:
            channel.close()

    @contextlib.contextmanager
    def session(self) -> Iterator[tuple[Channel, dict[str, Any]]]:
        """Open a session and return its connection with the welcome."""
        with self.channel() as (channel, challenge):
            channel.send_json(Op.OPEN, 0, self.opening(challenge))
            header, welcome = channel.receive()
            _need(header.op == Op.WELCOME, f"the opening is answered by {header.op}: {welcome}")
            channel.session = welcome["session"]
            yield channel, welcome

    def opening(self, challenge: dict[str, Any], **changed: Any) -> dict[str, Any]:
        """Return an opening for ``ROWS`` rows."""
        return {
            "protocol": VERSION, "proof": proof(self.token, str(challenge.get("nonce", ""))),
            "expect": Identity().as_json(), "num_envs": ROWS, "autoreset_mode": None, "options": {},
            "shared_memory": False, "checksums": False, **changed,
        }  # fmt: skip


def _need(holds: Any, told: str) -> None:
    if not holds:
        raise Broken(told)


def _refused(channel: Channel, what: str) -> dict[str, Any]:
    """Return the error that must come."""
    header, told = channel.receive()
    _need(header.op == Op.ERROR, f"{what} is answered by operation {header.op}, not by an error")
    _need(
        isinstance(told, dict) and {"type", "message"} <= set(told), f"an error must have type and message, got {told}"
    )
    return dict(told)


def _actions(env: RemoteVectorEnv, seed: int) -> Any:
    env.action_space.seed(seed)
    return env.action_space.sample()


def _equal(one: Any, other: Any) -> bool:
    return bool(data_equivalence(one, other, exact=True))


# -- the checks --------------------------------------------------------------------------------------------


def challenge_states_a_version_that_fits(peer: Peer) -> None:
    """The challenge states a semantic version of the same major."""
    with peer.channel() as (_, challenge):
        check_version(challenge.get("protocol"))
        known = ("none", "hmac-sha256")
        _need(challenge.get("authentication") in known, f"authentication is {challenge.get('authentication')!r}")


def another_major_version_is_refused(peer: Peer) -> None:
    """An opening of another major version is answered by a ProtocolError."""
    with peer.channel() as (channel, challenge):
        channel.send_json(Op.OPEN, 0, peer.opening(challenge, protocol=f"{MAJOR + 1}.0.0"))
        told = _refused(channel, "another major version")
        _need(told["type"] == "ProtocolError", f"the error is {told['type']}")


def a_wrong_proof_is_refused(peer: Peer) -> None:
    """Who does not know the token is not let in."""
    with peer.channel() as (channel, challenge):
        if challenge.get("authentication") != "hmac-sha256":
            raise DoesNotApply("the server asks for no token")
        channel.send_json(Op.OPEN, 0, peer.opening(challenge, proof="0" * 64))
        told = _refused(channel, "a wrong proof")
        _need(told["type"] == "Refused", f"the error is {told['type']}")


def another_identity_is_refused(peer: Peer) -> None:
    """Who expects another image is told IdentityMismatch."""
    with peer.channel() as (channel, challenge):
        expect = Identity(digest="sha256:" + "0" * 64).as_json()
        channel.send_json(Op.OPEN, 0, peer.opening(challenge, expect=expect))
        told = _refused(channel, "another digest")
        _need(told["type"] == "IdentityMismatch", f"the error is {told['type']}")


def the_welcome_is_complete(peer: Peer) -> None:
    """The welcome has every field of the specification."""
    with peer.session() as (_, welcome):
        fields = {"protocol", "session", "identity", "spec", "num_envs", "autoreset_mode", "metadata", "render_mode",
                  "spaces", "layouts", "calls", "shared_memory"}  # fmt: skip
        _need(fields <= set(welcome), f"it lacks {sorted(fields - set(welcome))}")
        _need(welcome["num_envs"] == ROWS, f"{ROWS} rows were asked for, got {welcome['num_envs']}")


def results_fit_the_spaces(peer: Peer) -> None:
    """Observations, rewards and flags have the types and shapes that the spaces state."""
    with peer.environment() as env:
        seen, infos = env.reset(seed=0)
        _need(env.observation_space.contains(seen), "an observation of reset is outside its space")
        _need(isinstance(infos, dict), "infos are no dict")
        seen, reward, terminated, truncated, _ = env.step(_actions(env, 0))
        _need(env.observation_space.contains(seen), "an observation of step is outside its space")
        _need(reward.dtype == np.float64 and reward.shape == (ROWS,), f"rewards are {reward.dtype} {reward.shape}")
        for flag in (terminated, truncated):
            _need(flag.dtype == np.bool_ and flag.shape == (ROWS,), f"flags are {flag.dtype} {flag.shape}")


def the_same_seed_gives_the_same_episode(peer: Peer) -> None:
    """A second session with the same seed and actions sees the same, to the last bit."""
    played = []
    for _ in range(2):
        with peer.environment() as env:
            results: list[Any] = [env.reset(seed=7)]
            results += [env.step(_actions(env, k)) for k in range(20)]
            played.append(results)
    _need(_equal(*played), "two sessions with the same seed and actions differ")


def sessions_do_not_touch_each_other(peer: Peer) -> None:
    """What one client does changes nothing for another."""
    with peer.environment() as alone:
        expected: list[Any] = [alone.reset(seed=1), *(alone.step(_actions(alone, k)) for k in range(5))]
    with peer.environment() as one, peer.environment() as other:
        got: list[Any] = [one.reset(seed=1)]
        other.reset(seed=2)
        for k in range(5):
            got.append(one.step(_actions(one, k)))
            other.step(_actions(other, k + 100))
    _need(_equal(expected, got), "another session changed the results")


def replies_carry_the_request_s_number(peer: Peer) -> None:
    """A reply has the sequence number of its request, in any order of numbers that rises."""
    with peer.session() as (channel, _):
        for number in (1, 2, 70_000, 2**63):
            channel.send(Op.PING, number, number)
            header, value = channel.receive()
            _need(
                header.op == Op.RESULT and header.sequence == number, f"ping {number} is answered as {header.sequence}"
            )
            _need(value == number, f"ping {number} returns {value!r}")
            _need(header.session == channel.session, f"the reply is of session {header.session}")


def requests_may_wait_in_line(peer: Peer) -> None:
    """Requests that are sent before the replies are read are answered in order."""
    with peer.session() as (channel, _):
        for number in range(1, 6):
            channel.send(Op.PING, number, None)
        for number in range(1, 6):
            header, _ = channel.receive()
            _need(header.sequence == number, f"reply {number} has number {header.sequence}")


def an_unknown_operation_is_an_error_only(peer: Peer) -> None:
    """An operation that does not exist is an error, after which the session goes on."""
    with peer.session() as (channel, _):
        channel.send_json(200, 1, None)  # type: ignore[arg-type]
        _refused(channel, "operation 200")
        channel.send(Op.PING, 2, None)
        _need(channel.receive()[0].sequence == 2, "the session does not go on")


def an_unknown_call_is_an_error_only(peer: Peer) -> None:
    """A call that the server did not state is UnknownName, after which the session goes on."""
    with peer.environment() as env:
        try:
            env.call_remote("no_such_call")
        except RlopsError as error:
            _need(type(error).__name__ == "UnknownName", f"the error is {type(error).__name__}")
        else:
            raise Broken("a call that does not exist returned")
        env.ping()


def a_bad_action_moves_nothing(peer: Peer) -> None:
    """An action of a wrong shape is an error that moves no row, after which the session goes on."""
    with peer.environment() as env, peer.environment() as other:
        env.reset(seed=3), other.reset(seed=3)
        wrong = np.zeros((ROWS + 1, *(env.single_action_space.shape or ())))
        try:
            env.step(wrong)
        except ConnectionLost:
            raise Broken("a wrong action ended the session") from None
        except Exception:
            pass
        else:
            raise Broken("a wrong action was taken")
        _need(_equal(env.step(_actions(env, 0)), other.step(_actions(other, 0))), "a wrong action moved a row")


def a_layout_is_declared_before_it_is_named(peer: Peer) -> None:
    """A frame that names a layout which nobody declared is a ProtocolError."""
    with peer.session() as (channel, _):
        frame = bytearray(HEADER.size)
        HEADER.pack_into(frame, 0, MAGIC, MAJOR, Op.STEP, 0, channel.session, 77, 1, 0, 0, 0, 0)
        channel.socket.sendall(frame)
        told = _refused(channel, "an unknown layout")
        _need(told["type"] == "ProtocolError", f"the error is {told['type']}")


def what_is_no_frame_ends_the_connection(peer: Peer) -> None:
    """Bytes of something else, and sizes that cannot be, end the connection; the server goes on."""
    too_long = bytearray(HEADER.size)
    HEADER.pack_into(too_long, 0, MAGIC, MAJOR, Op.STEP, 0, 1, 1, 1, LARGEST_PAYLOAD + 1, 0, 0, 0)
    for frame in (b"GET / HTTP/1.1\r\n" + b" " * HEADER.size, bytes(too_long)):
        with peer.session() as (channel, _):
            channel.socket.sendall(frame)
            _ends(channel)
    with peer.session() as (channel, _):
        channel.send(Op.PING, 1, None)
        channel.receive()


def _ends(channel: Channel) -> None:
    """Read until the connection ends."""
    try:
        for _ in range(3):
            channel.receive()
    except ProtocolError as error:
        raise Broken(f"the answer is no frame: {error}") from None
    except ConnectionLost:
        return
    raise Broken("the connection goes on")


def a_wrong_checksum_is_noticed(peer: Peer) -> None:
    """A frame whose checksum is wrong is a ProtocolError."""
    with peer.session() as (channel, _):
        frame = bytearray(HEADER.size) + b"null"
        HEADER.pack_into(
            frame, 0, MAGIC, MAJOR, Op.PING, Flag.JSON | Flag.SUMMED, channel.session, 0, 1, 4, 4, 0xDEADBEEF, 0
        )
        channel.socket.sendall(frame)
        told = _refused(channel, "a wrong checksum")
        _need(told["type"] == "ProtocolError", f"the error is {told['type']}")


def checksums_are_sent_when_asked_for(peer: Peer) -> None:
    """With ``checksums`` every frame after the welcome carries one that is right."""
    with peer.environment(checksums=True) as env:
        env.reset(seed=0)
        env._channel.send(Op.PING, 99, None)
        header, _ = env._channel.receive()
        _need(header.flags & Flag.SUMMED, "a frame has no checksum")


def a_session_ends_with_its_connection(peer: Peer) -> None:
    """A server that is full for a client takes it once another has gone, without a word."""
    opened: list[Channel] = []
    try:
        while len(opened) < 64:
            channel = Channel(connected(peer.address, peer.timeout_s), serves=False)
            opened.append(channel)
            _, challenge = channel.receive()
            channel.send_json(Op.OPEN, 0, peer.opening(challenge))
            if channel.receive()[0].op == Op.ERROR:
                break
        else:
            raise DoesNotApply("the server takes more than 64 sessions")
    finally:
        for channel in opened:
            channel.close()
    until = time.monotonic() + _GONE_S
    while True:
        with peer.channel() as (channel, challenge):
            channel.send_json(Op.OPEN, 0, peer.opening(challenge))
            if channel.receive()[0].op == Op.WELCOME:
                return
        _need(time.monotonic() < until, f"the places of clients that left are taken after {_GONE_S:g} s")
        time.sleep(0.05)


def shared_memory_gives_the_same_results(peer: Peer) -> None:
    """Through shared memory everything is as over the socket."""
    with peer.environment(shared_memory=True) as shared, peer.environment() as other:
        if shared._channel.shared is None:
            raise DoesNotApply("the server offers none here")
        pairs: list[tuple[Any, Any]] = [(shared.reset(seed=5), other.reset(seed=5))]
        pairs += [(shared.step(_actions(shared, k)), other.step(_actions(other, k))) for k in range(20)]
        for one, two in pairs:
            _need(_equal(one, two), "results differ")


CHECKS: tuple[Callable[[Peer], None], ...] = (
    challenge_states_a_version_that_fits,
    another_major_version_is_refused,
    a_wrong_proof_is_refused,
    another_identity_is_refused,
    the_welcome_is_complete,
    results_fit_the_spaces,
    the_same_seed_gives_the_same_episode,
    sessions_do_not_touch_each_other,
    replies_carry_the_request_s_number,
    requests_may_wait_in_line,
    an_unknown_operation_is_an_error_only,
    an_unknown_call_is_an_error_only,
    a_bad_action_moves_nothing,
    a_layout_is_declared_before_it_is_named,
    what_is_no_frame_ends_the_connection,
    a_wrong_checksum_is_noticed,
    checksums_are_sent_when_asked_for,
    a_session_ends_with_its_connection,
    shared_memory_gives_the_same_results,
)


def conformance(
    address: str,
    token: Token | None = None,
    timeout_s: float = 60.0,
    checks: tuple[Callable[[Peer], None], ...] = CHECKS,
) -> list[Finding]:
    """Return what each check found of the server at ``address``.

    Args:
        address: Path of a Unix socket, or ``tcp://host:port``. The server must have three free sessions.
        token: That it asks for.
        timeout_s: A reply that takes longer is none [s].
        checks: Which of :data:`CHECKS`.
    """
    peer = Peer(parse_address(address), token, timeout_s)
    connected(peer.address, timeout_s).close()  # no server at all is no finding
    return [_finding(check, peer) for check in checks]


def _finding(check: Callable[[Peer], None], peer: Peer) -> Finding:
    name = check.__name__.replace("_", " ")
    try:
        check(peer)
    except DoesNotApply as reason:
        return Finding(name, None, str(reason))
    except Broken as broken:
        return Finding(name, False, str(broken))
    except Exception as error:  # what the server made the client raise
        return Finding(name, False, f"{type(error).__name__}: {error}")
    return Finding(name, True)
