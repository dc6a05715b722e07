"""How a supervisor ends: with its bot (`down`, Ctrl-C), or alone while the workers run on (`leave`)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from ...protocol import duration
from ...protocol.events import SupervisorStopping
from ...protocol.logline import Level
from ..bot.bot import LiveBot
from ..environment.prepare import Preparer
from ..system.errors import Refusal
from .deployments import Deployments

__all__ = ["Shutdown"]


class Shutdown:
    """Ends the supervisor of `bot`. `say(text, level)` writes to its log."""

    def __init__(
        self,
        bot: LiveBot,
        deployments: Deployments,
        preparer: Preparer,
        stop_feeds: Callable[[], Awaitable[None]],
        say: Callable[[str, Level], None],
    ) -> None:
        self._bot = bot
        self._deployments = deployments
        self._preparer = preparer
        self._stop_feeds = stop_feeds
        self._say = say
        self._stopping: asyncio.Task[str] | None = None
        self._leaving: asyncio.Task[list[str]] | None = None
        self._over = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """The bot is being stopped, or has been."""
        return self._stopping is not None

    async def wait(self) -> int:
        """Wait until the supervisor is to exit; return its exit code: 1 when the bot failed while it stopped."""
        await self._over.wait()
        return 1 if self._stopping is not None and await self._stopping else 0

    async def down(self, why: str) -> str:
        """Stop the bot, then the supervisor; return what went wrong, "" when nothing did."""
        return await asyncio.shield(self._stop(why))

    async def leave(self, why: str) -> list[str]:
        """End the supervisor alone; return the workers that run on. Raises `Refusal` while the bot is stopping."""
        if self._stopping is not None:
            raise Refusal("busy", "the bot is being stopped")
        self._bot.bus.tell(SupervisorStopping(reason=why))
        await self._deployments.leave(why)
        left = [member.worker for member in self._bot.state.registry.alive()]
        self._say(
            f"{why}: {', '.join(left) or 'no worker'} runs on, and the next `neverblink up` adopts it",
            "info",
        )
        self._over.set()
        return left

    # signals

    def interrupted(self) -> None:
        """SIGINT or SIGTERM: the first stops the bot at its next boundary, the second kills its workers."""
        if self._stopping is None:
            self._say("stopping the bot at its next boundary; Ctrl-C again ends it where it stands", "info")
            self._stop("interrupted")
            return
        alive = self._bot.state.registry.alive()
        open_decisions = [member.open_decision for member in alive if member.open_decision]
        cut = f", in decision {', '.join(open_decisions)}" if open_decisions else ""
        self._say(f"ending the bot where it stands{cut}", "info")
        self._bot.kill("ended by a second interrupt")

    def hung_up(self) -> None:
        """SIGHUP: the terminal was closed, which ends the supervisor and not the bot."""
        if self._stopping is None and self._leaving is None:
            why = "the terminal was closed (SIGHUP)"
            self._leaving = asyncio.get_running_loop().create_task(self.leave(why))

    def suspending(self) -> None:
        """SIGTSTP: the supervisor is about to be stopped."""
        self._say(
            "stopped by Ctrl-Z (SIGTSTP): the bot ticks on without a supervisor. A leader that dies is not replaced, "
            f"and no command is answered. `fg`, or `kill -CONT {os.getpid()}`, resumes the supervisor",
            "warning",
        )

    def resumed(self, seconds: float) -> None:
        """The supervisor continues after it was stopped for so many seconds."""
        self._say(
            f"the supervisor was stopped for {duration.show(round(seconds * 10) * 100_000_000)} and goes on; in that "
            "time the bot had none",
            "warning",
        )

    def _stop(self, why: str) -> asyncio.Task[str]:
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop_all(why))
        return self._stopping

    async def _stop_all(self, why: str) -> str:
        try:
            # Before the event: a listener that requests the status must see it there.
            self._bot.state.stopping = why
            self._bot.bus.tell(SupervisorStopping(reason=why))
            self._preparer.cancel(why)
            await self._deployments.settle(why)
            problem = await self._bot.stop(why)
            # After `on_stop`, which may still need what they bring.
            await self._stop_feeds()
            self._say(f"the bot has stopped{', badly: ' + problem if problem else ''}", "info")
            return problem
        finally:
            self._over.set()
