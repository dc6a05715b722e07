"""The order in which events are applied, in one worker and across a handoff. No I/O and no clock: time is passed in.

Two workers receive the same events at different times, and each may miss some. Three rules decide the order:

1. Without a number, the leader's own order of arrival holds. An event that only a follower has received is put *aside*:
   the leader's own feed is probably just later. If it has not come after `hold`, it goes to the end of the line, and
   until the leader's own feed brings something of that stream again, others of the stream need not wait. A leader does
   not yield while its own feed has not reached the point from which the successor's goes on: what is between would come
   too late.
2. With a number, a stream's events are applied by number, without a hole. The first number seen begins the stream. An
   event with a higher number than the next one waits aside. When it has waited for `hold`, the numbers before it are
   given up (a *gap*, which the event carries), and it goes to the end of the line. If one of them still comes, it is
   applied at once, marked *late*.
3. A worker that takes over applies first what the leader before it had in line, in that leader's order, then what it
   received itself, then what waits aside.

The numbers that were applied are known to all processes, from the frames. So a number that comes again is dropped,
also after its key was forgotten. A stream whose numbers begin again is another stream, with another name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from .frame import Item, NumberGap

__all__ = ["MOST_STREAMS", "NEVER", "EventOrder", "Mark", "Numbers", "gap_of", "size_of"]

NEVER = 2**63
MOST_RANGES = 64
"""How many ranges of a stream's numbers are told apart. Beyond that the oldest gap is closed: it counts as applied."""
MOST_STREAMS = 10_000
"""How many streams are remembered. Beyond that the one whose last event was applied first is forgotten."""


class Numbers:
    """A set of numbers, kept as ranges in ascending order."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self._firsts.append(first)
            self._lasts.append(last)

    def __contains__(self, n: int) -> bool:
        lasts = self._lasts
        if not lasts or n > lasts[-1]:
            return False
        return self._firsts[bisect_left(lasts, n)] <= n

    @property
    def next(self) -> int | None:
        """One more than the highest, None when the set is empty."""
        return self._lasts[-1] + 1 if self._lasts else None

    def add(self, n: int) -> None:
        firsts, lasts = self._firsts, self._lasts
        if lasts and n == lasts[-1] + 1:
            lasts[-1] = n
            return
        at = bisect_left(lasts, n)
        if at < len(lasts) and firsts[at] <= n:
            return
        after_one = at > 0 and lasts[at - 1] == n - 1
        before_one = at < len(firsts) and firsts[at] == n + 1
        if after_one and before_one:
            lasts[at - 1] = lasts[at]
            del firsts[at], lasts[at]
        elif after_one:
            lasts[at - 1] = n
        elif before_one:
            firsts[at] = n
        else:
            firsts.insert(at, n)
            lasts.insert(at, n)
        if len(firsts) > MOST_RANGES:
            del firsts[1], lasts[0]

    def ranges(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self._firsts, self._lasts, strict=True))


class Mark(msgspec.Struct, frozen=True):
    """What is unusual about an event in line: the numbers before it that were given up, or that it comes after that."""

    gap: tuple[int, int] | None = None
    late: bool = False


class _Stream:
    """A stream of which this worker places the events, as the leader."""

    __slots__ = ("early", "placed")

    def __init__(self, placed: Numbers) -> None:
        self.placed = placed
        self.early: dict[int, str] = {}
        """The keys of events that wait for numbers before theirs."""


class EventOrder:
    """What waits in one worker. Each key is in it once, except that a follower may have what its leader has, too."""

    def __init__(self, hold: int) -> None:
        self.hold = hold
        """How long an event waits aside, ns."""
        self.leading = False
        self.line: OrderedDict[str, Item] = OrderedDict()
        """A leader's: what is to be applied, in this order. A follower's: what it received itself."""
        self.theirs: OrderedDict[str, Item] = OrderedDict()
        """A follower's: what its leader has in line, in that leader's order."""
        self.aside: OrderedDict[str, tuple[Item, int]] = OrderedDict()
        """What waits for a number, or for this worker's own feed, and since when."""
        self.marks: dict[str, Mark] = {}
        self.due = NEVER
        """When `release` has something to do; `NEVER` when it has not."""
        self.done: OrderedDict[str, Numbers] = OrderedDict()
        """The numbers applied, by stream."""
        self._heard: set[str] = set()
        """The streams of which this worker's own feed brings events."""
        self._offered: dict[str, set[str]] = {}
        """Which followers have received what waits aside."""
        self._met: set[tuple[str, str]] = set()
        self._unmet: dict[tuple[str, str], None] = {}
        """Followers and streams of which our own feed has yet to bring something that the follower has received."""
        self._unmet_since: dict[str, int] = {}
        """Since when there are such streams of a follower."""
        self.size = 0
        """Bytes in `line` and `aside`."""
        self._streams: dict[str, _Stream] = {}

    def __len__(self) -> int:
        return len(self.line) + len(self.aside)

    def __contains__(self, key: str) -> bool:
        return key in self.line or key in self.aside or key in self.theirs

    def items(self) -> Iterator[Item]:
        """Everything that is known to wait, the leader's line first."""
        mine = chain(self.line.values(), (item for item, _ in self.aside.values()))
        if not self.theirs:
            return mine
        return chain(self.theirs.values(), (item for item in mine if item.key not in self.theirs))

    # what comes in; each returns False for what is here, or was applied by its number

    def arrived(self, item: Item, now: int) -> bool:
        """This worker's own feed has brought `item`."""
        key = item.key
        waiting = self.aside.get(key) if self.aside else None
        if item.stream not in self._heard:
            self._hear(item.stream)
        if key in self.line or key in self.theirs:
            return False
        if item.n is not None:
            return waiting is None and self._numbered(item, now)
        if waiting is not None:
            # Its turn in our own order has come. It may have been received earlier elsewhere.
            del self.aside[key]
            item = _earlier(waiting[0], item.at)
            for worker in self._offered.pop(key, ()):
                self.meet(worker, item.stream)
            self._look()
        else:
            self.size += size_of(item)
        self.line[key] = item
        return True

    def offered(self, item: Item, now: int, worker: str = "") -> bool:
        """A follower, `worker`, has received `item`."""
        key = item.key
        if key in self:
            if key not in self.aside:
                self.meet(worker, item.stream)
            elif item.n is None:
                self._offered.setdefault(key, set()).add(worker)
            here = self.line.get(key)
            if here is not None and item.at < here.at:
                self.line[key] = _earlier(here, item.at)
            return False
        if item.n is not None:
            return self._numbered(item, now)
        self.size += size_of(item)
        if item.kind == "command" or item.stream not in self._heard:
            self.line[key] = item
        else:
            self._put_aside(item, now)
            self._offered[key] = {worker}
            if (worker, item.stream) not in self._met:
                self._unmet[worker, item.stream] = None
                self._unmet_since.setdefault(worker, now)
        return True

    def meet(self, worker: str, stream: str) -> None:
        """Both our own feed and that follower's have brought the same event of a stream."""
        self._met.add((worker, stream))
        if (worker, stream) in self._unmet:
            del self._unmet[worker, stream]
            if not any(waiting == worker for waiting, _ in self._unmet):
                self._unmet_since.pop(worker, None)

    def unmet(self, worker: str, now: int) -> bool:
        """Whether our own feed has yet to reach what that follower's began with. Not for longer than `hold`."""
        since = self._unmet_since.get(worker)
        if since is None or not 0 <= now - since < self.hold:
            return False
        return any(waiting == worker for waiting, _ in self._unmet)

    def reported(self, items: Iterable[Item], aside: Iterable[str], now: int) -> None:
        """The leader that this worker follows has `items` waiting, in this order; those named in `aside` not in
        line."""
        not_in_line = frozenset(aside)
        for item in items:
            key = item.key
            mine = self.line.get(key)
            if key not in not_in_line:
                if key in self.aside:
                    del self.aside[key]
                    self.size -= size_of(item)
                self.theirs[key] = item if mine is None else _earlier(item, mine.at)
                self.theirs.move_to_end(key)
            elif mine is None and key not in self.theirs and key not in self.aside:
                self.aside[key] = item, now
                self.size += size_of(item)

    # what is applied, or dropped

    def remove(self, key: str) -> Item | None:
        """Take `key` out, wherever it waits, and return it."""
        theirs = self.theirs.pop(key, None) if self.theirs else None
        item = self.line.pop(key, None)
        if item is None:
            waited = self.aside.pop(key, None) if self.aside else None
            if waited is None:
                return theirs
            self._offered.pop(key, None)
            item = waited[0]
            stream = self._streams.get(item.stream)
            if stream is not None and item.n is not None:
                stream.early.pop(item.n, None)
            self._look()
        self.size -= size_of(item)
        return item

    def apply(self, key: str) -> tuple[Item | None, Mark | None]:
        """`key` was applied: take it out. Returns what it was, and what was unusual about it."""
        item = self.remove(key)
        if item is not None and item.n is not None:
            self.number(item.stream).add(item.n)
        return item, self.marks.pop(key, None) if self.marks else None

    def skip(self, item: Item) -> None:
        """A leader drops `item`: take it out, and do not wait for its number."""
        self.remove(item.key)
        self.marks.pop(item.key, None)
        if item.n is not None:
            self.number(item.stream).add(item.n)
            self._stream(item.stream).placed.add(item.n)

    def number(self, stream: str) -> Numbers:
        """The numbers applied of a stream, to be added to."""
        numbers = self.done.get(stream)
        if numbers is None:
            numbers = self.done[stream] = Numbers()
            if len(self.done) > MOST_STREAMS:
                self._forget(next(iter(self.done)))
        else:
            self.done.move_to_end(stream)
        return numbers

    def follow_numbers(self, streams: dict[str, tuple[tuple[int, int], ...]]) -> None:
        """The leader has applied these."""
        for stream, ranges in streams.items():
            self.number(stream)
            self.done[stream] = Numbers(ranges)

    # time, and the lead

    def release(self, now: int) -> list[str]:
        """Put in line what has waited aside for long enough; return the keys, in order."""
        moved: list[str] = []
        while self.aside:
            item, since = next(iter(self.aside.values()))
            if since > now:
                # The clock went back.
                self.aside = OrderedDict((key, (item, now)) for key, (item, _) in self.aside.items())
                break
            if since + self.hold > now:
                break
            if item.n is None:
                self._heard.discard(item.stream)
                for pair in [pair for pair in self._unmet if pair[1] == item.stream]:
                    del self._unmet[pair]
                for of_stream in [
                    other
                    for other, (waiting, _) in self.aside.items()
                    if waiting.n is None and waiting.stream == item.stream
                ]:
                    self.line[of_stream] = self.aside.pop(of_stream)[0]
                    self._offered.pop(of_stream, None)
                    moved.append(of_stream)
            else:
                moved += self._give_up(self._streams[item.stream], item.n)
        self._look()
        return moved

    def lead(self, now: int) -> None:
        """This worker leads from now on: rule 3."""
        self.leading = True
        self.marks.clear()
        self._streams.clear()
        mine, theirs, aside = self.line, self.theirs, self.aside
        if not (mine or theirs or aside):
            # As in most handoffs, whose blackout this is a part of.
            self.due = NEVER
            return
        numbered = any(item.n is not None for item, _ in aside.values()) or any(
            item.n is not None for item in chain(theirs.values(), mine.values())
        )
        self.theirs = OrderedDict()
        if numbered:
            self._place_all(mine, theirs, aside, now)
        else:
            if theirs:
                for key, item in mine.items():
                    theirs.setdefault(key, item)
                self.line = theirs
            self.aside = OrderedDict(
                (key, (item, now)) for key, (item, _) in aside.items() if key not in self.line
            )
        if theirs or numbered:
            self.size = sum(map(size_of, self.line.values())) + sum(
                size_of(item) for item, _ in self.aside.values()
            )
        self._look()

    def follow(self) -> None:
        """Another worker leads from now on. What was in line here was passed on to it, and is kept."""
        self.leading = False
        self._offered.clear()
        self._met.clear()
        self._unmet.clear()
        self._unmet_since.clear()
        for key in [key for key, (item, _) in self.aside.items() if item.n is not None]:
            self.line[key] = self.aside.pop(key)[0]
        self.marks.clear()
        self._streams.clear()
        self.due = NEVER

    def begin(self, streams: dict[str, tuple[tuple[int, int], ...]]) -> None:
        """Begin with what a snapshot says of the numbers applied. What a leader had in line before is not known now."""
        self.done = OrderedDict((stream, Numbers(ranges)) for stream, ranges in streams.items())
        self._streams.clear()
        self.theirs.clear()

    # parts

    def _numbered(self, item: Item, now: int) -> bool:
        n = item.n
        assert n is not None
        if not self.leading:
            done = self.done.get(item.stream)
            if done is not None and n in done:
                return False
            self.line[item.key] = item
            self.size += size_of(item)
            return True
        stream = self._stream(item.stream)
        placed = stream.placed
        wanted = placed.next
        if n == wanted or wanted is None:
            placed.add(n)
            self.line[item.key] = item
            self.size += size_of(item)
            if stream.early:
                self._follow_on(stream)
            return True
        if n in placed or n in stream.early:
            return False
        self.size += size_of(item)
        if n > wanted:
            stream.early[n] = item.key
            self._put_aside(item, now)
        else:
            placed.add(n)
            self.marks[item.key] = Mark(late=True)
            self.line[item.key] = item
        return True

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            done = self.done.get(name)
            stream = self._streams[name] = _Stream(Numbers(done.ranges() if done is not None else ()))
        return stream

    def _follow_on(self, stream: _Stream) -> list[str]:
        """Put in line what waited for the number that was placed last."""
        moved: list[str] = []
        placed, early = stream.placed, stream.early
        while early and (n := placed.next) in early:
            assert n is not None
            moved.append(self._to_line(stream, n))
        if moved:
            self._look()
        return moved

    def _give_up(self, stream: _Stream, upto: int) -> list[str]:
        """Put in line what waits in a stream up to a number, and give up what is missing before it."""
        moved: list[str] = []
        for n in sorted(n for n in stream.early if n <= upto):
            wanted = stream.placed.next
            if wanted is not None and n > wanted:
                self.marks[stream.early[n]] = Mark(gap=(wanted, n - 1))
            moved.append(self._to_line(stream, n))
        return moved + self._follow_on(stream)

    def _to_line(self, stream: _Stream, n: int) -> str:
        key = stream.early.pop(n)
        stream.placed.add(n)
        self.line[key] = self.aside.pop(key)[0]
        return key

    def _hear(self, stream: str) -> None:
        if len(self._heard) >= MOST_STREAMS:
            self._heard.clear()
        self._heard.add(stream)

    def _put_aside(self, item: Item, now: int) -> None:
        self.aside[item.key] = item, now
        self.due = min(self.due, now + self.hold)

    def _look(self) -> None:
        """Find when the next one has waited for long enough."""
        self.due = next(iter(self.aside.values()))[1] + self.hold if self.aside and self.leading else NEVER

    def _place_all(
        self,
        mine: OrderedDict[str, Item],
        theirs: OrderedDict[str, Item],
        aside: OrderedDict[str, tuple[Item, int]],
        now: int,
    ) -> None:
        """Make the line anew. A stream's events take the places that they have among the others, by number."""
        self.line, self.aside = OrderedDict(), OrderedDict()
        waiting = [
            *theirs.values(),
            *(item for key, item in mine.items() if key not in theirs),
        ]
        known = {item.key for item in waiting}
        others = [item for key, (item, _) in aside.items() if key not in known]
        numbers: dict[str, list[Item]] = {}
        for item in (*waiting, *others):
            if item.n is not None:
                numbers.setdefault(item.stream, []).append(item)
        for items in numbers.values():
            items.sort(key=_descending)
        for item in waiting:
            if item.n is None:
                self.line[item.key] = item
            else:
                self._numbered(numbers[item.stream].pop(), now)
        for item in others:
            if item.n is None:
                self._put_aside(item, now)
            else:
                self._numbered(numbers[item.stream].pop(), now)

    def _forget(self, stream: str) -> None:
        del self.done[stream]
        placing = self._streams.get(stream)
        if placing is not None and not placing.early:
            del self._streams[stream]


def size_of(item: Item) -> int:
    """What it counts for in the inbox's bound, in bytes."""
    return len(item.data) + len(item.key)


def _earlier(item: Item, at: int) -> Item:
    """The item, as received at the earlier one of two times."""
    return item if item.at <= at else msgspec.structs.replace(item, at=at)


def _descending(item: Item) -> int:
    return -(item.n or 0)


def gap_of(item: Item, mark: Mark) -> NumberGap | None:
    """What a frame says of the numbers that were given up before `item`."""
    return NumberGap(item.stream, *mark.gap) if mark.gap is not None else None
