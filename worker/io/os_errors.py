"""What the operating system says about a journal's files, as errors with a mend."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

from ...protocol.journal import MAX_RECORD, JournalError

__all__ = ["fail", "sync_directory", "too_large", "write_all"]

_MENDS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "this user's quota is used up: raise it, or free some space",
    errno.EFBIG: "it is as large as a file may be here: raise the limit (ulimit -f)",
    errno.EACCES: "no permission: give this user the right to read and write it",
    errno.EPERM: "no permission: give this user the right to read and write it",
    errno.EROFS: "its file system is read-only: mount it writable, or move the home",
    errno.ENOENT: "it is not there: restore it, or start with an empty journal",
    errno.EMFILE: "this process has no descriptor left: find what keeps files open, or raise the limit (ulimit -n)",
    errno.EIO: "the disk does not answer as it should: look into the kernel's log",
}


def fail(path: Path, what: str, problem: OSError) -> NoReturn:
    """Raise the error for what the operating system said."""
    mend = _MENDS.get(problem.errno or 0)
    said = problem.strerror or str(problem)
    raise JournalError(str(path), f"{what}: {mend}" if mend else f"{what} ({said})") from None


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write `data`, in one write where the kernel lets us; what is left of a short one says why it was short."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def too_large(path: Path, payload: bytes) -> NoReturn:
    """Raise the error for a record that could not be read back."""
    raise JournalError(
        str(path),
        f"a record of {len(payload)} bytes, at most {MAX_RECORD} can be read back: "
        "keep what is large in a Table, which travels by rows",
    )


def sync_directory(directory: Path) -> None:
    """Force a directory's names to the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
