"""The audit: proves from a bot's own journal that no tick was missed or doubled, or says where one was.

    report = audit(read_journal(home.journal))

It trusts nothing but the bytes. Each invariant is followed by a part of its own (ticks, leads, decisions, traffic);
this file walks the chain, hands each record to the parts it concerns, and after a hole goes on from what comes next,
so that one fault is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...protocol.frame import GENESIS, Frame, digest_of
from ...protocol.journal import (
    Closed,
    Entry,
    Opened,
    RecordKind,
    Rows,
    Snapshot,
    Whole,
    decode,
)
from ...protocol.window import Window
from ...protocol.wire import WireError
from .decisions import DecisionAudit
from .events import EventAudit, TimerAudit
from .leaders import LeaderAudit
from .reader import Damage, Found, Segment, UnfinishedRecord
from .report import (
    MOST,
    AuditReport,
    Chain,
    TornTail,
    UnwrittenFrames,
)
from .scope import Bound, Scope
from .ticks import TickAudit

__all__ = ["audit"]


def audit(
    found: Iterable[Found],
    *,
    windows: Iterable[Window] = (),
    since: Bound | None = None,
    until: Bound | None = None,
) -> AuditReport:
    """Judge what a journal holds, from `since` to `until`, both included; raise what `found` raises.

    `found` is to begin with the journal's beginning, also when the span does not. `windows` are those to report on.
    """
    auditor = _Auditor(Scope(since, until), windows)
    for item in found:
        if not auditor.take(item):
            break
    return auditor.report()


class _Auditor:
    def __init__(self, scope: Scope, windows: Iterable[Window]) -> None:
        self._scope = scope
        self._ticks = TickAudit(scope, windows)
        self._leads = LeaderAudit(scope)
        self._decisions = DecisionAudit(scope)
        self._events = EventAudit(scope)
        self._timers = TimerAudit(scope)
        self._number: int | None = None
        """The frame that the state is as of: -1 before the first, None before anything was read."""
        self._digest = GENESIS
        self._chain_ok = True
        self._frames = 0
        self._first: int | None = None
        self._last: int | None = None
        self._last_digest = b""
        self._began: int | None = None
        self._ended: int | None = None
        self._segment: int | None = None
        self._torn: list[TornTail] = []
        self._rows: dict[str, int] = {}
        """Rows of the snapshot at hand that are still to come, by table; below 0 where they are counted at its end."""
        self._marked = True
        self._opened = -1
        self._opening = False
        """The snapshot at hand has not been found to be whole yet."""
        self._repeat: tuple[int, bytes] | None = None
        """In a segment's beginning: up to which frame, with which digest, it repeats the segment before."""
        self._unwritten: list[UnwrittenFrames] = []
        self._closing = False
        """The span is over, and the next tick is looked at only for what it records of the time before."""

    def take(self, item: Found) -> bool:
        """Take in the next thing; return whether to go on."""
        if self._closing and not isinstance(item, Entry):
            return not isinstance(item, Damage)
        match item:
            case Entry():
                try:
                    return self._entry(item)
                except WireError as problem:
                    self._sever(f"a record cannot be read: {problem}")
            case Segment():
                if self._segment is not None and item.number != self._segment + 1:
                    self._sever(f"segment {item.number} comes after segment {self._segment}: one is missing")
                self._count_rows()
                self._end_repeat()
                self._segment = item.number
                self._marked = item.format > 1
            case UnfinishedRecord():
                if item.rest and len(self._torn) < MOST:
                    self._torn.append(TornTail(item.segment, item.offset, item.rest))
            case Damage():
                self._sever(f"segment {item.segment} is damaged at byte {item.offset}: {item.problem}")
        return True

    def report(self) -> AuditReport:
        scope, ticks, leads = self._scope, self._ticks, self._leads
        self._count_rows(final=True)
        self._end_repeat()
        events, commands = self._events.found()
        return AuditReport(
            ok=not scope.total,
            broken=scope.broken,
            broken_total=scope.total,
            ticks=ticks.count,
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
            windows=ticks.windows(),
            resets=leads.resets,
            schemas=leads.schemas,
            clock=ticks.clock,
            torn=self._torn,
            unwritten=self._unwritten,
            epochs=leads.epochs,
        )

    def _entry(self, entry: Entry) -> bool:
        if self._closing and entry.kind is not RecordKind.FRAME:
            return True
        match decode(entry):
            case Frame() as frame:
                return self._frame(frame, entry.payload)
            case Opened() as opened:
                if not self._repeats(lambda: self._decisions.has_opened(opened.id)):
                    self._decisions.opened(opened, self._leads.epoch)
            case Closed() as closed:
                if not self._repeats(lambda: not self._decisions.is_open(closed.id)):
                    self._decisions.closed(closed)
            case Snapshot() as head:
                self._snapshot(head)
            case Rows(table=table, rows=rows):
                self._rows[table] = self._rows.get(table, 0) - len(rows)
            case Whole(rows=rows) if self._opening:
                for table, count in rows.items():
                    self._rows[table] = self._rows.get(table, 0) + count
                self._opening = False
                self._count_rows()
            case Whole():
                pass
        return True

    def _frame(self, frame: Frame, body: bytes) -> bool:
        scope, leads = self._scope, self._leads
        if self._closing or (not scope.whole and scope.past(frame)):
            self._closing = True
            if frame.kind != "tick":
                return True
            self._ticks.close(frame)
            return False
        if self._repeat is not None:
            if self._number is not None and frame.number <= self._number:
                self._repeated(frame, body)
                return True
            self._end_repeat(at_end=False)
        scope.enter(frame)
        if self._rows and not self._opening:
            self._count_rows()
        if self._number is None:
            self._base(frame)
        elif frame.number != self._number + 1 or frame.prev != self._digest:
            self._unchained(frame)
        self._number = frame.number
        self._digest = digest_of(body)
        if leads.frame(frame):
            self._ticks.led()
            self._decisions.led(frame)
        self._decisions.settled(frame)
        if frame.kind == "tick":
            leads.tick(frame, self._ticks.tick(frame))
        if frame.timers or frame.kind == "timer":
            self._timers.frame(frame)
        traffic = frame.traffic
        if traffic.applied or traffic.received or traffic.repeated:
            self._events.frame(frame)
        if frame.kind in _ENDINGS:
            self._decisions.ended(frame)
            if frame.kind == "stop":
                self._events.stopped()
        if scope.open:
            self._frames += 1
            if self._first is None:
                self._first = frame.number
                self._began = frame.timing.ended
            self._last = frame.number
            self._last_digest = self._digest
            self._ended = frame.timing.ended
        return True

    # the chain

    def _base(self, frame: Frame) -> None:
        """The journal begins with a frame: only the very first one needs nothing before it."""
        self._break("it does not begin with a snapshot: what came before is not known")
        if frame.number != 0 or frame.prev != GENESIS:
            self._forget_thread()

    def _unchained(self, frame: Frame) -> None:
        assert self._number is not None
        after = frame.number - self._number
        match after:
            case 1:
                text = f"frame {frame.number} continues another chain than the frame before it"
            case 0:
                text = f"frame {frame.number} is there twice"
            case _ if after < 0:
                text = f"frame {frame.number} comes after frame {self._number}"
            case _:
                lost = f" {self._number + 1}" if after == 2 else f"s {self._number + 1} to {frame.number - 1}"
                text = f"frame{lost} missing"
        self._break(text)
        self._forget_thread()

    def _snapshot(self, snapshot: Snapshot) -> None:
        """The state is written whole at the head of a segment, and must be the one that the frames led to."""
        self._count_rows()
        self._opening = self._marked
        self._opened = snapshot.number
        self._repeat = snapshot.number, snapshot.digest
        self._rows = {} if self._marked else dict(snapshot.tables)
        number = self._number
        if number is not None and snapshot.number < number and self._marked:
            # It was begun before the last frames of the segment before, and repeats them.
            return
        if number is not None and _explains(snapshot, number):
            assert snapshot.unwritten is not None
            if self._scope.open:
                self._unwritten.append(
                    UnwrittenFrames(
                        number + 1, snapshot.number, snapshot.unwritten.since, snapshot.unwritten.why
                    )
                )
            self._forget_thread()
        elif number is not None and (snapshot.number, snapshot.digest) != (number, self._digest):
            self._sever(
                f"segment {self._segment} opens with the state as of frame {snapshot.number}, "
                f"and the frames before it end with {self._number}"
                + (", of another chain" if snapshot.number == self._number else "")
            )
        self._number = snapshot.number
        self._digest = snapshot.digest
        if self._marked and snapshot.number == number:
            return
        self._ticks.resume(snapshot.seq)
        self._leads.resume(snapshot.epoch, snapshot.number)
        self._decisions.resume(snapshot.open)
        self._events.resume(snapshot.vitals)
        self._timers.resume(snapshot.vitals)

    def _count_rows(self, *, final: bool = False) -> None:
        """The rows of a snapshot have come, or should have."""
        # At the very end a leader may still be writing them: then the file ends in a record that is cut off.
        lacking = {table: rows for table, rows in self._rows.items() if rows}
        self._rows = {}
        opening, self._opening = self._opening, False
        if opening:
            if not (final and self._torn):
                self._break(f"the snapshot that segment {self._segment} opens with is not complete")
            return
        if lacking and not (final and self._torn):
            told = ", ".join(f"{table}: {rows} rows" for table, rows in lacking.items())
            self._break(f"a snapshot is not complete ({told} more than there are)")

    def _repeats(self, known: Callable[[], bool]) -> bool:
        """Whether a record between the frames is one of those that the segment before has too."""
        if self._repeat is None or self._number is None:
            return False
        return self._repeat[0] < self._number or known()

    def _repeated(self, frame: Frame, body: bytes) -> None:
        """A frame that the segment before has too."""
        assert self._repeat is not None
        number, digest = self._repeat
        self._repeat = frame.number, digest_of(body)
        if frame.number != number + 1 or frame.prev != digest:
            self._break(f"frame {frame.number} does not continue the snapshot before it")
        elif frame.number == self._number and self._repeat[1] != self._digest:
            self._sever(f"frame {frame.number} is another one in segment {self._segment} than before it")

    def _end_repeat(self, *, at_end: bool = True) -> None:
        """The segment goes on beyond the one before, or has ended: it must have come as far."""
        repeat, self._repeat = self._repeat, None
        if repeat is None or self._number is None or repeat[0] >= self._number:
            return
        self._sever(
            f"segment {self._segment} opens with the state as of frame {self._opened}, goes on to frame {repeat[0]}, "
            f"and the frames before it end with {self._number}"
        )
        if at_end:
            self._number, self._digest = repeat

    def _sever(self, text: str) -> None:
        self._break(text)
        self._forget_thread()

    def _break(self, text: str) -> None:
        if self._scope.open:
            self._chain_ok = False
        self._scope.breaks(4, text)

    def _forget_thread(self) -> None:
        self._leads.severed()
        self._decisions.severed()


def _explains(snapshot: Snapshot, number: int) -> bool:
    """Whether a segment says why there are no frames between `number` and its snapshot."""
    unwritten = snapshot.unwritten
    return unwritten is not None and unwritten.after <= number < snapshot.number


_ENDINGS = frozenset(("yield", "stop"))
