"""When a bot without a leader is restarted. Rules only: the caller has the clock.

The first restart after a death is immediate, since the bot has money in the market. When starts of one release fail in
a row, or its workers die early, the pauses grow up to a limit. Restarts never stop: the cause may be external (an
exchange that is down, a full disk), and only an operator decides that a bot stays down.

Only deaths that needed a restart count, not those after which a standby or the old worker led. Each release has its own
count, so a bad release does not delay a good one.
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
        """Whether it has failed more often than there are short pauses."""
        return self.failures(release) > len(_PAUSES)

    def failed(self, release: str, lived: int = 0, ticks: int = 0) -> None:
        """The release failed after it had led for `lived` ns and `ticks` ticks."""
        if settled(lived, ticks):
            # The bot ran well for a while: earlier failures of any release no longer count.
            self._failures.clear()
        self._failures[release] = self.failures(release) + 1

    def forget(self) -> None:
        """Count from zero, after an operator has chosen the release."""
        self._failures.clear()

    def pause(self, release: str, at_most: int = AT_MOST) -> int:
        """How long to wait before the next start of the release, ns."""
        failures = max(1, self.failures(release))
        if failures <= len(_PAUSES):
            return min(_PAUSES[failures - 1], at_most)
        doublings = min(failures - len(_PAUSES), _MOST_DOUBLINGS)
        return min(_PAUSES[-1] << doublings, at_most)


def settled(lived: int, ticks: int) -> bool:
    """Whether a leader that lived for `lived` ns and ran `ticks` ticks was healthy, so that its death starts a new
    count."""
    return lived >= _SETTLED_FOR and ticks >= _SETTLED_TICKS
