"""The leader's journal, the state stream as a file, as the rest of a worker sees it.

The leader appends each frame before it reports the turn as done, and the record of a decision before its body runs.
Only the worker that holds the lease writes. A new leader continues where the old one ended, after checking that it has
followed to that point; if not, it reads the rest first.

Any error of the disk is raised as a `JournalError`, which names the file and the mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from ...protocol.journal import NOWHERE, Entry, Position, RecordKind
from .retention import Stored

__all__ = ["Journal", "NewSegment", "NoJournal", "SegmentEnd"]


class SegmentEnd(msgspec.Struct, frozen=True):
    """Where the whole records of a segment end, and the problem with what follows, "" when nothing does.

    `tail` is true when a killed process can have left it like that. Otherwise the segment is damaged, and whole records
    may follow that cannot be found.
    """

    offset: int
    problem: str = ""
    tail: bool = True
    left: int = 0
    """How many bytes follow."""


class NewSegment(Protocol):
    """A segment that is being written and is not part of the journal yet."""

    def append(self, kind: RecordKind, payload: bytes) -> None: ...
    def publish(self) -> bool:
        """Make it the newest segment, to which the journal appends. True when that is done; call again otherwise."""
        ...

    def settle(self) -> None:
        """Wait for the end of a `publish` that has begun. After that nothing happens in the background."""
        ...

    def discard(self) -> None:
        """Remove all of it."""
        ...


class Journal(Protocol):
    """Where a leader writes and a successor reads. Numbers are numbers of segments."""

    @property
    def position(self) -> Position:
        """Where the next record will be, `NOWHERE` when no segment is open."""
        ...

    def stored(self) -> list[Stored]:
        """The segments, oldest first."""
        ...

    def read(
        self, number: int, offset: int = 0, *, past_damage: bool = False
    ) -> Iterator[Entry | SegmentEnd]:
        """The whole records of a segment from `offset` on, then its end.

        With `past_damage` also those after a damaged record whose length is known, with a `SegmentEnd` for each damaged
        record.
        """
        ...

    def format_of(self, number: int) -> int:
        """The format of a segment. Raises `JournalTooNew` for the format of a later release."""
        ...

    def attach(self, position: Position) -> bool:
        """Prepare to append; return whether the journal ends at `position`."""
        ...

    def settle(self, position: Position) -> None:
        """Prepare to append at `position`, in the newest segment; cut off what is after it. Needs the lease."""
        ...

    @property
    def append(self) -> Callable[[RecordKind, bytes], Position]:
        """Appends one record and returns where it ends. Another function after each change of the segment."""
        ...

    def in_place(self) -> bool:
        """Whether a successor can find what is appended."""
        ...

    def begin(self) -> NewSegment:
        """Begin a new segment after the newest. Needs the lease."""
        ...

    def remove(self, numbers: list[int]) -> None:
        """Remove segments, in the background."""
        ...

    def close(self) -> None: ...


class NoJournal:
    """The journal of a bot that runs alone: nothing is written."""

    position = NOWHERE

    def stored(self) -> list[Stored]:
        return []

    def read(
        self, number: int, offset: int = 0, *, past_damage: bool = False
    ) -> Iterator[Entry | SegmentEnd]:
        return iter(())

    def format_of(self, number: int) -> int:
        return 0

    def attach(self, position: Position) -> bool:
        return True

    def settle(self, position: Position) -> None: ...

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        return NOWHERE

    def in_place(self) -> bool:
        return True

    def begin(self) -> NewSegment:
        return _Nothing()

    def remove(self, numbers: list[int]) -> None: ...

    def close(self) -> None: ...


class _Nothing:
    def append(self, kind: RecordKind, payload: bytes) -> None: ...

    def publish(self) -> bool:
        return True

    def settle(self) -> None: ...
    def discard(self) -> None: ...
