"""The file of a feed, opened by the process that is the feed: its lock, and where the feed stands.

See `protocol.feed_file`. The lock is a POSIX record lock, for the reasons that `io.lease` gives.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.feed_file import (
    FILE_SIZE,
    LOCK_AT,
    FeedRecord,
    decode_feed_file,
    encode_feed_record,
    place_of,
)

__all__ = ["FeedFile", "next_record"]

_ASK_EVERY = 0.0005


class FeedFile:
    """The file at `path`. Nothing else in this process may open it. Raises `NeverblinkError` when it can't be used."""

    def __init__(self, path: Path) -> None:
        self.problem = ""
        """Why what is written does not survive this process, "" when it does."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise NeverblinkError(f"the feed's file {path} can't be opened: {problem.strerror}") from None
        self._path = path
        self._removed: list[int] = []
        """Descriptors of files that were at the path before."""
        self._memory: mmap.mmap | None = None

    def lock(self, still_wanted: Callable[[], bool]) -> FeedRecord | None:
        """Wait until no other process is the feed; return where it stood last, None when that is not known.

        Raises `NeverblinkError` when it is no longer `still_wanted()` by then.
        """
        while not self._locked():
            if not still_wanted():
                raise NeverblinkError(
                    "the supervisor that started this process has ended before it was the feed"
                )
            time.sleep(_ASK_EVERY)
        before = decode_feed_file(os.pread(self._fd, FILE_SIZE, 0))
        self._memory = self._mapped()
        return before

    def _locked(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCK_AT)
        except BlockingIOError:
            return False
        except OSError as problem:
            if problem.errno == errno.EACCES:
                return False
            raise
        return True

    def unlock(self) -> None:
        """Let another process be the feed."""
        for descriptor in (*self._removed, self._fd):
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, LOCK_AT)

    def write(self, record: FeedRecord) -> None:
        """Record where the feed stands."""
        memory = self._memory
        assert memory is not None
        data = encode_feed_record(record)
        at = place_of(record.count)
        memory[at : at + len(data)] = data

    def restore(self, record: FeedRecord) -> None:
        """When the file was removed or replaced, make it again and lock it: another process must not be the feed."""
        try:
            if os.stat(self._path).st_ino == os.fstat(self._fd).st_ino:
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        before = self._fd
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not self._locked():
                raise BlockingIOError
            self._memory = self._mapped()
        except OSError:
            # The home is gone, or the disk is full: try again later.
            if self._fd != before:
                os.close(self._fd)
            self._fd = before
            return
        # Its lock is kept: a process may have opened that file before it was removed.
        self._removed.append(before)
        self.write(record)

    def _mapped(self) -> mmap.mmap:
        try:
            # A page without room on the disk would end the process when it is written.
            os.posix_fallocate(self._fd, 0, FILE_SIZE)
            return mmap.mmap(self._fd, FILE_SIZE)
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENODEV):
                raise
            self.problem = f"{self._path} can't be written ({problem.strerror})"
            return mmap.mmap(-1, FILE_SIZE)


def next_record(before: FeedRecord | None, record: FeedRecord) -> FeedRecord:
    """The first record of a new process, after the last one of the process before it."""
    return msgspec.structs.replace(record, count=(before.count if before is not None else 0) + 1)
