"""Having a push deployed, and watching: one request to the supervisor, and its events until that has ended.

The request goes out first and is all that matters; what follows is a picture for whoever is there to see it. So it may
be cut off anywhere after `begin`, by a broken connection or by kill -9, and the deployment goes on.
"""

from __future__ import annotations

import time
from typing import Any

from ...protocol.commands import Deploy, History, Status
from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    Heartbeat,
)
from ..api.client import Client, EventSubscription, Unreachable, convert
from ..store.history_rows import DeploymentRow
from .client_output import PushOutput
from .deployment_lines import DeploymentLines

__all__ = ["DeploymentFollower"]

_LOOK_EVERY = 0.5
_LOOK_SOON = 0.05
_ASK_EVERY = 2.0
_RETURN_WITHIN = 60.0


class DeploymentFollower:
    """Deploys by `client` and tells `voice` what comes of it. `events` are subscribed to already."""

    def __init__(self, client: Client, events: EventSubscription, voice: PushOutput) -> None:
        self._client = client
        self._events = events
        self._voice = voice
        self._request = ""
        self._commit = ""
        self._ahead: int | None = None
        self._unseen: list[Event] = []
        """What was told before the deployment's number was known."""

    def begin(self, command: Deploy, commit: str) -> None:
        """Send the request; when this returns, the supervisor has it. Raises `Unreachable`.

        `commit` is what the release is made of, as its events will say.
        """
        self._commit = commit
        status: dict[str, Any] = self._client.ask(Status())
        running: dict[str, Any] | None = status.get("deployment")
        if running is not None:
            self._wait_for(int(running["deployment"]))
        self._request = self._client.send(command)
        # One socket's requests are read in their order: whoever has answered this one has the other.
        self._client.ask(Status())

    def number(self) -> int:
        """Wait until the deployment has its number: for those that run before it, and until its release is made.

        Raises `Refused` and `Unreachable`.
        """
        while True:
            event = self._events.next(_LOOK_SOON)
            if event is not None and not isinstance(event, Heartbeat):
                self._look_ahead(event)
                self._unseen.append(event)
            found = self._client.answer(self._request, within=0)
            if found is not None:
                return int(found["deployment"])
            self._voice.alive(self._doing())

    def end(self, deployment: int) -> DeploymentRow:
        """Tell the deployment's story to its end; return it as the history has it.

        Raises `Unreachable` when the supervisor goes away and stays away.
        """
        story = DeploymentLines(self._voice, deployment)
        for event in self._unseen:
            story.take(event)
        self._unseen.clear()
        asked = time.monotonic()
        gone: float | None = None
        while True:
            if not story.ended and (event := self._events.next(_LOOK_EVERY)) is not None:
                story.take(event)
            story.alive()
            now = time.monotonic()
            # An event may be lost: a full queue, a supervisor that came anew.
            if not story.ended and now - asked < _ASK_EVERY:
                continue
            asked = now
            try:
                row = convert(self._client.ask(History(deployment=deployment)), DeploymentRow)
            except Unreachable:
                gone = now if gone is None else gone
                if now - gone > _RETURN_WITHIN:
                    raise
                story.doing = "the supervisor is away; the bot and the handoff go on without it"
                continue
            gone = None
            if row.outcome is not None:
                return row

    def _look_ahead(self, event: Event) -> None:
        """See what runs before ours."""
        match event:
            case DeploymentStarted() if event.commit != self._commit:
                self._wait_for(event.deployment)
            case DeploymentEnded() if event.deployment == self._ahead:
                self._ahead = None
            case _:
                pass

    def _wait_for(self, deployment: int) -> None:
        self._ahead = deployment
        self._voice.step(self._doing())

    def _doing(self) -> str:
        return (
            "making a release" if self._ahead is None else f"waiting for the end of deployment {self._ahead}"
        )
