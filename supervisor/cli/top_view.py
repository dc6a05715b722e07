"""What `top` shows, as it is known: the last status, the last ticks, the deployment as it goes on.

It is filled from one thread and read from another; what is read is a copy, and does not change any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from threading import Lock

import msgspec

from ...protocol import events
from ...protocol.frame import Cause
from ...protocol.status import BotStatus
from ..audit.recent_ticks import MOST, LeaderChange, RecentTick, Seen
from ..store.history_rows import DeploymentRow
from ..system.format import last
from ..terminal.deployment_story import told

__all__ = ["StoryLine", "TopSnapshot", "TopView"]

_KEPT_LINES = 40
_CAUSES: dict[str, Cause] = {"handoff": "handoff", "takeback": "takeback", "failover": "failover"}
_SHOWN_AFTER = 60_000_000_000
"""How long a deployment that has ended is shown, ns."""


class StoryLine(msgspec.Struct, frozen=True):
    """Something that happened in a deployment."""

    name: str
    text: str
    took: int = 0
    bad: bool = False


class TopSnapshot(msgspec.Struct, frozen=True):
    """All that is shown, at one moment. `now` is wall time by the supervisor's clock, ns."""

    now: int
    status: BotStatus | None
    away: str
    """Why the supervisor can't be asked, "" when it can,"""
    away_for: int
    """and for how long, ns."""
    seen: list[Seen]
    measured: bool
    """The ticks are from the journal. Else they are what the leader reports now and then, and not all of them."""
    deployment: int
    """The one that is shown, 0 for none."""
    phase: str
    """What it is doing, "" when it has ended,"""
    since: int
    """and since when."""
    lines: list[StoryLine]
    said: str = ""
    """What came of the last key."""


class TopView:
    """`measured`: the ticks come from the journal, by `add`; else they are made of what is told."""

    def __init__(self, *, measured: bool) -> None:
        self._lock = Lock()
        self._measured = measured
        self._status: BotStatus | None = None
        self._ahead = 0
        """By how much the supervisor's clock is ahead of ours, ns."""
        self._away = ""
        self._away_since = 0.0
        self._seen: deque[Seen] = deque(maxlen=MOST)
        self._deployment = 0
        self._phase = ""
        self._since = 0
        self._ended = 0
        self._lines: deque[StoryLine] = deque(maxlen=_KEPT_LINES)
        self._said = ("", 0.0)

    def picture(self) -> TopSnapshot:
        with self._lock:
            now = time.time_ns() + self._ahead
            shown = bool(self._deployment) and (not self._ended or now - self._ended < _SHOWN_AFTER)
            said, until = self._said
            return TopSnapshot(
                now,
                self._status,
                self._away,
                int((time.monotonic() - self._away_since) * 1e9) if self._away else 0,
                list(self._seen),
                self._measured,
                self._deployment if shown else 0,
                self._phase,
                self._since,
                list(self._lines),
                said if time.monotonic() < until else "",
            )

    # filling it

    def answered(self, status: BotStatus) -> None:
        """The supervisor said how everything is."""
        with self._lock:
            self._away = ""
            self._status = status
            self._ahead = status.at - time.time_ns()
            now = status.deployment
            if now is not None and now.deployment == self._deployment:
                self._phase, self._since = now.phase, now.since

    def unreachable(self, why: str) -> None:
        with self._lock:
            if not self._away:
                self._away_since = time.monotonic()
            self._away = why

    def say(self, text: str, seconds: float = 5.0) -> None:
        """Show this for a moment."""
        with self._lock:
            self._said = (text, time.monotonic() + seconds)

    def add(self, seen: Iterable[Seen]) -> None:
        with self._lock:
            self._seen.extend(seen)

    def restart_ticks(self) -> None:
        """Another journal: what was shown of the one before has nothing to do with it."""
        with self._lock:
            self._seen.clear()

    @property
    def deployment(self) -> int:
        return self._deployment

    def caught_up(self, row: DeploymentRow) -> None:
        """A deployment that was under way before we looked."""
        with self._lock:
            self._begin(row.id)
            self._lines.extend(StoryLine(step.step, told(step), step.took) for step in row.steps)

    def told(self, event: events.Event) -> None:
        with self._lock:
            match event:
                case events.DeploymentStarted():
                    self._begin(event.deployment)
                    what = f"{event.release} ({event.subject})" if event.subject else event.release
                    self._lines.append(StoryLine("release", what))
                case events.PhaseChanged() if event.deployment == self._deployment:
                    self._phase, self._since = event.phase, event.at
                case events.StepDone(step="holding" | "probation"):
                    pass
                case events.StepDone() if event.deployment == self._deployment:
                    self._lines.append(StoryLine(event.step, told(event), event.took))
                case events.StepOutput() if event.deployment == self._deployment:
                    self._lines.append(StoryLine(event.step, event.text))
                case events.DeploymentEnded() if event.deployment == self._deployment:
                    self._phase, self._ended = "", event.at
                    well = event.outcome in ("done", "rehearsed")
                    blackout = f"blackout {last(event.blackout)}" if event.blackout else ""
                    text = event.reason if not well and event.reason else blackout
                    self._lines.append(StoryLine(event.outcome.replace("_", " "), text, bad=not well))
                case events.Heartbeat(role="leading") if not self._measured:
                    self._pulse(event)
                case events.LeaderChanged() if not self._measured and event.worker:
                    self._changed(event)
                case _:
                    pass

    def _begin(self, deployment: int) -> None:
        self._deployment, self._phase, self._since, self._ended = deployment, "preparing", time.time_ns(), 0
        self._lines.clear()

    def _pulse(self, event: events.Heartbeat) -> None:
        before = self._seen[-1] if self._seen else None
        if (
            before is None
            or not isinstance(before, RecentTick)
            or (event.epoch, event.seq) > (before.epoch, before.seq)
        ):
            self._seen.append(
                RecentTick(
                    event.epoch, 0, event.seq, event.worker, event.release, event.at, event.late_max, 0
                )
            )

    def _changed(self, event: events.LeaderChanged) -> None:
        cause = _CAUSES.get(event.cause, "first")
        self._seen.append(
            LeaderChange(
                event.epoch,
                0,
                event.seq,
                event.worker,
                event.release,
                event.at,
                cause,
                "",
                self._deployment if cause == "handoff" else 0,
            )
        )
