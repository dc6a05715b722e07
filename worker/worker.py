"""Worker: the class a bot is written as.

A bot author subclasses it with the state's type, and writes the handlers that are needed; each may be `def` or
`async def`. Its docstring says what each is for, in which process it runs and what it may do.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeVar

from ..protocol.frame import Schema
from ..protocol.grid import Policy
from ..protocol.link import Offers
from ..protocol.window import Window
from .codecs.codec import Codec
from .engine.session import BotSession
from .io.listening_sockets import WorkerSockets
from .model.cells import Cells, StateError
from .model.commands import CommandError, Declared, declared_in, unknown
from .model.decision import Decision
from .model.feed_view import FeedView
from .model.handler_types import Event, InDoubt, Tick, Timer
from .model.inbox import Inbox
from .model.inbox_bound import InboxBound
from .model.migration import Migrations
from .model.verifier import VerificationFailed, Verifier
from .runtime.class_names import handler_problem, name_warnings
from .runtime.declaration import (
    HEARTBEAT,
    BotError,
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

__all__ = ["Worker", "WorkerBot"]

S = TypeVar("S")


class Worker(Generic[S]):
    """A bot whose state is an `S`: a mutable `msgspec.Struct` (or dataclass, dict, list), which holds everything that
    has to survive the process.

        class Foresight(Worker[Book]):
            tick = "1s"
            windows = [Window("5m", opens="-20s", closes="-5s")]

            async def on_tick(self, tick):
                async with self.decision("enter", market="BTC") as d:
                    order = await exchange.place(..., client_order_id=d.id)
                    self.state.positions["BTC"] = Position(order)

    The state changes in a *turn* only: `on_tick`, `on_event`, `on_timer`, an operator's commands (methods marked with
    `@command`, `on_command`, `on_halt`, `on_settings`), `on_lead` and `on_stop`, one after another. A handler that
    raises ends the process, except for a command, whose error goes to the operator. Do not define `__init__` with
    arguments.
    """

    tick: ClassVar[str | None] = "1s"
    """Time between two ticks, as "250ms" or "1s". Ticks are on a grid of the wall clock, which all workers share.

    None: the bot is event-driven. It has no ticks; events, timers and commands alone make its turns."""
    heartbeat: ClassVar[str] = HEARTBEAT
    """With `tick = None`: how often a frame shows that the bot could run, as "250ms" or "10s". No handler is called."""
    windows: ClassVar[Sequence[Window]] = ()
    """Spans of time in which the bot must be ticking: no handoff starts inside a protected one."""
    overrun: ClassVar[Policy] = "skip"
    """What to do about ticks that were due during a longer turn: "skip" records them, "catch-up" runs each, late."""
    schema: ClassVar[int] = 1
    """The version of the state's shape; raise it together with a `@migration`."""
    codecs: ClassVar[Sequence[Codec[Any]]] = ()
    """How types of the state that msgspec does not know are encoded; see `Codec` and `pickled`. Those of the standard
    library, numpy, pandas, polars and pydantic need none."""
    event_type: ClassVar[Any] = None
    """The type of `event.data` in `on_event`; None for plain dicts, lists and scalars."""
    remember: ClassVar[int] = 100_000
    """How many keys of applied events are remembered, so that the same one is not applied twice."""
    remember_for: ClassVar[str] = "1d"
    """How long they are remembered."""
    hold_events: ClassVar[str] = "1s"
    """How long an event waits for those before it: for the missing numbers of its stream, or, when only another process
    received it, for this process's own feed."""
    yield_within: ClassVar[str] = "2s"
    """How long the end of this process's tasks, and `on_yielding`, may take before a handoff."""
    inbox_bound: ClassVar[InboxBound] = InboxBound()
    """How much may wait in the inbox, and what happens to an event that finds it full."""
    if not TYPE_CHECKING:
        # Not for type checkers, so that `self.settings` is of the type that a subclass assigns.
        settings = None
        """What an operator may change while the bot runs: an object of a frozen `msgspec.Struct`, with the defaults.

        In the bot `self.settings` are the settings in force: those of the class, except for what an operator has set
        with `neverblink settings max_position=3`. They change between two turns only.
        """

    _session: BotSession | None = None

    # --- what a bot uses --------------------------------------------------------------------------------------------

    @property
    def state(self) -> S:
        """The state. In a follower it is the leader's, read-only. Raises `StateError` before there is a state."""
        session = self._session
        state = (session if session is not None else self._live).replica.state
        if state is None:
            raise StateError(
                "there is no state yet: on_start comes before it, on_load is the first to see it"
            )
        return state

    @state.setter
    def state(self, value: S) -> NoReturn:
        raise StateError("the state is changed in place: assign to its fields, as in self.state.count += 1")

    @property
    def inbox(self) -> Inbox:
        """Takes events from outside, from any thread: `self.inbox.put(fill.id, fill)`."""
        return self._live.inbox

    # Not a property: a bot may have an attribute of that name of its own.
    @cached_property
    def feeds(self) -> Mapping[str, FeedView]:
        """The feeds of the configuration, by name: `self.feeds["trades"].stale`. Their events come by `on_event`."""
        return self._live.feeds

    @property
    def durable(self) -> bool:
        """Whether the turns of this process as the leader are journaled.

        False while the journal cannot be written, because the disk is full or gone. The bot goes on: decisions are told
        to the followers and the supervisor, and are in the journal again as soon as it can be written. Should this
        process die before that, what was not written is known to a follower only. So enter nothing new, if you would
        rather not risk that; exits go on.
        """
        return self._live.durable

    @property
    def paused(self) -> bool:
        """An operator has paused the bot: open no new position; close positions as usual."""
        return self._live.paused

    @property
    def leading(self) -> bool:
        """Whether this process is the one that ticks."""
        return self._live.leading

    @property
    def led_before(self) -> bool:
        """Whether this process has led before: `on_lead` runs again after a rollback, and after a handoff that failed.

        What the first `on_lead` opened is then still open, unless `on_yield` closed it.
        """
        return self._live.led_before

    @cached_property  # A bot of an earlier release may have an attribute of that name.
    def sockets(self) -> WorkerSockets:
        """The listening sockets of `[sockets]` in the configuration, by name: `self.sockets["api"]`.

        Start a server on one in any process and any handler, such as `on_start`. Connections reach it only while this
        process leads, and wait otherwise (unless the configuration says accept = "all").
        """
        return self._live.sockets

    def decision(self, name: str, **args: Any) -> Decision:
        """Begin a decision: a span that no handoff cuts, recorded before its body runs. Use it with `with`.

        `args` go into the record, so that the outcome can be found later. Its `id` fits as an exchange's client order
        id. Raises `NotLeading` outside a turn, and in a process that has lost the lease.
        """
        return Decision(self._live.recorder, name, args)

    def set_timer(
        self,
        name: str,
        *,
        at: int | None = None,
        after: str | timedelta | None = None,
        every: str | timedelta | None = None,
    ) -> None:
        """Have `on_timer` called `at` a wall-clock time (ns), `after` a duration, or once `every` period.

        A duration is a text with its unit, such as "90s", or a `timedelta`. A bare number is refused.

        A timer is part of the state: it runs once, in the process that leads by then, and gets its lateness.
        Setting a name again moves it. Only in a turn; raises `StateError` outside, `TimerError` for nonsense.
        """
        self._live.set_timer(name, at, after, every)

    def cancel_timer(self, name: str) -> bool:
        """Disarm a timer; return whether it was armed. Only in a turn."""
        return self._live.cancel_timer(name)

    def while_leading(
        self,
        target: Callable[..., Any],
        *args: Any,
        name: str = "",
        on_end: Literal["restart", "unhealthy"] = "restart",
    ) -> None:
        """Run `target(*args)` as long as this process leads. Call this in `on_start`, `on_load` or `on_lead`.

            def on_start(self):
                self.while_leading(self.read_prices, "BTC")

        A coroutine function runs as a task of the bot's event loop. A plain function runs as a thread; its first
        argument, before `args`, is a `threading.Event` that is set when it has to end.

        It starts when `on_lead` has returned. Before another process leads it is cancelled, or its event is set, and
        the handoff waits for its end, up to `yield_within`; if it has not ended by then, the handoff is given up. It
        starts again if this process leads again. `name` is for reports; by default it is that of the function.

        One that ends by itself is logged, with its traceback, and reported. With `on_end="restart"` it starts again
        after a pause. With `"unhealthy"` it does not: in the probation of a deployment the old code takes the bot back,
        later `status` says so. Raises `TaskError`.
        """
        self._live.while_leading(target, args, name, on_end)

    @classmethod
    def run(cls) -> NoReturn:
        """Run this bot alone (`python bot.py`), until Ctrl-C. Under a supervisor this is not needed."""
        # Imported only here, because a bot's tests do not need it.
        from .runtime.asyncio_runner import run_alone

        run_alone(cls.__name__, lambda: WorkerBot(cls))

    # --- what a bot writes ------------------------------------------------------------------------------------------

    def on_start(self) -> Any:
        """The first handler, in every process: connect, warm up. There is no state yet. Change nothing outside the
        process.

        The process cannot lead before this has returned; `start_within` bounds it. If it raises, the deployment is
        aborted, and the leader is not affected.
        """

    def on_load(self, state: S) -> Any:
        """The real state is loaded, in a follower's rehearsal or in the first leader: build what derives from it.

        Do not change the state. Runs again for each new copy. If it raises, the deployment is aborted.

        Without an `on_state` it also runs again right before `on_lead`, if frames have changed the state since, and in
        the leader when an operator has restored or set the state. If it raises there, the state stays as it was.
        """

    def on_state(self, changed: frozenset[str]) -> Any:
        """Called when frames of the leader have changed these fields of the state: renew what derives from them.

        In a process that follows: at most ten times a second, when the leader is about to hand over, and right before
        `on_lead` if a frame came since. In the leader only when an operator has restored or set the state; if it raises
        there, the state stays as it was. Define it if `on_load` takes more than a few milliseconds. Do not
        change the state. If it raises, this process ends.
        """

    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> Any:
        """This process leads from now on. The first tick follows, so return soon.

        `in_doubt` are decisions that a dead leader left open: ask the exchange for their outcomes. If it raises, this
        process ends, and the old leader takes the bot back.
        """

    def on_tick(self, tick: Tick[S]) -> Any:
        """A step on the grid. Only in the leader. Never called with `tick = None`."""

    def on_event(self, event: Event) -> Any:
        """An event from the inbox of any process: applied once, in a turn of its own."""

    def on_events(self, events: list[Event]) -> Any:
        """Instead of `on_event`: the events that wait, in order, in one turn.

        A turn takes as many as there is time for before the next tick. If it raises, nothing of the turn is kept, and
        the next process gets the same events again.
        """

    def on_timer(self, timer: Timer) -> Any:
        """A timer has fired."""

    def on_command(self, name: str, args: dict[str, Any]) -> Any:
        """An operator's `neverblink send NAME`, where NAME is not a method marked with `@command`.

        Its return value or exception is shown to the operator.
        """
        raise ValueError(unknown(name, {}))

    def on_halt(self) -> Any:
        """An operator halts the bot: close its positions now. It is paused already, and stays so until `resume`.

        Its return value or exception is shown to the operator; the bot ticks on.
        """

    def on_settings(self, old: Any, new: Any) -> Any:
        """An operator has changed the settings: `self.settings` is `new` from now on, and was `old` before.

        Both are valid and of the bot's own type. If it raises, the change is refused, the settings are as before, and
        the operator gets the reason.
        """

    def on_yielding(self) -> Any:
        """This process is about to hand over, and still has the lease: release what only one process may have.

        Its tasks (`while_leading`) have ended. No turn runs in this process after this, unless `on_lead` runs again
        because the handoff failed. Other code waits for it, and so do ticks: take no longer than a few milliseconds.
        If it raises, or takes longer than `yield_within`, that is reported and the handoff goes on. Not called when the
        process fails.
        """

    def on_yield(self) -> Any:
        """Another process leads now. Keep all connections: this process may have to take the bot back at any moment."""

    def on_retire(self) -> Any:
        """This process leaves and the bot goes on: close connections, and keep positions."""

    def on_stop(self) -> Any:
        """The *bot* stops for good (`neverblink down`): close positions, cancel orders. Never called for a handoff."""

    @property
    def _live(self) -> BotSession:
        if self._session is None:
            raise BotError(
                f"{type(self).__name__} is not running: start it with `neverblink up`, or {type(self).__name__}.run(), "
                "and in a test with neverblink.worker.testing"
            )
        return self._session


class WorkerBot:
    """A `Worker` subclass as the engine's bot. Raises `BotError` (or what state and windows raise) if it is invalid."""

    gathers = False

    def __init__(self, cls: type[Worker[Any]]) -> None:
        self.name = cls.__name__
        self.interval = interval_of(self.name, cls.tick, cls.heartbeat)
        self.ticks = cls.tick is not None
        self.windows = windows_of(self.name, cls.windows)
        self.overrun: Policy = overrun_of(self.name, cls.overrun, cls.tick)
        self.codecs = codecs_of(self.name, cls.codecs)
        self.encode_event, self.decode_event = event_coding_of(self.name, cls.event_type, self.codecs)
        self.state_type = _state_type(cls)
        self.schema = cls.schema
        self.migrations = Migrations.of(cls, *state_home(self.state_type))
        self.modules = modules_of(cls, *state_home(self.state_type))
        self.remember = (cls.remember, span_of(self.name, "remember_for", cls.remember_for))
        self.hold_events = span_of(self.name, "hold_events", cls.hold_events)
        self.inbox_bound = inbox_bound_of(self.name, cls.inbox_bound)
        self.batches = _has_own(cls, "on_events")
        self.takes_events = self.batches or _has_own(cls, "on_event")
        if self.batches and _has_own(cls, "on_event"):
            raise BotError(
                f"bot {self.name} has both on_event and on_events: keep on_events, which gets every event, and call "
                "on_event from it under another name"
            )
        self.worker = cls()
        bot = self.worker
        if problem := handler_problem(cls, Worker, bot):
            raise BotError(f"bot {self.name}: {problem}")
        self.commands: Mapping[str, Declared] = _commands_of(cls)
        self.warnings = (*name_warnings(cls, Worker, bot, self.commands), *_uncalled(cls, self.commands))
        self.listens = _has_own(cls, "on_command")
        self.halts = _has_own(cls, "on_halt")
        self.settings = settings_of(
            self.name, getattr(cls, "settings", None), lambda now: setattr(bot, "settings", now)
        )
        self.call_halt = bot.on_halt
        self.call_settings = bot.on_settings
        self.call_start = bot.on_start
        self.call_load = bot.on_load
        self.call_state = bot.on_state
        self.derives: Literal["", "on_load", "on_state"] = (
            "on_state" if _has_own(cls, "on_state") else "on_load" if _has_own(cls, "on_load") else ""
        )
        self.call_lead = bot.on_lead
        self.call_tick = bot.on_tick
        self.call_event = bot.on_event
        self.call_events = bot.on_events
        self.call_timer = bot.on_timer
        self.call_command = bot.on_command
        self.yields = _has_own(cls, "on_yielding")
        self.yield_within = span_of(self.name, "yield_within", cls.yield_within)
        self.call_yielding = bot.on_yielding
        self.call_yield = bot.on_yield
        self.call_retire = bot.on_retire
        self.call_stop = bot.on_stop

    def cells(self) -> Cells:
        return Cells(self.state_type, self.schema, codecs=self.codecs)

    def check_first_state(self) -> Schema:
        """Make the first state, write it and read it back; return its schema.

        Raises `StateError`, as `VerificationFailed` where the next process would not read what was written.
        """
        cells = self.cells()
        verifier = Verifier(cells)
        verifier.modules = self.modules
        if problems := verifier.check_all(cells.fresh()):
            raise VerificationFailed(problems)
        return cells.schema

    def call_declared(self, name: str, args: dict[str, Any]) -> Any:
        return getattr(self.worker, name)(**args)

    def offers(self) -> Offers:
        return offers_of(self.commands, self.settings, self.halts, self.listens)

    def attach(self, session: BotSession) -> None:
        self.worker._session = session  # pyright: ignore[reportPrivateUsage]


def _has_own(cls: type[Worker[Any]], handler: str) -> bool:
    return getattr(cls, handler) is not getattr(Worker, handler)


def _uncalled(cls: type[Worker[Any]], commands: Mapping[str, Declared]) -> Iterator[str]:
    """Warnings about an event-driven bot whose handlers are never called."""
    if cls.tick is not None:
        return
    if _has_own(cls, "on_tick"):
        yield (
            "on_tick is never called, because tick = None: give tick an interval, or use set_timer(…, every=…) and "
            "on_timer"
        )
    called = ("on_event", "on_events", "on_timer", "on_command")
    if not commands and not any(_has_own(cls, handler) for handler in called):
        yield "tick = None, and there is no on_event, on_events, on_timer or command: nothing runs after on_lead"


def _commands_of(cls: type[Worker[Any]]) -> dict[str, Declared]:
    try:
        return declared_in(cls)
    except CommandError as problem:
        raise BotError(f"bot {cls.__name__}: {problem.message}") from None


def _state_type(cls: type[Worker[Any]]) -> Any:
    for base in cls.__mro__:
        for origin in getattr(base, "__orig_bases__", ()):
            args = typing.get_args(origin)
            named = typing.get_origin(origin)
            of_worker = isinstance(named, type) and issubclass(named, Worker)
            if of_worker and args and not isinstance(args[0], TypeVar):
                return args[0]
    raise BotError(
        f"bot {cls.__name__} does not say what its state is: write class {cls.__name__}(Worker[Book])"
    )
