"""Requests the deployment of a push, and shows its progress.

Only the request matters; the rest shows its progress. After `begin` this process may end at any point, by a broken
connection or kill -9, and the deployment goes on.
"""

from __future__ import annotations

from typing import Any

from ...protocol.commands import Deploy, Status
from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    Heartbeat,
)
from ..api.client import Client, EventSubscription
from ..api.deployment_follower import follow_deployment
from .push_output import DeploymentOutput, PushOutput

__all__ = ["PushRequest"]

_LOOK_EVERY = 0.5
_LOOK_SOON = 0.05


class PushRequest:
    """Deploys through `client` and shows the progress on `output`. `events` is subscribed already."""

    def __init__(self, client: Client, events: EventSubscription, output: PushOutput) -> None:
        self._client = client
        self._events = events
        self._output = output
        self._request = ""
        self._commit = ""
        self._ahead: int | None = None
        self._unseen: list[Event] = []
        """Events that arrived before the deployment's number was known."""

    def begin(self, command: Deploy, commit: str) -> None:
        """Send the request; when this returns, the supervisor has it. Raises `Unreachable`.

        `commit` is the commit of the release, as its events name it.
        """
        self._commit = commit
        status: dict[str, Any] = self._client.ask(Status())
        running: dict[str, Any] | None = status.get("deployment")
        if running is not None:
            self._wait_for(int(running["deployment"]))
        self._request = self._client.send(command)
        # One socket's requests are read in order: an answer to this one means that the other has arrived.
        self._client.ask(Status())

    def number(self) -> int:
        """Wait for the deployment's number: for the deployments before it, and until its release is made.

        Raises `CommandFault` and `Unreachable`.
        """
        while True:
            event = self._events.next(_LOOK_SOON)
            if event is not None and not isinstance(event, Heartbeat):
                self._look_ahead(event)
                self._unseen.append(event)
            found = self._client.answer(self._request, within=0)
            if found is not None:
                return int(found["deployment"])
            self._output.alive(self._doing())

    def follow(self, deployment: int) -> DeploymentEnded:
        """Show the deployment to its end; return the end.

        Raises `Unreachable` when the supervisor goes away and does not come back.
        """
        view = DeploymentOutput(self._output, deployment)
        for event in self._unseen:
            view.take(event)
        self._unseen.clear()
        return follow_deployment(self._client, self._events, view, _LOOK_EVERY)

    def _look_ahead(self, event: Event) -> None:
        """Track which deployment runs before this one."""
        match event:
            case DeploymentStarted() if event.commit != self._commit:
                self._wait_for(event.deployment)
            case DeploymentEnded() if event.deployment == self._ahead:
                self._ahead = None
            case _:
                pass

    def _wait_for(self, deployment: int) -> None:
        self._ahead = deployment
        self._output.step(self._doing())

    def _doing(self) -> str:
        return (
            "making a release" if self._ahead is None else f"waiting for the end of deployment {self._ahead}"
        )
