"""The status: one object that says what runs, what comes next and how the last deployment ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from .events import DeploymentEnded, Outage
from .link import SettingsNow

__all__ = [
    "BotStatus",
    "BranchSeen",
    "DecisionSeen",
    "DeploymentSeen",
    "DescriptorsSeen",
    "Failure",
    "HistorySeen",
    "InboxSeen",
    "JournalSeen",
    "Locked",
    "NextStartSeen",
    "PauseNote",
    "RunState",
    "StandbySeen",
    "StandbyState",
    "SupervisorSeen",
    "TargetSeen",
    "WaitingSeen",
    "WindowSeen",
    "WorkerSeen",
]


class Locked(msgspec.Struct, frozen=True):
    """Who locked, why, and when (wall ns)."""

    who: str
    why: str
    at: int


class JournalSeen(msgspec.Struct, frozen=True):
    """The leader's journal, as it last said. `failing` is "" when it can be written."""

    segment: int
    size: int
    failing: str
    """Why it cannot be written, and the bot goes on without it."""
    since: int
    unwritten: int
    recovered: str
    """How far it went when this worker came to lead, and what was damaged or cut off; "" when nothing was."""


class BranchSeen(msgspec.Struct, frozen=True):
    """A branch that deploys to this home, as it is in its repository."""

    repository: str
    branch: str
    commit: str
    """What it is at, "" when it is not there."""
    subject: str = ""
    running: str = ""
    """The commit that runs, "" when what runs was not made of one."""
    ahead: int | None = None
    """How many commits it has that do not run; None when that can't be said."""
    behind: int | None = None
    """How many commits run that it has not."""
    deployment: int = 0
    """The last one of this very commit, 0 when there was none."""
    outcome: str = ""
    """How that ended, "" while it is under way."""
    asked: bool = False
    """This commit was asked for, and a deployment of it or a refusal is about to follow."""


class TargetSeen(msgspec.Struct, frozen=True):
    """How it is with telling one target. `state` is `failing` from a failure until something arrives again."""

    name: str
    scheme: str
    state: Literal["ready", "sending", "failing"]
    reason: str
    since: int
    """Since when it is failing, wall ns; 0 when it is not."""
    waiting: int
    sent: int
    lost: int


class PauseNote(msgspec.Struct, frozen=True):
    """What paused the bot: the command (`pause` or `halt`) with who gave it, or `journal`, which lacks frames.

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
    """Events that wait, and how many applied keys are remembered of how many at most; `dropped`: forgotten so far."""

    waiting: int
    remembered: int
    limit: int
    dropped: int


class WorkerSeen(msgspec.Struct, frozen=True):
    """A worker process that is alive. `leaving` says why it was told to leave. `reported` is when it last spoke."""

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
    """The spare worker that takes over when the leader dies; `lag` is how late it applied a frame, at the worst."""

    worker: str
    state: StandbyState
    reason: str
    lag: int


class DeploymentSeen(msgspec.Struct, frozen=True):
    """The deployment under way. `at` is when it was begun, `since` when its phase was; `holding` what it waits for."""

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
    """The worker that last ended badly. `traceback` is the end of what it said of that, "" when it said nothing."""

    worker: str
    release: str
    reason: str
    at: int
    log: str
    traceback: str = ""


class NextStartSeen(msgspec.Struct, frozen=True):
    """The next start of a bot that no worker leads: `at` is 0 while it is being tried, `failures` those in a row."""

    release: str
    at: int
    failures: int


class HistorySeen(msgspec.Struct, frozen=True):
    """A history that can't be written: `reason` says why, `waiting` notes are kept in memory, `lost` are not."""

    reason: str
    waiting: int
    lost: int


class SupervisorSeen(msgspec.Struct, frozen=True):
    pid: int
    version: str
    since: int


class BotStatus(msgspec.Struct, frozen=True):
    """The answer to `status`. What is about the leader is "" or 0 when no worker leads."""

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
    """The last tick that ran, as of `reported`."""
    reported: int
    interval: int
    ticks: int
    """Run by this worker."""
    skipped: int
    late_max: int
    paused: bool
    settings: SettingsNow | None
    """None when the bot has none."""
    commands: tuple[str, ...]
    """Those that the bot has declared, for `send`."""
    slow: str
    """What keeps it from its work, "" when nothing does."""
    journal: JournalSeen | None
    inbox: InboxSeen | None
    windows: tuple[WindowSeen, ...]
    decisions: tuple[DecisionSeen, ...]
    # beside it
    workers: tuple[WorkerSeen, ...]
    deployment: DeploymentSeen | None
    """The one that began last, when several are under way: `abort` cancels it."""
    probation: DeploymentSeen | None
    """The one in its probation, while the next one prepares: `rollback` goes back from it."""
    standby: StandbySeen | None
    """None when there is to be none."""
    last: DeploymentEnded | None
    """How the last deployment ended; its `at` is when."""
    lock: Locked | None
    failure: Failure | None
    outages: tuple[Outage, ...]
    """Those not yet acknowledged, oldest first; of many, the newest."""
    supervisor: SupervisorSeen
    branches: tuple[BranchSeen, ...] = ()
    """Those that deploy by a push."""
    waiting: tuple[WaitingSeen, ...] = ()
    """Deployments that wait for their turn, the next one first."""
    notify: tuple[TargetSeen, ...] = ()
    """The targets of notifications, and whether those arrive."""
    next_start: NextStartSeen | None = None
    """None when a worker leads, or the bot is being stopped."""
    descriptors: DescriptorsSeen | None = None
    pause: PauseNote | None = None
    """What paused the bot, None when it is not paused, or that is not known."""
    history: HistorySeen | None = None
    """None as long as the history can be written."""
    home_problem: str = ""
    """Why the home is not where it was, or not whole; "" when it is."""
