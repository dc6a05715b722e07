"""Deployments: from a directory or a commit to a handoff, one at a time.

A deployment is first checked and made a release of, on a thread, while the bot and everybody else goes on; then it has
a number and a driver; and when it has ended, the links say what leads, and old releases are pruned. A rollback is a
deployment of an earlier release, or, in a probation, one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from pathlib import Path

import msgspec

from ..protocol.commands import Abort, Deploy, Rollback
from ..protocol.errors import NeverblinkError
from ..protocol.events import DeploymentEnded, DeploymentStarted, Outcome, PhaseChanged, Step
from ..protocol.handoff import NO_BOUNDARY, Phase
from .account import Account
from .archive import Archive
from .bot import Bot
from .config import NO_ENVIRONMENT, Config, ConfigError, load
from .disk import DiskFull
from .freeze import Freeze
from .git import GitError
from .history import HistoryError
from .ports import Finished, Kept, Told
from .prepare import Preparer
from .queueing import Queue
from .records import Deployment, Kind
from .refusal import Refusal
from .releases import AmbiguousRelease, NoSuchRelease, Release, ReleaseError, Releases
from .source import KeptRelease, release_of, source_of
from .starter import StartFailed

__all__ = ["Begun", "Deployments", "Underway", "fault_of"]

_LEFT = "deployment under way"
_TOO_LATE = (Phase.REVERTING, Phase.RETIRING)


class Underway:
    """The deployment that runs: what is known of it before, and beside, its driver."""

    def __init__(self, command: Deploy | Rollback, deployment: int, at: int) -> None:
        self.command = command
        self.deployment = deployment
        """Its number; until it has begun, the one it is going to have."""
        self.at = at
        self.release = ""
        self.previous = ""
        self.doing = "copying"
        """What is done before its driver begins: copying, building."""
        self.warnings: list[str] = []
        self.cancelled = ""
        """Why it is not to begin."""
        self.ended: asyncio.Future[DeploymentEnded | None] = asyncio.get_running_loop().create_future()
        """How it ended; None when it never began."""

    @property
    def dry_run(self) -> bool:
        return isinstance(self.command, Deploy) and self.command.dry_run


class Left(msgspec.Struct, frozen=True):
    """What is kept of a deployment under way, for a supervisor that comes after this one. `before` is the release that
    was `previous` when it began."""

    kept: Kept
    before: str | None


class Begun(msgspec.Struct, frozen=True):
    """The answer to a deployment that was begun."""

    deployment: int
    release: str
    previous: str


class Deployments:
    """Carries out `deploy`, `rollback` and `abort` for `bot`. Everything it raises is a `Refusal`."""

    def __init__(
        self,
        bot: Bot,
        releases: Releases,
        archive: Archive,
        freeze: Freeze,
        preparer: Preparer,
        logs: Path,
    ) -> None:
        self.releases = releases
        self.underway: Underway | None = None
        self.last: DeploymentEnded | None = None
        """How the last one ended."""
        self._bot = bot
        self._archive = archive
        self._freeze = freeze
        self._preparer = preparer
        self._logs = logs
        self._newest = 0
        self._queue = Queue()
        self._leaving = ""
        self._left: tuple[Left, Deployment] | None = None
        """What an earlier supervisor left under way."""
        self._tasks: set[asyncio.Task[object]] = set()

    async def recall(self) -> None:
        """Read what earlier supervisors left: how the last deployment ended.

        One that they left unfinished is to be taken up; one that had not begun yet, as far as is known, is ended.
        """
        left: Left | None = None
        try:
            left = await self._archive.ask(lambda history: history.kept(_LEFT, Left))
        except HistoryError as problem:
            # Of a neverblink that keeps it in another way: the workers finish or undo it without us.
            self._bot.news.trouble(problem.message)
        for row in await self._archive.ask(lambda history: history.unfinished()):
            if left is not None and row.id == left.kept.handoff.deployment:
                self._left = left, row
            else:
                self._bot.news.tell(_ended_unseen(row, self._bot.news.now()))
        rows = await self._archive.ask(lambda history: history.deployments(1))
        if rows:
            self._newest = rows[0].id
            self.last = _ended_event(rows[0])

    async def take_up(self, otherwise: Config) -> None:
        """Go on with the deployment that an earlier supervisor left under way, where there is one.

        All workers that are alive are known, and have said what they are. If its own configuration can't be read any
        more, that of the bot, `otherwise`, has to do.
        """
        if self._left is None:
            return
        (left, row), self._left = self._left, None
        try:
            release, config = await self.run_of(row.release)
        except NeverblinkError as problem:
            self._bot.news.trouble(f"deployment {row.id}: {problem.message}")
            path = self.releases.directory / row.release
            release, config = Release(row.release, path, 0, "", "", 0, 0), otherwise
        command: Deploy | Rollback = (
            Rollback(release=row.release, who=row.who, why=row.why)
            if row.kind == "rollback"
            else Deploy(path=release.origin, who=row.who, why=row.why, dry_run=row.dry_run)
        )
        self.underway = underway = Underway(command, row.id, row.begun)
        underway.release, underway.previous = row.release, row.previous
        self._bot.take_up(left.kept, release, config, self._told(underway, config, left.before))

    async def deploy(self, command: Deploy) -> Begun | DeploymentEnded:
        """Begin a deployment, and with `wait` see it through. Raises `Refusal`."""
        source = source_of(command)
        if command.queue:
            await self._in_turn(command)
        else:
            self._check(frozen=True)
            if command.dry_run:
                self._check_leader()
            await self._make_way(replace=command.replace)
        # Between the way being free and this line nothing is awaited: two can't both be let through.
        self._check(frozen=True)
        underway = self._claim(command)
        try:
            warn = underway.warnings.append
            release, config = await asyncio.to_thread(release_of, source, self.releases, warn)
            if command.python:
                config = _on(command.python, config)
                self._archive.write(lambda history: history.keep(_python_key(release.id), command.python))
            elif isinstance(source, KeptRelease):
                config = await self._as_before(release, config)
            else:
                # The same code, deployed twice in a second, is the same release.
                self._archive.write(lambda history: history.drop(_python_key(release.id)))
            begun = await self._begin(underway, "deploy", release, config, force=command.force)
        except NoSuchRelease as problem:
            raise Refusal("not-found", problem.message) from None
        except (ConfigError, GitError, ReleaseError) as problem:
            raise Refusal("bad-input", problem.message) from None
        except DiskFull as problem:
            raise Refusal("failed", problem.message) from None
        finally:
            self._unclaim(underway)
        return await self._through(underway, begun, command.wait)

    async def rollback(self, command: Rollback) -> Begun | DeploymentEnded:
        """Hand over to an earlier release. In the probation of a newer one that is one message. Raises `Refusal`."""
        self._check(frozen=False)
        underway = self.underway
        if underway is not None:
            return await self._revert(underway, command)
        release = await self._earlier(command.release)
        self._check(frozen=False)
        if self.underway is not None:
            raise _busy(self.underway)
        underway = self._claim(command)
        try:
            config = await self._config_of(release)
            begun = await self._begin(underway, "rollback", release, config, force=command.force)
        except ConfigError as problem:
            raise Refusal("bad-input", problem.message) from None
        finally:
            self._unclaim(underway)
        return await self._through(underway, begun, command.wait)

    def abort(self, command: Abort) -> Begun:
        """Cancel the deployment that runs. Raises `Refusal` when there is none, or it is past that."""
        underway = self.underway
        if underway is None:
            raise Refusal("not-found", "no deployment is under way: there is nothing to abort")
        if command.deployment not in (0, underway.deployment):
            raise Refusal(
                "not-found",
                f"deployment {command.deployment} is not under way, {underway.deployment} is: see `neverblink status`",
                deployment=underway.deployment,
            )
        phase = self._bot.driver.phase if self._bot.driver is not None else None
        if phase in _TOO_LATE:
            told = (
                "is being rolled back already"
                if phase is Phase.REVERTING
                else "stands: use `neverblink rollback`"
            )
            raise Refusal("busy", f"deployment {underway.deployment} {told}", deployment=underway.deployment)
        by = f" by {command.who}" if command.who else ""
        self._cancel(underway, f"cancelled{by}" + (f": {command.why}" if command.why else ""))
        return Begun(underway.deployment, underway.release, underway.previous)

    async def settle(self, why: str) -> None:
        """Cancel what has not begun yet, and wait until it has gone."""
        underway = self.underway
        if underway is not None and self._bot.driver is None:
            self._cancel(underway, why)
            await asyncio.wait([underway.ended])

    async def leave(self, why: str) -> None:
        """Begin nothing any more. What has not begun yet is cancelled; what has goes on without us, and who waits for
        it is told so."""
        self._leaving = why
        self._bot.waiting.stir()
        await self.settle(why)
        underway = self.underway
        if underway is not None and not underway.ended.done():
            underway.ended.set_exception(
                Refusal(
                    "failed",
                    f"the supervisor leaves, and deployment {underway.deployment} goes on without it: ask for "
                    f"`neverblink history {underway.deployment}` when another one is up",
                    deployment=underway.deployment,
                )
            )
            # Or it would be said to be lost when nobody waits.
            underway.ended.exception()

    async def close(self) -> None:
        """End what is being built, and wait for what is still being tidied up."""
        if self.underway is not None and self._bot.driver is None:
            self._cancel(self.underway, "the supervisor ends")
        if self._tasks:
            await asyncio.wait(self._tasks)

    # may it?

    def _check(self, *, frozen: bool) -> None:
        bot, lock = self._bot, self._freeze.lock
        if bot.stopping:
            raise Refusal("busy", "the bot is being stopped")
        if self._leaving:
            raise Refusal("busy", "the supervisor is leaving: try again when another one is up")
        if bot.starting:
            raise Refusal(
                "busy", "the bot is still being started: try again when `neverblink status` says running"
            )
        if frozen and lock is not None:
            by = f" by {lock.who}" if lock.who else ""
            raise Refusal(
                "locked", f"locked{by}: {lock.why}. `neverblink unlock` allows deployments again", **_of(lock)
            )
        if bot.recovering:
            raise Refusal(
                "busy", f"the bot is being started again ({bot.recovering}): try again when it leads"
            )

    def _check_leader(self) -> None:
        if self._bot.down:
            raise Refusal(
                "down",
                f"no worker leads, so there is nobody to rehearse beside: {self._bot.down}. See `neverblink logs`",
            )

    async def _make_way(self, *, replace: bool) -> None:
        """Wait for the deployment that runs to end, having cancelled it; or refuse."""
        while (underway := self.underway) is not None:
            if not replace:
                raise _busy(underway)
            self._cancel(underway, "replaced by another deployment")
            await asyncio.wait([underway.ended])

    async def _in_turn(self, command: Deploy) -> None:
        """Wait until nothing is in the way of `command` any more, and it is its turn."""
        bot, queue = self._bot, self._queue
        queue.enter(command)
        try:
            await bot.waiting.until(
                lambda: (
                    bot.stopping
                    or bot.down
                    or self._leaving
                    or queue.replaced_by(command)
                    or self._is_free_for(command)
                )
            )
            later = queue.replaced_by(command)
        finally:
            queue.leave(command)
            bot.waiting.stir()
        if later is not None:
            raise Refusal(
                "busy",
                f"{later.commit[:8]} was pushed to {later.ref} after it, and is deployed in its place",
                commit=later.commit,
            )

    def _is_free_for(self, command: Deploy) -> bool:
        bot = self._bot
        return (
            self.underway is None
            and not bot.starting
            and not bot.recovering
            and self._queue.is_first(command)
        )

    def _cancel(self, underway: Underway, reason: str) -> None:
        underway.cancelled = underway.cancelled or reason
        if self._bot.driver is not None:
            self._bot.driver.abort(reason)
        else:
            self._preparer.cancel(reason)
            self._bot.waiting.stir()

    def _claim(self, command: Deploy | Rollback) -> Underway:
        self.underway = Underway(command, self._newest + 1, self._bot.news.now())
        return self.underway

    def _unclaim(self, underway: Underway) -> None:
        """It could not begin: somebody else may."""
        if not underway.release:
            self.underway = None
            underway.ended.set_result(None)
            self._bot.waiting.stir()

    # how it goes

    async def _begin(
        self, underway: Underway, kind: Kind, release: Release, config: Config, *, force: bool
    ) -> Begun:
        bot, command = self._bot, underway.command
        ready = await asyncio.to_thread(
            self._preparer.ready, release.id, release.path, config, check=kind == "deploy"
        )
        leading = bot.leading
        previous = leading.release if leading is not None else ""
        at = bot.news.now()

        try:
            deployment = await self._archive.ask(
                lambda history: history.begin(
                    kind,
                    release.id,
                    previous,
                    at,
                    who=command.who,
                    why=command.why,
                    dry_run=underway.dry_run,
                    note=release.note,
                )
            )
        except HistoryError as problem:
            raise Refusal(
                "failed", f"the deployment can't be noted, so it is not begun: {problem.message}"
            ) from None
        self._newest = underway.deployment = deployment
        underway.release, underway.previous = release.id, previous
        bot.news.tell(
            DeploymentStarted(
                bot=bot.news.bot,
                at=at,
                deployment=deployment,
                release=release.id,
                previous=previous,
                who=command.who,
                why=command.why,
                dry_run=underway.dry_run,
                commit=release.commit,
                subject=release.subject,
                author=release.author,
                ref=release.ref,
            )
        )
        account = Account(bot.news, deployment, self._logs)
        for warning in underway.warnings:
            account.line("release", f"warning: {warning}")
        if ready is not None:
            self._hand_over(underway, release, ready, force=force)
        else:
            self._spawn(self._prepare(underway, release, config, account, kind=kind, force=force))
        return Begun(deployment, release.id, previous)

    async def _prepare(
        self,
        underway: Underway,
        release: Release,
        config: Config,
        account: Account,
        *,
        kind: Kind,
        force: bool,
    ) -> None:
        """Build and check the release, then hand over to it; the bot goes on meanwhile."""
        bot = self._bot
        begun = time.monotonic_ns()
        self._enter(underway, "building", "", 0)
        reason = underway.cancelled
        if not reason:
            try:
                check = kind == "deploy"
                config = await self._preparer.prepare(release.id, release.path, config, account, check=check)
            except NeverblinkError as problem:
                reason = problem.message
            except Exception as bug:
                bot.news.trouble(f"the build failed: {bug!r}")
                reason = f"the supervisor failed at building it ({bug!r})"
        if reason:
            self._finish(underway, config, _never(underway.cancelled or reason, bot.leader))
            return
        self._enter(underway, "preparing", "building", time.monotonic_ns() - begun)
        # A leader that died while it was built is being started again: that is no reason to begin anew.
        await bot.waiting.until(lambda: not bot.recovering or bool(underway.cancelled or bot.stopping))
        self._hand_over(underway, release, config, force=force)

    def _enter(self, underway: Underway, phase: str, before: str, took: int) -> None:
        underway.doing = phase
        news = self._bot.news
        news.tell(
            PhaseChanged(
                bot=news.bot,
                at=news.now(),
                deployment=underway.deployment,
                phase=phase,
                before=before,
                took=took,
            )
        )

    def _hand_over(self, underway: Underway, release: Release, config: Config, *, force: bool) -> None:
        bot = self._bot
        # Meanwhile it may have been cancelled, or the leader may have gone.
        if bot.down and not (underway.cancelled or bot.stopping):
            self._spawn(self._start_again(underway, release, config))
            return
        if underway.cancelled or bot.stopping or not bot.leader:
            self._finish(underway, config, _never(underway.cancelled or bot.stopping or bot.down, bot.leader))
            return
        told = self._told(underway, config, self.releases.previous())
        bot.hand_over(
            underway.deployment, release, config, force=force, rehearse_only=underway.dry_run, told=told
        )

    async def _config_of(self, release: Release) -> Config:
        """How the release is to be run, but for its environment. Raises `ConfigError`."""
        return await self._as_before(
            release, await asyncio.to_thread(load, release.path, Path(release.origin))
        )

    async def _as_before(self, release: Release, config: Config) -> Config:
        """The configuration with the interpreter that the release was deployed with, if that was another."""
        python = await self._archive.ask(lambda history: history.kept(_python_key(release.id), str))
        return _on(python, config) if python else config

    async def _start_again(self, underway: Underway, release: Release, config: Config) -> None:
        """Nobody leads, so nobody can hand over: the new code starts from the journal."""
        bot = self._bot
        text = "the bot is down: it starts from its journal"
        bot.news.tell(
            Step(
                bot=bot.news.bot,
                at=bot.news.now(),
                deployment=underway.deployment,
                step="restarting",
                text=text,
            )
        )
        try:
            await bot.start_again(
                release, config, f"deployment {underway.deployment} starts it from its journal"
            )
        except StartFailed as problem:
            how = Finished(Phase.ABORTED, problem.reason, "", took_over=False)
        else:
            self._promote(release.id)
            how = Finished(Phase.DONE, "", bot.leader, took_over=True)
        self._finish(underway, config, how)

    def _told(self, underway: Underway, config: Config, before: str | None) -> Told:
        """What is to be done as it goes on. `before` is the release that was `previous` until then."""

        def keep(kept: Kept) -> None:
            self._archive.write(lambda history: history.keep(_LEFT, Left(kept, before)))

        return Told(
            kept=keep,
            committed=lambda: self._promote(underway.release),
            reverted=lambda: self._put_back(underway.previous, before),
            finished=lambda how: self._finish(underway, config, how),
        )

    def _finish(self, underway: Underway, config: Config, how: Finished) -> None:
        leader = self._bot.roster.get(how.leader)
        ended = DeploymentEnded(
            bot=self._bot.news.bot,
            at=self._bot.news.now(),
            deployment=underway.deployment,
            outcome=_outcome(how, underway.dry_run),
            reason="" if how.phase is Phase.DONE and underway.dry_run else how.reason,
            leader=how.leader,
            release=leader.release if leader is not None else "",
            seq=how.seq,
            blackout=how.blackout,
            late=how.late,
            missed=how.missed,
            rollback=how.rollback,
        )
        self.last = ended
        self.underway = None
        self._bot.news.tell(ended)
        self._archive.write(lambda history: history.drop(_LEFT))
        if not underway.ended.done():
            underway.ended.set_result(ended)
        self._bot.waiting.stir()
        self._prune(config.keep.releases)

    async def _through(self, underway: Underway, begun: Begun, wait: bool) -> Begun | DeploymentEnded:
        if not wait:
            return begun
        ended = await asyncio.shield(underway.ended)
        assert ended is not None
        fault = fault_of(ended)
        if fault is not None:
            raise fault
        return ended

    async def _revert(self, underway: Underway, command: Rollback) -> Begun | DeploymentEnded:
        driver = self._bot.driver
        if (
            driver is None
            or driver.phase is not Phase.PROBATION
            or (command.release and command.release not in (underway.previous, "previous"))
        ):
            raise _busy(underway)
        by = f" by {command.who}" if command.who else ""
        driver.revert(f"rolled back{by}" + (f": {command.why}" if command.why else ""))
        begun = Begun(underway.deployment, underway.previous, underway.release)
        if not command.wait:
            return begun
        ended = await asyncio.shield(underway.ended)
        assert ended is not None
        if ended.release != underway.previous:
            raise Refusal("failed", f"not rolled back: {ended.reason or ended.outcome}", **_of(ended))
        return ended

    async def _earlier(self, said: str) -> Release:
        current = self._bot.leading
        try:
            release = await asyncio.to_thread(self.releases.find, said or "previous")
        except NoSuchRelease:
            if said:
                raise Refusal(
                    "not-found", f'no release "{said}" is kept: see `neverblink releases`'
                ) from None
            raise Refusal("not-found", "there is no previous release to go back to") from None
        except AmbiguousRelease as problem:
            raise Refusal("bad-input", problem.message) from None
        if current is not None and release.id == current.release:
            raise Refusal(
                "bad-input", f"release {release.id} leads already: name another, see `neverblink releases`"
            )
        return release

    async def run_of(self, id: str) -> tuple[Release, Config]:
        """The release, and how it is run, in the environment it has. Raises `ReleaseError` and `ConfigError`."""
        release = await asyncio.to_thread(self.releases.get, id)
        config = await self._config_of(release)
        return release, self._preparer.as_assigned(id, config)

    # the links, and old releases

    def lead_now(self, release: str) -> None:
        """Have the links say that this release leads."""
        self._promote(release)

    def _promote(self, release: str) -> None:
        try:
            self.releases.promote(release)
        except (NeverblinkError, OSError) as problem:
            # Links are for people: they must not be able to stop what is being done.
            self._bot.news.trouble(f"the link to release {release} could not be moved: {problem}")

    def _put_back(self, current: str, previous: str | None) -> None:
        """As if the release that was rolled back had never led: it is nothing to go back to."""
        if previous is not None:
            self._promote(previous)
        self._promote(current)
        if previous is None:
            with contextlib.suppress(OSError):
                (self.releases.directory / "previous").unlink(missing_ok=True)

    def _prune(self, keep: int) -> None:
        alive = self._bot.roster.alive()
        in_use, pids = {member.release for member in alive}, [member.pid for member in alive]

        def prune() -> None:
            self.releases.prune(keep, in_use)
            self._preparer.prune(self.releases.directory, pids)

        async def tidy() -> None:
            try:
                await asyncio.to_thread(prune)
            except OSError as problem:
                self._bot.news.trouble(f"old releases could not be removed: {problem}")

        self._spawn(tidy())

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def fault_of(ended: DeploymentEnded) -> Refusal | None:
    """What to answer when a deployment did not do what was asked; None when it did."""
    if ended.outcome in ("done", "rehearsed"):
        return None
    if ended.outcome == "rolled_back":
        return Refusal("rolled-back", f"rolled back: {ended.reason}", **_of(ended))
    code = "boundary" if ended.reason.startswith(NO_BOUNDARY) else "aborted"
    return Refusal("down" if not ended.leader else code, f"aborted: {ended.reason}", **_of(ended))


def _outcome(how: Finished, dry_run: bool) -> Outcome:
    if how.phase is Phase.DONE:
        return "rehearsed" if dry_run else "done"
    return "rolled_back" if how.phase is Phase.ROLLED_BACK else "aborted"


def _never(reason: str, leader: str) -> Finished:
    return Finished(Phase.ABORTED, reason or "nobody leads", leader, took_over=False)


def _busy(underway: Underway) -> Refusal:
    return Refusal(
        "busy",
        f"deployment {underway.deployment} is under way: wait for it, cancel it with `neverblink abort`, "
        "or supersede it with `deploy --replace`",
        deployment=underway.deployment,
    )


def _ended_event(row: Deployment) -> DeploymentEnded | None:
    if row.outcome is None:
        return None
    return DeploymentEnded(
        bot=row.bot,
        at=row.ended or 0,
        deployment=row.id,
        outcome=row.outcome,
        reason=row.reason,
        leader=row.leader,
        release=row.runs,
        seq=row.seq,
        blackout=row.blackout,
        late=row.late,
        missed=row.missed,
        rollback=row.rollback,
    )


def _ended_unseen(row: Deployment, at: int) -> DeploymentEnded:
    return DeploymentEnded(
        bot=row.bot,
        at=at,
        deployment=row.id,
        outcome="aborted",
        reason="the supervisor ended before it did",
        leader="",
        release="",
    )


def _of(what: msgspec.Struct) -> dict[str, object]:
    return msgspec.to_builtins(what)


def _on(python: str, config: Config) -> Config:
    """The configuration with another interpreter, which is taken as it is."""
    return msgspec.structs.replace(config, python=python, environment=NO_ENVIRONMENT)


def _python_key(release: str) -> str:
    return f"python of {release}"
