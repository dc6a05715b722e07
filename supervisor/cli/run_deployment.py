"""Seeing a deployment through: ask for it, follow it, and say in a line or two what became of it."""

from __future__ import annotations

from typing import Any

import msgspec

from ...protocol.commands import Deploy, Rollback
from ..api.client import Client
from ..system.format import last
from ..terminal.screen import Screen
from .command import Done
from .deployment_result import Outcome
from .exit_codes import Exit
from .follow import follow
from .interrupts import Interrupts

__all__ = ["RELEASE_WITHIN", "see_through"]

RELEASE_WITHIN = 120.0
"""Seconds until a deployment has its number: a large directory takes a while to copy."""


def see_through(
    screen: Screen, client: Client, command: Deploy | Rollback, *, wait: bool, doing: str
) -> Done:
    """Have `command` carried out and show it to its end, or with `wait` False until it has its number.

    `doing` is what is said until then. Raises `Refused` and `Unreachable`.
    """
    # Listen first and ask then: the other way round, what happens between the two would be missed.
    with Interrupts() as interrupts, client.events() as events:
        screen.live(screen.faint(f"{doing} …"), gist="")
        begun: dict[str, Any] = client.ask(command, within=RELEASE_WITHIN)
        screen.live("")
        deployment: int = begun["deployment"]
        screen.line(f"{screen.style(f'deployment {deployment}', bold=True)}  {_headline(begun)}")
        if not wait:
            return Done(begun)
        outcome = follow(client, events, deployment, screen, interrupts)
    # A rollback in a probation ends the deployment that is under way as rolled back, and that is what was wanted.
    wanted = (
        isinstance(command, Rollback) and bool(outcome.release) and outcome.release == begun.get("release")
    )
    _conclude(screen, outcome, wanted)
    return Done(msgspec.to_builtins(outcome), Exit.DONE if wanted else outcome.exit)


def _headline(begun: dict[str, Any]) -> str:
    release, previous = begun.get("release", ""), begun.get("previous", "")
    return f"{release} takes over from {previous}" if release and previous else str(release)


def _conclude(screen: Screen, outcome: Outcome, wanted: bool) -> None:
    """Say in one or two lines what has become of it, and what leads now; `wanted` when a way back was asked for."""
    leads = f"{outcome.release} leads" if outcome.release else "no worker leads"
    match outcome.outcome:
        case "done":
            told = [f"at tick {outcome.seq}"] if outcome.seq is not None else []
            if outcome.blackout_us is not None:
                told.append(f"blackout {last(int(outcome.blackout_us * 1000))}")
            if outcome.late_us is not None:
                told.append(f"first tick {last(int(outcome.late_us * 1000))} late")
            told.append(f"{outcome.missed} missed")
            screen.line(f"{screen.good('done')}  {leads}: {', '.join(told)}")
        case "rehearsed":
            screen.line(
                f"{screen.good('rehearsed')}  the new code can take over; nothing was handed over, {leads}"
            )
        case "rolled_back":
            colour = screen.good if wanted else screen.bad
            screen.line(f"{colour('rolled back')}  {outcome.reason}")
            screen.line(f"  {outcome.release} leads again" if outcome.release else f"  {leads}")
        case _:
            held = f" (held by {outcome.held})" if outcome.held and outcome.held not in outcome.reason else ""
            screen.line(f"{screen.bad('aborted')}  {outcome.reason}{held}")
            screen.line(f"  {leads}" + ("; it noticed nothing" if outcome.release else ""))
