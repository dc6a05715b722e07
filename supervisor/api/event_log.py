"""The supervisor's own log: one line for each thing that happened, on the terminal of `up` and in a file.

Made from the events that all listeners get, plus a few lines that are not events. The file's lines are text or JSON, as
the workers' are; the terminal's begin with the local time of day. A full disk or a terminal
that is held or closed must not stop the supervisor, so lines that cannot be written are dropped.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ...protocol import duration, events
from ...protocol.logline import SUPERVISOR, Level, LogLine, encode_line, encode_text
from ..bot.outages import describe_outage
from ..config.config import LogSettings
from ..system.log_file import SupervisorLogFile
from ..system.text import clean, visible
from ..terminal.deployment_lines import leads
from ..terminal.deployment_lines import line_of as deployment_line_of

__all__ = ["EventLog", "level_of_event", "line_of"]


class LogOutput(Protocol):
    """Where lines for people go; `write` does not block."""

    def write(self, text: str, /) -> object: ...


class EventLog:
    """Writes lines to `screen` (None: nowhere) and to the file at `path`; `bot` is named in each in JSON.

    The file is written and rotated as `settings` says.
    """

    def __init__(
        self,
        path: Path,
        screen: LogOutput | None,
        wall: Callable[[], int],
        *,
        bot: str = "",
        settings: LogSettings | None = None,
    ) -> None:
        settings = settings or LogSettings()
        self._screen = screen
        self._wall = wall
        self._bot = bot
        self._json = settings.format == "json"
        self._file = SupervisorLogFile(path, settings.size, settings.keep, self._about_lost)
        self._deployment = 0
        """The one under way."""
        self._epoch = 0
        self._seq: int | None = None
        self._stopping = False

    def say(self, text: str, level: Level = "info") -> None:
        """Write one line. Never raises: the terminal may be closed, and the disk full."""
        self._say(text, level, None)

    def warn(self, text: str) -> None:
        """Write one line as a warning."""
        self.say(text, "warning")

    def loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Write that a callback or task of the supervisor has failed: the handler of its event loop.

        The bot is not touched by such a failure.
        """
        problem: BaseException | None = context.get("exception")
        where = traceback.extract_tb(problem.__traceback__)[-1:] if problem is not None else []
        at = f" ({os.path.basename(where[0].filename)}:{where[0].lineno})" if where else ""
        self.say(f"a fault in the supervisor{at}: {problem!r}: {context.get('message', '')}")

    def file_only(self, text: str, level: Level = "error") -> None:
        """Write one line to the file only: the caller shows it on the screen."""
        self._write_file(text, level, None)

    def note(self, event: events.Event) -> None:
        """Write the event's line, when it has one."""
        match event:
            case events.Heartbeat(role="leading"):
                self._epoch, self._seq = event.epoch, event.seq
                return
            case events.LeaderChanged():
                self._epoch = event.epoch
            case events.DeploymentStarted():
                self._deployment = event.deployment
            case events.SupervisorStopping():
                self._stopping = True
            case _:
                pass
        text = line_of(event)
        if text:
            meant = self._stopping and isinstance(event, events.LeaderChanged)
            self._say(text, "info" if meant else level_of_event(event), event)
        if isinstance(event, events.DeploymentEnded):
            self._deployment = 0

    def _say(self, text: str, level: Level, event: events.Event | None) -> None:
        self._write_file(text, level, event)
        if self._screen is not None:
            stamp = time.strftime("%H:%M:%S", time.localtime(self._wall() / 1e9))
            self._screen.write(f"{stamp} {visible(_one_line(text))}\n")

    def _write_file(self, text: str, level: Level, event: events.Event | None) -> None:
        self._file.write(self._line(text, level, event))

    def _about_lost(self, count: int, why: str) -> str:
        return self._line(f"{count} lines before this one could not be written: {why}", "warning", None)

    def _line(self, text: str, level: Level, event: events.Event | None) -> str:
        now = datetime.fromtimestamp(self._wall() / 1e9, UTC)
        stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if not self._json:
            release = getattr(event, "release", "")
            return (
                encode_text(stamp, level, SUPERVISOR, release, visible(_one_line(text))).decode().rstrip("\n")
            )
        line = LogLine(
            stamp,
            level,
            self._bot,
            _one_line(text),
            worker=getattr(event, "worker", ""),
            release=getattr(event, "release", ""),
            deployment=getattr(event, "deployment", 0) or self._deployment,
            epoch=getattr(event, "epoch", 0) or self._epoch,
            seq=getattr(event, "seq", None) or self._seq,
            event=events.topic_of(event).decode() if event is not None else "",
        )
        return encode_line(line).decode().rstrip("\n")


def level_of_event(event: events.Event) -> Level:
    """The level of an event."""
    match event:
        case events.DeploymentEnded(outcome="rolled_back"):
            return "error"
        case events.DeploymentEnded():
            return "warning" if event.outcome == "aborted" or event.missed else "info"
        case events.LeaderChanged(worker=""):
            return "error"
        case events.OutageChanged(outage=outage):
            return "info" if outage.acknowledged is not None else "error"
        case events.Slow(reason=reason):
            return "warning" if reason else "info"
        case events.JournalChanged(state=state):
            return (
                "error"
                if state in ("failing", "lost", "left-out")
                else "warning"
                if state == "recovered"
                else "info"
            )
        case events.StateProblemChanged(problem=problem):
            return "error" if problem is not None else "info"
        case events.InboxProblemChanged(state=state):
            return "warning" if state == "began" else "info"
        case events.TaskEnded() | events.TaskFailed():
            return "error"
        case events.StandbyChanged(state="behind" | "failing"):
            return "warning"
        case events.FeedChanged(state=state):
            return "error" if state == "failed" else "warning" if state == "stale" else "info"
        case events.HomeChanged(state=state):
            return "info" if state == "remade" else "warning"
        case events.StartPlanned():
            return "error"
        case events.Commanded(outcome=outcome):
            return "info" if outcome == "ok" else "warning"
        case _:
            return "info"


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
        case events.DeploymentEnded():
            line = deployment_line_of(event)
            return f"deployment {event.deployment} {line.sentence}; {leads(event.release)}" if line else ""
        case events.DeploymentStarted() | events.PhaseChanged() | events.StepDone() | events.StepOutput():
            line = deployment_line_of(event)
            return f"deployment {event.deployment}: {line.sentence}" if line else ""
        case events.StartPlanned(release=release, failures=failures, reason=reason):
            times = f"{failures} times in a row" if failures > 1 else "once"
            pause = duration.about(max(0, event.next - event.at))
            return f"release {release} failed {times}, and is started again in {pause}: {reason}"
        case events.Slow(reason=""):
            return f"worker {event.worker} is no longer slow"
        case events.Slow():
            return f"worker {event.worker}, which leads, is slow: {event.reason}"
        case events.JournalChanged():
            return f"the journal of worker {event.worker}: {event.text}"
        case events.StateProblemChanged(problem=problem, field=field):
            return (
                problem.text
                if problem is not None
                else f"state field {field} reads back as it was written again"
            )
        case events.InboxProblemChanged():
            return event.text
        case events.TaskEnded() | events.TaskFailed():
            then = "not started again" if event.unhealthy else "starts again"
            return f"{event.text} ({then})"
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
            return describe_outage(outage, event.at)
        case events.FeedChanged(state=state):
            what = {"running": "runs", "adopted": "was found", "fresh": "is fresh again", "stale": "is stale"}
            text = f": {event.text}" if event.text else ""
            return f"feed {event.feed} {what.get(state, state)}{text}"
        case events.HomeChanged():
            return event.text
        case events.SupervisorStarted():
            # What was found is logged where it is found.
            return ""
        case events.SupervisorStopping():
            return f"supervisor stops: {event.reason}"
        case events.Heartbeat():
            return ""


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())
