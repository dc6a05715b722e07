"""Following a deployment to its end.

Events make the picture, the history makes sure of the outcome. An event may be lost (a full queue, a supervisor that
was restarted), so besides listening we ask, at a slow pace, how the deployment stands. A supervisor that goes away in
the middle is waited for, because the handoff goes on without it. Ctrl-C cancels the deployment, and we follow it to
that end; the bot is not touched either way.
"""

from __future__ import annotations

import time

from ...protocol.commands import Abort, History
from ..api.client import (
    Client,
    CommandFault,
    EventSubscription,
    Unreachable,
    convert,
)
from ..store.history_rows import DeploymentRow
from ..terminal.deployment_story import DeploymentStory
from ..terminal.screen import Screen
from .deployment_result import Outcome, of_event, of_row
from .interrupts import Interrupts

__all__ = ["follow"]

ASK_EVERY = 2.0
"""Seconds between two looks at the history, in case the event that ends the deployment was lost."""

RETURN_WITHIN = 60.0
"""Seconds that a supervisor which went away in the middle has to come back."""

_LIVELY = 0.1
_CALM = 0.5


def follow(
    client: Client, events: EventSubscription, deployment: int, screen: Screen, interrupts: Interrupts
) -> Outcome:
    """Show the deployment on the screen until it has ended; return how.

    Raises `Unreachable` when the supervisor goes away and stays away.
    """
    progress = DeploymentStory(screen, deployment, time.time_ns)
    asked = time.monotonic()
    gone: float | None = None
    cancelled = False
    while progress.ended is None:
        event = events.next(_LIVELY if screen.lively else _CALM)
        if event is not None:
            progress.take(event)
        elif gone is None:
            progress.refresh()
        if interrupts.wanted and not cancelled:
            cancelled = _cancel(client, deployment, screen)
        now = time.monotonic()
        if now - asked < ASK_EVERY:
            continue
        asked = now
        try:
            row = convert(client.ask(History(deployment=deployment)), DeploymentRow)
            gone = None
        except Unreachable:
            gone = now if gone is None else gone
            if now - gone > RETURN_WITHIN:
                raise
            screen.live(screen.warn("  … the supervisor is away; the handoff goes on without it"))
            continue
        outcome = of_row(row)
        if outcome is not None:
            screen.live("")
            return outcome
    return of_event(progress.ended, progress)


def _cancel(client: Client, deployment: int, screen: Screen) -> bool:
    """Ask for the deployment's end; return whether the wish arrived."""
    try:
        client.ask(Abort(deployment=deployment, why="Ctrl-C"))
    except CommandFault as refused:
        # Too late: it has ended, or is past the point; what came of it is about to be shown.
        screen.line(screen.warn(f"  Ctrl-C: {refused.message}"))
    except Unreachable:
        return False
    else:
        screen.line(
            screen.warn(
                f"  Ctrl-C: cancelling deployment {deployment}; the bot goes on. Again: stop watching"
            )
        )
    return True
