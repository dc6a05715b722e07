"""status: what runs, what comes next, and how the last deployment ended, on one screen."""

from __future__ import annotations

import json

from ...protocol import commands, duration
from ...protocol.duration import SECOND
from ...protocol.events import DeploymentEnded
from ...protocol.status import BotStatus, PauseNote
from ..api.client import convert
from ..api.status import start_told
from ..bot.outages import describe_outage
from ..deploy.branch_watch import describe_undeployed
from ..system.format import ago, count, last
from ..terminal.screen import Screen, columns
from .command import Done, remote_command
from .context import CommandContext
from .exit_codes import Exit

__all__ = ["pause_told", "picture", "status"]

_OUTAGES = 5
_TRACEBACK = 30


@remote_command
def status(context: CommandContext) -> Done:
    """What runs, what comes next, and how the last deployment ended.

    Ends with exit 8 when the bot is down, so that a watchdog needs nothing else.
    """
    with context.client() as client:
        answer = client.ask(commands.Status())
    seen = convert(answer, BotStatus)
    for line in picture(seen, context.screen):
        context.screen.line(line)
    return Done(answer, Exit.DOWN if seen.state == "down" else Exit.DONE)


def picture(status: BotStatus, screen: Screen) -> list[str]:
    """The lines that show a status, as of the moment it was made."""
    colour = {"running": screen.good, "paused": screen.warn}.get(status.state, screen.bad)
    title = f"{screen.style(status.bot, bold=True)}  {colour(status.state)}"
    rows = [
        *_leader(status, screen),
        *_paused(status, screen),
        *_settings(status, screen),
        *(("window", line) for line in _windows(status, screen)),
        *(
            ("decision", f"{one.name} ({one.id}) has been open for {last(one.age)}")
            for one in status.decisions
        ),
        *_under_way(status, screen),
        *_waiting(status),
        *_ended(status.last, status.at, screen),
        *_standby(status, screen),
        *_outages(status, screen),
        *_lock(status, screen),
        *(("pushed", text) for one in status.branches if (text := describe_undeployed(one))),
        *_unheard(status, screen),
        *([("home", screen.bad(status.home_problem))] if status.home_problem else []),
        *_history(status, screen),
        *_failure(status),
    ]
    return [
        f"{title}  {status.release or status.reason}".rstrip(),
        *columns([("", f"{name:<10}", text) for name, text in rows]),
        *_workers(status),
    ]


def _leader(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    if not status.worker:
        return [("leader", "none: no worker leads"), *_next_start(status)]
    led = max(0, status.at - status.since) // SECOND * SECOND
    inbox = (
        [f"{count(status.inbox.waiting, 'event')} in the inbox"]
        if status.inbox and status.inbox.waiting
        else []
    )
    tick = [
        f"{status.seq}, one every {duration.show(status.interval)}",
        f"{count(status.ticks, 'tick')} run by this worker",
        f"{status.skipped} skipped",
        f"latest {last(status.late_max)} late",
        *inbox,
    ]
    who = f"{status.worker}, pid {status.pid}, python {status.python}, epoch {status.epoch}, leads for {last(led)}"
    slow = [("slow", status.slow)] if status.slow else []
    short = _descriptors(status, screen)
    return [("leader", who), ("tick", ", ".join(tick)), *slow, *short, *_journal(status, screen)]


def _descriptors(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """Worth a line when the bot has hardly any left."""
    one = status.descriptors
    if one is None or not one.short:
        return []
    mend = "the bot opens files or connections and does not close them: deploy a release that does"
    return [("files", f"{screen.bad(f'{one.left} of {one.limit} file descriptors left')}: {mend}")]


def pause_told(pause: PauseNote, now: int) -> str:
    """What paused the bot, in one line, seen from wall time `now`."""
    if pause.op == "journal":
        return f"{ago(pause.at, now)}, because its journal lacks frames: {pause.why}"
    what = "halted" if pause.op == "halt" else "paused"
    return f"{what} by {pause.who or 'unknown'} {ago(pause.at, now)}" + (
        f": {pause.why}" if pause.why else ""
    )


def _next_start(status: BotStatus) -> list[tuple[str, str]]:
    one = status.next_start
    if one is None:
        return []
    others = (
        ""
        if status.state != "down"
        else "; `neverblink deploy` or `rollback` starts the code that you name now"
    )
    return [("next start", f"{start_told(one, status.at)}{others}")]


def _paused(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    if not status.paused:
        return []
    rows = [("paused", f"{screen.warn('it enters nothing new')}, its exits go on, until `neverblink resume`")]
    return rows + [("", pause_told(one, status.at)) for one in (status.pause,) if one is not None]


def _settings(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    now = status.settings
    rows: list[tuple[str, str]] = []
    if now is not None and now.values:
        told = [
            f"{name} = {screen.warn(json.dumps(value)) if name in now.chosen else json.dumps(value)}"
            for name, value in now.values.items()
        ]
        rows.append(("settings", ", ".join(told)))
    if status.commands:
        rows.append(("commands", f"{', '.join(status.commands)}: see `neverblink commands`"))
    return rows


def _journal(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """The journal is worth a line when it is not as it should be."""
    one = status.journal
    if one is None:
        return []
    told: list[str] = []
    if one.failing:
        lasts = last(max(0, status.at - one.since))
        told.append(
            f"{screen.bad('cannot be written')} for {lasts}, {count(one.unwritten, 'frame')} in no file: {one.failing}"
        )
    if one.recovered:
        told.append(screen.warn(one.recovered))
    return [("journal", text) for text in told]


def _windows(status: BotStatus, screen: Screen) -> list[str]:
    return [
        f"{window.name} "
        + (
            f"{screen.warn('is open')}, closes in {last(max(0, window.closes - status.at))}"
            if window.open
            else f"opens in {last(max(0, window.opens - status.at))}"
        )
        + ("" if window.protected else " (not protected)")
        for window in status.windows
    ]


def _under_way(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for one in (status.probation, status.deployment):
        if one is None:
            continue
        held = f", held by {one.holding}" if one.holding else ""
        lasts = last(max(0, status.at - one.since))
        what = f"deployment {one.deployment} is {screen.warn(one.phase)}{held}, for {lasts}"
        rows.append(("under way", f"{what}: {'rehearses ' if one.dry_run else ''}{one.release}".rstrip(": ")))
    return rows


def _waiting(status: BotStatus) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for one in status.waiting:
        of = f" of {one.commit[:8]} ({one.ref})" if one.commit else ""
        lasts = last(max(0, status.at - one.at))
        mend = f"`neverblink abort {one.deployment}` cancels it"
        rows.append(
            ("waiting", f"deployment {one.deployment}{of}, by {one.who or 'unknown'}, for {lasts}: {mend}")
        )
    return rows


def _ended(one: DeploymentEnded | None, now: int, screen: Screen) -> list[tuple[str, str]]:
    if one is None:
        return []
    well = one.outcome in ("done", "rehearsed")
    told = (
        f"deployment {one.deployment} {(screen.good if well else screen.bad)(one.outcome.replace('_', ' '))}"
    )
    told += f" {ago(one.at, now)}"
    if one.seq is not None:
        told += f", at tick {one.seq}"
    if one.blackout is not None:
        told += f", blackout {last(one.blackout)}"
    if one.reason and not well:
        told += f": {one.reason}"
    return [("last", told)]


def _standby(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    one = status.standby
    if one is None:
        return []
    colour = screen.good if one.state == "ready" else screen.warn
    told = f"{one.worker} is {colour(one.state)}" if one.worker else colour(one.state)
    lag = f", at most {last(one.lag)} behind" if one.state == "ready" else ""
    return [("standby", told + lag + (f": {one.reason}" if one.reason else ""))]


def _outages(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    rows = [("outage", describe_outage(one, status.at)) for one in status.outages[-_OUTAGES:]]
    if len(status.outages) > len(rows):
        rows.insert(0, ("outages", f"{len(status.outages) - len(rows)} more before these: see `history`"))
    if any(one.until is not None for one in status.outages):
        rows.append(("", f"{screen.warn('until you have seen them')}: `neverblink acknowledge [ID]`"))
    return rows


def _history(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """Worth a line when it can't be written."""
    one = status.history
    if one is None:
        return []
    lost = f", {one.lost} lost" if one.lost else ""
    return [
        (
            "history",
            f"{screen.bad('it cannot be written')}: {one.reason} ({count(one.waiting, 'note')} waiting{lost})",
        )
    ]


def _lock(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    lock = status.lock
    if lock is None:
        return []
    return [("locked", f"{screen.warn(lock.why)}, by {lock.who or 'unknown'} {ago(lock.at, status.at)}")]


def _unheard(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """The notification targets that fail."""
    rows: list[tuple[str, str]] = []
    for one in status.notify:
        if one.state == "failing":
            what = f"{one.name} {screen.bad('has failed')} for {last(max(0, status.at - one.since))}"
            rows.append(("notify", f"{what}: {one.reason} ({one.waiting} waiting, {one.lost} lost)"))
    return rows


def _failure(status: BotStatus) -> list[tuple[str, str]]:
    """Why it is down is what one wants to know then; at other times the last deployment tells."""
    one = status.failure
    if one is None or status.worker:
        return []
    rows = [("failed", f"{one.worker} {ago(one.at, status.at)}: {one.reason} (log: {one.log})")]
    return rows + [("", line) for line in one.traceback.splitlines()[-_TRACEBACK:]]


def _workers(status: BotStatus) -> list[str]:
    return columns(
        [
            ("", f"{'worker':<10}", one.worker, one.role, f"pid {one.pid}", one.release, one.leaving)
            for one in status.workers
        ]
    )
