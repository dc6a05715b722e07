"""Keeps new workers off the leader's core.

Starting an interpreter, importing the user's code and restoring a large state is heavy work, and delays the ticks of a
leader on the same core. So a new worker may use every core except the one the leader last ran on, until it has
rehearsed; then it gets all cores back, before it can lead.

Affinity, and not `nice`: an unprivileged process can widen its own affinity again, but cannot lower its niceness. Best
effort: where the kernel refuses (a container, a single core) nothing happens.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...protocol.presence import field_of

__all__ = ["CpuAffinity", "last_core"]


class CpuAffinity:
    """Keeps one worker off the leader's core until `free`."""

    def __init__(self, pid: int, leader: int) -> None:
        """Restrict process `pid`, just started, to the cores other than the one process `leader` last ran on."""
        self._pid = pid
        self._kept: set[int] | None = None
        try:
            allowed = os.sched_getaffinity(pid)
            kept = allowed - {last_core(leader)}
            if kept and kept != allowed:
                os.sched_setaffinity(pid, kept)
                self._allowed, self._kept = allowed, kept
        except (OSError, ValueError, IndexError):
            pass

    @classmethod
    def found(cls, pid: int) -> CpuAffinity:
        """The restriction that an earlier supervisor may have set on process `pid`; to be freed."""
        found = cls.__new__(cls)
        found._pid, found._kept = pid, None
        try:
            kept, allowed = os.sched_getaffinity(pid), os.sched_getaffinity(0)
        except OSError:
            return found
        # It leaves out one core, the leader's.
        if kept < allowed and len(allowed - kept) == 1:
            found._allowed, found._kept = allowed, kept
        return found

    @property
    def restricted(self) -> bool:
        return self._kept is not None

    def free(self) -> None:
        """Give all cores back to every thread of the worker, except threads that the bot has bound itself."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        try:
            threads = os.listdir(f"/proc/{self._pid}/task")
        except OSError:
            return
        for thread in map(int, threads):
            try:
                if os.sched_getaffinity(thread) == kept:
                    os.sched_setaffinity(thread, self._allowed)
            except OSError:
                continue


def last_core(pid: int) -> int:
    """The core a process last ran on. Raises OSError when there is no such process."""
    return int(field_of(Path(f"/proc/{pid}/stat").read_bytes(), 39))
