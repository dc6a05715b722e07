"""The feeds of a bot that runs alone: it starts them itself, as processes of the same kind as under a supervisor.

They end with the bot, however it ends. Nothing that they know is kept.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ...protocol import duration, size
from ...protocol.errors import NeverblinkError
from ...protocol.feed_assignment import BUFFER, FEED_VARIABLE, FeedAssignment, encode_feed_assignment
from ...protocol.feed_named import STALE_AFTER, FeedNamed
from ...protocol.feed_queue import FeedQueues
from ...protocol.keys import SIZE
from ..io.output import report
from ..io.precise_loop import Reactor
from .subscriptions import FeedSubscriptions

__all__ = ["OwnFeeds"]

_END_WITHIN = 7.0


class _Table(msgspec.Struct, frozen=True):
    """One feed in the configuration, as far as a bot alone needs it."""

    name: str
    run: str
    stale_after: int
    buffer: int


class OwnFeeds:
    """The feeds in the section [feeds] of a configuration: `tables`, by name.

    Raises `NeverblinkError` for a table that is not valid; `neverblink check` says more about it.
    """

    def __init__(self, tables: dict[str, Any]) -> None:
        self._tables = [_table(name, value) for name, value in tables.items()]
        self.named = tuple(FeedNamed(table.name, table.stale_after) for table in self._tables)
        self._key = secrets.token_bytes(SIZE)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._directory: Path | None = None
        self._subscriptions: FeedSubscriptions | None = None

    @property
    def waiting(self) -> bool:
        """Whether `look` may have something to do."""
        return self._subscriptions is not None and self._subscriptions.waiting

    def attend(self, reactor: Reactor, queues: FeedQueues, on_input: Callable[[], None]) -> None:
        """Start the feeds, if they are not started yet, and connect to those that are not connected."""
        if not self._tables:
            return
        if self._subscriptions is None:
            # A short path: that of a socket has at most 107 bytes.
            atexit.register(self.close)
            directory = self._directory = Path(tempfile.mkdtemp(prefix="neverblink-"))
            for table in self._tables:
                self._start(table, directory)
            self._subscriptions = FeedSubscriptions(
                "alone", self.named, str(directory), lambda _: self._key, lambda name: str(directory / name)
            )
            self._subscriptions.open(reactor, queues, on_input)
        self._subscriptions.attend()

    def look(self) -> None:
        if self._subscriptions is not None:
            self._subscriptions.look()

    def close(self) -> None:
        """End the feeds."""
        if self._subscriptions is not None:
            # The event loop may be closed already.
            with suppress(RuntimeError):
                self._subscriptions.close()
        processes, self._processes = self._processes, []
        for process in processes:
            process.terminate()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_WITHIN)
            process.kill()
            process.wait()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, table: _Table, directory: Path) -> None:
        readable, writable = os.pipe()
        assignment = FeedAssignment(
            bot="alone",
            feed=table.name,
            target=table.run,
            release="",
            run=str(directory),
            file=str(directory / f"{table.name}.feed"),
            key=self._key,
            buffer=table.buffer,
            ends_with_parent=True,
            starter=os.getpid(),
        )
        try:
            os.write(writable, encode_feed_assignment(assignment))
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "neverblink.worker.feeds"],
                    env={**os.environ, FEED_VARIABLE: str(readable)},
                    stdin=subprocess.DEVNULL,
                    pass_fds=(readable,),
                    # Ctrl-C in the terminal is for the bot, which ends them.
                    start_new_session=True,
                )
            )
        except OSError as problem:
            report(f"WARNING: neverblink: feed {table.name} cannot be started: {problem}")
        finally:
            os.close(readable)
            os.close(writable)


def _table(name: str, value: Any) -> _Table:
    try:
        run = value["run"]
        stale_after, buffer = value.get("stale_after"), value.get("buffer")
        return _Table(
            name,
            str(run),
            STALE_AFTER
            if stale_after is None
            else 0
            if stale_after == "never"
            else duration.parse(stale_after),
            BUFFER if buffer is None else size.parse(buffer),
        )
    except (KeyError, TypeError, AttributeError) as problem:
        raise NeverblinkError(
            f'feeds.{name} in the configuration: expected a table with run = "MODULE:FUNCTION" ({problem!r})'
        ) from None
