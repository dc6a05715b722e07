"""What `up` prints: everything that happens to the bot, a line each, as it happens."""

from __future__ import annotations

from typing import assert_never

from ...protocol.events import (
    Commanded,
    DeploymentEnded,
    DeploymentStarted,
    Event,
    LeaderChanged,
    PhaseChanged,
    Pulse,
    Step,
    SupervisorStopping,
    WorkerExited,
    WorkerStarted,
)
from .progress import told
from .screen import Screen
from .words import clock, last

__all__ = ["Narrator"]


class Narrator:
    """Writes a line for each event that is worth one."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def tell(self, event: Event) -> None:
        line = self._line(event)
        if line:
            self._screen.line(f"{self._screen.faint(clock(event.at))}  {line}")

    def _line(self, event: Event) -> str:
        screen = self._screen
        match event:
            case WorkerStarted():
                return f"worker {event.worker} started, pid {event.pid}, release {event.release}"
            case WorkerExited():
                ended = f"worker {event.worker} ended: {event.reason or f'exit {event.code}'}"
                return ended if event.code == 0 else screen.warn(ended)
            case LeaderChanged() if not event.worker:
                return screen.bad(f"no worker leads: {event.cause}")
            case LeaderChanged():
                leads = screen.good(f"{event.worker} leads")
                return f"{leads} from tick {event.seq}, epoch {event.epoch} ({event.cause}), release {event.release}"
            case DeploymentStarted():
                why = f": {event.why}" if event.why else ""
                kind = (
                    "to be rehearsed" if event.dry_run else f"to take over from {event.previous or 'nobody'}"
                )
                return (
                    f"deployment {event.deployment}, {event.release} {kind}, by {event.who or 'unknown'}{why}"
                )
            case Step(step="probation"):
                return ""
            case Step():
                took = f" ({last(event.took)})" if event.took else ""
                return f"deployment {event.deployment}: {' '.join(filter(None, [event.step, told(event)]))}{took}"
            case DeploymentEnded():
                colour = screen.good if event.outcome in ("done", "rehearsed") else screen.bad
                reason = f": {event.reason}" if event.reason else ""
                return f"deployment {event.deployment}: {colour(event.outcome.replace('_', ' '))}{reason}"
            case Commanded():
                why = f": {event.why}" if event.why else ""
                refused = (
                    "" if event.outcome == "ok" else screen.warn(f" refused ({event.outcome}) {event.detail}")
                )
                return f"{event.op} by {event.who or 'unknown'}{why}{refused}"
            case SupervisorStopping():
                return f"the supervisor leaves: {event.reason}"
            case PhaseChanged() | Pulse():
                return ""
            case _:
                assert_never(event)
