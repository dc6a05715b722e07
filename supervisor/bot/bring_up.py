"""The starter: brings one worker up, from nothing to leading the bot.

The worker begins from the journal and is told to lead until it does, or until it is plain that it will not. Who leads
is the kernel's to say: where somebody else has the lease by then, that one is the bot.
"""

from __future__ import annotations

from collections.abc import Callable

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.link import Lead
from ..config.config import Config
from ..release.releases import Release
from ..system.conditions import Conditions
from ..system.event_bus import EventBus
from ..system.timers import REPEAT_AFTER
from ..system.worker_log import last_line
from ..workers.platform import Platform
from ..workers.registry import Member
from ..workers.spawn import SpawnError
from ..workers.worker_pool import WorkerPool

__all__ = ["BringUp", "StartFailed"]


class StartFailed(NeverblinkError):
    """The first worker did not come to lead; `log` is where it wrote."""

    def __init__(self, bot: str, reason: str, log: str) -> None:
        super().__init__(f"bot {bot} could not be started: {reason}")
        self.reason = reason
        self.log = log


class BringUp:
    """Starts workers of `crew`. `leader()` is who leads, "" for nobody; `stopping()` why the bot is being stopped."""

    def __init__(
        self,
        pool: WorkerPool,
        bus: EventBus,
        outside: Platform,
        waiting: Conditions,
        *,
        leader: Callable[[], str],
        stopping: Callable[[], str],
        next_worker: Callable[[], str],
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._outside = outside
        self._waiting = waiting
        self._leader = leader
        self._stopping = stopping
        self._next_worker = next_worker

    async def bring_up(
        self, release: Release, config: Config, unless: Callable[[], str] = lambda: ""
    ) -> bool:
        """Start a worker and wait until it, or another worker, leads; return whether it is this one that does.

        `unless()` says why it is not wanted any more, "" while it is. Raises `StartFailed` when it never led, and has
        ended.
        """
        worker = self._next_worker()
        try:
            member = self._pool.start(worker, release, config)
        except SpawnError as problem:
            raise StartFailed(self._bus.bot, problem.message, "") from None
        within = config.handoff.start_within

        def settled() -> bool:
            return self._hopeless(member) or self._led_by_another(worker) or bool(unless())

        here = await self._waiting.until(lambda: member.ready or settled(), within)
        until = self._outside.mono() + within
        while not settled() and not member.leads and self._outside.mono() < until and here:
            self._pool.send(worker, Lead())
            await self._waiting.until(lambda: member.leads or settled(), REPEAT_AFTER)
        if member.leads_since:
            # Should it be dead already, then that is a leader's death, and counted and answered as one.
            return True
        if self._led_by_another(worker):
            # A follower was still there, and the kernel gave it the lease: it is the bot now.
            self._pool.dismiss(worker, f"worker {self._leader()} leads")
            return False
        if unless() and not self._hopeless(member):
            self._pool.dismiss(worker, unless())
        elif not self._hopeless(member):
            said = last_line(member.log)
            doing = "did not take the lease" if here else "was not ready"
            wait = f"worker {worker} {doing} within start_within = {duration.show(within)}"
            self._pool.kill(worker, f"{wait}; the last it said: {said}" if said else wait)
        elif member.alive:
            self._pool.dismiss(worker, member.failed.reason if member.failed else self._stopping())
        # One that was just taking the lease leads instead of leaving: a leader ignores a dismissal.
        await self._waiting.until(lambda: not member.alive or member.leads_since)
        if member.leads_since:
            return True
        reason = member.ended.reason if member.ended else ""
        raise StartFailed(self._bus.bot, self._stopping() or reason, str(member.log))

    def _led_by_another(self, worker: str) -> bool:
        return self._leader() not in ("", worker)

    def _hopeless(self, member: Member) -> bool:
        return (
            not member.alive
            or member.failed is not None
            or bool(self._stopping())
            or self._led_by_another(member.worker)
        )
