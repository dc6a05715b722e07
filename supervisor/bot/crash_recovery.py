"""Crash recovery: keeps a bot running whose leader has died.

Its standby takes over, if it has one. Otherwise the bot is started again from its journal, on the release that led,
or on the release before if that one was rolled back: at once after the first death, then with growing pauses while
starts fail or leaders die early. It never gives up: the pauses grow to a limit, and each is published with the time
of the next start. After several failures the bot counts as down. A deployment or a rollback can name other code. Once
a start has failed or is planned, the next start runs that code.

Other code is never tried without an operator's decision: the previous release may not be able to read the state, and it
was replaced for a reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...protocol.errors import NeverblinkError
from ...protocol.events import StartPlanned
from ...protocol.link import Lead
from ..config.config import Config
from ..handoff.driver import SUCCEED_WITHIN
from ..release.releases import Release
from ..system.crash_backoff import CrashBackoff
from ..system.timers import REPEAT_AFTER
from ..workers.registry import Member
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState, NextStart
from .bring_up import BringUp, StartFailed
from .command_relay import CommandRelay
from .standby import Standby

__all__ = ["CrashRecovery"]

_RECOVERING_FOR = 15_000_000_000
"""A bot without a leader for this long is down, however often it was started meanwhile."""


class CrashRecovery:
    """Keeps one bot running. Its state is in `state.down`, `state.recovering` and `state.next_start`.

    `find(release)` repairs a release, or returns another one when it is lost. It raises `NeverblinkError`. When the bot
    is down, unanswered commands of `relay` fail.
    """

    def __init__(
        self,
        state: BotState,
        pool: WorkerPool,
        bring_up: BringUp,
        standby: Standby,
        relay: CommandRelay,
        find: Callable[[str], Awaitable[tuple[Release, Config]]],
    ) -> None:
        self._state = state
        self._pool = pool
        self._bring_up = bring_up
        self._standby = standby
        self._relay = relay
        self._find = find
        self._restarts = CrashBackoff()
        self._died: Member | None = None
        """The leader whose death is not counted yet."""
        self._leads = 0
        """How often a worker has begun to lead."""
        self._lost_at = 0
        """When the bot lost its leader, CLOCK_MONOTONIC."""
        self._start_requested = False
        """A start that an operator requested is in progress: no other start begins meanwhile."""
        self._trying = False
        """Waiting for a successor, or starting one."""
        self._start_failed = False
        """A start has failed since a worker led."""
        self._task: asyncio.Task[None] | None = None

    @property
    def replaceable(self) -> bool:
        """Whether no worker leads and the next start may run other code: it is not the first start after a death."""
        return not self._state.leader and (
            bool(self._state.down) or self._state.next_start is not None or self._start_failed
        )

    def failing(self, release: str) -> bool:
        """Whether the release has failed several times in a row."""
        return self._restarts.failures(release) > 1

    @property
    def busy(self) -> bool:
        """Whether a recovery or a requested start is in progress. The leadership is checked again when it has ended."""
        return self._start_requested or (self._task is not None and not self._task.done())

    def died(self, member: Member) -> None:
        """A leader has died."""
        if self._state.leader in ("", member.worker):
            # Otherwise its successor has reported before the leader's process ended.
            self._died = member
        self._standby.leader_died(member.release, *self._life(member))

    def left(self) -> None:
        """The worker that counted as the leader has ended without having led: that is not the death of a leader."""
        self._died = None

    def led(self) -> None:
        """A worker leads."""
        self._leads += 1
        self._died = None
        self._start_failed = False
        self._state.down = self._state.recovering = ""
        self._state.next_start = None
        self._state.last_readable = False

    def begin(self, release: str, reason: str, done: Callable[[], None], *, failed: bool = False) -> None:
        """Recover the bot on this release. Calls `done` when the recovery has ended, with or without a leader.

        `failed`: a start of the release has failed already.
        """
        self._state.recovering = reason
        self._start_failed = failed
        self._lost_at = self._state.platform.mono()
        self._task = asyncio.get_running_loop().create_task(self._recover(release, failed=failed))
        self._task.add_done_callback(lambda _: done())

    async def start_again(
        self, release: Release, config: Config, why: str, drop: tuple[str, ...] = ()
    ) -> bool:
        """Start a bot without a leader from its journal, on this release instead of the one that would be next.

        Returns False when another worker leads by then. Raises `StartFailed`, and then the recovery continues as
        before.
        """
        self._start_requested = True
        try:
            self._state.changes.stir()
            await self._state.changes.until(lambda: not self._trying)
            if self._state.leader:
                return False
            before = self._state.down, self._state.recovering
            self._state.down, self._state.recovering = "", why
            try:
                led = await self._bring_up.bring_up(release, config, drop=drop)
            except StartFailed:
                self._state.down, self._state.recovering = before
                raise
            self._state.recovering = ""
            if led:
                self._restarts.forget()
            return led
        finally:
            self._start_requested = False
            self._state.changes.stir()

    def give_up(self, why: str) -> None:
        """End the recovery: the bot is being stopped."""
        self._state.recovering = ""
        self._state.next_start = None
        self._go_down(why)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # parts

    def _life(self, member: Member) -> tuple[int, int]:
        """How long the worker has led (ns), and how many ticks it has run."""
        lived = self._state.platform.wall() - member.leads_since if member.leads_since else 0
        return lived, member.report.ticks if member.report is not None else 0

    async def _recover(self, release: str, *, failed: bool) -> None:
        leads = self._leads
        self._trying = True
        try:
            if await self._standby_leads(release):
                return
        finally:
            self._trying = False
            self._state.changes.stir()
        if self._died is not None:
            # Only now: a death after which a standby took over does not count.
            self._restarts.failed(self._died.release, *self._life(self._died))
            self._died = None
        elif failed:
            self._restarts.failed(release)
        reason = self._state.recovering
        while not self._over(leads):
            if pause := self._pause(release):
                self._plan(release, reason, pause)
            await self._state.changes.until(lambda: self._over(leads) or self._start_requested, pause)
            await self._state.changes.until(lambda: not self._start_requested)
            if self._over(leads):
                break
            if (planned := self._state.next_start) is not None:
                self._state.next_start = NextStart(planned.release, 0, planned.failures)
            try:
                await self._try(release, again=failed)
            except NeverblinkError as problem:
                # A start that was cut off for an operator's start says nothing about the release.
                if not (self._start_requested or self._over(leads)):
                    self._restarts.failed(release)
                    reason = problem.reason if isinstance(problem, StartFailed) else problem.message
                    failed = self._start_failed = True
            else:
                break
        if self._state.stopping and not self._state.leader:
            self.give_up(self._state.stopping)
        self._state.changes.stir()

    def _over(self, leads: int) -> bool:
        return bool(self._state.stopping) or bool(self._state.leader) or self._leads != leads

    def _pause(self, release: str) -> int:
        return self._restarts.pause(release, self._state.longest_pause(release))

    async def _try(self, release: str, *, again: bool) -> None:
        """Start a worker on the release. Raises `NeverblinkError`."""
        run = self._state.runs.get(release)
        self._trying = True
        try:
            if again or run is None:
                # The release or its environment may be damaged.
                run = await self._find(release)
                self._state.add_run(*run)
            await self._bring_up.bring_up(
                *run,
                unless=lambda: "an operator named other code" if self._start_requested else "",
                recovers=True,
            )
        finally:
            self._trying = False
            self._state.changes.stir()

    def _go_down(self, why: str) -> None:
        """Publish that the bot is down, and fail the commands that wait for it."""
        self._state.down = why
        self._relay.give_up(f"the bot is down: {why}")
        self._state.publish_leader("", "", why, 0)
        self._state.changes.stir()

    def _plan(self, release: str, reason: str, pause: int) -> None:
        """Publish why the bot has no leader, and when the next start is."""
        failures = self._restarts.failures(release)
        self._state.next_start = NextStart(release, self._state.platform.wall() + pause, failures)
        lasts = self._state.platform.mono() - self._lost_at
        if self._state.down or self._restarts.crash_loop(release) or lasts > _RECOVERING_FOR:
            times = f"{failures} times in a row" if failures > 1 else "once"
            was_down = bool(self._state.down)
            self._state.recovering = ""
            self._state.down = f"release {release} failed {times}: {reason}"
            if not was_down:
                self._go_down(self._state.down)
        else:
            self._state.recovering = reason
        self._state.bus.tell(
            StartPlanned(
                release=release,
                failures=failures,
                reason=reason,
                next=self._state.next_start.at,
            )
        )

    async def _standby_leads(self, release: str) -> bool:
        """Wait for the standby to take the lease; return whether any worker leads."""
        until = self._state.platform.mono() + SUCCEED_WITHIN
        while not self._state.leader and not self._state.stopping:
            standby = self._standby.successor(release)
            if standby is None:
                break
            if self._state.platform.mono() >= until:
                self._pool.kill(standby.worker, "it did not take the lease when the leader had died")
                break
            # A standby that guards takes the lease by itself. Send `Lead` for one that does not.
            self._pool.send(standby.worker, Lead())
            await self._state.changes.until(
                lambda standby=standby: self._state.leader or not standby.alive or self._state.stopping,
                REPEAT_AFTER,
            )
        return bool(self._state.leader)
