"""A bot's side of its feeds: what was received and not applied, and how far the bot has applied each. No I/O.

Each process of the bot, leader or follower, subscribes to each feed by itself. The leader applies a feed's events in
the order of their numbers, and its frames have only the numbers. A follower holds what its leader has not applied yet.
So a successor goes on after the last number in the frames: from what it holds, and where that ends, from the feed's
replay buffer.

An event's gap is found when the event is applied, by comparing its number with the position: so two processes that
received different parts of a feed report what *the bot* has missed, and not what one of them has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import ClassVar, Literal

import msgspec

from .event_order import Mark
from .feed_position import BEGINNING, FeedPosition, FeedRange
from .frame import NumberGap
from .link import FeedApplied

__all__ = ["FeedEntry", "FeedItem", "FeedQueue", "FeedQueues"]

MOST_BYTES = 16 * 1024 * 1024
"""How much of a feed a process holds. Beyond that it stops reading, and the feed's replay buffer holds the rest."""

_OVERHEAD = 100
"""What an event counts for beside its data, in bytes."""

_MOST_ENDED = 16


class FeedEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event on its way: when it was published (wall ns), and its data in msgpack."""

    at: int
    data: bytes


class FeedItem(msgspec.Struct, frozen=True, gc=False):
    """An event of a feed that waits for its turn. It has the attributes of an `Item`, without a key."""

    key: ClassVar[str] = ""
    kind: ClassVar[Literal["event"]] = "event"

    stream: str
    run: int
    n: int
    at: int
    data: bytes


class FeedQueue:
    """One feed, as one process of the bot sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.position = BEGINNING
        """Up to where the bot has applied it."""
        self.received = BEGINNING
        """Up to where this process has received it, or need not."""
        self.events: deque[FeedItem] = deque()
        """What was received and not applied, in order."""
        self.size = 0
        """Bytes in `events`."""
        self.newest = 0
        """When the newest event that was received was published, wall ns; 0 before the first."""
        self.connected = False
        """Whether the feed is connected, as far as this process knows."""
        self._ended: dict[int, int] = {}
        """The last number of earlier runs, where the feed knows it."""

    @property
    def full(self) -> bool:
        """Whether to receive no more for now."""
        return self.size >= MOST_BYTES

    def ended(self, run: int, last: int) -> None:
        """The feed says that an earlier run of it ended with number `last`."""
        self._ended[run] = last
        while len(self._ended) > _MOST_ENDED:
            del self._ended[min(self._ended)]

    def receive(self, run: int, first: int, entries: Sequence[FeedEntry]) -> int:
        """Take in events that the feed has sent; return how many of them are new."""
        received = self.received
        if run < received.run or not entries:
            # An earlier process of the feed, which is ending.
            return 0
        skip = max(0, received.n + 1 - first) if run == received.run else 0
        if skip >= len(entries):
            return 0
        name, events = self.name, self.events
        size = 0
        n = first + skip
        for entry in islice(entries, skip, None):
            data = entry.data
            events.append(FeedItem(name, run, n, entry.at, data))
            size += len(data) + _OVERHEAD
            n += 1
        self.size += size
        self.newest = entries[-1].at
        self.received = FeedPosition(run, n - 1)
        return len(entries) - skip

    def advance(self, position: FeedPosition) -> None:
        """The leader has applied it up to `position`: what is here up to there is no longer needed."""
        if position <= self.position:
            return
        self.position = position
        run, n = position.run, position.n
        events = self.events
        while events:
            event = events[0]
            if event.run > run or (event.run == run and event.n > n):
                break
            events.popleft()
            self.size -= len(event.data) + _OVERHEAD
        self.received = max(self.received, position)

    def restore(self, position: FeedPosition) -> None:
        """Begin with a position from a snapshot, which may be before the present one: then receive again."""
        if position < self.position:
            self.events.clear()
            self.size = 0
            self.position = self.received = position
        else:
            self.advance(position)

    def missed_before(self, event: FeedItem, position: FeedPosition) -> list[tuple[int, int]]:
        """The numbers between `position` and `event` that are known to be lost."""
        if position.run == 0:
            return []
        lost: list[tuple[int, int]] = []
        after = position.n
        if event.run != position.run:
            ended = self._ended.get(position.run, 0)
            if ended > after:
                lost.append((after + 1, ended))
            after = 0
        if event.n > after + 1:
            lost.append((after + 1, event.n - 1))
        return lost


class FeedQueues:
    """All feeds of the bot in this process, those that it subscribes to and those it knows from frames only."""

    def __init__(self) -> None:
        self.queues: dict[str, FeedQueue] = {}
        self.waiting = 0
        """Events in all of them."""
        self.marks: dict[tuple[str, int, int], FeedMark] = {}
        """What is unusual about the events that are about to be applied, by feed, run and number."""

    def queue(self, feed: str) -> FeedQueue:
        found = self.queues.get(feed)
        if found is None:
            found = self.queues[feed] = FeedQueue(feed)
        return found

    def receive(self, feed: str, run: int, first: int, entries: Sequence[FeedEntry]) -> int:
        """Take in events of a feed; return how many are new."""
        count = self.queue(feed).receive(run, first, entries)
        self.waiting += count
        return count

    def peek(self) -> FeedItem | None:
        """The next event to apply: the one that was published first, of those that are first in their feed."""
        if not self.waiting:
            return None
        soonest: FeedItem | None = None
        for queue in self.queues.values():
            if queue.events and (soonest is None or queue.events[0].at < soonest.at):
                soonest = queue.events[0]
        return soonest

    def batch(self, events: int, most_bytes: int, until: int | None = None) -> list[FeedItem]:
        """The next events to apply, in order: up to so many and so many bytes, but at least one.

        With `until`, only those that were published before that time, and there may be none.
        """
        if not self.waiting:
            return []
        filled = [queue for queue in self.queues.values() if queue.events]
        if len(filled) == 1:
            return _head(filled[0].events, events, most_bytes, until)
        return self._merged(filled, events, most_bytes, until)

    def mark(self, events: Sequence[FeedItem]) -> None:
        """Note what is unusual about the events that are about to be applied."""
        self.marks.clear()
        positions: dict[str, FeedPosition] = {}
        for event, last in _stretches(events):
            name = event.stream
            before = positions.get(name) or self.queues[name].position
            if event.run != before.run or event.n != before.n + 1:
                self._note_break(event, before)
            positions[name] = FeedPosition(event.run, last)

    def mark_of(self, event: FeedItem) -> FeedMark | None:
        return self.marks.get((event.stream, event.run, event.n)) if self.marks else None

    def apply(self, events: Sequence[FeedItem]) -> tuple[tuple[FeedRange, ...], list[NumberGap]]:
        """The events, which are the next ones, were applied: return what the frame reports of that."""
        ranges: list[FeedRange] = []
        gaps: list[NumberGap] = []
        for event, last in _stretches(events):
            ranges.append(FeedRange(event.stream, event.run, event.n, last))
            if (mark := self.mark_of(event)) is not None:
                gaps += (NumberGap(event.stream, first, end) for first, end in mark.lost)
        self.marks.clear()
        self.absorb(ranges)
        return tuple(ranges), gaps

    def absorb(self, ranges: Iterable[FeedRange]) -> None:
        """The leader has applied these."""
        for done in ranges:
            self._advance(done.feed, done.end)

    def applied(self) -> tuple[FeedApplied, ...]:
        """What a report says of them."""
        return tuple(
            FeedApplied(name, queue.position.run, queue.position.n, len(queue.events), queue.connected)
            for name, queue in self.queues.items()
        )

    def positions(self) -> dict[str, FeedPosition]:
        """Up to where the bot has applied each feed."""
        return {name: queue.position for name, queue in self.queues.items() if queue.position != BEGINNING}

    def restore(self, positions: dict[str, FeedPosition]) -> None:
        """Begin with the positions of a snapshot."""
        for name in {*self.queues, *positions}:
            queue = self.queue(name)
            before = len(queue.events)
            queue.restore(positions.get(name, BEGINNING))
            self.waiting -= before - len(queue.events)

    def _advance(self, feed: str, position: FeedPosition) -> None:
        queue = self.queue(feed)
        before = len(queue.events)
        queue.advance(position)
        self.waiting -= before - len(queue.events)

    def _note_break(self, event: FeedItem, before: FeedPosition) -> None:
        if before == BEGINNING:
            return
        lost = tuple(self.queues[event.stream].missed_before(event, before))
        restarted = event.run != before.run
        self.marks[event.stream, event.run, event.n] = FeedMark(
            lost[-1] if lost else None, False, restarted, lost
        )

    def _merged(
        self, filled: list[FeedQueue], events: int, most_bytes: int, until: int | None
    ) -> list[FeedItem]:
        """The heads of several feeds, by the time of publication."""
        places = [0] * len(filled)
        taken: list[FeedItem] = []
        while len(taken) < events:
            soonest: FeedItem | None = None
            which = 0
            for index, queue in enumerate(filled):
                if places[index] < len(queue.events):
                    event = queue.events[places[index]]
                    if soonest is None or event.at < soonest.at:
                        soonest, which = event, index
            if soonest is None or (until is not None and soonest.at >= until):
                break
            most_bytes -= len(soonest.data)
            if most_bytes < 0 and taken:
                break
            taken.append(soonest)
            places[which] += 1
        return taken


class FeedMark(Mark, frozen=True):
    """As `Mark`, for an event of a feed: also whether the feed was restarted before it, and all that is known lost."""

    restarted: bool = False
    lost: tuple[tuple[int, int], ...] = ()


def _head(queue: deque[FeedItem], events: int, most_bytes: int, until: int | None) -> list[FeedItem]:
    taken: list[FeedItem] = []
    for event in islice(queue, events):
        if until is not None and event.at >= until:
            break
        most_bytes -= len(event.data)
        if most_bytes < 0 and taken:
            break
        taken.append(event)
    return taken


def _stretches(events: Sequence[FeedItem]) -> Iterator[tuple[FeedItem, int]]:
    """The events as stretches of one feed and run without a gap: the first event, and the last number."""
    if not events:
        return
    first, end = events[0], events[-1]
    if (
        end.n - first.n == len(events) - 1
        and end.run == first.run
        and all(event.stream is first.stream for event in events)
    ):
        # The usual case: events of a feed are queued in ascending order.
        yield first, end.n
        return
    begun: dict[str, tuple[FeedItem, int]] = {}
    for event in events:
        name = event.stream
        stretch = begun.get(name)
        if stretch is not None and stretch[0].run == event.run and event.n == stretch[1] + 1:
            begun[name] = stretch[0], event.n
            continue
        if stretch is not None:
            yield stretch
        begun[name] = event, event.n
    yield from begun.values()
