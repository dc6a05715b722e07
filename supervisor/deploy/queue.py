"""The queue of deployments that wait for the one in progress to end, in the order they came.

A push must not be refused because another one is being deployed: one would have to find out when to push again, and
then git would say that everything is up to date. So it waits. When a later push of the same branch waits too, the
earlier one is dropped, because its code was replaced before it ran.
"""

from __future__ import annotations

from ...protocol.commands import Deploy
from ..system.errors import Refusal

__all__ = ["DeployQueue", "QueuedDeployment"]

_MOST = 64


class QueuedDeployment:
    """A command that waits since wall time `at`; `deployment` is the number it is going to have, 0 before it waits."""

    def __init__(self, command: Deploy, deployment: int, at: int) -> None:
        self.command = command
        self.deployment = deployment
        self.at = at
        self.cancelled = ""
        """Why it is not to be deployed, "" when it is."""


class DeployQueue:
    """The commands that wait. Nothing here blocks: a caller checks again when something has changed."""

    def __init__(self) -> None:
        self.waiting: list[QueuedDeployment] = []

    def enter(self, waiter: QueuedDeployment) -> None:
        """Append it. Raises `Refusal` when too many wait."""
        if len(self.waiting) >= _MOST:
            raise Refusal("busy", f"{_MOST} deployments are waiting already: try again later")
        self.waiting.append(waiter)

    def leave(self, waiter: QueuedDeployment) -> None:
        self.waiting.remove(waiter)

    def is_first(self, waiter: QueuedDeployment) -> bool:
        return self.waiting[0] is waiter

    def replaced_by(self, waiter: QueuedDeployment) -> Deploy | None:
        """The later one that deploys the same branch, further on; a rehearsal only makes room for a rehearsal."""
        command = waiter.command
        if not command.ref:
            return None
        later = self.waiting[self.waiting.index(waiter) + 1 :]
        return next((one.command for one in later if _what(one.command) == _what(command)), None)

    def find(self, deployment: int) -> QueuedDeployment | None:
        """The one that waits under this number."""
        return next((one for one in self.waiting if deployment and one.deployment == deployment), None)


def _what(command: Deploy) -> tuple[str, str, str, bool]:
    return command.repository, command.ref, command.directory, command.dry_run
