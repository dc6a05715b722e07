# pyright: basic, reportMissingImports=false
# APScheduler is not in the environment of the tools.
"""APScheduler (3.x) on neverblink: its jobs run in turns of the bot, at the times of their triggers.

    from neverblink.worker.adapters.apscheduler import TimerScheduler

    scheduler = TimerScheduler()                # instead of BlockingScheduler() or AsyncIOScheduler()

    @scheduler.scheduled_job("cron", minute="*/5")
    def rebalance(): ...                        # unchanged

    Bot = scheduler.bot(state=positions)        # instead of scheduler.start(); in neverblink.toml: bot = "bot:Bot"

When a job is due next is a timer of the bot, which is part of its state. So each run happens once, in the process that
leads by then, also across handoffs, rollbacks and deaths. A handoff waits for the end of a job that runs. A coroutine
function is awaited, a plain function runs in a thread; one job runs at a time. `misfire_grace_time` is kept, and a job
that was due several times in between runs once, as with `coalesce=True`.

`state` is the program's own object, as in `asyncio_program`. It is copied when a job has ended, too, so that not even a
killed process loses what a job did.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from apscheduler.schedulers.base import BaseScheduler

from ...protocol.window import Window
from ..io.output import report
from ..model.handler_types import InDoubt, Timer
from .asyncio_program import Program, run

__all__ = ["TimerScheduler"]

_JOB = "job "
"""What the names of the jobs' timers begin with."""
_RANDOM = re.compile("[0-9a-f]{32}")
"""The id of a job that was given none."""
_MOST_STEPS = 10_000
"""After so many runs that were missed in a row, an interval begins anew."""


class TimerScheduler(BaseScheduler):
    """A scheduler whose jobs are run by the bot that `bot` returns. Declare the jobs before, at the module's top."""

    def shutdown(self, wait: bool = True) -> None:
        """Do nothing: the jobs run as long as the bot."""

    def wakeup(self) -> None:
        """Do nothing: the bot's timers wake it."""

    def bot(
        self,
        *,
        state: Any = None,
        hint: Any = None,
        tick: str = "1s",
        windows: Sequence[Window] = (),
        on_end: Literal["restart", "unhealthy"] = "unhealthy",
    ) -> type[Program]:
        """Return the bot that runs the jobs. The arguments are those of `asyncio_program.run`."""
        scheduler = self

        async def jobs() -> None:
            await asyncio.Event().wait()

        base = run(jobs, state=state, hint=hint, tick=tick, windows=windows, on_end=on_end)

        class Scheduled(base):
            def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
                super().on_lead(in_doubt)
                scheduler._arm(self)

            async def on_timer(self, timer: Timer) -> None:
                await scheduler._fire(self, timer)
                self._save()

        return Scheduled

    def _arm(self, bot: Program) -> None:
        """Set the timers of jobs that have none, and cancel those of jobs that are gone."""
        if not self.running:
            self.start(paused=True)
        armed = bot._live.replica.timers.all()
        jobs = self._jobs_by_timer()
        for name in [name for name in armed if name.startswith(_JOB) and name not in jobs]:
            bot.cancel_timer(name)
        for name, job in jobs.items():
            due = _ns(job.next_run_time)
            if due and (name not in armed or due < armed[name].due):
                bot.set_timer(name, at=due)

    async def _fire(self, bot: Program, timer: Timer) -> None:
        job = self._jobs_by_timer().get(timer.name)
        if job is None:
            return
        due, now = self._time(timer.due), self._time(timer.due + timer.late)
        following = job.trigger.get_next_fire_time(due, now)
        for _ in range(_MOST_STEPS):
            if following is None or following > now:
                break
            following = job.trigger.get_next_fire_time(following, now)
        else:
            following = job.trigger.get_next_fire_time(None, now)
        if following is not None:
            bot.set_timer(timer.name, at=_ns(following))
        grace = job.misfire_grace_time
        if grace is not None and timer.late > grace * 1_000_000_000:
            report(f"WARNING: neverblink: job {job.id} was missed by {timer.late / 1e9:.1f} s")
            return
        if inspect.iscoroutinefunction(job.func):
            await job.func(*job.args, **job.kwargs)
        else:
            await asyncio.to_thread(job.func, *job.args, **job.kwargs)

    def _jobs_by_timer(self) -> dict[str, Any]:
        """The jobs by the names of their timers, which are the same in each process."""
        found: dict[str, Any] = {}
        for job in sorted(self.get_jobs(), key=lambda job: (job.name, str(job.trigger))):
            own = job.name if _RANDOM.fullmatch(job.id) else job.id
            number, name = 1, f"{_JOB}{own}"
            while name in found:
                number += 1
                name = f"{_JOB}{own} {number}"
            found[name] = job
        return found

    def _time(self, ns: int) -> datetime:
        return datetime.fromtimestamp(ns / 1e9, UTC).astimezone(self.timezone)


def _ns(at: datetime | None) -> int:
    return int(at.timestamp() * 1_000_000) * 1000 if at is not None else 0
