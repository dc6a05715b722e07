"""A log file of the supervisor or of the web process: appended to, rotated, and never a reason to fail.

The file is opened for each line. So it does not matter when it was moved, cut short or removed together
with its directory, and no buffer holds lines that could not be written. (The standard library's handlers rotate or
follow the path, not both, and write later what failed once.) Only one process may write to such a
file. A symbolic link in its place is not followed: others may have planted it while they could write to the home.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["SupervisorLogFile", "bound_file", "open_for_child"]

_CAREFULLY = os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK
"""Without waiting: in the file's place may be a named pipe that nothing reads."""
_HOW = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CAREFULLY


class SupervisorLogFile:
    """Appends to the file at `path`. At `size` bytes it is rotated into `path.1`, which becomes `path.2`, up to `keep`.

    `lost(count, why)` makes the line about lines that could not be written; it is written before the next one that can.
    """

    def __init__(self, path: Path, size: int, keep: int, lost: Callable[[int, str], str]) -> None:
        self.path = path
        self._size = size
        self._keep = keep
        self._line_about_lost = lost
        self._lost = 0
        self._why = ""
        self._cut = False

    def write(self, line: str) -> bool:
        """Append `line`, which has no newline; return whether it was written. Never raises."""
        try:
            descriptor = self._open()
        except OSError as problem:
            return self._lose(_why(problem))
        try:
            if self._lost:
                self._append(descriptor, self._line_about_lost(self._lost, self._why))
                self._lost = 0
            self._append(descriptor, line)
        except OSError as problem:
            return self._lose(problem.strerror or repr(problem))
        finally:
            os.close(descriptor)
        return True

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, _HOW, 0o600)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            return os.open(self.path, _HOW, 0o600)
        if os.fstat(descriptor).st_size < self._size:
            return descriptor
        try:
            for number in range(self._keep, 1, -1):
                if self._older(number - 1).exists():
                    self._older(number - 1).replace(self._older(number))
            self.path.replace(self._older(1))
            fresh = os.open(self.path, _HOW, 0o600)
        except OSError:
            # The file at hand goes on growing, as far as it can.
            return descriptor
        os.close(descriptor)
        return fresh

    def _append(self, descriptor: int, line: str) -> None:
        data = ("\n" if self._cut else "").encode() + line.encode(errors="backslashreplace") + b"\n"
        written = os.write(descriptor, data)
        self._cut = written < len(data)
        if self._cut:
            raise OSError(None, "there is no room for a whole line")

    def _lose(self, why: str) -> bool:
        self._lost += 1
        self._why = why
        return False

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def open_for_child(path: Path, warn: Callable[[str], None], *, fresh: bool = False) -> BinaryIO:
    """The file that a child's output goes to, or /dev/null where it cannot be opened: then `warn` gets the reason."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(path, _HOW | (os.O_TRUNC if fresh else 0), 0o600), "ab")
    except OSError as problem:
        warn(f"{path} cannot be opened, so output is lost until it can: {_why(problem)}")
        return open(os.devnull, "ab")


def bound_file(path: Path, size: int) -> None:
    """When the file at `path`, to which a child appends, is longer than `size`, keep only its end. Never raises.

    The child goes on in the same file. What it writes at that very moment can be lost.
    """
    with suppress(OSError), os.fdopen(os.open(path, os.O_RDWR | _CAREFULLY), "r+b") as file:
        length = os.fstat(file.fileno()).st_size
        if length > size:
            file.seek(length - size // 4)
            last = file.read()
            file.truncate(0)
            file.seek(0)
            file.write(last[last.find(b"\n") + 1 :])


def _why(problem: OSError) -> str:
    if problem.errno == errno.ELOOP:
        return "a symbolic link is in its place, and is not followed: remove it"
    return problem.strerror or repr(problem)
