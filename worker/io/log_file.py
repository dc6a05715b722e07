"""A worker's log file with rotation. A failure loses lines and has no other effect.

Descriptors 1 and 2 of the process lead to the same file, for C code and child processes. So when the file is replaced,
by rotation or because it was moved or removed, they lead to the new file too. Only this process rotates the file; a
forked child follows it. A symbolic link in the file's place is not followed.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["LogFile"]

_LOOK_EVERY = 100_000_000
"""How often the path is compared with the open file, ns."""
_RETRY_AFTER = 1_000_000_000
_MODE = 0o600
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK
"""Non-blocking, because a named pipe without a reader may be in the file's place."""

File = tuple[int, int]
"""Device and inode."""


class LogFile:
    """Appends to `path`. At `size` bytes the file becomes `path.1`, `path.1` becomes `path.2`, up to `keep` of them."""

    def __init__(self, path: str, size: int, keep: int) -> None:
        self.problem = ""
        """Why the last write failed, "" when it succeeded."""
        self._path = Path(path)
        self._limit = size
        self._keep = keep
        self._descriptor = -1
        self._file: File | None = None
        self._length = 0
        self._cut = False
        """The file ends in part of a line, because the disk was full."""
        self._look_at = 0
        self._rotate_at = 0
        self._owner = os.getpid()
        self.look()

    def write(self, data: bytes) -> bool:
        """Append `data`, which ends in a newline, with one system call; return whether all of it was written.

        Never raises.
        """
        if time.monotonic_ns() >= self._look_at:
            self.look()
        if self._descriptor < 0:
            return False
        if self._cut:
            data = b"\n" + data
        try:
            written = os.write(self._descriptor, data)
        except OSError as problem:
            self.problem = problem.strerror or type(problem).__name__
            return False
        self._length += written
        self._cut = written < len(data)
        self.problem = "there is no room for a whole line" if self._cut else ""
        if self._length >= self._limit:
            self._rotate()
        return not self._cut

    def look(self) -> None:
        """Open the file again if it was moved or removed, and rotate it if child processes made it too long.

        Never raises. Called with every write, at most every 100 ms, and in idle time.
        """
        self._look_at = time.monotonic_ns() + _LOOK_EVERY
        try:
            found = os.lstat(self._path)
            missing = (found.st_dev, found.st_ino) != self._file
        except OSError:
            found, missing = None, True
        if missing:
            try:
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                self._replace(os.open(self._path, _APPEND, _MODE))
            except OSError as problem:
                self.problem = (
                    "a symbolic link is in its place, and is not followed: remove it"
                    if problem.errno == errno.ELOOP
                    else problem.strerror or type(problem).__name__
                )
        elif found is not None:
            # Child processes write to it too, and it may have been truncated.
            self._length = found.st_size
        if self._length >= self._limit:
            self._rotate()

    def _rotate(self) -> None:
        if os.getpid() != self._owner or time.monotonic_ns() < self._rotate_at:
            return
        self._rotate_at = time.monotonic_ns() + _RETRY_AFTER
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            self._make_room()
            descriptor = os.open(fresh, _APPEND | os.O_TRUNC, _MODE)
        except OSError:
            # The present file grows further.
            return
        try:
            os.rename(self._path, self._older(1))
            os.rename(fresh, self._path)
        except OSError:
            os.close(descriptor)
            return
        self._replace(descriptor)
        self._rotate_at = 0

    def _make_room(self) -> None:
        """Renumber the older files up to the first gap; the last one is removed."""
        last = next((n for n in range(1, self._keep) if not self._older(n).exists()), self._keep)
        for number in range(last, 1, -1):
            os.rename(self._older(number - 1), self._older(number))

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _replace(self, descriptor: int) -> None:
        """Write to `descriptor` from now on, and redirect 1 and 2 to it if they led to the file before."""
        before = self._file
        found = os.fstat(descriptor)
        self._file, self._length = (found.st_dev, found.st_ino), found.st_size
        self._cut = False
        for standard in (1, 2):
            if before is None or _file_of(standard) == before:
                with suppress(OSError):
                    os.dup2(descriptor, standard)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor


def _file_of(descriptor: int) -> File | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
