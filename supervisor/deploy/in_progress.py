"""A deployment in progress: what is known of it before its driver begins, and beside it."""

from __future__ import annotations

import asyncio

import msgspec

from ...protocol.commands import Deploy, Rollback
from ...protocol.events import DeploymentEnded
from ..handoff.interfaces import HandoffRecord
from ..system.errors import Refusal

__all__ = ["ActiveDeployment", "DeploymentBegun", "UnfinishedDeployment", "busy"]


class ActiveDeployment:
    """The deployment that `command` asked for, at wall time `at`."""

    def __init__(self, command: Deploy | Rollback, deployment: int, at: int) -> None:
        self.command = command
        self.deployment = deployment
        """Its number; until it has begun, the one it is going to have."""
        self.at = at
        self.release = ""
        self.previous = ""
        """The release that it takes over from."""
        self.before: str | None = None
        """The release that led before that one."""
        self.doing = "copying"
        """What is done before its driver begins: copying, building."""
        self.warnings: list[str] = []
        self.cancelled = ""
        """Why it is not to begin."""
        self.ended: asyncio.Future[DeploymentEnded | None] = asyncio.get_running_loop().create_future()
        """How it ended; None when it never began."""

    @property
    def dry_run(self) -> bool:
        return isinstance(self.command, Deploy) and self.command.dry_run


class UnfinishedDeployment(msgspec.Struct, frozen=True):
    """What is kept of a deployment in progress, for the next supervisor."""

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
