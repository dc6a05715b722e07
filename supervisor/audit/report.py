"""What an audit found: the object behind `audit --json`.

Counts are exact. Lists that could grow with the journal have a limit, and the count beside such a list is the full
number. Durations that people compare are in microseconds, times are wall-clock ns.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ...protocol.frame import Cause

__all__ = [
    "INVARIANTS",
    "MOST",
    "AuditReport",
    "Chain",
    "ClockChange",
    "CommandsFound",
    "Death",
    "DecisionsFound",
    "EventsFound",
    "Invariant",
    "Missing",
    "SchemaChange",
    "TimersFound",
    "TornTail",
    "Transfer",
    "Uncovered",
    "UnwrittenFrames",
    "ValuesFound",
    "Violation",
    "WindowFound",
    "WrongValue",
]

Invariant = Literal[1, 2, 3, 4, 5, 7, 9]

INVARIANTS: dict[Invariant, str] = {
    1: "at most one worker ticked at any instant",
    2: "every tick ran once, or is recorded with its cause",
    3: "no worker left with a decision open",
    4: "the state continued unbroken from leader to leader",
    5: "epochs only grew",
    7: "every event and timer was applied exactly once",
    9: "every value that was written can be read as its type",
}
"""The invariants that a journal can prove. (6 and 8 are about processes.)"""

MOST = 1000
"""The longest list in a report."""


class Violation(msgspec.Struct, frozen=True):
    """One violation of invariant `invariant`, at frame `number` and tick `seq` where known."""

    invariant: Invariant
    text: str
    number: int | None
    seq: int | None


class Missing(msgspec.Struct, frozen=True):
    """Indices `seq` to `last`, both included, that did not run. An empty `cause` means that none was recorded."""

    seq: int
    last: int
    cause: str


class Transfer(msgspec.Struct):
    """The lease went from one worker to another (or, as a `takeback`, to the same one again)."""

    deployment: int
    """0 without one."""
    number: int
    """The new leader's first frame."""
    epoch: int
    cause: Cause
    from_: str = msgspec.field(name="from")
    from_release: str
    to: str
    to_release: str
    seq: int | None = None
    """The new leader's first tick, None when it ran none before the end of the span."""
    late_us: float | None = None
    blackout_us: float | None = None
    """None when unknown: the old leader was killed."""
    missed: int = 0
    """Indices that did not run because of it."""
    heartbeats: bool = False
    """The new leader's bot is event-driven: `seq` is its first heartbeat, and `missed` counts heartbeats."""


class Death(msgspec.Struct):
    """A leader died, and another worker continued: a follower that took the lease, or a new worker from the journal."""

    worker: str
    release: str
    epoch: int
    """The successor's; `number` is its first frame."""
    number: int
    successor: str
    cause: Cause
    """How the successor came to lead: `failover`, or `first` when it started from the journal."""
    in_doubt: list[str]
    """Decisions that were open."""
    seq: int | None = None
    """The successor's first tick, None when it ran none before the end of the span."""
    missed: int = 0
    """Indices that did not run because of it."""
    reason: str = ""
    """How the worker ended. The journal does not record it; the caller adds it from the history."""
    heartbeats: bool = False
    """As in `Transfer`, of the successor."""


class Chain(msgspec.Struct, frozen=True):
    """Frames `first` to `last` form one chain; `digest` (hex) is the last frame's and covers all of them."""

    ok: bool
    frames: int
    first: int | None
    last: int | None
    digest: str


class CommandsFound(msgspec.Struct, frozen=True):
    """Operators' commands, by key. `waiting` were received and not yet applied at the end."""

    received: int
    applied: int
    twice: list[str]
    never: list[str]
    waiting: list[str]
    """The first of them."""
    stopped: int
    """Those waiting when the bot was stopped for good."""
    waiting_total: int = 0


class EventsFound(CommandsFound, frozen=True):
    """The same for events."""

    repeated: int = 0
    """Duplicate events and commands that were dropped."""
    dropped: int = 0
    """Dropped because the inbox was full."""
    missing: int = 0
    """Numbers of streams that did not arrive in time."""


class TimersFound(msgspec.Struct, frozen=True):
    fired: int
    twice: int
    """Went off when no timer was armed for that time."""
    armed: int
    """Still armed at the end."""
    late_us: float
    """The worst."""


class DecisionsFound(msgspec.Struct, frozen=True):
    opened: int
    closed: int
    raised: int
    """Closed by an exception."""
    in_doubt: list[str]
    """Left open by a leader that died; its successor was informed."""
    across: list[str]
    """Open when their worker yielded or stopped."""
    open: list[str]
    """Open at the end."""


class Uncovered(msgspec.Struct, frozen=True):
    """One occurrence of a window in which a tick was missing; wall ns."""

    opens: int
    closes: int


class WindowFound(msgspec.Struct, frozen=True):
    """Of the `total` occurrences that are completely in the span, `covered` had all of their ticks run."""

    total: int
    covered: int
    uncovered: list[Uncovered]


class SchemaChange(msgspec.Struct, frozen=True):
    """From frame `number` on, the state has another schema: its version, and its fingerprint if that differs too."""

    number: int
    seq: int
    before: int
    after: int


class ClockChange(msgspec.Struct, frozen=True):
    """A step of the wall clock by `by_us` was detected before tick or heartbeat `seq`."""

    seq: int
    by_us: float


class TornTail(msgspec.Struct, frozen=True):
    """The unfinished record at a segment's end: left by a killed worker, or being written now. Not a fault."""

    segment: int
    offset: int
    bytes: int


class UnwrittenFrames(msgspec.Struct, frozen=True):
    """Frames `first` to `last` are in no file, because the journal could not be written: `why`, and since when (ns).

    The state with which the journal continues includes their changes. What happened in them cannot be proven.
    """

    first: int
    last: int
    since: int
    why: str


class WrongValue(msgspec.Struct, frozen=True):
    """From frame `number` on, after tick `seq`, a field has a value that is not of its type; None: in a snapshot."""

    field: str
    problem: str
    number: int | None
    seq: int | None


class ValuesFound(msgspec.Struct, frozen=True):
    """The values that were decoded as the types that the journal declares for the state."""

    read: int
    """Fields and rows."""
    untyped: int
    """Frames with changes for which the journal declares no types: an earlier release of neverblink wrote them."""
    wrong_total: int
    wrong: list[WrongValue]


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an audit. `ok` when every invariant holds."""

    ok: bool
    broken: list[Violation]
    broken_total: int
    ticks: int
    """Ticks that ran; heartbeats of an event-driven bot are counted in `heartbeats`."""
    first: int | None
    """The first and the last index of the span that ran or did not."""
    last: int | None
    began: int | None
    """When the first and the last turn of the span ended."""
    ended: int | None
    interval: int | None
    """The grid's at the end of the span, ns."""
    late_us: float
    """The worst lateness of a tick."""
    missed: int
    """Indices that did not run, recorded or not."""
    missing: list[Missing]
    """Their ranges."""
    doubled: int
    """Ticks whose index had already run."""
    skipped: list[Missing]
    """Ranges that the bot itself overran."""
    skipped_total: int
    """Their indices."""
    handoffs: list[Transfer]
    """Every transfer of the lease; `cause` distinguishes planned ones from the others."""
    handoffs_total: int
    deaths: list[Death]
    """Leaders that died and had a successor."""
    deaths_total: int
    starts: int
    """How often a first worker took the lease (starts of the bot)."""
    chain: Chain
    events: EventsFound
    commands: CommandsFound
    timers: TimersFound
    decisions: DecisionsFound
    values: ValuesFound
    windows: dict[str, WindowFound]
    resets: list[int]
    """Frames with which a leader restored the state of the handoff."""
    schemas: list[SchemaChange]
    clock: list[ClockChange]
    torn: list[TornTail]
    unwritten: list[UnwrittenFrames]
    epochs: tuple[int, int] | None
    """The lowest and the highest epoch."""
    heartbeats: int = 0
    """Heartbeats of an event-driven bot. `missed`, `skipped` and `doubled` count them like ticks."""
    turns: int = 0
    """Turns of the bot's own code: ticks, events, timers and commands."""
