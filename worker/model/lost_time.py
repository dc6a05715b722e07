"""Lost time: why ticks did not run, told by the frames since the last tick.

Every process that has applied the frames knows the same: the leader that overran, the successor that takes over right
after it, and the worker that recovers the bot from its journal.
"""

from __future__ import annotations

from ...protocol import duration
from ...protocol.frame import COMMAND, Cause, Frame, Led
from ...protocol.grid import GapKind, LostTime

__all__ = ["LostTimes", "cause_of_transfer"]


class LostTimes:
    """`times` are the spans since the last tick in which no tick could run, oldest first."""

    def __init__(self) -> None:
        self.times: tuple[LostTime, ...] = ()
        self.interval = 0
        """The bot's tick interval, ns; 0 while it is not known."""

    def note(self, frame: Frame, before: Frame | None, title: str = "") -> None:
        """Take in the next frame. `before` is the one before it, `title` the name of its turn where that is known."""
        timing = frame.timing
        if frame.kind == "tick":
            self.times = ()
        elif isinstance(frame.about, Led) and before is not None:
            led = frame.about
            self.add(
                before.timing.ended,
                timing.ended - timing.took,
                "missed",
                cause_of_transfer(led.cause, led.before),
            )
        if timing.took >= self.interval > 0:
            kind: GapKind = "missed" if frame.kind == "lead" else "skipped"
            took = f"{title or _title(frame)} took {duration.about(timing.took)}"
            self.add(timing.ended - timing.took, timing.ended, kind, took)

    def add(self, since: int, until: int, kind: GapKind, cause: str) -> None:
        """Add a span of time, wall ns."""
        if since < until:
            self.times = (*self.times, LostTime(since, until, kind, cause))


def cause_of_transfer(cause: Cause, before: str) -> str:
    """The recorded cause of ticks that no process ran while the lead passed from worker `before` to another."""
    match cause:
        case "handoff":
            return "the handoff"
        case "takeback":
            return "the handoff, which was taken back"
        case "first" if not before:
            return "the bot was down"
        case _:
            return f"{before or 'the leader'} died"


def _title(frame: Frame) -> str:
    match frame.kind:
        case "tick":
            return f"{'heartbeat' if frame.timing.heartbeat else 'tick'} {frame.seq}"
        case "event" if frame.traffic.applied and not frame.traffic.applied[0].startswith(COMMAND):
            return f"event {frame.traffic.applied[0]}"
        case "event" if frame.traffic.feeds:
            return f"event {frame.traffic.feeds[0].feed}/{frame.traffic.feeds[0].first}"
        case "lead" | "stop":
            return f"on_{frame.kind}"
        case kind:
            return f"a {kind}"
