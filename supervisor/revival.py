"""The revival: a bot whose leader has died goes on, or is left down.

Its standby takes over, where there is one. Else it starts again from its journal, on the release that led, or on the
one before when that was rolled back: at once after one death, more and more slowly after deaths in a row, and in the
end no more. A bot that is down stays so until somebody names the code to start it with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..protocol.link import Lead
from .config import Config
from .crew import Crew
from .driver import SUCCEED_WITHIN
from .outside import Outside
from .releases import Release
from .restarts import Restarts
from .roster import Member
from .standby import Standby
from .starter import Starter, StartFailed
from .waiting import Waiting

__all__ = ["Revival"]

_REPEAT = 500_000_000


class Revival:
    """Has one bot go on. `leader()` is who leads, "" for nobody; `stopping()` is why the bot is being stopped;
    `runs(release)` says how a release is run. `gave_up(why)` is called when nobody leads and nothing is done about it.
    """

    def __init__(
        self,
        starter: Starter,
        standby: Standby,
        crew: Crew,
        outside: Outside,
        waiting: Waiting,
        *,
        leader: Callable[[], str],
        stopping: Callable[[], str],
        runs: Callable[[str], tuple[Release, Config] | None],
        gave_up: Callable[[str], None],
    ) -> None:
        self.down = ""
        """Why nobody leads, "" when somebody does or is about to."""
        self.recovering = ""
        """Why the bot is being started again from its journal, "" when it is not."""
        self._starter = starter
        self._standby = standby
        self._crew = crew
        self._outside = outside
        self._waiting = waiting
        self._leader = leader
        self._stopping = stopping
        self._runs = runs
        self._gave_up = gave_up
        self._restarts = Restarts()
        self._pause: int | None = 0
        """How long to wait before the bot is started again after the last death; None: not at all."""
        self._starting = False
        """Somebody has it started while it is down."""
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """It is being done. Whoever began it looks again when it has ended."""
        return self._starting or (self._task is not None and not self._task.done())

    def died(self, member: Member) -> None:
        """A leader has died."""
        lived = self._outside.wall() - member.leads_since if member.leads_since else 0
        self._pause = self._restarts.pause(lived, member.report.ticks if member.report is not None else 0)
        self._standby.leader_died(self._pause)

    def left(self) -> None:
        """Who was thought to lead has ended, and did not lead by its own word."""
        self._pause = 0

    def led(self) -> None:
        """Somebody leads."""
        self.down = self.recovering = ""

    def begin(self, release: str, reason: str, done: Callable[[], None]) -> None:
        """Have the bot go on, on this release. `done` is called when that has ended, one way or the other."""
        self.recovering = reason
        self._task = asyncio.get_running_loop().create_task(self._revive(release))
        self._task.add_done_callback(lambda _: done())

    async def start_again(self, release: Release, config: Config, why: str) -> None:
        """Start a bot that is down from its journal. Raises `StartFailed`, and then it is down as before."""
        down, self.down, self.recovering = self.down, "", why
        self._starting = True
        self._restarts = Restarts()
        try:
            await self._starter.bring_up(release, config)
        except StartFailed:
            self.down = down
            raise
        finally:
            self._starting = False
            self.recovering = ""
            self._waiting.stir()

    def give_up(self, why: str) -> None:
        """Nobody leads, and nothing is being done about it."""
        self.recovering = ""
        self.down = why
        self._gave_up(why)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _revive(self, release: str) -> None:
        if await self._succeeded(release):
            return
        run = self._runs(release)
        if run is None:
            self.give_up(f"{self.recovering}; its release {release} can't be started again")
            return
        pause = self._pause
        while True:
            if pause is None:
                times = self._restarts.in_a_row
                self.give_up(f"it died {times} times in a row, and is not started again: {self.recovering}")
                return
            await self._waiting.until(lambda: self._stopping() or self._leader(), pause)
            if self._leader():
                self.recovering = ""
                return
            if self._stopping():
                self.give_up(self._stopping())
                return
            try:
                await self._starter.bring_up(*run)
            except StartFailed as problem:
                if self._leader():
                    return
                self.recovering = problem.reason
                pause = self._restarts.pause(0, 0)
            else:
                self.recovering = ""
                self._waiting.stir()
                return

    async def _succeeded(self, release: str) -> bool:
        """Wait for the standby to take the lease; return whether it, or anybody, leads."""
        until = self._outside.mono() + SUCCEED_WITHIN
        while not self._leader() and not self._stopping():
            standby = self._standby.successor(release)
            if standby is None:
                break
            if self._outside.mono() >= until:
                self._crew.kill(standby.worker, "it did not take the lease when the leader had died")
                break
            # It knows by itself, if it guards; should it not, it is told.
            self._crew.send(standby.worker, Lead())
            await self._waiting.until(
                lambda standby=standby: self._leader() or not standby.alive or self._stopping(), _REPEAT
            )
        return bool(self._leader())
