"""Windows: spans of wall-clock time that recur and in which the bot must be ticking.

Periods lie side by side from the UTC epoch on (a period of 5m begins at 00:00, 00:05, …), or, with a zone,
from one local midnight to the next. A window opens and closes once in each of them:

    Window("5m", opens="-20s", closes="-5s")     the last 20 s to the last 5 s of each 5 minutes
    Window("1h", opens="0s", closes="10s")       the first 10 s of each hour
    Window("1h", opens="-20s", closes="10s")     from 20 s before the full hour to 10 s after it
    Window("1d", opens="9h30m", closes="16h", zone="America/New_York")

An offset with a minus is counted back from the period's end, any other from its start. `closes` may lie
across the period's end only when it is written so: `opens` with a minus and `closes` without (the third
example; "0s" is the end itself). Every other order of the two is an error, because it is more likely a slip
than a window that is nearly always open. Spans are half open, `opens <= t < closes`, shorter than a period,
and so never overlap.

With a zone, offsets are readings of the clock on the wall there: "9h30m" is half past nine on the days of 23
and 25 hours too. An hour that a zone repeats belongs to a window whole, both times; readings that a zone
skips fall on the moment of the skip, and a window that lies entirely in skipped time does not occur on
that day.

Pure, apart from `zoneinfo` reading the zone's rules when a window with a zone is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from . import duration
from .duration import SECOND
from .errors import NeverblinkError

__all__ = ["Span", "Window", "WindowError", "WindowSpec", "first_open", "readable"]

_DAY = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WindowError(NeverblinkError, ValueError):
    """An invalid window; `value` is what was written, `field` where."""

    def __init__(self, message: str, field: str, value: object) -> None:
        super().__init__(message)
        self.field = field
        self.value = value


class Span(msgspec.Struct, frozen=True, order=True):
    """One occurrence of a window, wall ns: `opens <= t < closes`."""

    opens: int
    closes: int

    def __contains__(self, t: object) -> bool:
        return isinstance(t, int) and self.opens <= t < self.closes


class WindowSpec(msgspec.Struct, frozen=True):
    """A window as it is written and as it is sent; `Window.of` makes a `Window` of it."""

    period: str
    opens: str
    closes: str
    protected: bool = True
    name: str = ""
    zone: str | None = None


class Window:
    """A window and its arithmetic.

    `period`, `opens` and `closes` are durations as text ("5m", "-20s"); see the top of this file for what the
    signs mean. No handoff starts inside a `protected` window. `name` is its name in ticks and reports, by
    default made of the durations. `zone` makes it follow local days and needs the period "1d". Raises `WindowError`.
    """

    __slots__ = ("_known", "_length", "_opens", "_period", "_zone", "spec")

    spec: WindowSpec

    def __init__(
        self,
        period: str,
        *,
        opens: str,
        closes: str,
        protected: bool = True,
        name: str = "",
        zone: str | None = None,
    ) -> None:
        self._period = _duration("period", period)
        if self._period == 0:
            raise WindowError(
                f'period {period!r} is not a duration above zero: write one such as "5m"', "period", period
            )
        self._opens, self._length = self._edges(period, opens, closes)
        self._zone = None if zone is None else self._local(zone, period)
        self._known = (0, Span(0, 0))
        self.spec = WindowSpec(period, opens, closes, protected, name or f"{period} {opens}..{closes}", zone)

    @classmethod
    def of(cls, spec: WindowSpec) -> Window:
        """The window that `spec` describes. Raises `WindowError`, since decoding does not check windows."""
        return cls(
            spec.period,
            opens=spec.opens,
            closes=spec.closes,
            protected=spec.protected,
            name=spec.name,
            zone=spec.zone,
        )

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def protected(self) -> bool:
        return self.spec.protected

    def open_at(self, t: int) -> bool:
        """Whether the window is open at wall time `t` (ns)."""
        if self._zone is None:
            return (t - self._opens) % self._period < self._length
        return self.next(t).opens <= t

    def next(self, t: int) -> Span:
        """The occurrence that is open at `t`, else the first one after it."""
        if self._zone is not None:
            return self._next_local(t)
        phase = (t - self._opens) % self._period
        opens = t - phase if phase < self._length else t - phase + self._period
        return Span(opens, opens + self._length)

    def spans(self, a: int, b: int) -> Iterator[Span]:
        """Every occurrence that shares a moment with `a <= t < b`, whole and in order."""
        span = self.next(a)
        while span.opens < b:
            yield span
            span = self.next(span.closes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Window) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def __repr__(self) -> str:
        fields = ", ".join(f"{f}={getattr(self.spec, f)!r}" for f in self.spec.__struct_fields__[1:])
        return f"Window({self.spec.period!r}, {fields})"

    def _edges(self, period: str, opens: str, closes: str) -> tuple[int, int]:
        """Return where in the period it opens and how long it is, ns."""
        start = _offset("opens", opens, self._period, period)
        end = _offset("closes", closes, self._period, period)
        if start == self._period:
            raise WindowError(
                f"opens={opens!r} is the period's end: write \"0s\", the next one's start", "opens", opens
            )
        if end <= start and opens.startswith("-") and not closes.startswith("-"):
            end += self._period
        if not 0 < end - start < self._period:
            why = "does not come after" if end <= start else "is a whole period after"
            raise WindowError(
                f"closes={closes!r} {why} opens={opens!r} in a period of {period}: offsets with a minus are "
                "counted back from the period's end; to close in the next period write opens with a minus "
                "and closes without",
                "closes",
                closes,
            )
        return start, end - start

    def _local(self, zone: str, period: str) -> ZoneInfo:
        if self._period != _DAY:
            raise WindowError(
                f'zone {zone!r} with a period of {period}: a zone needs the period "1d"', "zone", zone
            )
        try:
            return ZoneInfo(zone)
        except (OSError, ValueError, KeyError):
            raise WindowError(
                f'zone {zone!r} is not known here: expected a name such as "Europe/Berlin" '
                "(if it is right, install the package tzdata)",
                "zone",
                zone,
            ) from None

    def _next_local(self, t: int) -> Span:
        # The span is right until it closes, so a bot that asks at every tick computes it twice a day.
        # The pair is replaced as one object, since several threads may call this.
        since, span = self._known
        if since <= t < span.closes:
            return span
        assert self._zone is not None
        day = _wall(t, self._zone) // 86_400 - 2
        while True:
            span = self._on(day)
            if span.closes > t and span.opens < span.closes:
                self._known = (t, span)
                return span
            day += 1

    def _on(self, day: int) -> Span:
        """The occurrence that belongs to local day number `day`; empty when its time was skipped."""
        opens = self._at(day * _DAY + self._opens, last=False)
        closes = self._at(day * _DAY + self._opens + self._length, last=True)
        before = self._at((day - 1) * _DAY + self._opens + self._length, last=True)
        # Only a clock put back between the close and the next opening can make two days' spans meet.
        return Span(max(opens, before), closes)

    def _at(self, reading: int, *, last: bool) -> int:
        """The instant (ns) at which the local clock shows `reading`: the first such, or the last.

        `reading` counts ns of local time since 1970-01-01 00:00 on the wall.
        """
        assert self._zone is not None
        seconds, rest = divmod(reading, SECOND)
        early, late = (_instant(seconds, self._zone, fold) for fold in (0, 1))
        if early > late:  # the clock skipped this reading: find the moment at which it did
            return _skip(late, early, seconds, self._zone) * SECOND
        return (late if last else early) * SECOND + rest


def readable(specs: Iterable[WindowSpec]) -> Iterator[Window]:
    """The windows of these specs. A window that this release cannot read is left out: the worker checks it itself."""
    for spec in specs:
        with suppress(WindowError):
            yield Window.of(spec)


def first_open(windows: Iterable[Window], t: int, *, protected: bool = True) -> Window | None:
    """The first of `windows` that is open at `t`; by default only protected windows, which a handoff waits for."""
    for window in windows:
        if (window.protected or not protected) and window.open_at(t):
            return window
    return None


def _duration(field: str, text: object, *, signed: bool = False) -> int:
    """Parse what was written as `field`; with `signed` a leading minus is left to the caller."""
    unsigned = text.removeprefix("-") if signed and isinstance(text, str) else text
    try:
        value = duration.parse(unsigned)
    except duration.DurationError as problem:
        message = duration.DurationError(text, problem.why).message
        raise WindowError(f"{field}={message}", field, text) from None
    if value < 0:
        raise WindowError(f"{field}={text!r} has a minus where none can be", field, text)
    return value


def _offset(field: str, text: str, period: int, written: str) -> int:
    """Return `text` as ns from the period's start."""
    value = _duration(field, text, signed=True)
    if value > period:
        raise WindowError(f"{field}={text!r} lies outside its period of {written}", field, text)
    return period - value if text.startswith("-") else value


def _instant(reading: int, zone: ZoneInfo, fold: int) -> int:
    """UTC seconds at which the local clock shows `reading` (local seconds since 1970)."""
    local = (_EPOCH + timedelta(seconds=reading)).replace(tzinfo=zone, fold=fold)
    offset = local.utcoffset()
    assert offset is not None
    return reading - int(offset.total_seconds())


def _wall(t: int, zone: ZoneInfo) -> int:
    """What the local clock shows at UTC time `t` (ns), in seconds since 1970."""
    return _wall_at(t // SECOND, zone)


def _wall_at(second: int, zone: ZoneInfo) -> int:
    local = (_EPOCH + timedelta(seconds=second)).astimezone(zone)
    offset = local.utcoffset()
    assert offset is not None
    return second + int(offset.total_seconds())


def _skip(low: int, high: int, reading: int, zone: ZoneInfo) -> int:
    """The first UTC second at which the local clock shows more than `reading`, which it skips."""
    while high - low > 1:
        middle = (low + high) // 2
        if _wall_at(middle, zone) > reading:
            high = middle
        else:
            low = middle
    return high
