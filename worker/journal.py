"""The leader's journal: the state stream as a file.

The leader appends each frame before it says that the turn is done, and the record of a decision before its body runs.
One append is one write to a file opened for appending, so what a dead process left is whole records and at most one
torn one at the end. The write reaches the page cache, which survives any process; `durability` says when it is also
forced to the disk: "process" leaves that to the kernel, "interval" does it once a second beside the loop, "always"
before the turn ends.

Workers take turns at one file, never two at a time: only who holds the lease appends. A new leader continues where
the old one ended, after checking that this is where it has followed to; if it is not, it reads the rest first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..protocol.journal import (
    HEADER_SIZE,
    Entry,
    JournalError,
    Position,
    RecordKind,
    Torn,
    pack_header,
    pack_record,
    scan,
    unpack_header,
)

__all__ = ["Journal", "JournalFile", "NoJournal"]


class Journal(Protocol):
    """Where a leader writes and a successor reads."""

    def begin(self, records: list[tuple[RecordKind, bytes]]) -> Position: ...
    def attach(self, position: Position) -> bool: ...
    def read_on(self, position: Position) -> Iterator[Entry]: ...
    def mend(self) -> None: ...
    def append(self, kind: RecordKind, payload: bytes) -> Position: ...
    def close(self) -> None: ...


class NoJournal:
    """For a bot that runs alone: nothing is written, and there is nobody to read it."""

    def begin(self, records: list[tuple[RecordKind, bytes]]) -> Position:
        return _NOWHERE

    def attach(self, position: Position) -> bool:
        return True

    def read_on(self, position: Position) -> Iterator[Entry]:
        return iter(())

    def mend(self) -> None:
        pass

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        return _NOWHERE

    def close(self) -> None:
        pass


_NOWHERE = Position(0, 0)
_SYNC_EVERY = 1.0


class JournalFile:
    """Segments in `directory`, named by their number."""

    def __init__(self, directory: Path, durability: str) -> None:
        self._directory = directory
        self._durability = durability
        self._fd = -1
        self._segment = 0
        self._offset = 0
        self._whole = 0
        self._closing = threading.Event()
        self._syncer: threading.Thread | None = None

    def begin(self, records: list[tuple[RecordKind, bytes]]) -> Position:
        """Start a segment that opens with `records` (a snapshot and its rows). Needs the lease."""
        newest = max((int(path.stem) for path in self._directory.glob("*.journal")), default=0)
        self._open(newest + 1, os.O_CREAT | os.O_EXCL)
        body = b"".join(pack_record(kind, payload) for kind, payload in records)
        self._write(pack_header(self._segment) + body)
        return Position(self._segment, self._offset)

    def attach(self, position: Position) -> bool:
        """Make ready to append; return whether the journal ends at `position`."""
        if self._fd < 0 or position.segment != self._segment:
            self._open(position.segment, 0)
        self._offset = os.fstat(self._fd).st_size
        return self._offset == position.offset and not self._path(position.segment + 1).exists()

    def read_on(self, position: Position) -> Iterator[Entry]:
        """Yield the whole records after `position`, to the end of the newest segment."""
        segment, offset = position.segment, position.offset
        while True:
            data = self._path(segment).read_bytes()
            unpack_header(data, self._path(segment).name)
            whole = max(offset, HEADER_SIZE)
            for found in scan(data, whole):
                if isinstance(found, Torn):
                    break
                whole = found.end
                yield found
            if not self._path(segment + 1).exists():
                self._open(segment, 0)
                self._whole = whole
                return
            segment, offset = segment + 1, HEADER_SIZE

    def mend(self) -> None:
        """Cut off what a dead leader left half written, as found by `read_on`. Needs the lease."""
        if os.fstat(self._fd).st_size != self._whole:
            os.ftruncate(self._fd, self._whole)
        self._offset = self._whole

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        """Append one record; return where it ends. Raises `JournalError` when it could not be written whole."""
        self._write(pack_record(kind, payload))
        return Position(self._segment, self._offset)

    def close(self) -> None:
        self._closing.set()
        if self._syncer is not None:
            self._syncer.join()
            self._syncer = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:08d}.journal"

    def _open(self, segment: int, flags: int) -> None:
        path = self._path(segment)
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        except OSError as problem:
            raise JournalError(path.name, f"cannot be opened ({problem.strerror})") from None
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._segment = segment
        self._offset = 0

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                os.ftruncate(self._fd, self._offset)
                raise JournalError(self._path(self._segment).name, "the disk is full")
            if self._durability == "always":
                os.fdatasync(self._fd)
        except OSError as problem:
            raise JournalError(
                self._path(self._segment).name, f"cannot be written ({problem.strerror})"
            ) from None
        self._offset += written
        if self._durability == "interval" and self._syncer is None:
            self._syncer = threading.Thread(target=self._sync_often, name="neverblink-journal", daemon=True)
            self._syncer.start()

    def _sync_often(self) -> None:
        while not self._closing.wait(_SYNC_EVERY):
            os.fdatasync(self._fd)
