"""A leader's way of writing the journal, rolling its segments, and going on when the disk does not.

A full segment is followed by one that opens with a new snapshot. That one is written in chunks between turns, in the
way in which followers get copies, while frames go into both; it becomes the journal's newest when its snapshot is
whole. Then the oldest segments are removed.

When the journal cannot be written the bot ticks on. The writer is *failing* then: frames and decisions reach the
followers and the supervisor, and no file. It tries a new segment again and again; the first that can be written holds
the whole state, with the decisions made meanwhile, and says which frames are in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from ...protocol.journal import (
    NOWHERE,
    JournalError,
    Position,
    RecordKind,
    Rows,
    Unwritten,
    encode_payload,
)
from ...protocol.link import Journaled
from ..io.output import report
from ..journal.interfaces import NewSegment
from ..journal.retention import Limits, surplus
from ..model.replica import Replica
from .interfaces import WorkerIO
from .snapshot_copy import copy_rows

__all__ = ["JournalFailing", "JournalWriter"]

_LOOK_EVERY = 1_000_000_000
"""How often it is looked whether the file that is written is the one a successor would find."""
_TRY_AFTER = 250_000_000
_TRY_AT_MOST = 8_000_000_000
"""How long to wait before a new segment is tried again: twice as long each time, up to this."""
_OVERDUE = 2
"""So many times the size at which it should have rolled, and a busy leader rolls in its turns' time."""


class JournalFailing(msgspec.Struct, frozen=True):
    """The journal cannot be written: why, since when (wall ns), and the last frame that is in it (-1: not known)."""

    why: str
    since: int
    after: int


class JournalWriter:
    """Writes the records of `replica`. Calls `changed()` when it began to fail, or stopped failing."""

    def __init__(
        self,
        replica: Replica,
        io: WorkerIO,
        limits: Limits,
        changed: Callable[[], None],
    ) -> None:
        self.failing: JournalFailing | None = None
        self._leads = False
        self.unwritten = 0
        """Frames made since the journal cannot be written."""
        self.has_work = False
        """There may be something for `pump` to do."""
        self._position = NOWHERE
        """Where the journal stands."""
        self._full_at = 0
        """How long the segment may grow before it is rolled."""
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

    def begin_leading(self, problem: str, written: int) -> None:
        """This worker leads. `problem` is why the journal cannot be gone on with, `written` the last frame in it."""
        self._leads = True
        self.failing = None
        self.unwritten = 0
        self._wait, self._try_at = _TRY_AFTER, 0
        self._look_at = self._mono() + _LOOK_EVERY
        self._stands(self._journal.position)
        if problem:
            self._fails(problem, written)

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        """Append one record, where that can be done; return where it ends, `NOWHERE` when it is in no segment."""
        position = NOWHERE
        if not self._leads:
            # What a failed worker's handlers still do, once the lease is another's, is in no journal.
            return position
        if self.failing is None and self._mono() >= self._look_at:
            self._look()
        if self._new is not None:
            # First into this one: should it get its name now, and we be killed, then nothing may be missing in it.
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
        if self.failing is not None and kind is RecordKind.FRAME:
            self.unwritten += 1
        return position

    def pump(self, clock: Callable[[], int], until: int) -> bool:
        """Between two turns: work on a new segment until `clock()` (ns) is at `until`; return whether to go on."""
        while self._due():
            if not self._advance():
                break
            if clock() >= until:
                return True
        self.has_work = self._new is not None or self.failing is not None or self._full(1)
        return False

    def hurry(self) -> None:
        """Between two turns of a leader that has no time in between: do a little of what is overdue."""
        if self._due() and (self._new is not None or self.failing is not None or self._full(_OVERDUE)):
            self._advance()

    @property
    def busy(self) -> bool:
        """A segment is getting its name: until that is done no other process may write."""
        return self._new is not None and self._copied

    def let_go(self) -> None:
        """Other workers may write after this; this one does not."""
        self._leads = False
        self._drop_new()

    def report(self) -> Journaled | None:
        """Where the journal stands, None while it is not written by this worker."""
        if not self._leads:
            return None
        position, failing = self._journal.position, self.failing
        if failing is None:
            return Journaled(position.segment, position.offset)
        return Journaled(position.segment, position.offset, failing.why, failing.since, self.unwritten)

    # parts

    def _stands(self, position: Position) -> None:
        """From here on the journal goes on at `position`."""
        self._position = position
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
        position = self._position
        return position.offset - position.opening >= times * max(self._limits.segment, position.opening)

    def _advance(self) -> bool:
        """Do one small piece of work; return whether there is more to be done at once."""
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
        # The number may be one that was given to a segment before: where this fails, nothing was begun.
        self._new = self._journal.begin()
        self._copied = False
        self._counts = {}
        self._rows = copy_rows(self._replica)
        self._new.append(RecordKind.SNAPSHOT, encode_payload(self._replica.snapshot(unwritten)))

    def _published(self) -> None:
        self._new = None
        journal = self._journal
        self._stands(journal.position)
        self._replica.position = journal.position
        self._wait, self._try_at = _TRY_AFTER, 0
        if self.failing is not None:
            self.failing = None
            self.unwritten = 0
            report(f"neverblink: the journal is written again, in segment {journal.position.segment}")
            self._changed()
        try:
            journal.remove(surplus(journal.stored(), self._limits, self._io.clock.wall()))
        except JournalError as problem:
            report(f"neverblink: {problem.message}")

    def _drop(self, problem: JournalError) -> None:
        """The new segment cannot be written: try another one later."""
        self._drop_new()
        if self.failing is None:
            # The one at hand is written all the same; it only grows.
            report(
                "neverblink: a new segment of the journal cannot be begun, and the one at hand goes on: "
                f"{problem.message}"
            )
        self._try_at = self._mono() + self._wait
        self._wait = min(2 * self._wait, _TRY_AT_MOST)

    def _fails(self, why: str, after: int) -> None:
        self.failing = JournalFailing(why, self._io.clock.wall(), after)
        self.has_work = True
        report(f"neverblink: the journal cannot be written, and the bot goes on without it: {why}")
        self._changed()

    def _look(self) -> None:
        journal = self._journal
        self._look_at = self._mono() + _LOOK_EVERY
        if not journal.in_place():
            self._fails(
                f"segment {journal.position.segment} is not where it was: it, or its directory, was moved or removed",
                self._replica.number,
            )
