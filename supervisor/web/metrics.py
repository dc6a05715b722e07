"""The bot in numbers, in Prometheus' text format.

Gauges are made from the status when somebody asks. What is counted, ticks and deployments and the like, is counted as
it comes, from the start of this process on: that is what a counter means there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from ...protocol.events import (
    Commanded,
    DeploymentEnded,
    Event,
    OutageChanged,
    WorkerExited,
    WorkerStarted,
)
from ...protocol.status import BotStatus
from .ticks import LeadSeen, TickSeen

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STATES = ("starting", "running", "paused", "recovering", "down", "stopping")
_LATE = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_TOOK = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_BLACKOUT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0)


class Metrics:
    """Counts what is told to it."""

    def __init__(self, bot: str, version: str) -> None:
        self._bot = bot
        self._version = version
        self._late = _Histogram(_LATE)
        self._took = _Histogram(_TOOK)
        self._blackout = _Histogram(_BLACKOUT)
        self._skipped = 0
        self._missed = 0
        self._leads: Counter[str] = Counter({"handoff": 0, "failover": 0, "takeback": 0, "first": 0})
        self._deployments: Counter[str] = Counter(
            dict.fromkeys(("done", "rehearsed", "aborted", "rolled_back"), 0)
        )
        self._commands: Counter[tuple[str, str]] = Counter()
        self._workers: Counter[str] = Counter({"started": 0, "exited": 0})
        self._outages: set[int] = set()
        self.requests: Counter[int] = Counter()
        """Answers, by HTTP status."""
        self.refusals: Counter[str] = Counter()
        """By code."""
        self.streams = 0
        """Listeners that are there now."""
        self.dropped = 0
        """Listeners that were cut off."""
        self.turned_away = 0
        """Connections for which there was no room."""
        self.displaced = 0
        """Idle connections that were closed to make room for a newcomer."""

    def ticked(self, ticks: Iterable[TickSeen], leads: Iterable[LeadSeen]) -> None:
        for tick in ticks:
            self._late.add(tick.late / 1e9)
            self._took.add(tick.took / 1e9)
            self._skipped += tick.skipped
            self._missed += tick.missed
        for lead in leads:
            self._leads[lead.cause] += 1
            if lead.blackout:
                self._blackout.add(lead.blackout / 1e9)

    def happened(self, event: Event) -> None:
        match event:
            case DeploymentEnded():
                self._deployments[event.outcome] += 1
            case Commanded():
                self._commands[event.op, event.outcome] += 1
            case WorkerStarted():
                self._workers["started"] += 1
            case WorkerExited():
                self._workers["exited"] += 1
            case OutageChanged():
                self._outages.add(event.outage.id)
            case _:
                pass

    def render(self, status: BotStatus | None, memory: int) -> str:
        """The whole page. `status` is None when the supervisor does not answer; `memory` is this process's, bytes."""
        page = _Page(self._bot)
        page.add("up", "gauge", "Whether the supervisor answers.", int(status is not None))
        if status is not None:
            _state(page, status)
        page.histogram("tick_late_seconds", "How much later than due ticks began.", self._late)
        page.histogram("tick_duration_seconds", "How long ticks ran.", self._took)
        page.add("ticks_skipped_total", "counter", "Ticks left out by the bot's own overrun.", self._skipped)
        page.add("ticks_missed_total", "counter", "Ticks that nobody could run.", self._missed)
        page.many("leads_total", "counter", "Changes of the leader, by cause.", "cause", self._leads)
        page.histogram(
            "blackout_seconds", "How long nobody could tick at a change of the leader.", self._blackout
        )
        page.many(
            "deployments_total",
            "counter",
            "Deployments that ended, by outcome.",
            "outcome",
            self._deployments,
        )
        page.many("workers_total", "counter", "Worker processes that came and went.", "what", self._workers)
        page.add("outages_total", "counter", "Outages that were told of.", len(self._outages))
        page.head("commands_total", "counter", "Commands, by what was asked and what became of it.")
        for (op, outcome), count in sorted(self._commands.items()):
            page.line("commands_total", count, op=op, outcome=outcome)
        page.many("http_responses_total", "counter", "Answers over HTTP, by status.", "status", self.requests)
        page.many("http_refusals_total", "counter", "Refusals over HTTP, by code.", "code", self.refusals)
        page.add("http_streams", "gauge", "Listeners to events over HTTP.", self.streams)
        page.add(
            "http_streams_dropped_total",
            "counter",
            "Listeners that were cut off: they did not read.",
            self.dropped,
        )
        away = "Connections for which there was no room."
        page.add("http_turned_away_total", "counter", away, self.turned_away)
        displaced = "Idle connections that were closed to make room for a newcomer."
        page.add("http_displaced_total", "counter", displaced, self.displaced)
        page.add("http_memory_bytes", "gauge", "Resident memory of the web process.", memory)
        page.head("build_info", "gauge", "Always 1; which version this is.")
        page.line("build_info", 1, version=self._version)
        return page.text()


def _state(page: _Page, status: BotStatus) -> None:
    states = {state: int(state == status.state) for state in _STATES}
    page.many("state", "gauge", "1 for the state that the bot is in.", "state", states)
    page.head("leader_info", "gauge", "Always 1; who leads.")
    page.line("leader_info", 1, worker=status.worker, release=status.release, python=status.python)
    page.add("epoch", "gauge", "The number of the leader's lease.", status.epoch)
    page.add("tick", "gauge", "The index of the last tick.", status.seq)
    page.add("tick_interval_seconds", "gauge", "From tick to tick.", status.interval / 1e9)
    page.add(
        "reported_timestamp_seconds", "gauge", "When the leader last said how it is.", status.reported / 1e9
    )
    page.add("paused", "gauge", "1 while the bot enters nothing new.", int(status.paused))
    page.add("slow", "gauge", "1 while the leader does not do its work.", int(bool(status.slow)))
    page.add("locked", "gauge", "1 while deployments are refused.", int(status.lock is not None))
    page.add("deploying", "gauge", "1 while a deployment is under way.", int(status.deployment is not None))
    page.add("decisions_open", "gauge", "Decisions that are open.", len(status.decisions))
    oldest = max((decision.age for decision in status.decisions), default=0)
    page.add("decision_oldest_seconds", "gauge", "The age of the oldest of them.", oldest / 1e9)
    page.add("inbox_waiting", "gauge", "Events not yet applied.", status.inbox.waiting if status.inbox else 0)
    failing = bool(status.journal and status.journal.failing)
    page.add("journal_failing", "gauge", "1 while the journal can't be written.", int(failing))
    page.add(
        "journal_unwritten", "gauge", "Frames in no file.", status.journal.unwritten if status.journal else 0
    )
    ready = int(status.standby is not None and status.standby.state == "ready")
    page.add("standby_ready", "gauge", "1 while a standby could take over.", ready)
    page.add("outages_unacknowledged", "gauge", "Outages that nobody knows of.", len(status.outages))
    page.add("workers", "gauge", "Worker processes that are alive.", len(status.workers))


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class _Page:
    def __init__(self, bot: str) -> None:
        self._bot = bot
        self._lines: list[str] = []

    def head(self, name: str, kind: str, help: str) -> None:
        self._lines += [f"# HELP neverblink_{name} {help}", f"# TYPE neverblink_{name} {kind}"]

    def line(self, name: str, value: float, **labels: str) -> None:
        said = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"bot": self._bot, **labels}.items())
        self._lines.append(f"neverblink_{name}{{{said}}} {value:.17g}")

    def add(self, name: str, kind: str, help: str, value: float) -> None:
        self.head(name, kind, help)
        self.line(name, value)

    def many(
        self, name: str, kind: str, help: str, label: str, values: Mapping[str, int] | Mapping[int, int]
    ) -> None:
        self.head(name, kind, help)
        for key, value in values.items():
            self.line(name, value, **{label: str(key)})

    def histogram(self, name: str, help: str, values: _Histogram) -> None:
        self.head(name, "histogram", help)
        total = 0
        for bound, count in zip((*map(str, values.bounds), "+Inf"), values.counts, strict=True):
            total += count
            self.line(f"{name}_bucket", total, le=bound)
        self.line(f"{name}_sum", values.sum)
        self.line(f"{name}_count", total)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
