"""What is answered over HTTP where the supervisor's answer has no type of its own, and what a query may say."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ...protocol.events import Outage, StandbyChanged
from ...protocol.link import Offered
from ...protocol.logline import Level
from ...protocol.state.diff import FieldDiff, RowsDiff, ValueChange
from ..state.decisions import DecisionSince
from ..state.reader import StatePoint
from ..store.history_rows import CommandRow, DeploymentRow
from .ticks import LeadSeen, TickSeen
from .tokens import Role

__all__ = [
    "Acknowledged",
    "Audit",
    "CommandAnswer",
    "CommandsSeen",
    "ComparisonWanted",
    "DeploymentAccepted",
    "Halted",
    "LogLineSeen",
    "Logs",
    "LogsWanted",
    "Me",
    "Nothing",
    "Paging",
    "Past",
    "ReleasesSeen",
    "Restored",
    "SettingsChanged",
    "SettingsSeen",
    "StateTaken",
    "StateWanted",
    "StreamWanted",
    "TicksSeen",
    "TicksWanted",
    "ValueSet",
]

_Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Paging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: _Count = 50
    """How many, the newest first."""


class TicksWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 600
    """How many of the newest ticks."""
    pieces: Annotated[int, msgspec.Meta(ge=0, le=20_000)] = 0
    """Put neighbours together until there are about so many, with the worst of each; 0: every tick for itself."""


class LogsWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    worker: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Only this worker's, or `supervisor`."""
    lines: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 200
    """How many to begin with; without `after`."""
    after: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    """The `next` of the answer before: only what came since."""


class StreamWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    topics: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    """Only these types of event, with commas between; by default all but `pulse`."""
    after: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """The id of the last event that was seen, as the header Last-Event-ID says it."""


class StateWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    """As in `positions.BTC.size`; "" for all fields."""
    at: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """now (""), a tick's index, a time, how long ago, `frame:N`, a decision's id, or a release."""
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    """Of a table, list or map: the first item."""
    limit: _Count = 100
    """And at most so many of them."""


class ComparisonWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    a: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """As `at` of the state."""
    b: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: _Count = 100
    """How many single values are listed; all are counted."""


class StateTaken(msgspec.Struct, frozen=True):
    """The state was taken in, after tick `seq`; restoring the point `undo` undoes it."""

    undo: str
    seq: int


class ValueSet(msgspec.Struct, frozen=True):
    """The value at `path` was set."""

    path: str
    old: Any
    new: Any
    undo: str
    seq: int


class Restored(msgspec.Struct, frozen=True):
    """What differed between the present state and the one of `point`. `undo` is "" for a dry run."""

    point: StatePoint
    fields: list[FieldDiff]
    tables: list[RowsDiff]
    changes: list[ValueChange]
    total: int
    timers: list[str]
    """Those that differ."""
    decisions: list[DecisionSince]
    """Those taken since, which that state does not know."""
    in_doubt: list[str]
    undo: str = ""
    seq: int | None = None


class Me(msgspec.Struct, frozen=True):
    """Who asks: the token's name and role; and of which bot."""

    name: str
    role: Role
    bot: str
    version: str


class ReleasesSeen(msgspec.Struct, frozen=True):
    """The releases kept, newest first."""

    releases: list[dict[str, Any]]
    current: str | None
    previous: str | None


class Past(msgspec.Struct, frozen=True):
    """The past, newest first."""

    deployments: list[DeploymentRow]
    outages: list[Outage]
    standbys: list[StandbyChanged]


class Audit(msgspec.Struct, frozen=True):
    """Who asked for what, and what became of it, newest first."""

    commands: list[CommandRow]


class TicksSeen(msgspec.Struct, frozen=True):
    """Ticks, oldest first, each as [seq, count, due, late, took, epoch, skipped, missed]; and who led in them."""

    ticks: list[TickSeen]
    leads: list[LeadSeen]


class LogLineSeen(msgspec.Struct, frozen=True):
    worker: str
    release: str
    level: Level
    text: str
    time: str = ""
    """As the line itself says it, "" when it does not."""


class Logs(msgspec.Struct, frozen=True):
    lines: list[LogLineSeen]
    next: str
    """To be given as `after`."""


class DeploymentAccepted(msgspec.Struct, frozen=True):
    """A deployment that was begun. With `wait`, how it ended is answered instead."""

    deployment: int
    release: str
    previous: str


class CommandAnswer(msgspec.Struct, frozen=True):
    """What the bot answered, and the tick it did so after."""

    seq: int
    value: Any = None


class Halted(msgspec.Struct, frozen=True):
    """`halted`: the bot's own `on_halt` ran, and answered `value`; else it is only paused."""

    paused: bool
    halted: bool
    seq: int
    value: Any = None


class SettingsSeen(msgspec.Struct, frozen=True):
    """The settings in force, those of them that an operator has set, and their JSON Schema (null: it has none)."""

    values: dict[str, Any]
    chosen: list[str]
    schema: dict[str, Any] | None


class SettingsChanged(msgspec.Struct, frozen=True):
    """What was changed, from what to what, and the tick it took effect after."""

    values: dict[str, Any]
    seq: int | None = None
    changes: dict[str, dict[str, Any]] = {}
    chosen: list[str] = []


class CommandsSeen(msgspec.Struct, frozen=True):
    """`listens`: it takes commands that it has not declared, too."""

    commands: list[Offered]
    listens: bool


class Acknowledged(msgspec.Struct, frozen=True):
    acknowledged: list[Outage]
