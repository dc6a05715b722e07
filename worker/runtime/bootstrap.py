"""Makes a running worker of a bot and a runtime: the common part of both kinds of bot and both ways to start one."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from ...protocol.assignment import Assignment
from ...protocol.frame import Schema
from ...protocol.lease import started_of
from ...protocol.link import Hello, Offers
from ...protocol.window import Window
from ...protocol.wire import PROTOCOL
from ..engine.engine import Engine
from ..engine.session import BotSession
from ..engine.turns import Bot
from ..io.output import WorkerOutput, report, unfailing_output
from ..model.cells import Cells
from ..model.inbox import Inbox
from ..model.inbox_bound import InboxBound
from ..model.migration import Migrations
from ..model.replica import Replica
from ..replication.interfaces import WorkerIO
from .declaration import BotError
from .interfaces import Runtime
from .standalone import StandaloneRuntime

__all__ = ["Bootstrap", "Runnable", "alone", "build_engine", "hello_of", "importing", "refuse_in_import"]

importing: ContextVar[str] = ContextVar("neverblink.importing", default="")
"""The module of the bot while neverblink imports it."""


class Runnable(Bot, Protocol):
    """A bot with everything that running it needs."""

    name: str
    migrations: Migrations
    modules: tuple[str, ...]
    """Where its code is, to name a line of it."""
    warnings: tuple[str, ...]
    """What is probably not meant in its class."""
    remember: tuple[int, int]
    """How many applied keys are remembered, and for how long (ns)."""
    hold_events: int
    """How long an event waits for those before it, ns."""
    inbox_bound: InboxBound
    encode_event: Callable[[Any], bytes]

    def cells(self) -> Cells: ...
    def offers(self) -> Offers: ...
    def attach(self, session: BotSession) -> None: ...


class Bootstrap:
    """The runtime of a bot in this process. `began` is when the process began to import it, CLOCK_MONOTONIC ns."""

    def __init__(
        self,
        me: Assignment,
        runtime: Runtime,
        *,
        began: int,
        supervised: bool,
        output: WorkerOutput | None = None,
    ) -> None:
        self.me = me
        self._output = output
        self.runtime = runtime
        self.supervised = supervised
        self._began = began

    def engine(self, bot: Runnable) -> Engine:
        """Make the engine of `bot`, with its `Hello` sent, about to start. Raises what a bad state type raises."""
        for warning in bot.warnings:
            report(f"WARNING: bot {bot.name}: {warning}")
        engine = build_engine(self.me, bot, self.runtime, imported=self.runtime.clock.mono() - self._began)
        if self._output is not None:
            self._output.position = lambda: (engine.replica.epoch, engine.leading.seq)
        return engine


def build_engine(
    me: Assignment, bot: Runnable, io: WorkerIO, *, imported: int, any_feed: bool = False
) -> Engine:
    """Make the engine of `bot` as worker `me`, about to start. `imported`: how long importing took, ns.

    `any_feed`: the bot has a feed of each name that it asks for.
    """
    limit, age = bot.remember
    inbox = Inbox(io.clock.wall, io.wake, limit, age, bot.hold_events, bot.inbox_bound, bot.encode_event)
    cells = bot.cells()
    hello = hello_of(me, cells.schema, bot.interval, bot.windows, bot.offers(), ticks=bot.ticks)
    replica = Replica(cells, cells.schema, bot.migrations, inbox, bot.settings)
    replica.verifier.modules = bot.modules
    replica.may_drop = me.drop
    engine = Engine(me, hello, bot, replica, io)
    bot.attach(BotSession(engine, io, me.feeds, any_feed=any_feed))
    engine.start(imported)
    return engine


def alone(name: str) -> Bootstrap:
    """The bootstrap of a bot without a supervisor. From here on a failing print raises nothing.

    Raises what `refuse_in_import` raises.
    """
    refuse_in_import()
    unfailing_output()
    runtime = StandaloneRuntime()
    me = Assignment(
        bot=name, worker="alone", release="", run="", lease="", journal="", feeds=runtime.feeds.named
    )
    return Bootstrap(me, runtime, began=runtime.clock.mono(), supervised=False)


def refuse_in_import() -> None:
    """Raise `BotError` while neverblink imports the bot: it would run inside that import, and never be a worker."""
    if module := importing.get():
        raise BotError(
            f"{module} runs the bot while it is imported: put the call that does so under "
            'if __name__ == "__main__":'
        )


def hello_of(
    me: Assignment,
    schema: Schema,
    interval: int,
    windows: tuple[Window, ...],
    offers: Offers | None = None,
    *,
    ticks: bool = True,
) -> Hello:
    """Return the `Hello` of this process."""
    try:
        installed = version("neverblink")
    except PackageNotFoundError:
        installed = "unknown"
    return Hello(
        bot=me.bot,
        worker=me.worker,
        pid=os.getpid(),
        started=started_of(Path("/proc/self/stat").read_bytes()),
        protocol=PROTOCOL,
        release=me.release,
        schema=schema,
        interval=interval,
        windows=tuple(window.spec for window in windows),
        python=platform.python_version(),
        neverblink=installed,
        offers=offers,
        ticks=ticks,
    )
