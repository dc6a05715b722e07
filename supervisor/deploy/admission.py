"""Admission: whether a deployment may begin now, and the queue of those that have to wait.

A push must not be refused because another deployment is in progress. The pusher would have to find out when to push
again, and git would then report that everything is up to date. So the deployment waits. When a later push of the same
branch waits too, the earlier one is dropped, because its code was replaced before it ran.
"""

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
from ..store.history_db import HistoryError
from ..store.history_rows import CommitNote
from ..store.history_thread import HistoryThread
from ..store.lock_and_pause import DeployLock
from ..system.errors import Refusal
from ..system.open_files import left

__all__ = ["DeployAdmission", "DeployQueue", "QueuedDeployment"]

_HANDOFF_OPENS = 8
_DEPLOYMENT_OPENS = 24
_LONGEST_QUEUE = 64


class QueuedDeployment:
    """A command that has waited since wall time `at`. `deployment` is its future number, 0 before it waits."""

    def __init__(self, command: Deploy, deployment: int, at: int) -> None:
        self.command = command
        self.deployment = deployment
        self.at = at
        self.cancelled = ""
        """Why it will not be deployed, "" when it will."""


class DeployQueue:
    """The waiting commands. Nothing here blocks: a caller checks again when something has changed."""

    def __init__(self) -> None:
        self.waiting: list[QueuedDeployment] = []

    def enter(self, waiter: QueuedDeployment) -> None:
        """Append a command. Raises `Refusal` when too many wait."""
        if len(self.waiting) >= _LONGEST_QUEUE:
            raise Refusal("busy", f"{_LONGEST_QUEUE} deployments are waiting already: try again later")
        self.waiting.append(waiter)

    def leave(self, waiter: QueuedDeployment) -> None:
        self.waiting.remove(waiter)

    def is_first(self, waiter: QueuedDeployment) -> bool:
        return self.waiting[0] is waiter

    def replaced_by(self, waiter: QueuedDeployment) -> Deploy | None:
        """A later command that deploys a newer commit of the same branch, if any.

        Only a rehearsal replaces a rehearsal.
        """
        command = waiter.command
        if not command.ref:
            return None
        later = self.waiting[self.waiting.index(waiter) + 1 :]
        return next((queued.command for queued in later if _what(queued.command) == _what(command)), None)

    def find(self, deployment: int) -> QueuedDeployment | None:
        """The waiting deployment with this number."""
        return next(
            (queued for queued in self.waiting if deployment and queued.deployment == deployment), None
        )


class DeployAdmission:
    """Admits deployments of `bot`, one at a time. `free()` returns whether there is room. Raises only `Refusal`."""

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
        """Admit no more deployments: the supervisor leaves."""
        self._leaving = True
        self._bot.state.changes.stir()

    def check(self, *, frozen: bool) -> None:
        """Raise `Refusal` when no deployment may begin now. `frozen`: a deploy lock is a reason too."""
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
        """Raise `Refusal` when the leader or this process can't open as many files as a handoff needs."""
        leader = self._bot.state.leading
        descriptors = leader.report.descriptors if leader is not None and leader.report is not None else None
        free = descriptors.left + descriptors.reserve if descriptors is not None else _HANDOFF_OPENS
        if leader is not None and descriptors is not None and free < _HANDOFF_OPENS:
            raise Refusal(
                "busy",
                f"the leader {leader.worker} has {free} of {descriptors.limit} file descriptors left, and a handoff "
                f"needs {_HANDOFF_OPENS}: have the bot close some and deploy again. Otherwise only `neverblink down` "
                "and then `up` helps, which stops the bot for a moment",
                left=descriptors.left,
                limit=descriptors.limit,
            )
        ours = left()
        if ours < _DEPLOYMENT_OPENS:
            raise Refusal(
                "busy",
                f"the supervisor has {ours} file descriptors left, and a deployment needs {_DEPLOYMENT_OPENS}: close "
                "connections to it, or run `neverblink up --replace`, which costs no tick",
                left=ours,
            )

    def check_state(self, command: Deploy) -> list[str]:
        """Refuse when the new code would not read the leader's state as it was written, unless the command allows it.

        Returns a warning for each problem of a deployment that may begin all the same: a rehearsal finds out whether
        the new code can read it.
        """
        leader = self._bot.state.leading
        report = leader.report if leader is not None else None
        problems = report.problems if report is not None and report.role == "leading" else ()
        # The gate of a push rehearses for a handoff, which is refused later otherwise.
        rehearses = command.dry_run and not command.objects
        if problems and not (command.as_read or rehearses):
            first, more = problems[0], len(problems) - 1
            rest = f" (and {more} more: see `neverblink status`)" if more else ""
            raise Refusal(
                "aborted",
                f"{first.text}{rest}. Nothing was begun, because the new code would not get that value. When the bot "
                "writes another value the problem ends. To hand over all the same, to code that reads it: "
                "`neverblink deploy --as-read`, or `git push -o as-read`",
                problems=msgspec.to_builtins(problems),
            )
        return [f"{problem.text}; the new code gets what it reads" for problem in problems]

    def check_leader(self) -> None:
        """Raise `Refusal` when no worker leads: a rehearsal follows the leader."""
        if down := self._bot.state.down:
            raise Refusal(
                "down",
                f"no worker leads, so there is none to rehearse beside: {down}. See `neverblink logs`",
            )

    @property
    def waiting(self) -> tuple[QueuedDeployment, ...]:
        """The queue, in order."""
        return tuple(self._queue.waiting)

    async def in_turn(self, command: Deploy, number: Callable[[], int]) -> int:
        """Wait until `command` is first in the queue and nothing prevents it; return its deployment's number.

        A command that has to wait gets its number from `number()`, and is in the history under it from then on. Returns
        0 when it did not wait. See `turn_away`.
        """
        bot, queue = self._bot, self._queue
        waiter = QueuedDeployment(command, 0, bot.bus.now())
        queue.enter(waiter)
        try:
            if self._is_free_for(waiter):
                return 0
            waiter.deployment = number()
            await self._record(waiter)
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
        """Remove the deployment with this number from the queue; return whether it was there."""
        waiter = self._queue.find(deployment)
        if waiter is None:
            return False
        waiter.cancelled = waiter.cancelled or reason
        self._bot.state.changes.stir()
        return True

    def turn_away(self, deployment: int, reason: str) -> None:
        """Publish that a deployment which has waited is not carried out after all."""
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

    async def _record(self, waiter: QueuedDeployment) -> None:
        """Record a waiting deployment in the history, with its command."""
        command = waiter.command
        note = CommitNote(command.commit, ref=command.ref) if command.commit else None
        with contextlib.suppress(GitError):
            where = Path(command.repository), command.commit, command.ref, command.objects
            note = await asyncio.to_thread(describe, *where) if note is not None else None
        with contextlib.suppress(HistoryError):
            # A deployment that can't be recorded waits all the same, and is refused when it should begin.
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


def _what(command: Deploy) -> tuple[str, str, str, bool]:
    return command.repository, command.ref, command.directory, command.dry_run
