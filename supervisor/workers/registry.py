"""The registry: what the supervisor knows of each worker.

It is filled from the workers' messages and the ends of their processes, and read by every other part. It has no socket
and decides nothing. A worker that has ended stays in it for a while, so that its end can be looked up.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...protocol.grid import Grid
from ...protocol.link import (
    DecisionClosed,
    DecisionOpened,
    Failed,
    Handed,
    Hello,
    Holding,
    Ready,
    Recovered,
    Rehearsed,
    Report,
    WorkerMessage,
)
from ...protocol.window import Window, readable

__all__ = ["Ended", "Member", "WorkerRegistry"]

_REMEMBERED = 16
"""How many workers that have ended stay in the registry."""


class Ended(msgspec.Struct, frozen=True):
    """How a worker ended: exit status (negative for a signal; None when it can't be known), and why, in one line."""

    code: int | None
    reason: str
    at: int


class Member:
    """One worker. Times are wall ns."""

    def __init__(self, worker: str, release: str, log: Path, since: int) -> None:
        self.worker = worker
        self.release = release
        self.log = log
        self.since = since
        self.pid = 0
        self.started = 0
        """The process's start time in clock ticks since boot."""
        self.messages = 0
        """How many messages it has sent."""
        self.hello: Hello | None = None
        self.ready: Ready | None = None
        self.report: Report | None = None
        self.reported_at = 0
        self.ticked_at = 0
        """When it first reported its newest tick; 0 before its first."""
        self.rehearsed: Rehearsed | None = None
        self.holding: Holding | None = None
        self.handed: Handed | None = None
        self.recovered: Recovered | None = None
        self.failed: Failed | None = None
        """The first failure that it reported: its process is about to exit."""
        self.failed_at = 0
        self.failed_as = ""
        """Its role until then."""
        self.decisions: dict[str, DecisionOpened] = {}
        self.windows: tuple[Window, ...] = ()
        self.late_max = 0
        """The worst lateness of a tick it ever reported, ns."""
        self.leads_since = 0
        self.leaving = ""
        """Why it was asked to leave, "" when it was not."""
        self.asked_to_end = False
        """It was sent `Retire` or `Stop`: exit 0 is the expected end."""
        self.ended: Ended | None = None

    @property
    def alive(self) -> bool:
        return self.ended is None

    @property
    def role(self) -> str:
        """The role it last reported; `joining` before its first report, `gone` when its process has ended."""
        if self.ended is not None:
            return "gone"
        if self.failed is not None:
            # It has dropped the lease, and applies no more frames.
            return "retired"
        return self.report.role if self.report is not None else "joining"

    @property
    def event_driven(self) -> bool:
        """Whether its bot has no ticks. Its interval is that of heartbeats."""
        return self.hello is not None and not self.hello.ticks

    @property
    def leads(self) -> bool:
        return self.role == "leading"

    @property
    def epoch(self) -> int:
        return self.report.epoch if self.report is not None else 0

    @property
    def out_at(self) -> int:
        """When it failed or its process ended, whichever was first, wall ns; 0 before that."""
        if self.failed is not None:
            return self.failed_at
        return self.ended.at if self.ended is not None else 0

    @property
    def ended_badly(self) -> bool:
        """Whether it has ended unexpectedly. An adopted worker's exit status is not known, only what it sent."""
        if self.ended is None:
            return False
        if self.ended.code is None:
            return self.failed is not None
        return bool(self.ended.code) or not self.asked_to_end

    @property
    def done(self) -> bool:
        """Whether its last handler has run: only its exit is left."""
        return self.failed is not None or (self.report is not None and self.report.done)

    @property
    def open_decision(self) -> str:
        """The name of its oldest open decision, "" for none."""
        oldest = min(self.decisions.values(), key=lambda decision: decision.at, default=None)
        return oldest.name or oldest.id if oldest is not None else ""

    def _note_first_tick(self, handed: Handed) -> None:
        """Set `leads_since` to its first tick at the latest, also for an adopted worker."""
        if self.hello is None or not self.hello.interval or handed.epoch != self.epoch or not self.leads:
            return
        first = handed.due or handed.seq * self.hello.interval
        self.leads_since = min(self.leads_since or first, first)

    def overdue(self, now: int, mono: int) -> int | None:
        """How long the next tick has been due, ns; None when that is not known.

        By the worker's report, on CLOCK_MONOTONIC. An older release does not report it: use the wall clock.
        """
        if self.report is None or self.hello is None or not self.hello.interval:
            return None
        if self.report.due:
            return mono - self.report.due
        return now - Grid(self.hello.interval).due(self.report.seq + 1)

    def take(self, message: WorkerMessage, at: int) -> None:
        """Update from a message of the worker."""
        self.messages += 1
        match message:
            case Hello():
                self.hello = message
                # A worker that only the lease names reports its release.
                self.release = self.release or message.release
                self.windows = tuple(readable(message.windows))
            case Report():
                if message.role == "leading" and not self.leads:
                    self.leads_since = at
                if message.role != "leading":
                    # Only a leader has open decisions, and it closes them before it yields: the closing message was
                    # lost.
                    self.decisions.clear()
                if self.report is None or message.ticks > self.report.ticks:
                    self.ticked_at = at
                self.report = message
                self.reported_at = at
                if self.ready is None and message.imported:
                    self.ready = Ready(message.imported, message.prepared)
                self.late_max = max(self.late_max, message.late_max)
            case Ready():
                self.ready = message
            case Rehearsed():
                self.rehearsed = message
            case Holding():
                self.holding = message
            case Recovered():
                self.recovered = message
            case Handed():
                self.handed = message
                self._note_first_tick(message)
            case Failed() if self.failed is None:
                self.failed_as, self.failed_at = self.role, at
                self.failed = message
            case DecisionOpened():
                self.decisions[message.id] = message
            case DecisionClosed():
                self.decisions.pop(message.id, None)
            case _:
                pass


class WorkerRegistry:
    """All workers, in the order in which they were started."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self.earlier_frame = -1
        """The last known frame of a leader of an earlier run, -1 for none."""

    def add(self, member: Member) -> None:
        self._members[member.worker] = member
        gone = [known.worker for known in self._members.values() if not known.alive]
        for worker in gone[:-_REMEMBERED]:
            del self._members[worker]

    def get(self, worker: str) -> Member | None:
        return self._members.get(worker)

    def alive(self) -> list[Member]:
        return [member for member in self._members.values() if member.alive]

    def leader(self) -> Member | None:
        """The leader by the last reports; of two that report to lead, the worker with the higher epoch."""
        return max((m for m in self.alive() if m.leads), key=lambda member: member.epoch, default=None)

    def known_frame(self) -> int:
        """The last known frame of the last leader, dead or alive, or of an earlier run; -1 for none."""
        led = [
            m.report for m in self._members.values() if m.report is not None and m.report.role == "leading"
        ]
        return max(((report.epoch, report.number) for report in led), default=(0, self.earlier_frame))[1]

    def last_failure(self) -> Member | None:
        """The worker that failed last, by its own message or by its exit."""
        failed = [
            member for member in self._members.values() if member.failed is not None or member.ended_badly
        ]
        return max(failed, key=lambda member: member.out_at, default=None)
