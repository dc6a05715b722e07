"""The journal's bytes: the state stream on disk. No I/O here: buffers in, entries out.

A segment is a header (magic, format, the format's complement, the segment's number) and then records. A record is
`length, crc32, kind` (13 bytes little-endian: u32, u32, u8, and u32 the complement of the length, which distinguishes
a torn length from a long record) and a payload. Records are only ever appended. A record that a killed process left
half written fails its length or its CRC, and everything before it is whole.

A segment begins with a snapshot (`SNAPSHOT`, then `ROWS`, then `WHOLE`), so that recovery does not need the segments
before it; after that come frames, and between frames the records of decisions. The snapshot is written while the bot
runs: each row has its value at the time of writing, and the frames and decisions of that time lie between the rows. A
reader applies those frames after the last row; at `WHOLE` the state is that of the newest of them. The same frames
are also written to the segment before, until the new one is whole.

The version in the header determines which kinds of record there may be. Format 1 had no `WHOLE`: its snapshots were
written at once, and are whole when all of their rows are there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any
from zlib import crc32

import msgspec

from .errors import NeverblinkError
from .frame import Frame, Schema, Vitals, decode_frame
from .wire import MessageCodec

__all__ = [
    "FORMAT",
    "HEADER_SIZE",
    "MAX_RECORD",
    "NOWHERE",
    "READS",
    "Closed",
    "Entry",
    "Header",
    "JournalError",
    "JournalTooNew",
    "Opened",
    "Position",
    "Record",
    "RecordKind",
    "Rows",
    "Snapshot",
    "Torn",
    "Unwritten",
    "Whole",
    "decode",
    "decode_closed",
    "decode_opened",
    "decode_rows",
    "decode_snapshot",
    "decode_whole",
    "encode_payload",
    "first_whole",
    "pack_header",
    "pack_record",
    "read_header",
    "records",
    "scan",
]

FORMAT = 2
"""The format that is written. `READS` has those that are read."""
MAGIC = b"NBLINKJ\n"
MAX_RECORD = 256 * 1024 * 1024

_HEADER = struct.Struct("<8sHHI")
_RECORD = struct.Struct("<IIBI")
HEADER_SIZE = _HEADER.size


class RecordKind(IntEnum):
    SNAPSHOT = 1
    ROWS = 2
    FRAME = 3
    OPENED = 4
    CLOSED = 5
    WHOLE = 6


READS: dict[int, frozenset[int]] = {
    1: frozenset(range(RecordKind.SNAPSHOT, RecordKind.CLOSED + 1)),
    2: frozenset(range(RecordKind.SNAPSHOT, RecordKind.WHOLE + 1)),
}
"""The formats that are read, and the kinds of record that each has."""


class JournalError(NeverblinkError):
    """A journal that this release cannot read."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"journal {where}: {problem}")
        self.where = where
        self.problem = problem


class JournalTooNew(JournalError):
    """A journal that a later release wrote."""


class Header(msgspec.Struct, frozen=True):
    """The beginning of a segment."""

    segment: int
    format: int


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in the journal: the end of a record in a segment."""

    segment: int
    offset: int
    opening: int = 0
    """Where the segment's snapshot ends, 0 when that is not known."""


NOWHERE = Position(0, 0)
"""The position of a frame that is not in the journal."""


class Unwritten(msgspec.Struct, frozen=True, array_like=True):
    """Frames that are missing because the journal could not be written: those after frame `after`."""

    after: int
    since: int
    """Wall clock, ns."""
    why: str


class Opened(msgspec.Struct, frozen=True, array_like=True):
    """A decision began. Durable before its body runs."""

    id: str
    epoch: int
    seq: int
    name: str
    args: dict[str, Any]
    at: int
    """Wall clock, ns."""


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """A decision ended: with `done`, or with the exception that it raised."""

    id: str
    epoch: int
    outcome: str
    at: int


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state as of a frame, without the rows of its tables; those follow in `Rows`."""

    epoch: int
    number: int
    """The last frame whose effects are in the snapshot."""
    seq: int
    digest: bytes
    schema: Schema
    cells: dict[str, bytes]
    tables: dict[str, int]
    """Each table with its number of rows."""
    vitals: Vitals
    open: tuple[Opened, ...] = ()
    """Decisions that are open, and those closed in a turn whose frame is lost."""
    unwritten: Unwritten | None = None
    """Frames before this one that are in no segment."""
    led_by: str = ""
    """The worker that leads, or led last; "" when the bot was stopped in order, or never led."""
    release: str = ""
    """The release that leads, or led last; "" when none ever led, and from an earlier neverblink."""
    types: bytes = b""
    """The types of the state, as JSON Schema (see `state.typed_json`), so that it is read without the bot's code. Empty
    from an earlier neverblink."""


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """Some rows of a table: encoded key and encoded row."""

    table: str
    rows: list[tuple[bytes, bytes]]


class Whole(msgspec.Struct, frozen=True, array_like=True):
    """All rows of the snapshot are written. With the frames among them, the state is that of frame `number`."""

    number: int
    digest: bytes
    rows: dict[str, int]
    """How many of each table."""


class Entry(msgspec.Struct, frozen=True):
    """A whole record: its kind, its payload and the offset at which it ends."""

    kind: RecordKind
    payload: bytes
    end: int


class Torn(msgspec.Struct, frozen=True):
    """The rest of a segment is not a whole record: from `offset` on, and why."""

    offset: int
    problem: str

    @property
    def cut_off(self) -> bool:
        """Whether more bytes could make it a record, as at the end of a file that a killed process wrote."""
        return self.problem.endswith("cut off")


_encoder = msgspec.msgpack.Encoder()
_snapshot: MessageCodec[Snapshot] = MessageCodec(Snapshot, "a journal snapshot", MAX_RECORD)
_rows: MessageCodec[Rows] = MessageCodec(Rows, "journal rows", MAX_RECORD)
_opened: MessageCodec[Opened] = MessageCodec(Opened, "a decision's record", MAX_RECORD)
_closed: MessageCodec[Closed] = MessageCodec(Closed, "a decision's record", MAX_RECORD)
_whole: MessageCodec[Whole] = MessageCodec(Whole, "the end of a snapshot", MAX_RECORD)

decode_snapshot = _snapshot.decode
decode_rows = _rows.decode
decode_opened = _opened.decode
decode_closed = _closed.decode
decode_whole = _whole.decode


Record = Snapshot | Rows | Frame | Opened | Closed | Whole

_DECODERS: dict[RecordKind, Callable[[bytes], Record]] = {
    RecordKind.SNAPSHOT: decode_snapshot,
    RecordKind.ROWS: decode_rows,
    RecordKind.FRAME: decode_frame,
    RecordKind.OPENED: decode_opened,
    RecordKind.CLOSED: decode_closed,
    RecordKind.WHOLE: decode_whole,
}


def decode(entry: Entry) -> Record:
    """Return a record's payload, decoded; raise `WireError` when it is not of the record's kind."""
    return _DECODERS[entry.kind](entry.payload)


def encode_payload(payload: Snapshot | Rows | Opened | Closed | Whole) -> bytes:
    return _encoder.encode(payload)


def pack_header(segment: int) -> bytes:
    """Return the bytes a segment file begins with."""
    return _HEADER.pack(MAGIC, FORMAT, FORMAT ^ 0xFFFF, segment)


def read_header(data: bytes | memoryview, where: str) -> Header:
    """Return a segment's header.

    Raises `JournalTooNew` when it is of a later format, `JournalError` when it is not a segment or a damaged one.
    """
    if len(data) < HEADER_SIZE:
        raise JournalError(where, "shorter than a header: it was never written whole")
    magic, version, check, segment = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise JournalError(where, "not a neverblink journal")
    # Format 1 had no such check. With it, a flipped bit is not mistaken for a later release's format.
    if check != (version ^ 0xFFFF if version > 1 else 0) or version == 0:
        raise JournalError(where, "its header is damaged: restore the file, or set the journal aside")
    if version not in READS:
        raise JournalTooNew(
            where,
            f"written in format {version}, this release reads up to {FORMAT}: "
            "start it with the release that wrote it, or a newer one",
        )
    return Header(segment, version)


def pack_record(kind: RecordKind, payload: bytes) -> bytes:
    """Return `payload` as a record, ready to be appended in one write."""
    size = len(payload)
    return _RECORD.pack(size, crc32(payload, kind), kind, size ^ 0xFFFFFFFF) + payload


def scan(
    data: bytes | memoryview, offset: int = HEADER_SIZE, format: int = FORMAT, *, past_damage: bool = False
) -> Iterator[Entry | Torn]:
    """Yield the whole records of a segment from `offset` on, and at the end a `Torn` if bytes remain.

    With `past_damage`, a record whose length is right and whose content is damaged is a `Torn` too, and the scan goes
    on after it: the caller has to find out what is missing.
    """
    view = memoryview(data)
    size = len(view)
    kinds = READS[format]
    while offset < size:
        start = offset + _RECORD.size
        if start > size:
            yield Torn(offset, "a record's head is cut off")
            return
        length, crc, kind, check = _RECORD.unpack_from(view, offset)
        if length ^ check != 0xFFFFFFFF or length > MAX_RECORD:
            yield Torn(offset, "no record begins here")
            return
        end = start + length
        if end > size:
            yield Torn(offset, "a record is cut off")
            return
        payload = bytes(view[start:end])
        if crc32(payload, kind) != crc or kind not in kinds:
            yield Torn(offset, "a record's checksum does not match")
            if not past_damage:
                return
            offset = end
            continue
        yield Entry(RecordKind(kind), payload, end)
        offset = end


def first_whole(data: bytes | memoryview, format: int = FORMAT) -> int | None:
    """The offset of the first whole record in bytes from the middle of a segment, None when there is none.

    Length, complement, kind and checksum together rule out anything that is not a record.
    """
    view = memoryview(data)
    kinds = READS[format]
    for offset in range(len(view) - _RECORD.size + 1):
        length, crc, kind, check = _RECORD.unpack_from(view, offset)
        if length ^ check != 0xFFFFFFFF or kind not in kinds:
            continue
        start = offset + _RECORD.size
        if start + length <= len(view) and crc32(view[start : start + length], kind) == crc:
            return offset
    return None


def records(
    read: Callable[[int, int], bytes],
    offset: int = HEADER_SIZE,
    format: int = FORMAT,
    *,
    past_damage: bool = False,
) -> Iterator[Entry | Torn]:
    """As `scan`, of a segment that is read piece by piece: `read(offset, size)` returns what is there, at most `size`.

    At most one piece, or the longest record, is in memory.
    """
    data = b""
    while True:
        at, torn = 0, None
        for found in scan(data, 0, format, past_damage=past_damage):
            if torn is not None:
                yield Torn(offset + torn.offset, torn.problem)
                torn = None
            if isinstance(found, Torn):
                torn = found
                at = found.offset
            else:
                at = found.end
                yield Entry(found.kind, found.payload, offset + at)
        rest = data[at:]
        offset += at
        ended = torn is not None and not torn.cut_off and not (past_damage and _has_length(rest))
        more = b"" if ended else read(offset + len(rest), max(_PIECE, len(rest)))
        if not more:
            if torn is not None:
                yield Torn(offset, torn.problem)
            return
        data = rest + more


def _has_length(data: bytes) -> bool:
    """Whether the length of a damaged record is readable."""
    length, _, _, check = _RECORD.unpack_from(data)
    return length ^ check == 0xFFFFFFFF and length <= MAX_RECORD


_PIECE = 1 << 20
