"""Timers: later times at which the bot asked to be called. They are part of the state, so they survive any process.

A timer has a name; setting it again moves it. It fires in a turn of its own. That turn's frame removes it or, with
`every`, arms it again: if the process dies in the turn, the timer fires again in the successor.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.frame import Armed
from ...protocol.text import is_encodable

__all__ = ["NEVER", "TimerError", "TimerTable"]

NEVER = 2**63
"""Later than any time that can be encoded: those are signed 64-bit integers, up to the year 2262."""
_FIRST_TIME = 10**17
"""The year 1973, ns. An earlier time is one in seconds, milliseconds or microseconds, which would fire at once."""


class TimerError(NeverblinkError):
    """The timer cannot be armed."""


class TimerTable:
    """The armed timers, and their changes since the last frame. All times are wall-clock ns."""

    def __init__(self) -> None:
        self.soonest = NEVER
        """When the first timer is due; 0 when timers have changed and `look` was not called since."""
        self.changes: dict[str, Armed | None] = {}
        """Changes since the last `take_changes`."""
        self._armed: dict[str, Armed] = {}
        self._first = ""
        """The name of the timer that is due first."""

    def set(
        self,
        name: str,
        now: int,
        at: int | None,
        after: str | timedelta | None,
        every: str | timedelta | None,
    ) -> Armed:
        """Arm `name` for the time `at`, `after` a duration, or `every` period (first after one period).

        Raises `TimerError` for a name that cannot be encoded and for an invalid time or duration.
        """
        if type(name) is not str or not name:
            raise TimerError(f"timer {name!r}: a name is a non-empty str")
        if not is_encodable(name):
            raise TimerError(f"timer {name!r}: a name must be UTF-8")
        period = 0 if every is None else _span(name, "every", every)
        if at is None:
            if after is None and every is None:
                raise TimerError(f"timer {name!r}: say when, with one of at=, after= and every=")
            at = now + (period if after is None else _span(name, "after", after))
        elif after is not None:
            raise TimerError(f"timer {name!r}: give either at= or after=, not both")
        elif type(at) is not int or not _FIRST_TIME <= at < NEVER:
            raise TimerError(
                f"timer {name!r}: at={at!r} is not a time: expected whole nanoseconds since 1970, as in tick.due and "
                "time.time_ns()"
            )
        armed = Armed(min(at, NEVER - 1), period)
        self._put(name, armed)
        return armed

    def cancel(self, name: str) -> bool:
        """Disarm `name`; return whether it was armed."""
        if name not in self._armed:
            return False
        self._put(name, None)
        return True

    def due(self, now: int) -> tuple[str, Armed] | None:
        """Return the timer that has been due the longest, None when no timer is due."""
        if (self.soonest or self.look()) > now:
            return None
        return self._first, self._armed[self._first]

    def look(self) -> int:
        """Find the timer that is due first; return `soonest`."""
        first = min(((armed.due, name) for name, armed in self._armed.items()), default=(NEVER, ""))
        self.soonest, self._first = first
        return self.soonest

    @property
    def next(self) -> int | None:
        """When the next timer is due."""
        return (self.soonest or self.look()) if self._armed else None

    def spend(self, name: str, now: int) -> None:
        """Record that `name` fired: remove it, or arm it for its next period in the future."""
        armed = self._armed[name]
        if armed.every:
            periods = max(1, (now - armed.due) // armed.every + 1)
            self._put(name, Armed(armed.due + periods * armed.every, armed.every))
        else:
            self._put(name, None)

    def rebase(self, now: int) -> None:
        """After the clock was set back to `now`, make recurring timers fire within their period."""
        for name, armed in list(self._armed.items()):
            if armed.every and armed.due - now > armed.every:
                self._put(
                    name, Armed(armed.due - (armed.due - now - 1) // armed.every * armed.every, armed.every)
                )

    def take_changes(self) -> dict[str, Armed | None]:
        """Return what changed since the last call."""
        changes, self.changes = self.changes, {}
        return changes

    def absorb(self, changes: Mapping[str, Armed | None]) -> None:
        """Follow the leader."""
        for name, armed in changes.items():
            self._put(name, armed)
        self.changes = {}

    def become(self, timers: Mapping[str, Armed]) -> None:
        """Have these timers armed and no others, as the bot itself would in a turn."""
        for name in self._armed.keys() - timers.keys():
            self._put(name, None)
        for name, armed in timers.items():
            if self._armed.get(name) != armed:
                self._put(name, armed)

    def all(self) -> dict[str, Armed]:
        return dict(self._armed)

    def restore(self, timers: Mapping[str, Armed]) -> None:
        self._armed = dict(timers)
        self.changes = {}
        self.soonest = 0

    def _put(self, name: str, armed: Armed | None) -> None:
        if armed is None:
            self._armed.pop(name, None)
        else:
            self._armed[name] = armed
        self.changes[name] = armed
        self.soonest = 0


def _span(name: str, word: str, value: object) -> int:
    """Return a positive duration in ns."""
    try:
        span = duration.of(value)
    except duration.DurationError as problem:
        raise TimerError(f"timer {name!r}: {word}={problem.message}") from None
    if not 0 < span < NEVER:
        raise TimerError(f'timer {name!r}: {word}={value!r}: expected a positive duration such as "10s"')
    return span
