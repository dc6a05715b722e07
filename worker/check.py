"""Checks whether a bot can run here, for `neverblink check`, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from ..protocol.assignment import CHECK_JOURNAL
from ..protocol.errors import NeverblinkError
from ..protocol.journal import JournalError
from ..protocol.state_changes import StateChanges
from ..protocol.window import WindowSpec
from ..protocol.wire import WireError
from .io.output import report_exception
from .io.start_watch import StartWatch
from .journal.directory import JournalDirectory
from .main import find
from .model.inbox import Inbox
from .model.replica import Replica
from .replication.replay import SegmentReplay, restore
from .runtime.own_sockets import loopback_sockets
from .worker import WorkerBot

__all__ = ["BotCheck", "check", "replica_of"]


class BotCheck(msgspec.Struct, frozen=True):
    """The result of a check. For a function that uses `join()`, only its existence is known."""

    ok: bool
    problem: str = ""
    interval: int | None = None
    windows: tuple[WindowSpec, ...] = ()
    schema: tuple[int, str] | None = None
    warnings: tuple[str, ...] = ()
    """What is probably not meant, such as a handler with a typo."""
    changes: StateChanges | None = None
    """How the state in the journal differs in this code; None when it is of the same type, or there is none."""
    unreadable: str = ""
    """Why this code cannot read the state in the journal."""
    ticks: bool = True
    """False: the bot is event-driven, and `interval` is that of its heartbeats."""
    takes_events: bool = True
    """It has a handler for events."""


def check(target: str) -> BotCheck:
    """Import the bot, make its first state, encode it and decode it again. Runs no handler."""
    # No real connection reaches a check.
    sockets = loopback_sockets(Path.cwd())
    sockets.arrange(os.environ)
    watch = StartWatch()
    watch.begin(f"importing {target.partition(':')[0]} has not ended")
    try:
        found = find(target)
        watch.end()
        if not isinstance(found, type):
            return BotCheck(True)
        bot = WorkerBot(found)
        schema = bot.check_first_state()
    except NeverblinkError as problem:
        return BotCheck(False, problem.message)
    except BaseException as problem:
        report_exception(problem)
        return BotCheck(
            False, f"importing {target.partition(':')[0]} failed: {type(problem).__name__}: {problem}"
        )
    windows = tuple(window.spec for window in bot.windows)
    changes, unreadable = _compared(bot, os.environ.get(CHECK_JOURNAL, ""))
    return BotCheck(
        True,
        "",
        bot.interval,
        windows,
        (schema.version, schema.fingerprint),
        bot.warnings,
        changes,
        unreadable,
        bot.ticks,
        bot.takes_events,
    )


def _compared(bot: WorkerBot, directory: str) -> tuple[StateChanges | None, str]:
    """Read the state at the end of the journal, and change nothing there."""
    if not directory:
        return None, ""
    try:
        return replica_of(bot, Path(directory)).changes(), ""
    except NeverblinkError as problem:
        return None, problem.message


def replica_of(bot: WorkerBot, directory: Path) -> Replica:
    """A replica with the state at the end of the journal in `directory`, which stays as it is.

    Raises what an unreadable state or journal raises.
    """
    journal = JournalDirectory(directory, "process")
    cells = bot.cells()
    replica = Replica(cells, cells.schema, bot.migrations, Inbox(time.time_ns, lambda: None, *bot.remember))
    numbers = [segment.number for segment in journal.stored()]
    for at in reversed(range(len(numbers))):
        with contextlib.suppress(JournalError, WireError):
            offset = restore(replica, journal, numbers[at], strict=True)
            SegmentReplay(replica, journal, strict=True).read(numbers[at:], offset)
            break
    return replica
