"""Invariant 2: every grid index between the first and the last tick ran once, or is recorded with its cause.

The grid needs no configuration: index and due time are both in the frame, and their quotient is the interval. Windows
are judged by the indices that did not run, because these are few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ...protocol.frame import Frame
from ...protocol.grid import Gap
from ...protocol.window import Window
from .report import MOST, ClockChange, Missing, Uncovered, WindowFound
from .scope import Scope

__all__ = ["TickAudit"]

_REMEMBERED = 256
_UNRECORDED = ""


class TickAudit:
    """Follows the ticks and what is recorded between them."""

    def __init__(self, scope: Scope, windows: Iterable[Window]) -> None:
        self.count = 0
        """Ticks and heartbeats that ran, and how many of them were heartbeats."""
        self.heartbeats = 0
        self.first: int | None = None
        self.last: int | None = None
        self.late = 0
        self.missed = 0
        self.doubled = 0
        self.skipped = 0
        self.missing: list[Missing] = []
        self.overrun: list[Missing] = []
        self.clock: list[ClockChange] = []
        self.interval = 0
        self._ahead: int = 0
        """The number of indices by which the grid is ahead of the wall clock."""
        self._scope = scope
        self._unit = "tick"
        self._ran: int | None = None
        """The highest index that ran or is accounted for."""
        self._regrid = False
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._windows = [_Covered(window) for window in windows]
        self._begins: int | None = None
        self._ends = 0

    def resume(self, seq: int) -> None:
        """The state continues from a snapshot as of tick `seq` (-1: none ever ran)."""
        if seq >= 0 and (self._ran is None or seq > self._ran):
            self._ran = seq

    def led(self) -> None:
        """Another worker leads: its release may have another grid."""
        self._regrid = True

    def tick(self, frame: Frame) -> int:
        """Process a tick; return how many indices before it were missed."""
        seq, timing, scope = frame.seq, frame.timing, self._scope
        self._unit = "heartbeat" if timing.heartbeat else "tick"
        if timing.ahead != self._ahead:
            if self.interval and timing.step is None and not self._regrid:
                scope.breaks(
                    2, f"{self._unit} {seq} is on a shifted grid, and no step of the clock explains it"
                )
            self._ahead = timing.ahead
        if timing.due != (seq - timing.ahead) * self.interval or not self.interval:
            self._find_grid(seq - timing.ahead, timing.due)
        self._regrid = False
        missed = self._account(seq, timing.gaps) if timing.gaps or seq - 1 != self._ran else 0
        if self._ran is None or seq > self._ran:
            self._ran = seq
        if scope.open:
            self.count += 1
            self.heartbeats += timing.heartbeat
            self._extend(seq, seq)
            if timing.late > self.late:
                self.late = timing.late
            if timing.step is not None and len(self.clock) < MOST:
                self.clock.append(ClockChange(seq, timing.step.by / 1000))
        return missed

    def close(self, frame: Frame) -> None:
        """The first tick after the span: its record of indices in the span still counts."""
        if self._ran is not None and frame.seq > self._ran:
            self._account(frame.seq, frame.timing.gaps)

    def windows(self) -> dict[str, WindowFound]:
        """The coverage of each window."""
        begins = self._begins
        return {
            covered.window.name: covered.found(0 if begins is None else begins, self._ends)
            for covered in self._windows
        }

    def _find_grid(self, seq: int, due: int) -> None:
        """Derive the interval from the tick. It may change only with a new leader."""
        interval = due // seq if seq > 0 and due % seq == 0 else 0
        if seq == 0 and due == 0:
            return
        if interval <= 0 or (self.interval and not self._regrid):
            self._scope.breaks(2, f"{self._unit} {seq} was due at {due}, which is not its time on the grid")
            return
        if self.interval and self._ran is not None:
            # The last index of the new grid that was due when the last one of the old grid was.
            self._ran = self._ran * self.interval // interval
            self._gaps.clear()
            self.last = None
        self.interval = interval

    def _account(self, seq: int, gaps: tuple[Gap, ...]) -> int:
        """Check what is recorded between the tick before and `seq`; return how many were missed."""
        ran = self._ran
        if ran is not None and seq <= ran:
            self._again(seq)
            return 0
        scope = self._scope
        missed = 0
        following = gaps[0].first if ran is None and gaps else seq if ran is None else ran + 1
        for gap in gaps:
            if gap.last >= seq:
                scope.breaks(
                    2,
                    f"{self._unit} {seq} records {gap.first} to {gap.last} as {gap.kind}, which is not before it",
                )
            elif gap.first < following:
                scope.breaks(
                    2,
                    f"{self._unit} {seq} records {gap.first} to {gap.last} as {gap.kind}, but some of them ran",
                )
            if gap.first > following:
                missed += self._lose(following, min(gap.first, seq) - 1, _UNRECORDED)
            first, last = max(gap.first, following), min(gap.last, seq - 1)
            if first <= last:
                self._gaps.append((first, last))
                if gap.kind == "missed":
                    missed += self._lose(first, last, gap.cause or "unknown")
                else:
                    self._skip(first, last, gap.cause)
                following = last + 1
        if following < seq:
            missed += self._lose(following, seq - 1, _UNRECORDED)
        return missed

    def _again(self, seq: int) -> None:
        if any(first <= seq <= last for first, last in self._gaps):
            self._scope.breaks(2, f"{self._unit} {seq} ran after it had been recorded as not run")
            return
        if self._scope.open:
            self.doubled += 1
        self._scope.breaks(2, f"{self._unit} {seq} ran twice")

    def _lose(self, first: int, last: int, cause: str) -> int:
        span = self._scope.clip(first, last, self.interval)
        if span is None:
            return 0
        first, last = span
        lost = last - first + 1
        self.missed += lost
        if len(self.missing) < MOST:
            self.missing.append(Missing(first, last, cause))
        self._extend(first, last)
        self._uncover(first, last)
        if cause == _UNRECORDED:
            which = f"{self._unit} {first}" if lost == 1 else f"{self._unit}s {first} to {last}"
            self._scope.blame(2, f"{which} neither ran nor were recorded as skipped or missed", None, first)
        return lost

    def _skip(self, first: int, last: int, cause: str) -> None:
        span = self._scope.clip(first, last, self.interval)
        if span is None:
            return
        first, last = span
        self.skipped += last - first + 1
        if len(self.overrun) < MOST:
            self.overrun.append(Missing(first, last, cause))
        self._extend(first, last)
        self._uncover(first, last)

    def _extend(self, first: int, last: int) -> None:
        """The span extends from the first index seen to the last one."""
        if self.first is None:
            self.first = first
            self._begins = (first - self._ahead) * self.interval
        if self.last is None or last > self.last:
            self.last = last
        self._ends = max(self._ends, (last + 1 - self._ahead) * self.interval)

    def _uncover(self, first: int, last: int) -> None:
        if self.interval:
            for covered in self._windows:
                covered.miss(first - self._ahead, last - self._ahead, self.interval)


class _Covered:
    """The occurrences of a window in which an index did not run."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._uncovered: list[Uncovered] = []

    def miss(self, first: int, last: int, interval: int) -> None:
        for span in self.window.spans(first * interval, last * interval + 1):
            index = max(-(-span.opens // interval), first)
            known = self._uncovered and self._uncovered[-1].opens >= span.opens
            if not known and index <= last and index * interval < span.closes:
                self._uncovered.append(Uncovered(span.opens, span.closes))

    def found(self, begins: int, ends: int) -> WindowFound:
        """Count the occurrences that are completely between `begins` and `ends`."""
        total = sum(span.opens >= begins and span.closes <= ends for span in self.window.spans(begins, ends))
        uncovered = [span for span in self._uncovered if span.opens >= begins and span.closes <= ends]
        return WindowFound(total, total - len(uncovered), uncovered[:MOST])
