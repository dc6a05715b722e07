"""releases, history, audit: what is kept of the past. Read from the home itself, so they need no running supervisor."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from ...protocol.events import Outage
from ..account import log_of
from ..history import History
from ..outages import told
from ..records import Deployment
from ..releases import Releases
from .errors import BadInput
from .here import Here
from .outcome import of_row
from .screen import Screen, columns
from .verb import Done, verb
from .words import ago, clock, count, last, size

__all__ = ["history", "open_history", "releases"]


@verb
def releases(here: Here) -> Done:
    """The releases kept, newest first; `*` marks the one that leads, `-` the one before."""
    if not here.home.releases.is_dir():
        raise BadInput(
            f"home {here.home.path}: there are no releases here yet: they begin with `neverblink up`"
        )
    store = Releases(here.home.releases)
    current, previous = store.current(), store.previous()
    found = store.list()
    now = time.time_ns()
    marks = {previous: "-", current: here.screen.good("*")}
    rows = [
        (
            marks.get(release.id, " "),
            release.id,
            ago(release.made_at, now),
            size(release.bytes),
            f"{release.ref or release.commit[:8]}: {release.subject}" if release.commit else release.origin,
        )
        for release in found
    ]
    for line in columns(rows) if rows else ["no releases yet"]:
        here.screen.line(line)
    told = [
        {**msgspec.to_builtins(release, enc_hook=str), "current": release.id == current} for release in found
    ]
    return Done({"releases": told, "current": current, "previous": previous})


@verb
@click.argument("deployment", type=int, default=0)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many."
)
def history(here: Here, deployment: int, limit: int) -> Done:
    """The deployments and outages so far, newest first, or the whole story of DEPLOYMENT."""
    with open_history(here) as past:
        if deployment:
            row = past.deployment(deployment)
            printed = _printed(log_of(here.home.logs, deployment))
            _story(here.screen, row, printed)
            return Done({**msgspec.to_builtins(row), "log": printed})
        rows = past.deployments(limit)
        outages = past.outages(limit)
    for line in columns([_line(here.screen, row) for row in rows]) if rows else ["no deployments yet"]:
        here.screen.line(line)
    if outages:
        here.screen.line()
    for line in columns([_outage(here.screen, one) for one in outages]):
        here.screen.line(line)
    return Done({"deployments": msgspec.to_builtins(rows), "outages": msgspec.to_builtins(outages)})


def open_history(here: Here) -> History:
    """The home's history, to read; of the bot that last ran there, whatever directory this was called from."""
    if not here.home.database.is_file():
        raise BadInput(f"home {here.home.path}: there is no history here yet: it begins with `neverblink up`")
    with History.open(here.home.database, "", read_only=True) as file:
        bots = file.bots()
    return History.open(here.home.database, bots[0] if bots else "", read_only=True)


def _line(screen: Screen, row: Deployment) -> tuple[str, ...]:
    return (
        str(row.id),
        clock(row.begun),
        _outcome(screen, row),
        row.kind if row.kind != "deploy" or not row.dry_run else "dry run",
        row.release,
        row.who,
        row.commit[:8],
        "; ".join(filter(None, (row.subject, row.why, _failure(row)))),
    )


def _failure(row: Deployment) -> str:
    return row.reason if row.outcome not in ("done", "rehearsed", None) else ""


def _outage(screen: Screen, one: Outage) -> tuple[str, ...]:
    if one.acknowledged is None:
        known = screen.warn("not acknowledged")
    else:
        known = f"acknowledged by {one.who or 'unknown'}" + (f": {one.why}" if one.why else "")
    return (clock(one.since), told(one, time.time_ns()), known)


def _outcome(screen: Screen, row: Deployment) -> str:
    match row.outcome:
        case None:
            return screen.warn("under way")
        case "done" | "rehearsed":
            return screen.good(row.outcome)
        case _:
            return screen.bad(row.outcome.replace("_", " "))


def _printed(log: Path) -> list[str]:
    """What was printed while the release was made ready, line by line."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _story(screen: Screen, row: Deployment, printed: list[str]) -> None:
    screen.line(
        f"{screen.style(f'deployment {row.id}', bold=True)}  {_outcome(screen, row)}  {row.reason}".rstrip()
    )
    screen.line(f"  {row.release} to take over from {row.previous or 'nobody'}")
    if row.commit:
        screen.line(f"  commit {row.commit}{f' ({row.ref})' if row.ref else ''} by {row.author}")
        screen.line(f"    {row.subject}")
    screen.line(f"  begun {clock(row.begun)} by {row.who or 'unknown'}" + (f": {row.why}" if row.why else ""))
    notes = [(note.at, f"[{note.phase}]", "", note.took) for note in row.phases]
    notes += [(note.at, note.step, note.text, note.took) for note in row.steps]
    for line in columns(
        [
            ("  " + f"+{(at - row.begun) / 1e9:.3f}s", name, text, last(took) if took else "")
            for at, name, text, took in sorted(notes)
        ]
    ):
        screen.line(line.rstrip())
    if printed:
        screen.line("  what its build printed:")
        for line in printed:
            screen.line(f"    {screen.faint(line)}")
    if row.ended is not None:
        outcome = of_row(row)
        seq = f", tick {outcome.seq}" if outcome.seq is not None else ""
        blackout = f", blackout {last(row.blackout)}" if row.blackout is not None else ""
        screen.line(
            f"  ended {clock(row.ended)}{seq}{blackout}, {count(row.missed, 'tick')} missed; runs {row.runs}"
        )
