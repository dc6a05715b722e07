"""A supervisor's connection to a feed: it receives the feed's reports, for as long as the feed lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ...protocol.feed_wire import (
    LENGTH,
    FeedDeclined,
    FeedReport,
    FeedWatch,
    feed_codec,
    framed,
    subscriber_codec,
)
from ...protocol.wire import WireError

__all__ = ["watch_feed"]

_AGAIN_AFTER = 0.1
_LARGEST_REPORT = 1024 * 1024


async def watch_feed(
    path: Callable[[], str],
    key: bytes,
    reported: Callable[[FeedReport], None],
    declined: Callable[[str], None],
) -> None:
    """Call `reported` with each report of the feed at `path()`. Connects again whenever the connection ends."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError, WireError):
            reader, writer = await asyncio.open_unix_connection(path())
            try:
                writer.write(framed(subscriber_codec.encode(FeedWatch(key))))
                while True:
                    length = int.from_bytes(await reader.readexactly(LENGTH), "big")
                    if length > _LARGEST_REPORT:
                        break
                    message = feed_codec.decode(await reader.readexactly(length))
                    if isinstance(message, FeedReport):
                        reported(message)
                    elif isinstance(message, FeedDeclined):
                        declined(message.reason)
            finally:
                writer.close()
        await asyncio.sleep(_AGAIN_AFTER)
