"""The feed: what happened lately, each with a number, for any number of listeners.

One ring for all. A listener is no more than a place in it, so ten thousand of them cost no more memory than one, and
a slow reader delays no other: it finds more when it comes back, and when its place has left the ring it is told that it
has missed something. Bounded by count and by bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container

import msgspec

__all__ = ["EventFeed", "FeedReader", "Missed"]

_MOST = 4096
_MOST_BYTES = 4 * 1024 * 1024


class Missed(Exception):
    """What a listener wants to go on from is not in the ring any more."""


class FeedReader(msgspec.Struct, frozen=True):
    """One thing that happened: as server-sent event, ready to be written."""

    number: int
    topic: str
    text: bytes


class EventFeed:
    """`instance` is part of each id: numbers begin anew with each process, and must not be taken for another's."""

    def __init__(self, instance: str, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self.instance = instance
        self.bytes = 0
        """What the ring holds now."""
        self._most = most
        self._most_bytes = most_bytes
        self._ring: deque[FeedReader] = deque()
        self._next = 1
        self._bell = asyncio.Event()

    @property
    def now(self) -> int:
        """The place after all that was told so far."""
        return self._next

    def tell(self, topic: str, body: bytes) -> None:
        """`body` is JSON without a line break."""
        text = b"event: %b\nid: %b-%d\ndata: %b\n\n" % (
            topic.encode(),
            self.instance.encode(),
            self._next,
            body,
        )
        self._ring.append(FeedReader(self._next, topic, text))
        self._next += 1
        self.bytes += len(text)
        while len(self._ring) > self._most or (self.bytes > self._most_bytes and len(self._ring) > 1):
            self.bytes -= len(self._ring.popleft().text)
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def place_of(self, id: str) -> int:
        """The place after the event with this id. Raises `Missed` when that can't be gone on from."""
        instance, _, number = id.rpartition("-")
        if instance != self.instance or not number.isdecimal() or len(number) > 18:
            raise Missed
        place = int(number) + 1
        if not self._oldest <= place <= self._next:
            raise Missed
        return place

    def since(self, place: int, topics: Container[str]) -> tuple[bytes, int]:
        """All from `place` on, and the place after it. Raises `Missed` when some of it is not there any more."""
        if place < self._oldest:
            raise Missed
        if place >= self._next:
            return b"", place
        skip = place - self._oldest
        told = (telling for number, telling in enumerate(self._ring) if number >= skip)
        return b"".join(telling.text for telling in told if telling.topic in topics), self._next

    async def bus(self, place: int) -> None:
        """Wait until there is something at `place`."""
        while place >= self._next:
            await self._bell.wait()

    @property
    def _oldest(self) -> int:
        return self._ring[0].number if self._ring else self._next
