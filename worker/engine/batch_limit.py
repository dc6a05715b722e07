"""How many events one turn takes: as many as end before the next tick is due, by what those before them took."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "BatchLimit"]

MOST_EVENTS = 10_000
MOST_BYTES = 4 * 1024 * 1024
_LONGEST = 10_000_000
"""A turn is to take no longer than this, ns: a command or a handoff waits for its end."""
_SHORTEST = 200_000
_FIRST_GUESS = 20_000
"""What an event is assumed to take before any was measured, ns."""
_WEIGHT = 4
"""The last batch counts for one part in so many."""


class BatchLimit:
    """Learns what an event takes. Times in ns."""

    def __init__(self, interval: int) -> None:
        self._longest = min(_LONGEST, interval // 4)
        self._each = float(_FIRST_GUESS)

    def events(self, until_tick: int) -> int:
        """How many events to take when the next tick is due in `until_tick`."""
        time = max(_SHORTEST, min(self._longest, until_tick))
        return max(1, min(MOST_EVENTS, int(time / self._each)))

    def took(self, events: int, ns: int) -> None:
        """A batch of so many events took so long."""
        each = ns / events
        # A batch that took longer than expected counts at once.
        self._each = each if each > self._each and events > 1 else self._each + (each - self._each) / _WEIGHT
