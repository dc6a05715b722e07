"""Which time to believe when the wall clock is stepped.

The grid, windows and timers follow the wall clock, and the wall clock may be set: by an operator, a time service, or a
virtual machine that resumes. CLOCK_BOOTTIME is never set, and goes on while the machine is suspended. So the believed
time is `boottime + offset`, and the wall clock only corrects the offset:

- A difference of less than `STEP_THRESHOLD` is drift or slewing, and is followed at once.
- A larger one is a step. It is not believed until it has lasted for `BELIEVED_AFTER`; meanwhile time goes on as before.
  A step that is taken back by then never happened.

A suspension of the machine is not a step, since both clocks go on. Pure: readings come in as `int` nanoseconds.
"""

from __future__ import annotations

from .grid import STEP_THRESHOLD

__all__ = ["BELIEVED_AFTER", "ClockDiscipline"]

BELIEVED_AFTER = 15_000_000_000
"""How long a step of the wall clock has to last, CLOCK_BOOTTIME ns."""


class ClockDiscipline:
    """Turns readings of the wall clock and of CLOCK_BOOTTIME into the time that is believed."""

    __slots__ = ("_since", "_suspected", "offset")

    def __init__(self, wall: int, boot: int) -> None:
        self.offset = wall - boot
        """The believed time minus CLOCK_BOOTTIME."""
        self._suspected: int | None = None
        """The offset after a step that is not believed yet,"""
        self._since = 0
        """and when that step was noticed."""

    @property
    def suspected(self) -> int:
        """The size of a step that is not believed yet, ns; 0 if there is none."""
        return 0 if self._suspected is None else self._suspected - self.offset

    def believe(self, wall: int, boot: int) -> int:
        """Process a reading of both clocks; return the believed time."""
        offset = wall - boot
        if -STEP_THRESHOLD < offset - self.offset < STEP_THRESHOLD:
            self.offset = offset
            self._suspected = None
            return wall
        suspected = self._suspected
        if suspected is None or not -STEP_THRESHOLD < offset - suspected < STEP_THRESHOLD:
            self._since = boot
        elif boot - self._since >= BELIEVED_AFTER:
            self.accept(wall, boot)
            return wall
        self._suspected = offset
        return boot + self.offset

    def accept(self, wall: int, boot: int) -> None:
        """Believe the wall clock at once, on an operator's command."""
        self.offset = wall - boot
        self._suspected = None

    def follow(self, offset: int) -> None:
        """Use the time that another process of this host believes."""
        if not -STEP_THRESHOLD < offset - self.offset < STEP_THRESHOLD:
            self.offset = offset
            self._suspected = None
