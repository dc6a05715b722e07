"""Marks the supervisor's process with the kernel, and finds the marked processes of a home. See `protocol.presence`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from ...protocol.presence import Presence, address_of, home_key, presences
from .process import alive, started_at

__all__ = ["key_of", "mark_supervisor", "marked"]

_TABLE = Path("/proc/net/unix")


def key_of(home: Path) -> str:
    """The key of the home at this path, whether or not it exists."""
    root = os.stat("/")
    # The home may be a link to another disk, and the link itself may have been removed.
    return home_key(str(home.parent.resolve() / home.name), (root.st_dev, root.st_ino))


def mark_supervisor(home: Path) -> socket | None:
    """Mark this process as a supervisor of the home until the socket is closed; None where that fails."""
    mark = socket(AF_UNIX, SOCK_STREAM)
    with suppress(OSError, ValueError):
        started = started_at(os.getpid()) or 0
        mark.bind(address_of(key_of(home), Presence(os.getpid(), started, "supervisor")))
        return mark
    mark.close()
    return None


def marked(home: Path) -> list[Presence]:
    """The other live processes marked as this home's that run as this user or as root."""
    try:
        table = _TABLE.read_text(errors="replace")
    except OSError:
        return []
    return [
        found
        for found in presences(table, key_of(home))
        if found.pid != os.getpid() and alive(found.pid, found.started) and _is_trusted(found.pid)
    ]


def _is_trusted(pid: int) -> bool:
    """Whether the process runs as this user or root: anyone can bind an address that names any process."""
    try:
        return os.stat(f"/proc/{pid}").st_uid in (0, os.geteuid())
    except OSError:
        return False
