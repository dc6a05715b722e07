"""Feed: what the function of a feed gets, to publish what it receives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.feed_file import RESUME_MAX
from ...protocol.wire import NOT_ENCODABLE

__all__ = ["Feed", "FeedError"]

_UNSET: Any = object()


class FeedError(NeverblinkError):
    """The feed cannot publish this. `feed` is its name."""

    def __init__(self, feed: str, problem: str) -> None:
        super().__init__(f"feed {feed!r}: {problem}")
        self.feed = feed


class Feed:
    """A feed in its process. The function that the configuration names gets it as its only argument:

        async def trades(feed):
            async with connect(URL) as socket:
                async for message in socket:
                    feed.publish(json.loads(message))

    `publish` may be called from any thread. It never waits for the bot.
    """

    def __init__(
        self,
        name: str,
        publish: Callable[[bytes, bytes | None], int],
        *,
        most_bytes: int,
        resume: bytes = b"",
        last: int = 0,
        refused: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        """The feed's name in the configuration."""
        self.resume: Any = msgspec.msgpack.decode(resume) if resume else None
        """The last value that was passed to `publish` as `resume`, by this process or the one before it; None when
        there was none. Ask the source for what it has sent since, to lose nothing over a restart of the feed."""
        self.stopping = threading.Event()
        """Set when the feed is to end. A coroutine is cancelled, and a plain function gets SystemExit, anyway."""
        self._publish = publish
        self._most_bytes = most_bytes
        self._last = last
        self._refused = refused
        self._local = threading.local()

    @property
    def last(self) -> int:
        """The number of the event published last, 0 before the first in this process."""
        return self._last

    def publish(self, data: Any, *, resume: Any = _UNSET) -> int:
        """Send `data` to the bot as the feed's next event, and return its number.

        `data` is whatever msgspec can encode: plain values, Structs, dataclasses. `resume` says where the source
        stands after this event, such as a trade's id, in at most 4 KiB: the next process of the feed finds it in
        `feed.resume`.

        Raises `FeedError` when the data cannot be encoded, is larger than the replay buffer, or the feed has ended.
        """
        encoder = getattr(self._local, "encoder", None)
        if encoder is None:
            # An encoder must not be used by two threads at once.
            encoder = self._local.encoder = msgspec.msgpack.Encoder()
        try:
            packed = encoder.encode(data)
            point = None if resume is _UNSET else encoder.encode(resume)
        except NOT_ENCODABLE as problem:
            self._refused()
            raise FeedError(
                self.name, f"{problem}; publish data that msgspec can encode, such as a dict or a Struct"
            ) from None
        if len(packed) > self._most_bytes:
            self._refused()
            raise FeedError(
                self.name,
                f"an event of {len(packed):,} bytes is larger than the replay buffer of {self._most_bytes:,}: raise "
                f"`buffer` in [feeds.{self.name}], or publish less at once",
            )
        if point is not None and len(point) > RESUME_MAX:
            raise FeedError(
                self.name,
                f"resume is {len(point):,} bytes, at most {RESUME_MAX:,} are kept: pass an id or a time",
            )
        self._last = n = self._publish(encoder.encode((time.time_ns(), packed)), point)
        if point is not None:
            self.resume = resume
        return n
