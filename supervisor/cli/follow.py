"""Following a deployment on a terminal. Ctrl-C cancels the deployment, which is followed to that end."""

from __future__ import annotations

import time

from ...protocol.commands import Abort
from ..api.client import Client, CommandFault, EventSubscription, Unreachable
from ..api.deployment_follower import follow_deployment
from ..terminal.deployment_lines import DeploymentLines
from ..terminal.deployment_screen import DeploymentScreen
from ..terminal.screen import Screen
from .interrupts import Interrupts

__all__ = ["follow"]

_LIVELY = 0.1
_CALM = 0.5


def follow(
    client: Client, events: EventSubscription, deployment: int, screen: Screen, interrupts: Interrupts
) -> DeploymentLines:
    """Show the deployment on the screen until it has ended; return its lines, with its end and its phases.

    Raises `Unreachable` when the supervisor goes away and does not come back.
    """
    view = DeploymentScreen(screen, deployment, time.time_ns)
    cancelled = False

    def cancel_on_interrupt() -> None:
        nonlocal cancelled
        if interrupts.wanted and not cancelled:
            cancelled = _cancel(client, deployment, screen)

    follow_deployment(client, events, view, _LIVELY if screen.lively else _CALM, cancel_on_interrupt)
    return view.lines


def _cancel(client: Client, deployment: int, screen: Screen) -> bool:
    """Ask for the deployment's end; return whether the request arrived."""
    try:
        client.ask(Abort(deployment=deployment, why="Ctrl-C"))
    except CommandFault as refused:
        # Too late: the deployment has ended, or can no longer be cancelled. Its outcome is about to be shown.
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
