"""python-telegram-bot on neverblink: its handlers, its data and its jobs stay as they are.

    from neverblink.worker.adapters.python_telegram_bot import run

    def main():                                     # neverblink.toml: bot = "bot:main"
        app = Application.builder().token(TOKEN).build()
        app.add_handler(CommandHandler("buy", buy))
        app.job_queue.run_repeating(report, interval=60)
        run(app)                                    # instead of app.run_polling()

One process polls, the leader, so Telegram never sees two. Each update goes through the inbox under its `update_id`, and
is applied in a turn of its own. It is confirmed to Telegram after its turn, so one whose process died comes again.

`bot_data`, `chat_data`, `user_data`, conversations and the jobs of the JobQueue are state. They hold plain values:
numbers, text, lists and dicts. A job runs on a timer: once, late if necessary, in the process that leads then. Its
callback is a function of a module, because the next process has to find it. A job that is declared before `run` keeps
its rhythm from release to release. One whose interval or time of day the new code has changed begins anew.

What a handler has sent is sent: if its process dies in the turn, the handler is called again with the same update.
"""
# pyright: basic, reportMissingImports=false
# python-telegram-bot is not in the environment of the tools.

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ...protocol.errors import NeverblinkError
from ..join import Loop, join
from ..model.table import Table

__all__ = ["ScheduledJob", "TelegramBotError", "TelegramState", "run"]

_POLL = 10
"""Telegram answers a poll without an update after so many seconds, as with run_polling."""
_PAUSES = (1, 2, 5, 15, 30)
"""Seconds before the next poll, after one or more that failed."""


class TelegramBotError(NeverblinkError):
    """The application uses what does not work on neverblink, or has a value that the next process could not read."""


class ScheduledJob(msgspec.Struct, frozen=True):
    """A job of the JobQueue."""

    callback: str
    """MODULE:FUNCTION"""
    name: str
    chat_id: int | None
    user_id: int | None
    data: bytes
    trigger: dict[str, str]
    due: int
    """Wall ns; 0 if it is not enabled."""
    declared: str = ""
    """What identifies a job that was declared before `run`, in any release."""


class TelegramState(msgspec.Struct):
    """What is carried from process to process."""

    offset: int = 0
    """The first update that has not been applied."""
    data: Table[str, bytes] = msgspec.field(default_factory=Table)
    """msgpack, by "bot", "chat/ID", "user/ID" and "conversation/NAME"."""
    jobs: dict[str, ScheduledJob] = {}
    declared: dict[str, dict[str, str]] = {}
    """The triggers of the jobs that were declared before `run`, those that have run included."""


def run(app: Any, *, allowed_updates: Sequence[str] | None = None) -> None:
    """Run the application as `app.run_polling(allowed_updates=allowed_updates)` does.

    Raises `TelegramBotError` if the application uses what does not work on neverblink.
    """
    _check(app)
    asyncio.run(_run(app, allowed_updates))


async def _run(app: Any, allowed_updates: Sequence[str] | None) -> None:
    from telegram import Update

    loop = join(TelegramState, tick=None)
    applied = asyncio.Event()
    data, jobs = _Data(app), _Jobs(app) if app.job_queue is not None else None
    # In each process, before it leads: it asks Telegram for the bot's name.
    await app.bot.initialize()
    loop.while_leading(_poll, app, loop, applied, allowed_updates, name="polling")
    async for turn in loop:
        state = turn.state
        if turn.first:
            data.load(state)
            if jobs is not None:
                jobs.load(loop)
            if not app.running:
                await app.initialize()
                if app.post_init is not None:
                    await app.post_init(app)
                await app.start()
        for event in turn.events:
            await app.process_update(Update.de_json(event.data, app.bot))
            state.offset = event.data["update_id"] + 1
        for timer in turn.timers:
            if jobs is not None:
                await jobs.run(timer.name)
        data.save(state)
        if jobs is not None:
            jobs.save(loop)
        # The polling task continues when the turn has ended.
        applied.set()
    if app.running:
        await app.stop()
        if loop.stopped and app.post_stop is not None:
            await app.post_stop(app)
    if loop.stopped:
        data.save(loop.state)
    await app.shutdown()
    if app.post_shutdown is not None:
        await app.post_shutdown(app)


async def _poll(
    app: Any, loop: Loop[TelegramState, None], applied: asyncio.Event, allowed_updates: Sequence[str] | None
) -> None:
    """Put one update after the other, the next one when the one before it was applied."""
    from telegram.error import InvalidToken, RetryAfter, TelegramError, TimedOut

    failures = 0
    while True:
        try:
            updates = await app.bot.get_updates(
                offset=loop.state.offset, timeout=_POLL, allowed_updates=allowed_updates
            )
        except InvalidToken:
            raise
        except TimedOut:
            continue
        except TelegramError as problem:
            pause: Any = _PAUSES[min(failures, len(_PAUSES) - 1)]
            if isinstance(problem, RetryAfter):
                pause = problem.retry_after
            if isinstance(pause, datetime.timedelta):
                pause = pause.total_seconds()
            failures += 1
            print(f"WARNING: Telegram: {problem}: the next poll is in {pause} s")
            await asyncio.sleep(pause)
            continue
        failures = 0
        for update in updates:
            loop.inbox.put(f"update {update.update_id}", update.to_dict())
            while loop.state.offset <= update.update_id:
                applied.clear()
                await applied.wait()


def _check(app: Any) -> None:
    """Refuse what would be lost or done twice."""
    if app.persistence is not None:
        raise TelegramBotError(
            "the application has a persistence: leave out persistence(), and persistent=True of conversations; "
            "neverblink keeps its data"
        )
    types = app.context_types
    if not types.bot_data is types.chat_data is types.user_data is dict:
        raise TelegramBotError("the application has context types of its own for its data: use dicts")
    if getattr(app.bot, "callback_data_cache", None) is not None:
        raise TelegramBotError(
            "arbitrary_callback_data is on, and the objects are kept in one process: use callback_data of text"
        )
    for handler in _handlers(app):
        defaults = getattr(app.bot, "defaults", None)
        if not handler.block or (defaults is not None and not defaults.block):
            raise TelegramBotError(
                f"{handler!r} has block=False: what it does after its update may not reach the next process; "
                "leave block out"
            )
    for name, handler in _conversations(app):
        if handler.conversation_timeout:
            raise TelegramBotError(
                f"conversation {name} has a conversation_timeout, which no other process could run: schedule a job of "
                "your own"
            )


class _Data:
    """The application's dicts, as rows of the state."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._told: set[str] = set()

    def load(self, state: TelegramState) -> None:
        """Replace the content of the application's dicts."""
        rows = {key: msgspec.msgpack.decode(row, strict=False) for key, row in state.data.items()}
        if not rows:
            # What the program has put there before it ran stays.
            return
        _fill(self._app.bot_data, rows.get("bot", {}))
        for kind, every in self._by_id():
            known = {int(key.partition("/")[2]) for key in rows if key.startswith(f"{kind}/")}
            for number in {*every, *known}:
                _fill(every[number], rows.get(f"{kind}/{number}", {}))
        for name, handler in _conversations(self._app):
            _fill(
                handler._conversations,
                {tuple(key): value for key, value in rows.get(f"conversation/{name}", ())},
            )

    def save(self, state: TelegramState) -> None:
        """Write what has changed."""
        rows = {"bot": _packed("bot_data", self._app.bot_data, self._told)}
        for kind, every in self._by_id():
            for number, value in every.items():
                rows[f"{kind}/{number}"] = _packed(f"{kind}_data of {number}", value, self._told)
        for name, handler in _conversations(self._app):
            pairs = [[list(key), value] for key, value in handler._conversations.items()]
            rows[f"conversation/{name}"] = _packed(f"conversation {name}", pairs, self._told)
        for key in [key for key in state.data if key not in rows]:
            del state.data[key]
        for key, row in rows.items():
            if state.data.get(key) != row:
                state.data[key] = row

    def _by_id(self) -> tuple[tuple[str, Any], tuple[str, Any]]:
        return ("chat", self._app.chat_data), ("user", self._app.user_data)


class _Jobs:
    """The JobQueue's schedule: APScheduler keeps it, and neverblink's timers run it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._queue = app.job_queue
        self._schedule = app.job_queue.scheduler
        self._schedule.start(paused=True)
        counted: Counter[str] = Counter()
        self._declared: dict[str, Any] = {}
        for job in self._schedule.get_jobs():
            work = _job_of(job)
            whose = f"{_name_of(work.callback)} {work.name} {work.chat_id} {work.user_id}"
            counted[whose] += 1
            self._declared[f"{whose} {counted[whose]}"] = job
        self._identities = {job.id: whose for whose, job in self._declared.items()}

    def load(self, loop: Loop[TelegramState, None]) -> None:
        """Replace the schedule by the state's, with what this release declares."""
        state = loop.state
        self._schedule.remove_all_jobs()
        triggers = {whose: _described(job.trigger, declared=True) for whose, job in self._declared.items()}
        for key, job in list(state.jobs.items()):
            if not job.declared:
                self._add(key, job, _function(job), _trigger(job.trigger))
            elif triggers.get(job.declared) == state.declared.get(job.declared):
                now = self._declared[job.declared]
                self._identities[key] = job.declared
                self._add(key, job, _job_of(now).callback, now.trigger, _job_of(now).data)
        for whose, job in self._declared.items():
            if state.declared.get(whose) != triggers[whose]:
                self._schedule.add_job(job.func, job.trigger, args=job.args, id=job.id, name=job.name)
        state.declared = triggers
        self.save(loop)

    def save(self, loop: Loop[TelegramState, None]) -> None:
        """Write what has changed, and set its timers."""
        state, jobs = loop.state, dict(self._records())
        for key in [key for key in state.jobs if key not in jobs]:
            del state.jobs[key]
            loop.cancel_timer(key)
        for key, job in jobs.items():
            known = state.jobs.get(key)
            if known == job:
                continue
            state.jobs[key] = job
            if known is None or known.due != job.due:
                if job.due:
                    loop.set_timer(key, at=job.due)
                else:
                    loop.cancel_timer(key)

    async def run(self, key: str) -> None:
        """Run the job that is due."""
        job = self._schedule.get_job(key)
        if job is None or job.next_run_time is None:
            return
        now = datetime.datetime.now(job.next_run_time.tzinfo)
        following = job.trigger.get_next_fire_time(job.next_run_time, now)
        while following is not None and following <= now:
            following = job.trigger.get_next_fire_time(following, now)
        work = _job_of(job)
        if following is None:
            job.remove()
        else:
            job.modify(next_run_time=following)
        await work.run(self._app)

    def _add(self, key: str, job: ScheduledJob, callback: Any, trigger: Any, data: Any = None) -> None:
        from telegram.ext import Job

        if not job.declared:
            data = msgspec.msgpack.decode(job.data, strict=False)
        work = Job(callback, data, job.name, job.chat_id, job.user_id)
        added = self._schedule.add_job(
            self._queue.job_callback,
            trigger,
            args=(self._queue, work),
            id=key,
            name=job.name,
            next_run_time=_time(job.due) if job.due else None,
        )
        Job.from_aps_job(added)

    def _records(self) -> Iterator[tuple[str, ScheduledJob]]:
        for job in self._schedule.get_jobs():
            work, declared = _job_of(job), self._identities.get(job.id, "")
            try:
                yield (
                    job.id,
                    ScheduledJob(
                        _name_of(work.callback, must_be_found=not declared),
                        work.name,
                        work.chat_id,
                        work.user_id,
                        b"" if declared else _packed(f"the data of job {work.name}", work.data, set()),
                        _described(job.trigger),
                        _nanoseconds(job.next_run_time) if job.next_run_time is not None else 0,
                        declared,
                    ),
                )
            except TelegramBotError as problem:
                print(f"ERROR: job {work.name} is not scheduled: {problem.message}")
                job.remove()


# --- values ---------------------------------------------------------------------------------------------------------


def _packed(what: str, value: Any, told: set[str]) -> bytes:
    """`value` as msgpack. Raises `TelegramBotError`; prints a warning if it would come back as something else."""
    try:
        row = msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise TelegramBotError(
            f"{what} cannot be kept: {problem}; use numbers, text, lists and dicts, and keep objects in a module"
        ) from None
    if what not in told and msgspec.msgpack.decode(row, strict=False) != value:
        told.add(what)
        print(f"WARNING: {what}: the next process gets tuples, sets and objects in it as lists and dicts")
    return row


def _fill(there: Any, content: Any) -> None:
    there.clear()
    there.update(content)


def _handlers(app: Any) -> Iterator[Any]:
    for group in app.handlers.values():
        yield from group


def _conversations(app: Any) -> Iterator[tuple[str, Any]]:
    from telegram.ext import ConversationHandler

    found = [handler for handler in _handlers(app) if isinstance(handler, ConversationHandler)]
    for number, handler in enumerate(found):
        yield handler.name or str(number), handler


# --- jobs -----------------------------------------------------------------------------------------------------------


def _job_of(job: Any) -> Any:
    """The job of python-telegram-bot in one of APScheduler."""
    return job.args[1]


def _name_of(callback: Any, *, must_be_found: bool = False) -> str:
    """MODULE:FUNCTION of a callback. Raises `TelegramBotError` if no other process could find it."""
    name = f"{getattr(callback, '__module__', '')}:{getattr(callback, '__qualname__', '')}"
    if must_be_found and _found(name) is not callback:
        raise TelegramBotError(
            f"its callback {name} is not a function of a module, so no other process can find it"
        )
    return name


def _found(name: str) -> Any:
    module, _, path = name.partition(":")
    with contextlib.suppress(ImportError, AttributeError, ValueError):
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        return found
    return None


def _function(job: ScheduledJob) -> Any:
    callback = _found(job.callback)
    if callback is None:
        raise TelegramBotError(
            f"job {job.name} calls {job.callback}, which this release does not have: keep the function until the job "
            "has run"
        )
    return callback


def _described(trigger: Any, *, declared: bool = False) -> dict[str, str]:
    """A trigger as text, from which `_trigger` makes it again. The time of one that is `declared` is left out."""
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.date import DateTrigger
    from apscheduler.triggers.interval import IntervalTrigger

    match trigger:
        case DateTrigger():
            return {"kind": "date"} | ({} if declared else {"at": trigger.run_date.isoformat()})
        case IntervalTrigger():
            described = {"kind": "interval", "seconds": str(trigger.interval.total_seconds())}
            if not declared:
                described["start_date"] = trigger.start_date.isoformat()
        case CronTrigger():
            described = {"kind": "cron", **{field.name: str(field) for field in trigger.fields}}
        case _:
            raise TelegramBotError(
                f"its trigger {trigger} is not kept: use run_once, run_repeating, run_daily or run_monthly"
            )
    if trigger.end_date is not None and not (declared and isinstance(trigger, IntervalTrigger)):
        described["end_date"] = trigger.end_date.isoformat()
    return described | {"timezone": str(trigger.timezone)}


def _trigger(described: dict[str, str]) -> Any:
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.date import DateTrigger
    from apscheduler.triggers.interval import IntervalTrigger

    arguments: dict[str, Any] = dict(described)
    match arguments.pop("kind"):
        case "date":
            return DateTrigger(datetime.datetime.fromisoformat(arguments["at"]))
        case "interval":
            return IntervalTrigger(**arguments | {"seconds": float(arguments["seconds"])})
        case _:
            return CronTrigger(**arguments)


def _time(ns: int) -> datetime.datetime:
    """To the microsecond, which is all that a datetime has."""
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=ns // 1000)


def _nanoseconds(time: datetime.datetime) -> int:
    since = time - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1) * 1000
