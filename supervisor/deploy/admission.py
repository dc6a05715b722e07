"""Admission: whether a deployment may begin now, and the queue of those that may not yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...protocol.commands import Deploy
from ...protocol.events import DeploymentEnded
from ..bot.bot import LiveBot
from ..release.git import GitError, describe
from ..store.deploy_lock import DeployLock
from ..store.history_db import HistoryError
from ..store.history_rows import CommitNote
from ..store.history_thread import HistoryThread
from ..system.descriptors import left
from ..system.errors import Refusal
from .queue import DeployQueue, QueuedDeployment

__all__ = ["DeployAdmission"]


_HANDOFF_OPENS = 8
_DEPLOYMENT_OPENS = 24


class DeployAdmission:
    """Admits deployments of `bot`, one at a time. `free()`: there is room for one. Raises only `Refusal`."""

    def __init__(
        self, bot: LiveBot, deploy_lock: DeployLock, history_thread: HistoryThread, free: Callable[[], bool]
    ) -> None:
        self._bot = bot
        self._history_thread = history_thread
        self._deploy_lock = deploy_lock
        self._free = free
        self._queue = DeployQueue()
        self._leaving = False

    def leave(self) -> None:
        """Admit none any more: the supervisor leaves."""
        self._leaving = True
        self._bot.state.changes.stir()

    def check(self, *, frozen: bool) -> None:
        """Refuse when nothing may begin now. `frozen`: a deploy lock refuses it too."""
        bot, lock = self._bot, self._deploy_lock.lock
        if bot.state.stopping:
            raise Refusal("busy", "the bot is being stopped")
        if self._leaving:
            raise Refusal("busy", "the supervisor is leaving: try again when another one is up")
        if not bot.state.arrived:
            raise Refusal(
                "busy", "the bot is still being started: try again when `neverblink status` says running"
            )
        if frozen and lock is not None:
            by = f" by {lock.who}" if lock.who else ""
            raise Refusal(
                "locked",
                f"locked{by}: {lock.why}. `neverblink unlock` allows deployments again",
                **msgspec.to_builtins(lock),
            )
        self._check_descriptors()

    def _check_descriptors(self) -> None:
        """Refuse when the leader or this process can't open as many files as a handoff needs."""
        leader = self._bot.state.leading
        said = leader.report.descriptors if leader is not None and leader.report is not None else None
        if leader is not None and said is not None and said.left + said.reserve < _HANDOFF_OPENS:
            raise Refusal(
                "busy",
                f"worker {leader.worker}, which leads, has {said.left + said.reserve} of {said.limit} file descriptors "
                f"left, and a handoff needs {_HANDOFF_OPENS}: have the bot close some and deploy again; else only "
                "`neverblink down` and then `up` helps, which stops the bot for a moment",
                left=said.left,
                limit=said.limit,
            )
        ours = left()
        if ours < _DEPLOYMENT_OPENS:
            raise Refusal(
                "busy",
                f"the supervisor has {ours} file descriptors left, and a deployment needs {_DEPLOYMENT_OPENS}: close "
                "what is connected to it, or `neverblink up --replace`, which costs no tick",
                left=ours,
            )

    def check_leader(self) -> None:
        """Whether a worker leads, to rehearse beside."""
        if down := self._bot.state.down:
            raise Refusal(
                "down",
                f"no worker leads, so there is none to rehearse beside: {down}. See `neverblink logs`",
            )

    @property
    def waiting(self) -> tuple[QueuedDeployment, ...]:
        """The queue, first one first."""
        return tuple(self._queue.waiting)

    async def in_turn(self, command: Deploy, number: Callable[[], int]) -> int:
        """Wait until nothing prevents `command` any more and it is first in the queue.

        One that has to wait gets a `number()` for it, and is in the history under that from then on; it is returned,
        and 0 when it did not wait. See `turn_away`.
        """
        bot, queue = self._bot, self._queue
        waiter = QueuedDeployment(command, 0, bot.bus.now())
        queue.enter(waiter)
        try:
            if self._is_free_for(waiter):
                return 0
            waiter.deployment = number()
            await self._note(waiter)
            await bot.state.changes.until(
                lambda: (
                    bot.state.stopping
                    or bot.state.down
                    or self._leaving
                    or waiter.cancelled
                    or queue.replaced_by(waiter)
                    or self._is_free_for(waiter)
                )
            )
            later = queue.replaced_by(waiter)
        finally:
            queue.leave(waiter)
            bot.state.changes.stir()
        if waiter.cancelled:
            self.turn_away(waiter.deployment, waiter.cancelled)
            raise Refusal("aborted", f"aborted: {waiter.cancelled}", deployment=waiter.deployment)
        if later is not None:
            why = f"{later.commit[:8]} was pushed to {later.ref} after it, and is deployed in its place"
            self.turn_away(waiter.deployment, why)
            raise Refusal("busy", why, commit=later.commit)
        return waiter.deployment

    def cancel(self, deployment: int, reason: str) -> bool:
        """Take the one with this number out of the queue; return whether there was one."""
        waiter = self._queue.find(deployment)
        if waiter is None:
            return False
        waiter.cancelled = waiter.cancelled or reason
        self._bot.state.changes.stir()
        return True

    def turn_away(self, deployment: int, reason: str) -> None:
        """Publish that one which has waited is not deployed after all."""
        bot = self._bot
        bot.bus.tell(
            DeploymentEnded(
                deployment=deployment,
                outcome="aborted",
                reason=reason,
                leader=bot.state.leader,
                release=bot.state.leading.release if bot.state.leading is not None else "",
            )
        )

    async def _note(self, waiter: QueuedDeployment) -> None:
        """Note a deployment that waits in the history, with who asked and for what."""
        command = waiter.command
        note = CommitNote(command.commit, ref=command.ref) if command.commit else None
        with contextlib.suppress(GitError):
            where = Path(command.repository), command.commit, command.ref, command.objects
            note = await asyncio.to_thread(describe, *where) if note is not None else None
        with contextlib.suppress(HistoryError):
            # A deployment that can't be noted waits all the same, and is refused when it is to begin.
            await self._history_thread.ask(
                lambda history: history.begin(
                    "deploy",
                    "",
                    "",
                    waiter.at,
                    who=command.who,
                    why=command.why,
                    dry_run=command.dry_run,
                    note=note,
                    id=waiter.deployment,
                )
            )

    def _is_free_for(self, waiter: QueuedDeployment) -> bool:
        bot = self._bot
        rehearsable = bot.state.calm or not waiter.command.dry_run
        return self._free() and bot.state.arrived and rehearsable and self._queue.is_first(waiter)
