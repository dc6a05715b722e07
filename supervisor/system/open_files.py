"""Which files a process has open, by the word of the kernel.

A pid in a database or in a file is a claim: the directory may be a copy of another bot's, a restored backup, or older
than the last boot. A descriptor is proof. It names an inode, so it is not fooled by a copy, which has inodes of its
own, and it follows a directory that is moved or mounted elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["holders_of_removed", "holds_any", "lockers", "where_is"]

_REMOVED = " (deleted)"


def holds_any(pid: int, files: Iterable[Path]) -> bool:
    """Whether the process has one of these files or directories open, or works in one.

    False too where the kernel does not tell, as for another user's process.
    """
    wanted = {found for file in files if (found := _identity(file)) is not None}
    if not wanted:
        return False
    return any(_identity(link) in wanted for link in _links_of(pid))


def holders_of_removed(files: Iterable[Path]) -> list[tuple[int, Path]]:
    """The processes that have a file open which was at one of these paths and has been removed since, with the path."""
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
    """The processes that have a record lock for writing on the first byte of some file, as a leader has on its lease.

    A child that a process forked has its files open too, and none of its record locks.
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
    """Where the file called `name` is that the process has open; None when it has none, or it was removed."""
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
