"""Replay: reading the journal into a replica, from a snapshot or from the replica's position on."""

from __future__ import annotations

from ...protocol.frame import Frame, digest_of
from ...protocol.journal import (
    Closed,
    Entry,
    JournalError,
    JournalTooNew,
    Opened,
    Position,
    RecordKind,
    Rows,
    Snapshot,
    Whole,
    decode,
)
from ...protocol.wire import WireError
from ..journal.interfaces import Journal, SegmentEnd
from ..model.cells import StateUnreadable
from ..model.migration import MigrationError
from ..model.replica import ChainBroken, Replica

__all__ = ["SegmentReplay", "end_of_snapshot", "restore"]


def restore(replica: Replica, journal: Journal, number: int, *, strict: bool) -> int:
    """Restore `replica` from the snapshot of a segment; return the offset after it.

    Raises `JournalError` when the snapshot is not complete, and nothing has changed then; `WireError` when it cannot be
    decoded; and, if `strict`, `StateUnreadable` or `MigrationError`.
    """
    end = end_of_snapshot(journal, number)
    held: list[tuple[Entry, Frame | Opened | Closed]] = []
    for entry in journal.read(number):
        if isinstance(entry, SegmentEnd) or entry.end > end:
            break
        match decode(entry):
            case Snapshot() as head:
                replica.restore(head, Position(number, entry.end, end))
            case Rows(table=table, rows=rows):
                replica.add_rows(table, rows)
            case Whole():
                pass
            case since:
                held.append((entry, since))
    for entry, since in held:
        _apply(replica, number, entry, since, strict=strict)
    replica.position = Position(number, end, end)
    return end


class SegmentReplay:
    """Reads segments in order and applies the records that continue `replica`."""

    def __init__(self, replica: Replica, journal: Journal, *, strict: bool = False) -> None:
        self.written = replica.number if strict else -1
        """The last frame found in any segment."""
        self.last = -1
        """The last frame in the newest segment."""
        self.segment = 0
        self.end = 0
        self.opening = 0
        """Where the snapshot of that segment ends, 0 when it is unknown."""
        self.left = 0
        self.problem = ""
        """Why the newest segment cannot be continued."""
        self.damaged: list[str] = []
        self.reloaded = False
        self._replica = replica
        self._journal = journal
        self._strict = strict
        self._local = -1
        """The newest frame that the part read of the present segment includes."""

    def fits(self, position: Position) -> bool:
        """Whether the segment exists and is long enough to be read from `position` on."""
        return any(
            segment.number == position.segment and segment.size >= position.offset
            for segment in self._journal.stored()
        )

    def read(self, numbers: list[int], offset: int) -> None:
        """Read these segments, the first from `offset` on. An offset other than 0 is the replica's position.

        Raises `ChainBroken` when the journal continues another state than the replica's. In strict reading, which
        begins with the journal's own snapshot, that counts as damage.
        """
        for at, number in enumerate(numbers):
            self._local = self._replica.number if at == 0 and offset else -1
            self.problem = ""
            self.last = -1
            self.opening = self._replica.position.opening if at == 0 and offset else 0
            try:
                self._segment(number, offset if at == 0 else 0, after=at > 0)
            except ChainBroken:
                if not self._strict:
                    raise
                self._note(f"segment {number} does not continue the one before it")
            except JournalTooNew:
                raise
            except (JournalError, WireError) as problem:
                self._note(f"segment {number}: {problem.problem}")

    def _segment(self, number: int, offset: int, *, after: bool) -> None:
        for item in self._journal.read(number, offset, past_damage=after):
            if isinstance(item, SegmentEnd):
                self.segment, self.end, self.left = number, item.offset, item.left
                if not item.tail:
                    self._note(f"segment {number} is damaged at byte {item.offset}: {item.problem}")
            else:
                self._entry(number, item)
        self.last = self._local

    def _entry(self, number: int, entry: Entry) -> None:
        replica = self._replica
        if entry.kind is RecordKind.ROWS:
            return
        if entry.kind is RecordKind.WHOLE:
            self.opening = entry.end
            return
        match decode(entry):
            case Frame() as frame:
                self._frame(number, entry, frame)
                self._local = frame.number
                self.written = max(self.written, frame.number)
            case Snapshot() as head:
                if head.number > replica.number:
                    self.opening = restore(replica, self._journal, number, strict=self._strict)
                    self.reloaded = True
                self._local = head.number
                self.written = max(self.written, head.number)
            case Opened() | Closed() as decision if self._local >= replica.number:
                _apply(replica, number, entry, decision, strict=self._strict)
            case _:
                pass

    def _frame(self, number: int, entry: Entry, frame: Frame) -> None:
        replica = self._replica
        if frame.number > replica.number:
            _apply(replica, number, entry, frame, strict=self._strict)
            return
        same = frame.number < replica.number or digest_of(entry.payload) == replica.digest
        if frame.epoch > replica.epoch or not same:
            raise ChainBroken

    def _note(self, problem: str) -> None:
        self.problem = problem
        self.damaged.append(problem)


def end_of_snapshot(journal: Journal, number: int) -> int:
    """The offset at which a segment's snapshot is complete. Raises `JournalError` when it is not."""
    marked = journal.format_of(number) > 1
    lacking = -1
    rows = 0
    for entry in journal.read(number):
        if isinstance(entry, SegmentEnd):
            break
        match decode(entry):
            case Whole(rows=counts):
                if lacking < 0 or sum(counts.values()) != rows:
                    break
                return entry.end
            case Snapshot(tables=tables):
                lacking = sum(tables.values())
            case _ if lacking < 0:
                break
            case Rows(rows=some):
                rows += len(some)
            case _:
                pass
        if lacking == rows and not marked:
            return entry.end
    raise JournalError(f"segment {number}", "it does not begin with a complete snapshot")


def _apply(
    replica: Replica, number: int, entry: Entry, record: Frame | Opened | Closed, *, strict: bool
) -> None:
    match record:
        case Frame() as frame:
            if frame.number <= replica.number:
                return
            position = Position(number, entry.end)
            try:
                replica.apply(frame, entry.payload, position)
            except (StateUnreadable, MigrationError) as problem:
                if strict:
                    raise
                replica.freeze(str(problem))
                replica.apply(frame, entry.payload, position)
        case Opened() as opened:
            replica.note(opened, "")
        case Closed() as closed:
            replica.note(None, closed)
