"""Writes a leader's journal, rolls its segments, and lets the bot go on when the disk fails.

A segment that is full, or whose snapshot has another schema than the leader's state, is followed by a new one that
begins with a snapshot. The snapshot is written in chunks between turns, like a copy for a follower, while frames are
written to both segments. When it is complete, the new segment becomes the newest of the journal, and the oldest
segments are removed.

When the journal cannot be written, the bot ticks on. The writer is then *failing*: frames and decisions reach the
followers and the supervisor, but no file. It tries to begin a new segment again and again. The first that can be
written has the whole state, with the decisions made meanwhile, and records which frames are in no segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from ...protocol.journal import (
    NOWHERE,
    Entry,
    JournalError,
    Position,
    RecordKind,
    Rows,
    Unwritten,
    decode_snapshot,
    encode_payload,
)
from ...protocol.link import Journaled
from ...protocol.wire import WireError
from ..io.output import report
from ..journal.interfaces import NewSegment
from ..journal.retention import JournalLimits, segments_to_remove
from ..model.replica import Replica
from .interfaces import WorkerIO

__all__ = ["JournalFailing", "JournalWriter"]

_LOOK_EVERY = 1_000_000_000
"""How often to check that a successor would find the file that is written, ns."""
_TRY_AFTER = 250_000_000
_TRY_AT_MOST = 8_000_000_000
"""The pause before a new segment is tried again doubles each time, up to this, ns."""
_OVERDUE = 2
"""At so many times the size at which it should roll, a busy leader rolls the segment even without free time."""


class JournalFailing(msgspec.Struct, frozen=True):
    """The journal cannot be written: why, since when (wall ns), and the last frame in it (-1: unknown)."""

    why: str
    since: int
    after: int


class JournalWriter:
    """Writes the records of `replica`. Calls `changed()` when it begins or stops to fail."""

    def __init__(
        self,
        replica: Replica,
        io: WorkerIO,
        limits: JournalLimits,
        changed: Callable[[], None],
    ) -> None:
        self.failing: JournalFailing | None = None
        self._leads = False
        self.unwritten = 0
        """How many frames were made while the journal could not be written."""
        self.has_work = False
        """Whether `pump` may have something to do."""
        self._position = NOWHERE
        """Where the journal ends."""
        self._full_at = 0
        """The offset at which the segment is rolled."""
        self._replica = replica
        self._io = io
        self._journal = io.journal
        self._mono = io.clock.mono
        self._limits = limits
        self._changed = changed
        self._new: NewSegment | None = None
        self._rows: Iterator[Rows] = iter(())
        self._counts: dict[str, int] = {}
        self._copied = False
        self._try_at = 0
        self._wait = _TRY_AFTER
        self._look_at = 0
        self._frames_until_look = 0
        """So many frames from now on, the opening of the segment at hand is read; 0 when it was, or need not be."""
        self._unread = False
        """The opening of the segment at hand is to be read."""
        self._foreign = False
        """The segment at hand opens with a state of another schema, or does not say its types."""

    def begin_leading(self, problem: str, written: int) -> None:
        """Begin to lead. `problem`: why the journal cannot be continued, "" if it can; `written`: its last frame."""
        self._leads = True
        self.failing = None
        self.unwritten = 0
        self._wait, self._try_at = _TRY_AFTER, 0
        self._look_at = self._mono() + _LOOK_EVERY
        self._set_position(self._journal.position)
        # Not before the first turn, the frame after that of `on_lead`: no worker ticks until then.
        self._frames_until_look = 2
        if problem:
            self._fails(problem, written)

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        """Append one record if possible; return where it ends, `NOWHERE` when it was not written."""
        position = NOWHERE
        if not self._leads:
            # A failed worker no longer has the lease, but its handlers may still run. Their records are dropped.
            return position
        if self.failing is None and self._mono() >= self._look_at:
            self._check_in_place()
        if self._new is not None:
            # The new segment first: it may get its name at any time, and must be complete then.
            try:
                self._new.append(kind, payload)
            except JournalError as problem:
                self._drop(problem)
        if self.failing is None:
            try:
                position = self._position = self._journal.append(kind, payload)
            except JournalError as problem:
                self._fails(problem.message, self._replica.number)
            else:
                if position.offset >= self._full_at:
                    self.has_work = True
                if self._frames_until_look and kind is RecordKind.FRAME:
                    self._frames_until_look -= 1
                    if self._frames_until_look == 0:
                        self._unread = self.has_work = True
        if self.failing is not None and kind is RecordKind.FRAME:
            self.unwritten += 1
        return position

    def pump(self, clock: Callable[[], int], until: int) -> bool:
        """Between turns: work on a new segment until `clock()` (ns) is at `until`; return whether to continue."""
        while self._due():
            if not self._advance():
                break
            if clock() >= until:
                return True
        self.has_work = self._new is not None or self.failing is not None or self._full(1)
        return False

    def hurry(self) -> None:
        """Between turns: do a little overdue work, although there is no free time."""
        if self._due() and (self._new is not None or self.failing is not None or self._full(_OVERDUE)):
            self._advance()

    @property
    def busy(self) -> bool:
        """Whether a new segment is being published: until that is done no other process may write."""
        return self._new is not None and self._copied

    def let_go(self) -> None:
        """Stop leading: other workers may write after this."""
        self._leads = False
        self._drop_new()

    def report(self) -> Journaled | None:
        """The position and problem of the journal, None while this worker does not write it."""
        if not self._leads:
            return None
        position, failing = self._journal.position, self.failing
        if failing is None:
            return Journaled(position.segment, position.offset)
        return Journaled(position.segment, position.offset, failing.why, failing.since, self.unwritten)

    # parts

    def _set_position(self, position: Position) -> None:
        """Continue the journal at `position`."""
        self._position = position
        self._frames_until_look = 0
        self._unread = self._foreign = False
        self._full_at = position.opening + max(self._limits.segment, position.opening)
        self.has_work = position.offset >= self._full_at

    def _drop_new(self) -> None:
        new, self._new = self._new, None
        self._rows = iter(())
        if new is not None:
            try:
                new.discard()
            except JournalError as problem:
                report(f"neverblink: {problem.message}")

    def _due(self) -> bool:
        if self._new is not None:
            return True
        return (self.failing is not None or self._full(1)) and self._mono() >= self._try_at

    def _full(self, times: int) -> bool:
        """Whether the segment is to be followed by another one: it is large, or in another schema than what comes."""
        if self._unread:
            self._unread = False
            self._foreign = self._opens_foreign()
        if self._foreign:
            return True
        position = self._position
        return position.offset - position.opening >= times * max(self._limits.segment, position.opening)

    def _opens_foreign(self) -> bool:
        """Whether a reader without the bot's code could not go on from the segment's snapshot."""
        segment = self._journal.position.segment
        try:
            first = next(iter(self._journal.read(segment)), None) if segment else None
            head = decode_snapshot(first.payload) if isinstance(first, Entry) else None
        except (JournalError, WireError):
            return False
        replica = self._replica
        return head is not None and (head.schema, head.types) != (replica.schema, replica.cells.types)

    def _advance(self) -> bool:
        """Do one small piece of work; return whether more can be done at once."""
        try:
            if self._new is None:
                with self._io.descriptors.spare():
                    self._begin()
                return True
            rows = next(self._rows, None)
            if rows is not None:
                self._new.append(RecordKind.ROWS, encode_payload(rows))
                self._counts[rows.table] = self._counts.get(rows.table, 0) + len(rows.rows)
                return True
            if not self._copied:
                self._new.append(RecordKind.WHOLE, encode_payload(self._replica.whole(self._counts)))
                self._copied = True
            if self._new.publish():
                with self._io.descriptors.spare():
                    self._published()
        except JournalError as problem:
            self._drop(problem)
        return False

    def _begin(self) -> None:
        failing = self.failing
        unwritten = None
        if failing is not None and failing.after < self._replica.number:
            unwritten = Unwritten(failing.after, failing.since, failing.why)
        # If this raises, no segment was begun, and its number may be used again.
        self._new = self._journal.begin()
        self._copied = False
        self._counts = {}
        self._rows = self._replica.copy_rows()
        self._new.append(RecordKind.SNAPSHOT, encode_payload(self._replica.snapshot(unwritten)))

    def _published(self) -> None:
        self._new = None
        journal = self._journal
        self._set_position(journal.position)
        self._replica.position = journal.position
        self._wait, self._try_at = _TRY_AFTER, 0
        if self.failing is not None:
            self.failing = None
            self.unwritten = 0
            report(f"neverblink: the journal is written again, in segment {journal.position.segment}")
            self._changed()
        try:
            journal.remove(segments_to_remove(journal.stored(), self._limits, self._io.clock.wall()))
        except JournalError as problem:
            report(f"neverblink: {problem.message}")

    def _drop(self, problem: JournalError) -> None:
        """Discard the new segment, which cannot be written, and try another one later."""
        self._drop_new()
        if self.failing is None:
            # The present segment is still written; it only grows.
            report(
                "neverblink: cannot begin a new journal segment, so the present one goes on: "
                f"{problem.message}"
            )
        self._try_at = self._mono() + self._wait
        self._wait = min(2 * self._wait, _TRY_AT_MOST)

    def _fails(self, why: str, after: int) -> None:
        self.failing = JournalFailing(why, self._io.clock.wall(), after)
        self.has_work = True
        report(f"neverblink: the journal cannot be written, and the bot goes on without it: {why}")
        self._changed()

    def _check_in_place(self) -> None:
        journal = self._journal
        self._look_at = self._mono() + _LOOK_EVERY
        if not journal.in_place():
            self._fails(
                f"segment {journal.position.segment} is no longer in place: it or its directory was moved or removed",
                self._replica.number,
            )
