"""Brings the bot to life: adopts the workers that are alive, or else starts it on the right release."""

from __future__ import annotations

from collections.abc import Callable

from ...protocol.errors import NeverblinkError
from ..bot.bot import LiveBot
from ..bot.bring_up import StartFailed
from ..config.config import Config
from ..store.state_dir import Home
from .adoption import Adoption
from .deployments import Deployments
from .first_release import Chosen, FirstRelease
from .shutdown import Shutdown

__all__ = ["Startup"]


class Startup:
    """Starts or adopts `bot` in `home`, with progress to `say`. An operator can stop it meanwhile: see `shutdown`."""

    def __init__(
        self,
        home: Home,
        bot: LiveBot,
        deployments: Deployments,
        adoption: Adoption,
        first_release: FirstRelease,
        shutdown: Shutdown,
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._bot = bot
        self._deployments = deployments
        self._adoption = adoption
        self._first_release = first_release
        self._shutdown = shutdown
        self._say = say

    async def run(self, config: Config, chosen: Chosen | None) -> None:
        """Have the bot run, on `chosen` if it is not alive. Raises `NeverblinkError`."""
        if self._adoption.alive:
            self._say(f"home {self._home.path}: the bot is alive, and a supervisor comes back to it")
            if await self._adoption.complete():
                return
        await self._deployments.take_up(config)
        await self._start(chosen)

    async def _start(self, chosen: Chosen | None) -> None:
        """Start what an operator has named, else what led last, else the code in the project's directory.

        A bot that has led before is tried until it leads, since an operator may not be there to see it fail. New code,
        and code that was named just now, is tried once.
        """
        first = self._first_release
        led = "" if chosen is not None else await first.led_last()
        try:
            release, config = await (first.find(led) if led else first.make(chosen))
            if self._shutdown.stopping:
                return
            self._say(f"home {self._home.path}, release {release.id} of {release.origin}")
            if led:
                await first.describe(release)
                led = release.id
            await self._bot.start(release, config)
        except NeverblinkError as problem:
            if self._shutdown.stopping:
                # An operator stopped it before it had begun, which is not a failure.
                return
            if not led:
                if self._deployments.releases.current() is None and isinstance(problem, StartFailed):
                    problem.message += "; this bot has never led, so it is not tried again"
                raise
            reason = problem.reason if isinstance(problem, StartFailed) else problem.message
            self._bot.keep_starting(led, reason)
