"""Records of workers in the history: those started, the next number, and the windows in which the bot must tick."""

from __future__ import annotations

import asyncio

from ...protocol.events import Event, LeaderChanged
from ..store.history_rows import WINDOWS
from ..store.history_thread import HistoryThread
from ..store.state_dir import Home
from .leftovers import newest_worker
from .registry import Member, WorkerRegistry

__all__ = ["WorkerRecords"]

_NEWEST = "workers"
"""The key of the newest worker's number."""


class WorkerRecords:
    """Numbers the workers of `home`, and records those in `registry` that are started or begin to lead."""

    def __init__(self, home: Home, registry: WorkerRegistry, history_thread: HistoryThread) -> None:
        self._home = home
        self._registry = registry
        self._history_thread = history_thread
        self._newest = 0

    async def recall(self) -> None:
        """Load the last number that an earlier supervisor gave."""
        known = await self._history_thread.recall(_NEWEST, int) or 0
        # A power cut can take the last writes to the history, and a worker's id must never be used twice.
        self._newest = max(known, await asyncio.to_thread(newest_worker, self._home))

    def next_worker(self) -> str:
        """A new worker id, never used in this home."""
        self._newest += 1
        count = self._newest
        self._history_thread.write(lambda history: history.keep(_NEWEST, count))
        return f"w{count}"

    def started(self, member: Member) -> None:
        """Record a worker that was started."""
        worker, release, pid, started = member.worker, member.release, member.pid, member.started
        log, at = member.log, member.since
        self._history_thread.write(lambda history: history.started(worker, release, pid, started, log, at))

    def note(self, event: Event) -> None:
        """Record the windows of a new leader: reports on the past need to know when the bot had to tick."""
        leader = self._registry.get(event.worker) if isinstance(event, LeaderChanged) else None
        if leader is not None and leader.hello is not None:
            windows = list(leader.hello.windows)
            self._history_thread.write(lambda history: history.keep(WINDOWS, windows))
