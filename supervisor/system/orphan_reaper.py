"""Reaps processes that lost their parent, where they are given to this process: as PID 1 of a container.

A process that we started is waited for as soon as it ends. So a child that is still a zombie a few seconds later has no
one that waits for it, and only such a child is reaped: no exit status is taken from another part.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from ...protocol.lease import started_of
from ...protocol.presence import field_of

__all__ = ["OrphanReaper"]

_LOOK_EVERY = 5.0


class OrphanReaper:
    """Reaps orphans while it is open, if this process is PID 1. To be made on the loop, and closed."""

    def __init__(self, every: float = _LOOK_EVERY) -> None:
        self._every = every
        self._seen: set[tuple[int, int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        if os.getpid() == 1:
            self._arm()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        zombies = _zombies()
        for pid, _ in zombies & self._seen:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = zombies
        self._arm()


def _zombies() -> set[tuple[int, int]]:
    """Our children that have ended and were not waited for, by pid and start time."""
    me = str(os.getpid()).encode()
    found: set[tuple[int, int]] = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                stat = Path("/proc", name, "stat").read_bytes()
                if field_of(stat, 4) == me and field_of(stat, 3) == b"Z":
                    found.add((int(name), started_of(stat)))
    return found
