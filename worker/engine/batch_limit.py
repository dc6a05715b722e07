"""How many events one turn takes: as many as end within a bound of time, found by trying."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "MOST_EVENTS", "BatchLimit"]

MOST_EVENTS = 10_000
MOST_BYTES = 4 * 1024 * 1024
_LONGEST = 10_000_000
_FIRST = 64


class BatchLimit:
    """The limit doubles when a full batch took less than half of `longest`, and is halved when it took longer.

    So it recovers from a time in which the machine was busy, and a turn's own cost is not taken for that of its events.
    Times in ns.
    """

    def __init__(self, interval: int) -> None:
        self.longest = min(_LONGEST, interval // 4)
        """A turn is to take no longer: a tick, a command or a handoff may wait for its end."""
        self._limit = _FIRST

    def events(self, until_tick: int) -> int:
        """How many events to take when the next tick is due in `until_tick`; less than 1 when it is overdue."""
        if 0 < until_tick < self.longest:
            return max(1, self._limit * until_tick // self.longest)
        return self._limit

    def took(self, events: int, ns: int) -> None:
        """A batch of so many events took so long."""
        if ns > self.longest:
            self._limit = max(1, min(self._limit, events) // 2)
        elif events >= self._limit and 2 * ns < self.longest:
            self._limit = min(MOST_EVENTS, 2 * self._limit)
