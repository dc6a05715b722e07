"""The feeds of a simulated bot: the shipped replay buffer, from which each process gets what it lacks."""

from __future__ import annotations

from typing import Any

import msgspec

from ...protocol.feed_queue import FeedEntry, FeedQueues
from ...protocol.feed_ring import FeedRing

__all__ = ["SimulatedFeed"]

_LARGEST = 1 << 30


class SimulatedFeed:
    """One feed. `buffer` is the size of its replay buffer in bytes."""

    def __init__(self, name: str, buffer: int) -> None:
        self.name = name
        self._ring = FeedRing(1, buffer)
        self._before: tuple[int, int] | None = None

    def publish(self, data: Any, at: int) -> None:
        self._ring.add(msgspec.msgpack.encode(FeedEntry(at, msgspec.msgpack.encode(data))))

    def restart(self) -> None:
        """End its process, and start another one with an empty replay buffer."""
        before = self._ring
        self._before = before.run, before.last
        self._ring = FeedRing(before.run + 1, before.most_bytes)

    def deliver(self, queues: FeedQueues) -> bool:
        """Have a process receive what it lacks; return whether that was anything."""
        queue = queues.queue(self.name)
        queue.connected = True
        if self._before is not None:
            queue.ended(*self._before)
        ring = self._ring
        first, entries = ring.batch(ring.start_for(queue.received.run, queue.received.n), _LARGEST)
        decoded = [msgspec.msgpack.decode(entry, type=FeedEntry) for entry in entries]
        return queues.receive(self.name, ring.run, first, decoded) > 0
