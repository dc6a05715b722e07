"""One deployment: its number, its state while it is in progress, and its outcome."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import msgspec

from ...protocol.commands import Deploy, Rollback
from ...protocol.events import DeploymentEnded, Outcome
from ...protocol.handoff.handoff_events import NO_BOUNDARY, Phase
from ..handoff.progress import Finished, HandoffRecord
from ..store.history_db import HistoryDb, HistoryError
from ..store.history_rows import DeploymentRow
from ..system.errors import Refusal
from .build_log import newest_logged

__all__ = [
    "ActiveDeployment",
    "DeploymentBegun",
    "UnfinishedDeployment",
    "aborted_before_handoff",
    "busy",
    "ended_unseen",
    "fault_of",
    "newest_deployment",
    "outcome_of",
]


class ActiveDeployment:
    """The deployment that `command` requested at wall time `at`."""

    def __init__(self, command: Deploy | Rollback, deployment: int, at: int) -> None:
        self.command = command
        self.deployment = deployment
        """Its number, which is final once it has begun."""
        self.at = at
        self.release = ""
        self.previous = ""
        """The release that it takes over from."""
        self.before: str | None = None
        """The release that led before `previous`."""
        self.doing = "copying"
        """The step in progress before its driver begins: copying, building."""
        self.warnings: list[str] = []
        self.cancelled = ""
        """Why it must not begin, "" when it may."""
        self.ended: asyncio.Future[DeploymentEnded | None] = asyncio.get_running_loop().create_future()
        """How it ended; None when it never began."""

    @property
    def dry_run(self) -> bool:
        return isinstance(self.command, Deploy) and self.command.dry_run


class UnfinishedDeployment(msgspec.Struct, frozen=True):
    """The record of a deployment in progress, for the next supervisor."""

    kept: HandoffRecord
    previous: str
    before: str | None


class DeploymentBegun(msgspec.Struct, frozen=True):
    """The answer to a command that began a deployment."""

    deployment: int
    release: str
    previous: str


def busy(active: ActiveDeployment) -> Refusal:
    """The refusal of a command that has to wait for this deployment."""
    number = active.deployment
    return Refusal(
        "busy",
        f"deployment {number} is under way: wait for it, cancel it with `neverblink abort {number}`, "
        "or supersede it with `deploy --replace`",
        deployment=number,
    )


def aborted_before_handoff(reason: str, leader: str) -> Finished:
    """The end of a deployment whose handoff never began."""
    return Finished(Phase.ABORTED, reason or "no worker leads", leader, took_over=False)


def outcome_of(how: Finished, *, dry_run: bool) -> Outcome:
    """The outcome, as events and history have it."""
    if how.phase is Phase.DONE:
        return "rehearsed" if dry_run else "done"
    return "rolled_back" if how.phase is Phase.ROLLED_BACK else "aborted"


def fault_of(ended: DeploymentEnded) -> Refusal | None:
    """The refusal for a deployment that failed, None when it succeeded."""
    if ended.outcome in ("done", "rehearsed"):
        return None
    facts = msgspec.to_builtins(ended)
    if ended.outcome == "rolled_back":
        return Refusal("rolled-back", f"rolled back: {ended.reason}", **facts)
    code = "boundary" if ended.reason.startswith(NO_BOUNDARY) else "aborted"
    return Refusal("down" if not ended.leader else code, f"aborted: {ended.reason}", **facts)


def ended_unseen(row: DeploymentRow, at: int) -> DeploymentEnded:
    """The end of a deployment whose handoff had not begun when its supervisor ended."""
    return DeploymentEnded(
        bot=row.bot,
        at=at,
        deployment=row.id,
        outcome="aborted",
        reason="the supervisor ended before it did",
        leader="",
        release="",
    )


def newest_deployment(database: Path, logs: Path, bot: str) -> int:
    """The highest number that a deployment of `bot` is known to have had; 0 when there was none.

    People name deployments by number in messages, `abort` and `history`, so a number is never used twice. A history
    that begins anew counts on from the numbers in build logs and in damaged histories that were set aside.
    """
    numbers = [newest_logged(logs)]
    for path in [database, *database.parent.glob(f"{database.name}.damaged-*Z")]:
        with suppress(HistoryError), HistoryDb.open(path, bot, read_only=True) as history:
            numbers += [row.id for row in history.deployments(1)]
    return max(numbers)
