"""The inbox: events from outside and commands, each of which waits for its turn.

During a handoff the old and the new worker both receive events, so an event can reach both, or only one of them. Each
puts what it receives into its inbox under the event's key. The leader applies an item once, in a turn, and that turn's
frame has the key; a follower offers what it received to the leader and drops what the leader reports as applied. An
operator's commands take the same way, so they too run once across a handoff. In which order events are applied is in
`protocol/event_order.py`.

The number and the age of the keys remembered as applied are bounded; an event whose key was forgotten would be applied
again if it came again, unless it has a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from ...protocol.event_order import EventOrder, Mark, gap_of, size_of
from ...protocol.feed_position import FeedPosition, FeedRange
from ...protocol.feed_queue import FeedItem, FeedQueues
from ...protocol.frame import COMMAND, Item, NumberGap, Traffic
from ...protocol.link import Inboxed
from ...protocol.text import is_encodable
from ...protocol.wire import NOT_ENCODABLE
from .applied_keys import AppliedKeys
from .arrivals import Arrivals
from .inbox_bound import EventError, InboxBound

__all__ = ["Inbox", "command_key"]

_EVERYTHING = 1 << 62
"""Bytes."""

_REPORTED_AT_ONCE = 2_000
"""How many waiting events a frame reports: the first frame of a leader is not to be a long one."""

_encoder = msgspec.msgpack.Encoder()
_ONE_WORD = 2**63


class Inbox:
    """Items by key, in the order in which they will be applied.

    `put` may be called from any thread and between turns; everything else belongs to the worker's own thread.
    `wall` returns wall-clock ns; `wake` is called when something was put. Keys of applied events are remembered up to
    `limit`, for `age` ns; an event waits up to `hold` ns for those before it. `encode` turns an event into bytes.
    """

    def __init__(
        self,
        wall: Callable[[], int],
        wake: Callable[[], None],
        limit: int,
        age: int,
        hold: int = 1_000_000_000,
        bound: InboxBound | None = None,
        encode: Callable[[Any], bytes] = _encoder.encode,
    ) -> None:
        self.applied = AppliedKeys(limit, age)
        self.bound = bound or InboxBound()
        self.most_bytes = self.bound.size
        self.order = EventOrder(hold)
        self._trimmed = 0
        """Events that were dropped of `order` because the inbox was full."""
        self.feeds = FeedQueues()
        """What the bot's feeds have published, which is not put."""
        self.missing = 0
        """Numbers that were given up."""
        self.renumbered = 0
        """Events that were dropped because an event of the same stream and number was applied, under a key that is not
        remembered."""
        self.last_gap: NumberGap | None = None
        self.last_renumbered: Item | None = None
        self._arrivals = Arrivals(self.order, self.bound, limit)
        self.arrived = self._arrivals.items
        """Items that were put and are not in `order` yet."""
        self.received: dict[str, None] = {}
        """The keys received that no frame has reported."""
        self.repeated = 0
        """How many known items came again since the last frame."""
        self._wall = wall
        self._encode = encode
        self._wake = wake
        self.drops: list[str] = []
        """The keys dropped that no frame has reported."""
        self._came: list[str] = []
        """The keys received and applied that no frame has reported."""
        self._gaps: list[NumberGap] = []
        self.ranges: tuple[FeedRange, ...] = ()
        """The events of feeds that were applied since the last frame."""
        self._numbers: dict[str, None] = {}
        """The streams of which events were applied since the last frame."""

    # for the bot

    def put(self, key: str, event: Any, stream: str = "", n: int | None = None) -> None:
        """Have `event` applied once, in a turn of `on_event`, by the process that leads then.

        `key` identifies the event at its source (a fill's id, for example): the same key put again, here or in
        another process, is dropped. `n` is the event's number in `stream`, where its source numbers what it sends: one
        more than that of the event before it. Such events are applied by their numbers; see `docs/authors/events.md`.

        Raises `EventError` when the key is not a string or the event cannot be encoded, and `InboxFull` when the inbox
        is full.
        """
        if type(key) is not str or not key or key.startswith(COMMAND):
            raise EventError(key, f"a key is a non-empty str that does not begin with {COMMAND!r}")
        if not key.isascii() and not is_encodable(key):
            raise EventError(key, "a key must be UTF-8, without surrogates")
        if stream and (type(stream) is not str or not is_encodable(stream)):
            raise EventError(key, f"stream={stream!r}: a stream's name is UTF-8 text")
        if n is not None and (type(n) is not int or not 0 <= n < _ONE_WORD):
            raise EventError(key, f"n={n!r}: the number in a stream is an int from 0 to 2**63 - 1")
        try:
            data = self._encode(event)
        except NOT_ENCODABLE as problem:
            raise EventError(
                key, f"{problem}; put data that msgspec can encode, such as a dict or a Struct"
            ) from None
        if self._arrivals.add(Item(key, "event", data, self._wall(), stream, n)):
            self._wake()

    # for the engine

    @property
    def waiting(self) -> int:
        return len(self.order) + len(self.arrived) + self.feeds.waiting

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self.order.size + self._arrivals.size

    @property
    def dropped(self) -> int:
        """Events that were dropped because the inbox was full."""
        return self._trimmed + self._arrivals.dropped

    @property
    def refused(self) -> int:
        """Events that were not taken because the inbox was full."""
        return self._arrivals.refused

    def command(self, key: str, name: str, args: dict[str, Any]) -> None:
        """Add an operator's command to the items that wait. There is always room for it."""
        self._arrivals.add_command(
            Item(command_key(key), "command", _encoder.encode((name, args)), self._wall())
        )

    def knows_applied(self, key: str) -> bool:
        """Whether the item is remembered as applied."""
        return key in self.applied.at

    def sort_in(self) -> list[Item]:
        """Take over what was put since the last call; return the items that are new."""
        arrived, overflowed = self._arrivals.take()
        if overflowed:
            self._note_dropped(overflowed)
        if not arrived:
            return []
        applied, received, add = self.applied.at, self.received, self.order.arrived
        now = self._wall()
        new: list[Item] = []
        for item in arrived:
            key = item.key
            if key in applied:
                self.repeated += 1
            elif add(item, now):
                # It may have waited aside: frames report it in the order of the line.
                received.pop(key, None)
                received[key] = None
                new.append(item)
            else:
                self._note_repeated(item)
        if self.order.size > self.most_bytes or len(self.order) > self.bound.events:
            self._trim()
        return new

    def admit(self, items: Iterable[Item], worker: str = "") -> None:
        """Take over what a follower, `worker`, has received, as far as there is room."""
        # What our own feed has brought until now came before.
        self.sort_in()
        now, order, bound = self._wall(), self.order, self.bound
        applied = self.applied.at
        for item in items:
            if item.key in applied:
                self.repeated += 1
                order.meet(worker, item.stream)
            elif (
                (len(order) >= bound.events or order.size >= self.most_bytes)
                and item.kind == "event"
                and item.key not in order
            ):
                # It stays where it is, and is offered again.
                continue
            elif order.offered(item, now, worker):
                self.received[item.key] = None
            else:
                self._note_repeated(item)

    def lead(self) -> None:
        """This worker becomes the leader: apply what waits, the leader's before it first."""
        if self.arrived:
            self.sort_in()
        self.order.lead(self._wall())
        # Its first frames report all of it as received, in the order in which it will be applied.
        self.received = dict.fromkeys((*self.order.line, *self.order.aside))

    def follow(self) -> None:
        """Another worker leads."""
        self.order.follow()

    def handed(self, items: Collection[Item], aside: Iterable[str]) -> None:
        """The leader before has these waiting, after those that its frames have reported."""
        if items:
            self.order.reported(
                (item for item in items if item.key not in self.applied.at), aside, self._wall()
            )

    def peek(self) -> Item | FeedItem | None:
        """Return the next item to apply: of what was put and what feeds have published, the older."""
        line = self.order.line
        item = next(iter(line.values())) if line else None
        if not self.feeds.waiting:
            return item
        event = self.feeds.peek()
        return event if event is not None and (item is None or event.at < item.at) else item

    def batch(self, events: int, most_bytes: int) -> list[Item | FeedItem]:
        """Return the next items to apply: a command alone, or events up to so many and so many bytes, at least one."""
        line = self.order.line
        event = self.feeds.peek() if self.feeds.waiting else None
        if event is not None:
            item = next(iter(line.values())) if line else None
            if item is None or event.at < item.at:
                until = None if item is None else item.at
                batch: list[Item | FeedItem] = [*self.feeds.batch(events, most_bytes, until)]
                return batch
        taken: list[Item | FeedItem] = []
        for item in islice(line.values(), events):
            if item.kind == "command" or (taken and most_bytes < len(item.data)):
                return taken or [item]
            if taken and event is not None and event.at < item.at:
                break
            most_bytes -= len(item.data)
            taken.append(item)
        return taken

    def ready(self, now: int) -> list[Item | FeedItem]:
        """Return everything that the leader may apply now, in order."""
        self.sort_in()
        self.release(now)
        line = list(self.order.line.values())
        events = self.feeds.batch(self.feeds.waiting, _EVERYTHING)
        if not (events and line):
            return [*line, *events]
        merged: list[Item | FeedItem] = []
        place = 0
        for item in line:
            while place < len(events) and events[place].at < item.at:
                merged.append(events[place])
                place += 1
            merged.append(item)
        return merged + events[place:]

    def release(self, now: int) -> None:
        """Put in line what has waited long enough for what comes before it. What has arrived was sorted in."""
        order = self.order
        if order.aside and not 0 < order.due - now <= order.hold:
            for key in order.release(now):
                self.received.pop(key, None)
                self.received[key] = None

    def mark_of(self, item: Item | FeedItem) -> Mark | None:
        """What is unusual about an item in line."""
        if isinstance(item, FeedItem):
            return self.feeds.mark_of(item)
        return self.order.marks.get(item.key)

    def apply_fed(self, events: Sequence[FeedItem]) -> None:
        """The events of feeds, which are the next ones, were applied."""
        self.ranges, gaps = self.feeds.apply(events)
        for gap in gaps:
            self._note_gap(gap)
        self._gaps += gaps

    def apply(self, items: Iterable[Item], at: int) -> None:
        """The items, which are still in line, were applied in the turn at `at`."""
        applied, received, numbers = self.order.apply, self.received, self._numbers
        came = self._came
        for item in items:
            key = item.key
            _, mark = applied(key)
            if key in received:
                del received[key]
                came.append(key)
            if item.n is not None:
                numbers[item.stream] = None
                if mark is not None and (gap := gap_of(item, mark)) is not None:
                    self._gaps.append(gap)
                    self._note_gap(gap)
        self.applied.remember([item.key for item in items], at)

    def traffic(self, applied: tuple[str, ...]) -> Traffic | None:
        """Return what the next frame reports of the inbox, None when there is nothing to report."""
        received = self.received
        if not (applied or received or self.repeated or self.drops or self.ranges):
            return None
        ranges, self.ranges = self.ranges, ()
        came = tuple(self._came)
        self._came.clear()
        if not (received or self.drops or self._numbers or self._gaps):
            # As after most turns.
            repeated, self.repeated = self.repeated, 0
            return (
                Traffic(came, applied, repeated, feeds=ranges) if ranges else Traffic(came, applied, repeated)
            )
        reported: tuple[str, ...] = ()
        waiting: list[Item] = []
        aside: list[str] = []
        if received:
            order = self.order
            if len(received) <= _REPORTED_AT_ONCE:
                reported = tuple(received)
                received.clear()
            else:
                reported = tuple(islice(received, _REPORTED_AT_ONCE))
                for key in reported:
                    del received[key]
            for key in reported:
                item = order.line.get(key)
                if item is None and key in order.aside:
                    item = order.aside[key][0]
                    aside.append(key)
                if item is not None:
                    waiting.append(item)
        done = self.order.done
        traffic = Traffic(
            came + reported,
            applied,
            self.repeated,
            tuple(waiting),
            tuple(aside),
            tuple(self.drops),
            {stream: done[stream].ranges() for stream in self._numbers if stream in done}
            if self._numbers
            else {},
            tuple(self._gaps),
            ranges,
        )
        self.repeated = 0
        self.drops.clear()
        self._numbers.clear()
        self._gaps.clear()
        return traffic

    def absorb(self, traffic: Traffic, at: int) -> None:
        """Follow the leader: drop what it applied."""
        order, received = self.order, self.received
        gone = (*traffic.applied, *traffic.dropped) if traffic.dropped else traffic.applied
        if gone:
            applied = order.apply
            for key in gone:
                applied(key)
                received.pop(key, None)
            self.applied.remember(gone, at)
        if traffic.waiting:
            order.reported(traffic.waiting, traffic.aside, at)
        # A successor need not report again what the leader has reported, and its repeats are not ours.
        for key in traffic.received:
            received.pop(key, None)
        self.repeated = 0
        if traffic.numbers:
            order.follow_numbers(traffic.numbers)
        if traffic.feeds:
            self.feeds.absorb(traffic.feeds)
        for gap in traffic.gaps:
            self._note_gap(gap)

    def pending(self) -> list[Item]:
        """Return everything that is known to wait: a leader's line first, then what waits aside."""
        self.sort_in()
        return list(self.order.items())

    def unreported(self) -> list[Item]:
        """Return what waits and no frame has reported, in order."""
        if self.arrived:
            self.sort_in()
        if not self.received:
            return []
        order = self.order
        return [
            order.line[key] if key in order.line else order.aside[key][0]
            for key in self.received
            if key in order.line or key in order.aside
        ]

    def aside_of(self, items: Iterable[Item]) -> tuple[str, ...]:
        """The keys of those of the items that wait aside."""
        aside = self.order.aside
        return tuple(item.key for item in items if item.key in aside)

    def aside(self) -> tuple[str, ...]:
        """The keys of what waits aside."""
        return tuple(self.order.aside)

    def only_here(self, most: int) -> list[Item]:
        """A follower's: the oldest of what it received and its leader has not reported."""
        line = self.order.line
        return [line[key] for key in islice(self.received, most) if key in line]

    def counts(self) -> Inboxed:
        """What a report says of it."""
        gap = self.last_gap
        return Inboxed(
            self.size,
            self.bound.events,
            self.most_bytes,
            len(self.order.aside),
            self.dropped,
            self.refused,
            self.missing,
            f"{gap.stream}: {gap.first} to {gap.last}" if gap is not None else "",
            self.renumbered,
        )

    def unmet(self, worker: str) -> bool:
        """Whether this leader's feed has yet to reach what the feed of that follower began with."""
        return self.order.unmet(worker, self._wall())

    def memory(self) -> tuple[tuple[str, int], ...]:
        """Return the keys remembered, oldest first, with the wall clock of their turn."""
        return tuple(self.applied.at.items())

    def numbers(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Return the numbers applied, by stream."""
        return {stream: numbers.ranges() for stream, numbers in self.order.done.items()}

    def restore(
        self,
        memory: Iterable[tuple[str, int]],
        waiting: Iterable[Item] = (),
        aside: Iterable[str] = (),
        numbers: dict[str, tuple[tuple[int, int], ...]] | None = None,
        feeds: dict[str, FeedPosition] | None = None,
    ) -> None:
        """Begin with another worker's memory and waiting items; items here that it remembers were applied."""
        self.applied.restore(memory)
        applied, order = self.applied.at, self.order
        for key in [item.key for item in order.items() if item.key in applied]:
            order.remove(key)
            self.received.pop(key, None)
        order.begin(numbers or {})
        order.reported((item for item in waiting if item.key not in applied), aside, self._wall())
        self.feeds.restore(feeds or {})

    def _note_gap(self, gap: NumberGap) -> None:
        self.missing += gap.last - gap.first + 1
        self.last_gap = gap

    def _note_repeated(self, item: Item) -> None:
        self.repeated += 1
        if item.n is not None and item.key not in self.order:
            self.renumbered += 1
            self.last_renumbered = item

    # when it is full

    def _trim(self) -> None:
        """Drop what is too much in `order`, between two turns."""
        bound, order = self.bound, self.order
        if bound.when_full == "refuse":
            return
        latest: dict[str, str] = {}
        if bound.when_full == "keep-latest":
            latest = {item.stream: item.key for item in order.line.values() if item.stream}
        dropped: list[Item] = []
        count, length = len(order), order.size
        for item in order.line.values():
            if count <= bound.events and length <= self.most_bytes:
                break
            if item.kind == "command" or (
                bound.when_full == "keep-latest" and latest.get(item.stream, item.key) == item.key
            ):
                continue
            dropped.append(item)
            count -= 1
            length -= size_of(item)
        self._trimmed += len(dropped)
        self._note_dropped(dropped)

    def _note_dropped(self, items: list[Item]) -> None:
        """These were dropped: a leader has to report it, or another process would bring them again."""
        order = self.order
        items = [item for item in items if item.key not in self.applied.at]
        for item in items:
            self.received.pop(item.key, None)
            if not order.leading:
                order.remove(item.key)
                continue
            order.skip(item)
            self.drops.append(item.key)
            if item.n is not None:
                self._numbers[item.stream] = None
        if order.leading:
            self.applied.remember([item.key for item in items], self._wall())


def command_key(key: str) -> str:
    """The key under which the operator's command `key` is in the inbox."""
    return COMMAND + key
