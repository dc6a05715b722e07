"""A feed's replay buffer: the newest events of one run, bounded by bytes and by count. No I/O.

Subscribers have no queues of their own. Each is a number in the ring: what it was sent last. So a slow subscriber costs
nothing, and one that falls behind the oldest event continues there, with a gap that it sees from the numbers.
"""

from __future__ import annotations

__all__ = ["MOST_EVENTS", "FeedRing"]

MOST_EVENTS = 1_000_000
"""An event has a cost of its own beside its bytes."""


class FeedRing:
    """The events of run `run`, encoded, by number. It holds at most `most_bytes`, and always the newest event."""

    __slots__ = ("_entries", "first", "last", "most_bytes", "most_events", "run", "size")

    def __init__(self, run: int, most_bytes: int, most_events: int = MOST_EVENTS) -> None:
        self.run = run
        self.most_bytes = most_bytes
        self.most_events = most_events
        self.first = 1
        """The number of the oldest event in it; one more than `last` when it is empty."""
        self.last = 0
        """The number of the newest event, 0 before the first."""
        self.size = 0
        """Bytes in it."""
        self._entries: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: bytes) -> int:
        """Add an event; return its number."""
        entries = self._entries
        self.last = n = self.last + 1
        entries[n] = entry
        self.size += len(entry)
        while (self.size > self.most_bytes or len(entries) > self.most_events) and self.first < n:
            self.size -= len(entries.pop(self.first))
            self.first += 1
        return n

    def start_for(self, run: int, n: int) -> int:
        """The first number to send to a subscriber that has everything up to `n` of `run`."""
        if run != self.run:
            return self.first
        return min(max(n + 1, self.first), self.last + 1)

    def batch(self, start: int, most_bytes: int) -> tuple[int, list[bytes]]:
        """The events from `start` on, up to so many bytes but at least one; and the number of the first of them.

        That number is higher than `start` when the events before it are no longer in the ring.
        """
        first = max(start, self.first)
        taken: list[bytes] = []
        entries = self._entries
        for n in range(first, self.last + 1):
            entry = entries[n]
            most_bytes -= len(entry)
            if most_bytes < 0 and taken:
                break
            taken.append(entry)
        return first, taken
