"""Arrivals: what was put into the inbox and was not sorted in yet, within the inbox's bound.

Any thread may add to it. Everything else of the inbox belongs to the worker's own thread, which takes what has arrived
between two turns. So an event that finds the inbox full can only displace one that has arrived and was not taken; the
worker's thread drops what is too much beyond that.
"""

from __future__ import annotations

import threading
from collections import deque

import msgspec

from ...protocol.event_order import EventOrder, size_of
from ...protocol.frame import Item
from .inbox_bound import InboxBound, InboxFull

__all__ = ["Arrivals"]


class Arrivals:
    """Items in the order in which they were put. `order` has what was taken and still waits.

    The keys of up to `remembered` dropped events are kept for the worker's thread.
    """

    def __init__(self, order: EventOrder, bound: InboxBound, remembered: int) -> None:
        self.items: deque[Item] = deque()
        self.size = 0
        """Bytes in `items`."""
        self.dropped = 0
        """Events that were dropped because the inbox was full."""
        self.refused = 0
        """Events that were not taken because the inbox was full."""
        self._order = order
        self._bound = bound
        self._most_bytes = bound.size
        self._overflowed: deque[Item] = deque(maxlen=max(1, remembered))
        """What was dropped and not reported by `take`, without its data."""
        self._lock = threading.RLock()
        """A signal's handler may call `add` in the middle of another `add`."""

    def add(self, item: Item) -> bool:
        """Add an event; return whether it is the first. Raises `InboxFull`."""
        length, order = len(item.data) + len(item.key), self._order
        with self._lock:
            items = self.items
            if (
                len(items) + len(order) >= self._bound.events
                or self.size + order.size + length > self._most_bytes
            ):
                self._make_room(item, length)
            first = not items
            items.append(item)
            self.size += length
        return first

    def add_command(self, item: Item) -> None:
        """Add an operator's command, for which there is always room."""
        with self._lock:
            self.items.append(item)
            self.size += size_of(item)

    def take(self) -> tuple[list[Item], list[Item]]:
        """Take out what has arrived; return it, and what was dropped since the last call."""
        with self._lock:
            arrived, overflowed = list(self.items), list(self._overflowed)
            self.items.clear()
            self._overflowed.clear()
            self.size = 0
        return arrived, overflowed

    def _make_room(self, item: Item, length: int) -> None:
        """Drop something for `item`, or raise `InboxFull`.

        What is in `order` belongs to the worker's thread, which drops there. Until it does, as many may wait here.
        """
        bound, items = self._bound, self.items
        if length <= self._most_bytes and bound.when_full != "refuse":
            drop = self._drop_oldest if bound.when_full == "drop-oldest" else self._drop_superseded
            while len(items) >= bound.events or self.size + length > self._most_bytes:
                if not drop(item):
                    break
            else:
                return
        self.refused += 1
        raise InboxFull(
            item.key,
            f"the inbox is full: {len(items) + len(self._order):,} events and "
            f"{self.size + self._order.size:,} bytes wait, at most {bound.events:,} and {self._most_bytes:,} "
            "may: take them in batches with on_events, or declare another inbox_bound",
        )

    def _drop_oldest(self, _: Item) -> bool:
        """Drop the oldest event; return whether there was one."""
        for at, item in enumerate(self.items):
            if item.kind == "event":
                del self.items[at]
                self._drop(item)
                return True
        return False

    def _drop_superseded(self, item: Item) -> bool:
        """Drop the events that have a later one in their stream; return whether there was one."""
        latest: dict[str, Item] = {entry.stream: entry for entry in self.items if entry.stream}
        if item.stream:
            latest[item.stream] = item
        before = list(self.items)
        self.items.clear()
        for entry in before:
            if entry.kind == "event" and entry.stream and latest[entry.stream] is not entry:
                self._drop(entry)
            else:
                self.items.append(entry)
        return len(self.items) < len(before)

    def _drop(self, item: Item) -> None:
        self.size -= size_of(item)
        self.dropped += 1
        self._overflowed.append(msgspec.structs.replace(item, data=b""))
