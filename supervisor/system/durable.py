"""Making files and directories outlast a power cut.

A rename can reach the disk before the contents of what is renamed. So everything that is published by a rename is
forced to the disk first, and the rename itself afterwards, by syncing its directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

__all__ = ["rename_durably", "sync_directory", "sync_file", "sync_filesystem", "sync_tree"]

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
    """Give the file `fresh`, which is in the same directory, the name `path`, for good. Raises `OSError`."""
    sync_file(fresh)
    fresh.replace(path)
    # The new file is there; whether its name outlasts a power cut is beyond this.
    with contextlib.suppress(OSError):
        sync_directory(path.parent)
