"""The supervisor's own log: one line for each thing that happened, on the terminal of `up` and in a file.

Made from the events that everybody gets, plus the few things that are no event. The file's lines begin with the time
in UTC, the terminal's with the local time of day.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from ..protocol import duration, events
from .outages import told

__all__ = ["Log", "line_of"]


class Log:
    """Writes lines to `screen` (None: nowhere) and to the end of the file at `path`."""

    def __init__(self, path: Path, screen: TextIO | None, wall: Callable[[], int]) -> None:
        self._screen = screen
        self._wall = wall
        self._file = path.open("a", encoding="utf-8", errors="replace", buffering=1)

    def say(self, text: str) -> None:
        """Write one line. Never raises: nobody may be looking, and the disk may be full."""
        self.file_only(text)
        if self._screen is not None:
            stamp = time.strftime("%H:%M:%S", time.localtime(self._wall() / 1e9))
            _write(self._screen, f"{stamp} {_one_line(text)}\n")

    def file_only(self, text: str) -> None:
        """Write one line that somebody else says on the screen."""
        now = datetime.fromtimestamp(self._wall() / 1e9, UTC)
        stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        _write(self._file, f"{stamp} {_one_line(text)}\n")

    def note(self, event: events.Event) -> None:
        """Write the event's line, when it has one."""
        text = line_of(event)
        if text:
            self.say(text)

    def close(self) -> None:
        self._file.close()


def line_of(event: events.Event) -> str:
    """The event in one line, "" for those that are not for people."""
    match event:
        case events.WorkerStarted():
            return f"worker {event.worker} started: release {event.release}, pid {event.pid}"
        case events.WorkerAdopted():
            release = f"release {event.release}, " if event.release else ""
            return f"worker {event.worker} is alive and adopted: {release}pid {event.pid}"
        case events.WorkerExited():
            return f"worker {event.worker} ended: {event.reason}"
        case events.LeaderChanged(worker=""):
            return f"no worker leads any more: {event.cause}"
        case events.LeaderChanged():
            return (
                f"worker {event.worker} leads ({event.cause}): release {event.release}, epoch {event.epoch}"
            )
        case events.DeploymentStarted():
            how = "rehearses" if event.dry_run else "takes over"
            by = f", asked by {event.who}" if event.who else ""
            why = f": {event.why}" if event.why else ""
            what = f"{event.release} ({event.subject})" if event.subject else event.release
            return f"deployment {event.deployment}: {what} {how} from {event.previous}{by}{why}"
        case events.PhaseChanged():
            return f"deployment {event.deployment}: {event.phase} ({event.before} took {_last(event.took)})"
        case events.Step(step="probation"):
            return ""
        case events.Step():
            took = f" in {_last(event.took)}" if event.took else ""
            return f"deployment {event.deployment}: {event.step} {event.text}{took}".rstrip()
        case events.Output():
            return f"deployment {event.deployment}: {event.step}: {event.text}"
        case events.DeploymentEnded():
            said = f": {event.reason}" if event.reason else ""
            at = f" at tick {event.seq}" if event.seq is not None else ""
            blackout = f", blackout {_last(event.blackout)}" if event.blackout else ""
            outcome = event.outcome.replace("_", " ")
            return f"deployment {event.deployment} {outcome}{at}{blackout}{said}; {event.release or 'nothing'} leads"
        case events.Slow(reason=""):
            return f"worker {event.worker} does its work again"
        case events.Slow():
            return f"worker {event.worker}, which leads, is slow: {event.reason}"
        case events.JournalChanged():
            return f"the journal of worker {event.worker}: {event.text}"
        case events.Commanded(outcome="ok", op="status" | "history" | "releases"):
            return ""
        case events.Commanded():
            by = f" by {event.who}" if event.who else ""
            detail = f": {event.detail}" if event.detail else ""
            return f"{event.op}{by}: {event.outcome}{detail}"
        case events.StandbyChanged(worker=worker, state=state):
            reason = f": {event.reason}" if event.reason else ""
            return f"standby {worker} is {state}{reason}" if worker else f"standby: {state}{reason}"
        case events.OutageChanged(outage=outage):
            return told(outage, event.at)
        case events.SupervisorStarted():
            # What it found is said by whoever found it.
            return ""
        case events.SupervisorStopping():
            return f"supervisor stops: {event.reason}"
        case events.Pulse():
            return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _last(ns: int) -> str:
    return duration.show(round(ns, -3) if ns >= 1_000_000 else ns)


def _write(file: TextIO, text: str) -> None:
    try:
        file.write(text)
        file.flush()
    except (OSError, ValueError):
        pass
