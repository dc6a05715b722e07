"""The feed of recent numbered events, and server-sent events for each listener.

All listeners share one ring buffer, bounded by count and by bytes. A listener is only a position in it, so ten thousand
cost no more memory than one, and a slow reader delays no other. When its position has left the ring, it gets a reset.

A stream writes only what its listener reads. A listener that stops reading is dropped after a while, and so is one that
reads too slowly to keep its position; both may reconnect with the id of their last event.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Container

import msgspec
from aiohttp import web

__all__ = ["Dropped", "EventFeed", "FeedEvent", "Missed", "stream"]

_MOST = 4096
_MOST_BYTES = 4 * 1024 * 1024


class Missed(Exception):
    """The requested position is no longer in the ring."""


class FeedEvent(msgspec.Struct, frozen=True):
    """An event, encoded as a server-sent event."""

    number: int
    topic: str
    text: bytes


class EventFeed:
    """`instance` is part of each id, because the numbers of each process start anew."""

    def __init__(self, instance: str, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self.instance = instance
        self.bytes = 0
        """How many bytes the ring holds."""
        self._most = most
        self._most_bytes = most_bytes
        self._ring: deque[FeedEvent] = deque()
        self._next = 1
        self._changed = asyncio.Event()

    @property
    def now(self) -> int:
        """The position after the newest event."""
        return self._next

    def publish(self, topic: str, body: bytes) -> None:
        """Append an event; `body` is JSON without a line break."""
        text = b"event: %b\nid: %b-%d\ndata: %b\n\n" % (
            topic.encode(),
            self.instance.encode(),
            self._next,
            body,
        )
        self._ring.append(FeedEvent(self._next, topic, text))
        self._next += 1
        self.bytes += len(text)
        while len(self._ring) > self._most or (self.bytes > self._most_bytes and len(self._ring) > 1):
            self.bytes -= len(self._ring.popleft().text)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def place_of(self, id: str) -> int:
        """The position after the event with this id. Raises `Missed` when it is unknown or too old."""
        instance, _, number = id.rpartition("-")
        if instance != self.instance or not number.isdecimal() or len(number) > 18:
            raise Missed
        place = int(number) + 1
        if not self._oldest <= place <= self._next:
            raise Missed
        return place

    def since(self, place: int, topics: Container[str]) -> tuple[bytes, int]:
        """All events from `place` on, and the position after them. Raises `Missed` when some have left the ring."""
        if place < self._oldest:
            raise Missed
        if place >= self._next:
            return b"", place
        skip = place - self._oldest
        later = (event for number, event in enumerate(self._ring) if number >= skip)
        return b"".join(event.text for event in later if event.topic in topics), self._next

    async def wait(self, place: int) -> None:
        """Wait for an event at `place`."""
        while place >= self._next:
            await self._changed.wait()

    @property
    def _oldest(self) -> int:
        return self._ring[0].number if self._ring else self._next


_PACE = 0.1
"""Events within so many seconds are written at once."""
_ALIVE_EVERY = 15.0
_UNREAD_FOR = 10.0
_BUFFER = 32 * 1024
"""The send buffer of one listener, in the kernel and in this process each."""


class Dropped(Exception):
    """The listener was dropped; the text says why."""


async def stream(
    request: web.Request,
    response: web.StreamResponse,
    feed: EventFeed,
    topics: Container[str],
    after: str,
    still: Callable[[], bool],
) -> None:
    """Write the events after the id `after` ("": from now on) while `still()` is true. Raises `Dropped`."""
    transport = request.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(_BUFFER)
    wire = transport.get_extra_info("socket")
    if wire is not None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    async def write(text: bytes) -> None:
        try:
            async with asyncio.timeout(_UNREAD_FOR):
                await response.write(text)
        except TimeoutError:
            transport.abort()
            raise Dropped(f"it has read nothing for {_UNREAD_FOR:g}s") from None

    place, reset = feed.now, False
    if after:
        try:
            place = feed.place_of(after)
        except Missed:
            reset = True
    # After `reset` the listener has to load everything again.
    await write(
        b"retry: 1000\nevent: %b\nid: %b-%d\ndata: {}\n\n"
        % (b"reset" if reset else b"begin", feed.instance.encode(), place - 1)
    )
    while still():
        try:
            async with asyncio.timeout(_ALIVE_EVERY):
                await feed.wait(place)
        except TimeoutError:
            await write(b": alive\n\n")
            continue
        await asyncio.sleep(_PACE)
        try:
            text, place = feed.since(place, topics)
        except Missed:
            transport.abort()
            raise Dropped("it reads too slowly: events that it had not read are no longer kept") from None
        if text:
            await write(text)
