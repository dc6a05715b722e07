"""Admission: whether a deployment may begin now, and the line in which those wait that may not yet."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..protocol.commands import Deploy
from .bot import Bot
from .freeze import Freeze
from .queueing import Queue
from .refusal import Refusal

__all__ = ["Admission"]


class Admission:
    """Lets deployments of `bot` in, one at a time. `free()`: there is room for one. All it raises is `Refusal`."""

    def __init__(self, bot: Bot, freeze: Freeze, free: Callable[[], bool]) -> None:
        self._bot = bot
        self._freeze = freeze
        self._free = free
        self._queue = Queue()
        self._leaving = False

    def leave(self) -> None:
        """Let nobody in any more: the supervisor leaves."""
        self._leaving = True
        self._bot.waiting.stir()

    def check(self, *, frozen: bool) -> None:
        """Whether anything may begin now. `frozen`: a lock keeps it from that."""
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
                "locked",
                f"locked{by}: {lock.why}. `neverblink unlock` allows deployments again",
                **msgspec.to_builtins(lock),
            )
        if bot.recovering:
            raise Refusal(
                "busy", f"the bot is being started again ({bot.recovering}): try again when it leads"
            )

    def check_leader(self) -> None:
        """Whether there is anybody to rehearse beside."""
        if self._bot.down:
            raise Refusal(
                "down",
                f"no worker leads, so there is nobody to rehearse beside: {self._bot.down}. See `neverblink logs`",
            )

    async def in_turn(self, command: Deploy) -> None:
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
        return self._free() and not bot.starting and not bot.recovering and self._queue.is_first(command)
