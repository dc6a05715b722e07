"""The messages between a worker and the supervisor.

The worker sends its state, not its history: a `Report` has the present state, and is sent on every change and again
at a steady pace, so that a lost one does no harm. A message about a single event (`Ready`, `Handed`, `Failed`) is sent
once, for the operator, and nothing that keeps the bot safe depends on it. It is sent again when a supervisor asks with
`Identify`, because that supervisor may not have received it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .frame import Schema
from .state_changes import StateChanges
from .window import WindowSpec
from .wire import MessageCodec, VersionRange

__all__ = [
    "EXIT_GRACE",
    "OWN_COMMANDS",
    "Answered",
    "CancelYield",
    "Cancelled",
    "DecisionClosed",
    "DecisionOpened",
    "DescriptorsLeft",
    "Doubt",
    "ExpectFollower",
    "Failed",
    "FeedApplied",
    "Follow",
    "Handed",
    "Hello",
    "Holding",
    "Identify",
    "Inboxed",
    "Journaled",
    "Lead",
    "Offered",
    "Offers",
    "Ready",
    "Recovered",
    "Rehearsed",
    "Rejected",
    "Report",
    "Retire",
    "Run",
    "SettingsNow",
    "StateProblem",
    "Stop",
    "SupervisorMessage",
    "Suspect",
    "TaskReport",
    "Welcome",
    "WorkerMessage",
    "YieldReport",
    "YieldTo",
    "supervisor_codec",
    "worker_codec",
]

LINK_LIMIT = 8 * 1024 * 1024

EXIT_GRACE = 2_000_000_000
"""How long a worker's process may take to exit after its last message (`Failed`, or a `Report` with `done`), ns."""

OWN_COMMANDS = ("pause", "resume", "halt", "settings", "rebase-clock", "state-restore", "state-set")
"""The names in a `Run` that a worker carries out itself; any other is for the bot's own code."""


# --- a worker to the supervisor -------------------------------------------------------------------------------------


class Offered(msgspec.Struct, frozen=True):
    """A command that the bot has declared: its name, a line of help, and the JSON Schema of its arguments."""

    name: str
    help: str
    args: dict[str, Any]


class Offers(msgspec.Struct, frozen=True):
    """The commands and settings that this bot has for operators."""

    commands: tuple[Offered, ...] = ()
    settings: dict[str, Any] | None = None
    """The JSON Schema of its settings, None when it has none."""
    halts: bool = False
    """It has a handler of its own for `halt`."""
    listens: bool = False
    """It accepts commands that it has not declared, too."""
    state: bool = False
    """Its state can be restored and set."""


class SettingsNow(msgspec.Struct, frozen=True):
    """The bot's settings in force, and the names of those that an operator has set."""

    values: dict[str, Any]
    chosen: tuple[str, ...] = ()


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message: the worker's identity and what it runs. Sent again after each `Identify`."""

    bot: str
    worker: str
    pid: int
    started: int
    """The process's start time in clock ticks since boot (field 22 of /proc/PID/stat): with the pid it is unique."""
    protocol: VersionRange
    release: str
    schema: Schema
    interval: Annotated[int, msgspec.Meta(ge=0)]
    windows: tuple[WindowSpec, ...]
    python: str
    neverblink: str
    offers: Offers | None = None
    """None from a release that does not send it."""
    ticks: bool = True
    """False: the bot is event-driven, and `interval` is the time between its heartbeats."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The user's code is imported and `on_start` is done; how long each took, ns."""

    imported: int
    started: int


class Journaled(msgspec.Struct, frozen=True, array_like=True):
    """Where the leader's journal stands."""

    segment: int
    size: int
    """Bytes in that segment."""
    failing: str = ""
    """Why it cannot be written, so that the bot goes on without it; "" when it can."""
    since: int = 0
    """Since when it cannot be written, wall clock, ns."""
    unwritten: int = 0
    """Frames made since, which are in no file yet."""


class DescriptorsLeft(msgspec.Struct, frozen=True, array_like=True):
    """How many file descriptors a leader has left."""

    left: int
    """How many the bot can still open."""
    limit: int
    """How many may be open at once."""
    reserve: int = 0
    """How many more are reserved for neverblink's own use, such as a handoff."""


class StateProblem(msgspec.Struct, frozen=True):
    """A value in the leader's state that the next process will not read as it was written.

    `kind`: it is `unreadable` and stops that process; it `differs` there; or it is `shared`: one mutable object in two
    places, which are two objects there.
    """

    field: str
    """The field of the state."""
    path: str
    """Where in it: `positions['BTC'].price`."""
    kind: Literal["unreadable", "differs", "shared"]
    expected: str
    """The type that the field declares."""
    found: str
    """The value and its type, shortened."""
    mend: str
    lines: tuple[str, ...] = ()
    """Where the bot's code writes to it, as far as that is found: `bot.py:34`."""
    seq: int = 0
    """After which tick it was found."""
    at: int = 0
    """When it was found, wall clock, ns."""

    @property
    def text(self) -> str:
        """All of it in one line."""
        where = f" (written in {', '.join(self.lines)})" if self.lines else ""
        match self.kind:
            case "unreadable":
                what = f"expected {self.expected}, found {self.found}, which no other process can read"
            case "differs":
                what = f"{self.found} does not read back as it was written"
            case "shared":
                what = f"{self.found}; the next process has separate objects there"
        return f"state field {self.path}: {what}{where}: {self.mend}"


class Inboxed(msgspec.Struct, frozen=True, array_like=True):
    """What waits in a worker's inbox, and what the inbox could not keep."""

    bytes: int
    most_events: int
    most_bytes: int
    aside: int = 0
    """Events that wait for a number, or for this worker's own feed; counted in `Report.inbox`."""
    dropped: int = 0
    """Events dropped because the inbox was full, so far."""
    refused: int = 0
    """Events that it did not take because it was full, so far."""
    missing: int = 0
    """Numbers of streams that were given up, so far."""
    gap: str = ""
    """The last of them, as `STREAM: FIRST to LAST`."""
    renumbered: int = 0
    """Events dropped because another one of their stream and number was applied, so far."""


class FeedApplied(msgspec.Struct, frozen=True, array_like=True):
    """How far a worker is in a feed."""

    feed: str
    run: int
    n: int
    """Up to this number of this run the bot has applied it."""
    waiting: int = 0
    """Events that this worker has received and the bot has not applied."""
    connected: bool = False


class TaskReport(msgspec.Struct, frozen=True):
    """A task or thread that runs as long as its worker leads."""

    name: str
    kind: str
    """`task` for a coroutine, `thread` for a plain function."""
    state: str
    """`starting`; `running`; `ending`: it was told to end; `restarting`: it ended by itself and starts again after a
    pause; `unhealthy`: it ended by itself, and is not started again."""
    since: int
    """Since when, wall clock, ns."""
    restarts: int = 0
    """How often it was started again since this process came to lead."""
    error: str = ""
    """How it last ended by itself, "" if it has not."""
    failed: int = 0
    """When that was, wall clock, ns; 0 if it has not."""
    row: int = 0
    """How often in a row it has ended by itself soon after its start."""
    raised: bool = False
    """It raised, or was cancelled by code of the bot; otherwise it returned."""

    @property
    def text(self) -> str:
        """How it last ended, in one line."""
        return f"{self.kind} {self.name} {self.error}"


class YieldReport(msgspec.Struct, frozen=True, array_like=True):
    """What a leader did before it handed over by order `order`, while it still had the lease."""

    order: int
    tasks: int = 0
    """How many tasks and threads it ended,"""
    ending: int = 0
    """and how long that took, while the bot ticked on, ns."""
    handler: int = 0
    """How long `on_yielding` took, ns; 0 for a bot without one."""
    problem: str = ""
    """How `on_yielding` failed, "" if it did not."""


class Report(msgspec.Struct, frozen=True, tag="report"):
    """The present state of the worker."""

    role: Literal["joining", "following", "leading", "yielding", "retired"]
    epoch: int
    loaded: bool
    """It has the whole state and could lead."""
    leader: str
    order: int
    """The highest order carried out or cancelled."""
    seq: int
    number: int
    paused: bool
    ticks: int = 0
    """Ticks this process ran, or heartbeats of an event-driven bot."""
    skipped: int = 0
    late_max: int = 0
    """The worst lateness of a tick since the last report, ns."""
    inbox: int = 0
    remembered: int = 0
    """How many applied event keys are in memory, and the bound."""
    remember_limit: int = 0
    dropped: int = 0
    """Keys forgotten because of the bound, so far."""
    followers: int = 0
    cause: str = ""
    """How it came to lead, when it leads."""
    guard: bool = False
    """It follows, and takes the lease without an order when its leader is gone."""
    lag: int = 0
    """How long after its boundary this follower applied a frame: the worst since the last report, ns."""
    journal: Journaled | None = None
    """When it leads."""
    settings: SettingsNow | None = None
    """When it leads, and has any."""
    imported: int = 0
    """While it joins: how long importing took, 0 before its `Ready`, ns. Repeated here in case that was lost,"""
    prepared: int = 0
    """and how long `on_start` took."""
    descriptors: DescriptorsLeft | None = None
    """When it leads. None from a release that does not send it."""
    done: bool = False
    """It has left, its last handler has run, and its process exits within `EXIT_GRACE`."""
    due: int = 0
    """For a leader: when its next tick is or was due, CLOCK_MONOTONIC ns; 0 if unknown."""
    problems: tuple[StateProblem, ...] = ()
    """For a leader: what in its state does not read back as it was written."""
    inboxed: Inboxed | None = None
    """None from a release that cannot say it."""
    turns: int = 0
    """Turns of the bot's own code that this process ran: ticks, events, timers and commands."""
    unverified: tuple[str, ...] = ()
    """For a leader: fields that were not read back for long, because the time between two turns is too short."""
    feeds: tuple[FeedApplied, ...] = ()
    """How far it is in each feed."""
    tasks: tuple[TaskReport, ...] = ()
    """For a leader: the tasks and threads that run as long as it leads."""
    yielded: YieldReport | None = None
    """What it did before it last handed over, None if there was nothing to do."""


class Rehearsed(msgspec.Struct, frozen=True, tag="rehearsed"):
    """The real state has been restored and migrated by the new code.

    `rollback` is "newest" when the old code can follow what the new code will write, else the reason why a rollback
    would return to the state of the handoff.
    """

    bytes: int
    rows: int
    took: int
    rollback: str
    changes: StateChanges | None = None
    """What becomes of the leader's state in this code. None for one in the same schema, and from a release that cannot
    say it."""


class Holding(msgspec.Struct, frozen=True, tag="holding"):
    """The order to yield waits for this: a decision, a window, the time before the next tick, or the new worker."""

    order: int
    reason: str


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """The worker leads, and will not carry out order `order`: it was cancelled, or the worker cannot, as its last
    `Holding` says."""

    order: int


class Suspect(msgspec.Struct, frozen=True, tag="suspect"):
    """The worker follows `leader` in its probation, and `leader` does not work."""

    leader: str
    reason: str


class Doubt(msgspec.Struct, frozen=True):
    """A decision that a dead leader left open, so that its outcome is not known. `at` is when it was opened."""

    id: str
    name: str
    at: int


class Handed(msgspec.Struct, frozen=True, tag="handed"):
    """The first tick of a new leader has run: `seq`, its lateness, and the blackout before it (ns; 0 if unknown).

    An event-driven bot sends it when it can run its first turn; `seq` is the heartbeat of that time.
    """

    epoch: int
    order: int
    cause: str
    seq: int
    late: int
    blackout: int
    missed: Annotated[int, msgspec.Meta(ge=0)]
    """Grid indices before it that no worker ran."""
    in_doubt: tuple[Doubt, ...] = ()
    """Decisions that a dead leader left open, as passed to the bot."""
    due: int = 0
    """When that tick was due, wall clock; 0 from a release that does not send it."""


class Recovered(msgspec.Struct, frozen=True, tag="recovered"):
    """The new leader found a damaged or incomplete journal. This is how far it could use it."""

    number: int
    seq: int
    at: int
    """Wall clock at that frame's boundary, ns; 0 when it is not known."""
    segment: int
    left: int
    """Bytes after the last whole record of that segment."""
    problem: str
    """What is damaged or missing; "" for what a killed process leaves half written."""
    lost: int = 0
    """How many frames are known to be missing."""
    lossy: bool = False
    """Frames are missing, or may be: the worker leads paused until an operator runs `resume`."""
    left_out: str = ""
    """Which frames are not in my state because I cannot read them, and why; "" when all are. Then I lead paused."""
    changes: StateChanges | None = None
    """As in `Rehearsed`."""
    dropped: str = ""
    """Why values of the state are lost in this code, which no operator has named: I lead paused, too."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker is about to exit: what failed (such as `import`, `start` or `tick`), one line, and the rest."""

    phase: str
    reason: str
    traceback: str
    changes: StateChanges | None = None
    """As in `Rehearsed`, when the state was read and values of it would be lost."""


class DecisionOpened(msgspec.Struct, frozen=True, tag="opened"):
    id: str
    name: str
    at: int


class DecisionClosed(msgspec.Struct, frozen=True, tag="closed"):
    id: str


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """A command ran in a turn of its own, after tick `seq`. `error` is empty when it went well."""

    key: str
    seq: int
    value: Any
    error: str = ""
    fault: Literal["", "bad-input", "not-found"] = ""
    """It was refused before the bot's code got it: its arguments do not fit, or there is no such command."""


# --- the supervisor to a worker -------------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    protocol: int


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """The worker cannot join, and the reason. It exits."""

    reason: str


class Identify(msgspec.Struct, frozen=True, tag="identify"):
    """The supervisor does not know the worker (any more). The worker sends `Hello` again, and then all that a
    supervisor needs that did not start it: `Ready`, `Rehearsed`, `Report`, the open decisions, `Handed`, `Holding`, if
    there are any."""


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """Follow the stream of `leader`. With `guard`, take the lease when it dies; without, wait for an order."""

    leader: str
    guard: bool = False


class ExpectFollower(msgspec.Struct, frozen=True, tag="expect"):
    """`worker` is about to connect to the receiver, to follow it.

    A leader that is short of descriptors accepts connections only then.
    """

    worker: str


class Lead(msgspec.Struct, frozen=True, tag="lead"):
    """Take the lease: no other worker has it."""


class YieldTo(msgspec.Struct, frozen=True, tag="yield"):
    """At the next boundary, hand over to `to`. Kept until carried out or cancelled; order numbers increase."""

    order: int
    to: str
    deployment: int = 0
    force: bool = False
    """Also inside a protected window; never inside a decision."""
    back: bool = False
    """A rollback: the code that yields does not guard the new leader, and leads again only on an order."""


class CancelYield(msgspec.Struct, frozen=True, tag="cancel"):
    order: int


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """The worker is not needed any more: run `on_retire` and exit. A leader ignores it."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """The bot stops for good: at the next boundary run `on_stop` and exit."""


class Run(msgspec.Struct, frozen=True, tag="run"):
    """A command for the bot, to be run once in a turn of its own. By `key` it runs only once across handoffs.

    `pause`, `resume` and `halt` take no arguments; `settings` takes `set` (a map) and `reset` (a list of names);
    `state-restore` takes `file`, the path of a `StagedState`; `state-set` takes `path` and `value`, which is JSON.
    """

    key: str
    name: str
    args: dict[str, Any]


WorkerMessage = (
    Hello
    | Ready
    | Report
    | Rehearsed
    | Holding
    | Cancelled
    | Suspect
    | Handed
    | Recovered
    | Failed
    | DecisionOpened
    | DecisionClosed
    | Answered
)
SupervisorMessage = (
    Welcome
    | Rejected
    | Identify
    | Follow
    | ExpectFollower
    | Lead
    | YieldTo
    | CancelYield
    | Retire
    | Stop
    | Run
)

worker_codec: MessageCodec[WorkerMessage] = MessageCodec(WorkerMessage, "a worker's message", LINK_LIMIT)
supervisor_codec: MessageCodec[SupervisorMessage] = MessageCodec(
    SupervisorMessage, "the supervisor's message", LINK_LIMIT
)
