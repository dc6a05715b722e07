"""A feed's file in the home: which process is the feed, and where the feed stands. Layout only, no I/O.

The file has two slots, written in turn: an interrupted write damages one, and the other still has the record before.
The process that is the feed has the file mapped and holds a lock on its first byte, as a leader holds the lease, so
there is one process of a feed in a home and the kernel knows which. What is in the file survives that process, however
it ends: a write to a mapped page needs no system call and no flush for that.
"""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec

from .wire import UNDECODABLE

__all__ = ["FILE_SIZE", "RESUME_MAX", "FeedRecord", "decode_feed_file", "encode_feed_record", "place_of"]

SLOT_SIZE = 8192
LOCK_AT = 0
FILE_SIZE = 2 * SLOT_SIZE
RESUME_MAX = 4096
"""The largest value of the author's `resume`, encoded, in bytes."""

_HEAD = struct.Struct(">II")


class FeedRecord(msgspec.Struct, frozen=True, array_like=True):
    """Where a feed stands, or stood when its process ended. Times in ns; wall clock unless they say otherwise."""

    count: int
    """Numbers the records of a file: the highest is the newest."""
    run: int
    n: int
    at: int
    """When number `n` was published."""
    resume: bytes
    """What the author's code passed as `resume` last, in msgpack; empty when it never did."""
    pid: int
    started: int
    """The start time of the process, field 22 of /proc/PID/stat."""
    release: str
    ended: int = 0
    """When the author's function ended, CLOCK_MONOTONIC; 0 while it runs, or when its process was killed."""
    target: str = ""
    """Which function it runs, as MODULE:FUNCTION."""
    settings: str = ""
    """A digest of the feed's table in the configuration."""
    log: str = ""


def place_of(count: int) -> int:
    """The offset of the record with that number."""
    return count % 2 * SLOT_SIZE


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(FeedRecord)


def encode_feed_record(record: FeedRecord) -> bytes:
    """Return the record as the beginning of a slot. Raises ValueError when it does not fit."""
    body = _encode(record)
    if len(body) > SLOT_SIZE - _HEAD.size:
        raise ValueError(f"a feed's record of {len(body)} bytes does not fit into its file")
    return _HEAD.pack(len(body), crc32(body)) + body


def decode_feed_file(data: bytes | bytearray) -> FeedRecord | None:
    """The newest readable record in a feed's file, None when there is none."""
    newest: FeedRecord | None = None
    for start in (0, SLOT_SIZE):
        slot = data[start : start + SLOT_SIZE]
        if len(slot) < _HEAD.size:
            continue
        length, checksum = _HEAD.unpack_from(slot)
        body = slot[_HEAD.size : _HEAD.size + length]
        if not length or len(body) != length or crc32(body) != checksum:
            continue
        try:
            record = _decoder.decode(body)
        except UNDECODABLE:
            continue
        if newest is None or record.count > newest.count:
            newest = record
    return newest
