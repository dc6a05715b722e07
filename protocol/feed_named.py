"""A feed, in the assignment of a worker that subscribes to it."""

from __future__ import annotations

import msgspec

__all__ = ["STALE_AFTER", "FeedNamed"]

STALE_AFTER = 5_000_000_000
"""The usual time without an event after which a feed is stale, ns."""


class FeedNamed(msgspec.Struct, frozen=True):
    """The feed's name, and the time without an event after which it is stale (ns, 0 for never)."""

    name: str
    stale_after: int = STALE_AFTER
