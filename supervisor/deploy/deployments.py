"""Deployments: carries out `deploy`, `rollback` and `abort`.

One deployment prepares at a time, and it may do so while the deployment before it is in its probation. Then three
generations are alive, and the handoff to the newest begins when the probation has ended. `abort` ends the deployment
that prepares, `rollback` the one in its probation.

A deployment is first admitted (`admission`). Then a release is made of the directory or the commit, on a thread. Then
the deployment gets a number and runs (`pipeline`). A rollback is a deployment of an earlier release, or, in a
probation, one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...protocol.commands import Abort, Deploy, Rollback
from ...protocol.errors import NeverblinkError
from ...protocol.events import DeploymentEnded, Event, LeaderChanged, WorkerExited
from ...protocol.handoff.handoff_events import NO_BOUNDARY, Phase
from ..bot.bot import LiveBot
from ..config.config import Config, ConfigError
from ..environment.prepare import Interpreters, Preparer
from ..release.git import GitError
from ..release.releases import (
    NoSuchRelease,
    Release,
    ReleaseError,
    ReleaseStore,
)
from ..release.retention import ReleaseRetention
from ..release.source import KeptRelease, Source, release_of, source_of
from ..store.history_db import HistoryError
from ..store.history_rows import DeploymentRow, ended_of
from ..store.history_thread import HistoryThread
from ..store.lock_and_pause import DeployLock
from ..system.disk import DiskFull
from ..system.errors import Refusal
from .admission import DeployAdmission, QueuedDeployment
from .deployment import (
    ActiveDeployment,
    DeploymentBegun,
    UnfinishedDeployment,
    busy,
    ended_unseen,
    fault_of,
    newest_deployment,
)
from .pipeline import Pipeline, left_key

__all__ = ["Deployments"]

_TOO_LATE = (Phase.REVERTING, Phase.RETIRING)
_STABLE = (Phase.PROBATION, Phase.RETIRING)
_GENERATIONS = 3
"""The most generations alive at once: the old and the new worker of a probation, and one that prepares."""


class Deployments:
    """The deployments of `bot`. Raises only `Refusal`."""

    def __init__(
        self,
        bot: LiveBot,
        releases: ReleaseStore,
        history_thread: HistoryThread,
        deploy_lock: DeployLock,
        preparer: Preparer,
        logs: Path,
    ) -> None:
        self.releases = releases
        self.deploy_lock = deploy_lock
        self.preparer = preparer
        self.retention = ReleaseRetention(releases, bot.bus.trouble)
        self.runs = Interpreters(releases, history_thread, preparer)
        self.last: DeploymentEnded | None = None
        """How the last deployment ended."""
        self.bot = self._bot = bot
        self.history_thread = history_thread
        self._logs = logs
        self._newest = 0
        self._rehearsed = (0, "")
        """Number and release of the deployment that ended last, if it was a rehearsal."""
        self._active: list[ActiveDeployment] = []
        """In progress, oldest first."""
        self._admission = DeployAdmission(bot, deploy_lock, history_thread, self._is_free)
        self._pipeline = Pipeline(bot, self.retention, history_thread, preparer, logs, self._ended)
        self._left: list[tuple[UnfinishedDeployment, DeploymentRow]] = []
        """What an earlier supervisor left in progress."""

    @property
    def active(self) -> ActiveDeployment | None:
        """The deployment in progress that began last."""
        return self._active[-1] if self._active else None

    @property
    def in_probation(self) -> ActiveDeployment | None:
        """The deployment in its probation, while the next one prepares."""
        return self._active[0] if len(self._active) > 1 else None

    @property
    def waiting(self) -> tuple[QueuedDeployment, ...]:
        """The deployments in the queue."""
        return self._admission.waiting

    async def recall(self) -> None:
        """Load what earlier supervisors left: the outcome of the last deployment, and unfinished deployments.

        `take_up` resumes an unfinished deployment whose handoff had begun. One without a record of a handoff is ended.
        """
        for row in await self.history_thread.ask(lambda history: history.unfinished()):
            left: UnfinishedDeployment | None = None
            try:
                left = await self.history_thread.ask(
                    lambda history, row=row: history.kept(left_key(row.id), UnfinishedDeployment)
                )
            except HistoryError as problem:
                # Another version of neverblink wrote it: the workers finish or undo it without the supervisor.
                self._bot.bus.trouble(problem.message)
            if left is not None:
                self._left.append((left, row))
            else:
                self._bot.bus.tell(ended_unseen(row, self._bot.bus.now()))
        self._newest = await self.history_thread.ask(
            lambda history: newest_deployment(history.path, self._logs, history.bot)
        )
        rows = await self.history_thread.ask(lambda history: history.deployments(1))
        if rows:
            self.last = ended_of(rows[0])

    async def take_up(self, otherwise: Config) -> None:
        """Resume the deployments that an earlier supervisor left in progress.

        All living workers are known and have reported. `otherwise`, the bot's configuration, is used when a
        deployment's own configuration can't be read any more.
        """
        # The deployment in its probation first. It may have the higher number, if it waited less long.
        self._left.sort(key=lambda pair: bool(pair[0].kept.handoff.after))
        found = [(left, row, *await self._run_of(row, otherwise)) for left, row in self._left]
        self._left.clear()
        # Without awaiting: each has to know the one before it, and no message may arrive in between.
        for left, row, release, config in found:
            command: Deploy | Rollback = (
                Rollback(release=row.release, who=row.who, why=row.why)
                if row.kind == "rollback"
                else Deploy(path=release.origin, who=row.who, why=row.why, dry_run=row.dry_run)
            )
            active = ActiveDeployment(command, row.id, row.begun)
            self._active.append(active)
            self._pipeline.take_up(active, left, release, config)

    async def deploy(self, command: Deploy) -> DeploymentBegun | DeploymentEnded:
        """Begin a deployment; with `wait`, return its outcome. Raises `Refusal`."""
        source = source_of(command)
        if not command.queue:
            self._admission.check(frozen=True)
            if command.dry_run:
                self._admission.check_leader()
            await self._make_room(replace=command.replace)
            return await self._deploy(command, source, 0)
        number = await self._admission.in_turn(command, self._next)
        try:
            return await self._deploy(command, source, number)
        except Refusal as refusal:
            if number and refusal.fault.facts.get("deployment") != number:
                self._admission.turn_away(number, refusal.message)
            raise

    async def rollback(self, command: Rollback) -> DeploymentBegun | DeploymentEnded:
        """Hand over to an earlier release; in a probation, with one message to the workers. Raises `Refusal`."""
        self._admission.check(frozen=False)
        if self._active:
            return await self._revert(self._active[0], command)
        leads = self._bot.state.leading.release if self._bot.state.leading is not None else ""
        release = await self.retention.earlier(command.release, leads)
        self._admission.check(frozen=False)
        if self._active:
            raise busy(self._active[0])
        active = self._claim(command)
        try:
            config = await self.runs.config_of(release)
            begun = await self._pipeline.begin(active, "rollback", release, config, force=command.force)
        except ConfigError as problem:
            raise Refusal("bad-input", problem.message) from None
        finally:
            self._release_claim(active)
        return await self._result(active, begun, command.wait)

    def abort(self, command: Abort) -> DeploymentBegun:
        """Cancel the deployment that began last, or the deployment with this number, which may be in the queue.

        Raises `Refusal` when there is none, or when it is too late.
        """
        by = f" by {command.who}" if command.who else ""
        reason = f"cancelled{by}" + (f": {command.why}" if command.why else "")
        if self._admission.cancel(command.deployment, reason):
            return DeploymentBegun(command.deployment, "", "")
        active = self.active
        if active is None:
            raise Refusal("not-found", "no deployment is in progress: there is nothing to abort")
        if command.deployment:
            active = next((each for each in self._active if each.deployment == command.deployment), None)
        if active is None:
            numbers = [each.deployment for each in self._active]
            are = f"{' and '.join(map(str, numbers))} {'are' if len(numbers) > 1 else 'is'}"
            raise Refusal(
                "not-found",
                f"deployment {command.deployment} is not under way, {are}: see `neverblink status`",
                deployment=numbers[-1],
            )
        driver = self._bot.state.driver_of(active.deployment)
        phase = driver.phase if driver is not None else None
        if phase in _TOO_LATE:
            what = (
                "is being rolled back already"
                if phase is Phase.REVERTING
                else "stands: use `neverblink rollback`"
            )
            raise Refusal("busy", f"deployment {active.deployment} {what}", deployment=active.deployment)
        self._pipeline.cancel(active, reason)
        return DeploymentBegun(active.deployment, active.release, active.previous)

    async def settle(self, why: str) -> None:
        """Cancel deployments whose handoff has not begun, and wait until they have ended."""
        for active in self._without_driver():
            self._pipeline.cancel(active, why)
            await asyncio.wait([active.ended])

    async def leave(self, why: str) -> None:
        """Begin no more deployments. Those whose handoff has not begun are cancelled. The others continue without this
        supervisor, and their callers get that as the answer."""
        self._admission.leave()
        await self.settle(why)
        for active in self._active:
            if active.ended.done():
                continue
            active.ended.set_exception(
                Refusal(
                    "failed",
                    f"the supervisor leaves, and deployment {active.deployment} goes on without it: ask for "
                    f"`neverblink history {active.deployment}` when another one is up",
                    deployment=active.deployment,
                )
            )
            # Else asyncio reports it as never retrieved when no caller waits.
            active.ended.exception()

    async def close(self) -> None:
        """Cancel builds, and wait for the removal of old releases."""
        for active in self._without_driver():
            self._pipeline.cancel(active, "the supervisor ends")
        await self._pipeline.close()

    def note(self, event: Event) -> None:
        """Handle events outside of a deployment."""
        match event:
            case LeaderChanged(worker=worker, release=release) if worker and self.active is None:
                # A deployment moves the links itself.
                self.retention.promote(release)
            case WorkerExited():
                # Workers in a crash loop leave many logs, also when nothing is deployed.
                self._pipeline.tidy_logs()
            case _:
                pass

    # parts

    async def _deploy(
        self, command: Deploy, source: Source, number: int
    ) -> DeploymentBegun | DeploymentEnded:
        """Deploy now. `number` is the number that it got in the queue, 0 when it has not waited."""
        # Nothing is awaited between the check for room and this line: two deployments can't both be admitted.
        self._admission.check(frozen=True)
        warnings_of_state = self._admission.check_state(command)
        number = number or self._number_of_rehearsal(command)
        active = self._claim(command, number)
        active.warnings.extend(warnings_of_state)
        release: Release | None = None
        try:
            warn = active.warnings.append
            before = {known.id for known in await asyncio.to_thread(self.releases.list)}
            release, config = await asyncio.to_thread(release_of, source, self.releases, warn)
            try:
                self._check_bot(config, command, warn)
            except Refusal:
                if release.id not in before:
                    with contextlib.suppress(OSError):
                        await asyncio.to_thread(self.releases.remove, release)
                raise
            if isinstance(source, KeptRelease) and not command.python:
                config = await self.runs.as_before(release, config)
            else:
                config = self.runs.choose(release, config, command.python)
            begun = await self._pipeline.begin(active, "deploy", release, config, force=command.force)
        except NoSuchRelease as problem:
            raise Refusal("not-found", problem.message) from None
        except (ConfigError, GitError, ReleaseError) as problem:
            raise Refusal("bad-input", _with_source_paths(problem.message, release)) from None
        except DiskFull as problem:
            raise Refusal("failed", problem.message) from None
        finally:
            self._release_claim(active, number)
        return await self._result(active, begun, command.wait)

    def _check_bot(self, config: Config, command: Deploy, warn: Callable[[str], None]) -> None:
        """Refuse a configuration of another bot unless the command allows it; then `warn` of the change."""
        leading = self._bot.state.leading
        runs = self._bot.state.config_of(leading.release) if leading is not None else None
        # The supervisor keeps its own name. Only the configuration says which bot the code is for.
        now = (
            runs.name if runs is not None else self._bot.bus.bot,
            runs.bot if runs is not None else config.bot,
        )
        changed = [
            f"{key} {before!r} becomes {after!r}"
            for key, before, after in zip(("name", "bot"), now, (config.name, config.bot), strict=True)
            if before != after
        ]
        if not changed:
            return
        if command.change_bot:
            warn(f"the bot changes, as was asked for: {', '.join(changed)}")
            return
        raise Refusal(
            "bad-input",
            f"this is another bot than the one that runs: {', '.join(changed)}. {_hint(now[1], config.bot)} State that "
            "only the old bot has would be lost. If it is meant: `neverblink deploy --change-bot`, or "
            "`git push -o change-bot`",
        )

    def _is_free(self) -> bool:
        """Whether there is room for one more: at most one is in progress, and it is in its probation or past it."""
        if not self._active:
            return True
        driver = self._bot.state.driver_of(self._active[-1].deployment)
        return len(self._active) < _GENERATIONS - 1 and driver is not None and driver.phase in _STABLE

    def _without_driver(self) -> list[ActiveDeployment]:
        return [active for active in self._active if self._bot.state.driver_of(active.deployment) is None]

    async def _make_room(self, *, replace: bool) -> None:
        """Make room for one more deployment: `replace` cancels what is in progress; without it, raise `Refusal`."""
        while self._active and (replace or not self._is_free()):
            active = self._active[-1]
            if not replace:
                raise busy(active)
            self._pipeline.cancel(active, "replaced by another deployment")
            await asyncio.wait([active.ended])

    async def _run_of(self, row: DeploymentRow, otherwise: Config) -> tuple[Release, Config]:
        try:
            return await self.runs.of(row.release)
        except NeverblinkError as problem:
            self._bot.bus.trouble(f"deployment {row.id}: {problem.message}")
            path = self.releases.directory / row.release
            return Release(row.release, path, 0, "", "", 0, 0), otherwise

    def _next(self) -> int:
        """The number of the next deployment."""
        self._newest += 1
        return self._newest

    def _number_of_rehearsal(self, command: Deploy) -> int:
        """The number of the rehearsal that this deployment completes, 0 for none.

        A gated push is two commands: a rehearsal before the branch moves, and a deployment of the rehearsed release
        after it. They count as one deployment.
        """
        number, release = self._rehearsed
        completes = command.queue and not command.dry_run and command.release == release
        return number if completes and number == self._newest else 0

    def _claim(self, command: Deploy | Rollback, number: int = 0) -> ActiveDeployment:
        active = ActiveDeployment(command, number or self._next(), self._bot.bus.now())
        self._active.append(active)
        return active

    def _release_claim(self, active: ActiveDeployment, number: int = 0) -> None:
        """If the deployment did not begin, release its number, unless it has waited under that number."""
        if not active.release:
            if not number and active.deployment == self._newest:
                self._newest -= 1
            self._active.remove(active)
            active.ended.set_result(None)
            self._bot.state.changes.stir()

    def _ended(self, active: ActiveDeployment, ended: DeploymentEnded, config: Config) -> None:
        self.last = ended
        self._rehearsed = (ended.deployment, active.release) if ended.outcome == "rehearsed" else (0, "")
        self._active.remove(active)
        if not active.ended.done():
            active.ended.set_result(ended)
        self._bot.state.changes.stir()
        if not self._active:
            self._pipeline.tidy(config.keep.releases)

    async def _result(
        self, active: ActiveDeployment, begun: DeploymentBegun, wait: bool
    ) -> DeploymentBegun | DeploymentEnded:
        if not wait:
            return begun
        ended = await asyncio.shield(active.ended)
        assert ended is not None
        fault = fault_of(ended)
        if fault is not None:
            raise fault
        return ended

    async def _revert(self, active: ActiveDeployment, command: Rollback) -> DeploymentBegun | DeploymentEnded:
        driver = self._bot.state.driver_of(active.deployment)
        if (
            driver is None
            or driver.phase is not Phase.PROBATION
            or (command.release and command.release not in (active.previous, "previous"))
        ):
            raise busy(active)
        by = f" by {command.who}" if command.who else ""
        driver.revert(f"rolled back{by}" + (f": {command.why}" if command.why else ""))
        if not command.wait:
            return DeploymentBegun(active.deployment, active.previous, active.release)
        await self._bot.state.changes.until(lambda: active.ended.done() or driver.phase is Phase.PROBATION)
        if not active.ended.done():
            raise Refusal(
                "boundary",
                f"not rolled back: {NO_BOUNDARY}. Deployment {active.deployment} leads on, and its probation has "
                "begun anew",
                deployment=active.deployment,
            )
        ended = await asyncio.shield(active.ended)
        assert ended is not None
        if ended.release != active.previous:
            raise Refusal(
                "failed", f"not rolled back: {ended.reason or ended.outcome}", **msgspec.to_builtins(ended)
            )
        return ended


def _hint(runs: str, named: str) -> str:
    """A hint for a new configuration that names another bot."""
    if runs != named and difflib.get_close_matches(named, [runs], 1, 0.8):
        return f'Did you mean bot = "{runs}"?'
    return "Is it the wrong directory?"


def _with_source_paths(message: str, release: Release | None) -> str:
    """The message with paths of the source, where an author can edit files, instead of paths of the copy."""
    if release is None:
        return message
    return message.replace(
        str(release.path), f"commit {release.commit[:8]}" if release.commit else release.origin
    )
