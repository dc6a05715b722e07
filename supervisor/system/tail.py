"""Reading log files from their end, and on as they grow, across rotations.

Each worker writes its own file, so following "the log" means following a directory: each worker adds a file, and old
files stop growing. A poll is one scan of the directory and one `stat` per file; only files that grew are read.

A log is the file at its path and older files beside it: `w1.log.1` was `w1.log` before. A reader identifies its file by
inode, so it finds the file again under its new name. Lines longer than `LONGEST_LINE` are cut, and memory does not grow
with the length of a line or of a file.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...protocol.logline import decode_line

__all__ = ["LONGEST_LINE", "LogPosition", "LogTail", "last_line", "last_lines", "older_files"]

LONGEST_LINE = 256 * 1024
"""How many bytes of a line are read."""

_BLOCK = 256 * 1024
_MOST_BYTES = 256 * 1024 * 1024
"""How far back from the end a log is searched for its last lines, bytes."""
_MOST_LINE_BYTES = 64 * 1024 * 1024
"""The most bytes of lines that are returned at once."""


class LogPosition(NamedTuple):
    """A byte of a log: in the file with this inode; 0 is the one at the path."""

    file: int
    offset: int


class LogTail:
    """Returns the complete lines added to the log at `path` since the last call, beginning at `place`."""

    def __init__(self, path: Path, place: LogPosition = LogPosition(0, 0)) -> None:  # noqa: B008
        self.path = path
        self._file, self._offset = place
        self._rest = b""
        self._cutting = False
        """Whether the rest of a cut line is being skipped."""

    @property
    def place(self) -> LogPosition:
        """The byte after the lines returned so far: another `LogTail` can continue there."""
        return LogPosition(self._file, self._offset - len(self._rest))

    def behind(self) -> int:
        """How many bytes are still unread."""
        try:
            now = self.path.stat()
            if self._file in (0, now.st_ino):
                return max(now.st_size - self._offset, 0)
            older = sum(path.stat().st_size for path in self._rotated(now.st_ino))
        except OSError:
            return 0
        return now.st_size + max(older - self._offset, 0)

    def look(self) -> Iterator[str]:
        """The lines completed since the last call. A truncated file is read from its start."""
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                if self._file not in (0, found.st_ino):
                    for path in self._rotated(found.st_ino):
                        with open(path, "rb") as older:
                            yield from self._read(older)
                            yield from self._end()
                    self._offset = 0
                self._file = found.st_ino
                if found.st_size < self._offset:
                    self._offset, self._rest, self._cutting = 0, b"", False
                yield from self._read(file)
        except FileNotFoundError:
            return

    def _rotated(self, now: int) -> list[Path]:
        """The files to read before the one at the path, whose inode is `now`, oldest first."""
        waiting: list[Path] = []
        for path in older_files(self.path):
            inode = path.stat().st_ino
            if inode != now:
                waiting.append(path)
            if inode == self._file:
                return waiting[::-1]
        # It was moved elsewhere, or removed.
        return []

    def _read(self, file: BinaryIO) -> Iterator[str]:
        length = os.fstat(file.fileno()).st_size
        file.seek(self._offset)
        while self._offset < length and (block := file.read(min(_BLOCK, length - self._offset))):
            self._offset += len(block)
            *lines, rest = block.split(b"\n")
            for line in lines:
                yield from self._line(line)
            self._rest += rest
            if len(self._rest) > LONGEST_LINE:
                yield from self._cut()

    def _line(self, end: bytes) -> Iterator[str]:
        line, self._rest = self._rest + end, b""
        if not self._cutting:
            yield _text(line, len(line))
        self._cutting = False

    def _cut(self) -> Iterator[str]:
        line, self._rest = self._rest, b""
        if not self._cutting:
            yield _text(line, len(line))
        self._cutting = True

    def _end(self) -> Iterator[str]:
        """Return the last line of a file that is no longer written, also without a newline."""
        if self._rest:
            yield from self._line(b"")
        self._offset, self._cutting = 0, False


def last_lines(path: Path, count: int) -> tuple[list[str], LogPosition]:
    """The last `count` whole lines of a log and the place after them, where a `LogTail` can continue.

    A last line without a newline is left for the `LogTail`, unless it exceeds `LONGEST_LINE`.
    """
    found: list[str] = []
    room = _MOST_LINE_BYTES
    place = LogPosition(0, 0)
    for file_path in (path, *older_files(path)):
        try:
            with open(file_path, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                lines = _backwards(file, end)
                unfinished = next(lines)
                if file_path == path:
                    whole = end - (0 if unfinished.length > LONGEST_LINE else unfinished.length)
                    place = LogPosition(os.fstat(file.fileno()).st_ino, whole)
                ended = file_path != path or unfinished.length > LONGEST_LINE
                if unfinished.length and ended and len(found) < count:
                    found.append(unfinished.text)
                for line in lines:
                    if len(found) >= count or room < 0:
                        return found[::-1], place
                    found.append(line.text)
                    room -= len(line.text)
        except FileNotFoundError:
            continue
        if len(found) >= count:
            break
    return found[::-1], place


def older_files(path: Path) -> Iterator[Path]:
    """The rotated files of a log, newest first. A number may be missing: removed, or not written on a full disk."""
    numbers = [
        int(number)
        for older in path.parent.glob(f"{glob.escape(path.name)}.*")
        if (number := older.name.removeprefix(f"{path.name}.")).isdecimal()
    ]
    for number in sorted(numbers):
        yield path.with_name(f"{path.name}.{number}")


class _Line(NamedTuple):
    start: bytes
    length: int

    @property
    def text(self) -> str:
        return _text(self.start, self.length)


def _backwards(file: BinaryIO, end: int) -> Iterator[_Line]:
    """The text after the last newline before `end`, then the lines before it, last first."""
    start, length = b"", 0
    position = end
    while position and end - position < _MOST_BYTES:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        *before, last = file.read(step).split(b"\n")
        start, length = (last + start)[:LONGEST_LINE], length + len(last)
        # Each newline ends an earlier line and begins the one collected so far.
        for piece in reversed(before):
            yield _Line(start, length)
            start, length = piece, len(piece)
    yield _Line(start, length)


def _text(start: bytes, length: int) -> str:
    text = start[:LONGEST_LINE].rstrip(b"\r").decode(errors="replace")
    return text if length <= LONGEST_LINE else f"{text}… (cut: {length:,} bytes or more)"


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, at most 500 characters of it; "" when there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    decoded = decode_line(last)
    return (decoded.text if decoded is not None else last)[:500]
