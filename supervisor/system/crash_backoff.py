"""When a bot without a leader is started again. Rules only: the caller has the clock.

The first start after a death comes at once, since there is money in the market. Starts of one release that fail in a
row, or lead only to another early death, are spaced more and more widely, up to a bound. They never end: what is wrong
may be outside (an exchange that is away, a disk that is full), and only an operator decides that a bot stays down.

Counted is what needed a new start: not a death after which a standby or the old worker went on. Each release is counted
for itself, so a bad release costs the good one nothing.
"""

from __future__ import annotations

from ...protocol.duration import SECOND

__all__ = ["AT_MOST", "CrashBackoff", "settled"]

_PAUSES = (0, SECOND // 4, SECOND, 2 * SECOND, 5 * SECOND)
_SETTLED_FOR = 10 * SECOND
_SETTLED_TICKS = 10
_MOST_DOUBLINGS = 32

AT_MOST = 60 * SECOND
"""The longest pause, unless the configuration names another."""


class CrashBackoff:
    """Counts the failures in a row of each release."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}

    def failures(self, release: str) -> int:
        """How often the release has failed in a row."""
        return self._failures.get(release, 0)

    def crash_loop(self, release: str) -> bool:
        """Whether it has failed more often than is answered with short pauses."""
        return self.failures(release) > len(_PAUSES)

    def failed(self, release: str, lived: int = 0, ticks: int = 0) -> None:
        """The release failed after it had led for `lived` ns and `ticks` ticks."""
        if settled(lived, ticks):
            # The bot was well for a while, whatever was wrong with any release before.
            self._failures.clear()
        self._failures[release] = self.failures(release) + 1

    def forget(self) -> None:
        """An operator has named the code to go on with: count from zero."""
        self._failures.clear()

    def pause(self, release: str, at_most: int = AT_MOST) -> int:
        """How long to wait before the next start of the release, ns."""
        failures = max(1, self.failures(release))
        if failures <= len(_PAUSES):
            return min(_PAUSES[failures - 1], at_most)
        doublings = min(failures - len(_PAUSES), _MOST_DOUBLINGS)
        return min(_PAUSES[-1] << doublings, at_most)


def settled(lived: int, ticks: int) -> bool:
    """Whether a leader that lived for `lived` ns and ran so many ticks did well, so that its death is a first one."""
    return lived >= _SETTLED_FOR and ticks >= _SETTLED_TICKS
