"""Counters of a worker, for its reports to the supervisor."""

from __future__ import annotations

from collections.abc import Callable

from ...protocol.frame import Frame
from ...protocol.link import DescriptorsLeft, Doubt, Handed, Ready, Report
from ...protocol.seat import Seat
from ...protocol.seat_events import Role
from ..replication.publisher import StateStream
from .lead_tasks import LeadTasks
from .yield_preparation import YieldPreparation

__all__ = ["ReportCounters"]


class ReportCounters:
    """Counts turns, and makes the reports."""

    def __init__(
        self,
        seat: Seat,
        stream: StateStream,
        descriptors: Callable[[], DescriptorsLeft | None],
        mono: Callable[[], int],
    ) -> None:
        self._seat = seat
        self._replica, self._writer, self._publisher = stream
        self._descriptors = descriptors
        self._mono = mono
        self._ticks = 0
        self.turns = 0
        """Turns in which the bot's own code ran: ticks, events, timers and commands."""
        self._skipped = 0
        self._late_max = 0
        self._cause = ""
        self._blackout = 0
        self._order = 0
        self._in_doubt: tuple[Doubt, ...] = ()
        self._first = False
        self.next_tick: Callable[[], int] = int
        """When the leader's next tick is due, CLOCK_MONOTONIC ns."""
        self.tasks: LeadTasks | None = None
        self.preparation: YieldPreparation | None = None
        self.ready: Ready | None = None
        """The report of the end of `on_start`, None before."""

    def leads(self, cause: str) -> None:
        """Record that this worker leads now."""
        self._cause = cause

    def took_over(self, order: int, blackout: int, in_doubt: tuple[Doubt, ...]) -> None:
        """Record that this worker is able to tick: its next tick is the first."""
        self._order, self._blackout, self._in_doubt = order, blackout, in_doubt
        self._first = True

    def ready_to_run(self, frame: Frame) -> Handed | None:
        """Report that an event-driven bot can run its turns, if that is not reported yet. No heartbeat was missed."""
        if not self._first:
            return None
        self._first = False
        return Handed(
            frame.epoch,
            self._order,
            self._cause,
            frame.seq,
            0,
            self._blackout,
            0,
            self._in_doubt,
            frame.timing.ended,
        )

    def ticked(self, frame: Frame) -> Handed | None:
        """Count a tick or heartbeat. Returns the report of the first one after a transfer."""
        self._ticks += 1
        if not frame.timing.heartbeat:
            self.turns += 1
        late = frame.timing.late
        if late > self._late_max:
            self._late_max = late
        missed = 0
        for gap in frame.timing.gaps:
            if gap.kind == "skipped":
                self._skipped += len(gap)
            else:
                missed += len(gap)
        if not self._first:
            return None
        self._first = False
        return Handed(
            frame.epoch,
            self._order,
            self._cause,
            frame.seq,
            late,
            self._blackout,
            missed,
            self._in_doubt,
            frame.timing.due,
        )

    def report(self, *, done: bool = False) -> Report:
        """The present report. `done`: only the exit of the process remains."""
        seat, replica = self._seat, self._replica
        inbox = replica.inbox
        late_max, self._late_max = self._late_max, 0
        lag, replica.lag = replica.lag, 0
        ready = self.ready if seat.role is Role.JOINING else None
        return Report(
            role=seat.role.value,
            epoch=seat.epoch,
            loaded=seat.loaded,
            leader=seat.leader,
            order=seat.settled,
            seq=0 if replica.seq is None else replica.seq,
            number=replica.number,
            paused=replica.paused,
            ticks=self._ticks,
            skipped=self._skipped,
            late_max=late_max,
            inbox=inbox.waiting,
            remembered=len(inbox.applied.at),
            remember_limit=inbox.applied.limit,
            dropped=inbox.applied.forgotten,
            followers=len(self._publisher),
            cause=self._cause,
            guard=seat.guard,
            lag=lag,
            journal=self._writer.report(),
            settings=replica.settings.now() if seat.role is Role.LEADING else None,
            imported=ready.imported if ready is not None else 0,
            prepared=ready.started if ready is not None else 0,
            descriptors=self._descriptors(),
            done=done,
            due=self.next_tick() if seat.role is Role.LEADING else 0,
            problems=tuple(replica.verifier.problems.values()) if seat.role is Role.LEADING else (),
            inboxed=inbox.counts(),
            turns=self.turns,
            unverified=replica.verifier.unverified(self._mono()) if seat.role is Role.LEADING else (),
            feeds=inbox.feeds.applied(),
            tasks=self.tasks.report() if self.tasks and seat.role is Role.LEADING else (),
            yielded=self.preparation.last if self.preparation is not None else None,
        )
