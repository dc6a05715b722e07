"""One feed of the bot: its process from start to end, what it reports, and whether it is stale.

A feed that ends is started again, each time after a longer pause. A restart on request starts the new process first: it
imports its code while the old one still publishes, and only then the old one is told to end. So a restart whose code
cannot be imported changes nothing.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from ...protocol import duration
from ...protocol.duration import SECOND
from ...protocol.events import FeedChanged
from ...protocol.feed_wire import FeedReport
from ...protocol.status import FeedStatus
from ..system.crash_backoff import CrashBackoff
from ..system.event_bus import EventBus
from ..system.process import Adopted, Process, describe_exit
from ..system.tail import last_line
from .launcher import FeedFailed, FeedLauncher, FeedPlan, LivingFeed
from .watch import watch_feed

__all__ = ["FeedRunner"]

_END_WITHIN = 7.0
"""A feed gives the author's function 5 s, and sends what is left for 1 s."""
_READY_WITHIN = 60.0
_LONGEST_PAUSE = 30 * SECOND
_REPORT_WITHIN = 5.0


class FeedRunner:
    """The feed `name`. `path()` is the path of its socket, `key` its key.

    `end_group(feed, pid, started)` ends what a process of it left behind. `changed()` is called when its process is
    another one.
    """

    def __init__(
        self,
        name: str,
        key: bytes,
        path: Callable[[], str],
        launcher: FeedLauncher,
        bus: EventBus,
        end_group: Callable[[str, int, int], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.plan: FeedPlan | None = None
        """How it is to be run when it is started next."""
        self.report: FeedReport | None = None
        self.release = ""
        """The release that its process runs."""
        self.digest = ""
        """The settings that its process was started with."""
        self.restarts = 0
        self.error = ""
        """Why its process ended, "" while it runs well."""
        self.stale = False
        self._key = key
        self._path = path
        self._launcher = launcher
        self._bus = bus
        self._end_group = end_group
        self._changed = changed
        self._process: Process | Adopted | None = None
        self._began = 0.0
        self._since = 0
        self._backoff = CrashBackoff()
        self._timer: asyncio.TimerHandle | None = None
        self._next_start = 0
        self._told = asyncio.Event()
        """Its process has reported, or has ended."""
        self._ended = asyncio.Event()
        self._ended.set()
        self._closing = False
        self._restarting = asyncio.Lock()
        self._replacement: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._declined = ""

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        return self._process is not None

    # starting

    def adopt(self, living: LivingFeed) -> None:
        """Go on with a process that an earlier supervisor started. Raises ProcessLookupError when it has ended."""
        loop = asyncio.get_running_loop()
        adopted: Adopted | None = None
        adopted = Adopted(living.pid, living.started, lambda _: self._exited(adopted, None), loop)
        self._take(
            adopted,
            living.record.release if living.record else "",
            living.record.settings if living.record else "",
        )
        self._tell("adopted", f"pid {living.pid} runs on")

    def start(self) -> None:
        """Start it as planned, unless it runs."""
        plan = self.plan
        self._disarm()
        if plan is None or self._process is not None or self._replacement is not None or self._closing:
            return
        process: Process | None = None
        try:
            process, answer = self._launcher.start(plan, lambda code: self._exited(process, code))
        except FeedFailed as problem:
            self._failed(problem.message, 0)
            return
        self._take(process, plan.release.id, plan.settings.digest)
        answer.add_done_callback(lambda said: self._said(said.result()))

    async def restart(self, plan: FeedPlan) -> FeedReport | None:
        """Replace its process by one of `plan`; return the first report of that, None when none came.

        Raises `FeedFailed`, and then the old process still runs.
        """
        async with self._restarting:
            self.plan = plan
            if self._process is None:
                self._backoff.forget()
                self.start()
                return await self._first_report()
            process: Process | None = None
            process, answer = self._launcher.start(plan, lambda code: self._exited(process, code))
            self._replacement = process
            try:
                said = await asyncio.wait_for(answer, _READY_WITHIN)
            except TimeoutError:
                said = f"it was not ready within {_READY_WITHIN:.0f}s"
            if said != "ready":
                self._replacement = None
                process.signal(signal.SIGKILL)
                why = said or last_line(self._launcher.log_of(self.name)) or "it ended"
                if self.running:
                    raise FeedFailed(f"feed {self.name}: {why}; the process before it goes on")
                if not self._closing:
                    self._failed(why, 0)
                raise FeedFailed(f"feed {self.name}: {why}; the process before it has ended as well")
            await self._end_process()
            self._replacement = None
            if process.running:
                self._take(process, plan.release.id, plan.settings.digest)
            elif not self._closing:
                self._failed("its new process ended before it was the feed", 0)
            self.restarts += 1
            return await self._first_report()

    async def end(self) -> None:
        """End it for good."""
        self._closing = True
        self._disarm()
        if self._replacement is not None:
            self._replacement.signal(signal.SIGKILL)
        await self._end_process()
        self._stop_watching()

    def let_go(self) -> None:
        """Stop watching it. It runs on."""
        self._closing = True
        self._disarm()
        self._stop_watching()
        if self._process is not None:
            self._process.let_go()

    # what it is like

    def look(self, stale_after: int) -> None:
        """Check whether it is stale."""
        report = self.report
        if self._process is None:
            return
        newest = max(report.at, report.began) if report is not None else 0
        silent = self._bus.now() - max(newest, self._since if report is None else 0)
        stale = stale_after > 0 and silent > stale_after
        # A process that has only just begun has published nothing: what was stale stays so.
        stale = stale or (self.stale and stale_after > 0 and (report is None or report.at == 0))
        if stale == self.stale:
            return
        self.stale = stale
        if stale:
            self._tell("stale", f"it has published nothing for {duration.about(silent)}")
        else:
            self._tell("fresh", "it publishes again")

    def status(self, applied: tuple[int, int] | None) -> FeedStatus:
        """Its status. `applied` is the position of the bot in it: run and number."""
        report = self.report
        behind = 0
        if report is not None and applied is not None:
            behind = report.n - (applied[1] if applied[0] == report.run else 0)
        return FeedStatus(
            feed=self.name,
            state=self._state(),
            pid=self.pid,
            release=self.release,
            since=self._since,
            run=report.run if report is not None else 0,
            n=report.n if report is not None else 0,
            at=report.at if report is not None else 0,
            behind=max(0, behind),
            buffered=report.n + 1 - report.first if report is not None else 0,
            buffer_bytes=report.size if report is not None else 0,
            overrun=report.overrun if report is not None else 0,
            refused=report.refused if report is not None else 0,
            subscribers=report.subscribers if report is not None else (),
            restarts=self.restarts,
            blackout=report.blackout if report is not None else 0,
            error=self.error,
            next_start=self._next_start,
        )

    # parts

    def _state(self) -> Literal["starting", "running", "stale", "down"]:
        if self._process is None:
            return "down"
        if self.stale:
            return "stale"
        return "running" if self.report is not None else "starting"

    def _take(self, process: Process | Adopted, release: str, digest: str) -> None:
        self._process, self.release, self.digest = process, release, digest
        self._began, self._since = time.monotonic(), self._bus.now()
        self.report = None
        self._ended.clear()
        self._told.clear()
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(
                watch_feed(self._path, self._key, self._reported, self._refuse)
            )
        self._changed()

    def _said(self, said: str) -> None:
        if said not in ("ready", ""):
            self.error = said

    def _reported(self, report: FeedReport) -> None:
        if report.pid != self.pid:
            # The process before it, which is ending.
            return
        first = self.report is None
        self.report = report
        self._told.set()
        if first:
            self.error = ""
            self.release = report.release
            blackout = f", blackout {duration.about(report.blackout)}" if report.blackout else ""
            self._tell("running", f"pid {report.pid}, run {report.run}{blackout}", report.blackout)

    def _refuse(self, reason: str) -> None:
        if reason != self._declined:
            self._declined = reason
            self._bus.trouble(f"feed {self.name}: {reason}")

    async def _first_report(self) -> FeedReport | None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), _REPORT_WITHIN)
        return self.report

    async def _end_process(self) -> None:
        process = self._process
        if process is None:
            return
        process.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), _END_WITHIN)
        except TimeoutError:
            process.signal(signal.SIGKILL)
            await self._ended.wait()

    def _exited(self, process: Process | Adopted | None, code: int | None) -> None:
        if process is None:
            return
        self._end_group(f"feed-{self.name}", process.pid, process.started)
        if process is not self._process:
            return
        lived = int((time.monotonic() - self._began) * 1e9)
        self._process, self.report = None, None
        self._ended.set()
        self._told.set()
        self._changed()
        if self._closing:
            self._tell("ended", "")
            return
        if self._replacement is not None:
            # It takes its place.
            return
        self._failed(self.error or self._why(code), lived)

    def _why(self, code: int | None) -> str:
        if code is None:
            return "it ended, and how is not known: an earlier supervisor started it"
        how = describe_exit(code)
        if code < 0:
            return how
        last = last_line(self._launcher.log_of(self.name)).removeprefix("neverblink: ")
        return f"{how}: {last}" if last else how

    def _failed(self, reason: str, lived: int) -> None:
        self.error = reason
        self.restarts += 1
        # Its events count like a leader's ticks: what matters is how long it lived.
        self._backoff.failed(self.name, lived, 1 << 30)
        pause = self._backoff.pause(self.name, _LONGEST_PAUSE)
        self._next_start = self._bus.now() + pause
        again = f"; it is started again in {duration.about(pause)}" if pause else "; it is started again"
        self._tell("failed", f"{reason}{again}")
        self._timer = asyncio.get_running_loop().call_later(max(pause / 1e9, 0.05), self.start)

    def _disarm(self) -> None:
        self._next_start = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _tell(
        self,
        state: Literal["adopted", "running", "failed", "stale", "fresh", "ended"],
        text: str,
        blackout: int = 0,
    ) -> None:
        self._bus.tell(
            FeedChanged(
                feed=self.name, state=state, text=text, release=self.release, pid=self.pid, blackout=blackout
            )
        )
