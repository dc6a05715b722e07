"""Prints what becomes of jobs that another process gets from the state. Runs in the package's environment."""
# pyright: basic, reportMissingImports=false

import asyncio
import datetime
from typing import Any
from zoneinfo import ZoneInfo

from telegram.ext import Application

from neverblink.worker.adapters.python_telegram_bot import TelegramState, _Jobs


class Timers:
    """Stands for the loop: the state, and the timers that were set."""

    def __init__(self, state: TelegramState) -> None:
        self.state = state
        self.timers: dict[str, int] = {}

    def set_timer(self, name: str, *, at: int) -> None:
        self.timers[name] = at

    def cancel_timer(self, name: str) -> None:
        self.timers.pop(name, None)


async def work(context: Any) -> None: ...


def application(interval: int) -> Any:
    app = Application.builder().token("42:token").build()
    app.job_queue.run_repeating(work, interval, name="declared")
    return app


def followings(app: Any) -> dict[str, Any]:
    after = datetime.datetime(2030, 3, 30, tzinfo=datetime.UTC)
    return {
        job.name: (job.next_t, job.data, job.chat_id, job.trigger.get_next_fire_time(job.next_t, after))
        for job in app.job_queue.jobs()
    }


async def main() -> None:
    first, loop = application(60), Timers(TelegramState())
    jobs = _Jobs(first)
    jobs.load(loop)  # type: ignore[arg-type]
    zone = ZoneInfo("Europe/Berlin")
    queue = first.job_queue
    queue.run_once(work, 90, name="once", data={"n": 1}, chat_id=7)
    queue.run_repeating(work, 30, first=5, name="repeating", data=[1])
    queue.run_daily(work, datetime.time(9, 30, tzinfo=zone), days=(1, 3), name="daily")
    queue.run_monthly(work, datetime.time(8, tzinfo=zone), day=-1, name="monthly")
    queue.run_once(lambda context: None, 5, name="lambda")
    jobs.save(loop)  # type: ignore[arg-type]
    print(f"timers at the times of the jobs: {len(loop.timers) == 5 == len(loop.state.jobs)}")

    second = application(60)
    _Jobs(second).load(loop)  # type: ignore[arg-type]
    print(f"the same in the next process: {followings(first) == followings(second)}")

    third = application(20)
    _Jobs(third).load(loop)  # type: ignore[arg-type]
    begun = {name for name, known in followings(third).items() if known[0] != followings(first)[name][0]}
    print(f"begun anew with another interval: {sorted(begun)}")


asyncio.run(main())
