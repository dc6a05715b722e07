"""history: who deployed what, when and why, how long each phase took and the outcome; or one deployment in full.

Read from the home itself, so it needs no running supervisor. The list is made for a terminal of 100 columns: a line of
facts for each deployment, and below it what it was, where its time went, and why it failed.
"""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from ...protocol.events import Outage
from ..bot.outages import describe_outage
from ..deploy.build_log import log_of
from ..store.history_rows import CommandRow, DeploymentRow
from ..system.format import clock, count, last
from ..terminal.deployment_lines import END_PHASES, outcome_name, phases_of, step_text, unit_of
from ..terminal.screen import Screen, columns
from .command import Done, local_command
from .context import CommandContext
from .releases import open_history

__all__ = ["history"]

_WIDTH = 100
_WHO = 26
_INDENT = " " * 6
_CALL = 200
"""The arguments of a command are cut after so many characters; --json shows all of them."""


@local_command
@click.argument("deployment", type=int, default=0)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many."
)
@click.option(
    "--commands", is_flag=True, help="Show the commands instead: who sent them, why, and their outcome."
)
def history(context: CommandContext, deployment: int, limit: int, commands: bool) -> Done:
    """The deployments and outages so far, newest first, or the whole story of DEPLOYMENT.

    Each deployment: its number, when, what came of it, who asked, how long no worker could tick; then the commit and
    why, how long each phase took, and the reason when it failed.
    """
    with open_history(context.home) as past:
        if commands:
            rows = past.commands(limit)
            for line in columns([_ASKED, *(_command(context.screen, row) for row in rows)]):
                context.screen.line(line.rstrip())
            return Done({"commands": msgspec.to_builtins(rows)})
        if deployment:
            row = past.deployment(deployment)
            printed = _printed(log_of(context.home.logs, deployment))
            _story(context.screen, row, printed)
            return Done({**msgspec.to_builtins(row), "log": printed})
        rows = past.deployments(limit)
        outages = past.outages(limit)
        standbys = past.standbys(limit)
    screen, width = context.screen, min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    heads = columns([_TITLES, *(_head(screen, row) for row in rows)])
    for line in [screen.faint(heads[0])] if rows else ["no deployments yet"]:
        screen.line(line)
    for head, row in zip(heads[1:], rows, strict=True):
        screen.line(head.rstrip())
        for line in _below(screen, row, width):
            screen.line(line)
    if outages:
        screen.line()
    for line in columns([_outage(screen, outage) for outage in outages]):
        screen.line(line)
    if standbys:
        screen.line()
    for line in columns(
        [
            (clock(standby.at), "standby", standby.worker, standby.state, standby.release, standby.reason)
            for standby in standbys
        ]
    ):
        screen.line(line)
    return Done(
        {
            "deployments": msgspec.to_builtins(rows),
            "outages": msgspec.to_builtins(outages),
            "standbys": msgspec.to_builtins(standbys),
        }
    )


_ASKED = ("WHEN", "COMMAND", "OUTCOME", "TICK", "WHO", "WHAT")


def _command(screen: Screen, command: CommandRow) -> tuple[str, ...]:
    outcome = screen.good(command.outcome) if command.ok else screen.bad(command.outcome)
    seq = "" if command.seq is None else str(command.seq)
    what = _command_text(command)
    details = f"{what} ({command.why})" if what and command.why else what or command.why
    return (clock(command.at), command.op, outcome, seq, command.who or "unknown", details)


def _command_text(command: CommandRow) -> str:
    """A command's subject and arguments, and the reason when it was refused."""
    name = str(command.facts.get("name", ""))
    given = (
        command.facts.get("args")
        if command.op == "send"
        else command.facts.get("set")
        if not command.ok
        else None
    )
    if not isinstance(given, dict):
        return command.detail
    pairs = [f"{key}={json.dumps(value)}" for key, value in cast("dict[str, Any]", given).items()]
    call = " ".join([name, *pairs]).strip()
    if len(call) > _CALL:
        call = f"{call[:_CALL]}…"
    return call if command.ok else f"{call}: {command.detail.removeprefix(f'{name}: ')}".removeprefix(": ")


_TITLES = ("  N", "WHEN", "OUTCOME", "WHAT", "WHO", "BLACKOUT", "MISSED")


def _head(screen: Screen, row: DeploymentRow) -> tuple[str, ...]:
    who = row.who if len(row.who) <= _WHO else f"{row.who[: _WHO - 1]}…"
    handed = row.seq is not None
    return (
        f"{row.id:>3}",
        clock(row.begun),
        _outcome(screen, row),
        row.kind if not row.dry_run else "dry run",
        who,
        last(row.blackout) if row.blackout is not None else "",
        f"{row.missed:,}" if handed else "",
    )


def _below(screen: Screen, row: DeploymentRow, width: int) -> list[str]:
    """What was deployed, how long each phase took, and why it failed."""
    what = f"{row.commit[:8]} {row.subject}" if row.commit else row.release
    spent = ", ".join(f"{phase} {last(took)}" for phase, took in phases_of(row).items())
    lines = [*_wrapped(f"{what}: {row.why}" if row.why else what, width)]
    lines += [screen.faint(line) for line in _wrapped(spent, width)]
    if row.outcome not in ("done", "rehearsed", None):
        lines += [screen.bad(line) for line in _wrapped(row.reason, width)]
    return [f"{_INDENT}{line}" for line in lines]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width - len(_INDENT)))


def _outage(screen: Screen, outage: Outage) -> tuple[str, ...]:
    if outage.acknowledged is None:
        known = screen.warn("not acknowledged")
    else:
        known = f"acknowledged by {outage.who or 'unknown'}" + (f": {outage.why}" if outage.why else "")
    return (clock(outage.since), describe_outage(outage, time.time_ns()), known)


def _outcome(screen: Screen, row: DeploymentRow) -> str:
    match row.outcome:
        case None:
            return screen.warn("under way")
        case "done" | "rehearsed":
            return screen.good(row.outcome)
        case _:
            return screen.bad(outcome_name(row.outcome))


def _printed(log: Path) -> list[str]:
    """The lines that the build of the release printed."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _story(screen: Screen, row: DeploymentRow, printed: list[str]) -> None:
    screen.line(
        f"{screen.style(f'deployment {row.id}', bold=True)}  {_outcome(screen, row)}  {row.reason}".rstrip()
    )
    screen.line(f"  {row.release} to take over from {row.previous or 'no release'}")
    if row.commit:
        screen.line(f"  commit {row.commit}{f' ({row.ref})' if row.ref else ''} by {row.author}")
        screen.line(f"    {row.subject}")
    screen.line(f"  begun {clock(row.begun)} by {row.who or 'unknown'}" + (f": {row.why}" if row.why else ""))
    for line in columns(_notes(row)):
        screen.line(line.rstrip())
    if printed:
        screen.line("  what its build printed:")
        for line in printed:
            screen.line(f"    {screen.faint(line)}")
    if row.ended is not None:
        seq = f", {unit_of(row.heartbeats)} {row.seq}" if row.seq is not None else ""
        blackout = f", blackout {last(row.blackout)}" if row.blackout is not None else ""
        screen.line(
            f"  ended {clock(row.ended)}{seq}{blackout}, {count(row.missed, unit_of(row.heartbeats))} missed; "
            f"runs {row.runs}"
        )


def _notes(row: DeploymentRow) -> list[tuple[str, ...]]:
    """The phases, with their durations, and their steps, in order."""
    begins = [(row.begun, row.phases[0].before)] if row.phases and row.phases[0].before else []
    begins += [(note.at, note.phase) for note in row.phases]
    ends = [*(at for at, _ in begins[1:]), row.ended]
    notes = [
        (at, f"[{phase}]", "", 0 if end is None or phase in END_PHASES else end - at)
        for (at, phase), end in zip(begins, ends, strict=False)
    ]
    notes += [(note.at, note.step, step_text(note), note.took) for note in row.steps]
    return [
        (f"  +{(at - row.begun) / 1e9:.3f}s", name, text, last(took) if took else "")
        for at, name, text, took in sorted(notes, key=lambda note: note[0])
    ]
