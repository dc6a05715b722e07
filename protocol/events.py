"""The supervisor's events: every change of state is one event.

The history, the log, the CLI's progress and all subscribers of the event socket are made from these, and from nothing
else. On the wire an event is two parts, the topic (its type) and one JSON object with `type`, `bot` and
`at`. Times are nanoseconds, `at` is wall clock.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .errors import NeverblinkError
from .link import Doubt, StateProblem
from .text import cleaned
from .wire import UNDECODABLE

__all__ = [
    "MAX_OUTPUT",
    "Commanded",
    "DeploymentEnded",
    "DeploymentStarted",
    "Event",
    "FeedChanged",
    "Heartbeat",
    "HomeChanged",
    "InboxProblemChanged",
    "JournalChanged",
    "JournalState",
    "LeaderChanged",
    "Outage",
    "OutageChanged",
    "PhaseChanged",
    "Slow",
    "StandbyChanged",
    "StartPlanned",
    "StateProblemChanged",
    "StepDone",
    "StepOutput",
    "SupervisorStarted",
    "SupervisorStopping",
    "TaskEnded",
    "TaskFailed",
    "WindowMissed",
    "WorkerAdopted",
    "WorkerExited",
    "WorkerStarted",
    "decode_event",
    "encode_event",
    "topic_of",
]

JournalState = Literal["failing", "written", "read", "recovered", "lost", "left-out"]
Outcome = Literal["done", "rehearsed", "aborted", "rolled_back"]

MAX_OUTPUT = 1000
"""The longest line in a `StepOutput`, in characters."""


class _Event(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    bot: str = ""
    """Filled in by the event bus if left out, as is `at`."""
    at: int = 0


class DeploymentStarted(_Event, frozen=True, tag="deployment-started"):
    deployment: int
    release: str
    previous: str
    who: str
    why: str
    dry_run: bool = False
    commit: str = ""
    """The commit that `release` was made of, "" when it was made of a directory; the rest is git's data about it."""
    subject: str = ""
    author: str = ""
    ref: str = ""
    """Its name in the request."""


class PhaseChanged(_Event, frozen=True, tag="phase"):
    """The deployment entered `phase`; `took` is how long the phase before lasted."""

    deployment: int
    phase: str
    before: str
    took: int


class StepDone(_Event, frozen=True, tag="step"):
    """Something worth a line happened within a phase: `spawned`, `imported`, `ready`, `rehearsed`, `holding`,
    `yielding`, `handed`, `first-tick`, `probation`. `text` is that line, without the numbers that are in `facts`."""

    deployment: int
    step: str
    text: str
    took: int = 0
    facts: dict[str, Any] = {}


class StepOutput(_Event, frozen=True, tag="output"):
    """One line that `step` of a deployment printed: `environment`, `check`, or `release` for a warning of neverblink's
    own.

    `text` is cut at `MAX_OUTPUT` characters. If a build prints very much, only the first lines are events, and the last
    of them says so. `history N` has all lines that are in its log.
    """

    deployment: int
    step: str
    text: str


class DeploymentEnded(_Event, frozen=True, tag="deployment-ended"):
    """How it ended. `seq`, `blackout`, `late` and `missed` are of the transfer, when there was one."""

    deployment: int
    outcome: Outcome
    reason: str
    leader: str
    release: str
    """The release that runs now."""
    seq: int | None = None
    blackout: int | None = None
    late: int | None = None
    missed: int = 0
    rollback: str = ""
    """"newest" when a rollback would have kept the newest state, else why not."""
    heartbeats: bool = False
    """The bot is event-driven: `seq`, `late` and `missed` are about heartbeats, not ticks."""


class LeaderChanged(_Event, frozen=True, tag="leader"):
    """`worker` leads from `seq` on; "" when no worker does."""

    worker: str
    release: str
    epoch: int
    cause: str
    seq: int


class WorkerStarted(_Event, frozen=True, tag="worker-started"):
    worker: str
    release: str
    pid: int


class WorkerAdopted(_Event, frozen=True, tag="worker-adopted"):
    """This supervisor has adopted a worker that an earlier one started. `leads`: it has the lease."""

    worker: str
    release: str
    pid: int
    leads: bool


class WorkerExited(_Event, frozen=True, tag="worker-exited"):
    worker: str
    release: str
    pid: int
    code: int | None
    """Exit status, negative for a signal; None when it is not known, as for an adopted worker."""
    reason: str


class Slow(_Event, frozen=True, tag="slow"):
    """The leader has not worked for `lasts` ns so far; `reason` is "" when it works again."""

    worker: str
    release: str
    reason: str
    lasts: int


class StartPlanned(_Event, frozen=True, tag="start-planned"):
    """No worker leads, and a start has failed or led to an early death: the next start is at `next`, wall clock, ns."""

    release: str
    failures: int
    """Failed starts of this release in a row."""
    reason: str
    """How the last start failed."""
    next: int


class JournalChanged(_Event, frozen=True, tag="journal"):
    """The journal cannot be written any more, is written again, or was read by a new leader.

    After reading, it is `read` if it is as any leader leaves it, even a killed one; `recovered` if it is damaged and no
    frame is missing; `lost` if frames are missing, or may be; `left-out` if the leader goes on from an older state
    because it cannot read the newest one, as an operator allowed. In both the bot is paused until it is resumed.
    """

    worker: str
    release: str
    state: JournalState
    text: str
    segment: int


class StateProblemChanged(_Event, frozen=True, tag="state-problem"):
    """A field of the leader's state does not read back as it was written, or does so again (`problem` is None)."""

    worker: str
    release: str
    field: str
    problem: StateProblem | None = None


class InboxProblemChanged(_Event, frozen=True, tag="inbox-problem"):
    """The leader's inbox loses events, or does so no more.

    It is `full`, and refuses or drops events; or numbers of a stream did not come in time and were given up, which
    leaves a `gap`. When it is `over`, the counts are of the whole time since it `began`.
    """

    worker: str
    release: str
    kind: Literal["full", "gap"]
    state: Literal["began", "over"]
    text: str
    refused: int = 0
    """Events not taken: `put` raised `InboxFull`."""
    dropped: int = 0
    """Events that waited and were dropped."""
    missing: int = 0
    """Numbers that were given up."""


class _TaskChanged(_Event, frozen=True):
    """A task of the leader ended by itself. `text` says how; `row` counts such ends soon after a start in a row."""

    worker: str
    release: str
    task: str
    text: str
    unhealthy: bool = False
    """It is not started again, and the bot counts as unhealthy; otherwise it starts again after a pause."""
    restarts: int = 0
    """How often it was started again before this since the worker came to lead."""
    row: int = 0


class TaskEnded(_TaskChanged, frozen=True, tag="task-ended"):
    """A task or thread that runs as long as the leader leads has returned."""


class TaskFailed(_TaskChanged, frozen=True, tag="task-failed"):
    """A task or thread that runs as long as the leader leads has raised, or code of the bot has cancelled it."""


class FeedChanged(_Event, frozen=True, tag="feed"):
    """A feed began to run or was found running, failed and is started again, is stale or fresh again, or was ended.

    `text` says it in one line. `blackout`: from the end of the process before to the beginning of this one, ns; 0 when
    that is not known.
    """

    feed: str
    state: Literal["adopted", "running", "failed", "stale", "fresh", "ended"]
    text: str = ""
    release: str = ""
    pid: int = 0
    blackout: int = 0


class Commanded(_Event, frozen=True, tag="command"):
    """A command was carried out or refused (`outcome` is "ok" or the fault's code)."""

    op: str
    who: str
    why: str
    outcome: str
    detail: str = ""
    seq: int | None = None
    """The tick after which it took effect; None when it did not, or before the first tick."""
    facts: dict[str, Any] = {}
    """For programs: the old and new settings (`changes`), the command that was sent (`name`, `args`)."""


class Heartbeat(_Event, frozen=True, tag="pulse"):
    """A worker's position, a few times a second."""

    worker: str
    release: str
    role: str
    epoch: int
    seq: int
    ticks: int
    skipped: int
    late_max: int
    paused: bool
    turns: int = 0


class StandbyChanged(_Event, frozen=True, tag="standby"):
    """The state of the standby: `none` (with the reason), `starting`, `ready`, `behind` or `failing`."""

    worker: str
    release: str
    state: str
    reason: str


class WindowMissed(msgspec.Struct, frozen=True):
    """A protected window in which ticks were missed: in how many of its occurrences, from when to when (wall ns)."""

    window: str
    times: int
    opens: int
    closes: int


class Outage(msgspec.Struct, frozen=True):
    """A leader died; the outage lasts until the first tick of its successor."""

    id: int
    since: int
    until: int | None = None
    """When the first tick after it ran; None if none has run yet."""
    worker: str = ""
    """The worker that died; "" if unknown."""
    release: str = ""
    cause: str = ""
    """How it ended, as far as known."""
    deaths: int = 1
    """How many leaders died in it: a new leader may die before its first tick."""
    missed: int = 0
    """Ticks that no worker ran."""
    windows: tuple[WindowMissed, ...] = ()
    in_doubt: tuple[Doubt, ...] = ()
    """The decisions that were open."""
    successor: str = ""
    epoch: int = 0
    """The epoch under which the successor leads, 0 if there is none yet."""
    acknowledged: int | None = None
    """When an operator acknowledged it, by whom, and why."""
    who: str = ""
    why: str = ""
    heartbeats: bool = False
    """The bot is event-driven: `missed` counts heartbeats, not ticks."""


class OutageChanged(_Event, frozen=True, tag="outage"):
    """An outage began, went on, ended, or was acknowledged: all that is known of it now."""

    outage: Outage


class SupervisorStarted(_Event, frozen=True, tag="supervisor-started"):
    """A supervisor has started. It found the bot `new`, `stopped`, `alive` without a supervisor, or `dead`: ended
    without having been stopped."""

    pid: int
    version: str
    found: Literal["new", "stopped", "alive", "dead"]


class HomeChanged(_Event, frozen=True, tag="home"):
    """The home has changed. It is a copy of another home (`copied`); it was `removed` or `moved` while the bot ran; or
    the supervisor made it again after its removal (`remade`). `text` says what happened, and what to do."""

    state: Literal["copied", "removed", "moved", "remade"]
    text: str


class SupervisorStopping(_Event, frozen=True, tag="supervisor-stopping"):
    reason: str


Event = (
    DeploymentStarted
    | PhaseChanged
    | StepDone
    | StepOutput
    | DeploymentEnded
    | LeaderChanged
    | WorkerStarted
    | WorkerAdopted
    | WorkerExited
    | Slow
    | StartPlanned
    | JournalChanged
    | StateProblemChanged
    | InboxProblemChanged
    | TaskEnded
    | TaskFailed
    | FeedChanged
    | Commanded
    | Heartbeat
    | OutageChanged
    | StandbyChanged
    | HomeChanged
    | SupervisorStarted
    | SupervisorStopping
)

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def topic_of(event: Event) -> bytes:
    """Return the topic, the first part on the event socket."""
    tag = type(event).__struct_config__.tag
    assert isinstance(tag, str)
    return tag.encode()


def encode_event(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:
        return msgspec.json.encode(cleaned(event))


def decode_event(data: bytes) -> Event:
    """Return the event in `data`; raise `NeverblinkError` if it is not an event."""
    try:
        return _decoder.decode(data)
    except RecursionError:
        raise NeverblinkError("not an event: nested too deeply") from None
    except UNDECODABLE as problem:
        raise NeverblinkError(f"not an event: {problem}") from None
