"""The status: one object that says what runs, what comes next and how the last deployment ended.

A function of what is known, and of nothing else: no file is read and nobody is asked, so it can be made at any moment,
also in the middle of a handoff. It is what `status --json` prints and what `{"op": "status"}` answers; keys are added,
and `version` grows when one changes its meaning. Times are ns, wall clock where they are moments.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import msgspec

from ...protocol import duration
from ...protocol.events import DeploymentEnded, Outage
from ...protocol.link import DescriptorsLeft, Report, SettingsNow
from ..bot.bot import Bot
from ..bot.journal_health import JournalSeen, journal_of
from ..bot.standby import State as StandbyState
from ..deploy.in_progress import Underway
from ..deploy.pushed_branches import BranchSeen
from ..deploy.queue import Waiter
from ..notify.notifier import TargetSeen
from ..store.deploy_lock import Locked
from ..store.pause import PauseNote
from ..workers.registry import Member

__all__ = ["Status", "Supervisor", "start_told", "status_of", "this_supervisor"]

_SECOND = 1_000_000_000
_OUTAGES = 50
_TRACEBACK = 8192

State = Literal["starting", "running", "paused", "recovering", "down", "stopping"]


class DescriptorsSeen(msgspec.Struct, frozen=True):
    """The file descriptors of the leader: the bot can still open `left` of `limit`, and `reserve` more are held for a
    handoff. `short`: few are left."""

    left: int
    limit: int
    reserve: int
    short: bool


class WindowSeen(msgspec.Struct, frozen=True):
    """A window's occurrence that is open now, else the next one."""

    name: str
    opens: int
    closes: int
    protected: bool
    open: bool


class DecisionSeen(msgspec.Struct, frozen=True):
    """A decision that is open; `at` is when it was opened."""

    id: str
    name: str
    at: int
    age: int
    worker: str


class Inbox(msgspec.Struct, frozen=True):
    """Events that wait, and how many applied keys are remembered of how many at most; `dropped`: forgotten so far."""

    waiting: int
    remembered: int
    limit: int
    dropped: int


class WorkerSeen(msgspec.Struct, frozen=True):
    """A worker process that is alive. `leaving` says why it was told to leave. `reported` is when it last spoke."""

    worker: str
    release: str
    pid: int
    role: str
    epoch: int
    seq: int
    loaded: bool
    since: int
    reported: int
    leaving: str
    log: str


class StandbySeen(msgspec.Struct, frozen=True):
    """The spare worker that takes over when the leader dies; `lag` is how late it applied a frame, at the worst."""

    worker: str
    state: StandbyState
    reason: str
    lag: int


class DeploymentSeen(msgspec.Struct, frozen=True):
    """The deployment under way. `at` is when it was begun, `since` when its phase was; `holding` what it waits for."""

    deployment: int
    phase: str
    since: int
    holding: str
    release: str
    previous: str
    dry_run: bool
    who: str
    why: str
    at: int


class WaitingSeen(msgspec.Struct, frozen=True):
    """A deployment that waits for its turn since `at`. `commit` and `ref` are "" when it is not of a commit."""

    deployment: int
    commit: str
    ref: str
    dry_run: bool
    who: str
    why: str
    at: int


class Failure(msgspec.Struct, frozen=True):
    """The worker that last ended badly. `traceback` is the end of what it said of that, "" when it said nothing."""

    worker: str
    release: str
    reason: str
    at: int
    log: str
    traceback: str = ""


class NextStartSeen(msgspec.Struct, frozen=True):
    """The next start of a bot that no worker leads: `at` is 0 while it is being tried, `failures` those in a row."""

    release: str
    at: int
    failures: int


class HistorySeen(msgspec.Struct, frozen=True):
    """A history that can't be written: `reason` says why, `waiting` notes are kept in memory, `lost` are not."""

    reason: str
    waiting: int
    lost: int


class Supervisor(msgspec.Struct, frozen=True):
    pid: int
    version: str
    since: int


class Status(msgspec.Struct, frozen=True):
    """The answer to `status`. What is about the leader is "" or 0 when nobody leads."""

    version: int
    bot: str
    state: State
    reason: str
    """Why it is down, being started again, or being stopped."""
    at: int
    home: str
    # the leader
    worker: str
    release: str
    pid: int
    epoch: int
    python: str
    since: int
    """When this worker came to lead."""
    seq: int
    """The last tick that ran, as of `reported`."""
    reported: int
    interval: int
    ticks: int
    """Run by this worker."""
    skipped: int
    late_max: int
    paused: bool
    settings: SettingsNow | None
    """None when the bot has none."""
    commands: tuple[str, ...]
    """Those that the bot has declared, for `send`."""
    slow: str
    """What keeps it from its work, "" when nothing does."""
    journal: JournalSeen | None
    inbox: Inbox | None
    windows: tuple[WindowSeen, ...]
    decisions: tuple[DecisionSeen, ...]
    # beside it
    workers: tuple[WorkerSeen, ...]
    deployment: DeploymentSeen | None
    """The one that began last, when several are under way: `abort` cancels it."""
    probation: DeploymentSeen | None
    """The one in its probation, while the next one prepares: `rollback` goes back from it."""
    standby: StandbySeen | None
    """None when there is to be none."""
    last: DeploymentEnded | None
    """How the last deployment ended; its `at` is when."""
    lock: Locked | None
    failure: Failure | None
    outages: tuple[Outage, ...]
    """Those that nobody has acknowledged, oldest first; of many, the newest."""
    supervisor: Supervisor
    branches: tuple[BranchSeen, ...] = ()
    """Those that deploy by a push."""
    waiting: tuple[WaitingSeen, ...] = ()
    """Deployments that wait for their turn, the next one first."""
    notify: tuple[TargetSeen, ...] = ()
    """Who is told of what happens, and whether it arrives."""
    next_start: NextStartSeen | None = None
    """None when a worker leads, or the bot is being stopped."""
    descriptors: DescriptorsSeen | None = None
    pause: PauseNote | None = None
    """What paused the bot, None when it is not paused, or that is not known."""
    history: HistorySeen | None = None
    """None as long as the history can be written."""
    home_problem: str = ""
    """Why the home is not where it was, or not whole; "" when it is."""


def status_of(
    bot: Bot,
    *,
    now: int,
    home: str,
    underway: Underway | None,
    proving: Underway | None,
    waiting: Iterable[Waiter],
    last: DeploymentEnded | None,
    lock: Locked | None,
    branches: tuple[BranchSeen, ...],
    supervisor: Supervisor,
    notify: tuple[TargetSeen, ...] = (),
    pause: PauseNote | None = None,
    history: HistorySeen | None = None,
    home_problem: str = "",
) -> Status:
    """The status of `bot` as of wall time `now`."""
    leader = bot.leading
    report = leader.report if leader is not None and leader.report is not None else _NOTHING
    hello = leader.hello if leader is not None else None
    return Status(
        version=1,
        bot=bot.news.bot,
        state=_state(bot, report),
        reason=bot.stopping or bot.down or bot.recovering,
        at=now,
        home=home,
        worker=bot.leader,
        release=leader.release if leader else "",
        pid=leader.pid if leader else 0,
        epoch=report.epoch,
        python=hello.python if hello else "",
        since=leader.leads_since if leader else 0,
        seq=report.seq,
        reported=leader.reported_at if leader else 0,
        interval=hello.interval if hello else 0,
        ticks=report.ticks,
        skipped=report.skipped,
        late_max=leader.late_max if leader else 0,
        paused=report.paused,
        settings=report.settings,
        commands=tuple(one.name for one in hello.offers.commands) if hello and hello.offers else (),
        slow=bot.guard.slow,
        journal=journal_of(leader),
        inbox=Inbox(report.inbox, report.remembered, report.remember_limit, report.dropped)
        if leader
        else None,
        windows=_windows(leader, now) if leader else (),
        decisions=tuple(
            DecisionSeen(decision.id, decision.name, decision.at, max(0, now - decision.at), member.worker)
            for member in bot.roster.alive()
            for decision in member.decisions.values()
        ),
        workers=tuple(_worker(member) for member in bot.roster.alive()),
        deployment=_deployment(bot, underway) if underway else None,
        probation=_deployment(bot, proving) if proving else None,
        waiting=tuple(_waiting(one) for one in waiting),
        standby=_standby(bot),
        last=last,
        lock=lock,
        failure=_failure(bot.roster.last_failure()),
        outages=bot.outages.unacknowledged[-_OUTAGES:],
        branches=branches,
        supervisor=supervisor,
        notify=notify,
        next_start=_next_start(bot),
        descriptors=_descriptors(report.descriptors),
        pause=pause if report.paused else None,
        history=history,
        home_problem=home_problem,
    )


def start_told(start: NextStartSeen, now: int) -> str:
    """When a bot that no worker leads is started again, seen from wall time `now`."""
    if not start.at:
        return f"now, on release {start.release}"
    return f"in {duration.show(max(0, start.at - now) // _SECOND * _SECOND)}, on release {start.release}"


def this_supervisor(version: str, since: int) -> Supervisor:
    """What this process says of itself."""
    return Supervisor(os.getpid(), version, since)


DESCRIPTORS_SHORT = 32
"""A bot that can open fewer than this is about to fail for want of one."""

_NOTHING = Report("joining", 0, False, "", 0, 0, 0, False)


def _state(bot: Bot, report: Report) -> State:
    if bot.stopping:
        # A supervisor is there for a moment longer than its bot.
        return "down" if bot.stopped else "stopping"
    if bot.starting:
        return "starting"
    if bot.down:
        return "down"
    if bot.recovering:
        return "recovering"
    return "paused" if report.paused else "running"


def _descriptors(said: DescriptorsLeft | None) -> DescriptorsSeen | None:
    if said is None:
        return None
    return DescriptorsSeen(said.left, said.limit, said.reserve, said.left < DESCRIPTORS_SHORT)


def _windows(leader: Member, now: int) -> tuple[WindowSeen, ...]:
    found = [(window, window.next(now)) for window in leader.windows]
    found.sort(key=lambda pair: pair[1].opens)
    return tuple(
        WindowSeen(window.name, span.opens, span.closes, window.protected, now in span)
        for window, span in found
    )


def _worker(member: Member) -> WorkerSeen:
    report = member.report or _NOTHING
    return WorkerSeen(
        worker=member.worker,
        release=member.release,
        pid=member.pid,
        role=member.role,
        epoch=report.epoch,
        seq=report.seq,
        loaded=report.loaded,
        since=member.since,
        reported=member.reported_at,
        leaving=member.leaving,
        log=str(member.log),
    )


def _deployment(bot: Bot, underway: Underway) -> DeploymentSeen:
    driver, command = bot.driver_of(underway.deployment), underway.command
    return DeploymentSeen(
        deployment=underway.deployment,
        phase=driver.phase.value if driver else underway.doing,
        since=driver.progress.since if driver else underway.at,
        holding=driver.progress.holding if driver else "",
        release=underway.release,
        previous=underway.previous,
        dry_run=underway.dry_run,
        who=command.who,
        why=command.why,
        at=underway.at,
    )


def _waiting(one: Waiter) -> WaitingSeen:
    command = one.command
    return WaitingSeen(
        one.deployment, command.commit, command.ref, command.dry_run, command.who, command.why, one.at
    )


def _standby(bot: Bot) -> StandbySeen | None:
    standby = bot.standby
    if standby.state == "none" and not standby.reason:
        return None
    member = bot.roster.get(standby.worker)
    lag = member.report.lag if member is not None and member.report is not None else 0
    return StandbySeen(standby.worker, standby.state, standby.reason, lag)


def _next_start(bot: Bot) -> NextStartSeen | None:
    planned = bot.next_start
    return NextStartSeen(planned.release, planned.at, planned.failures) if planned is not None else None


def _failure(member: Member | None) -> Failure | None:
    if member is None:
        return None
    # Its own word comes before the end of its process, which may take a moment more.
    failed, ended = member.failed, member.ended
    reason = failed.reason if failed is not None else ended.reason if ended is not None else ""
    trace = failed.traceback.strip()[-_TRACEBACK:] if failed is not None else ""
    return Failure(member.worker, member.release, reason, member.out_at, str(member.log), trace)
