"""What lies in a journal: each segment with what it covers, and every record checked.

`survey` looks at the records' beginnings and ends and at a segment's first and last frame. `JournalCheck` decodes all
of them and follows the chain from frame to frame, through the frames that two segments both have. Neither judges what
the bot did: that is the audit's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ...protocol.frame import Frame, decode_frame, digest_of
from ...protocol.journal import (
    HEADER_SIZE,
    Entry,
    RecordKind,
    Rows,
    Snapshot,
    Whole,
    decode,
    decode_snapshot,
)
from ...protocol.wire import WireError
from .reader import (
    Damage,
    Found,
    Segment,
    UnfinishedRecord,
    read_segment,
    segments,
)

__all__ = ["Covered", "JournalCheck", "Problem", "Verification", "survey"]

State = Literal["written", "whole", "torn", "damaged"]

MOST = 1000


class Covered(msgspec.Struct):
    """One segment. Frames and ticks are those it has, the ones it repeats from the segment before included."""

    segment: int
    file: str
    size: int
    format: int
    state: State = "whole"
    """`written`: the newest, to which a leader may append; `torn`: it ends in a record that was never finished."""
    problem: str = ""
    as_of: int | None = None
    """The frame that its snapshot is as of, -1 for the bot's beginning, None when it has none."""
    first: int | None = None
    last: int | None = None
    """Its first and last frame."""
    first_seq: int | None = None
    last_seq: int | None = None
    """The last tick as of these."""
    began: int | None = None
    ended: int | None = None
    """When the turns of these ended, wall ns."""
    frames: int = 0
    unwritten: bool = False
    """Frames before its snapshot could not be written."""


class Problem(msgspec.Struct, frozen=True):
    """Something is wrong in segment `segment`, in the record at byte `offset`."""

    segment: int
    offset: int
    problem: str


class Verification(msgspec.Struct, frozen=True):
    """The result of a check. `torn` are ends that a killed process leaves, or one that just writes: no faults."""

    ok: bool
    segments: int
    bytes: int
    records: int
    frames: int
    first: int | None
    last: int | None
    problems: list[Problem]
    problems_total: int
    torn: list[Problem]
    unwritten: list[Problem]


def survey(directory: Path) -> Iterator[Covered]:
    """Describe the segments of the journal in `directory`, oldest first. Raises `JournalError`."""
    there = segments(directory)
    for number, path in there:
        yield _describe(path, newest=number == there[-1][0])


def _describe(path: Path, *, newest: bool) -> Covered:
    found = Covered(int(path.stem), path.name, 0, 0, "written" if newest else "whole")
    last: bytes | None = None
    try:
        for item in read_segment(path):
            match item:
                case Segment():
                    found.size, found.format = item.size, item.format
                case Entry(kind=RecordKind.FRAME):
                    found.frames += 1
                    last = item.payload
                    if found.frames == 1:
                        frame = decode_frame(item.payload)
                        found.first, found.first_seq, found.began = (
                            frame.number,
                            frame.seq,
                            frame.timing.ended,
                        )
                case Entry(kind=RecordKind.SNAPSHOT):
                    head = decode_snapshot(item.payload)
                    found.as_of, found.unwritten = head.number, head.unwritten is not None
                case UnfinishedRecord():
                    if not newest:
                        found.state = "torn"
                    found.problem = f"it ends in {item.rest} bytes of a record that was never finished"
                case Damage():
                    found.state = "damaged"
                    found.problem = f"at byte {item.offset}: {item.problem}"
                case _:
                    pass
        if last is not None:
            frame = decode_frame(last)
            found.last, found.last_seq, found.ended = frame.number, frame.seq, frame.timing.ended
    except WireError as problem:
        found.state, found.problem = "damaged", str(problem)
    return found


class JournalCheck:
    """Takes what a reader finds, one after another, and says in the end whether it is whole."""

    def __init__(self) -> None:
        self._segment = 0
        self._segments = self._bytes = self._records = self._frames = 0
        self._at = 0
        self._number: int | None = None
        self._digest = b""
        self._first: int | None = None
        self._local: tuple[int, bytes] | None = None
        """Where the segment at hand stands while it repeats what the one before ended with."""
        self._snapshot: Snapshot | None = None
        """The snapshot that is not complete yet."""
        self._rows: dict[str, int] = {}
        self._marked = True
        self._problems: list[Problem] = []
        self._total = 0
        self._torn: list[Problem] = []
        self._unwritten: list[Problem] = []

    def take_all(self, found: Iterable[Found]) -> Verification:
        """Take all there is, and say what it came to."""
        for item in found:
            self.take(item)
        return self.result()

    def take(self, item: Found) -> None:
        match item:
            case Segment():
                self._open(item)
            case UnfinishedRecord():
                self._torn.append(
                    Problem(
                        item.segment, item.offset, f"{item.rest} bytes of a record that was never finished"
                    )
                )
            case Damage():
                self._at = item.offset
                self._wrong(item.problem)
                self._snapshot = None
                self._forget()
            case Entry():
                self._records += 1
                try:
                    self._entry(item)
                except WireError as problem:
                    self._wrong(f"it cannot be read: {problem}")
                    if item.kind is RecordKind.FRAME:
                        self._forget()
                self._at = item.end

    def result(self) -> Verification:
        self._close()
        return Verification(
            ok=not self._total,
            segments=self._segments,
            bytes=self._bytes,
            records=self._records,
            frames=self._frames,
            first=self._first,
            last=self._number,
            problems=self._problems,
            problems_total=self._total,
            torn=self._torn,
            unwritten=self._unwritten,
        )

    def _open(self, segment: Segment) -> None:
        self._close()
        if self._segment and segment.number != self._segment + 1:
            self._segment, self._at = segment.number, 0
            self._wrong("the segment before it is missing")
        self._segment, self._at = segment.number, HEADER_SIZE
        self._segments += 1
        self._bytes += segment.size
        self._marked = segment.format > 1

    def _close(self) -> None:
        """A segment has ended."""
        if self._snapshot is not None and not self._torn_here():
            self._wrong("the snapshot that it opens with is not complete")
        self._snapshot = None
        local, self._local = self._local, None
        if local is not None and self._number is not None and local[0] < self._number:
            self._wrong(f"it goes to frame {local[0]}, and the segment before it went to {self._number}")
            self._number, self._digest = local

    def _torn_here(self) -> bool:
        return bool(self._torn) and self._torn[-1].segment == self._segment

    def _entry(self, entry: Entry) -> None:
        match decode(entry):
            case Frame() as frame:
                self._frame(frame, entry.payload)
            case Snapshot() as head:
                self._begin(head)
            case Rows(table=table, rows=rows):
                self._rows[table] = self._rows.get(table, 0) + len(rows)
                self._complete(None)
            case Whole(rows=rows):
                self._complete(rows)
            case _:
                pass

    def _begin(self, head: Snapshot) -> None:
        self._snapshot, self._rows = head, {}
        number = self._number
        if number is not None and head.number > number:
            if head.unwritten is not None and head.unwritten.after <= number:
                self._unwritten.append(
                    Problem(
                        self._segment, self._at, f"frames {number + 1} to {head.number}: {head.unwritten.why}"
                    )
                )
            else:
                self._wrong(f"frames {number + 1} to {head.number} are missing before it")
        elif number is not None and head.number == number and head.digest != self._digest:
            self._wrong(f"its snapshot is of another frame {number} than the segment before it has")
        self._local = head.number, head.digest
        if number is None or head.number > number:
            self._number, self._digest = self._local
        self._complete(None)

    def _complete(self, rows: dict[str, int] | None) -> None:
        """Look whether the snapshot is complete: at its end mark, or in format 1 when all its rows are there."""
        head = self._snapshot
        if head is None or (self._marked and rows is None):
            return
        wanted = rows if rows is not None else {name: count for name, count in head.tables.items() if count}
        if rows is None and self._rows != wanted:
            return
        self._snapshot = None
        if self._rows != wanted:
            self._wrong(f"the snapshot before it has rows {self._rows}, and should have {wanted}")

    def _frame(self, frame: Frame, body: bytes) -> None:
        self._frames += 1
        digest = digest_of(body)
        number, before = self._local or (self._number, self._digest)
        if number is None:
            if frame.number:
                self._wrong("the journal does not begin with a snapshot")
        elif frame.number != number + 1:
            self._wrong(f"frame {frame.number} comes after frame {number}")
        elif before and frame.prev != before:
            self._wrong(f"frame {frame.number} continues another chain than the frame before it")
        if self._first is None:
            self._first = frame.number
        if self._local is not None and self._number is not None and frame.number <= self._number:
            self._local = frame.number, digest
            if frame.number == self._number and digest != self._digest:
                self._wrong(f"frame {frame.number} is another one than the segment before it has")
            return
        self._local = None
        self._number, self._digest = frame.number, digest

    def _forget(self) -> None:
        """What comes next cannot be checked against what was before."""
        self._digest = b""

    def _wrong(self, problem: str) -> None:
        self._total += 1
        if len(self._problems) < MOST:
            self._problems.append(Problem(self._segment, self._at, problem))
