"""What travels: a header of 64 bytes, arrays aligned to 64 bytes, and sometimes a tail of JSON.

A **layout** says where the arrays of a frame lie and how they make up a value: the tuple that ``step`` returned, with
its infos, or the actions. It is declared once, in the tail of the first frame that has it; later frames only name its
number. So an ordinary step is a header and bare arrays, whatever the environment's infos look like.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from rlops.errors import ProtocolError

MAGIC = b"RLOP"
MAJOR = 1
"""Major version of the protocol; it is in every header."""
ALIGNED = 64
HEADER = struct.Struct("<4sBBHIIQQQII16x")
"""magic, major, op, flags, session, layout, sequence number, payload bytes, tail bytes, CRC-32, slot."""
LARGEST_PAYLOAD = 1 << 30
LARGEST_TAIL = 1 << 24
_LAYOUTS_KEPT = 256
_TAKEN = 4
"""Values that are recognised: environments write into two sets of buffers in turn, and some steps have more infos."""
_LARGE_BYTES = 1 << 16
"""From which size the first array of a frame is not copied where that can be avoided."""
_DEEPEST = 32


class Op(IntEnum):
    """What a frame is for."""

    CHALLENGE = 1
    OPEN = 2
    WELCOME = 3
    RESET = 4
    STEP = 5
    CALL = 6
    RESULT = 7
    ERROR = 8
    PING = 9
    CLOSE = 10


class Flag:
    """How a frame's payload is to be read: bits, plain numbers because every frame asks for them several times."""

    JSON: Final = 1
    """The tail is a value by itself; there are no arrays."""
    DECLARES: Final = 2
    """The tail declares the layout of this frame."""
    SHARED: Final = 4
    """The payload lies in the slot of the shared memory."""
    SUMMED: Final = 8
    """The header has the CRC-32 of the payload."""


class Header(NamedTuple):
    """The header of a frame, field by field."""

    magic: bytes
    major: int
    op: int
    flags: int
    session: int
    layout: int
    sequence: int
    length: int
    tail: int
    crc: int
    slot: int


def read_header(buffer: Any) -> Header:
    """Return the header at the beginning of ``buffer``.

    Raises:
        ProtocolError: If it is none, or states sizes that cannot be.
    """
    header = Header(*HEADER.unpack_from(buffer))
    if header.magic != MAGIC:
        raise ProtocolError(
            f"A frame must begin with {MAGIC!r}, got {header.magic!r}. The other side does not speak this protocol."
        )
    if header.major != MAJOR:
        raise ProtocolError(
            f"Frames must be of major version {MAJOR} of the protocol, got {header.major}. Install releases of rlops "
            "with the same major version of the protocol on both sides."
        )
    if header.length > LARGEST_PAYLOAD or header.tail > min(header.length, LARGEST_TAIL):
        raise ProtocolError(
            f"A payload must have at most {LARGEST_PAYLOAD} bytes and a tail within it of at most {LARGEST_TAIL}, "
            f"got {header.length} and {header.tail}."
        )
    return header


# -- layouts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where an array lies in a payload: its offset [B], type and shape."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.dtype.itemsize * math.prod(self.shape)


class Node(ABC):
    """A part of a value: how it is taken apart into arrays, and put together again.

    Attributes:
        plain: Whether it is made of arrays as they are and of what is part of the layout, so that it can be put
            together before its arrays are filled.
    """

    plain = True

    @abstractmethod
    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        """Append the arrays of ``value`` to ``arrays``; false if this is not what it is made of."""

    @abstractmethod
    def build(self, arrays: list[np.ndarray]) -> Any:
        """Return the value whose arrays are ``arrays``."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Return the node as it is declared."""


class _ArrayNode(Node):
    """An array; where the same array occurs again, it is not sent again."""

    def __init__(self, index: int, place: Place):
        """Refer to the array ``index``, which lies at ``place``."""
        self.index, self.dtype, self.shape = index, place.dtype, place.shape

    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        if value.__class__ is not np.ndarray:
            return False
        if self.index < len(arrays):
            return arrays[self.index] is value
        if self.index > len(arrays) or value.shape != self.shape:
            return False
        if value.dtype is not self.dtype and value.dtype != self.dtype:
            return False
        arrays.append(value)
        return True

    def build(self, arrays: list[np.ndarray]) -> Any:
        return arrays[self.index]

    def as_json(self) -> dict[str, Any]:
        return {"array": self.index}


class _ScalarNode(_ArrayNode):
    """A NumPy scalar: an array without axes."""

    plain = False

    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        if not isinstance(value, np.generic) or value.dtype != self.dtype or self.index != len(arrays):
            return False
        arrays.append(np.asarray(value))
        return True

    def build(self, arrays: list[np.ndarray]) -> Any:
        return arrays[self.index][()]

    def as_json(self) -> dict[str, Any]:
        return {"scalar": self.index}


class _RowsNode(Node):
    """An object array ``(n,)`` of arrays of one type and shape, or None: a mask and all rows as one array."""

    plain = False

    def __init__(self, mask: int, values: int, place: Place):
        """Refer to the mask and to the array of the values, which lies at ``place``."""
        self.mask, self.values, self.dtype, self.shape = mask, values, place.dtype, place.shape

    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        if value.__class__ is not np.ndarray or value.dtype != object or value.shape != self.shape[:1]:
            return False
        if len(arrays) != self.mask:
            return False
        mask, rows = np.zeros(self.shape[0], np.bool_), np.zeros(self.shape, self.dtype)
        for number, row in enumerate(value):
            if row is None:
                continue
            if not isinstance(row, np.ndarray) or row.dtype != self.dtype or row.shape != self.shape[1:]:
                return False
            mask[number], rows[number] = True, row
        arrays += [mask, rows]
        return True

    def build(self, arrays: list[np.ndarray]) -> Any:
        rows = np.full(self.shape[0], None, object)
        for number in np.flatnonzero(arrays[self.mask]):
            rows[number] = arrays[self.values][number].copy()
        return rows

    def as_json(self) -> dict[str, Any]:
        return {"rows": [self.mask, self.values]}


class _DictNode(Node):
    """A dict with text keys, in order."""

    def __init__(self, parts: dict[str, Node]):
        """Hold the node of each value."""
        self.parts, self.names = list(parts.values()), tuple(parts)
        self.plain = all(part.plain for part in self.parts)

    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        if value.__class__ is not dict or tuple(value) != self.names:
            return False
        for part, one in zip(self.parts, value.values(), strict=True):  # noqa: SIM110, half the time of all()
            if not part.take(one, arrays):
                return False
        return True

    def build(self, arrays: list[np.ndarray]) -> Any:
        return {name: part.build(arrays) for name, part in zip(self.names, self.parts, strict=True)}

    def as_json(self) -> dict[str, Any]:
        return {"dict": {name: part.as_json() for name, part in zip(self.names, self.parts, strict=True)}}


class _SequenceNode(Node):
    """A list, a tuple, or an object array whose elements differ in type or shape."""

    KINDS = ("list", "tuple", "objects")

    def __init__(self, kind: str, parts: list[Node]):
        """Hold the node of each element."""
        self.kind, self.parts = kind, parts
        self.plain = kind != "objects" and all(part.plain for part in parts)

    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        if sequence_kind(value) != self.kind or len(value) != len(self.parts):
            return False
        for part, one in zip(self.parts, value, strict=True):  # noqa: SIM110, half the time of all()
            if not part.take(one, arrays):
                return False
        return True

    def build(self, arrays: list[np.ndarray]) -> Any:
        parts = [part.build(arrays) for part in self.parts]
        if self.kind != "objects":
            return tuple(parts) if self.kind == "tuple" else parts
        objects = np.full(len(parts), None, object)
        for number, part in enumerate(parts):
            objects[number] = part
        return objects

    def as_json(self) -> dict[str, Any]:
        return {self.kind: [part.as_json() for part in self.parts]}


class _ValueNode(Node):
    """None, a truth value, a number or a text, which is part of the layout itself."""

    def __init__(self, value: Any):
        """Hold the value."""
        self.value = value

    def take(self, value: Any, arrays: list[np.ndarray]) -> bool:
        return value.__class__ is self.value.__class__ and (value is self.value or repr(value) == repr(self.value))

    def build(self, arrays: list[np.ndarray]) -> Any:
        return self.value

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value}


def sequence_kind(value: Any) -> str:
    """Return how a sequence is declared, or an empty text for anything else."""
    if value.__class__ is tuple or value.__class__ is list:
        return str(value.__class__.__name__)
    return "objects" if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1 else ""


class Layout:
    """Where the arrays of a frame lie, and how they make up a value.

    Attributes:
        number: By which later frames name it; 0: none does.
        places: Where the arrays lie.
        size: Bytes of the arrays, gaps included.
    """

    def __init__(self, number: int, tree: Node, places: Iterable[Place]):
        """Name the layout of the value ``tree`` whose arrays lie at ``places``."""
        self.number, self.tree, self.places = number, tree, tuple(places)
        self.size = max((place.offset + place.nbytes for place in self.places), default=0)

    def take(self, value: Any) -> list[np.ndarray] | None:
        """Return the arrays of ``value``, or None if it has another layout."""
        arrays: list[np.ndarray] = []
        return arrays if self.tree.take(value, arrays) else None

    def as_json(self) -> dict[str, Any]:
        """Return the layout as it is declared."""
        arrays = [[place.offset, dtype_as_json(place.dtype), list(place.shape)] for place in self.places]
        return {"number": self.number, "arrays": arrays, "tree": self.tree.as_json()}

    @classmethod
    def from_json(cls, declared: Any) -> Layout:
        """Return the layout that was declared.

        Raises:
            ProtocolError: If that declares none.
        """
        try:
            places = [Place(int(o), dtype_from_json(d), tuple(map(int, s))) for o, d, s in declared["arrays"]]
            tree = _node_from_json(declared["tree"], places, 0)
            number = int(declared["number"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise ProtocolError(
                f"A declared layout must have number, arrays and tree as docs/remote.md says, got {declared!r:.200} "
                f"({error})."
            ) from None
        for place in places:
            if place.offset < 0 or place.offset % ALIGNED or any(n < 0 for n in place.shape) or place.dtype.hasobject:
                raise ProtocolError(
                    f"An array must lie at a multiple of {ALIGNED} bytes and be of numbers, got {place}."
                )
        return cls(number, tree, places)


def layout_of(value: Any, number: int = 0) -> tuple[Layout, list[np.ndarray]]:
    """Return the layout of ``value``, and its arrays.

    Raises:
        ProtocolError: If a part of it is of a type that cannot travel.
    """
    describing = _Describing()
    tree = describing.node(value, 0)
    return Layout(number, tree, describing.places), describing.arrays


class _Describing:
    """Collects the arrays of a value."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.places: list[Place] = []
        self._known: dict[int, int] = {}

    def node(self, value: Any, depth: int) -> Node:
        if depth > _DEEPEST:
            raise ProtocolError(f"A value must be nested at most {_DEEPEST} deep.")
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            index = self._known[id(value)] if id(value) in self._known else self._add(value)
            return _ArrayNode(index, self.places[index])
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            index = self._add(np.asarray(value))
            return _ScalarNode(index, self.places[index])
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return _DictNode({name: self.node(one, depth + 1) for name, one in value.items()})
        kind = sequence_kind(value)
        if kind == "objects" and (rows := self._rows(value)) is not None:
            return rows
        if kind:
            return _SequenceNode(kind, [self.node(one, depth + 1) for one in value])
        if value is None or value.__class__ in (bool, int, float, str):
            return _ValueNode(value)
        raise ProtocolError(
            "What travels must be made of arrays, numbers, texts, None, dicts with text keys, lists and tuples, "
            f"got {type(value).__module__}.{type(value).__name__}."
        )

    def _rows(self, value: np.ndarray) -> Node | None:
        rows = [row for row in value if row is not None]
        if not rows or not all(isinstance(row, np.ndarray) and not row.dtype.hasobject for row in rows):
            return None
        dtype, shape = rows[0].dtype, rows[0].shape
        if any(row.dtype != dtype or row.shape != shape for row in rows):
            return None
        mask = self._add(np.zeros(len(value), np.bool_))
        values = self._add(np.zeros((len(value), *shape), dtype))
        node = _RowsNode(mask, values, self.places[values])
        taken: list[np.ndarray] = self.arrays[:mask]
        node.take(value, taken)
        self.arrays[mask:] = taken[mask:]
        return node

    def _add(self, array: np.ndarray) -> int:
        offset = self.places[-1].offset + self.places[-1].nbytes if self.places else 0
        self.places.append(Place(-(-offset // ALIGNED) * ALIGNED, array.dtype, array.shape))
        self.arrays.append(array)
        self._known[id(array)] = len(self.arrays) - 1
        return len(self.arrays) - 1


def _node_from_json(declared: Any, places: list[Place], depth: int) -> Node:
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    ((kind, of),) = declared.items()
    if kind == "array":
        return _ArrayNode(of, places[_index(of)])
    if kind == "scalar":
        return _ScalarNode(of, places[_index(of)])
    if kind == "rows":
        mask, values = places[_index(of[0])], places[_index(of[1])]
        if mask.dtype != np.bool_ or mask.shape != values.shape[:1]:
            raise ValueError(f"rows need a mask of shape {values.shape[:1]}")
        return _RowsNode(of[0], of[1], values)
    if kind == "dict":
        return _DictNode({str(name): _node_from_json(one, places, depth + 1) for name, one in of.items()})
    if kind in _SequenceNode.KINDS:
        return _SequenceNode(kind, [_node_from_json(one, places, depth + 1) for one in of])
    if kind == "value" and (of is None or isinstance(of, (bool, int, float, str))):
        return _ValueNode(of)
    raise ValueError(f"{kind!r} is no kind of node")


def _index(number: Any) -> int:
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"an array is named by its number, got {number!r}")
    return number


def dtype_as_json(dtype: np.dtype) -> Any:
    """Return a dtype ready for JSON: its text, or for records their fields with offsets [B]."""
    if dtype.names is None:
        if dtype.subdtype is None:
            return dtype.str
        base, shape = dtype.subdtype
        return {"base": dtype_as_json(base), "shape": list(shape)}
    fields = [[name, dtype_as_json(dtype.fields[name][0]), dtype.fields[name][1]] for name in dtype.names]  # type: ignore[index]
    return {"fields": fields, "itemsize": dtype.itemsize}


def dtype_from_json(declared: Any) -> np.dtype:
    """Return the dtype that :func:`dtype_as_json` returned as JSON."""
    if isinstance(declared, str):
        if declared[1:2] not in ("b", "i", "u", "f", "c", "S", "U", "V"):
            raise ValueError(f"{declared!r} is no type of numbers")
        return np.dtype(declared)
    if "base" in declared:
        return np.dtype((dtype_from_json(declared["base"]), tuple(declared["shape"])))
    names, formats, offsets = zip(*declared["fields"], strict=True)
    return np.dtype(
        {
            "names": names, "formats": [dtype_from_json(one) for one in formats], "offsets": offsets,
            "itemsize": declared["itemsize"],
        }
    )  # fmt: skip


# -- frames ------------------------------------------------------------------------------------------------


class Frame:
    """A buffer for one frame: header, then payload; its arrays can be lent to whoever asked for them.

    Attributes:
        bytes: The whole buffer.
        memory: The same for sockets.
        address: Where it begins.
    """

    def __init__(self, buffer: np.ndarray):
        """Use ``buffer`` (n,) uint8, which begins at a multiple of 64 bytes."""
        self.bytes = buffer
        self.memory = memoryview(buffer)  # type: ignore[arg-type]
        self.address = int(buffer.ctypes.data)
        self._views: dict[int, list[np.ndarray]] = {}
        self._lent: list[np.ndarray] = []
        self._free: list[int] = []
        self._free_bytes = 0

    @classmethod
    def allocated(cls, payload: int) -> Frame:
        """Return a frame with room for ``payload`` bytes."""
        raw = np.zeros(HEADER.size + payload + ALIGNED, np.uint8)
        begin = -raw.ctypes.data % ALIGNED
        return cls(np.frombuffer(memoryview(raw)[begin : begin + HEADER.size + payload], np.uint8))  # type: ignore[arg-type]

    @property
    def room(self) -> int:
        """Bytes of the largest payload."""
        return len(self.bytes) - HEADER.size

    def arrays(self, layout: Layout) -> list[np.ndarray]:
        """Return the arrays of ``layout`` within this frame, always the same objects for a kept layout."""
        views = self._views.get(layout.number) if layout.number else None
        if views is None:
            before = sys.getrefcount(self.bytes)
            views = [np.ndarray(p.shape, p.dtype, self.bytes, HEADER.size + p.offset) for p in layout.places]
            if layout.number:
                self._views[layout.number] = views
                self._free_bytes += sys.getrefcount(self.bytes) - before
        return views

    def lend(self, arrays: list[np.ndarray]) -> None:
        """Remember that ``arrays`` are about to be handed out; nobody holds any of this frame yet."""
        self._lent = arrays
        self._free = _references(arrays)
        self._free_bytes = sys.getrefcount(self.bytes)

    @property
    def held(self) -> bool:
        """Whether anybody still holds what was lent, or a view of it."""
        if not self._lent:
            return False
        return _references(self._lent) != self._free or sys.getrefcount(self.bytes) != self._free_bytes


def _references(arrays: list[np.ndarray]) -> list[int]:
    return [sys.getrefcount(array) for array in arrays]


class Parts:
    """A value taken apart.

    Attributes:
        layout: Of the value.
        arrays: What it is made of.
        address: Where the first array lies, if that is large and contiguous; else 0.
    """

    __slots__ = ("address", "arrays", "layout")

    def __init__(self, layout: Layout, arrays: list[np.ndarray]):
        """Hold the arrays of a value of ``layout``."""
        self.layout, self.arrays = layout, arrays
        large = bool(arrays) and arrays[0].nbytes >= _LARGE_BYTES and arrays[0].flags.c_contiguous
        self.address = int(arrays[0].ctypes.data) if large else 0


class Layouts:
    """The layouts of one direction of a connection: those declared so far, the last used first."""

    def __init__(self) -> None:
        self.known: dict[int, Layout] = {}
        self._recent: list[Layout] = []
        self._taken: list[tuple[Any, Parts]] = []

    def __iter__(self) -> Iterator[Layout]:
        return iter(self.known.values())

    def add(self, layout: Layout) -> None:
        """Know ``layout`` by its number from now on.

        Raises:
            ProtocolError: If the number is taken, or there are too many.
        """
        if not 0 < layout.number <= _LAYOUTS_KEPT or layout.number in self.known:
            raise ProtocolError(
                f"The number of a layout must be new and within 1 … {_LAYOUTS_KEPT}, got {layout.number}."
            )
        self.known[layout.number] = layout
        self._recent.insert(0, layout)

    def declared(self, tail: Any) -> Layout:
        """Return the layout that a tail declares, and keep it if it has a number."""
        layout = Layout.from_json(tail)
        if layout.number:
            self.add(layout)
        return layout

    def named(self, number: int) -> Layout:
        """Return the layout of a number.

        Raises:
            ProtocolError: If none was declared.
        """
        if number not in self.known:
            raise ProtocolError(f"A frame must name a layout that was declared, got {number}.")
        return self.known[number]

    def fitting(self, value: Any, keep: bool) -> tuple[Parts, bool]:
        """Return ``value`` taken apart, and whether its layout is to be declared.

        With ``keep`` a new layout gets a number, unless all are taken. Whoever sends the same arrays again and again,
        as an environment does that returns its own buffers, has them recognised.
        """
        if not keep:
            return Parts(*layout_of(value)), True
        for place, (before, parts) in enumerate(self._taken):
            if _same(value, before):
                self._taken.insert(0, self._taken.pop(place))
                return parts, False
        for place, layout in enumerate(self._recent):
            arrays = layout.take(value)
            if arrays is not None:
                if place:
                    self._recent.insert(0, self._recent.pop(place))
                parts = Parts(layout, arrays)
                if layout.tree.plain:
                    self._taken = [(layout.tree.build(arrays), parts), *self._taken[: _TAKEN - 1]]
                return parts, False
        free = len(self.known) + 1
        layout, arrays = layout_of(value, free if free <= _LAYOUTS_KEPT else 0)
        if layout.number:
            self.add(layout)
        return Parts(layout, arrays), True


def _same(value: Any, before: Any) -> bool:
    """Return whether ``value`` is made of the very objects that ``before`` is made of, in dicts, tuples and lists."""
    kind = value.__class__
    if kind is dict:
        if before.__class__ is not dict or [*value] != [*before]:
            return False
        return all(map(_same, value.values(), before.values()))
    if kind is tuple or kind is list:
        return before.__class__ is kind and len(value) == len(before) and all(map(_same, value, before))
    return value is before


def tail_as_json(tail: Any) -> Any:
    """Return what a tail's bytes say.

    Raises:
        ProtocolError: If they are no JSON.
    """
    try:
        return json.loads(bytes(tail))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A tail must be JSON, got {bytes(tail)[:80]!r} ({error}).") from None


def checksum(*parts: Any) -> int:
    """Return the CRC-32 of a payload, whose parts follow one another."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc
