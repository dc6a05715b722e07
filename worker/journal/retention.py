"""Retention: which segments of the journal are removed."""

from __future__ import annotations

import msgspec

__all__ = ["JournalLimits", "Stored", "segments_to_remove"]

_ALWAYS = 2
"""Recovery begins with the newest segment, or with the one before when the newest one's snapshot is damaged."""


class Stored(msgspec.Struct, frozen=True):
    """A segment on disk: its number, its size in bytes, and when it was last written, wall ns."""

    number: int
    size: int
    at: int


class JournalLimits(msgspec.Struct, frozen=True):
    """The limits on the size and age of the journal."""

    segment: int = 16 * 1024 * 1024
    """A new segment is begun when this one has that many bytes after its snapshot, and at least as many as the snapshot
    itself."""
    keep: int = 1024 * 1024 * 1024
    """How many bytes all segments together may have."""
    keep_for: int = 30 * 86_400_000_000_000
    """How long a segment is kept after its last record, ns."""


def segments_to_remove(stored: list[Stored], limits: JournalLimits, now: int) -> list[int]:
    """The numbers of the segments to remove, oldest first, at wall time `now`. The newest two are always kept."""
    old = sorted(stored, key=lambda segment: segment.number)[:-_ALWAYS]
    total = sum(segment.size for segment in stored)
    numbers: list[int] = []
    for segment in old:
        # Stops at the first that is kept, so that there is no gap.
        if total <= limits.keep and now - segment.at <= limits.keep_for:
            break
        numbers.append(segment.number)
        total -= segment.size
    return numbers
