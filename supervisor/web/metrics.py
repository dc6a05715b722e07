"""Metrics of the bot in Prometheus' text format.

Gauges are made from the status on each scrape. Counters (ticks, deployments and so on) count from the start of this
process, as Prometheus expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from ...protocol.events import (
    Commanded,
    DeploymentEnded,
    Event,
    OutageChanged,
    WorkerExited,
    WorkerStarted,
)
from ...protocol.status import BotStatus, FeedStatus
from .ticks import LeadSeen, TickSeen

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STATES = ("starting", "running", "paused", "recovering", "down", "stopping")
_LATE = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_TOOK = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_BLACKOUT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0)


class Metrics:
    """Counts events and requests for `bot`; `version` is neverblink's."""

    def __init__(self, bot: str, version: str) -> None:
        disable_created_metrics()
        self._bot = bot
        self._version = version
        self._counted = registry = CollectorRegistry()

        def counter(name: str, help: str, **known: tuple[str, ...]) -> Counter:
            """A counter with the labels in `known`, whose known values appear with 0 from the start."""
            made = Counter(f"neverblink_{name}", help, ["bot", *known], registry=registry)
            for label, values in known.items():
                for value in values:
                    made.labels(bot=bot, **{label: value})
            return made

        def histogram(name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
            made = Histogram(f"neverblink_{name}", help, ["bot"], buckets=buckets, registry=registry)
            return made.labels(bot)

        self._late = histogram("tick_late_seconds", "How much later than due ticks began.", _LATE)
        self._took = histogram("tick_duration_seconds", "How long ticks ran.", _TOOK)
        self._blackout = histogram(
            "blackout_seconds", "How long no worker could tick at a change of the leader.", _BLACKOUT
        )
        self._skipped = counter("ticks_skipped", "Ticks left out by the bot's own overrun.").labels(bot)
        self._missed = counter("ticks_missed", "Ticks that no worker could run.").labels(bot)
        causes = ("handoff", "failover", "takeback", "first")
        self._leads = counter("leads", "Changes of the leader, by cause.", cause=causes)
        outcomes = ("done", "rehearsed", "aborted", "rolled_back")
        self._deployments = counter("deployments", "Deployments that ended, by outcome.", outcome=outcomes)
        self._workers = counter("workers", "Worker processes that came and went.", what=("started", "exited"))
        self._outages = counter("outages", "Outages that were reported.").labels(bot)
        self._known_outages: set[int] = set()
        self._commands = Counter(
            "neverblink_commands",
            "Commands, by operation and outcome.",
            ["bot", "op", "outcome"],
            registry=registry,
        )
        self._responses = counter("http_responses", "Answers over HTTP, by status.", status=())
        self._refusals = counter("http_refusals", "Refusals over HTTP, by code.", code=())
        self._dropped = counter(
            "http_streams_dropped", "Listeners that were cut off because they did not read."
        ).labels(bot)
        self.streams = 0
        """The number of listeners now."""

    def ticked(self, ticks: Iterable[TickSeen], leads: Iterable[LeadSeen]) -> None:
        for tick in ticks:
            self._late.observe(tick.late / 1e9)
            self._took.observe(tick.took / 1e9)
            self._skipped.inc(tick.skipped)
            self._missed.inc(tick.missed)
        for lead in leads:
            self._leads.labels(self._bot, lead.cause).inc()
            if lead.blackout:
                self._blackout.observe(lead.blackout / 1e9)

    def happened(self, event: Event) -> None:
        match event:
            case DeploymentEnded():
                self._deployments.labels(self._bot, event.outcome).inc()
            case Commanded():
                self._commands.labels(self._bot, event.op, event.outcome).inc()
            case WorkerStarted():
                self._workers.labels(self._bot, "started").inc()
            case WorkerExited():
                self._workers.labels(self._bot, "exited").inc()
            case OutageChanged():
                if event.outage.id not in self._known_outages:
                    self._known_outages.add(event.outage.id)
                    self._outages.inc()
            case _:
                pass

    def responded(self, status: int) -> None:
        """A request was answered with this HTTP status."""
        self._responses.labels(self._bot, str(status)).inc()

    def refused(self, code: str) -> None:
        """A request was refused with this code."""
        self._refusals.labels(self._bot, code).inc()

    def dropped(self) -> None:
        """A listener was cut off."""
        self._dropped.inc()

    def render(
        self, status: BotStatus | None, memory: int, *, turned_away: int = 0, displaced: int = 0
    ) -> str:
        """The whole page. `status` is None when the supervisor does not answer; `memory` is this process's, bytes.

        `turned_away` connections found no room, and `displaced` idle ones were closed to make room.
        """
        now = CollectorRegistry()

        def gauge(name: str, help: str, value: float, **labels: str) -> None:
            labels = {"bot": self._bot, **labels}
            Gauge(f"neverblink_{name}", help, list(labels), registry=now).labels(**labels).set(value)

        def counter(name: str, help: str, value: int) -> None:
            Counter(f"neverblink_{name}", help, ["bot"], registry=now).labels(self._bot).inc(value)

        gauge("up", "Whether the supervisor answers.", status is not None)
        gauge("build_info", "Always 1; which version this is.", 1, version=self._version)
        gauge("http_memory_bytes", "Resident memory of the web process.", memory)
        gauge("http_streams", "Listeners to events over HTTP.", self.streams)
        counter("http_turned_away", "Connections for which there was no room.", turned_away)
        counter("http_displaced", "Idle connections that were closed to make room for a newcomer.", displaced)
        if status is not None:
            states = Gauge("neverblink_state", "1 for the state of the bot.", ["bot", "state"], registry=now)
            for state in _STATES:
                states.labels(self._bot, state).set(state == status.state)
            leader = {"worker": status.worker, "release": status.release, "python": status.python}
            gauge("leader_info", "Always 1; who leads.", 1, **leader)
            for name, (help, value) in _gauges(status).items():
                gauge(name, help, value)
            for name, help, value_of in _FEED_GAUGES:
                each = Gauge(f"neverblink_feed_{name}", help, ["bot", "feed"], registry=now)
                for feed in status.feeds:
                    each.labels(self._bot, feed.feed).set(value_of(feed, status.at))
        return (generate_latest(now) + generate_latest(self._counted)).decode()


_FEED_GAUGES: tuple[tuple[str, str, Callable[[FeedStatus, int], float]], ...] = (
    ("up", "1 while the feed's process runs.", lambda feed, now: feed.state != "down"),
    (
        "stale",
        "1 while it has published nothing for longer than stale_after.",
        lambda feed, now: feed.state == "stale",
    ),
    ("published", "The number of the newest event of its present process.", lambda feed, now: feed.n),
    (
        "age_seconds",
        "The age of the newest event.",
        lambda feed, now: max(0, now - feed.at) / 1e9 if feed.at else 0,
    ),
    ("behind", "Events that the bot has not applied.", lambda feed, now: feed.behind),
    ("buffer_bytes", "Bytes in the replay buffer.", lambda feed, now: feed.buffer_bytes),
    (
        "overrun",
        "Events that left the replay buffer before a worker had them.",
        lambda feed, now: feed.overrun,
    ),
    ("restarts", "How often it was started again.", lambda feed, now: feed.restarts),
)


def _gauges(status: BotStatus) -> Mapping[str, tuple[str, float]]:
    """What the status says in numbers: the help text and the value of each."""
    journal, decisions = status.journal, status.decisions
    return {
        "epoch": ("The number of the leader's lease.", status.epoch),
        "tick": ("The index of the last tick, or heartbeat of an event-driven bot.", status.seq),
        "tick_interval_seconds": ("From tick to tick, or heartbeat to heartbeat.", status.interval / 1e9),
        "event_driven": (
            "1 when the bot has no ticks, so that those here are heartbeats.",
            int(status.event_driven),
        ),
        "worker_turns": ("Turns of the bot's own code that the leader's process has run.", status.turns),
        "reported_timestamp_seconds": ("When the leader last reported.", status.reported / 1e9),
        "paused": ("1 while the bot enters nothing new.", status.paused),
        "slow": ("1 while the leader does not do its work.", bool(status.slow)),
        "state_problems": (
            "Fields of the state that do not read back as they were written.",
            len(status.problems),
        ),
        "tasks_not_running": (
            "Tasks bound to the lead that do not run.",
            sum(task.state not in ("running", "starting") for task in status.tasks),
        ),
        "locked": ("1 while deployments are refused.", status.lock is not None),
        "deploying": ("1 while a deployment is under way.", status.deployment is not None),
        "decisions_open": ("Decisions that are open.", len(decisions)),
        "decision_oldest_seconds": (
            "The age of the oldest of them.",
            max((decision.age for decision in decisions), default=0) / 1e9,
        ),
        "inbox_waiting": ("Events not yet applied.", status.inbox.waiting if status.inbox else 0),
        "inbox_bytes": ("Bytes of events not yet applied.", status.inbox.bytes if status.inbox else 0),
        "inbox_discarded": (
            "Events that the leader dropped because the inbox was full.",
            status.inbox.discarded if status.inbox else 0,
        ),
        "inbox_refused": (
            "Events that the leader did not take because the inbox was full.",
            status.inbox.refused if status.inbox else 0,
        ),
        "inbox_missing": (
            "Numbers of event streams that did not come in time.",
            status.inbox.missing if status.inbox else 0,
        ),
        "journal_failing": ("1 while the journal can't be written.", bool(journal and journal.failing)),
        "journal_unwritten": ("Frames in no file.", journal.unwritten if journal else 0),
        "standby_ready": (
            "1 while a standby could take over.",
            status.standby is not None and status.standby.state == "ready",
        ),
        "outages_unacknowledged": ("Outages that are not acknowledged.", len(status.outages)),
        "workers": ("Worker processes that are alive.", len(status.workers)),
    }
