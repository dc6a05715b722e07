"""Room on the disk, looked for before something is made: a bot must not lose its journal to a deployment."""

from __future__ import annotations

import os
from pathlib import Path

from ...protocol.errors import NeverblinkError

__all__ = ["MARGIN", "DiskFull", "need"]

MARGIN = 64 * 1024 * 1024
"""What is left for the bot's journal and logs, in bytes; nothing is made that would leave less."""


class DiskFull(NeverblinkError):
    """There is no room in `path` for what was to be made there."""

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
