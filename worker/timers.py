"""Timers: what the bot means to do later. They are part of the state, so they survive any process.

A timer has a name; setting it again moves it. It goes off in a turn of its own, and is gone (or, with `every`, armed
anew) in that turn's frame: if the process dies in the turn, the successor lets it go off again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..protocol import duration
from ..protocol.errors import NeverblinkError
from ..protocol.frame import Armed

__all__ = ["TimerError", "Timers"]


class TimerError(NeverblinkError):
    """A timer that cannot be armed."""


class Timers:
    """The timers armed, and what changed since the last frame. All times are wall-clock ns."""

    def __init__(self) -> None:
        self._armed: dict[str, Armed] = {}
        self._changes: dict[str, Armed | None] = {}
        self._next: tuple[int, str] | None = None

    def set(
        self, name: str, now: int, at: int | None, after: str | int | None, every: str | int | None
    ) -> Armed:
        """Arm `name` for the time `at`, or `after` a while, or `every` so often (first after one period).

        Raises `TimerError` for what no other process could read, or what would go off for ever.
        """
        if type(name) is not str or not name:
            raise TimerError(f"timer {name!r}: a name is a non-empty str")
        period = 0 if every is None else _span(name, "every", every)
        if at is None:
            if after is None and every is None:
                raise TimerError(f"timer {name!r}: say when, with one of at=, after= and every=")
            at = now + (period if after is None else _span(name, "after", after))
        elif after is not None:
            raise TimerError(f"timer {name!r}: give either at= or after=, not both")
        elif type(at) is not int or not 0 <= at < _END:
            raise TimerError(
                f"timer {name!r}: at={at!r} is no time: expected whole nanoseconds since 1970, as in tick.due"
            )
        armed = Armed(min(at, _END - 1), period)
        self._put(name, armed)
        return armed

    def cancel(self, name: str) -> bool:
        """Disarm `name`; return whether it was armed."""
        if name not in self._armed:
            return False
        self._put(name, None)
        return True

    def due(self, now: int) -> tuple[str, Armed] | None:
        """Return the timer that is due longest, None when none is."""
        when = self.next
        if when is None or when > now:
            return None
        assert self._next is not None
        name = self._next[1]
        return name, self._armed[name]

    @property
    def next(self) -> int | None:
        """When the next timer is due."""
        if self._next is None and self._armed:
            self._next = min((armed.due, name) for name, armed in self._armed.items())
        return self._next[0] if self._next is not None else None

    def spend(self, name: str, now: int) -> None:
        """Let `name` have gone off: remove it, or arm its next period that is still to come."""
        armed = self._armed[name]
        if armed.every:
            periods = max(1, (now - armed.due) // armed.every + 1)
            self._put(name, Armed(armed.due + periods * armed.every, armed.every))
        else:
            self._put(name, None)

    def take_changes(self) -> dict[str, Armed | None]:
        """Return what changed since the last call."""
        changes, self._changes = self._changes, {}
        return changes

    def absorb(self, changes: Mapping[str, Armed | None]) -> None:
        """Follow the leader."""
        for name, armed in changes.items():
            self._put(name, armed)
        self._changes = {}

    def all(self) -> dict[str, Armed]:
        return dict(self._armed)

    def restore(self, timers: Mapping[str, Armed]) -> None:
        self._armed = dict(timers)
        self._changes = {}
        self._next = None

    def _put(self, name: str, armed: Armed | None) -> None:
        if armed is None:
            self._armed.pop(name, None)
        else:
            self._armed[name] = armed
        self._changes[name] = armed
        self._next = None


_END = 2**63
"""Times travel as 64-bit integers: up to the year 2262."""


def _span(name: str, word: str, value: str | int) -> int:
    """Return a positive duration in ns."""
    try:
        span = duration.parse(value) if isinstance(value, str) else value
    except duration.DurationError as problem:
        raise TimerError(f"timer {name!r}: {word}={problem.message}") from None
    if type(span) is not int or not 0 < span < _END:
        raise TimerError(
            f'timer {name!r}: {word}={value!r}: expected a positive duration such as "10s", or whole nanoseconds'
        )
    return span
