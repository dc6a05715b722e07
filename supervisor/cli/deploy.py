"""deploy, abort, rollback: the verbs that change which code leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ...protocol.commands import Abort, Deploy, Rollback
from .exits import Exit
from .follow import follow
from .here import Here
from .interrupts import Interrupts
from .outcome import Outcome
from .screen import Screen
from .shell import complete_release
from .target import find_target
from .verb import Done, verb
from .words import last

__all__ = ["abort", "deploy", "rollback"]

RELEASE_WITHIN = 120.0
"""Seconds until a deployment has its number: a large directory takes a while to copy."""


@verb
@click.argument("target", metavar="REF|PATH|RELEASE", shell_complete=complete_release)
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--no-wait", is_flag=True, help="Return with the deployment's number at once.")
@click.option(
    "--dry-run", is_flag=True, help="Rehearse on the real live state, then stop: nothing is handed over."
)
@click.option(
    "--force", is_flag=True, help="Hand over inside a protected window too. Never inside a decision."
)
@click.option("--replace", is_flag=True, help="Supersede a deployment that is under way.")
@click.option("--python", default="", metavar="PYTHON", help="Run this release on another interpreter.")
def deploy(
    here: Here,
    target: str,
    why: str,
    no_wait: bool,
    dry_run: bool,
    force: bool,
    replace: bool,
    python: str,
) -> Done:
    """Hand the bot over to new code, between two of its ticks.

    The code is a directory (PATH), a commit of the git repository around you (REF: what was committed, whatever lies
    in the working tree), or a RELEASE that is kept. An immutable release is made of it, with the environment its files
    ask for; a worker starts on that, rehearses on the live state, and takes over at the next boundary. The old worker
    follows along until the probation is over, ready to take the bot back.

    Ctrl-C cancels the deployment, never the bot.
    """
    found = find_target(here, target)
    here.look_near(found.near)
    if found.commit is not None and found.commit.dirty:
        here.screen.line(here.screen.warn(f"what is not committed is not part of {found.shown}"))
    command = Deploy(
        why=why,
        force=force,
        dry_run=dry_run,
        replace=replace,
        python=_interpreter(here, python),
    )
    command = msgspec.structs.replace(command, **found.words)
    return _carry_out(here, command, wait=not no_wait, doing=f"deploying {found.shown}")


@verb
@click.argument("release", default="", shell_complete=complete_release)
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--no-wait", is_flag=True, help="Return with the deployment's number at once.")
@click.option(
    "--force", is_flag=True, help="Hand over inside a protected window too. Never inside a decision."
)
def rollback(here: Here, release: str, why: str, no_wait: bool, force: bool) -> Done:
    """Hand the bot back to the previous release, or to RELEASE, with its state as it is now.

    During a probation this is one message: the old worker is still there and up to date.
    """
    doing = f"rolling back to {release or 'the previous release'}"
    return _carry_out(here, Rollback(release=release, why=why, force=force), wait=not no_wait, doing=doing)


@verb
@click.argument("deployment", type=int, default=0)
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
def abort(here: Here, deployment: int, why: str) -> Done:
    """Cancel the deployment that runs (or only DEPLOYMENT). The bot goes on."""
    with here.client() as client:
        result = client.ask(Abort(deployment=deployment, why=why))
    here.screen.line(f"deployment {result.get('deployment', deployment)} is being cancelled; the bot goes on")
    return Done(result)


def _carry_out(here: Here, command: Deploy | Rollback, *, wait: bool, doing: str) -> Done:
    screen = here.screen
    # Listen first and ask then: the other way round, what happens between the two would be missed.
    with here.client() as client, Interrupts() as interrupts, client.events() as events:
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


def _interpreter(here: Here, python: str) -> str:
    return str(here.cwd / Path(python).expanduser()) if "/" in python else python


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
