"""The platform: clocks, event loop and processes, as one object that a test can replace.

`spawn.platform_of` makes the real one. Each part that decides something takes the platform as a parameter and never
calls the operating system itself. `BotContext` is what the parts of one bot share: events, platform and registry.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ...protocol.assignment import Assignment
from ..config.socket_settings import SocketSettings
from ..system.event_bus import EventBus
from ..system.process import ProcessActivity, doing
from ..system.timers import Scheduler
from .registry import WorkerRegistry

__all__ = ["BotContext", "Child", "Launch", "Platform"]


class Launch(msgspec.Struct, frozen=True):
    """What to start: `target` (MODULE:NAME) of the release in `directory`, with the interpreter `python`."""

    python: str
    directory: Path
    target: str
    log: Path
    assignment: Assignment
    data: Path
    """Where the bot keeps its own files."""
    env_file: Path | None = None
    """A file with more environment variables."""
    sockets: tuple[SocketSettings, ...] = ()
    """The listening sockets that it inherits."""
    command: tuple[str, ...] = ()
    """The worker's program and its arguments, in place of the interpreter and the target."""


class Child(Protocol):
    """A worker's process: see `process.Process` and `process.Adopted`."""

    @property
    def pid(self) -> int: ...
    @property
    def started(self) -> int: ...
    def signal(self, number: signal.Signals) -> bool: ...
    def let_go(self) -> None: ...


class Platform(msgspec.Struct, frozen=True):
    """`wall` and `mono` return ns. `spawn` starts a worker and calls back with its exit status, negative for a signal.

    `adopt(pid, started, on_exit)` watches a running worker and calls back when it has ended, without its exit status.
    It raises `ProcessLookupError` when that process does not run. `end_group(worker, pid, started)` ends the
    processes that a worker has left behind. `doing(pid)` returns the activity of a process.
    """

    wall: Callable[[], int]
    mono: Callable[[], int]
    scheduler: Scheduler
    spawn: Callable[[Launch, Callable[[int], None]], Child]
    adopt: Callable[[int, int, Callable[[None], None]], Child]
    doing: Callable[[int], ProcessActivity | None] = doing
    end_group: Callable[[str, int, int], None] = lambda worker, pid, started: None


class BotContext:
    """What each part of the bot `bus.bot` gets that starts, watches or drives workers."""

    def __init__(self, bus: EventBus, platform: Platform) -> None:
        self.bus = bus
        self.platform = platform
        self.registry = WorkerRegistry()
        self.last_readable = False
        """A worker that cannot read the newest state leads with the newest one that it can read. Until one leads."""
