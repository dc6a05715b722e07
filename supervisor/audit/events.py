"""Invariant 7: every event, command and timer was applied exactly once.

An inbox is a queue: a worker applies queued events in order, and at a handoff the successor takes over the rest. So a
key that was received and not applied still waits, unless a key queued after it has been applied: then it was lost. A
key that is held back is not in the queue, and is reported again when it enters it. A key that was dropped because the
inbox was full does not wait any more. Events of a feed have no keys: they are applied in the order of their numbers.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from ...protocol.feed_position import FeedPosition, FeedRange
from ...protocol.frame import COMMAND, Armed, Frame, NumberGap, Vitals
from .report import MOST, CommandsFound, EventsFound, TimersFound
from .scope import Scope

__all__ = ["EventAudit", "TimerAudit"]


class EventAudit:
    """Follows the inbox. Remembers every applied key, because a duplicate may come at any time.

    Operators' commands pass through the same inbox, in order with the events, and are counted separately.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._applied: set[str] = set()
        self._waiting: dict[str, tuple[int, int, bool]] = {}
        """Received and not yet applied: the last frame that reported it, its tick, and whether that was in the span."""
        self._newest = -1
        """The latest frame that reported the receipt of a key that was applied."""
        self._counts = {False: _Counts(), True: _Counts()}
        """Of events, and of commands."""
        self._feeds: dict[str, FeedPosition] = {}
        """Up to where each feed was applied."""
        self._repeated = 0
        self._dropped = 0
        self._missing = 0

    def resume(self, vitals: Vitals) -> None:
        """The state continues from a snapshot."""
        self._applied.update(key for key, _ in vitals.applied)
        self._feeds = dict(vitals.feeds)

    def frame(self, frame: Frame) -> None:
        """Process what a frame records of the inbox."""
        traffic, scope, waiting, counts = frame.traffic, self._scope, self._waiting, self._counts
        applied = self._applied
        inside = scope.open
        aside = frozenset(traffic.aside)
        for key in traffic.received:
            if key not in applied:
                if inside and key not in waiting:
                    counts[_is_command(key)].received += 1
                waiting[key] = (_NOT_IN_LINE if key in aside else frame.number, frame.seq, inside)
        for key in traffic.applied:
            receipt = waiting.pop(key, None)
            if receipt is not None and self._newest < receipt[0] < _NOT_IN_LINE:
                self._newest = receipt[0]
            if key in applied:
                self._again(key)
            applied.add(key)
            if inside:
                counts[_is_command(key)].applied += 1
        for key in traffic.dropped:
            waiting.pop(key, None)
        for done in traffic.feeds:
            self._feed(done, traffic.gaps)
        if inside:
            self._repeated += traffic.repeated
            self._dropped += len(traffic.dropped)
            self._missing += sum(gap.last - gap.first + 1 for gap in traffic.gaps)

    def stopped(self) -> None:
        """The bot was stopped for good: what waited will not be applied, which is correct."""
        if self._scope.open:
            for key in self._waiting:
                self._counts[_is_command(key)].stopped += 1
        self._waiting.clear()

    def found(self) -> tuple[EventsFound, CommandsFound]:
        """Return what became of all keys, and report those that were lost."""
        lost = [key for key, receipt in self._waiting.items() if receipt[0] < self._newest]
        never: list[str] = []
        for key in lost:
            number, seq, inside = self._waiting[key]
            if inside:
                never.append(key)
                self._scope.blame(
                    7, f"{_named(key)} was received and never applied, although later ones were", number, seq
                )
        gone = set(lost)
        waiting = [key for key in self._waiting if key not in gone]

        def of(commands: bool) -> CommandsFound:
            mine = self._counts[commands]
            return CommandsFound(
                received=mine.received,
                applied=mine.applied,
                twice=mine.twice,
                never=list(islice((key for key in never if _is_command(key) is commands), MOST)),
                waiting=list(islice((key for key in waiting if _is_command(key) is commands), MOST)),
                stopped=mine.stopped,
                waiting_total=sum(_is_command(key) is commands for key in waiting),
            )

        events = EventsFound(
            **msgspec.structs.asdict(of(False)),
            repeated=self._repeated,
            dropped=self._dropped,
            missing=self._missing,
        )
        return events, of(True)

    def _feed(self, done: FeedRange, gaps: tuple[NumberGap, ...]) -> None:
        """Events of a feed were applied: after those before them, and what is missing was reported."""
        before = self._feeds.get(done.feed)
        self._feeds[done.feed] = done.end
        if self._scope.open:
            self._counts[False].received += done.last - done.first + 1
            self._counts[False].applied += done.last - done.first + 1
        if before is None:
            return
        named = f"feed {done.feed}: number {done.first} of run {done.run}"
        if FeedPosition(done.run, done.first) <= before:
            self._scope.breaks(7, f"{named} was applied after number {before.n} of run {before.run}")
        elif done.run == before.run and done.first > before.n + 1:
            told = any(gap.stream == done.feed and gap.last == done.first - 1 for gap in gaps)
            if not told:
                self._scope.breaks(7, f"{named} was applied, and {before.n + 1} before it never was")

    def _again(self, key: str) -> None:
        twice = self._counts[_is_command(key)].twice
        if self._scope.open and len(twice) < MOST:
            twice.append(key)
        self._scope.breaks(7, f"{_named(key)} was applied twice")


class _Counts(msgspec.Struct):
    """What became of events, or of commands, in the span."""

    received: int = 0
    applied: int = 0
    stopped: int = 0
    twice: list[str] = []


class TimerAudit:
    """Follows the armed timers. A timer's frame identifies it by its due time, for which a timer must be armed."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._armed: dict[str, Armed] = {}
        self._fired = 0
        self._twice = 0
        self._late = 0

    def resume(self, vitals: Vitals) -> None:
        """The state continues from a snapshot."""
        self._armed = dict(vitals.timers)

    def frame(self, frame: Frame) -> None:
        """Process a frame's changes of timers, and check a timer's own frame against the armed ones."""
        changes, armed = frame.timers, self._armed
        if frame.kind == "timer":
            self._fire(frame)
        for name, timer in changes.items():
            if timer is None:
                armed.pop(name, None)
            else:
                armed[name] = timer

    def found(self) -> TimersFound:
        return TimersFound(self._fired, self._twice, len(self._armed), self._late / 1000)

    def _fire(self, frame: Frame) -> None:
        due = frame.timing.due
        spent = [
            name
            for name, after in frame.timers.items()
            if (before := self._armed.get(name)) is not None and before.due == due and before != after
        ]
        if not spent:
            self._scope.breaks(
                7,
                f"a timer went off for {due} (wall clock, ns), but none was armed for it: it had gone off before",
            )
        if self._scope.open:
            self._fired += 1
            self._twice += not spent
            self._late = max(self._late, frame.timing.late)


_NOT_IN_LINE = 2**63
"""Stands for the frame of a receipt while the key is not in the queue."""


def _named(key: str) -> str:
    return f"operator's {key!r}" if _is_command(key) else f"event {key!r}"


def _is_command(key: str) -> bool:
    return key.startswith(COMMAND)
