"""Hang rules: tell a leader that is slow from one that will do nothing any more. Rules only, no clock and no /proc.

It is shown the leader again and again (`Observation`) and says each time what to think of it. Trouble is when a tick
is due and no turn ends, neither by the leader's own word nor by its journal; or when it says nothing at all. What the
process is doing then decides how long that may go on:

- A debugger is attached: for ever.
- It is stopped: `hang_after`, since it may never be continued.
- It computes, waits for a disk, has a decision open, or still reports: it works at something, and has `stuck_after`.
- It sleeps, computes nothing and says nothing: `hang_after`; and for ever as long as no tick is due, because a bot that
  has nothing to do looks just like that when its messages do not reach us.

Only time that was looked at counts. A supervisor that was itself stopped for a minute knows nothing of that minute, and
must not find everybody silent when it wakes: so each look adds no more than twice the time between two looks.

A verdict does not make another worker lead. A worker that is killed holds the lease until the kernel has ended it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ...protocol import duration
from ..config.hang_limits import HangLimits
from ..system.proc_stat import ProcessActivity

__all__ = ["HangRules", "HangVerdict", "Observation"]

_NOTICED = 1_000_000_000
"""Trouble shorter than this is none; nor is one shorter than half of `hang_after`."""
_WORKS = 20
"""It computes when it did so for at least one part in so many of the time since the trouble began."""


class Observation(msgspec.Struct, frozen=True):
    """One look at the leader, at `mono` and `wall` (ns)."""

    mono: int
    wall: int
    messages: int
    """How many messages have come from it."""
    number: int
    """Its newest frame, by its own word."""
    written: tuple[str, int]
    """Where the journal ends; only the leader writes to it."""
    interval: int
    """Between two ticks, ns; 0 when that is not known."""
    decision: str
    """The name of a decision it has open, "" without one."""
    due: int = 0
    """When its next tick is due by its own report, as `mono`; 0 when that is not known."""
    doing: ProcessActivity | None = None
    """None when there is no such process. Not needed for one that `moves`."""


class HangVerdict(msgspec.Struct, frozen=True):
    """What to think of the leader. `reason` is for people, "" when it is well; `lasts` ns so far."""

    what: Literal["well", "slow", "dead"]
    reason: str = ""
    lasts: int = 0


class HangRules:
    """Watches one leader in one epoch, by looks that are to come every `every` ns."""

    def __init__(self, bounds: HangLimits, every: int) -> None:
        self._bounds = bounds
        self._every = every
        self._noticed = min(_NOTICED, bounds.hang_after // 2)
        self._last: Observation | None = None
        self._due = 0
        """When the first tick after the last turn that ended was or is due, mono ns; 0 when that is not known."""
        self._due_by_wall = 0
        """Likewise, wall ns: an older release does not report it, and waits for the wall clock."""
        self._silent = 0
        self._stalled = 0
        self._cpu: int | None = None
        """What it had computed when the trouble began."""

    def moves(self, look: Observation) -> bool:
        """Whether it has both spoken and ended a turn since the last look: then it is well, whatever it is doing."""
        last = self._last
        return last is None or (
            look.messages != last.messages and (look.number, look.written) != (last.number, last.written)
        )

    def look(self, look: Observation) -> HangVerdict:
        """Take a look in; return what to think of the leader."""
        last, self._last = self._last, look
        passed = min(look.mono - last.mono, 2 * self._every) if last is not None else 0
        if last is None or (look.number, look.written) != (last.number, last.written):
            self._stalled = 0
            # Its report may be older than the turn. And it does not judge by our wall clock, which may be stepped.
            until = look.interval - look.wall % look.interval if look.interval else 0
            self._due, self._due_by_wall = until and look.mono + until, until and look.wall + until
        elif self._due and self._is_due(look):
            self._stalled += passed
        self._silent = self._silent + passed if last is not None and look.messages == last.messages else 0
        return self._judge(look)

    def _is_due(self, look: Observation) -> bool:
        return look.mono >= max(self._due, look.due) if look.due else look.wall >= self._due_by_wall

    def _judge(self, look: Observation) -> HangVerdict:
        lasts, doing = max(self._silent, self._stalled), look.doing
        if not lasts or doing is None or doing.state in "ZX":
            # When a process has ended, that is told by other means.
            self._cpu = None
            return _WELL
        if self._cpu is None:
            self._cpu = doing.cpu
        if lasts < self._noticed:
            return _WELL
        does, since, bound = self._weigh(look, doing)
        sign = "ended no turn" if self._stalled == lasts else "said nothing"
        reason = f"it has {sign} for {_seconds(lasts)}: {does}"
        return HangVerdict("dead" if bound is not None and since >= bound else "slow", reason, lasts)

    def _weigh(self, look: Observation, doing: ProcessActivity) -> tuple[str, int, int | None]:
        """What it does, in words; and for how long that has lasted of how long it may, None for ever."""
        bounds, lasts = self._bounds, max(self._silent, self._stalled)
        computed = doing.cpu - (self._cpu or 0) >= lasts // _WORKS
        if doing.tracer or doing.state == "t":
            return f"a debugger is attached to it (pid {doing.tracer})", lasts, None
        if doing.state == "T":
            return "it is stopped", lasts, bounds.hang_after
        if look.decision:
            return f"it is in decision {look.decision}", self._stalled, bounds.stuck_after
        if doing.state == "D":
            return "it waits for a disk", self._stalled, bounds.stuck_after
        if computed:
            return "it computes", self._stalled, bounds.stuck_after
        if self._silent < self._noticed:
            return "it still reports", self._stalled, bounds.stuck_after
        if not self._stalled:
            return "no tick is due", lasts, None
        return "it sleeps and computes nothing", self._stalled, bounds.hang_after


_WELL = HangVerdict("well")


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.1f} s" if ns < 60_000_000_000 else duration.show(ns // 1_000_000_000 * 1_000_000_000)
