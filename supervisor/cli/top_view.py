"""The model of `top`: the last status, the last ticks, and the deployment in progress.

It is filled by one thread and read by another; readers get an immutable copy.
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
from ..terminal.deployment_lines import DeploymentLine, DeploymentLines

__all__ = ["TopSnapshot", "TopView"]

_KEPT_LINES = 40
_CAUSES: dict[str, Cause] = {"handoff": "handoff", "takeback": "takeback", "failover": "failover"}
_SHOWN_AFTER = 60_000_000_000
"""How long an ended deployment stays visible, ns."""


class TopSnapshot(msgspec.Struct, frozen=True):
    """Everything shown, at one moment. `now` is wall time by the supervisor's clock, ns."""

    now: int
    status: BotStatus | None
    away: str
    """Why the supervisor cannot be reached, "" when it can,"""
    away_for: int
    """and for how long, ns."""
    seen: list[Seen]
    measured: bool
    """Whether the ticks are from the journal. The leader's reports do not have all of them."""
    deployment: int
    """The deployment shown, 0 for none."""
    phase: str
    """Its phase, "" when it has ended,"""
    since: int
    """and the start of the phase."""
    lines: list[DeploymentLine]
    message: str = ""
    """The result of the last key."""


class TopView:
    """`measured`: the ticks come from the journal, by `add`; otherwise from the leader's reports."""

    def __init__(self, *, measured: bool) -> None:
        self._lock = Lock()
        self._measured = measured
        self._status: BotStatus | None = None
        self._ahead = 0
        """The offset of the supervisor's clock from ours, ns."""
        self._away = ""
        self._away_since = 0.0
        self._seen: deque[Seen] = deque(maxlen=MOST)
        self._progress = DeploymentLines(0)
        self._lines: deque[DeploymentLine] = deque(maxlen=_KEPT_LINES)
        self._message = ("", 0.0)

    def picture(self) -> TopSnapshot:
        with self._lock:
            now = time.time_ns() + self._ahead
            progress, ended = self._progress, self._progress.ended
            shown = progress.deployment and (ended is None or now - ended.at < _SHOWN_AFTER)
            message, until = self._message
            return TopSnapshot(
                now,
                self._status,
                self._away,
                int((time.monotonic() - self._away_since) * 1e9) if self._away else 0,
                list(self._seen),
                self._measured,
                progress.deployment if shown else 0,
                "" if ended is not None or not progress.deployment else progress.phase,
                progress.since,
                list(self._lines),
                message if time.monotonic() < until else "",
            )

    # updates

    def answered(self, status: BotStatus) -> None:
        """The supervisor sent its status."""
        with self._lock:
            self._away = ""
            self._status = status
            self._ahead = status.at - time.time_ns()
            now = status.deployment
            if now is not None and now.deployment == self._progress.deployment:
                self._progress.phase, self._progress.since = now.phase, now.since

    def unreachable(self, why: str) -> None:
        with self._lock:
            if not self._away:
                self._away_since = time.monotonic()
            self._away = why

    def say(self, text: str, seconds: float = 5.0) -> None:
        """Show a message for a few seconds."""
        with self._lock:
            self._message = (text, time.monotonic() + seconds)

    def add(self, seen: Iterable[Seen]) -> None:
        with self._lock:
            self._seen.extend(seen)

    def restart_ticks(self) -> None:
        """The journal was replaced: forget the ticks of the previous one."""
        with self._lock:
            self._seen.clear()

    @property
    def deployment(self) -> int:
        return self._progress.deployment

    def caught_up(self, row: DeploymentRow) -> None:
        """A deployment that was in progress before this view began."""
        with self._lock:
            self._begin(row.id)
            self._lines.extend(self._progress.catch_up(row))

    def on_event(self, event: events.Event) -> None:
        with self._lock:
            match event:
                case events.DeploymentStarted():
                    self._begin(event.deployment)
                    self._take(event)
                case events.Heartbeat(role="leading") if not self._measured:
                    self._pulse(event)
                case events.LeaderChanged() if not self._measured and event.worker:
                    self._changed(event)
                case _:
                    self._take(event)

    def _begin(self, deployment: int) -> None:
        self._progress = DeploymentLines(deployment, time.time_ns())
        self._lines.clear()

    def _take(self, event: events.Event) -> None:
        line = self._progress.take(event)
        if line is not None and line.kind in ("start", "step", "output", "warning", "end"):
            self._lines.append(line)

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
                self._progress.deployment if cause == "handoff" else 0,
            )
        )
