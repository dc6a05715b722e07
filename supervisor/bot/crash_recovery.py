"""The revival: a bot whose leader has died goes on.

Its standby takes over, where there is one. Else it starts again from its journal, on the release that led, or on the
one before when that was rolled back: at once after one death, more and more slowly when the starts fail or the leader
dies soon again. That has no end: the pauses grow to a bound, and each of them is told with the time of the next start.
After several failures the bot counts as down. A deployment or a rollback names other code: once a start has failed, or
is only planned, that code is what the next start runs.

Other code is never tried without an operator's word: the release before may not be able to read the state, and was
replaced for a reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.events import StartPlanned
from ...protocol.link import Lead
from ..config.config import Config
from ..handoff.driver import SUCCEED_WITHIN
from ..release.releases import Release
from ..system.conditions import Conditions
from ..system.crash_backoff import AT_MOST, CrashBackoff
from ..system.event_bus import EventBus
from ..system.timers import REPEAT_AFTER
from ..workers.platform import Platform
from ..workers.registry import Member
from ..workers.worker_pool import WorkerPool
from .bring_up import BringUp, StartFailed
from .standby import Standby

__all__ = ["CrashRecovery", "NextStart"]

_RECOVERING_FOR = 15_000_000_000
"""A bot that has had no leader for this long is down, however often it was started meanwhile."""


class NextStart(msgspec.Struct, frozen=True):
    """The next attempt to start the bot: of which release, at what wall time (ns; 0: now), after how many failures."""

    release: str
    at: int
    failures: int


class CrashRecovery:
    """Keeps one bot running. `leader()` is the worker that leads, "" for none; `stopping()` is why it is being stopped.

    `runs(release)` says how a release is run, as far as is known. `find(release)` makes it runnable again, and may
    name another release when that one is lost; it raises `NeverblinkError`. `down(why)` is called when the bot is down
    from now on.
    """

    def __init__(
        self,
        starter: BringUp,
        standby: Standby,
        pool: WorkerPool,
        bus: EventBus,
        outside: Platform,
        waiting: Conditions,
        *,
        leader: Callable[[], str],
        stopping: Callable[[], str],
        runs: Callable[[str], tuple[Release, Config] | None],
        find: Callable[[str], Awaitable[tuple[Release, Config]]],
        down: Callable[[str], None],
    ) -> None:
        self.down = ""
        """Why nobody leads, "" when somebody does or is about to."""
        self.recovering = ""
        """Why the bot is being started again from its journal, "" when it is not."""
        self.next: NextStart | None = None
        """The next start, None when none is planned."""
        self._starter = starter
        self._standby = standby
        self._pool = pool
        self._bus = bus
        self._outside = outside
        self._waiting = waiting
        self._leader = leader
        self._stopping = stopping
        self._runs = runs
        self._find = find
        self._tell_down = down
        self._restarts = CrashBackoff()
        self._died: Member | None = None
        """The leader whose death is to be answered."""
        self._leads = 0
        """How often a worker has come to lead."""
        self._lost_at = 0
        """CLOCK_MONOTONIC, when the bot lost its leader."""
        self._asked = False
        """An operator has named the code to start: nothing else is started meanwhile."""
        self._trying = False
        """A successor is awaited, or being started."""
        self._start_failed = False
        """A start has failed since a worker led."""
        self._task: asyncio.Task[None] | None = None

    @property
    def replaceable(self) -> bool:
        """No worker leads, and the next start may run other code: it is not the first one after a death."""
        return not self._leader() and (bool(self.down) or self.next is not None or self._start_failed)

    def failing(self, release: str) -> bool:
        """Whether the release has failed several times in a row."""
        return self._restarts.failures(release) > 1

    @property
    def busy(self) -> bool:
        """It is being done. Its caller looks again when it has ended."""
        return self._asked or (self._task is not None and not self._task.done())

    def died(self, member: Member) -> None:
        """A leader has died."""
        if self._leader() in ("", member.worker):
            # Else its successor was heard of before its end.
            self._died = member
        self._standby.leader_died(member.release, *self._life(member))

    def left(self) -> None:
        """The worker that was thought to lead has ended, and did not lead by its own word: that is no death."""
        self._died = None

    def led(self) -> None:
        """A worker leads."""
        self._leads += 1
        self._died = None
        self._start_failed = False
        self.down = self.recovering = ""
        self.next = None

    def begin(self, release: str, reason: str, done: Callable[[], None], *, failed: bool = False) -> None:
        """Have the bot go on, on this release. `done` is called when that has ended, one way or the other.

        `failed`: a start of it has failed already.
        """
        self.recovering = reason
        self._start_failed = failed
        self._lost_at = self._outside.mono()
        self._task = asyncio.get_running_loop().create_task(self._revive(release, failed=failed))
        self._task.add_done_callback(lambda _: done())

    async def start_again(self, release: Release, config: Config, why: str) -> bool:
        """Start a bot without a leader from its journal, on this release instead of the one that would be next.

        Returns False when another worker has come to lead meanwhile. Raises `StartFailed`, and then the bot is started
        again as before.
        """
        self._asked = True
        try:
            self._waiting.stir()
            await self._waiting.until(lambda: not self._trying)
            if self._leader():
                return False
            before = self.down, self.recovering
            self.down, self.recovering = "", why
            try:
                led = await self._starter.bring_up(release, config)
            except StartFailed:
                self.down, self.recovering = before
                raise
            self.recovering = ""
            if led:
                self._restarts.forget()
            return led
        finally:
            self._asked = False
            self._waiting.stir()

    def give_up(self, why: str) -> None:
        """No worker leads, and none is going to: the bot is being stopped."""
        self.recovering = ""
        self.next = None
        self.down = why
        self._tell_down(why)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # parts

    def _life(self, member: Member) -> tuple[int, int]:
        """How long it has led (ns), and how many ticks it has run."""
        lived = self._outside.wall() - member.leads_since if member.leads_since else 0
        return lived, member.report.ticks if member.report is not None else 0

    async def _revive(self, release: str, *, failed: bool) -> None:
        leads = self._leads
        self._trying = True
        try:
            if await self._succeeded(release):
                return
        finally:
            self._trying = False
            self._waiting.stir()
        if self._died is not None:
            # Only now: a death that a standby answered does not count.
            self._restarts.failed(self._died.release, *self._life(self._died))
            self._died = None
        elif failed:
            self._restarts.failed(release)
        reason = self.recovering
        while not self._over(leads):
            if pause := self._pause(release):
                self._plan(release, reason, pause)
            await self._waiting.until(lambda: self._over(leads) or self._asked, pause)
            await self._waiting.until(lambda: not self._asked)
            if self._over(leads):
                break
            if (planned := self.next) is not None:
                self.next = NextStart(planned.release, 0, planned.failures)
            try:
                await self._try(release, again=failed)
            except NeverblinkError as problem:
                # A start that made way for an operator's says nothing of the release.
                if not (self._asked or self._over(leads)):
                    self._restarts.failed(release)
                    reason = problem.reason if isinstance(problem, StartFailed) else problem.message
                    failed = self._start_failed = True
            else:
                break
        if self._stopping() and not self._leader():
            self.give_up(self._stopping())
        self._waiting.stir()

    def _over(self, leads: int) -> bool:
        return bool(self._stopping()) or bool(self._leader()) or self._leads != leads

    def _pause(self, release: str) -> int:
        run = self._runs(release)
        return self._restarts.pause(release, run[1].restart.pause_at_most if run is not None else AT_MOST)

    async def _try(self, release: str, *, again: bool) -> None:
        """Start a worker on the release. Raises `NeverblinkError`."""
        run = self._runs(release)
        self._trying = True
        try:
            if again or run is None:
                # It may be the release itself that is broken, or what it runs in.
                run = await self._find(release)
            await self._starter.bring_up(
                *run, unless=lambda: "an operator named other code" if self._asked else ""
            )
        finally:
            self._trying = False
            self._waiting.stir()

    def _plan(self, release: str, reason: str, pause: int) -> None:
        """Say why the bot has no leader, and when the next start is."""
        failures = self._restarts.failures(release)
        self.next = NextStart(release, self._outside.wall() + pause, failures)
        lasts = self._outside.mono() - self._lost_at
        if self.down or self._restarts.crash_loop(release) or lasts > _RECOVERING_FOR:
            times = f"{failures} times in a row" if failures > 1 else "once"
            known = bool(self.down)
            self.recovering = ""
            self.down = f"release {release} failed {times}: {reason}"
            if not known:
                self._tell_down(self.down)
        else:
            self.recovering = reason
        self._bus.tell(
            StartPlanned(
                bot=self._bus.bot,
                at=self._bus.now(),
                release=release,
                failures=failures,
                reason=reason,
                next=self.next.at,
            )
        )

    async def _succeeded(self, release: str) -> bool:
        """Wait for the standby to take the lease; return whether it, or anybody, leads."""
        until = self._outside.mono() + SUCCEED_WITHIN
        while not self._leader() and not self._stopping():
            standby = self._standby.successor(release)
            if standby is None:
                break
            if self._outside.mono() >= until:
                self._pool.kill(standby.worker, "it did not take the lease when the leader had died")
                break
            # It knows by itself, if it guards; should it not, it is told.
            self._pool.send(standby.worker, Lead())
            await self._waiting.until(
                lambda standby=standby: self._leader() or not standby.alive or self._stopping(), REPEAT_AFTER
            )
        return bool(self._leader())
