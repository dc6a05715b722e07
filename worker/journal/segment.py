"""One segment of the journal, open for appending.

One append is one write to a file opened for appending, so what a dead process left is whole records and at most one
torn one at the end. The write reaches the page cache, which survives any process; `durability` says when it is also
forced to the disk: "process" leaves that to the kernel, "interval" does it once a second beside the loop, "always"
before the turn ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...protocol.journal import (
    HEADER_SIZE,
    MAX_RECORD,
    JournalError,
    Position,
    RecordKind,
    pack_header,
    pack_record,
)
from ..io.os_errors import fail, too_large, write_all
from .fsync import Syncer

__all__ = ["SegmentFile"]

_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class SegmentFile:
    """A file that is written up to `end`. Every method raises `JournalError` and nothing else.

    An append that failed left nothing behind: what got written of it is cut off again, at once or, if even that fails,
    before the next append.
    """

    def __init__(self, path: Path, number: int, fd: int, end: int, durability: str) -> None:
        self.path = path
        self.number = number
        self.end = end
        self.opening = 0
        """Where its snapshot ends, 0 while that is not known."""
        self.durability = durability
        self._fd = fd
        self._torn = False
        """There may be something after `end` that is not to stay."""
        self._syncer: Syncer | None = None

    @classmethod
    def create(cls, path: Path, number: int) -> SegmentFile:
        """Make a file with a header, and nothing forced to the disk yet; what was there under its name is gone."""
        try:
            fd = os.open(path, _APPENDING | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                write_all(fd, pack_header(number))
            except OSError:
                os.close(fd)
                path.unlink(missing_ok=True)
                raise
        except OSError as problem:
            fail(path, "cannot be begun", problem)
        return cls(path, number, fd, HEADER_SIZE, "process")

    @classmethod
    def open(cls, path: Path, number: int, durability: str) -> SegmentFile:
        """Open a file to go on after all that is in it."""
        try:
            fd = os.open(path, _APPENDING)
            end = os.fstat(fd).st_size
        except OSError as problem:
            fail(path, "cannot be opened", problem)
        return cls(path, number, fd, end, durability)

    @property
    def position(self) -> Position:
        """Where the next record will be."""
        return Position(self.number, self.end, self.opening)

    @property
    def fd(self) -> int:
        return self._fd

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        """Append one record; return where it ends. When it could not be written whole, none of it is there."""
        if self._fd < 0:
            raise JournalError(str(self.path), "it is not open for writing: attach to it first")
        if len(payload) > MAX_RECORD:
            too_large(self.path, payload)
        if self._syncer is not None:
            self._check_syncer(self._syncer)
        record = pack_record(kind, payload)
        try:
            if self.durability == "interval" and self._syncer is None:
                self._syncer = Syncer(self._fd)
            if self._torn:
                os.ftruncate(self._fd, self.end)
            self._torn = True
            # In one write, where the kernel lets us.
            written = os.write(self._fd, record)
            if written < len(record):
                write_all(self._fd, memoryview(record)[written:])
            if self.durability == "always":
                os.fdatasync(self._fd)
        except OSError as problem:
            self._cut_back()
            fail(self.path, "cannot be written", problem)
        self._torn = False
        self.end += len(record)
        if kind is RecordKind.WHOLE:
            self.opening = self.end
        if self._syncer is not None:
            self._syncer.written = True
        return Position(self.number, self.end, self.opening)

    def cut(self, end: int) -> None:
        """Cut off what is after `end`."""
        try:
            if os.fstat(self._fd).st_size != end:
                os.ftruncate(self._fd, end)
        except OSError as problem:
            fail(self.path, "its torn end cannot be cut off", problem)
        self.end = end
        self._torn = False

    def promise(self, durability: str) -> None:
        """From now on keep to `durability`, for what is written already too."""
        self.durability = durability
        try:
            if durability == "always":
                os.fdatasync(self._fd)
            elif durability == "interval" and self._syncer is None:
                self._syncer = Syncer(self._fd)
                self._syncer.written = True
        except OSError as problem:
            fail(self.path, "cannot be forced to the disk", problem)

    def is_in_place(self, path: Path) -> bool:
        """Whether the file that is written is the one that has the name `path`."""
        try:
            ours, there = os.fstat(self._fd), os.stat(path)
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def is_linked(self) -> bool:
        """Whether the file that is written has a name anywhere: it was moved, and not removed."""
        try:
            return os.fstat(self._fd).st_nlink > 0
        except OSError:
            return False

    def close(self) -> None:
        """Force to the disk what `durability` promises to, and close the file. Harmless when it is closed."""
        fd, self._fd = self._fd, -1
        syncer, self._syncer = self._syncer, None
        if syncer is not None:
            syncer.stop()
        if fd >= 0:
            try:
                os.close(fd)
            except OSError as problem:
                fail(self.path, "cannot be closed", problem)
        if syncer is not None and syncer.problem is not None:
            fail(self.path, "cannot be forced to the disk", syncer.problem)

    def shut(self) -> None:
        """Close it, as a chore: what goes wrong is an `OSError`."""
        try:
            self.close()
        except JournalError as problem:
            raise OSError(problem.message) from None

    def _check_syncer(self, syncer: Syncer) -> None:
        if syncer.problem is not None:
            fail(self.path, "cannot be forced to the disk", syncer.problem)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self.end)
        except OSError:
            return  # `_torn` stays set: tried again before the next append
        self._torn = False
