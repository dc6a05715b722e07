"""The registry: what the supervisor knows of each worker.

Filled from the workers' messages and the ends of their processes, and read by everything else. It has no socket and
decides nothing. A worker that has ended stays in it for a while, for those who ask what became of it.
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
        """How many messages have come from it."""
        self.hello: Hello | None = None
        self.ready: Ready | None = None
        self.report: Report | None = None
        self.reported_at = 0
        self.rehearsed: Rehearsed | None = None
        self.holding: Holding | None = None
        self.handed: Handed | None = None
        self.recovered: Recovered | None = None
        self.failed: Failed | None = None
        """The first reason of its failure that it sent: its process is about to exit."""
        self.failed_at = 0
        self.failed_as = ""
        """Its role until then."""
        self.decisions: dict[str, DecisionOpened] = {}
        self.windows: tuple[Window, ...] = ()
        self.late_max = 0
        """The worst lateness of a tick it ever reported, ns."""
        self.leads_since = 0
        self.leaving = ""
        """Why it was told to leave, "" when it was not."""
        self.asked_to_end = False
        """It was sent `Retire` or `Stop`, after which exit 0 is how it should end."""
        self.ended: Ended | None = None

    @property
    def alive(self) -> bool:
        return self.ended is None

    @property
    def role(self) -> str:
        """As last reported, `joining` before its first report, `gone` when its process has ended."""
        if self.ended is not None:
            return "gone"
        if self.failed is not None:
            # It has dropped the lease, and applies no frame any more.
            return "retired"
        return self.report.role if self.report is not None else "joining"

    @property
    def leads(self) -> bool:
        return self.role == "leading"

    @property
    def epoch(self) -> int:
        return self.report.epoch if self.report is not None else 0

    @property
    def out_at(self) -> int:
        """When it failed, or else when its process ended, wall ns; 0 while neither is so."""
        if self.failed is not None:
            return self.failed_at
        return self.ended.at if self.ended is not None else 0

    @property
    def ended_badly(self) -> bool:
        """It has ended, and not as it should. The exit status of an adopted worker is not known, only what it sent."""
        if self.ended is None:
            return False
        if self.ended.code is None:
            return self.failed is not None
        return bool(self.ended.code) or not self.asked_to_end

    @property
    def done(self) -> bool:
        """Its last handler has run, and its process has only to exit."""
        return self.failed is not None or (self.report is not None and self.report.done)

    @property
    def open_decision(self) -> str:
        """The name of the decision it has had open for longest, "" when there is none."""
        oldest = min(self.decisions.values(), key=lambda decision: decision.at, default=None)
        return oldest.name or oldest.id if oldest is not None else ""

    def _note_first_tick(self, handed: Handed) -> None:
        """It leads since its first tick at the latest, also when we come to it later."""
        if self.hello is None or not self.hello.interval or handed.epoch != self.epoch or not self.leads:
            return
        first = handed.due or handed.seq * self.hello.interval
        self.leads_since = min(self.leads_since or first, first)

    def overdue(self, now: int, mono: int) -> int | None:
        """How long the tick after the last reported one has been due, ns; None when that is not known.

        As reported, on CLOCK_MONOTONIC; an older release does not report it, and is judged by the wall clock.
        """
        if self.report is None or self.hello is None or not self.hello.interval:
            return None
        if self.report.due:
            return mono - self.report.due
        return now - Grid(self.hello.interval).due(self.report.seq + 1)

    def take(self, message: WorkerMessage, at: int) -> None:
        """Take in a message of the worker."""
        self.messages += 1
        match message:
            case Hello():
                self.hello = message
                # A worker that was found by its lease alone reports what it runs.
                self.release = self.release or message.release
                self.windows = tuple(readable(message.windows))
            case Report():
                if message.role == "leading" and not self.leads:
                    self.leads_since = at
                if message.role != "leading":
                    # Only a leader decides, and none leaves with one open: what we still have is a lost message.
                    self.decisions.clear()
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
        """The last frame that is known of a leader of an earlier run, -1 when none is."""

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
        """The leader by the last reports: of two that report to lead, the one with the higher epoch."""
        return max((m for m in self.alive() if m.leads), key=lambda member: member.epoch, default=None)

    def known_frame(self) -> int:
        """The last frame that is known of the last leader, dead or alive, or of an earlier run; -1 when none is."""
        led = [
            m.report for m in self._members.values() if m.report is not None and m.report.role == "leading"
        ]
        return max(((one.epoch, one.number) for one in led), default=(0, self.earlier_frame))[1]

    def last_failure(self) -> Member | None:
        """The worker that failed last, by its own message or by how its process ended."""
        failed = [
            member for member in self._members.values() if member.failed is not None or member.ended_badly
        ]
        return max(failed, key=lambda member: member.out_at, default=None)
