"""The status: one object that says what runs, what comes next and how the last deployment ended.

Made from what is known: no file is read and no worker is asked, so it can be made at any moment, also in the middle of
a handoff. It is what `status --json` prints and what `{"op": "status"}` answers; keys are added,
and `version` grows when one changes its meaning. Times are ns, wall clock where they are moments.
"""

from __future__ import annotations

import os

import msgspec

from ...protocol import duration
from ...protocol.duration import SECOND
from ...protocol.link import DescriptorsLeft, Report
from ...protocol.status import (
    BotStatus,
    DecisionSeen,
    DeploymentSeen,
    DescriptorsSeen,
    Failure,
    HistorySeen,
    InboxSeen,
    NextStartSeen,
    RunState,
    StandbySeen,
    SupervisorSeen,
    WaitingSeen,
    WindowSeen,
    WorkerSeen,
)
from ..bot.bot import LiveBot
from ..bot.bot_state import BotState
from ..bot.journal_health import journal_of
from ..deploy.admission import QueuedDeployment
from ..deploy.branch_watch import BranchWatch
from ..deploy.deployment import ActiveDeployment
from ..deploy.deployments import Deployments
from ..deploy.owned_home import OwnedHome
from ..feeds.feeds import BotFeeds
from ..notify.notifier import Notifier
from ..store.history_thread import HistoryThread
from ..store.lock_and_pause import PauseNotes
from ..workers.listening_sockets import ListeningSockets
from ..workers.registry import Member

__all__ = ["StatusReader", "describe_next_start"]

_OUTAGES = 50
_TRACEBACK = 8192


class StatusReader:
    """Makes the status of `bot`: the one place that reads every part of the supervisor."""

    def __init__(
        self,
        bot: LiveBot,
        deployments: Deployments,
        branch_watch: BranchWatch,
        pauses: PauseNotes,
        notifier: Notifier,
        owned: OwnedHome,
        feeds: BotFeeds,
        sockets: ListeningSockets,
        version: str,
    ) -> None:
        self._bot = bot
        self._deployments = deployments
        self._branch_watch = branch_watch
        self._pauses = pauses
        self._notifier = notifier
        self._owned = owned
        self._feeds = feeds
        self._sockets = sockets
        self._supervisor = SupervisorSeen(os.getpid(), version, bot.bus.now())

    def read(self) -> BotStatus:
        """The status as of now."""
        bot, deployments, state = self._bot, self._deployments, self._bot.state
        active, in_probation = deployments.active, deployments.in_probation
        now = bot.bus.now()
        leader = state.leading
        report = leader.report if leader is not None and leader.report is not None else _NOTHING
        hello = leader.hello if leader is not None else None
        return BotStatus(
            version=1,
            bot=state.bus.bot,
            state=_run_state(state, report),
            reason=state.stopping or state.down or state.recovering,
            at=now,
            home=str(self._owned.home.path),
            worker=state.leader,
            release=leader.release if leader else "",
            pid=leader.pid if leader else 0,
            epoch=report.epoch,
            python=hello.python if hello else "",
            since=leader.leads_since if leader else 0,
            seq=report.seq,
            reported=leader.reported_at if leader else 0,
            interval=hello.interval if hello else 0,
            event_driven=leader is not None and leader.event_driven,
            turns=report.turns,
            ticks=0 if leader is not None and leader.event_driven else report.ticks,
            skipped=report.skipped,
            late_max=leader.late_max if leader else 0,
            paused=report.paused,
            settings=report.settings,
            commands=tuple(command.name for command in hello.offers.commands)
            if hello and hello.offers
            else (),
            slow=bot.hang_monitor.slow,
            journal=journal_of(leader),
            inbox=_inbox(report) if leader else None,
            windows=_windows(leader, now) if leader else (),
            decisions=tuple(
                DecisionSeen(
                    decision.id, decision.name, decision.at, max(0, now - decision.at), member.worker
                )
                for member in state.registry.alive()
                for decision in member.decisions.values()
            ),
            workers=tuple(_worker(member) for member in state.registry.alive()),
            deployment=_deployment(state, active) if active else None,
            probation=_deployment(state, in_probation) if in_probation else None,
            waiting=tuple(_waiting(deployment) for deployment in deployments.waiting),
            standby=_standby(bot),
            last=deployments.last,
            lock=deployments.deploy_lock.lock,
            failure=_failure(state.registry.last_failure()),
            outages=bot.outages.unacknowledged[-_OUTAGES:],
            branches=self._branch_watch.seen,
            supervisor=self._supervisor,
            notify=self._notifier.seen,
            next_start=_next_start(state),
            descriptors=_descriptors(report.descriptors),
            pause=self._pauses.note if report.paused else None,
            history=_history(deployments.history_thread),
            problems=report.problems,
            home_problem=self._owned.check(),
            sockets=self._sockets.seen,
            unverified=report.unverified,
            tasks=report.tasks,
            feeds=self._feeds.status(),
        )


def describe_next_start(start: NextStartSeen, now: int) -> str:
    """When a bot that no worker leads is started again, seen from wall time `now`."""
    if not start.at:
        return f"now, on release {start.release}"
    return f"in {duration.show(max(0, start.at - now) // SECOND * SECOND)}, on release {start.release}"


DESCRIPTORS_SHORT = 32
"""A bot that can open fewer than this is about to fail for want of one."""

_NOTHING = Report("joining", 0, False, "", 0, 0, 0, False)


def _run_state(state: BotState, report: Report) -> RunState:
    if state.stopping:
        # A supervisor runs for a moment longer than its bot.
        return "down" if state.stopped else "stopping"
    if state.starting:
        return "starting"
    if state.down:
        return "down"
    if state.recovering:
        return "recovering"
    return "paused" if report.paused else "running"


def _descriptors(left: DescriptorsLeft | None) -> DescriptorsSeen | None:
    if left is None:
        return None
    return DescriptorsSeen(left.left, left.limit, left.reserve, left.left < DESCRIPTORS_SHORT)


def _inbox(report: Report) -> InboxSeen:
    seen = InboxSeen(report.inbox, report.remembered, report.remember_limit, report.dropped)
    counts = report.inboxed
    if counts is None:
        return seen
    return msgspec.structs.replace(
        seen,
        bytes=counts.bytes,
        most_events=counts.most_events,
        most_bytes=counts.most_bytes,
        aside=counts.aside,
        discarded=counts.dropped,
        refused=counts.refused,
        missing=counts.missing,
        gap=counts.gap,
        renumbered=counts.renumbered,
    )


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


def _deployment(state: BotState, active: ActiveDeployment) -> DeploymentSeen:
    driver, command = state.driver_of(active.deployment), active.command
    return DeploymentSeen(
        deployment=active.deployment,
        phase=driver.phase.value if driver else active.doing,
        since=driver.progress.since if driver else active.at,
        holding=driver.progress.holding if driver else "",
        release=active.release,
        previous=active.previous,
        dry_run=active.dry_run,
        who=command.who,
        why=command.why,
        at=active.at,
    )


def _waiting(queued: QueuedDeployment) -> WaitingSeen:
    command = queued.command
    return WaitingSeen(
        queued.deployment, command.commit, command.ref, command.dry_run, command.who, command.why, queued.at
    )


def _standby(bot: LiveBot) -> StandbySeen | None:
    standby = bot.standby
    if standby.status == "none" and not standby.reason:
        return None
    member = bot.state.registry.get(standby.worker)
    lag = member.report.lag if member is not None and member.report is not None else 0
    return StandbySeen(standby.worker, standby.status, standby.reason, lag)


def _history(history_thread: HistoryThread) -> HistorySeen | None:
    if not history_thread.failing:
        return None
    return HistorySeen(history_thread.failing, history_thread.waiting, history_thread.lost)


def _next_start(state: BotState) -> NextStartSeen | None:
    planned = state.next_start
    return NextStartSeen(planned.release, planned.at, planned.failures) if planned is not None else None


def _failure(member: Member | None) -> Failure | None:
    if member is None:
        return None
    # Its own message arrives before the end of its process, which may take a moment longer.
    failed, ended = member.failed, member.ended
    reason = failed.reason if failed is not None else ended.reason if ended is not None else ""
    trace = failed.traceback.strip()[-_TRACEBACK:] if failed is not None else ""
    return Failure(member.worker, member.release, reason, member.out_at, str(member.log), trace)
