"""The strip: which version ran which ticks, as rows of cells. Only the model; `picture` draws it.

A row is one period of the longer timeframe on the wall clock, so windows are in the same columns in every row, which
shows that no handoff begins in one.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from ...protocol.window import Window
from .contracts import TIMEFRAMES

__all__ = ["COLUMNS", "WINDOWS", "StripCell", "VersionStrip"]

WINDOWS = (
    Window("4s", opens="-1200ms", closes="-200ms", name="5m"),
    Window("12s", opens="-2200ms", closes="-1300ms", name="15m"),
)
"""When the bot buys; must be the same as in the bot."""

COLUMNS = 60
_ROW = max(TIMEFRAMES.values())
_CELL = _ROW // COLUMNS


class StripCell(msgspec.Struct, frozen=True):
    """A few ticks. `version` ran the first, "" for none yet; `handoff` is the version that took over in the cell."""

    version: str
    window: bool
    handoff: str = ""


class VersionStrip:
    """Built from the supervisor's events: which worker leads from which tick on, and the last tick."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.last = -1
        """The last tick known to have run."""
        self._starts: list[int] = []
        self._reigns: list[tuple[str, str]] = []
        """Worker and version from the tick at the same index of `_starts` on."""

    @property
    def first(self) -> int:
        return self._starts[0] if self._starts else 0

    def leads(self, worker: str, version: str, seq: int) -> None:
        """`worker` leads from tick `seq` on. If it is reported twice, the earlier tick counts."""
        if self._reigns and self._reigns[-1][0] == worker:
            before = self._starts[-2] + 1 if len(self._starts) > 1 else 0
            self._starts[-1] = max(before, min(seq, self._starts[-1]))
            return
        self._starts.append(max(seq, self._starts[-1] + 1 if self._starts else 0))
        self._reigns.append((worker, version))

    def reached(self, seq: int) -> None:
        """Tick `seq` has run."""
        self.last = max(self.last, seq)

    def rows(self, most: int) -> list[list[StripCell]]:
        """The last rows, oldest first, up to this many."""
        if self.last < 0 or not self._starts:
            return []
        per_row = _ROW // self.interval
        newest = self.last // per_row
        oldest = max(self.first // per_row, newest - most + 1)
        return [self._row(row * per_row) for row in range(oldest, newest + 1)]

    def _row(self, begins: int) -> list[StripCell]:
        per_cell = _CELL // self.interval
        return [self._cell(begins + place * per_cell, per_cell) for place in range(COLUMNS)]

    def _cell(self, seq: int, length: int) -> StripCell:
        middle = (seq + length // 2) * self.interval
        window = any(window.open_at(middle) for window in WINDOWS)
        until = min(seq + length - 1, self.last)
        here, there = bisect_right(self._starts, seq) - 1, bisect_right(self._starts, until) - 1
        if until < seq or there < 0:
            return StripCell("", window)
        # The first leader starts the bot: no handoff.
        handoff = self._reigns[there][1] if there > max(here, 0) else ""
        if there - here > 1 and here >= 0:
            # Two handoffs in one cell: show the version that led only briefly, or it would not be visible.
            handoff = self._reigns[there - 1][1]
        return StripCell(self._reigns[max(here, 0)][1], window, handoff)
