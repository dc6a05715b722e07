"""The status: one object with what runs, what comes next and how the last deployment ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from .events import DeploymentEnded, Outage
from .link import SettingsNow, StateProblem, TaskReport

__all__ = [
    "BotStatus",
    "BranchSeen",
    "DecisionSeen",
    "DeploymentSeen",
    "DescriptorsSeen",
    "Failure",
    "FeedStatus",
    "HistorySeen",
    "InboxSeen",
    "JournalSeen",
    "Locked",
    "NextStartSeen",
    "PauseNote",
    "RunState",
    "SocketSeen",
    "StandbySeen",
    "StandbyState",
    "SupervisorSeen",
    "TargetSeen",
    "WaitingSeen",
    "WindowSeen",
    "WorkerSeen",
]


class Locked(msgspec.Struct, frozen=True):
    """Who locked deployments, why, and when (wall ns)."""

    who: str
    why: str
    at: int


class JournalSeen(msgspec.Struct, frozen=True):
    """The leader's journal, as last reported. `failing` is "" when it can be written."""

    segment: int
    size: int
    failing: str
    """Why it cannot be written, so that the bot goes on without it."""
    since: int
    unwritten: int
    recovered: str
    """How far it could be read when this worker came to lead, and what was damaged or cut off; "" if nothing was."""


class BranchSeen(msgspec.Struct, frozen=True):
    """A branch whose pushes deploy to this home, as it is in its repository."""

    repository: str
    branch: str
    commit: str
    """The commit it points to, "" if it does not exist."""
    subject: str = ""
    running: str = ""
    """The commit that runs, "" if the release was not made of a commit."""
    ahead: int | None = None
    """How many of its commits do not run; None if that is not known."""
    behind: int | None = None
    """How many commits run that it does not have."""
    deployment: int = 0
    """The last deployment of this commit, 0 if there was none."""
    outcome: str = ""
    """How that deployment ended, "" while it is under way."""
    asked: bool = False
    """This commit was requested; a deployment or a refusal follows soon."""


class TargetSeen(msgspec.Struct, frozen=True):
    """The state of one notification target: `failing` from a failure until a notification arrives again."""

    name: str
    scheme: str
    state: Literal["ready", "sending", "failing"]
    reason: str
    since: int
    """Since when it has been failing, wall ns; 0 if it is not."""
    waiting: int
    sent: int
    lost: int


class PauseNote(msgspec.Struct, frozen=True):
    """What paused the bot: a command (`pause` or `halt`) and who sent it, or `journal`, when frames are missing.

    `at` is wall ns.
    """

    op: str
    who: str
    why: str
    at: int


StandbyState = Literal["none", "starting", "ready", "behind", "failing"]


RunState = Literal["starting", "running", "paused", "recovering", "down", "stopping"]


class DescriptorsSeen(msgspec.Struct, frozen=True):
    """The file descriptors of the leader: the bot can still open `left` of `limit`, and `reserve` more are held for a
    handoff. `short`: few are left."""

    left: int
    limit: int
    reserve: int
    short: bool


class SocketSeen(msgspec.Struct, frozen=True):
    """A listening socket of the bot: its name in the configuration, its address with the real port, and who accepts."""

    name: str
    address: str
    accept: str


class WindowSeen(msgspec.Struct, frozen=True):
    """A window's occurrence that is open now, else the next one."""

    name: str
    opens: int
    closes: int
    protected: bool
    open: bool


class DecisionSeen(msgspec.Struct, frozen=True):
    """A decision that is open; `at` is when it was opened."""

    id: str
    name: str
    at: int
    age: int
    worker: str


class InboxSeen(msgspec.Struct, frozen=True):
    """How many events wait, how many applied keys are remembered, and their bound; `dropped` are forgotten so far."""

    waiting: int
    remembered: int
    limit: int
    dropped: int
    bytes: int = 0
    """Bytes that wait."""
    most_events: int = 0
    """How many events, and bytes, may wait; 0 when that is not known."""
    most_bytes: int = 0
    aside: int = 0
    """Of the events that wait, those that wait for others before them."""
    discarded: int = 0
    """Events dropped by this worker because the inbox was full."""
    refused: int = 0
    """Events that it did not take because the inbox was full."""
    missing: int = 0
    """Numbers of streams that did not come in time."""
    gap: str = ""
    """The last of them, as `STREAM: FIRST to LAST`."""
    renumbered: int = 0
    """Events dropped because another one of the same stream and number was applied."""


class WorkerSeen(msgspec.Struct, frozen=True):
    """A worker process that is alive. `leaving` is why it was ordered to leave, `reported` when it last reported."""

    worker: str
    release: str
    pid: int
    role: str
    epoch: int
    seq: int
    loaded: bool
    since: int
    reported: int
    leaving: str
    log: str


class StandbySeen(msgspec.Struct, frozen=True):
    """The worker that takes over when the leader dies; `lag` is the worst lateness at which it applied a frame."""

    worker: str
    state: StandbyState
    reason: str
    lag: int


class DeploymentSeen(msgspec.Struct, frozen=True):
    """The deployment under way. `at` is when it began, `since` when its phase began, `holding` what it waits for."""

    deployment: int
    phase: str
    since: int
    holding: str
    release: str
    previous: str
    dry_run: bool
    who: str
    why: str
    at: int


class WaitingSeen(msgspec.Struct, frozen=True):
    """A deployment that waits for its turn since `at`. `commit` and `ref` are "" when it is not of a commit."""

    deployment: int
    commit: str
    ref: str
    dry_run: bool
    who: str
    why: str
    at: int


class Failure(msgspec.Struct, frozen=True):
    """The last failure of a worker. `traceback` is the end of its traceback, "" if there is none."""

    worker: str
    release: str
    reason: str
    at: int
    log: str
    traceback: str = ""


class NextStartSeen(msgspec.Struct, frozen=True):
    """The next start of a bot without a leader: `at` is 0 during the attempt, `failures` counts failures in a row."""

    release: str
    at: int
    failures: int


class HistorySeen(msgspec.Struct, frozen=True):
    """A history that can't be written: why, how many notes wait in memory (`waiting`), and how many are `lost`."""

    reason: str
    waiting: int
    lost: int


class SupervisorSeen(msgspec.Struct, frozen=True):
    pid: int
    version: str
    since: int


class FeedStatus(msgspec.Struct, frozen=True):
    """A feed of the bot. Numbers are those of its present process; times are wall clock, ns."""

    feed: str
    state: Literal["starting", "running", "stale", "down"]
    pid: int
    release: str
    """The release whose code it runs, which may be an earlier one than the bot's."""
    since: int
    """When its process was started, or found."""
    run: int
    n: int
    """The newest number that it has published."""
    at: int
    """When it was published; 0 before the first."""
    behind: int
    """How many events the bot has not applied."""
    buffered: int
    """Events in the replay buffer."""
    buffer_bytes: int
    overrun: int = 0
    """Events that left the replay buffer before a worker had received them."""
    refused: int = 0
    """Events that could not be encoded."""
    subscribers: tuple[str, ...] = ()
    restarts: int = 0
    """Since the supervisor was started."""
    blackout: int = 0
    """From the end of the process before to the beginning of this one, ns; 0 when that is not known."""
    error: str = ""
    """Why it is down, or was down last, "" since it ran well."""
    next_start: int = 0
    """When it is started again; 0 when that is not planned."""


class BotStatus(msgspec.Struct, frozen=True):
    """The answer to `status`. Fields about the leader are "" or 0 when no worker leads."""

    version: int
    bot: str
    state: RunState
    reason: str
    """Why it is down, being started again, or being stopped."""
    at: int
    home: str
    # the leader
    worker: str
    release: str
    pid: int
    epoch: int
    python: str
    since: int
    """When this worker came to lead."""
    seq: int
    """The last tick or heartbeat, as of `reported`."""
    reported: int
    interval: int
    """From tick to tick, or from heartbeat to heartbeat."""
    ticks: int
    """Ticks that this worker ran; 0 for an event-driven bot."""
    skipped: int
    late_max: int
    paused: bool
    settings: SettingsNow | None
    """None when the bot has none."""
    commands: tuple[str, ...]
    """The commands that the bot has declared, for `send`."""
    slow: str
    """Why it does not work, "" if it does."""
    journal: JournalSeen | None
    inbox: InboxSeen | None
    windows: tuple[WindowSeen, ...]
    decisions: tuple[DecisionSeen, ...]
    # other workers, deployments and the home
    workers: tuple[WorkerSeen, ...]
    deployment: DeploymentSeen | None
    """The one that began last, if several are under way: `abort` cancels it."""
    probation: DeploymentSeen | None
    """The one in its probation, while the next one prepares: `rollback` reverts it."""
    standby: StandbySeen | None
    """None if none is configured."""
    last: DeploymentEnded | None
    """How the last deployment ended, and when (`at`)."""
    lock: Locked | None
    failure: Failure | None
    outages: tuple[Outage, ...]
    """The outages not yet acknowledged, oldest first; of many, only the newest."""
    supervisor: SupervisorSeen
    branches: tuple[BranchSeen, ...] = ()
    """The branches that deploy by a push."""
    waiting: tuple[WaitingSeen, ...] = ()
    """Deployments that wait for their turn, the next one first."""
    notify: tuple[TargetSeen, ...] = ()
    """The targets of notifications, and whether those arrive."""
    next_start: NextStartSeen | None = None
    """None when a worker leads, or the bot is being stopped."""
    descriptors: DescriptorsSeen | None = None
    pause: PauseNote | None = None
    """What paused the bot; None if it is not paused or the cause is unknown."""
    history: HistorySeen | None = None
    """None as long as the history can be written."""
    problems: tuple[StateProblem, ...] = ()
    """What in the leader's state does not read back as it was written."""
    home_problem: str = ""
    """Why the home is not at its place, or incomplete; "" if neither is so."""
    event_driven: bool = False
    """The leader's bot has no ticks. `seq`, `skipped` and `late_max` are about its heartbeats."""
    turns: int = 0
    """Turns of the bot's own code that this worker ran: ticks, events, timers and commands."""
    unverified: tuple[str, ...] = ()
    """Fields of the leader's state that are not read back, because the time between two turns is too short."""
    tasks: tuple[TaskReport, ...] = ()
    """The leader's tasks and threads that run as long as it leads."""
    feeds: tuple[FeedStatus, ...] = ()
    """The feeds of the bot."""
    sockets: tuple[SocketSeen, ...] = ()
    """The bot's listening sockets."""
