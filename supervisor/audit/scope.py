"""The part of a journal that an audit judges.

An audit reads from the beginning, because whether an event is applied twice depends on everything before it. It counts
and reports only what is in the requested span. A bound is a tick's index or a time.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from ...protocol import duration
from ...protocol.duration import DurationError
from ...protocol.frame import Frame
from .report import MOST, Invariant, Violation

__all__ = ["Bound", "Moment", "Scope", "Seq", "parse_bound"]

_DIGITS = 19


class Seq(msgspec.Struct, frozen=True):
    """A grid index, inclusive."""

    value: int


class Moment(msgspec.Struct, frozen=True):
    """A wall time, ns, inclusive."""

    value: int


Bound = Seq | Moment


def parse_bound(text: str, now: int) -> Bound | None:
    """Parse a bound: a tick's index, a time, or how long ago; None for anything else.

    `now` is wall ns. A time without a date is today's.
    """
    if text.isdecimal() and len(text) <= _DIGITS:
        return Seq(int(text))
    try:
        return Moment(now - duration.parse(text))
    except DurationError:
        pass
    try:
        today = datetime.fromtimestamp(now / 1e9).astimezone()
        moment = datetime.fromisoformat(text if len(text) > 8 else f"{today:%Y-%m-%d}T{text}")
    except ValueError:
        return None
    return Moment(int(moment.timestamp() * 1_000_000) * 1000)


class Scope:
    """The span, and the violations found in it. `open` is whether the current frame is in the span."""

    def __init__(self, since: Bound | None = None, until: Bound | None = None) -> None:
        self.open = since is None
        self.broken: list[Violation] = []
        self.total = 0
        self._kinds: set[Invariant] = set()
        self._since = since
        self._until = until
        self._number: int | None = None
        self._seq: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the span is the whole journal, so that no frame needs a check."""
        return self._since is None and self._until is None

    def enter(self, frame: Frame) -> None:
        """Make this the current frame, to which violations are attributed."""
        self._number = frame.number
        self._seq = frame.seq if frame.seq >= 0 else None
        if not self.whole:
            at = frame.timing.due if frame.kind == "tick" else frame.timing.ended
            self.open = not _before(self._since, frame.seq, at) and not self.past(frame)

    def past(self, frame: Frame) -> bool:
        """Whether the frame comes after the span."""
        at = frame.timing.due if frame.kind == "tick" else frame.timing.ended
        match self._until:
            case None:
                return False
            case Seq(value):
                return frame.seq > value
            case Moment(value):
                return at > value

    def clip(self, first: int, last: int, interval: int) -> tuple[int, int] | None:
        """The indices from `first` to `last` that are in the span."""
        low = _index(self._since, interval, up=True)
        high = _index(self._until, interval, up=False)
        first = first if low is None else max(first, low)
        last = last if high is None else min(last, high)
        return (first, last) if first <= last else None

    def breaks(self, invariant: Invariant, text: str) -> None:
        """Record a violation at the current frame, if that is in the span."""
        if self.open:
            self.blame(invariant, text, self._number, self._seq)

    def blame(self, invariant: Invariant, text: str, number: int | None, seq: int | None) -> None:
        """Record a violation at another place."""
        self.total += 1
        # Many violations of one kind never crowd out the first of another kind.
        if len(self.broken) < MOST or invariant not in self._kinds:
            self._kinds.add(invariant)
            self.broken.append(Violation(invariant, text, number, seq))


def _before(bound: Bound | None, seq: int, at: int) -> bool:
    match bound:
        case None:
            return False
        case Seq(value):
            return seq < value
        case Moment(value):
            return at < value


def _index(bound: Bound | None, interval: int, *, up: bool) -> int | None:
    """The first index at or after the bound, or the last one at or before it."""
    match bound:
        case None:
            return None
        case Seq(value):
            return value
        case Moment(value):
            if interval <= 0:
                return None
            return -(-value // interval) if up else value // interval
