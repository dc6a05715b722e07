"""join: for a bot that is a plain loop instead of a `Worker`.

    def main():
        loop = join(Book, tick="1s")
        for tick in loop:                       # or: async for tick in loop
            with loop.decision("enter") as d:
                tick.state.orders[d.id] = place(d.id)

Everything before the loop is `on_start`, and the request for the next tick is the boundary. Events, timers and commands
come with the tick. While another process leads, the request for the next tick takes longer. When this process is not
needed any more, the loop ends.

With `tick=None` the loop is event-driven: an iteration comes when an event, a timer or a command does, and when this
process comes to lead.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar, overload

from ..protocol.errors import NeverblinkError
from ..protocol.grid import Policy
from ..protocol.link import Offers, Stop
from ..protocol.window import Window
from .codecs.codec import Codec
from .engine.engine import Engine
from .engine.session import BotSession
from .engine.turns import TurnStep
from .io.listening_sockets import WorkerSockets
from .io.output import report_exception
from .io.precise_loop import Poller
from .io.start_watch import StartWatch
from .model.cells import Cells
from .model.commands import Declared
from .model.decision import Decision
from .model.feed_view import FeedView
from .model.handler_types import InDoubt, Tick
from .model.inbox import Inbox
from .model.inbox_bound import InboxBound
from .model.migration import Migrations
from .runtime.asyncio_runner import rest
from .runtime.bootstrap import Bootstrap, alone
from .runtime.declaration import (
    HEARTBEAT,
    codecs_of,
    event_coding_of,
    inbox_bound_of,
    interval_of,
    modules_of,
    offers_of,
    overrun_of,
    settings_of,
    span_of,
    state_home,
    windows_of,
)

__all__ = ["Loop", "LoopFailed", "bootstrap", "join"]

S = TypeVar("S")
L = TypeVar("L")

bootstrap: ContextVar[Joining | None] = ContextVar("neverblink.bootstrap", default=None)
"""The `Joining` of the function that runs; not set for a bot that runs alone."""


class LoopFailed(NeverblinkError):
    """The loop cannot go on in this process; the reason has been reported already."""


class JoinError(NeverblinkError):
    """`join` was called in the wrong place."""


class Joining:
    """A bootstrap for a function that may call `join`, and the loop that `join` returned."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        self.loop: Loop[Any, Any] | None = None
        self.watch = StartWatch()


@overload
def join(
    state: type[S],
    *,
    tick: str | None = "1s",
    heartbeat: str = HEARTBEAT,
    windows: Sequence[Window] = (),
    overrun: Policy = "skip",
    schema: int = 1,
    migrations: Migrations | None = None,
    codecs: Sequence[Codec[Any]] = (),
    event_type: Any = None,
    remember: int = 100_000,
    remember_for: str = "1d",
    hold_events: str = "1s",
    inbox_bound: InboxBound | None = None,
    yield_within: str = "2s",
) -> Loop[S, None]: ...


@overload
def join(
    state: type[S],
    *,
    settings: L,
    tick: str | None = "1s",
    heartbeat: str = HEARTBEAT,
    windows: Sequence[Window] = (),
    overrun: Policy = "skip",
    schema: int = 1,
    migrations: Migrations | None = None,
    codecs: Sequence[Codec[Any]] = (),
    event_type: Any = None,
    remember: int = 100_000,
    remember_for: str = "1d",
    hold_events: str = "1s",
    inbox_bound: InboxBound | None = None,
    yield_within: str = "2s",
) -> Loop[S, L]: ...


def join(
    state: type[S],
    *,
    settings: Any = None,
    tick: str | None = "1s",
    heartbeat: str = HEARTBEAT,
    windows: Sequence[Window] = (),
    overrun: Policy = "skip",
    schema: int = 1,
    migrations: Migrations | None = None,
    codecs: Sequence[Codec[Any]] = (),
    event_type: Any = None,
    remember: int = 100_000,
    remember_for: str = "1d",
    hold_events: str = "1s",
    inbox_bound: InboxBound | None = None,
    yield_within: str = "2s",
) -> Loop[S, Any]:
    """Join the bot: as the leader, which ticks, or as a follower, which may lead later.

    The arguments are those of a `Worker`'s class attributes; migrations are found in the module of `state`, or given.
    Iterate over the returned loop. Raises `BotError`, or what a state's type raises.
    """
    bot = LoopBot(
        state,
        tick,
        heartbeat,
        windows,
        overrun,
        schema,
        migrations,
        codecs,
        event_type,
        remember,
        remember_for,
        settings,
    )
    bot.hold_events = span_of(bot.name, "hold_events", hold_events)
    bot.yield_within = span_of(bot.name, "yield_within", yield_within)
    if inbox_bound is not None:
        bot.inbox_bound = inbox_bound_of(bot.name, inbox_bound)
    here = bootstrap.get()
    if here is None:
        return Loop(bot, alone(bot.name))
    if here.loop is not None:
        raise JoinError("join() was called a second time: one process is one worker, and runs one loop")
    loop: Loop[S, Any] = Loop(bot, here.bootstrap)
    here.loop = loop
    here.watch.end()
    return loop


class LoopBot:
    """A `join` loop as the engine's bot: its handlers are empty, because their input comes with the tick."""

    gathers = True
    batches = False
    commands: Mapping[str, Declared] = {}
    listens = True
    halts = True
    warnings: tuple[str, ...] = ()
    derives: Literal["", "on_load", "on_state"] = ""
    yields = False

    def __init__(
        self,
        state: Any,
        tick: str | None,
        heartbeat: str,
        windows: Sequence[Window],
        overrun: Policy,
        schema: int,
        migrations: Migrations | None,
        codecs: Sequence[Codec[Any]],
        event_type: Any,
        remember: int,
        remember_for: str,
        settings: Any = None,
    ) -> None:
        self.name = "loop"
        self.interval = interval_of(self.name, tick, heartbeat)
        self.ticks = tick is not None
        self.windows = windows_of(self.name, windows)
        self.overrun: Policy = overrun_of(self.name, overrun, tick)
        self.codecs = codecs_of(self.name, codecs)
        self.encode_event, self.decode_event = event_coding_of(self.name, event_type, self.codecs)
        self.schema = schema
        self.state_type = state
        self.migrations = migrations or Migrations.of(*state_home(state))
        self.modules = ("__main__", *modules_of(*state_home(state)))
        self.remember = (remember, span_of(self.name, "remember_for", remember_for))
        self.hold_events = 0
        self.yield_within = 0
        self.inbox_bound = InboxBound()
        self.settings = settings_of(self.name, settings)
        self.in_doubt: tuple[InDoubt, ...] = ()
        self.session: BotSession | None = None

    def cells(self) -> Cells:
        return Cells(self.state_type, self.schema, codecs=self.codecs)

    def offers(self) -> Offers:
        return offers_of(self.commands, self.settings, self.halts, self.listens)

    def attach(self, session: BotSession) -> None:
        self.session = session

    def call_start(self) -> None: ...
    def call_load(self, state: Any) -> None: ...
    def call_state(self, changed: frozenset[str]) -> None: ...
    def call_tick(self, tick: Tick[Any]) -> None: ...
    def call_event(self, event: Any) -> None: ...
    def call_events(self, events: list[Any]) -> None: ...
    def call_timer(self, timer: Any) -> None: ...
    def call_command(self, name: str, args: dict[str, Any]) -> None: ...
    def call_declared(self, name: str, args: dict[str, Any]) -> None: ...
    def call_halt(self) -> None: ...
    def call_settings(self, old: Any, new: Any) -> None: ...
    def call_yielding(self) -> None: ...
    def call_yield(self) -> None: ...
    def call_retire(self) -> None: ...
    def call_stop(self) -> None: ...

    def call_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        self.in_doubt = in_doubt


class Loop(Generic[S, L]):
    """Iterate over it, once, with `for` or `async for`. Each iteration is a turn; requesting the next one ends it.

    It comes with a tick, or with `tick=None` when an event, a timer or a command does.
    """

    def __init__(self, bot: LoopBot, bootstrap: Bootstrap) -> None:
        self.stopped = False
        """The loop has ended because the *bot* stops for good: close positions. Not set if only this process leaves."""
        self._bot = bot
        self._supervised = bootstrap.supervised
        self._engine: Engine = bootstrap.engine(bot)
        self._runtime = bootstrap.runtime
        self._step: TurnStep | None = None
        self._poller: Poller | None = None
        self._input: asyncio.Event | None = None
        """Set when input has arrived, in an `async for`."""
        self._stop_asked = False
        self._waited = False
        """The poller has been used since the last tick."""

    @property
    def state(self) -> S:
        """The state; in a follower the leader's, read-only. It changes in the loop's body only."""
        return self._session.state

    @property
    def inbox(self) -> Inbox:
        """Takes events from outside, from any thread; they come with the next tick, in `tick.events`."""
        return self._session.inbox

    @property
    def feeds(self) -> Mapping[str, FeedView]:
        """The feeds of the configuration, by name; their events come with the next tick, in `tick.events`."""
        return self._session.feeds

    @property
    def durable(self) -> bool:
        """Whether the journal can be written; see `Worker.durable`."""
        return self._session.durable

    @property
    def paused(self) -> bool:
        """An operator has paused the bot: open no new position; close positions as usual."""
        return self._session.paused

    @property
    def settings(self) -> L:
        """The settings in force: those passed to `join`, except for what an operator has set since.

        They change only at the beginning of a tick.
        """
        return self._bot.settings.current

    @property
    def in_doubt(self) -> tuple[InDoubt, ...]:
        """Decisions that a dead leader left open when this process came to lead: ask the exchange."""
        return self._bot.in_doubt

    @property
    def leading(self) -> bool:
        """As `Worker.leading`."""
        return self._session.leading

    @property
    def led_before(self) -> bool:
        """As `Worker.led_before`."""
        return self._session.led_before

    @property
    def sockets(self) -> WorkerSockets:
        """As `Worker.sockets`."""
        return self._session.sockets

    def while_leading(
        self,
        target: Callable[..., Any],
        *args: Any,
        name: str = "",
        on_end: Literal["restart", "unhealthy"] = "restart",
    ) -> None:
        """As `Worker.while_leading`. Call it before the loop, or in a tick that is `tick.first`.

        A coroutine function needs an `async for`.
        """
        turn = self._step.turn if self._step is not None else None
        if self._poller is None and self._input is None:
            where = "the code before the loop"
        elif turn is not None and turn.tick is not None and turn.tick.first:
            where = "the first tick"
        else:
            raise JoinError(
                "while_leading() was called in the loop: call it before the loop, or in a tick that is tick.first, "
                "because the next process has to start the same tasks"
            )
        self._session.while_leading(target, args, name, on_end, where)

    def decision(self, name: str, **args: Any) -> Decision:
        """As `Worker.decision`."""
        return Decision(self._session.recorder, name, args)

    def set_timer(
        self,
        name: str,
        *,
        at: int | None = None,
        after: str | timedelta | None = None,
        every: str | timedelta | None = None,
    ) -> None:
        """As `Worker.set_timer`; it comes with the first tick after it was due, in `tick.timers`."""
        self._session.set_timer(name, at, after, every)

    def cancel_timer(self, name: str) -> bool:
        """As `Worker.cancel_timer`."""
        return self._session.cancel_timer(name)

    # --- for ------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Loop[S, L]:
        if self._poller is None:
            self._engine.tasks.refuse_coroutines()
            self._poller = Poller()
            self._runtime.open(self._poller, self._engine, _nothing, self._engine.make_ready)
            if not self._supervised:
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, self._stop)
        return self

    def __next__(self) -> Tick[S]:
        assert self._poller is not None
        self._end_turn()
        poller = self._poller
        if not self._waited:
            # Input must be noticed even if the loop is busy all the time.
            poller.wait(0)
        self._waited = False
        while (tick := self._advance()) is None:
            if self._ended:
                raise StopIteration
            if rest(self._engine, self._runtime):
                poller.wait()
                self._waited = True
            else:
                poller.wait(0)
        return tick

    # --- async for --------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Loop[S, L]:
        if self._input is None:
            loop = asyncio.get_running_loop()
            self._input = asyncio.Event()
            self._runtime.open(loop, self._engine, self._input.set, _nothing)
            if not self._supervised:
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, self._stop)
            task = asyncio.current_task()
            if task is not None:
                # For a program with its own event loop: this is called before that loop has ended all its tasks.
                task.add_done_callback(self._task_ended)
        return self

    async def __anext__(self) -> Tick[S]:
        assert self._input is not None
        self._end_turn()
        # The bot's own tasks must run even if the loop is busy all the time.
        await asyncio.sleep(0)
        while (tick := self._advance()) is None:
            if self._ended:
                raise StopAsyncIteration
            if rest(self._engine, self._runtime):
                await self._input.wait()
                self._input.clear()
            else:
                await asyncio.sleep(0)
        return tick

    # --- called by what runs the function ---------------------------------------------------------------------------

    def raised(self, problem: BaseException, stopped: str = "") -> int:
        """The function that joined has raised; return the exit status of its process.

        `stopped`: it has not raised, but its event loop has ended, and why.
        """
        step, self._step = self._step, None
        if self._engine.left is not None:
            # The loop had ended already, and `sys.exit()` is a usual way to end a program.
            if not isinstance(problem, SystemExit):
                report_exception(problem)
                return 1
            return 0 if not problem.code and not self._failed else 1
        if stopped:
            self._engine.fail("loop", stopped)
            return 1
        self._engine.raised(TurnStep("the loop", _nothing, step.turn if step is not None else None), problem)
        return 1

    def returned(self) -> int:
        """The function that joined has returned; return the exit status of its process."""
        self._end_turn()
        if self._engine.left is None:
            self._engine.fail("loop", "its function returned before the loop had ended: let the loop run out")
        return 1 if self._failed else 0

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def _failed(self) -> bool:
        left = self._engine.left
        return left is None or left.how == "fail"

    @property
    def _session(self) -> BotSession:
        assert self._bot.session is not None
        return self._bot.session

    @property
    def _ended(self) -> bool:
        """Whether no more tick comes. Raises `LoopFailed` if this worker has failed."""
        left = self._engine.left
        if left is not None and left.how == "fail":
            raise LoopFailed(left.reason)
        return left is not None or self.stopped

    def _advance(self) -> Tick[S] | None:
        """Run what is due up to the loop's next turn; return what the loop gets, None if none is due."""
        self._runtime.look()
        if self._stop_asked:
            self._stop_asked = False
            self._engine.ordered(Stop())
        while (step := self._engine.next_step()) is not None:
            turn = step.turn
            if turn is not None and turn.passed is not None:
                self._step = step
                if turn.kind == "lead":
                    # It has the decisions in doubt for the loop. Other calls do nothing here.
                    step.call()
                return turn.passed
            if turn is not None and turn.kind == "stop":
                self._step = step
                self.stopped = True
                break
            self._engine.done(step, step.call())
        return None

    def _end_turn(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            self._engine.done(step)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        """The task that iterated has ended."""
        if self._supervised and self._engine.left is None:
            problem = asyncio.CancelledError() if task.cancelled() else task.exception()
            if problem is not None:
                self.raised(problem)
            else:
                # Then a program that ends has cancelled its other tasks.
                task.get_loop().call_soon(self._end_with_program, task.get_loop())

    def _end_with_program(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._engine.left is None and not any(map(_goes_on, asyncio.all_tasks(loop))):
            self.returned()

    def _stop(self, *_: object) -> None:
        """Note that a signal has arrived. No more, since it may have interrupted the engine."""
        self._stop_asked = True
        self._restore_signals()
        self._runtime.wake()

    def _restore_signals(self) -> None:
        """Have a second signal end the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)


def _nothing() -> None:
    """Do nothing: a plain loop checks for input after each wait."""


def _goes_on(task: asyncio.Task[Any]) -> bool:
    """Whether a task is neither cancelled nor part of how asyncio ends a loop."""
    name: str = getattr(task.get_coro(), "__qualname__", "")
    return not task.cancelling() and not name.startswith("BaseEventLoop.shutdown_")
