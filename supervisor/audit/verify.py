"""The contents of a journal: each segment with its range, and a check of every record.

`survey` decodes only a segment's snapshot and its first and last frame. `JournalCheck` decodes every record and follows
the chain from frame to frame. Neither judges what the bot did: the audit does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ...protocol.frame import Frame, decode_frame
from ...protocol.journal import Entry, RecordKind, Unwritten, decode_snapshot
from ...protocol.wire import WireError
from .reader import (
    Damage,
    Found,
    Segment,
    UnfinishedRecord,
    read_segment,
    segments,
)
from .walk import JournalWalk

__all__ = ["Covered", "JournalCheck", "Problem", "Verification", "survey"]

State = Literal["written", "whole", "torn", "damaged"]

MOST = 1000


class Covered(msgspec.Struct):
    """One segment. Its frames and ticks include those repeated from the segment before."""

    segment: int
    file: str
    size: int
    format: int
    state: State = "whole"
    """`written`: the newest, to which a leader may append; `torn`: it ends in an unfinished record."""
    problem: str = ""
    as_of: int | None = None
    """The frame of its snapshot, -1 for the bot's initial state, None without a snapshot."""
    first: int | None = None
    last: int | None = None
    """Its first and last frame."""
    first_seq: int | None = None
    last_seq: int | None = None
    """The last tick at each of these."""
    began: int | None = None
    ended: int | None = None
    """When the turns of these frames ended, wall ns."""
    frames: int = 0
    unwritten: bool = False
    """Frames before its snapshot could not be written."""


class Problem(msgspec.Struct, frozen=True):
    """A problem in segment `segment`, in the record at byte `offset`."""

    segment: int
    offset: int
    problem: str


class Verification(msgspec.Struct, frozen=True):
    """The result of a check. `torn` are unfinished records at a segment's end: not faults."""

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
                    found.problem = f"it ends in {item.rest} bytes of an unfinished record"
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


class JournalCheck(JournalWalk):
    """Reads a whole journal and collects its problems."""

    def __init__(self) -> None:
        super().__init__()
        self._segments = self._bytes = self._records = self._frames = 0
        self._first: int | None = None
        self._problems: list[Problem] = []
        self._total = 0
        self._torn: list[Problem] = []
        self._unwritten: list[Problem] = []

    def check(self, found: Iterable[Found]) -> Verification:
        """Read everything and return the result."""
        self.take_all(found)
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

    def take(self, item: Found) -> None:
        self._records += isinstance(item, Entry)
        super().take(item)

    def _on_segment(self, segment: Segment) -> None:
        self._segments += 1
        self._bytes += segment.size

    def _on_unfinished(self, found: UnfinishedRecord) -> None:
        text = f"{found.rest} bytes of an unfinished record"
        self._torn.append(Problem(found.segment, found.offset, text))

    def _on_damage(self, found: Damage) -> None:
        self._on_break(found.problem)

    def _on_unreadable(self, entry: Entry, problem: str) -> None:
        self._on_break(f"cannot be read: {problem}")

    def _on_break(self, text: str, *, severed: bool = True) -> None:
        self._total += 1
        if len(self._problems) < MOST:
            self._problems.append(Problem(self._segment, self._at, text))

    def _on_unwritten(self, first: int, last: int, unwritten: Unwritten) -> None:
        text = f"frames {first} to {last}: {unwritten.why}"
        self._unwritten.append(Problem(self._segment, self._at, text))

    def _on_frame(self, frame: Frame, entry: Entry) -> None:
        self._frames += 1
        if self._first is None:
            self._first = frame.number

    def _on_repeated(self, frame: Frame) -> None:
        self._frames += 1
