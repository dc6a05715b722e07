"""The trail: every tick of the bot, read from its journal while the leader writes it.

The leader writes a frame for each tick anyway, and says nothing more to anybody for this: whoever reads the file costs
it nothing. Of a frame only its head and its timing are decoded; the state's changes are passed over.

All of this blocks, and is to be called from one thread at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...protocol.frame import Kind, Led, Timing, Yielded
from ...protocol.journal import (
    HEADER_SIZE,
    JournalError,
    RecordKind,
    Torn,
    decode_snapshot,
    read_header,
    records,
)
from ...protocol.wire import UNDECODABLE, WireError
from ..journal_reader import segments

__all__ = ["Lead", "Tick", "Trail"]

_READ_BACK = 64 * 1024 * 1024
"""So far back a trail begins at most, in bytes, as far as whole segments go."""


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """One tick that ran, or several in a row of one leader, of which the worst is told. Times in ns."""

    seq: int
    """The (last) one's index."""
    count: int
    """How many."""
    due: int
    """When the last one was due, wall clock."""
    late: int
    """How much later it began."""
    took: int
    """How long it ran."""
    epoch: int
    """Under which lease."""
    lost: int
    """Indices before the (first) one that did not run: skipped or missed."""


class Lead(msgspec.Struct, frozen=True):
    """From here on `worker` leads."""

    epoch: int
    at: int
    """Wall clock, ns."""
    seq: int
    """The last tick before."""
    worker: str
    release: str
    cause: str
    before: str
    deployment: int
    blackout: int
    """How long nobody could tick, ns; 0 when that is not known."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """A `Frame`, as far as it matters here."""

    epoch: int
    number: int
    seq: int
    kind: Kind
    schema: msgspec.Raw
    prev: msgspec.Raw
    timing: Timing
    changes: msgspec.Raw
    traffic: msgspec.Raw = msgspec.Raw()
    timers: msgspec.Raw = msgspec.Raw()
    paused: Any = None
    about: Led | Yielded | None = None


_heads = msgspec.msgpack.Decoder(_Head)


class Trail:
    """The journal in `directory`, from a little way back on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = -1
        self._segment = 0
        self._format = 0
        self._offset = 0
        self._frame = -1
        """The newest frame seen: a segment begins with some that the one before has too."""

    def read(self) -> Iterator[Tick | Lead]:
        """What was added since the last call. What can't be read is passed over: judging is the audit's."""
        while self._file >= 0 or self._open_next():
            yield from self._records()
            if not self._later():
                return
            # The leader has its last word in a segment before it begins the next one.
            yield from self._records()
            self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _records(self) -> Iterator[Tick | Lead]:
        file = self._file

        def piece(offset: int, size: int) -> bytes:
            return os.pread(file, size, offset)

        try:
            for found in records(piece, self._offset, self._format):
                if isinstance(found, Torn):
                    return
                self._offset = found.end
                if found.kind is RecordKind.FRAME:
                    yield from self._frame_of(found.payload)
                elif found.kind is RecordKind.SNAPSHOT and self._frame < 0:
                    yield from _led_by(found.payload)
        except OSError:
            return

    def _frame_of(self, payload: bytes) -> Iterator[Tick | Lead]:
        try:
            head = _heads.decode(payload)
        except UNDECODABLE:
            return
        if head.number <= self._frame:
            return
        self._frame = head.number
        timing, about = head.timing, head.about
        if head.kind == "tick":
            lost = sum(map(len, timing.gaps))
            yield Tick(head.seq, 1, timing.due, timing.late, timing.took, head.epoch, lost)
        elif isinstance(about, Led):
            yield Lead(
                head.epoch,
                timing.ended,
                head.seq,
                about.worker,
                about.release,
                about.cause,
                about.before,
                about.deployment,
                about.blackout,
            )

    def _later(self) -> bool:
        return any(number > self._segment for number, _ in segments(self._directory))

    def _open_next(self) -> bool:
        there = segments(self._directory)
        if self._segment == 0 and len(there) > 1:
            back = sum(_size(path) for _, path in there[-2:])
            there = there[-2:] if back <= _READ_BACK else there[-1:]
        return any(number > self._segment and self._open(number, path) for number, path in there)

    def _open(self, number: int, path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            header = read_header(os.pread(file, HEADER_SIZE, 0), path.name)
        except (JournalError, OSError):
            os.close(file)
            return False
        self._file, self._segment, self._format, self._offset = file, number, header.format, HEADER_SIZE
        return True


def _led_by(payload: bytes) -> Iterator[Lead]:
    """Who led when a trail begins."""
    try:
        head = decode_snapshot(payload)
    except WireError:
        return
    if head.led_by:
        yield Lead(head.epoch, 0, head.seq, head.led_by, "", "", "", 0, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
