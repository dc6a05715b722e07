"""ccxt.pro on neverblink: what `watch_*` returns comes from a feed, which has the connections to the exchange.

    from neverblink.worker.adapters import ccxt_pro as ccxt     # instead of import ccxt.pro as ccxt

    def connect():
        return ccxt.binance({"apiKey": …})

    async def main():                                           # unchanged, as its tasks are
        exchange = connect()
        await asyncio.gather(*(follow(exchange, symbol) for symbol in SYMBOLS))

    market = ccxt.feed(connect, *(("watch_trades", symbol) for symbol in SYMBOLS))
    Bot = ccxt.run(main, connect, state=book)                   # instead of asyncio.run(main())

In neverblink.toml: `bot = "bot:Bot"`, and `[feeds.market] run = "bot:market"`.

Each result of a `watch_*` call is an event of the feed. Its turn lasts from the return of the call in the bot's task
to the task's next `watch_*` call, and `state` is copied at its end. So each result is used once, in order, whatever
process leads then. Between two calls of `watch_*` a task may place orders, but not wait for something else: that would
be a long turn. The bot watches only what the feed is told to watch, with the same arguments.

`main` runs in the leader only, and is cancelled just before another process leads. Calls that are not `watch_*` go to
the exchange, as always. Outside of a bot that `run` has made, `watch_*` does too.
"""
# pyright: basic, reportMissingImports=false
# ccxt is not in the environment of the tools.

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar

import ccxt.pro
import msgspec

from ...protocol.window import Window
from ..model.handler_types import Event, InDoubt
from . import asyncio_program

__all__ = ["feed", "run"]

_PAUSES = (0.25, 1, 2, 5, 15, 30)
"""Seconds before the next call, after one or more that failed."""
_ROUNDS = 10
"""Rounds of the event loop in which an error of a task gets to `main`."""
_NOT_WATCHED_AFTER = 10.0
"""A result that no task has asked for, so many seconds after the newest call for the first time, is dropped."""


def __getattr__(name: str) -> Any:
    """What `ccxt.pro` has, its exchanges with calls of `watch_*` that a feed can answer."""
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(ccxt.pro, name)
    return _fed(value) if inspect.isclass(value) and issubclass(value, ccxt.pro.Exchange) else value


def feed(connect: Callable[[], Any], *calls: Sequence[Any]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return the function of a feed that repeats each of `calls`, such as `("watch_trades", "BTC/USDT")`.

    `connect` returns the exchange. A call that fails is repeated, after a pause that grows from 250 ms to 30 s.
    """

    async def watch(feed: Any) -> None:
        exchange = connect()
        try:
            await asyncio.gather(*(_repeat(exchange, feed, call) for call in calls))
        finally:
            await exchange.close()

    return watch


def run(
    main: Callable[[], Coroutine[Any, Any, Any]],
    connect: Callable[[], Any],
    *,
    state: Any = None,
    hint: Any = None,
    tick: str = "1s",
    windows: Sequence[Window] = (),
) -> type[asyncio_program.Program]:
    """Return the bot that runs `main()` as long as it leads.

    `connect` returns the exchange: each process loads the markets with it before it leads, for the exchanges that
    `main` makes. The other arguments are those of `asyncio_program.run`.
    """
    base: Any = asyncio_program.run(main, state=state, hint=hint, tick=tick, windows=windows)
    return type(
        main.__name__, (_FedBot, base), {"__module__": main.__module__, "connect": staticmethod(connect)}
    )


async def _repeat(exchange: Any, feed: Any, call: Sequence[Any]) -> None:
    name, *args = call
    failures = 0
    while True:
        try:
            result = await getattr(exchange, name)(*args)
        except ccxt.pro.NetworkError as problem:
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            print(f"WARNING: {name} of {exchange.id} failed, the next call is in {pause} s: {problem}")
            await asyncio.sleep(pause)
        else:
            failures = 0
            feed.publish([list(call), _plain(result)])


class _Results:
    """The tasks of a bot that have called `watch_*`, and the results that they get."""

    def __init__(self, prepared: Any) -> None:
        self.prepared = prepared
        """An exchange with its markets."""
        self._waiting: dict[str, dict[asyncio.Task[Any], asyncio.Future[Any]]] = {}
        self._callers: dict[str, set[asyncio.Task[Any]]] = {}
        """All tasks that have called each key."""
        self._changed = asyncio.Event()
        self._not_watched: set[str] = set()
        self._closing: set[asyncio.Task[Any]] = set()

    def close(self, closing: Coroutine[Any, Any, Any]) -> None:
        """Close an exchange's connections in the background."""
        task = asyncio.ensure_future(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def next(self, key: str) -> Any:
        """The next result of the call `key`."""
        task = asyncio.current_task()
        assert task is not None
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, {})
        waiting[task] = result
        self._callers.setdefault(key, set()).add(task)
        self._not_watched.discard(key)
        self._changed.set()
        try:
            return await result
        finally:
            if waiting.get(task) is result:
                del waiting[task]

    async def deliver(self, key: str, result: Any, main: asyncio.Task[Any]) -> None:
        """Give the result to the tasks that wait for it, and return when each has ended or called `watch_*` again."""
        await self._wait_for_call(key, main)
        served = dict(self._waiting.pop(key, {}))
        for task, future in served.items():
            task.add_done_callback(self._note_end)
            future.set_result(result)
        while not (main.done() or all(task.done() or self._is_waiting(task) for task in served)):
            await self._change()
        for task in served:
            task.remove_done_callback(self._note_end)
        if any(task.done() for task in served):
            # An error of a task ends `main`, too, unless it catches it: then the turn is of no effect.
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)

    async def _wait_for_call(self, key: str, main: asyncio.Task[Any]) -> None:
        """Return when a task waits for a result of `key`, or when none will."""
        while not (self._waiting.get(key) or key in self._not_watched or main.done()):
            callers = self._callers.get(key)
            if callers and all(task.done() or self._is_waiting(task) for task in callers):
                # They have ended, or call something else now.
                return
            try:
                # `main` may connect for as long as it likes before its first call.
                async with asyncio.timeout(_NOT_WATCHED_AFTER if self._callers and not callers else None):
                    await self._change()
            except TimeoutError:
                print(f"WARNING: {key} comes from the feed, and no task of the bot calls it: it is dropped")
                self._not_watched.add(key)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _is_waiting(self, task: asyncio.Task[Any]) -> bool:
        return any(task in waiting for waiting in self._waiting.values())

    def _note_end(self, _task: asyncio.Task[Any]) -> None:
        self._changed.set()

    wake = _note_end


_results: ContextVar[_Results | None] = ContextVar("neverblink.ccxt_pro", default=None)


class _FedBot(asyncio_program.Program):
    """Runs `main`, whose tasks go on in the turns of the feed's events."""

    connect: ClassVar[Any] = None
    _task: asyncio.Task[Any] | None = None

    async def on_start(self) -> None:  # type: ignore[override]
        self._prepared = self.connect()
        try:
            await self._prepared.load_markets()
        finally:
            await self._prepared.close()
        self.while_leading(self._main_goes_on, name=self.main.__name__, on_end="unhealthy")

    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        super().on_lead(in_doubt)
        self._results = _Results(self._prepared)
        token = _results.set(self._results)
        self._task = task = asyncio.ensure_future(self.main())
        _results.reset(token)
        task.add_done_callback(self._results.wake)

    async def on_event(self, event: Event) -> None:  # type: ignore[override]
        if event.gap or event.restarted:
            print(f"WARNING: the feed {event.stream} has missed what the exchange sent before this")
        call, result = event.data
        assert self._task is not None
        await self._results.deliver(_key(call), result, self._task)
        if self._task.done():
            await self._task
        self._save()

    async def on_yielding(self) -> None:
        await self._end()

    async def on_stop(self) -> None:  # type: ignore[override]
        await self._end()
        self._save()

    async def _main_goes_on(self) -> None:
        """Ends when `main` does, and as it does."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (problem := self._task.exception()) is not None:
                print(f"ERROR: {self.main.__name__} was told to end, and raised {problem!r}")


@cache
def _fed(exchange: type[Any]) -> type[Any]:
    """A subclass whose calls of `watch_*` a feed answers, in a bot that `run` has made."""

    def answered(name: str) -> Callable[..., Awaitable[Any]]:
        async def watch(self: Any, *args: Any, **keywords: Any) -> Any:
            results = _results.get()
            if results is None:
                return await getattr(super(fed, self), name)(*args, **keywords)
            return await results.next(_key([name, *args, *([keywords] if keywords else [])]))

        return watch

    names = [name for name in dir(exchange) if name.startswith("watch_")]
    watching = [name for name in names if inspect.iscoroutinefunction(getattr(exchange, name))]

    async def load_markets(self: Any, reload: bool = False, params: Any = None) -> Any:
        results = _results.get()
        if results is not None and not reload and not self.markets and results.prepared.id == self.id:
            self.set_markets_from_exchange(results.prepared)
        return await exchange.load_markets(self, reload, params or {})

    async def close(self: Any) -> None:
        results = _results.get()
        if results is None:
            await exchange.close(self)
        else:
            # It takes a quarter of a second, in which no process would lead.
            results.close(exchange.close(self))

    methods: dict[str, Any] = {name: answered(name) for name in watching}
    fed: type[Any] = type(
        exchange.__name__, (exchange,), {**methods, "load_markets": load_markets, "close": close}
    )
    return fed


def _key(call: Sequence[Any]) -> str:
    """Identifies a call by its name and arguments."""
    return msgspec.json.encode(list(call)).decode()


def _plain(value: Any) -> Any:
    """ccxt's caches and order books as lists and dicts."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
