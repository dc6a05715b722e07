"""The journal in a directory: segments, named by their number.

A segment gets its name only when its snapshot is whole and, if `durability` requires it, on the disk. Until then it is
`NUMBER.journal.PID.new`, which no process reads. So a successor never finds half a snapshot, and a process that is
killed while it writes a new segment leaves the segment before as the newest, with everything in it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from ...protocol.journal import (
    HEADER_SIZE,
    NOWHERE,
    Entry,
    JournalError,
    JournalTooNew,
    Position,
    RecordKind,
    Torn,
    read_header,
    records,
)
from .fsync import FsyncThread
from .interfaces import SegmentEnd
from .retention import Stored
from .segment import PendingSegment, SegmentFile, fail

__all__ = ["Damaged", "JournalDirectory"]

_SUFFIX = ".journal"
_BLOCK = 1 << 20
_SETTLES = 20_000_000
"""How old a change must be so that a later one has another time, ns. The kernel's file times advance every 10 ms at
most."""


class Damaged(JournalError):
    """The segment exists, but nothing of it can be read."""


class JournalDirectory:
    """The segments in `directory`. Every method raises `JournalError` and nothing else."""

    def __init__(self, directory: Path, durability: str) -> None:
        self._directory = directory
        self._where = str(directory)
        self._durability = durability
        self._file: SegmentFile | None = None
        self._runner = FsyncThread()
        self._listed = (0, 0)
        """The directory's time of change when it was last listed, and its newest segment then."""
        self.append: Callable[[RecordKind, bytes], Position] = self._not_open
        """Append one record and return where it ends. It is written whole or not at all."""

    @property
    def position(self) -> Position:
        file = self._file
        return file.position if file is not None else NOWHERE

    def stored(self) -> list[Stored]:
        found: list[Stored] = []
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    stem = entry.name.removesuffix(_SUFFIX)
                    if stem != entry.name and stem.isdecimal():
                        facts = entry.stat()
                        found.append(Stored(int(stem), facts.st_size, facts.st_mtime_ns))
        except OSError as problem:
            fail(self._directory, "cannot be listed", problem)
        return sorted(found, key=lambda stored: stored.number)

    def read(
        self, number: int, offset: int = 0, *, past_damage: bool = False
    ) -> Iterator[Entry | SegmentEnd]:
        """Yield the whole records of a segment from `offset` on, then its end.

        Raises `Damaged` when the header or the disk cannot be read, `JournalTooNew` for the format of a later release.
        """
        path = self._path(number)
        fd = self._open(path)
        try:
            format = self._format(path, fd, number)
            yield from _read(path, fd, max(offset, HEADER_SIZE), format, past_damage)
        finally:
            os.close(fd)

    def format_of(self, number: int) -> int:
        path = self._path(number)
        fd = self._open(path)
        try:
            return self._format(path, fd, number)
        finally:
            os.close(fd)

    def attach(self, position: Position) -> bool:
        if position == NOWHERE:
            return False
        file = self._file
        if file is None or file.number != position.segment:
            file = SegmentFile.open(self._path(position.segment), position.segment, self._durability)
            self._use(file)
        else:
            # Another worker may have written since we did.
            file.end = _size(file)
        file.opening = position.opening
        return file.end == position.offset and self._is_newest(position.segment)

    def settle(self, position: Position) -> None:
        self.attach(position)
        assert self._file is not None
        self._file.cut(position.offset)

    def in_place(self) -> bool:
        file = self._file
        if file is None:
            return False
        # A home that was moved still has its journal, so nothing that is written is lost.
        return file.is_in_place(self._path(file.number)) or (file.is_linked() and self._home_is_gone())

    def begin(self) -> PendingSegment:
        try:
            # The directory may have been removed. The home itself is not created here.
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for stray in self._directory.glob(f"*{_SUFFIX}.*.new"):
                # Left by a leader that was killed: only this process writes now.
                stray.unlink(missing_ok=True)
        except OSError as problem:
            fail(self._directory, "cannot be written", problem)
        number = self._newest() + 1
        path = self._path(number)
        # With our pid: a former leader may still be removing its own unfinished segment, and must not remove this one.
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
        file = SegmentFile.create(unfinished, number)
        return PendingSegment(file, path, self._durability, self._runner, self._adopt)

    def remove(self, numbers: list[int]) -> None:
        for number in numbers:
            path = self._path(number)
            # A file that cannot be removed now is tried again with the next segment.
            self._runner.do(lambda path=path: path.unlink(missing_ok=True))

    def close(self) -> None:
        """Force to the disk what `durability` promises, and close the file. Harmless when it is closed."""
        file, self._file = self._file, None
        self.append = self._not_open
        try:
            if file is not None:
                file.close()
        finally:
            self._runner.close()

    # parts

    def _not_open(self, kind: RecordKind, payload: bytes) -> NoReturn:
        raise JournalError(
            str(self._directory), "it is not open for writing: attach to a segment, or begin one"
        )

    def _home_is_gone(self) -> bool:
        """Whether the home's path is free: a successor would find no other journal there."""
        try:
            os.lstat(self._directory.parent)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08d}{_SUFFIX}"

    def _is_newest(self, number: int) -> bool:
        """Whether this segment exists and is the newest. Lists the directory only if that has changed."""
        try:
            changed = os.stat(self._where).st_mtime_ns
        except OSError as problem:
            fail(self._directory, "cannot be listed", problem)
        if self._listed[0] != changed:
            newest = self._newest()
            # A second change within one tick of the kernel's clock leaves the same time.
            settled = time.time_ns() - changed > _SETTLES
            self._listed = (changed if settled else 0), newest
        return self._listed[1] == number

    def _newest(self) -> int:
        """The number of the newest segment, 0 when there is none."""
        try:
            names = os.listdir(self._directory)
        except OSError as problem:
            fail(self._directory, "cannot be listed", problem)
        stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return max((int(stem) for stem in stems if stem.isdecimal()), default=0)

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            fail(path, "cannot be read", problem)

    def _format(self, path: Path, fd: int, number: int) -> int:
        try:
            header = read_header(_pread(path, fd, 0, HEADER_SIZE), str(path))
        except (JournalTooNew, Damaged):
            raise
        except JournalError as problem:
            raise Damaged(str(path), problem.problem) from None
        if header.segment != number:
            raise Damaged(
                str(path),
                f"its header has the number {header.segment}: give it back its original name",
            )
        return header.format

    def _use(self, file: SegmentFile) -> None:
        """Make `file` the one that is appended to."""
        before, self._file = self._file, file
        self.append = file.append
        if before is not None:
            # In the thread, as its last sync may take a while. The new segment's snapshot holds all that it has.
            self._runner.do(before.shut)

    def _adopt(self, file: SegmentFile) -> None:
        file.promise(self._durability)
        self._use(file)


def _read(path: Path, fd: int, offset: int, format: int, past_damage: bool) -> Iterator[Entry | SegmentEnd]:
    size = os.fstat(fd).st_size
    if size < offset:
        raise Damaged(
            str(path),
            f"it ends at byte {size}, but was read up to byte {offset} before: it was truncated or replaced",
        )
    end, torn = offset, False
    read = records(lambda at, size: _pread(path, fd, at, size), offset, format, past_damage=past_damage)
    for found in read:
        if isinstance(found, Torn):
            torn = True
            left = os.fstat(fd).st_size - found.offset
            yield SegmentEnd(
                found.offset, found.problem, found.cut_off or _zeros(path, fd, found.offset), left
            )
        else:
            torn = False
            end = found.end
            yield found
    if not torn:
        yield SegmentEnd(end)


def _pread(path: Path, fd: int, offset: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError as problem:
        if problem.errno == errno.EIO:
            raise Damaged(str(path), f"it cannot be read at byte {offset}: see the kernel's log") from None
        fail(path, "cannot be read", problem)


def _zeros(path: Path, fd: int, offset: int) -> bool:
    """Whether there are only zeros to the end: after a power cut a file can have its length but not its content."""
    while block := _pread(path, fd, offset, _BLOCK):
        if any(block):
            return False
        offset += len(block)
    return True


def _size(file: SegmentFile) -> int:
    try:
        return os.fstat(file.fd).st_size
    except OSError as problem:
        fail(file.path, "cannot be opened", problem)
