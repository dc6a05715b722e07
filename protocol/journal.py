"""The journal's bytes: the state stream as it lies on disk. No I/O here: buffers in, entries out.

A segment is a header and then records. A record is `length, crc32, kind` (13 bytes little-endian: u32, u32, u8, and
u32 the complement of the length, so that a torn length is told from a long record) and a payload. Records are only
ever appended. What a killed process left half written fails its length or its CRC, and everything before it is whole.

The first segment opens with a snapshot (`SNAPSHOT`, then `ROWS`); after it come frames, and between frames the records
of decisions. The reader needs nothing but the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any
from zlib import crc32

import msgspec

from .changes import Schema
from .errors import NeverblinkError
from .frame import Vitals
from .wire import Codec

__all__ = [
    "HEADER_SIZE",
    "MAX_RECORD",
    "Closed",
    "Entry",
    "JournalError",
    "Opened",
    "Position",
    "RecordKind",
    "Rows",
    "Snapshot",
    "Torn",
    "decode_closed",
    "decode_opened",
    "decode_rows",
    "decode_snapshot",
    "encode_payload",
    "pack_header",
    "pack_record",
    "scan",
    "unpack_header",
]

FORMAT = 1
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


class JournalError(NeverblinkError):
    """A journal that this release cannot read."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"journal {where}: {problem}")
        self.where = where
        self.problem = problem


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in the journal: the end of a record in a segment."""

    segment: int
    offset: int


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
    """A decision ended: with `done`, or with what it raised."""

    id: str
    epoch: int
    outcome: str
    at: int


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state as of a frame, without the rows of its tables; those follow in `Rows`."""

    epoch: int
    number: int
    """The frame whose effects are the last ones in here."""
    seq: int
    digest: bytes
    schema: Schema
    cells: dict[str, bytes]
    tables: dict[str, int]
    """Each table with its number of rows."""
    vitals: Vitals
    open: tuple[Opened, ...] = ()
    """Decisions that are open."""


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """Some rows of a table: encoded key and encoded row."""

    table: str
    rows: list[tuple[bytes, bytes]]


class Entry(msgspec.Struct, frozen=True):
    """A whole record: its kind, its payload and the offset at which it ends."""

    kind: RecordKind
    payload: bytes
    end: int


class Torn(msgspec.Struct, frozen=True):
    """The rest of a segment is no whole record: from `offset` on, and why."""

    offset: int
    problem: str


_encoder = msgspec.msgpack.Encoder()
_snapshot: Codec[Snapshot] = Codec(Snapshot, "a journal snapshot", MAX_RECORD)
_rows: Codec[Rows] = Codec(Rows, "journal rows", MAX_RECORD)
_opened: Codec[Opened] = Codec(Opened, "a decision's record", MAX_RECORD)
_closed: Codec[Closed] = Codec(Closed, "a decision's record", MAX_RECORD)

decode_snapshot = _snapshot.decode
decode_rows = _rows.decode
decode_opened = _opened.decode
decode_closed = _closed.decode


def encode_payload(payload: Snapshot | Rows | Opened | Closed) -> bytes:
    return _encoder.encode(payload)


def pack_header(segment: int) -> bytes:
    """Return the bytes a segment file begins with."""
    return _HEADER.pack(MAGIC, FORMAT, 0, segment)


def unpack_header(data: bytes | memoryview, where: str) -> int:
    """Return the segment's number; raise `JournalError` when `data` is no segment or one of another format."""
    if len(data) < HEADER_SIZE:
        raise JournalError(where, "shorter than a header: it was never written whole")
    magic, version, reserved, segment = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise JournalError(where, "not a neverblink journal")
    if version == 0 or (version == FORMAT and reserved):
        raise JournalError(where, "its header is damaged: restore the file, or set the journal aside")
    if version > FORMAT:
        raise JournalError(
            where,
            f"written in format {version}, this release reads up to {FORMAT}: "
            "start it with the release that wrote it, or a newer one",
        )
    return segment


def pack_record(kind: RecordKind, payload: bytes) -> bytes:
    """Return `payload` as a record, ready to be appended in one write."""
    size = len(payload)
    return _RECORD.pack(size, crc32(payload, kind), kind, size ^ 0xFFFFFFFF) + payload


def scan(data: bytes | memoryview, offset: int = HEADER_SIZE) -> Iterator[Entry | Torn]:
    """Yield the whole records of a segment from `offset` on, and at the end a `Torn` when bytes are left over."""
    view = memoryview(data)
    size = len(view)
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
        if crc32(payload, kind) != crc or kind not in _KINDS:
            yield Torn(offset, "a record's checksum does not match")
            return
        yield Entry(RecordKind(kind), payload, end)
        offset = end


_KINDS = frozenset(int(kind) for kind in RecordKind)
