"""The leader's journal: the state stream as a file, as the rest of a worker sees it.

The leader appends each frame before it says that the turn is done, and the record of a decision before its body runs.
Workers take turns at it, never two at a time: only who holds the lease writes. A new leader continues where the old
one ended, after checking that this is where it has followed to; if it is not, it reads the rest first.

Whatever the disk does comes out as a `JournalError`, which names the file and the mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from ...protocol.journal import NOWHERE, Entry, Position, RecordKind
from .retention import Stored

__all__ = ["Journal", "NewSegment", "NoJournal", "SegmentEnd"]


class SegmentEnd(msgspec.Struct, frozen=True):
    """Where the whole records of a segment end, and what is after it: "" for nothing.

    `tail` is false when no process that was killed leaves it like that: then it is damaged, and what was written after
    may be whole and cannot be found.
    """

    offset: int
    problem: str = ""
    tail: bool = True
    left: int = 0
    """How many bytes there are after it."""


class NewSegment(Protocol):
    """A segment that is being written and is not one of the journal's yet."""

    def append(self, kind: RecordKind, payload: bytes) -> None: ...
    def publish(self) -> bool:
        """Make it the newest one, in which the journal goes on; True when that is done, else call again."""
        ...

    def settle(self) -> None:
        """Wait until `publish`, if it was begun, has ended. After that nothing happens by itself."""
        ...

    def discard(self) -> None:
        """Leave nothing of it behind."""
        ...


class Journal(Protocol):
    """Where a leader writes and a successor reads. Numbers are segments'."""

    @property
    def position(self) -> Position:
        """Where the next record will be, `NOWHERE` when none could be written."""
        ...

    def stored(self) -> list[Stored]:
        """The segments there are, oldest first."""
        ...

    def read(
        self, number: int, offset: int = 0, *, past_damage: bool = False
    ) -> Iterator[Entry | SegmentEnd]:
        """The whole records of a segment from `offset` on, and then its end.

        With `past_damage` those behind a damaged one too, where its length is known; there is an `SegmentEnd` for each
        such.
        """
        ...

    def format_of(self, number: int) -> int:
        """The format a segment is written in. Raises `JournalTooNew` when it is of a later release's."""
        ...

    def attach(self, position: Position) -> bool:
        """Make ready to append; return whether the journal ends at `position`."""
        ...

    def settle(self, position: Position) -> None:
        """Make ready to append at `position`, in the newest segment; what is after it is cut off. Needs the lease."""
        ...

    @property
    def append(self) -> Callable[[RecordKind, bytes], Position]:
        """Appends one record, and returns where it ends. Which function that is changes with the segment."""
        ...

    def in_place(self) -> bool:
        """Whether what is appended can be found by a successor."""
        ...

    def begin(self) -> NewSegment:
        """Begin a segment after the newest. Needs the lease."""
        ...

    def remove(self, numbers: list[int]) -> None:
        """Have segments removed."""
        ...

    def close(self) -> None: ...


class NoJournal:
    """For a bot that runs alone: nothing is written, and no process would read it."""

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
