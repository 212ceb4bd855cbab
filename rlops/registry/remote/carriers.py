"""What frames travel on: a Unix socket, TCP, or shared memory with a socket as its doorbell.

An address is the path of a Unix socket, or ``tcp://host:port``. Shared memory has no name: the server makes it and
hands its descriptor over the Unix socket, out of a container as well, so that nothing is left when either side is
killed.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import re
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rlops.arrivals import PROCESSORS, Arrivals
from rlops.errors import ConnectionLost, InvalidValue, ProtocolError, ReplyTimeout
from rlops.registry.remote.frames import (
    ALIGNED,
    HEADER,
    MAGIC,
    MAJOR,
    Flag,
    Frame,
    Header,
    Layout,
    Layouts,
    Op,
    Parts,
    checksum,
    read_header,
    tail_as_json,
)

_FRAMES_HELD = 6
"""Frames that a caller may hold before another one is allocated for every reply."""
_IN_TURN = 2
"""Frames, or slots, for replies that are overwritten in turn; what is lent never lies there."""
SLOTS = 1 + _IN_TURN + _FRAMES_HELD
"""Of shared memory: one for requests, and those for replies."""
_FIRST_ROOM = 1 << 16
_SOCKET_BYTES = 1 << 22
_PATH_BYTES = 107
_DEAD_PEER_MS = 30_000

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


def parse_address(text: str) -> Address:
    """Return the address that ``text`` means: ``tcp://host:port``, ``unix:/path`` or a path.

    >>> parse_address("tcp://127.0.0.1:7000")
    ('127.0.0.1', 7000)
    >>> parse_address("unix:/run/env.sock")
    '/run/env.sock'

    Raises:
        InvalidValue: If it means none.
    """
    if text.startswith("tcp://"):
        match = re.fullmatch(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+):(\d+)", text)
        if match is None or int(match[2]) > 65535:
            raise InvalidValue(f"A TCP address must look like tcp://host:port, got {text!r}.")
        return match[1].strip("[]"), int(match[2])
    path = text.removeprefix("unix:")
    if not path or "://" in path:
        raise InvalidValue(f"An address must be the path of a socket or tcp://host:port, got {text!r}.")
    if len(os.fsencode(path)) > _PATH_BYTES:
        raise InvalidValue(
            f"The path of a Unix socket must have at most {_PATH_BYTES} bytes, got {path!r}. Choose a shorter folder."
        )
    return path


def connected(address: Address, timeout_s: float) -> socket.socket:
    """Return a socket connected to ``address``.

    Raises:
        ConnectionLost: If nobody listens there.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    if not isinstance(address, str) and ":" in address[0]:
        family = socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.settimeout(timeout_s)
    try:
        opened.connect(address)
    except OSError as error:
        opened.close()
        raise ConnectionLost(
            f"A server must listen at {shown(address)}, got: {error.strerror or error}. Start it with rlops serve."
        ) from None
    tune(opened)
    return opened


def listening(address: Address) -> socket.socket:
    """Return a socket that listens at ``address``; that of a path can be reached by this user only.

    Raises:
        InvalidValue: If the address cannot be had.
    """
    if isinstance(address, str):
        family = socket.AF_UNIX
        _remove_dead(address)
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        if family != socket.AF_UNIX:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(64)
    except OSError as error:
        opened.close()
        raise InvalidValue(
            f"{shown(address)} must be free and allowed to listen at, got: {error.strerror or error}."
        ) from None
    finally:
        os.umask(before)
    return opened


def _remove_dead(path: str) -> None:
    """Remove the socket of a server that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass


def shown(address: Address) -> str:
    """Return an address as text."""
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def tune(opened: socket.socket) -> None:
    """Let frames leave at once, whole frames fit the buffers, and a dead host be noticed."""
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        opened.setsockopt(socket.SOL_SOCKET, buffer, _SOCKET_BYTES)
    if opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)


class SharedMemory:
    """Slots in memory that both sides see: slot 0 for requests, the others for replies.

    Attributes:
        slots: One frame each.
    """

    def __init__(self, descriptor: int, slots: int, slot_bytes: int):
        """Map the memory of ``descriptor`` and close it.

        Raises:
            ProtocolError: If the memory is smaller than it should be.
        """
        try:
            size = os.fstat(descriptor).st_size
            if slots < 2 or slot_bytes < HEADER.size or slot_bytes % ALIGNED or size < slots * slot_bytes:
                raise ProtocolError(f"Shared memory must have {slots} slots of {slot_bytes} bytes, got {size} bytes.")
            whole = mmap.mmap(descriptor, slots * slot_bytes)
        finally:
            os.close(descriptor)
        self.slots = [Frame(np.frombuffer(whole, np.uint8, slot_bytes, i * slot_bytes)) for i in range(slots)]

    @staticmethod
    def descriptor(slots: int, slot_bytes: int) -> int:
        """Return a descriptor of new memory; only what is written to takes room, and nobody can shrink it."""
        descriptor = os.memfd_create("rlops-frames", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(descriptor, slots * slot_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return descriptor


class _Likely(NamedTuple):
    """A reply that will probably come, and what is ready for it.

    Attributes:
        header: That it will have.
        packed: The same as bytes.
        value: Made of the arrays that it will fill.
    """

    header: Header
    packed: bytes
    value: Any


class Channel:
    """One connection: sends and receives frames. Not for several threads at a time.

    Attributes:
        session: Number that every frame carries.
        summed: Whether frames that are sent carry a checksum.
        shared: Shared memory, if both sides have it.
        sent, received: Layouts of either direction.
        one_reply: Whether nothing can follow the frame that is received next, so that it can be read at one go. Once a
            reply was late, another may follow it closely.
    """

    def __init__(self, opened: socket.socket, serves: bool):
        """Use the connected socket ``opened``; ``serves``: as the server."""
        self.socket = opened
        self.session = 0
        self.summed = False
        self.shared: SharedMemory | None = None
        self.sent, self.received = Layouts(), Layouts()
        self._serves = serves
        self.one_reply = False
        self._sending = Frame.allocated(_FIRST_ROOM)
        self._frames = [Frame.allocated(_FIRST_ROOM)]
        self._in_turn: list[Frame] = []
        self._turn = self._lent = 0
        self._small = bytearray(HEADER.size)
        self._asked = 0, 0
        self._last: Header | None = None
        self._arrivals = Arrivals(opened.fileno())

    # -- sending -------------------------------------------------------------------------------------------

    def send(self, op: Op, sequence: int, value: Any, *, keep: bool = False, slot: int = 0) -> None:
        """Send a value; with ``keep`` its layout is declared once and for all.

        Args:
            op: What the frame is for.
            sequence: Its number.
            value: Arrays, numbers, texts and None in dicts, lists and tuples.
            keep: Whether other values of this layout will follow.
            slot: Of the shared memory, where there is one: into which a reply goes, or is wanted.
        """
        parts, new = self.sent.fitting(value, keep)
        tail = json.dumps(parts.layout.as_json()).encode() if new else b""
        self._send(op, sequence, Flag.DECLARES if new else 0, parts, tail, slot)

    def send_json(self, op: Op, sequence: int, value: Any) -> None:
        """Send what JSON can say, by itself."""
        self._send(op, sequence, Flag.JSON, _NOTHING, json.dumps(value).encode(), 0)

    def _send(self, op: Op, sequence: int, flags: int, parts: Parts, tail: bytes, slot: int) -> None:
        layout, arrays = parts.layout, parts.arrays
        length = layout.size + len(tail)
        end = HEADER.size + length
        frame = self._frame_to_send(length, slot, arrays)
        shared, memory = frame is not self._sending, frame.memory
        gathered = bool(parts.address) and not shared
        left_out = gathered or parts.address == frame.address + HEADER.size  # written there already
        places = frame.arrays(layout)
        for place, array in zip(places[left_out:], arrays[left_out:], strict=True):
            place[...] = array
        if tail:
            memory[HEADER.size + layout.size : end] = tail
        payload = [memory[HEADER.size : end]]
        if gathered:
            first = arrays[0].reshape(-1).view(np.uint8).data
            payload = [first, memory[HEADER.size + len(first) : end]]
        crc = 0
        if self.summed:
            flags |= Flag.SUMMED
            crc = checksum(*payload)
        flags |= Flag.SHARED if shared else 0
        on_socket = self._small if shared else memory
        HEADER.pack_into(
            on_socket, 0, MAGIC, MAJOR, op, flags, self.session, layout.number, sequence, length, len(tail), crc, slot
        )
        self._asked = sequence, slot
        try:
            if gathered:
                self._send_all([memory[: HEADER.size], *payload])
            else:
                self.socket.sendall(on_socket if shared else memory[:end])
        except OSError as error:
            self.close()
            raise ConnectionLost(f"The connection broke while sending: {error.strerror or error}.") from None

    def _send_all(self, parts: list[memoryview]) -> None:
        """Send ``parts`` one behind another, without bringing them together first."""
        sent = self.socket.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                self.socket.sendall(part[sent:])
            sent = max(0, sent - len(part))

    def _frame_to_send(self, length: int, slot: int, arrays: Sequence[np.ndarray]) -> Frame:
        if self.shared is not None and arrays and (slot if self._serves else self.one_reply):
            frame = self.shared.slots[slot if self._serves else 0]
            if length <= frame.room:
                return frame
        if length > self._sending.room:
            self._sending = Frame.allocated(2 * length)
        return self._sending

    # -- receiving -----------------------------------------------------------------------------------------

    def receive(self, lend: bool = True) -> tuple[Header, Any]:
        """Wait for a frame and return its header and its value.

        Args:
            lend: Whether arrays of the value stay intact as long as anybody holds them; otherwise they are overwritten
                by the second frame after this one.

        Raises:
            ConnectionLost: If the other side is gone.
            ReplyTimeout: If nothing came in the socket's time.
            ProtocolError: If what came is no frame.
        """
        frame = self._free_frame(lend)
        likely = self._likely(frame, lend)
        header, frame = self._read(frame, likely)
        if likely is not None and header is likely.header:
            return header, likely.value
        likely = None  # its value would count as somebody's
        if header.flags & Flag.SHARED:
            frame = self._slot(header)
        memory = frame.memory[HEADER.size : HEADER.size + header.length]
        if header.flags & Flag.SUMMED and checksum(memory) != header.crc:
            raise ProtocolError(f"The checksum of frame {header.sequence} must be right, got {header.crc:#x}.")
        tail = tail_as_json(memory[header.length - header.tail :]) if header.tail else None
        memory.release()
        if header.flags & Flag.JSON:
            return header, tail
        declared = header.flags & Flag.DECLARES
        layout = self.received.declared(tail) if declared else self.received.named(header.layout)
        if layout.size > header.length - header.tail:
            raise ProtocolError(
                f"A payload must have the {layout.size} bytes of its layout, got {header.length - header.tail}."
            )
        if layout.tree.plain and not header.flags & ~Flag.SHARED:
            self._last = header
        arrays = frame.arrays(layout)
        if self._serves:  # what an environment gets, nobody else may change
            return header, layout.tree.build([array.copy() for array in arrays])
        if lend:
            frame.lend(arrays)
        return header, layout.tree.build(arrays)

    def _likely(self, frame: Frame, lend: bool) -> _Likely | None:
        """Prepare for a reply like the last one, while the server is busy with it."""
        if self._last is None or self._serves:
            return None
        sequence, slot = self._asked
        header = self._last._replace(sequence=sequence, slot=slot)
        if header.flags & Flag.SHARED:
            if not slot:
                return None
            frame = self._slot(header)
        if header.length > frame.room:
            return None
        layout = self.received.named(header.layout)
        arrays = frame.arrays(layout)
        if lend:
            frame.lend(arrays)
        return _Likely(header, HEADER.pack(*header), layout.tree.build(arrays))

    def _slot(self, header: Header) -> Frame:
        slots = self.shared.slots if self.shared is not None else []
        number = 0 if self._serves else header.slot
        if not 0 <= number < len(slots) or header.length > slots[number].room:
            raise ProtocolError(
                f"A frame in shared memory must lie in one of its {len(slots)} slots, got {header.length} bytes in "
                f"slot {number}."
            )
        return slots[number]

    def free_slot(self, lend: bool) -> int:
        """Return a slot of the shared memory for the next reply; 0: none is free, or there is none."""
        if self.shared is None:
            return 0
        replies = len(self.shared.slots) - 1
        in_turn = min(_IN_TURN, replies - 1)
        if not lend:  # few slots stay in the processor's cache
            self._turn = self._turn % max(in_turn, 1) + 1
            return self._turn
        for _ in range(replies - in_turn):
            self._lent = self._lent % (replies - in_turn) + 1
            if not self.shared.slots[in_turn + self._lent].held:
                return in_turn + self._lent
        return 0

    def _free_frame(self, lend: bool) -> Frame:
        frames = self._frames
        if self._serves:
            return frames[0]
        if not lend:
            fresh = len(self._in_turn) < _IN_TURN
            self._in_turn.append(Frame.allocated(frames[0].room) if fresh else self._in_turn.pop(0))
            return self._in_turn[-1]
        for number, frame in enumerate(frames):
            if not frame.held:
                if number:
                    frames.insert(0, frames.pop(number))
                return frame
        frame = Frame.allocated(frames[0].room)
        if len(frames) < _FRAMES_HELD:
            frames.insert(0, frame)
        return frame

    def _read(self, frame: Frame, likely: _Likely | None) -> tuple[Header, Frame]:
        """Read one frame into ``frame``, or into a larger one that takes its place."""
        whole = frame.memory if self.one_reply else frame.memory[: HEADER.size]
        got = self._some(whole, 0)
        while got < HEADER.size:
            got += self._some(frame.memory[got : HEADER.size], got)
        if likely is not None and frame.memory[: HEADER.size] == likely.packed:
            header = likely.header
        else:
            header = read_header(frame.bytes)
        needed = HEADER.size if header.flags & Flag.SHARED else HEADER.size + header.length
        if needed > len(frame.bytes):
            larger = Frame.allocated(2 * header.length)
            larger.memory[:got] = frame.memory[:got]
            for frames in (self._frames, self._in_turn):
                frames[:] = [larger if one is frame else one for one in frames]
            frame = larger
        if got > needed:
            raise ProtocolError(f"One reply to a request must come, got {got - needed} bytes behind it.")
        while got < needed:
            got += self._some(frame.memory[got:needed], got)
        return header, frame

    def _some(self, memory: memoryview, got: int) -> int:
        """Read some bytes into ``memory``; ``got`` of the frame are there already."""
        if not got and PROCESSORS > 1:
            self._arrivals.stay_awake()
        try:
            count = self.socket.recv_into(memory)
        except TimeoutError:
            if got:
                self.close()
                raise ConnectionLost("A reply must come whole, but stopped within a frame.") from None
            self.one_reply = False
            raise ReplyTimeout(f"A reply must come within {self.socket.gettimeout():g} s, got none.") from None
        except OSError as error:
            self.close()
            raise ConnectionLost(f"The connection broke: {error.strerror or error}.") from None
        if count == 0:
            self.close()
            raise ConnectionLost("The other side closed the connection.")
        return count

    def close(self) -> None:
        """Close the connection; what was lent stays."""
        self.socket.close()


_NOTHING = Parts(Layout(0, tree=None, places=()), [])  # type: ignore[arg-type]


def wait_for(address: Address, timeout_s: float, alive: Any = None) -> socket.socket:
    """Return a socket connected to a server that is about to start.

    Args:
        address: Where it will listen.
        timeout_s: How long to wait.
        alive: A function that raises once the server cannot start any more.

    Raises:
        ConnectionLost: If nobody listens there in time.
    """
    until = time.monotonic() + timeout_s
    pause_s = 0.002
    while True:
        try:
            return connected(address, timeout_s)
        except ConnectionLost:
            if alive is not None:
                alive()
            if time.monotonic() > until:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.05)
