"""Which files a process has open, from /proc, and this process's limit on descriptors.

A pid in a database or in a file proves nothing: the directory may be a copy of another bot's, a restored backup, or
older than the last boot. An open descriptor does. It refers to an inode, so a copy, which has other inodes, does not
match, and it follows a directory that is moved or mounted elsewhere.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["holders_of_removed", "holds_any", "left", "limit", "lockers", "raise_limit", "where_is"]

_REMOVED = " (deleted)"


def holds_any(pid: int, files: Iterable[Path]) -> bool:
    """Whether the process has one of these files or directories open, or as its working directory.

    Also False when the kernel does not show it, as for another user's process.
    """
    wanted = {found for file in files if (found := _identity(file)) is not None}
    if not wanted:
        return False
    return any(_identity(link) in wanted for link in _links_of(pid))


def holders_of_removed(files: Iterable[Path]) -> list[tuple[int, Path]]:
    """The processes with an open file that was at one of these paths and was removed, with the path."""
    wanted = {f"{file}{_REMOVED}": file for file in files}
    found: set[tuple[int, Path]] = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            found |= {
                (int(entry), wanted[target])
                for link in _links_of(int(entry))
                if (target := _target(link)) in wanted
            }
    return sorted(found)


def lockers() -> set[int]:
    """The processes with a write lock (POSIX record lock) on the first byte of a file, as a leader has on its lease.

    A forked child shares open files, but not record locks.
    """
    try:
        lines = Path("/proc/locks").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    # 1: POSIX  ADVISORY  WRITE 4711 08:01:123456 0 0
    rows = [line.split() for line in lines]
    return {
        int(row[4])
        for row in rows
        if len(row) == 8
        and (row[1], row[3]) == ("POSIX", "WRITE")
        and row[6:] == ["0", "0"]
        and row[4].isdigit()
    }


def where_is(pid: int, name: str) -> Path | None:
    """The path of the open file called `name` of the process; None when it has none, or the file was removed."""
    for link in _links_of(pid):
        path = Path(_target(link))
        if path.name == name and _identity(path) == _identity(link) is not None:
            return path
    return None


def _links_of(pid: int) -> Iterator[Path]:
    process = Path(f"/proc/{pid}")
    yield process / "cwd"
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:
        return
    for descriptor in descriptors:
        yield process / "fd" / descriptor


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


_MOST = 1 << 20
"""Some container engines set a hard limit of 2^30, and programs that close every possible descriptor take hours."""
_OPEN = "/proc/self/fd"


def raise_limit() -> int:
    """Raise the soft limit on descriptors to the hard one; return the previous limit, for child processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft


def limit() -> int:
    """How many descriptors this process may have open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def left() -> int:
    """How many descriptors this process can still open."""
    try:
        # The size of the directory is the number of descriptors, from Linux 6.2 on.
        count = os.stat(_OPEN).st_size or len(os.listdir(_OPEN))
    except OSError:
        return 0
    return max(0, limit() - count)
