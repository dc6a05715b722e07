"""Follows a deployment to its end, for the command line and the push hook.

Events show the progress; the history confirms the outcome. An event may be lost (a full queue, a restarted
supervisor), so the history is polled as well, every `ASK_EVERY` seconds. A supervisor that goes away is waited for,
because the handoff goes on without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ...protocol.commands import History
from ...protocol.events import DeploymentEnded, Event
from ..store.history_rows import DeploymentRow
from ..terminal.deployment_lines import DeploymentLines
from .client import Client, EventSubscription, Unreachable, convert

__all__ = ["DeploymentView", "follow_deployment"]

ASK_EVERY = 2.0
"""Seconds between two polls of the history."""

RETURN_WITHIN = 60.0
"""How long a supervisor may be away, seconds."""


class DeploymentView(Protocol):
    """Shows the deployment that is followed."""

    lines: DeploymentLines

    def take(self, event: Event, /) -> None:
        """Show an event."""
        ...

    def refresh(self, *, away: bool = False) -> None:
        """Show that it goes on. `away`: the supervisor cannot be reached."""
        ...


def follow_deployment(
    client: Client,
    events: EventSubscription,
    view: DeploymentView,
    refresh_every: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> DeploymentEnded:
    """Show the deployment of `view` until it has ended; return its end.

    `refresh_every` is in seconds; `meanwhile` is called as often. Raises `Unreachable` when the supervisor goes away
    and does not come back in time.
    """
    lines = view.lines
    polled = time.monotonic()
    away_since: float | None = None
    while lines.ended is None:
        event = events.next(refresh_every)
        if event is not None:
            view.take(event)
        else:
            view.refresh(away=away_since is not None)
        meanwhile()
        now = time.monotonic()
        if lines.ended is not None or now - polled < ASK_EVERY:
            continue
        polled = now
        try:
            row = convert(client.ask(History(deployment=lines.deployment)), DeploymentRow)
        except Unreachable:
            away_since = now if away_since is None else away_since
            if now - away_since > RETURN_WITHIN:
                raise
            continue
        away_since = None
        if row.outcome is not None:
            lines.catch_up(row)
            view.refresh()
    return lines.ended
