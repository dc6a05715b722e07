"""status: what runs, what is next, and how the last deployment ended, on one screen."""

from __future__ import annotations

import json
from collections.abc import Callable

from ...protocol import commands, duration
from ...protocol.duration import SECOND
from ...protocol.events import DeploymentEnded
from ...protocol.link import TaskReport
from ...protocol.status import BotStatus, FeedStatus, InboxSeen, PauseNote
from ..api.client import convert
from ..api.status import describe_next_start
from ..bot.outages import describe_outage
from ..deploy.branch_watch import describe_undeployed
from ..system.format import ago, count, last
from ..terminal.deployment_lines import unit_of
from ..terminal.screen import Screen, columns
from .command import Done, remote_command
from .context import CommandContext
from .exit_codes import Exit

__all__ = [
    "describe_feed",
    "describe_inbox",
    "describe_pause",
    "describe_task",
    "describe_unverified",
    "picture",
    "status",
]

_OUTAGES = 5
_TRACEBACK = 30


@remote_command
def status(context: CommandContext) -> Done:
    """Show what runs, what is next, and how the last deployment ended.

    The exit code is 8 when the bot is down, for watchdogs.
    """
    with context.client() as client:
        answer = client.ask(commands.Status())
    seen = convert(answer, BotStatus)
    for line in picture(seen, context.screen):
        context.screen.line(line)
    return Done(answer, Exit.DOWN if seen.state == "down" else Exit.DONE)


def picture(status: BotStatus, screen: Screen) -> list[str]:
    """The lines that show a status, as of the time it was made."""
    colour = {"running": screen.good, "paused": screen.warn}.get(status.state, screen.bad)
    title = f"{screen.style(status.bot, bold=True)}  {colour(status.state)}"
    rows = [
        *_leader(status, screen),
        *_paused(status, screen),
        *_settings(status, screen),
        *(("window", line) for line in _windows(status, screen)),
        *(
            ("decision", f"{decision.name} ({decision.id}) has been open for {last(decision.age)}")
            for decision in status.decisions
        ),
        *_under_way(status, screen),
        *_waiting(status),
        *_ended(status.last, status.at, screen),
        *_standby(status, screen),
        *_outages(status, screen),
        *_lock(status, screen),
        *(("pushed", text) for branch in status.branches if (text := describe_undeployed(branch))),
        *_feeds(status, screen),
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
    if status.event_driven:
        name, run = (
            "turns",
            f"{count(status.turns, 'turn')} run by this worker, which is event-driven (no ticks)",
        )
        position = [run, f"a heartbeat every {duration.show(status.interval)}", f"{status.skipped} skipped"]
    else:
        name, run = "tick", f"{count(status.ticks, 'tick')} run by this worker"
        position = [
            f"{status.seq}, one every {duration.show(status.interval)}",
            run,
            f"{status.skipped} skipped",
        ]
    position += [f"worst lateness {last(status.late_max)}", *inbox]
    who = f"{status.worker}, pid {status.pid}, python {status.python}, epoch {status.epoch}, leads for {last(led)}"
    slow = [("slow", status.slow)] if status.slow else []
    short = _descriptors(status, screen)
    return [
        ("leader", who),
        (name, ", ".join(position)),
        *slow,
        *([("inbox", screen.warn(lost))] if (lost := describe_inbox(status.inbox)) else []),
        *short,
        *_journal(status, screen),
        *_problems(status, screen),
        *_tasks(status, screen),
    ]


_RENUMBERED = "the stream's number was applied before: where numbers begin again, name another stream"


def describe_inbox(inbox: InboxSeen | None) -> str:
    """What the leader's inbox refused, dropped or could not put in order since the worker started; "" if nothing."""
    if inbox is None:
        return ""
    parts = [
        *(
            [f"{inbox.waiting:,} of {inbox.most_events:,} events wait"]
            if inbox.waiting and inbox.refused
            else []
        ),
        *([f"{count(inbox.refused, 'event')} refused: inbox full"] if inbox.refused else []),
        *([f"{count(inbox.discarded, 'event')} dropped: inbox full"] if inbox.discarded else []),
        *([f"{count(inbox.missing, 'number')} missing, last in {inbox.gap}"] if inbox.missing else []),
        *([f"{count(inbox.renumbered, 'event')} dropped, {_RENUMBERED}"] if inbox.renumbered else []),
    ]
    return ", ".join(parts)


def _feeds(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    return [("feed", describe_feed(feed, status, screen)) for feed in status.feeds]


def describe_feed(feed: FeedStatus, status: BotStatus, screen: Screen) -> str:
    """A feed in one line."""
    if feed.state == "down":
        again = (
            f"; it is started again in {last(max(0, feed.next_start - status.at))}" if feed.next_start else ""
        )
        return f"{feed.feed} {screen.bad('is down')}: {feed.error}{again}"
    newest = f"event {feed.n} {ago(feed.at, status.at)}" if feed.at else "no event yet"
    state = (
        screen.warn("is stale")
        if feed.state == "stale"
        else "is starting"
        if feed.state == "starting"
        else "runs"
    )
    parts = [f"{feed.feed} {state}: {newest}, pid {feed.pid}"]
    if feed.behind:
        parts.append(f"the bot is {count(feed.behind, 'event')} behind")
    if feed.overrun:
        parts.append(screen.warn(f"{count(feed.overrun, 'event')} left the buffer unread"))
    if feed.release != status.release and status.release:
        parts.append(f"on release {feed.release} until `neverblink feed restart {feed.feed}`")
    if feed.error:
        parts.append(f"last error: {feed.error}")
    return ", ".join(parts)


def describe_unverified(status: BotStatus) -> str:
    """Which fields of the state are not read back; "" when all of them are."""
    if not status.unverified:
        return ""
    return (
        f"not read back: {', '.join(status.unverified)}: this takes longer than the time between two turns; "
        "make it a Table or smaller fields"
    )


def _descriptors(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """File descriptors get a line when few are left."""
    descriptors = status.descriptors
    if descriptors is None or not descriptors.short:
        return []
    mend = "the bot opens files or connections and does not close them: deploy a release that closes them"
    return [
        ("files", f"{screen.bad(f'{descriptors.left} of {descriptors.limit} file descriptors left')}: {mend}")
    ]


def describe_pause(pause: PauseNote, now: int) -> str:
    """What paused the bot, in one line, as of wall time `now`."""
    if pause.op == "journal":
        return f"{ago(pause.at, now)}, because its journal lacks frames: {pause.why}"
    what = "halted" if pause.op == "halt" else "paused"
    return f"{what} by {pause.who or 'unknown'} {ago(pause.at, now)}" + (
        f": {pause.why}" if pause.why else ""
    )


def _next_start(status: BotStatus) -> list[tuple[str, str]]:
    start = status.next_start
    if start is None:
        return []
    others = (
        ""
        if status.state != "down"
        else "; `neverblink deploy` or `rollback` starts the code that you name now"
    )
    return [("next start", f"{describe_next_start(start, status.at)}{others}")]


def _paused(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    if not status.paused:
        return []
    rows = [("paused", f"{screen.warn('no new entries')}, exits continue, until `neverblink resume`")]
    return rows + [("", describe_pause(pause, status.at)) for pause in (status.pause,) if pause is not None]


def _settings(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    now = status.settings
    rows: list[tuple[str, str]] = []
    if now is not None and now.values:
        parts = [
            f"{name} = {screen.warn(json.dumps(value)) if name in now.chosen else json.dumps(value)}"
            for name, value in now.values.items()
        ]
        rows.append(("settings", ", ".join(parts)))
    if status.commands:
        rows.append(("commands", f"{', '.join(status.commands)}: see `neverblink commands`"))
    return rows


def _journal(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """The journal gets a line when it has a problem."""
    journal = status.journal
    if journal is None:
        return []
    parts: list[str] = []
    if journal.failing:
        lasts = last(max(0, status.at - journal.since))
        parts.append(
            f"{screen.bad('cannot be written')} for {lasts}, {count(journal.unwritten, 'frame')} not written: "
            f"{journal.failing}"
        )
    if journal.recovered:
        parts.append(screen.warn(journal.recovered))
    return [("journal", text) for text in parts]


def _problems(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """State that the next process would not read as it was written, and what is not verified."""
    rows = [("state", screen.bad(problem.text.removeprefix("state "))) for problem in status.problems]
    unverified = describe_unverified(status)
    return rows + ([("state", screen.warn(unverified))] if unverified else [])


def _tasks(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """The tasks that run as long as the leader leads, and a line for each that does not run."""
    running = [task for task in status.tasks if task.state == "running"]
    names = ", ".join(
        f"{task.name} ({count(task.restarts, 'restart')})" if task.restarts else task.name for task in running
    )
    rows = [("tasks", f"{names} running")] if names else []
    ended = [task for task in status.tasks if task.state != "running"]
    return rows + [("task", describe_task(task, status.at, screen.bad)) for task in ended]


def describe_task(task: TaskReport, now: int, bad: Callable[[str], str] = str) -> str:
    """A task that does not run, in one line, as of wall time `now`."""
    how = f": {task.error}" if task.error else ""
    times = f", {count(task.row, 'time')} in a row" if task.row > 1 else ""
    return f"{task.name} {bad(f'is {task.state}')} for {last(max(0, now - task.since))}{how}{times}"


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
    for deployment in (status.probation, status.deployment):
        if deployment is None:
            continue
        held = f", held by {deployment.holding}" if deployment.holding else ""
        lasts = last(max(0, status.at - deployment.since))
        what = f"deployment {deployment.deployment} is {screen.warn(deployment.phase)}{held}, for {lasts}"
        rows.append(
            (
                "under way",
                f"{what}: {'rehearses ' if deployment.dry_run else ''}{deployment.release}".rstrip(": "),
            )
        )
    return rows


def _waiting(status: BotStatus) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for deployment in status.waiting:
        of = f" of {deployment.commit[:8]} ({deployment.ref})" if deployment.commit else ""
        lasts = last(max(0, status.at - deployment.at))
        mend = f"`neverblink abort {deployment.deployment}` cancels it"
        rows.append(
            (
                "waiting",
                f"deployment {deployment.deployment}{of}, by {deployment.who or 'unknown'}, for {lasts}: {mend}",
            )
        )
    return rows


def _ended(deployment: DeploymentEnded | None, now: int, screen: Screen) -> list[tuple[str, str]]:
    if deployment is None:
        return []
    well = deployment.outcome in ("done", "rehearsed")
    outcome = (screen.good if well else screen.bad)(deployment.outcome.replace("_", " "))
    text = f"deployment {deployment.deployment} {outcome} {ago(deployment.at, now)}"
    if deployment.seq is not None:
        text += f", at {unit_of(deployment.heartbeats)} {deployment.seq}"
    if deployment.blackout is not None:
        text += f", blackout {last(deployment.blackout)}"
    if deployment.reason and not well:
        text += f": {deployment.reason}"
    return [("last", text)]


def _standby(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    standby = status.standby
    if standby is None:
        return []
    colour = screen.good if standby.state == "ready" else screen.warn
    text = f"{standby.worker} is {colour(standby.state)}" if standby.worker else colour(standby.state)
    lag = f", at most {last(standby.lag)} behind" if standby.state == "ready" else ""
    return [("standby", text + lag + (f": {standby.reason}" if standby.reason else ""))]


def _outages(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    rows = [("outage", describe_outage(outage, status.at)) for outage in status.outages[-_OUTAGES:]]
    if len(status.outages) > len(rows):
        rows.insert(0, ("outages", f"{len(status.outages) - len(rows)} more before these: see `history`"))
    if any(outage.until is not None for outage in status.outages):
        rows.append(("", f"{screen.warn('until you have seen them')}: `neverblink acknowledge [ID]`"))
    return rows


def _history(status: BotStatus, screen: Screen) -> list[tuple[str, str]]:
    """The history gets a line when it cannot be written."""
    history = status.history
    if history is None:
        return []
    lost = f", {history.lost} lost" if history.lost else ""
    return [
        (
            "history",
            f"{screen.bad('cannot be written')}: {history.reason} ({count(history.waiting, 'note')} waiting{lost})",
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
    for target in status.notify:
        if target.state == "failing":
            what = f"{target.name} {screen.bad('has failed')} for {last(max(0, status.at - target.since))}"
            rows.append(("notify", f"{what}: {target.reason} ({target.waiting} waiting, {target.lost} lost)"))
    return rows


def _failure(status: BotStatus) -> list[tuple[str, str]]:
    """The failure is shown while the bot is down; otherwise the last deployment is enough."""
    failure = status.failure
    if failure is None or status.worker:
        return []
    rows = [
        ("failed", f"{failure.worker} {ago(failure.at, status.at)}: {failure.reason} (log: {failure.log})")
    ]
    return rows + [("", line) for line in failure.traceback.splitlines()[-_TRACEBACK:]]


def _workers(status: BotStatus) -> list[str]:
    return columns(
        [
            (
                "",
                f"{'worker':<10}",
                worker.worker,
                worker.role,
                f"pid {worker.pid}",
                worker.release,
                worker.leaving,
            )
            for worker in status.workers
        ]
    )
