"""The audit: proves from a bot's own journal that no tick was missed or doubled, or says where one was.

    report = audit(read_journal(home.journal))

It relies on the journal's bytes alone. Each invariant has a part that checks it (ticks, leaders, decisions, events,
values); this file passes each record to the parts that need it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...protocol.frame import Frame
from ...protocol.journal import Closed, Entry, Opened, Rows, Snapshot, Unwritten
from ...protocol.window import Window
from .decisions import DecisionAudit
from .events import EventAudit, TimerAudit
from .leaders import LeaderAudit
from .reader import Damage, Found, UnfinishedRecord
from .report import (
    MOST,
    AuditReport,
    Chain,
    TornTail,
    UnwrittenFrames,
)
from .scope import Bound, Scope
from .ticks import TickAudit
from .values import ValueAudit
from .walk import JournalWalk

__all__ = ["audit"]


def audit(
    found: Iterable[Found],
    *,
    windows: Iterable[Window] = (),
    since: Bound | None = None,
    until: Bound | None = None,
) -> AuditReport:
    """Audit a journal from `since` to `until`, both included; raise what `found` raises.

    `found` must start at the journal's beginning, even if the span starts later. `windows` are those to report on.
    """
    auditor = _Auditor(Scope(since, until), windows)
    auditor.take_all(found)
    return auditor.report()


class _Auditor(JournalWalk):
    def __init__(self, scope: Scope, windows: Iterable[Window]) -> None:
        super().__init__()
        self._scope = scope
        self._turns = 0
        self._ticks = TickAudit(scope, windows)
        self._leads = LeaderAudit(scope)
        self._decisions = DecisionAudit(scope)
        self._events = EventAudit(scope)
        self._timers = TimerAudit(scope)
        self._values = ValueAudit(scope)
        self._chain_ok = True
        self._frames = 0
        self._first: int | None = None
        self._last: int | None = None
        self._last_digest = b""
        self._began: int | None = None
        self._ended: int | None = None
        self._torn: list[TornTail] = []
        self._unwritten: list[UnwrittenFrames] = []
        self._closing = False
        """The span is over; of the next tick only its record of the time before counts."""

    def report(self) -> AuditReport:
        scope, ticks, leads = self._scope, self._ticks, self._leads
        events, commands = self._events.found()
        return AuditReport(
            ok=not scope.total,
            broken=scope.broken,
            broken_total=scope.total,
            ticks=ticks.count - ticks.heartbeats,
            first=ticks.first,
            last=ticks.last,
            began=self._began,
            ended=self._ended,
            interval=ticks.interval or None,
            late_us=ticks.late / 1000,
            missed=ticks.missed,
            missing=ticks.missing,
            doubled=ticks.doubled,
            skipped=ticks.overrun,
            skipped_total=ticks.skipped,
            handoffs=leads.transfers,
            handoffs_total=leads.total,
            deaths=leads.deaths,
            deaths_total=leads.deaths_total,
            starts=leads.starts,
            chain=Chain(self._chain_ok, self._frames, self._first, self._last, self._last_digest.hex()),
            events=events,
            commands=commands,
            timers=self._timers.found(),
            decisions=self._decisions.found(),
            values=self._values.found(),
            windows=ticks.windows(),
            resets=leads.resets,
            schemas=leads.schemas,
            clock=ticks.clock,
            torn=self._torn,
            unwritten=self._unwritten,
            epochs=leads.epochs,
            heartbeats=ticks.heartbeats,
            turns=self._turns,
        )

    def _on_unfinished(self, found: UnfinishedRecord) -> None:
        if found.rest and len(self._torn) < MOST and not self._closing:
            self._torn.append(TornTail(found.segment, found.offset, found.rest))

    def _on_damage(self, found: Damage) -> None:
        self._over = self._closing
        self._on_break(f"segment {found.segment} is damaged at byte {found.offset}: {found.problem}")

    def _on_unreadable(self, entry: Entry, problem: str) -> None:
        self._on_break(f"a record cannot be read: {problem}")

    def _on_break(self, text: str, *, severed: bool = True) -> None:
        if self._closing:
            return
        if self._scope.open:
            self._chain_ok = False
        self._scope.breaks(4, text)
        if severed:
            self._sever()

    def _on_unwritten(self, first: int, last: int, unwritten: Unwritten) -> None:
        if self._scope.open and not self._closing:
            self._unwritten.append(UnwrittenFrames(first, last, unwritten.since, unwritten.why))
        self._sever()

    def _on_snapshot(self, head: Snapshot, entry: Entry, *, resumes: bool) -> None:
        if self._closing:
            return
        self._values.snapshot(head)
        if not resumes:
            return
        self._ticks.resume(head.seq)
        self._leads.resume(head.epoch, head.number)
        self._decisions.resume(head.open)
        self._events.resume(head.vitals)
        self._timers.resume(head.vitals)

    def _on_rows(self, rows: Rows, entry: Entry) -> None:
        if not self._closing:
            self._values.rows(rows)

    def _on_opened(self, opened: Opened, entry: Entry) -> None:
        if not self._closing and not (self._repeat and self._decisions.has_opened(opened.id)):
            self._decisions.opened(opened, self._leads.epoch)

    def _on_closed(self, closed: Closed, entry: Entry) -> None:
        if not self._closing and not (self._repeat and not self._decisions.is_open(closed.id)):
            self._decisions.closed(closed)

    def _on_next(self, frame: Frame) -> None:
        if not self._closing and not self._scope.whole:
            self._closing = self._scope.past(frame)
        if not self._closing:
            self._scope.enter(frame)

    def _on_frame(self, frame: Frame, entry: Entry) -> None:
        if self._closing:
            if frame.kind == "tick":
                self._ticks.close(frame)
                self._over = True
            return
        scope, leads = self._scope, self._leads
        if leads.frame(frame):
            self._ticks.led()
            self._decisions.led(frame)
        self._decisions.settled(frame)
        if scope.open:
            self._values.frame(frame)
        if frame.kind == "tick":
            leads.tick(frame, self._ticks.tick(frame))
        if frame.timers or frame.kind == "timer":
            self._timers.frame(frame)
        traffic = frame.traffic
        if traffic.applied or traffic.received or traffic.repeated or traffic.feeds:
            self._events.frame(frame)
        if frame.kind in _ENDINGS:
            self._decisions.ended(frame)
            if frame.kind == "stop":
                self._events.stopped()
        if scope.open:
            self._turns += frame.kind in _TURNS and not frame.timing.heartbeat
            self._frames += 1
            if self._first is None:
                self._first = frame.number
                self._began = frame.timing.ended
            self._last = frame.number
            self._last_digest = self._digest
            self._ended = frame.timing.ended

    def _sever(self) -> None:
        self._leads.severed()
        self._decisions.severed()


_ENDINGS = frozenset(("yield", "stop"))
_TURNS = frozenset(("tick", "event", "timer", "command"))
