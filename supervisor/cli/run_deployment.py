"""Runs a deployment for the command line: requests it, follows it, and shows its result.

Ctrl-C cancels the deployment, which is followed to that end.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import click
import msgspec

from ...protocol.commands import Abort, Deploy, Rollback
from ...protocol.events import DeploymentEnded
from ...protocol.handoff.handoff_events import NO_BOUNDARY
from ..api.client import Client, CommandFault, EventSubscription, Unreachable
from ..api.deployment_follower import follow_deployment
from ..terminal.deployment_lines import DeploymentLines, handoff_facts, leads, outcome_name, takes_over
from ..terminal.deployment_screen import DeploymentScreen
from ..terminal.screen import Screen
from .command import Done
from .exit_codes import Exit, exit_of_outcome

__all__ = [
    "RELEASE_WITHIN",
    "DeploymentResult",
    "Interrupts",
    "drop_option",
    "follow",
    "force_option",
    "handoff_options",
    "result_of",
    "run_deployment",
]

T = TypeVar("T")

drop_option = click.option(
    "--drop",
    multiple=True,
    metavar="FIELD",
    help="Lose the values of this field of the state, which the code does not have. Repeatable.",
)
force_option = click.option(
    "--force", is_flag=True, help="Hand over even inside a protected window. Never inside a decision."
)
_DEPLOYS = (
    force_option,
    click.option("--replace", is_flag=True, help="Replace a deployment that is under way."),
    click.option(
        "--as-read",
        is_flag=True,
        help="Hand over even if values of the state do not read back as they were written.",
    ),
    click.option(
        "--change-bot",
        is_flag=True,
        help="Hand over even if the configuration has another `name` or `bot`.",
    ),
    drop_option,
)

RELEASE_WITHIN = 120.0
"""Seconds until a deployment has its number: a large directory takes a while to copy."""


def handoff_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options of a deployment that concern the handoff."""
    for option in reversed(_DEPLOYS):
        command = option(command)
    return command


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
    """Request the cancellation; return whether the request arrived."""
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


class Interrupts:
    """Inside `with`, the first Ctrl-C only sets `wanted`; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        # Signal handlers can only be set in the main thread.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


class DeploymentResult(msgspec.Struct, frozen=True):
    """How a deployment ended: what `deploy --json` prints. `outcome` is done, rehearsed, aborted or rolled_back."""

    deployment: int
    outcome: str
    reason: str
    release: str
    """The release that leads now, "" when none does."""
    seq: int | None
    """The new leader's first tick, when there was a transfer."""
    blackout_us: float | None
    late_us: float | None
    """How late that tick was."""
    missed: int
    rollback: str
    held: str
    """What held the handoff, when no boundary came in time."""
    phases: dict[str, float]
    """Milliseconds by phase."""
    state: dict[str, Any] | None = None
    """How the state differs in the new code (`dropped`, `added`, `retyped`, `rows`), None when it has the same type."""

    @property
    def exit(self) -> Exit:
        return exit_of_outcome(self.outcome, leads=bool(self.release), reason=self.reason)


def result_of(lines: DeploymentLines) -> DeploymentResult:
    """The result of a deployment that was followed to its end."""
    event = lines.ended
    assert event is not None
    return DeploymentResult(
        deployment=event.deployment,
        outcome=event.outcome,
        reason=event.reason,
        release=event.release,
        seq=event.seq,
        blackout_us=_us(event.blackout),
        late_us=_us(event.late),
        missed=event.missed,
        rollback=event.rollback,
        held=lines.held if event.reason.startswith(NO_BOUNDARY) else "",
        phases={name: round(took / 1e6, 3) for name, took in lines.phases.items() if name},
        state=lines.state,
    )


def _us(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e3, 1)
