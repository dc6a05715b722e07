"""Where a bot stands in a feed, and what a frame reports of it.

A feed numbers what it publishes: 1, 2, 3, ... in each of its *runs*. A run is one process of the feed; its number is
higher than that of every run before it. So a position is a run and a number in it, and positions are ordered.
"""

from __future__ import annotations

import msgspec

__all__ = ["BEGINNING", "FeedPosition", "FeedRange"]


class FeedPosition(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Everything of the feed up to this number of this run was applied."""

    run: int = 0
    n: int = 0


BEGINNING = FeedPosition()
"""Nothing was applied: begin with the oldest event that the feed still has."""


class FeedRange(msgspec.Struct, frozen=True, array_like=True):
    """In a frame: this turn applied the events of a feed from `first` to `last`, both included."""

    feed: str
    run: int
    first: int
    last: int

    @property
    def end(self) -> FeedPosition:
        return FeedPosition(self.run, self.last)
