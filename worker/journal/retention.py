"""Which segments of the journal are no longer needed."""

from __future__ import annotations

import msgspec

__all__ = ["Limits", "Stored", "surplus"]

_ALWAYS = 2
"""The newest segment, which recovery begins with, and the one before it, from which it goes on if the newest one's
snapshot should turn out to be damaged."""


class Stored(msgspec.Struct, frozen=True):
    """A segment on disk: its number, its size in bytes, and when it was written last, wall ns."""

    number: int
    size: int
    at: int


class Limits(msgspec.Struct, frozen=True):
    """How the journal is kept within bounds."""

    segment: int = 16 * 1024 * 1024
    """A segment with this many bytes after its snapshot, and as many as the snapshot itself has, is followed by a new
    one."""
    keep: int = 1024 * 1024 * 1024
    """How many bytes all segments together may have."""
    keep_for: int = 30 * 86_400_000_000_000
    """How long after its last record a segment may be kept, ns."""


def surplus(stored: list[Stored], limits: Limits, now: int) -> list[int]:
    """The numbers of the segments to be removed, oldest first, as of wall time `now`. Never one of the newest two."""
    old = sorted(stored, key=lambda one: one.number)[:-_ALWAYS]
    total = sum(one.size for one in stored)
    gone: list[int] = []
    for one in old:
        # From the oldest on and no further: what is kept has no hole.
        if total <= limits.keep and now - one.at <= limits.keep_for:
            break
        gone.append(one.number)
        total -= one.size
    return gone
