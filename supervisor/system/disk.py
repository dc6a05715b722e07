"""Making files and directories outlast a power cut.

A rename can reach the disk before the contents of the renamed file. So everything that is published by a rename is
synced first, and the directory with the new name afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

from ...protocol.errors import NeverblinkError

__all__ = [
    "MARGIN",
    "DiskFull",
    "need",
    "rename_durably",
    "sync_directory",
    "sync_file",
    "sync_filesystem",
    "sync_tree",
]

_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EROFS)


def sync_file(path: Path) -> None:
    """Force the file, or the entries of the directory, at `path` to the disk. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as problem:
        # Some file systems cannot sync a directory, and then do not need to.
        if problem.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(file)


sync_directory = sync_file


def sync_tree(directory: Path) -> None:
    """Force every file and directory below `directory`, and itself, to the disk. Raises `OSError`."""
    for place, _, names in os.walk(directory):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                sync_file(path)
        sync_file(Path(place))


def sync_filesystem(path: Path) -> None:
    """Force the file system of `path` to the disk: for trees of thousands of files. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(file):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(file)


def rename_durably(fresh: Path, path: Path) -> None:
    """Rename the file `fresh` to `path`, in the same directory, durably. Raises `OSError`."""
    sync_file(fresh)
    fresh.replace(path)
    # The file has its new name; a failure here only risks the name in a power cut.
    with contextlib.suppress(OSError):
        sync_directory(path.parent)


MARGIN = 64 * 1024 * 1024
"""Bytes that stay free for the bot's journal and logs."""


class DiskFull(NeverblinkError):
    """Not enough free space in `path`."""

    def __init__(self, path: Path, what: str, wanted: int, free: int) -> None:
        super().__init__(
            f"{path}: no room for {what}: it needs {_size(wanted)} and {_size(MARGIN)} are left for the bot, "
            f"but {_size(free)} are free: make room, or keep fewer releases (keep.releases)"
        )
        self.path = path
        self.free = free


def need(path: Path, wanted: int, what: str) -> None:
    """Raise `DiskFull` when `what`, of `wanted` bytes, would leave too little room on the disk of `path`."""
    stat = os.statvfs(path)
    free = stat.f_bavail * stat.f_frsize
    if free < wanted + MARGIN:
        raise DiskFull(path, what, wanted, free)


def _size(count: int) -> str:
    return f"{max(1, count // 1024**2)} MiB"
