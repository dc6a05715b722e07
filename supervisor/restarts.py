"""Whether, and after which pause, a bot that died is started again. Rules only: whoever asks has the clock.

A death is answered at once, since there is money in the market. Deaths in a row are answered more and more slowly, and
in the end no more: a bot that dies each time at the same tick does not get better by being started once again.
"""

from __future__ import annotations

__all__ = ["Restarts", "settled"]

_SECOND = 1_000_000_000
_PAUSES = (0, _SECOND // 4, _SECOND, 2 * _SECOND, 5 * _SECOND)
_SETTLED_FOR = 10 * _SECOND
_SETTLED_TICKS = 10


class Restarts:
    """Counts deaths in a row."""

    def __init__(self) -> None:
        self.in_a_row = 0

    def pause(self, lived: int, ticks: int) -> int | None:
        """It died after it had led for `lived` ns and `ticks` ticks. How long to wait (ns); None: leave it down."""
        if settled(lived, ticks):
            self.in_a_row = 0
        self.in_a_row += 1
        return _PAUSES[self.in_a_row - 1] if self.in_a_row <= len(_PAUSES) else None


def settled(lived: int, ticks: int) -> bool:
    """Whether one that lived for `lived` ns and ran so many ticks did well, so that its death is the first in a row."""
    return lived >= _SETTLED_FOR and ticks >= _SETTLED_TICKS
