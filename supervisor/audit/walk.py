"""Walks a journal record by record: follows the chain of its frames, and reports where it breaks.

A subclass overrides the `_on_…` methods it needs; all of them do nothing here. The audit, the check of
`journal verify` and the export are such walks.

A segment opens with a snapshot. The bot continues while that is written, so a segment may begin with frames that the
segment before it has too. A walk reports such a frame once, and compares the two copies. After a gap it continues with
the next frame, so that one fault is reported once.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...protocol.frame import GENESIS, Frame, digest_of
from ...protocol.journal import (
    HEADER_SIZE,
    Closed,
    Entry,
    Opened,
    Rows,
    Snapshot,
    Unwritten,
    Whole,
    decode,
)
from ...protocol.wire import WireError
from .reader import Damage, Found, Segment, UnfinishedRecord

__all__ = ["JournalWalk"]


class JournalWalk:
    """Processes what a reader finds, in order. Set `_over` to end early."""

    def __init__(self) -> None:
        self._over = False
        self._segment = 0
        """The current segment, 0 before the first."""
        self._at = 0
        """Where the current record begins in it."""
        self._number: int | None = None
        """The frame of the current state: -1 before the first, None before anything was read."""
        self._digest = GENESIS
        self._marked = True
        """Whether the segment's format has a mark at the end of the snapshot."""
        self._rows: dict[str, int] = {}
        """Rows of the snapshot that are still missing, by table; below 0 where the end mark has the counts."""
        self._opening = False
        """The snapshot's end mark has not been read yet."""
        self._opened = -1
        """The frame of the segment's snapshot."""
        self._unfinished = False
        """The segment ends in an unfinished record."""
        self._repeat: tuple[int, bytes] | None = None
        """At a segment's beginning: the last frame repeated from the segment before, and its digest."""

    def take_all(self, found: Iterable[Found]) -> None:
        """Walk to the end, or until `_over`."""
        for item in found:
            self.take(item)
            if self._over:
                return
        self._end_segment()

    def take(self, item: Found) -> None:
        """Process the next thing that the reader found."""
        match item:
            case Segment():
                self._end_segment()
                before, self._segment, self._at = self._segment, item.number, 0
                if before and item.number != before + 1:
                    self._on_break(f"segment {item.number} comes after segment {before}: one is missing")
                self._at = HEADER_SIZE
                self._marked, self._unfinished = item.format > 1, False
                self._on_segment(item)
            case UnfinishedRecord():
                self._unfinished = True
                self._on_unfinished(item)
            case Damage():
                self._at = item.offset
                self._rows, self._opening = {}, False
                self._on_damage(item)
            case Entry():
                try:
                    self._entry(item)
                except WireError as problem:
                    self._on_unreadable(item, str(problem))
                self._at = item.end

    # to be overridden

    def _on_segment(self, segment: Segment) -> None:
        """A segment begins."""

    def _on_unfinished(self, found: UnfinishedRecord) -> None:
        """The segment ends in an unfinished record, which is not a fault."""

    def _on_damage(self, found: Damage) -> None:
        """The rest of the segment cannot be read."""

    def _on_unreadable(self, entry: Entry, problem: str) -> None:
        """A complete record whose payload cannot be decoded."""

    def _on_break(self, text: str, *, severed: bool = True) -> None:
        """The chain is broken; `severed`: what comes next does not continue the state before."""

    def _on_unwritten(self, first: int, last: int, unwritten: Unwritten) -> None:
        """Frames `first` to `last` are missing, and the journal says why."""

    def _on_snapshot(self, head: Snapshot, entry: Entry, *, resumes: bool) -> None:
        """A snapshot begins; `resumes`: what was read before it does not lead up to it."""

    def _on_rows(self, rows: Rows, entry: Entry) -> None:
        """Rows of a snapshot."""

    def _on_whole(self) -> None:
        """The snapshot is complete, in a format that marks its end."""

    def _on_next(self, frame: Frame) -> None:
        """A frame follows; breaks reported before its `_on_frame` are between it and the frame before."""

    def _on_frame(self, frame: Frame, entry: Entry) -> None:
        """A frame, each once; `_digest` is its digest."""

    def _on_repeated(self, frame: Frame) -> None:
        """A frame that the segment before has too."""

    def _on_opened(self, opened: Opened, entry: Entry) -> None:
        """A decision was opened. See `_on_closed`."""

    def _on_closed(self, closed: Closed, entry: Entry) -> None:
        """A decision was closed.

        Where a segment repeats the last frame before it, decisions after that frame may be reported twice. Earlier
        copies are left out.
        """

    # the chain

    def _entry(self, entry: Entry) -> None:
        match decode(entry):
            case Frame() as frame:
                self._frame(frame, entry)
            case Opened() as opened:
                if not self._is_behind():
                    self._on_opened(opened, entry)
            case Closed() as closed:
                if not self._is_behind():
                    self._on_closed(closed, entry)
            case Snapshot() as head:
                self._snapshot(head, entry)
            case Rows(table=table, rows=rows) as some:
                self._rows[table] = self._rows.get(table, 0) - len(rows)
                self._on_rows(some, entry)
            case Whole(rows=rows) if self._opening:
                for table, count in rows.items():
                    self._rows[table] = self._rows.get(table, 0) + count
                self._opening = False
                self._count_rows()
                self._on_whole()
            case Whole():
                pass

    def _frame(self, frame: Frame, entry: Entry) -> None:
        digest = digest_of(entry.payload)
        number = self._number
        if self._repeat is not None:
            if number is not None and frame.number <= number:
                self._repeated(frame, digest, self._repeat)
                return
            self._end_repeat()
        self._on_next(frame)
        if self._rows and not self._opening:
            self._count_rows()
        if number is None:
            # Only the very first frame needs nothing before it.
            severed = frame.number != 0 or frame.prev != GENESIS
            self._on_break(
                "it does not begin with a snapshot: the state before it is unknown", severed=severed
            )
        elif frame.number != number + 1:
            self._on_break(_hole(number, frame.number))
        elif frame.prev != self._digest:
            self._on_break(f"frame {frame.number} continues another chain than the frame before it")
        self._number, self._digest = frame.number, digest
        self._on_frame(frame, entry)

    def _repeated(self, frame: Frame, digest: bytes, repeat: tuple[int, bytes]) -> None:
        self._repeat = frame.number, digest
        if (frame.number, frame.prev) != (repeat[0] + 1, repeat[1]):
            self._on_break(f"frame {frame.number} does not continue the snapshot before it", severed=False)
        elif frame.number == self._number and digest != self._digest:
            self._on_break(
                f"frame {frame.number} differs between segment {self._segment} and the one before it"
            )
        self._on_repeated(frame)

    def _snapshot(self, head: Snapshot, entry: Entry) -> None:
        """A segment opens with the complete state, which must be the one that the frames before it led to."""
        self._count_rows()
        self._opening, self._opened = self._marked, head.number
        self._repeat = head.number, head.digest
        self._rows = {} if self._marked else dict(head.tables)
        number, unwritten = self._number, head.unwritten
        if number is not None and head.number < number and self._marked:
            # The snapshot is older than the last frames of the segment before: this segment repeats them.
            self._on_snapshot(head, entry, resumes=False)
            return
        if number is not None and unwritten is not None and unwritten.after <= number < head.number:
            self._on_unwritten(number + 1, head.number, unwritten)
        elif number is not None and (head.number, head.digest) != (number, self._digest):
            self._on_break(
                f"segment {self._segment} opens with the state as of frame {head.number}, "
                f"and the frames before it end with {number}"
                + (", of another chain" if head.number == number else "")
            )
        self._on_snapshot(head, entry, resumes=not self._marked or head.number != number)
        self._number, self._digest = head.number, head.digest

    def _end_segment(self) -> None:
        self._count_rows()
        if self._repeat is not None and (repeat := self._end_repeat()):
            self._number, self._digest = repeat

    def _count_rows(self) -> None:
        """Check that a snapshot has all of its rows, unless its segment is unfinished."""
        lacking = {table: rows for table, rows in self._rows.items() if rows}
        opening = self._opening
        self._rows, self._opening = {}, False
        if self._unfinished or not (opening or lacking):
            return
        text = f"the snapshot that segment {self._segment} opens with is not complete"
        if not opening:
            text += f" ({', '.join(f'{table}: {rows} rows more than there are' for table, rows in lacking.items())})"
        self._on_break(text, severed=False)

    def _is_behind(self) -> bool:
        """Whether a record between frames is in the segment before too."""
        return self._repeat is not None and self._number is not None and self._repeat[0] < self._number

    def _end_repeat(self) -> tuple[int, bytes] | None:
        """End the repetition, as the segment is past the one before or ends; return its last frame if it is behind."""
        repeat, self._repeat = self._repeat, None
        if repeat is None or self._number is None or repeat[0] >= self._number:
            return None
        self._on_break(
            f"segment {self._segment} opens with the state as of frame {self._opened}, goes on to frame {repeat[0]}, "
            f"and the frames before it end with {self._number}"
        )
        return repeat


def _hole(before: int, number: int) -> str:
    match number - before:
        case 0:
            return f"frame {number} appears twice"
        case after if after < 0:
            return f"frame {number} comes after frame {before}"
        case 2:
            return f"frame {before + 1} missing"
        case _:
            return f"frames {before + 1} to {number - 1} missing"
