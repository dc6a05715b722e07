"""A segment of the journal: the file, open for appending, and a new segment until it has its name.

One append is one write to a file opened for appending, so a process that dies leaves whole records and at most one torn
record at the end. The write reaches the page cache, which outlives any process; `durability` decides when it is also
forced to the disk: "process" leaves that to the kernel, "interval" does it once a second in a thread, "always" before
the turn ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ...protocol.journal import (
    HEADER_SIZE,
    MAX_RECORD,
    JournalError,
    Position,
    RecordKind,
    pack_header,
    pack_record,
)
from .fsync import FsyncTask, FsyncThread, Syncer

__all__ = ["PendingSegment", "SegmentFile", "fail"]

_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class SegmentFile:
    """A file that is written up to `end`. Every method but `shut` raises `JournalError` and nothing else.

    A failed append leaves nothing behind: what was written of it is cut off again, at once or, if that fails too,
    before the next append.
    """

    def __init__(self, path: Path, number: int, fd: int, end: int, durability: str) -> None:
        self.path = path
        self.number = number
        self.end = end
        self.opening = 0
        """Where its snapshot ends, 0 while this is unknown."""
        self.durability = durability
        self._fd = fd
        self._torn = False
        """There may be part of a failed record after `end`."""
        self._syncer: Syncer | None = None

    @classmethod
    def create(cls, path: Path, number: int) -> SegmentFile:
        """Create a file with a header, in place of any file of that name. Nothing is forced to the disk yet."""
        try:
            fd = os.open(path, _APPENDING | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _write_all(fd, pack_header(number))
            except OSError:
                os.close(fd)
                path.unlink(missing_ok=True)
                raise
        except OSError as problem:
            fail(path, "cannot be created", problem)
        return cls(path, number, fd, HEADER_SIZE, "process")

    @classmethod
    def open(cls, path: Path, number: int, durability: str) -> SegmentFile:
        """Open a file to append at its end."""
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
        """Append one record and return where it ends. It is written whole or not at all."""
        if self._fd < 0:
            raise JournalError(str(self.path), "it is not open for writing: attach to it first")
        if len(payload) > MAX_RECORD:
            _too_large(self.path, payload)
        if self._syncer is not None and self._syncer.problem is not None:
            fail(self.path, "cannot be forced to the disk", self._syncer.problem)
        record = pack_record(kind, payload)
        try:
            if self.durability == "interval" and self._syncer is None:
                self._syncer = Syncer(self._fd)
            if self._torn:
                os.ftruncate(self._fd, self.end)
            self._torn = True
            # In one write, unless the kernel writes only a part.
            written = os.write(self._fd, record)
            if written < len(record):
                _write_all(self._fd, memoryview(record)[written:])
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
        """Cut the file off at `end`."""
        try:
            if os.fstat(self._fd).st_size != end:
                os.ftruncate(self._fd, end)
        except OSError as problem:
            fail(self.path, "its torn end cannot be cut off", problem)
        self.end = end
        self._torn = False

    def promise(self, durability: str) -> None:
        """Keep to `durability` from now on, and for what is written already."""
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
        """Whether `path` is still the name of this file."""
        try:
            ours, there = os.fstat(self._fd), os.stat(path)
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def is_linked(self) -> bool:
        """Whether this file still has a name anywhere: it was moved, not removed."""
        try:
            return os.fstat(self._fd).st_nlink > 0
        except OSError:
            return False

    def close(self) -> None:
        """Force to the disk what `durability` promises, and close the file. Harmless when it is closed."""
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
        """Close the file, as an `FsyncTask`: an error is raised as `OSError`."""
        try:
            self.close()
        except JournalError as problem:
            raise OSError(problem.message) from None

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self.end)
        except OSError:
            return  # `_torn` stays set, so the next append tries again.
        self._torn = False


class PendingSegment:
    """A new segment that is written to `file` until it gets its name, `path`; see `journal.NewSegment`.

    `adopt(file)` is called when it has its name. If it must be on the disk first, `runner` forces it.
    """

    def __init__(
        self,
        file: SegmentFile,
        path: Path,
        durability: str,
        runner: FsyncThread,
        adopt: Callable[[SegmentFile], None],
    ) -> None:
        self._file = file
        self._path = path
        self._durability = durability
        self._runner = runner
        self._adopt = adopt
        self._naming: FsyncTask | None = None

    def append(self, kind: RecordKind, payload: bytes) -> None:
        self._file.append(kind, payload)

    def publish(self) -> bool:
        if self._naming is None:
            if self._durability == "process":
                self._naming = FsyncTask(self._name)
                self._naming.run()
            else:
                self._naming = self._runner.do(self._sync_and_name)
        if not self._naming.done:
            return False
        if self._naming.problem is not None:
            fail(self._path, "cannot be created", self._naming.problem)
        self._file.path = self._path
        self._adopt(self._file)
        return True

    def settle(self) -> None:
        if self._naming is not None:
            self._naming.wait()

    def discard(self) -> None:
        """Remove the file. Raises `JournalError` when it has its name and cannot be removed."""
        unfinished = self._file.path
        if self._naming is not None:
            self._naming.wait()
            try:
                self._path.unlink(missing_ok=True)
            except OSError as problem:
                fail(self._path, "cannot be removed", problem)
        self._runner.do(self._file.shut)
        self._runner.do(lambda: unfinished.unlink(missing_ok=True))

    def _name(self) -> None:
        self._file.path.rename(self._path)

    def _sync_and_name(self) -> None:
        os.fdatasync(self._file.fd)
        self._name()
        _sync_directory(self._path.parent)


_MENDS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "this user's quota is used up: raise it, or free some space",
    errno.EFBIG: "it has reached the size limit of a file: raise the limit (ulimit -f)",
    errno.EACCES: "no permission: give this user the right to read and write it",
    errno.EPERM: "no permission: give this user the right to read and write it",
    errno.EROFS: "its file system is read-only: mount it writable, or move the home",
    errno.ENOENT: "it does not exist: restore it, or start with an empty journal",
    errno.EMFILE: "no file descriptor is left: find what keeps files open, or raise the limit (ulimit -n)",
    errno.EIO: "the disk reports an error: see the kernel's log",
}


def fail(path: Path, what: str, problem: OSError) -> NoReturn:
    """Raise the `JournalError` for an error of the operating system."""
    mend = _MENDS.get(problem.errno or 0)
    reason = problem.strerror or str(problem)
    raise JournalError(str(path), f"{what}: {mend}" if mend else f"{what} ({reason})") from None


def _write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`. After a short write the next one raises the reason."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _too_large(path: Path, payload: bytes) -> NoReturn:
    """Raise the error for a record that is too large to be read back."""
    raise JournalError(
        str(path),
        f"a record of {len(payload)} bytes, at most {MAX_RECORD} can be read back: "
        "keep large data in a Table, which is sent row by row",
    )


def _sync_directory(directory: Path) -> None:
    """Force the names in a directory to the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
