"""What the supervisor tells the world: every change of state is one event.

The history, the log, the CLI's progress and anyone who subscribes to the event socket live on these; there is no
second way out. On the wire an event is two parts, the topic (its type) and one JSON object with `type`, `bot` and
`at`. Times are nanoseconds, `at` is wall clock.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .errors import NeverblinkError
from .link import Doubt
from .text import cleaned
from .wire import UNDECODABLE

__all__ = [
    "MAX_OUTPUT",
    "Commanded",
    "DeploymentEnded",
    "DeploymentStarted",
    "Event",
    "Heartbeat",
    "HomeChanged",
    "JournalChanged",
    "JournalState",
    "LeaderChanged",
    "Outage",
    "OutageChanged",
    "PhaseChanged",
    "Slow",
    "StandbyChanged",
    "StartPlanned",
    "StepDone",
    "StepOutput",
    "SupervisorStarted",
    "SupervisorStopping",
    "WindowMissed",
    "WorkerAdopted",
    "WorkerExited",
    "WorkerStarted",
    "decode_event",
    "encode_event",
    "topic_of",
]

JournalState = Literal["failing", "written", "read", "recovered", "lost"]
Outcome = Literal["done", "rehearsed", "aborted", "rolled_back"]

MAX_OUTPUT = 1000
"""The longest line an `StepOutput` carries, in characters."""


class _Event(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    bot: str = ""
    """Filled in by the event bus, as is `at`, where they are left out."""
    at: int = 0


class DeploymentStarted(_Event, frozen=True, tag="deployment-started"):
    deployment: int
    release: str
    previous: str
    who: str
    why: str
    dry_run: bool = False
    commit: str = ""
    """The commit that `release` was made of, "" when it was made of a directory; the rest is what git says of it."""
    subject: str = ""
    author: str = ""
    ref: str = ""
    """The name that the request gave it."""


class PhaseChanged(_Event, frozen=True, tag="phase"):
    """The deployment entered `phase`; `took` is how long the phase before lasted."""

    deployment: int
    phase: str
    before: str
    took: int


class StepDone(_Event, frozen=True, tag="step"):
    """Something worth a line happened within a phase: `spawned`, `imported`, `ready`, `rehearsed`, `holding`,
    `handed`, `first-tick`, `probation`. `text` is that line, without the numbers that are in `facts`."""

    deployment: int
    step: str
    text: str
    took: int = 0
    facts: dict[str, Any] = {}


class StepOutput(_Event, frozen=True, tag="output"):
    """One line that `step` of a deployment printed: `environment`, `check`, or `release` for a warning of our own.

    `text` is cut at `MAX_OUTPUT` characters. Of a build that prints without end only the first lines are events; the
    last one of them says so. `history N` has them all, as far as its log goes.
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
    """What runs now."""
    seq: int | None = None
    blackout: int | None = None
    late: int | None = None
    missed: int = 0
    rollback: str = ""
    """"newest" when a rollback would have kept the newest state, else why not."""


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
    """A worker that an earlier supervisor started is looked after by this one. `leads`: it has the lease."""

    worker: str
    release: str
    pid: int
    leads: bool


class WorkerExited(_Event, frozen=True, tag="worker-exited"):
    worker: str
    release: str
    pid: int
    code: int | None
    """Exit status, negative for a signal; None when it is not known, as of a worker that was adopted."""
    reason: str


class Slow(_Event, frozen=True, tag="slow"):
    """The leader does not do its work, for `lasts` ns so far; `reason` is "" when it does again."""

    worker: str
    release: str
    reason: str
    lasts: int


class StartPlanned(_Event, frozen=True, tag="start-planned"):
    """No worker leads, and a start has failed or led to an early death: the next one is at `next`, wall clock, ns."""

    release: str
    failures: int
    """Of this release, in a row."""
    reason: str
    """How the last one failed."""
    next: int


class JournalChanged(_Event, frozen=True, tag="journal"):
    """The journal cannot be written any more, is written again, or was read by a worker that comes to lead.

    Then it is `read` when it was as a leader leaves it, killed or not; `recovered` when it is damaged and no frame is
    missing; `lost` when frames are missing, or may be, and the bot is paused until an operator resumes it.
    """

    worker: str
    release: str
    state: JournalState
    text: str
    segment: int


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
    """For programs: what settings were and are (`changes`), what was sent (`name`, `args`)."""


class Heartbeat(_Event, frozen=True, tag="pulse"):
    """Where a worker stands, a few times a second."""

    worker: str
    release: str
    role: str
    epoch: int
    seq: int
    ticks: int
    skipped: int
    late_max: int
    paused: bool


class StandbyChanged(_Event, frozen=True, tag="standby"):
    """How it is with the standby now: `none` (with the reason), `starting`, `ready`, `behind` or `failing`."""

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
    """When the first tick after it ran; None as long as none has."""
    worker: str = ""
    """Who died; "" when that is not known."""
    release: str = ""
    cause: str = ""
    """How it ended, as far as known."""
    deaths: int = 1
    """Leaders that died in it: one may die before its first tick."""
    missed: int = 0
    """Ticks that no worker ran."""
    windows: tuple[WindowMissed, ...] = ()
    in_doubt: tuple[Doubt, ...] = ()
    """Decisions that were open."""
    successor: str = ""
    epoch: int = 0
    """Under which the successor leads, 0 as long as there is none."""
    acknowledged: int | None = None
    """When an operator acknowledged it; who, and why."""
    who: str = ""
    why: str = ""


class OutageChanged(_Event, frozen=True, tag="outage"):
    """An outage began, went on, was over, or was acknowledged: all that is known of it now."""

    outage: Outage


class SupervisorStarted(_Event, frozen=True, tag="supervisor-started"):
    """A supervisor looks after the bot from here on. It found a `new` bot, or one that had been `stopped`; one that was
    `alive`, without a supervisor; or one that was `dead`: it had ended without having been stopped."""

    pid: int
    version: str
    found: Literal["new", "stopped", "alive", "dead"]


class HomeChanged(_Event, frozen=True, tag="home"):
    """The directory of the bot's files is not what it was. It is a copy of another one (`copied`); it was `removed` or
    `moved` while the bot lived; or what was removed was made again (`remade`). `text` says what, and what to do."""

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
    """Return the event in `data`; raise `NeverblinkError` when it is none."""
    try:
        return _decoder.decode(data)
    except RecursionError:
        raise NeverblinkError("not an event: nested too deeply") from None
    except UNDECODABLE as problem:
        raise NeverblinkError(f"not an event: {problem}") from None
