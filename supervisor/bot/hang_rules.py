"""Hang rules: distinguish a slow leader from one that hangs. Rules only, no clock and no /proc.

The rules get an `Observation` of the leader at a fixed interval and return a verdict each time. A leader is in trouble
when a tick is due and no turn ends, neither by its reports nor by its journal; or when it reports nothing. The activity
of its process then decides how long that may last:

- A debugger is attached: without limit.
- It is stopped: `hang_after`, since it may never be continued.
- It computes, waits for a disk, has a decision open, or still reports: it is working, for at most `stuck_after`.
- It sleeps, computes nothing and reports nothing: `hang_after`; without limit while no tick is due, because an idle bot
  whose messages do not arrive looks the same.

Only observed time counts. A supervisor that was itself stopped for a minute has observed nothing in it and must not
find the leader silent when it continues: each observation adds at most twice the interval.

A verdict does not make another worker lead. A killed worker holds the lease until the kernel has ended it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ...protocol import duration
from ..config.hang_limits import HangLimits
from ..system.process import ProcessActivity

__all__ = ["HangRules", "HangVerdict", "Observation"]

_NOTICED = 1_000_000_000
"""Trouble is ignored while it is shorter than this, or than half of `hang_after`."""
_WORKS = 20
"""A leader computes if its CPU time is at least this fraction (1/20) of the time since the trouble began."""


class Observation(msgspec.Struct, frozen=True):
    """One observation of the leader, at `mono` and `wall` (ns)."""

    mono: int
    wall: int
    messages: int
    """How many messages it has sent."""
    number: int
    """Its newest frame, by its own report."""
    written: tuple[str, int]
    """Where the journal ends. Only the leader writes to it."""
    interval: int
    """The tick interval, ns; 0 when it is not known."""
    decision: str
    """The name of its open decision, "" for none."""
    due: int = 0
    """When its next tick is due by its own report, as `mono`; 0 when that is not known."""
    doing: ProcessActivity | None = None
    """None when there is no such process. Not needed for a leader that makes progress."""


class HangVerdict(msgspec.Struct, frozen=True):
    """The judgement of a leader. `reason` is for people, "" when it is well; `lasts` is the duration so far, ns."""

    what: Literal["well", "slow", "dead"]
    reason: str = ""
    lasts: int = 0


class HangRules:
    """Judges one leader in one epoch by observations made every `every` ns."""

    def __init__(self, bounds: HangLimits, every: int) -> None:
        self._bounds = bounds
        self._every = every
        self._noticed = min(_NOTICED, bounds.hang_after // 2)
        self._last: Observation | None = None
        self._due = 0
        """When the first tick after the last turn was or is due, mono ns; 0 when that is not known."""
        self._due_by_wall = 0
        """The same in wall ns: an older release does not report when a tick is due, and waits for the wall clock."""
        self._silent = 0
        self._stalled = 0
        self._cpu: int | None = None
        """Its CPU time when the trouble began."""

    def moves(self, look: Observation) -> bool:
        """Whether it has both sent a message and ended a turn since the last observation: then it is well."""
        last = self._last
        return last is None or (
            look.messages != last.messages and (look.number, look.written) != (last.number, last.written)
        )

    def look(self, look: Observation) -> HangVerdict:
        """Judge the leader by one more observation."""
        last, self._last = self._last, look
        passed = min(look.mono - last.mono, 2 * self._every) if last is not None else 0
        if last is None or (look.number, look.written) != (last.number, last.written):
            self._stalled = 0
            # Its report may be older than the turn. The worker's clock does not follow steps of our wall clock.
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
            # The end of a process is reported elsewhere.
            self._cpu = None
            return _WELL
        if self._cpu is None:
            self._cpu = doing.cpu
        if lasts < self._noticed:
            return _WELL
        does, since, bound = self._weigh(look, doing)
        sign = "ended no turn" if self._stalled == lasts else "sent no message"
        reason = f"it has {sign} for {_seconds(lasts)}: {does}"
        return HangVerdict("dead" if bound is not None and since >= bound else "slow", reason, lasts)

    def _weigh(self, look: Observation, doing: ProcessActivity) -> tuple[str, int, int | None]:
        """Its activity in words, how long the trouble has lasted, and the limit (None for no limit)."""
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
