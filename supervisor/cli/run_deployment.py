"""Runs a deployment for the command line: requests it, follows it, and shows its result."""

from __future__ import annotations

from typing import Any

import msgspec

from ...protocol.commands import Deploy, Rollback
from ...protocol.events import DeploymentEnded
from ..api.client import Client
from ..terminal.deployment_lines import handoff_facts, leads, outcome_name, takes_over
from ..terminal.screen import Screen
from .command import Done
from .deployment_result import result_of
from .exit_codes import Exit
from .follow import follow
from .interrupts import Interrupts

__all__ = ["RELEASE_WITHIN", "run_deployment"]

RELEASE_WITHIN = 120.0
"""Seconds until a deployment has its number: a large directory takes a while to copy."""


def run_deployment(
    screen: Screen, client: Client, command: Deploy | Rollback, *, wait: bool, doing: str
) -> Done:
    """Request `command` and show the deployment to its end; with `wait` False, only until it has its number.

    `doing` is shown until it has one. Raises `CommandFault` and `Unreachable`.
    """
    # Subscribe first: events between the request and the subscription would be lost.
    with Interrupts() as interrupts, client.events() as events:
        screen.live(screen.faint(f"{doing} …"), gist="")
        begun: dict[str, Any] = client.ask(command, within=RELEASE_WITHIN)
        screen.live("")
        deployment: int = begun["deployment"]
        screen.line(f"{screen.style(f'deployment {deployment}', bold=True)}  {_headline(begun)}")
        if not wait:
            return Done(begun)
        lines = follow(client, events, deployment, screen, interrupts)
    outcome = result_of(lines)
    # A rollback in a probation ends the current deployment as rolled back, which is what the operator wanted.
    wanted = (
        isinstance(command, Rollback) and bool(outcome.release) and outcome.release == begun.get("release")
    )
    assert lines.ended is not None
    _show_result(screen, lines.ended, outcome.held, wanted)
    return Done(msgspec.to_builtins(outcome), Exit.DONE if wanted else outcome.exit)


def _headline(begun: dict[str, Any]) -> str:
    return takes_over(str(begun.get("release", "")), str(begun.get("previous", "")))


def _show_result(screen: Screen, ended: DeploymentEnded, held: str, wanted: bool) -> None:
    """Show the outcome and what leads now. `wanted`: the operator asked for the rollback; `held`: what held it up."""
    who_leads = leads(ended.release)
    name = outcome_name(ended.outcome)
    match ended.outcome:
        case "done":
            screen.line(f"{screen.good(name)}  {who_leads}: {', '.join(handoff_facts(ended))}")
        case "rehearsed":
            screen.line(
                f"{screen.good(name)}  the new code can take over; nothing was handed over, {who_leads}"
            )
        case "rolled_back":
            colour = screen.good if wanted else screen.bad
            screen.line(f"{colour(name)}  {ended.reason}")
            screen.line(f"  {who_leads} again" if ended.release else f"  {who_leads}")
        case _:
            held_by = f" (held by {held})" if held and held not in ended.reason else ""
            screen.line(f"{screen.bad(name)}  {ended.reason}{held_by}")
            screen.line(f"  {who_leads}" + ("; the bot was not interrupted" if ended.release else ""))
