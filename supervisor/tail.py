"""Reading log files from their end, and on as they grow.

Workers write to files of their own, so following "the log" is following a directory: new files turn up with each
worker, old ones fall silent. A look is one scan of the directory and one `stat` a file; what has not grown is not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Tail", "last_lines"]

_BLOCK = 64 * 1024
_LONGEST_LINE = 1024 * 1024


class Tail:
    """Gives the whole lines that were added to `path` since the last look, beginning at byte `offset`."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        self._rest = b""

    @property
    def place(self) -> int:
        """The byte after the lines that were given so far: another `Tail` can go on from there."""
        return self._offset - len(self._rest)

    def look(self) -> Iterator[str]:
        """The lines that are complete by now. A file that was cut short is read from its start."""
        try:
            with open(self.path, "rb") as file:
                length = os.fstat(file.fileno()).st_size
                if length < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                while self._offset < length and (block := file.read(min(_BLOCK, length - self._offset))):
                    self._offset += len(block)
                    *lines, self._rest = (self._rest + block).split(b"\n")
                    yield from map(_text, lines)
                    if len(self._rest) > _LONGEST_LINE:
                        yield _text(self._rest)
                        self._rest = b""
        except FileNotFoundError:
            return


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """The last `count` whole lines of a file and the offset after them, from which a `Tail` goes on."""
    try:
        with open(path, "rb") as file:
            start = end = file.seek(0, os.SEEK_END)
            data = b""
            while start and data.count(b"\n") <= count:
                step = min(_BLOCK, start)
                start -= step
                file.seek(start)
                data = file.read(step) + data
    except FileNotFoundError:
        return [], 0
    whole, newline, rest = data.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    if start:
        lines = lines[1:]
    return [_text(line) for line in lines[-count:] if count], end - len(rest)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")
