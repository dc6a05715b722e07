"""The lease file's bytes: who held it under which epoch, and how to query its present holder. No I/O here.

The file is two lines of fixed size, written in turn: epoch N lives in slot N % 2. A line is JSON, padded with
spaces, and has its own CRC, so that an interrupted write damages one line and the other still has the epoch
before. The file is readable with `cat`: the higher epoch is the last holder, the lower the one before.

The lines say who took the lease last, not who holds it: only the kernel knows that, because a killed process
writes nothing. `lock_query` and `lock_owner` are the bytes of that query (struct flock) on 64-bit Linux.
"""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec

from .errors import NeverblinkError
from .presence import field_of

__all__ = [
    "FILE_SIZE",
    "GETLK",
    "LOCK_AT",
    "OFD_GETLK",
    "SLOT_SIZE",
    "Holder",
    "LeaseCorrupt",
    "decode_file",
    "encode_record",
    "lock_owner",
    "lock_query",
    "slot_of",
    "started_of",
]

SLOT_SIZE = 256
FILE_SIZE = 2 * SLOT_SIZE
HOLDER_MAX = 64

LOCK_AT = 0
"""The one byte that is locked: its offset."""

GETLK = 5
"""fcntl: query which lock of *another* process conflicts with this one."""

OFD_GETLK = 36
"""The same query for an open file description: it also finds a lock of the querying process itself."""

# short l_type, short l_whence, off_t l_start, off_t l_len, pid_t l_pid, with the C compiler's padding (LP64).
_FLOCK = struct.Struct("@hhqqi4x")
_F_WRLCK, _F_UNLCK = 1, 2
_QUERY = _FLOCK.pack(_F_WRLCK, 0, LOCK_AT, 1, 0)


class LeaseCorrupt(NeverblinkError):
    """The lease file is unreadable, so the next epoch is not known."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the lease file is unreadable ({problem}): its epoch is lost. Take the lease with the "
            "journal's last epoch as the lower bound, or restore the file"
        )
        self.problem = problem


class Holder(msgspec.Struct, frozen=True):
    """Who took the lease. `pid` and `started` together identify one process until the host reboots."""

    epoch: int
    pid: int
    started: int
    """Field 22 of /proc/PID/stat: clock ticks since boot."""
    holder: str
    """The worker's id; "" if the kernel has an owner whose line is not written yet."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    neverblink: str
    epoch: int
    pid: int
    started: int
    holder: str
    crc: int


def slot_of(epoch: int) -> int:
    """The offset at which the record of `epoch` is written."""
    return epoch % 2 * SLOT_SIZE


def encode_record(record: Holder) -> bytes:
    """Return `record` as one slot, `SLOT_SIZE` bytes. Raises ValueError if the holder's id does not fit."""
    if len(record.holder) > HOLDER_MAX or not record.holder.isascii() or not record.holder.isprintable():
        raise ValueError(
            f"holder {record.holder!r}: expected at most {HOLDER_MAX} printable ASCII characters"
        )
    line = msgspec.json.encode(
        _Line("lease/1", record.epoch, record.pid, record.started, record.holder, _checksum(record))
    )
    return line.ljust(SLOT_SIZE - 1) + b"\n"


def decode_file(data: bytes) -> Holder | None:
    """Return who took the lease last, None if it was never taken; raise `LeaseCorrupt` if no slot is readable.

    One unreadable slot beside a readable one is an interrupted write: its epoch was never used.
    """
    records: list[Holder] = []
    problem = ""
    for start in (0, SLOT_SIZE):
        slot = data[start : start + SLOT_SIZE]
        if not slot.strip(b"\0"):
            continue
        try:
            records.append(_decode(slot, start))
        except (ValueError, msgspec.MsgspecError) as error:
            problem = problem or str(error)
    if problem and not records:
        raise LeaseCorrupt(problem)
    return max(records, key=lambda record: record.epoch, default=None)


def lock_query() -> bytes:
    """The struct flock for `fcntl(fd, GETLK or OFD_GETLK, …)`: which lock conflicts with a write lock."""
    return _QUERY


def lock_owner(answer: bytes) -> int | None:
    """The pid in the kernel's answer: None if the lock is free, 0 for a process in another pid namespace."""
    kind, _whence, _start, _length, pid = _FLOCK.unpack(answer)
    return None if kind == _F_UNLCK else max(pid, 0)


def started_of(stat: bytes) -> int:
    """The start time in the bytes of a /proc/PID/stat."""
    return int(field_of(stat, 22))


def _decode(slot: bytes, start: int) -> Holder:
    line = msgspec.json.decode(slot, type=_Line)
    record = Holder(line.epoch, line.pid, line.started, line.holder)
    if line.neverblink != "lease/1":
        raise ValueError(f"format {line.neverblink!r}, expected 'lease/1'")
    if line.crc != _checksum(record):
        raise ValueError(f"the checksum at byte {start} does not match")
    if slot_of(record.epoch) != start:
        raise ValueError(f"epoch {record.epoch} is in the wrong line")
    return record


def _checksum(record: Holder) -> int:
    return crc32(f"{record.epoch} {record.pid} {record.started} {record.holder}".encode())
