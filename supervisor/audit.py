"""The audit: proves from a bot's own journal that no tick was missed or doubled, or says where one was.

    report = audit(read_journal(home.journal))

It trusts nothing but the bytes. Each invariant is followed by a part of its own (ticks, leads, decisions, traffic);
this file walks the chain, hands each record to the parts it concerns, and after a hole goes on from what comes next,
so that one fault is told once.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol.frame import GENESIS, Frame, decode_frame, digest_of
from ..protocol.journal import (
    Entry,
    RecordKind,
    Snapshot,
    decode_closed,
    decode_opened,
    decode_rows,
    decode_snapshot,
)
from ..protocol.window import Window
from ..protocol.wire import WireError
from .audit_decisions import Decisions
from .audit_leads import Leads
from .audit_report import MOST, Chain, Report, TornTail
from .audit_scope import Bound, Scope
from .audit_ticks import Ticks
from .audit_traffic import Events, Timers
from .journal_reader import Damage, Found, Segment, Tail

__all__ = ["audit"]


def audit(
    found: Iterable[Found],
    *,
    windows: Iterable[Window] = (),
    since: Bound | None = None,
    until: Bound | None = None,
) -> Report:
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
        self._ticks = Ticks(scope, windows)
        self._leads = Leads(scope)
        self._decisions = Decisions(scope)
        self._events = Events(scope)
        self._timers = Timers(scope)
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
        """Rows of the snapshot at hand that are still to come, by table."""
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
                self._segment = item.number
            case Tail():
                if item.rest and len(self._torn) < MOST:
                    self._torn.append(TornTail(item.segment, item.offset, item.rest))
            case Damage():
                self._sever(f"segment {item.segment} is damaged at byte {item.offset}: {item.problem}")
        return True

    def report(self) -> Report:
        scope, ticks, leads = self._scope, self._ticks, self._leads
        self._count_rows(final=True)
        events = self._events.found()
        return Report(
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
            timers=self._timers.found(),
            decisions=self._decisions.found(),
            windows=ticks.windows(),
            resets=leads.resets,
            schemas=leads.schemas,
            clock=ticks.clock,
            torn=self._torn,
            epochs=leads.epochs,
        )

    def _entry(self, entry: Entry) -> bool:
        kind = entry.kind
        if kind is RecordKind.FRAME:
            return self._frame(decode_frame(entry.payload), entry.payload)
        if self._closing:
            return True
        if kind is RecordKind.OPENED:
            self._decisions.opened(decode_opened(entry.payload), self._leads.epoch)
        elif kind is RecordKind.CLOSED:
            self._decisions.closed(decode_closed(entry.payload))
        elif kind is RecordKind.SNAPSHOT:
            self._snapshot(decode_snapshot(entry.payload))
        else:
            rows = decode_rows(entry.payload)
            self._rows[rows.table] = self._rows.get(rows.table, 0) - len(rows.rows)
        return True

    def _frame(self, frame: Frame, body: bytes) -> bool:
        scope, leads = self._scope, self._leads
        if self._closing or (not scope.whole and scope.past(frame)):
            self._closing = True
            if frame.kind != "tick":
                return True
            self._ticks.close(frame)
            return False
        scope.enter(frame)
        if self._rows:
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
        if self._number is not None and (snapshot.number, snapshot.digest) != (self._number, self._digest):
            self._sever(
                f"segment {self._segment} opens with the state as of frame {snapshot.number}, "
                f"and the frames before it end with {self._number}"
                + (", of another chain" if snapshot.number == self._number else "")
            )
        self._number = snapshot.number
        self._digest = snapshot.digest
        self._rows = dict(snapshot.tables)
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
        if lacking and not (final and self._torn):
            told = ", ".join(f"{table}: {rows} rows" for table, rows in lacking.items())
            self._break(f"a snapshot is not complete ({told} more than there are)")

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


_ENDINGS = frozenset(("yield", "stop"))
