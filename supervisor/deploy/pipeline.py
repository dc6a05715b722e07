"""The pipeline of a deployment: from a release to its end.

The deployment gets its number. Its environment is built and checked while the bot runs on. Then the leader hands over
to the new code; when no worker leads, the new code starts from the journal instead. The outcome is published.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec

from ...protocol.commands import Rollback
from ...protocol.duration import SECOND
from ...protocol.errors import NeverblinkError
from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    PhaseChanged,
    StepDone,
)
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import Handed
from ..bot.bot import LiveBot
from ..bot.bring_up import StartFailed
from ..config.config import Config
from ..environment.prepare import Preparer
from ..handoff.progress import Finished, HandoffListener, HandoffRecord, comparison
from ..release.releases import Release
from ..release.retention import ReleaseRetention, remove_old_logs
from ..store.history_db import HistoryError
from ..store.history_rows import Kind
from ..store.history_thread import HistoryThread
from ..system.errors import Refusal
from .build_log import BuildLog
from .deployment import (
    ActiveDeployment,
    DeploymentBegun,
    UnfinishedDeployment,
    aborted_before_handoff,
    outcome_of,
)

__all__ = ["Pipeline", "left_key"]

_TICKS_WITHIN = 2 * SECOND
"""How long to wait for the old code's next tick. If it is due later, the outage reports what was missed."""


class Pipeline:
    """Runs deployments of `bot`. Calls `ended(active, how, config)` when one has ended."""

    def __init__(
        self,
        bot: LiveBot,
        retention: ReleaseRetention,
        history_thread: HistoryThread,
        preparer: Preparer,
        logs: Path,
        ended: Callable[[ActiveDeployment, DeploymentEnded, Config], None],
    ) -> None:
        self._bot = bot
        self._retention = retention
        self._history_thread = history_thread
        self._preparer = preparer
        self._logs = logs
        self._ended = ended
        self._tasks: set[asyncio.Task[object]] = set()

    async def begin(
        self, active: ActiveDeployment, kind: Kind, release: Release, config: Config, *, force: bool
    ) -> DeploymentBegun:
        """Give the deployment its number and begin it. Raises `Refusal` when it can't be recorded in the history."""
        bot, command = self._bot, active.command
        ready = await asyncio.to_thread(
            self._preparer.ready, release.id, release.path, config, check=kind == "deploy"
        )
        leading = bot.state.leading
        previous = leading.release if leading is not None else ""
        at = bot.bus.now()

        try:
            deployment = await self._history_thread.ask(
                lambda history: history.begin(
                    kind,
                    release.id,
                    previous,
                    at,
                    who=command.who,
                    why=command.why,
                    dry_run=active.dry_run,
                    note=release.note,
                    id=active.deployment,
                )
            )
        except HistoryError as problem:
            raise Refusal(
                "failed",
                f"the deployment can't be recorded in the history, so it does not begin: {problem.message}",
            ) from None
        active.deployment = deployment
        active.release, active.previous = release.id, previous
        bot.bus.tell(
            DeploymentStarted(
                at=at,
                deployment=deployment,
                release=release.id,
                previous=previous,
                who=command.who,
                why=command.why,
                dry_run=active.dry_run,
                commit=release.commit,
                subject=release.subject,
                author=release.author,
                ref=release.ref,
            )
        )
        build_log = BuildLog(bot.bus, deployment, self._logs)
        build_log.begin()
        for warning in active.warnings:
            build_log.line("release", warning)
        if ready is not None and bot.state.calm:
            self._hand_over(active, release, ready, force=force)
        else:
            self._spawn(self._prepare(active, release, config, ready, build_log, kind=kind, force=force))
        return DeploymentBegun(deployment, release.id, previous)

    def take_up(
        self, active: ActiveDeployment, left: UnfinishedDeployment, release: Release, config: Config
    ) -> None:
        """Resume a deployment that an earlier supervisor left."""
        active.release, active.previous, active.before = release.id, left.previous, left.before
        self._bot.handoffs.take_up(left.kept, release, config, _DeploymentListener(self, active, config))

    def cancel(self, active: ActiveDeployment, reason: str) -> None:
        """Cancel the deployment: the old code leads."""
        active.cancelled = active.cancelled or reason
        driver = self._bot.state.driver_of(active.deployment)
        if driver is not None:
            driver.abort(reason)
        else:
            self._preparer.cancel(reason)
            self._bot.state.changes.stir()

    def tidy(self, keep: int) -> None:
        """Remove all but the newest `keep` releases.

        No deployment may be in progress: its release could be among them.
        """
        alive = self._bot.state.registry.alive()
        feeds = self._bot.state.feed_processes
        in_use = {member.release for member in alive} | feeds.keys()
        pids = [member.pid for member in alive] + list(feeds.values())

        async def tidy() -> None:
            await self._retention.prune(keep, in_use)
            try:
                await asyncio.to_thread(self._preparer.prune, self._retention.releases.directory, pids)
            except OSError as problem:
                self._bot.bus.trouble(f"old environments could not be removed: {problem}")
            self.tidy_logs()

        self._spawn(tidy())

    def tidy_logs(self) -> None:
        """Remove old logs of workers."""
        releases = self._retention.releases
        self._history_thread.write(
            lambda history: remove_old_logs(self._logs, {release.id for release in releases.list()}, history)
        )

    async def close(self) -> None:
        """Wait for builds and removals in progress."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    # parts

    async def _prepare(
        self,
        active: ActiveDeployment,
        release: Release,
        config: Config,
        ready: Config | None,
        build_log: BuildLog,
        *,
        kind: Kind,
        force: bool,
    ) -> None:
        """Build and check the release if it is not ready, and hand over to it. The bot runs on meanwhile."""
        bot = self._bot
        if ready is None:
            try:
                ready = await self._build(active, release, config, build_log, check=kind == "deploy")
            except NeverblinkError as problem:
                self.finish(
                    active,
                    config,
                    aborted_before_handoff(active.cancelled or problem.message, bot.state.leader),
                )
                return
        await self._hand_over_when_possible(active, release, ready, force=force)

    async def _hand_over_when_possible(
        self, active: ActiveDeployment, release: Release, config: Config, *, force: bool
    ) -> None:
        """Wait until a leader can hand over, or until the next start may run the new code."""
        bot = self._bot

        def possible() -> bool:
            over = bool(active.cancelled or bot.state.stopping)
            return over or bot.state.calm or (bot.replaceable and not active.dry_run)

        if not bot.state.leader and not possible():
            why = f" ({bot.state.recovering})" if bot.state.recovering else ""
            self._step(
                active,
                "waiting",
                f"no worker leads{why}: waiting for the start that is in progress",
            )
        await bot.state.changes.until(possible)
        self._hand_over(active, release, config, force=force)

    async def _build(
        self, active: ActiveDeployment, release: Release, config: Config, build_log: BuildLog, *, check: bool
    ) -> Config:
        begun = time.monotonic_ns()
        self._enter(active, "building", "", 0)
        if active.cancelled:
            raise NeverblinkError(active.cancelled)
        try:
            ready = await self._preparer.prepare(release.id, release.path, config, build_log, check=check)
        except NeverblinkError:
            raise
        except Exception as bug:
            self._bot.bus.trouble(f"the build failed: {bug!r}")
            raise NeverblinkError(f"the supervisor failed at building it ({bug!r})") from bug
        self._enter(active, "preparing", "building", time.monotonic_ns() - begun)
        return ready

    def _enter(self, active: ActiveDeployment, phase: str, before: str, took: int) -> None:
        active.doing = phase
        bus = self._bot.bus
        bus.tell(
            PhaseChanged(
                deployment=active.deployment,
                phase=phase,
                before=before,
                took=took,
            )
        )

    def _hand_over(self, active: ActiveDeployment, release: Release, config: Config, *, force: bool) -> None:
        bot = self._bot
        # The deployment may have been cancelled meanwhile, or the leader lost.
        wanted = not (active.cancelled or bot.state.stopping)
        if wanted and bot.replaceable and not active.dry_run:
            self._spawn(self._start_again(active, release, config))
            return
        if wanted and not (bot.state.calm or bot.state.down):
            self._spawn(self._hand_over_when_possible(active, release, config, force=force))
            return
        if not wanted or not bot.state.leader:
            self.finish(
                active,
                config,
                aborted_before_handoff(
                    active.cancelled or bot.state.stopping or bot.state.down, bot.state.leader
                ),
            )
            return
        active.before = self._retention.releases.previous()
        old = bot.state.leading.release if bot.state.leading is not None else ""

        def retry(how: Finished) -> bool:
            lost = how.phase is Phase.ABORTED and not how.leader and not active.dry_run
            if not lost or active.cancelled or bot.state.stopping or not bot.failing(old):
                return False
            # A leader in a crash loop dies before it can hand over. The new code is meant to fix that: try again.
            self._history_thread.write(lambda history: history.drop(left_key(active.deployment)))
            self._spawn(self._hand_over_when_possible(active, release, config, force=force))
            return True

        listener = _DeploymentListener(self, active, config, retry)
        bot.handoffs.begin(
            active.deployment,
            release,
            config,
            listener,
            force=force,
            rehearse_only=active.dry_run,
            drop=active.command.drop,
            again=isinstance(active.command, Rollback) or bool(active.command.release),
        )

    async def _start_again(self, active: ActiveDeployment, release: Release, config: Config) -> None:
        """Start the new code from the journal: no worker leads, so none can hand over."""
        bot = self._bot
        self._step(active, "restarting", "no worker leads: the new code starts from the journal")
        try:
            started = await bot.start_again(
                release,
                config,
                f"deployment {active.deployment} starts it from its journal",
                active.command.drop,
            )
        except StartFailed as problem:
            how = Finished(Phase.ABORTED, problem.reason, "", took_over=False)
        else:
            if not started:
                # Another release leads now, which was started meanwhile.
                self._hand_over(active, release, config, force=False)
                return
            self._compared(active)
            self._retention.promote(release.id)
            how = Finished(Phase.DONE, "", bot.state.leader, took_over=True)
        self.finish(active, config, how)

    def _compared(self, active: ActiveDeployment) -> None:
        """Publish how the state that the new code has read from the journal differs in it."""
        leading = self._bot.state.leading
        found = leading.recovered if leading is not None else None
        if found is not None and found.changes is not None and not found.changes.same:
            text, facts = comparison(found.changes)
            bus = self._bot.bus
            bus.tell(StepDone(deployment=active.deployment, step="state", text=text, took=0, facts=facts))

    def _step(self, active: ActiveDeployment, step: str, text: str) -> None:
        bus = self._bot.bus
        bus.tell(StepDone(deployment=active.deployment, step=step, text=text))

    def record(self, active: ActiveDeployment, record: HandoffRecord) -> None:
        """Record the state of its handoff for a later supervisor."""
        unfinished = UnfinishedDeployment(record, active.previous, active.before)
        self._history_thread.write(lambda history: history.keep(left_key(active.deployment), unfinished))
        # Its phase may have changed by a timer.
        self._bot.state.changes.stir()

    def turned(self, active: ActiveDeployment, worker: str) -> None:
        """It takes over from another worker than at its beginning."""
        member = self._bot.state.registry.get(worker)
        active.previous = member.release if member is not None else ""
        active.before = self._retention.releases.previous()

    def committed(self, active: ActiveDeployment) -> None:
        """Its release leads."""
        self._retention.promote(active.release)

    def reverted(self, active: ActiveDeployment) -> None:
        """The release before it leads again."""
        self._retention.put_back(active.previous, active.before)

    def finish_when_ticked(self, active: ActiveDeployment, config: Config, how: Finished) -> None:
        """Publish that it was rolled back, together with what was missed until the old code ticked again."""
        active.doing = how.phase.value
        self._spawn(self._finish_when_ticked(active, config, how))

    async def _finish_when_ticked(self, active: ActiveDeployment, config: Config, how: Finished) -> None:
        state = self._bot.state
        leader = state.registry.get(how.leader)

        def first_tick() -> Handed | None:
            handed = leader.handed if leader is not None else None
            return (
                handed if handed is not None and leader is not None and handed.epoch == leader.epoch else None
            )

        def is_over() -> bool:
            gone = leader is None or not leader.alive
            return gone or bool(active.cancelled or state.stopping) or first_tick() is not None

        await state.changes.until(is_over, _TICKS_WITHIN)
        handed = first_tick()
        missed = how.missed + (handed.missed if handed is not None else 0)
        self.finish(active, config, msgspec.structs.replace(how, missed=missed))

    def finish(self, active: ActiveDeployment, config: Config, how: Finished) -> None:
        """Publish how it ended."""
        leader = self._bot.state.registry.get(how.leader)
        ended = DeploymentEnded(
            deployment=active.deployment,
            outcome=outcome_of(how, dry_run=active.dry_run),
            reason="" if how.phase is Phase.DONE and active.dry_run else how.reason,
            leader=how.leader,
            release=leader.release if leader is not None else "",
            seq=how.seq,
            blackout=how.blackout,
            late=how.late,
            missed=how.missed,
            rollback=how.rollback,
            heartbeats=how.heartbeats,
        )
        ended = self._bot.bus.tell(ended)
        self._history_thread.write(lambda history: history.drop(left_key(active.deployment)))
        self._ended(active, ended, config)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _DeploymentListener(HandoffListener):
    """Carries out for one deployment what its handoff requires.

    `retry(how)` may begin it again instead of ending it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        active: ActiveDeployment,
        config: Config,
        retry: Callable[[Finished], bool] = lambda how: False,
    ) -> None:
        self._pipeline = pipeline
        self._active = active
        self._config = config
        self._retry = retry

    def recorded(self, record: HandoffRecord) -> None:
        self._pipeline.record(self._active, record)

    def turned(self, worker: str) -> None:
        self._pipeline.turned(self._active, worker)

    def committed(self) -> None:
        self._pipeline.committed(self._active)

    def reverted(self) -> None:
        self._pipeline.reverted(self._active)

    def finished(self, how: Finished) -> None:
        if self._retry(how):
            return
        if how.phase is Phase.ROLLED_BACK and how.leader:
            self._pipeline.finish_when_ticked(self._active, self._config, how)
        else:
            self._pipeline.finish(self._active, self._config, how)


def left_key(deployment: int) -> str:
    """The key in the history of this deployment's `UnfinishedDeployment`."""
    return f"deployment {deployment} under way"
