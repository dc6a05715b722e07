"""The grid: the bot's position in time, as arithmetic.

Tick `seq` is due at `origin + seq * interval` on the wall clock and its slot lasts until the next one is due.
The clock alone determines which tick it is, so the position in time survives any process. Only the last index
that ran has to be stored, so that none runs twice.

A wall clock may be stepped. After a step forward, the skipped indices were never due: they become a gap whose cause
says so. After a step backward by at most one interval, the wall clock shows times whose indices already ran: the loop
waits until the grid reaches the next index. After a larger step backward, the grid is moved (`rebase`): the next index
runs at the next time of the grid. In all cases the step itself is recorded (`ClockStep`). A clock that is only slewed
makes no step: the grid follows it. `clock.py` defines when a step is believed.

Pure: times come in as `int` nanoseconds, wall times since the UTC epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import msgspec

from . import duration
from .errors import NeverblinkError

__all__ = [
    "START_GRACE",
    "STEP_THRESHOLD",
    "ClockReading",
    "ClockStep",
    "Gap",
    "Grid",
    "GridError",
    "LostTime",
    "Plan",
    "Policy",
    "detect_step",
    "plan",
    "rebase",
]

Policy = Literal["skip", "catch-up"]
"""What a bot does about missed slots: skip them, or run each of them late."""

GapKind = Literal["skipped", "missed"]

START_GRACE = 50_000_000
"""A new bot still runs a tick that was due so long ago, ns, or half an interval if that is less."""
STEP_THRESHOLD = 50_000_000
SLEW_PPM = 500


class GridError(NeverblinkError, ValueError):
    """An invalid interval, or a gap that is not a range; `value` is what was given."""

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message)
        self.value = value


class Gap(msgspec.Struct, frozen=True):
    """Indices `first` to `last`, both included, that did not run.

    `skipped`: the bot's own overrun. `missed`: no worker could run them. `cause` is for people.

    Raises `GridError` when `last` lies before `first`, or so far behind it that the length does not fit into 64 bits. A
    decoder reports that as data of the wrong type, so no reader of a frame gets such a gap.
    """

    first: int
    last: int
    kind: GapKind
    cause: str

    def __post_init__(self) -> None:
        if not 0 <= self.last - self.first < sys.maxsize:
            raise GridError(
                f"a gap from {self.first} to {self.last}: expected the last index at or after the first",
                (self.first, self.last),
            )

    def __len__(self) -> int:
        return self.last - self.first + 1


class LostTime(msgspec.Struct, frozen=True, array_like=True):
    """A span of time (wall ns) in which no tick could run: an index whose slot ended in it was lost to `cause`."""

    since: int
    until: int
    kind: GapKind
    cause: str


class ClockStep(msgspec.Struct, frozen=True):
    """A step of the wall clock: it showed `at` when noticed, which is `by` ns more than expected (or less)."""

    at: int
    by: int
    suspended: bool = False
    """The machine was suspended for the time `by`; the clock was not set."""

    @property
    def cause(self) -> str:
        """The step in words, as the cause of a gap: "clock stepped +10s"."""
        unit = 1_000_000 if abs(self.by) >= 1_000_000 else 1
        by = round(abs(self.by) / unit) * unit
        if self.suspended:
            return f"the machine was suspended for {duration.show(by)}"
        return f"clock stepped {'-' if self.by < 0 else '+'}{duration.show(by)}"


class ClockReading(msgspec.Struct, frozen=True):
    """Both clocks, read one right after the other, ns."""

    wall: int
    mono: int


class Plan(msgspec.Struct, frozen=True):
    """The next index to run, when it is due (perhaps in the past), and the gaps to record before it."""

    seq: int
    due: int
    gaps: tuple[Gap, ...] = ()


class Grid(msgspec.Struct, frozen=True):
    """The grid of one bot: `interval` ns between ticks, index 0 due at `origin` (wall ns).

    Raises `GridError` when the interval is not positive.
    """

    interval: int
    origin: int = 0

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise GridError(
                f'a tick interval of {self.interval} ns is invalid: expected a positive duration such as "1s"',
                self.interval,
            )

    def seq_at(self, t: int) -> int:
        """The index whose slot contains `t`."""
        return (t - self.origin) // self.interval

    def seq_from(self, t: int) -> int:
        """The first index due at `t` or later."""
        return -((self.origin - t) // self.interval)

    def due(self, seq: int) -> int:
        """When `seq` is due, wall ns."""
        return self.origin + seq * self.interval

    def slack(self, t: int) -> int:
        """How long from `t` until the next index is due: 1 to `interval` ns."""
        return self.interval - (t - self.origin) % self.interval


def plan(
    grid: Grid,
    last: int | None,
    now: int,
    policy: Policy,
    *,
    step: ClockStep | None = None,
    kind: GapKind = "skipped",
    cause: str = "overrun",
    lost: Sequence[LostTime] = (),
) -> Plan:
    """Return which index runs next, given the `last` that ran and the wall clock's `now`.

    The next index is always greater than `last`. It is due in the future (wait for it), or its slot is the
    present one (run it now, late), or, with "catch-up", its slot is past (run it now, even later). A bot
    that never ran (`last` None) starts at the first index in the future, or due only a moment ago.

    Skipped indices are returned as gaps. Each has the kind and cause of the time in `lost`, oldest first, in which its
    slot ended; the others have `kind` and `cause`. Indices that a forward `step` skipped are separate gaps: they are
    "missed", because of the clock, and not even "catch-up" runs them. The latest step may always be passed: once the
    grid is past it, it has no effect.
    """
    if last is None:
        seq = grid.seq_from(now - min(START_GRACE, grid.interval // 2))
        return Plan(seq, grid.due(seq))
    seq = last + 1
    current = grid.seq_at(now)
    if current <= seq:
        return Plan(seq, grid.due(seq))
    hole = _jumped(grid, step, policy)
    if policy == "catch-up":
        if hole is None or not hole[0] <= seq <= hole[1]:
            return Plan(seq, grid.due(seq))
        assert step is not None
        resume = hole[1] + 1
        return Plan(resume, grid.due(resume), (Gap(seq, hole[1], "missed", step.cause),))
    final = current - 1
    if hole is None or step is None or hole[1] < seq or hole[0] > final:
        return Plan(current, grid.due(current), tuple(_gaps(grid, seq, final, lost, kind, cause)))
    start, end = max(hole[0], seq), min(hole[1], final)
    gaps = (
        *_gaps(grid, seq, start - 1, lost, kind, cause),
        Gap(start, end, "missed", step.cause),
        *_gaps(grid, end + 1, final, lost, kind, cause),
    )
    return Plan(current, grid.due(current), gaps)


def rebase(interval: int, last: int, now: int) -> Grid:
    """The grid on which the index after `last` is the first one due at `now` or later.

    For a wall clock that shows a time long before `last` was due. Ticks keep their times on the wall clock, and the
    indices go on, so that none is used twice: from now on the indices are ahead of the wall clock.
    """
    ahead = last + 1 - Grid(interval).seq_from(now)
    return Grid(interval, -ahead * interval)


def detect_step(
    before: ClockReading, after: ClockReading, threshold: int = STEP_THRESHOLD, slew_ppm: int = SLEW_PPM
) -> ClockStep | None:
    """Compare the progress of both clocks between two readings; return the step if they differ by `threshold` ns.

    A slewed clock may run `slew_ppm` millionths fast or slow; that is not a step, however far apart the readings
    are. CLOCK_MONOTONIC stops while the host is suspended, so a suspension shows as a step forward, which it is
    for a bot.
    """
    elapsed = after.mono - before.mono
    by = after.wall - before.wall - elapsed
    if abs(by) < threshold + abs(elapsed) * slew_ppm // 1_000_000:
        return None
    return ClockStep(after.wall, by)


def _jumped(grid: Grid, step: ClockStep | None, policy: Policy) -> tuple[int, int] | None:
    """Return the indices whose slots a forward step skipped, or None.

    The index that was already due when the clock jumped may have been waiting to run: "catch-up" still runs
    it, "skip" can't, as its slot is over.
    """
    if step is None or step.by <= 0:
        return None
    first = grid.seq_at(step.at - step.by) + (policy == "catch-up")
    final = grid.seq_at(step.at) - 1
    return (first, final) if first <= final else None


def _gaps(
    grid: Grid, first: int, final: int, lost: Sequence[LostTime], kind: GapKind, cause: str
) -> list[Gap]:
    """The gaps from `first` to `final`, each with its reason; none when `final` lies before `first`."""
    gaps: list[Gap] = []
    for time in lost:
        start, end = max(first, grid.seq_at(time.since)), min(final, grid.seq_at(time.until) - 1)
        if start <= end:
            _add(gaps, first, start - 1, kind, cause)
            _add(gaps, start, end, time.kind, time.cause)
            first = end + 1
    _add(gaps, first, final, kind, cause)
    return gaps


def _add(gaps: list[Gap], first: int, final: int, kind: GapKind, cause: str) -> None:
    """Append a gap, joined to the one before when both have the same reason."""
    if first > final:
        return
    if gaps and (gaps[-1].kind, gaps[-1].cause) == (kind, cause):
        first = gaps.pop().first
    gaps.append(Gap(first, final, kind, cause))
