"""The HTTP operations: one table, from which the routes and the OpenAPI document are made.

An operation that changes something is a command of `protocol.commands`, and that struct is its body.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...protocol import commands
from ...protocol.commands import Code, Request
from ...protocol.status import BotStatus
from ..state.reader import StateComparison, StatePage
from ..store.history_rows import DeploymentRow
from . import json_views
from .tokens import Role

__all__ = ["OPERATIONS", "Operation"]

_IN_NAMES = str.maketrans({"/": "-", "{": None, "}": None})


class Operation(msgspec.Struct, frozen=True):
    """`POST path` carries out a command, `GET path` reads something."""

    path: str
    summary: str
    answer: Any
    """The type of the answer."""
    command: type[Request] | None = None
    """The command for the supervisor; None when this process answers itself."""
    query: type[msgspec.Struct] = json_views.Nothing
    """The parameters of the query."""
    role: Role | None = "viewer"
    """The role that it needs; None for a public operation."""
    changes: bool = False
    media: str = "application/json"
    faults: tuple[str, ...] = ()
    """Further codes of errors, beyond those that `codes` adds for every operation of its kind."""

    @property
    def codes(self) -> frozenset[str]:
        """All codes that it can be refused with."""
        found = {"host", *self.faults}
        if self.role is not None:
            found |= {"no-token", "bad-token", "too-many", "failed"}
        if self.role == "operator":
            found.add("role")
        if self.command is not None:
            found |= {"unreachable", "silent"}
        return frozenset(found | (_OF_A_CHANGE if self.changes else {"bad-input"}))

    @property
    def name(self) -> str:
        """A unique name."""
        path = self.path.removeprefix("/api").strip("/").translate(_IN_NAMES)
        return f"{'do' if self.changes else 'see'}-{path}"


_OF_A_CHANGE = frozenset({"origin", "bad-request", "too-large", "not-json"})
_OF_THE_BOT: tuple[Code, ...] = ("busy", "down", "boundary")
"""Why the bot may not answer. A failure of the command itself is `failed`."""
_OF_A_HANDOFF: tuple[Code, ...] = (*_OF_THE_BOT, "bad-input", "not-found", "aborted", "rolled-back")


def _command(op: type[Request], answer: Any, *faults: Code) -> Operation:
    tag = str(op.__struct_config__.tag)
    summary = " ".join((op.__doc__ or "").split("\n\n")[0].split())
    return Operation(f"/api/{tag}", summary, answer, command=op, role="operator", changes=True, faults=faults)


OPERATIONS: tuple[Operation, ...] = (
    Operation("/api/me", "Who asks, and of which bot.", json_views.Me),
    Operation(
        "/api/status",
        "What runs, what comes next, and how the last deployment ended.",
        BotStatus,
        commands.Status,
    ),
    Operation(
        "/api/ticks",
        "The recent ticks: how late each began and how long it ran.",
        json_views.TicksSeen,
        query=json_views.TicksWanted,
    ),
    Operation(
        "/api/events",
        "Everything that happens, as it happens: server-sent events.",
        str,
        query=json_views.StreamWanted,
        media="text/event-stream",
    ),
    Operation(
        "/api/history",
        "The deployments and outages so far.",
        json_views.Past,
        commands.History,
        query=json_views.Paging,
    ),
    Operation(
        "/api/history/{deployment}",
        "The whole story of one deployment.",
        DeploymentRow,
        commands.History,
        faults=("not-found",),
    ),
    Operation(
        "/api/releases", "The releases kept, newest first.", json_views.ReleasesSeen, commands.Releases
    ),
    Operation(
        "/api/audit",
        "Who asked for what, and what became of it.",
        json_views.Audit,
        commands.History,
        json_views.Paging,
    ),
    Operation(
        "/api/logs",
        "What the workers print.",
        json_views.Logs,
        query=json_views.LogsWanted,
        faults=("not-found",),
    ),
    Operation(
        "/api/settings",
        "The bot's settings: their values and their schema.",
        json_views.SettingsSeen,
        commands.Settings,
        faults=("busy", "down"),
    ),
    Operation(
        "/api/commands",
        "The commands that the bot has declared.",
        json_views.CommandsSeen,
        commands.Commands,
        faults=("busy", "down"),
    ),
    Operation(
        "/api/state",
        "The bot's state now or at an earlier point: all fields, or a page of what is at a path.",
        StatePage,
        query=json_views.StateWanted,
        faults=("not-found",),
    ),
    Operation(
        "/api/state-diff",
        "What differs between the bot's state at two points.",
        StateComparison,
        query=json_views.ComparisonWanted,
        faults=("not-found",),
    ),
    _command(commands.Deploy, json_views.DeploymentAccepted, *_OF_A_HANDOFF, "locked"),
    _command(commands.Abort, json_views.DeploymentAccepted, "not-found", "busy"),
    _command(commands.Rollback, json_views.DeploymentAccepted, *_OF_A_HANDOFF),
    _command(commands.Pause, json_views.CommandAnswer, *_OF_THE_BOT),
    _command(commands.Resume, json_views.CommandAnswer, *_OF_THE_BOT),
    _command(commands.RebaseClock, json_views.CommandAnswer, *_OF_THE_BOT),
    _command(commands.Halt, json_views.Halted, *_OF_THE_BOT, "bad-input"),
    _command(commands.Settings, json_views.SettingsChanged, *_OF_THE_BOT, "bad-input"),
    _command(commands.Send, json_views.CommandAnswer, *_OF_THE_BOT, "bad-input", "not-found"),
    _command(commands.RestoreState, json_views.Restored, *_OF_THE_BOT, "bad-input", "not-found"),
    _command(commands.ImportState, json_views.StateTaken, *_OF_THE_BOT, "bad-input", "not-found"),
    _command(commands.SetState, json_views.ValueSet, *_OF_THE_BOT, "bad-input"),
    _command(commands.Lock, dict[str, Any], "bad-input", "locked"),
    _command(commands.Unlock, dict[str, Any]),
    _command(commands.Acknowledge, json_views.Acknowledged, "not-found", "busy"),
    Operation("/metrics", "The same in numbers, for Prometheus.", str, media="text/plain"),
    Operation("/openapi.json", "This description.", dict[str, Any], role=None),
)
