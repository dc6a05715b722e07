"""Marks a worker's process with the kernel, so that it is found when the files of its home are gone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from ...protocol.lease import started_of
from ...protocol.presence import Presence, address_of

__all__ = ["mark_worker"]


def mark_worker(key: str, home: str = "") -> socket | None:
    """Mark this process as a worker of the home with this key and id; the mark lasts until the socket is closed.

    Returns None without a key, and where the mark can't be made: the bot does not depend on it.
    """
    if not key:
        return None
    mark = socket(AF_UNIX, SOCK_STREAM)
    with suppress(OSError, ValueError):
        started = started_of(Path("/proc/self/stat").read_bytes())
        mark.bind(address_of(key, Presence(os.getpid(), started, "worker", home)))
        return mark
    mark.close()
    return None
