"""Brings one worker up: from the start of its process until it leads the bot.

The worker begins from the journal. It is sent `Lead` until it leads, or until it is certain that it will not. The
kernel decides which worker has the lease. If another worker has it by then, that worker is the bot.
"""

from __future__ import annotations

from collections.abc import Callable

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.link import Lead
from ..config.config import Config
from ..release.releases import Release
from ..system.tail import last_line
from ..system.timers import REPEAT_AFTER
from ..workers.registry import Member
from ..workers.spawn import SpawnError
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState

__all__ = ["BringUp", "StartFailed"]


class StartFailed(NeverblinkError):
    """The first worker did not come to lead; `log` is its log."""

    def __init__(self, bot: str, reason: str, log: str) -> None:
        super().__init__(f"bot {bot} could not be started: {reason}")
        self.reason = reason
        self.log = log


class BringUp:
    """Starts a worker of `pool` and waits until it leads."""

    def __init__(self, state: BotState, pool: WorkerPool) -> None:
        self._state = state
        self._pool = pool

    async def bring_up(
        self,
        release: Release,
        config: Config,
        unless: Callable[[], str] = lambda: "",
        *,
        drop: tuple[str, ...] = (),
        recovers: bool = False,
    ) -> bool:
        """Start a worker and wait until it, or another worker, leads; return whether this one does.

        `unless()` returns why the start is no longer wanted, "" while it is. Raises `StartFailed` when the worker
        never led; its process has ended then. `drop` and `recovers` are as in `WorkerPool.start`.
        """
        worker = self._pool.next_worker()
        try:
            member = self._pool.start(worker, release, config, drop=drop, recovers=recovers)
        except SpawnError as problem:
            raise StartFailed(self._state.bus.bot, problem.message, "") from None
        within = config.handoff.start_within

        def decided() -> bool:
            return self._hopeless(member) or self._led_by_another(worker) or bool(unless())

        here = await self._state.changes.until(lambda: member.ready or decided(), within)
        until = self._state.platform.mono() + within
        while not decided() and not member.leads and self._state.platform.mono() < until and here:
            self._pool.send(worker, Lead())
            await self._state.changes.until(lambda: member.leads or decided(), REPEAT_AFTER)
        if member.leads_since:
            # If it is dead already, that counts as the death of a leader.
            return True
        if self._led_by_another(worker):
            # A follower was still alive, and the kernel gave it the lease: it is the bot now.
            self._pool.dismiss(worker, f"worker {self._state.leader} leads")
            return False
        if unless() and not self._hopeless(member):
            self._pool.dismiss(worker, unless())
        elif not self._hopeless(member):
            output = last_line(member.log)
            doing = "did not take the lease" if here else "was not ready"
            wait = f"worker {worker} {doing} within start_within = {duration.show(within)}"
            self._pool.kill(worker, f"{wait}; its last output: {output}" if output else wait)
        elif member.alive:
            self._pool.dismiss(worker, member.failed.reason if member.failed else self._state.stopping)
        # A worker that takes the lease at this moment leads instead of leaving: a leader ignores a dismissal.
        await self._state.changes.until(lambda: not member.alive or member.leads_since)
        if member.leads_since:
            return True
        reason = member.ended.reason if member.ended else ""
        raise StartFailed(self._state.bus.bot, self._state.stopping or reason, str(member.log))

    def _led_by_another(self, worker: str) -> bool:
        return self._state.leader not in ("", worker)

    def _hopeless(self, member: Member) -> bool:
        return (
            not member.alive
            or member.failed is not None
            or bool(self._state.stopping)
            or self._led_by_another(member.worker)
        )
