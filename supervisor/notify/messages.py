"""The message for an event: a title with the essence, and a few lines of facts.

A person who is woken up at night needs one complete message. So a failover is reported when it is over, and a bot
without a leader once that has lasted for a moment. No I/O, no clock: events in, notes out.
"""

from __future__ import annotations

from ...protocol import events
from ..bot.outages import describe_outage
from ..config.notify_settings import Kind
from ..terminal.deployment_lines import handoff_facts, leads, outcome_name
from .queue import Level, Note

__all__ = ["MOMENT", "MessageWriter"]

MOMENT = 3_000_000_000
"""How long the bot may have no leader, or a slow one, before it is reported, ns."""

_SETTLES = 500_000_000
"""How long after an outage its cause may become known, ns."""
_LONGEST_TITLE = 200
_LONGEST_TEXT = 1500


class MessageWriter:
    """Makes notes of one bot's events. Each names `host`, since people have more than one machine."""

    def __init__(self, bot: str, host: str = "") -> None:
        self._where = f"{bot} on {host}" if host else bot
        self._stopping = False
        self._times = 0
        """Counts the times without a leader or with a slow one; part of a note's key."""
        self._down = ""
        self._slow = ""
        self._bad_feeds: dict[str, str] = {}
        """The feeds that failed or are stale, each with the key of the note that said so."""
        self._no_standby = False
        """Whether a failing standby has been reported."""

    def of(self, event: events.Event) -> list[Note]:
        """The notes for this event: usually none."""
        match event:
            case events.DeploymentEnded():
                return self._ended(event)
            case events.LeaderChanged():
                return self._leader(event)
            case events.OutageChanged():
                return self._outage(event)
            case events.Slow():
                return self._slowness(event)
            case events.JournalChanged():
                return self._journal(event)
            case events.StateProblemChanged():
                return [self._state(event)]
            case events.InboxProblemChanged():
                return [self._inbox(event)]
            case events.TaskEnded() | events.TaskFailed():
                return self._task(event)
            case events.FeedChanged():
                return self._feed(event)
            case events.HomeChanged():
                return [self._home(event)]
            case events.StandbyChanged():
                return self._standby(event)
            case events.SupervisorStarted():
                return self._started(event)
            case events.SupervisorStopping():
                self._stopping = True
                return [
                    self._note(event, ("supervisor",), "warning", "the supervisor is stopping", event.reason)
                ]
            case events.Commanded(outcome="ok"):
                return self._commanded(event)
            case _:
                return []

    def _ended(self, event: events.DeploymentEnded) -> list[Note]:
        if event.outcome == "rehearsed":
            return []
        kinds: tuple[Kind, ...] = ("missed",) if event.missed else ()
        level: Level = "warning"
        match event.outcome:
            case "done":
                kinds, level = ("deployed", *kinds), "warning" if event.missed else "success"
            case "aborted":
                kinds = ("aborted", *kinds)
            case "rolled_back":
                kinds, level = ("rolled-back", *kinds), "failure"
        title = f"deployment {event.deployment} {outcome_name(event.outcome)}: {leads(event.release)}"
        return [self._note(event, kinds, level, title, event.reason, ", ".join(handoff_facts(event)))]

    def _leader(self, event: events.LeaderChanged) -> list[Note]:
        if event.worker:
            if not self._down:
                return []
            over, self._down = self._down, ""
            title = f"{event.worker} leads again: release {event.release}"
            note = self._note(event, ("down",), "success", title)
            return [_after(note, over)]
        if self._stopping:
            return []
        self._down = self._down or self._next_key("down")
        note = self._note(event, ("down",), "failure", "the bot is down: no worker leads", event.cause)
        return [_held(note, self._down, MOMENT)]

    def _outage(self, event: events.OutageChanged) -> list[Note]:
        outage = event.outage
        if outage.until is None or outage.acknowledged is not None:
            return []
        kinds: tuple[Kind, ...] = ("failover", "missed") if outage.missed else ("failover",)
        level: Level = "failure" if outage.windows or outage.in_doubt else "warning"
        _, _, details = describe_outage(outage, event.at).partition(": ")
        rest, _, missed = details.rpartition("; ")
        note = self._note(event, kinds, level, f"{outage.worker or 'the leader'} died; {missed}", rest)
        return [_held(note, f"outage {outage.id}", _SETTLES)]

    def _slowness(self, event: events.Slow) -> list[Note]:
        if not event.reason:
            if not self._slow:
                return []
            over, self._slow = self._slow, ""
            note = self._note(event, ("slow",), "success", f"{event.worker} is no longer slow")
            return [_after(note, over)]
        self._slow = self._slow or self._next_key("slow")
        title = f"{event.worker}, which leads, is slow"
        return [_held(self._note(event, ("slow",), "warning", title, event.reason), self._slow, MOMENT)]

    def _journal(self, event: events.JournalChanged) -> list[Note]:
        if event.state == "read":
            return []
        level: Level = "success" if event.state == "written" else "failure"
        title = {
            "failing": "the journal cannot be written",
            "written": "the journal is written again",
            "recovered": "the journal is damaged, and no frame is missing",
            "lost": "the journal lost frames, and the bot is paused",
            "left-out": "the bot goes on from an older state that can be read, and is paused",
        }[event.state]
        if event.state == "recovered":
            level = "warning"
        return [self._note(event, ("journal",), level, title, event.text)]

    def _state(self, event: events.StateProblemChanged) -> Note:
        field = event.field or "state"
        if event.problem is None:
            title = f"state field {field} reads back as it was written again"
            return self._note(event, ("state",), "success", title)
        level: Level = "failure" if event.problem.kind == "unreadable" else "warning"
        title = f"state field {field} does not read back as it was written"
        return self._note(event, ("state",), level, title, event.problem.text)

    def _inbox(self, event: events.InboxProblemChanged) -> Note:
        level: Level = "warning" if event.state == "began" else "success"
        title = {
            ("full", "began"): "the inbox is full: events are refused or dropped",
            ("full", "over"): "the inbox keeps all events again",
            ("gap", "began"): "numbers are missing in an event stream",
            ("gap", "over"): "no more numbers are missing in the event streams",
        }[event.kind, event.state]
        return self._note(event, ("inbox",), level, title, event.text)

    def _task(self, event: events.TaskEnded | events.TaskFailed) -> list[Note]:
        if event.row > 1 and not event.unhealthy:
            return []
        level: Level = "failure" if event.unhealthy else "warning"
        then = "it is not started again" if event.unhealthy else "it starts again"
        how = "failed" if isinstance(event, events.TaskFailed) else "ended"
        return [self._note(event, ("task",), level, f"task {event.task} {how}; {then}", event.text)]

    def _feed(self, event: events.FeedChanged) -> list[Note]:
        bad = self._bad_feeds
        match event.state:
            case "stale" | "failed" if event.feed in bad:
                return []
            case "stale" | "failed":
                key = bad[event.feed] = self._next_key("feed")
                what = "has published nothing" if event.state == "stale" else "failed"
                title = f"feed {event.feed} {what}"
                return [_held(self._note(event, ("feed",), "warning", title, event.text), key, MOMENT)]
            case "fresh" | "running" if event.feed in bad:
                note = self._note(event, ("feed",), "success", f"feed {event.feed} runs again", event.text)
                return [_after(note, bad.pop(event.feed))]
            case _:
                return []

    def _home(self, event: events.HomeChanged) -> Note:
        level: Level = "success" if event.state == "remade" else "failure"
        title = {
            "copied": "the bot runs in a copy of another home",
            "removed": "the bot's files were removed while it runs",
            "moved": "the bot's home was moved while it runs",
            "remade": "the bot's files were made again",
        }[event.state]
        return self._note(event, ("supervisor",), level, title, event.text)

    def _started(self, event: events.SupervisorStarted) -> list[Note]:
        match event.found:
            case "alive":
                title = "a supervisor came back to the bot, which ran on without one"
            case "dead":
                title = "a supervisor came back, and the bot had died without one"
            case _:
                # A normal start needs no notification.
                return []
        return [self._note(event, ("supervisor",), "warning", title)]

    def _standby(self, event: events.StandbyChanged) -> list[Note]:
        known, self._no_standby = self._no_standby, event.state == "failing"
        if known or not self._no_standby:
            return []
        return [self._note(event, ("standby",), "warning", "the standby does not stay up", event.reason)]

    def _commanded(self, event: events.Commanded) -> list[Note]:
        match event.op:
            case "halt":
                kind, level, title = "halt", "failure", "halted"
            case "settings":
                kind, level, title = "settings", "info", "settings changed"
            case "pause" | "resume":
                kind, level, title = "pause", "info", f"{event.op}d"
            case "lock" | "unlock":
                kind, level, title = "lock", "info", f"deployments {event.op}ed"
            case _:
                return []
        by = f" by {event.who}" if event.who else ""
        return [self._note(event, (kind,), level, title + by, event.why, event.detail)]

    def _next_key(self, what: str) -> str:
        self._times += 1
        return f"{what} {self._times}"

    def _note(
        self, event: events.Event, kinds: tuple[Kind, ...], level: Level, title: str, *lines: str
    ) -> Note:
        text = "\n".join(line for line in lines if line)
        return Note(
            kinds,
            level,
            _cut(f"{self._where}: {' '.join(title.split())}", _LONGEST_TITLE),
            _cut(text, _LONGEST_TEXT),
            event.at,
        )


def _held(note: Note, key: str, hold: int) -> Note:
    return Note(note.kinds, note.level, note.title, note.text, note.at, key=key, hold=hold)


def _after(note: Note, over: str) -> Note:
    return Note(note.kinds, note.level, note.title, note.text, note.at, over=over, only_after=True)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
