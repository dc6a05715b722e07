"""The platform: clocks, event loop and processes, as one object that a test can replace.

The real one is made by `launcher`. Every part that decides something takes it as a parameter, and never asks the system
by itself.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ...protocol.assignment import Assignment
from ..system.proc_stat import ProcessActivity, doing
from ..system.timers import Scheduler

__all__ = ["Child", "Launch", "Platform"]


class Launch(msgspec.Struct, frozen=True):
    """What to start: `target` (MODULE:NAME) of the release in `directory`, with the interpreter `python`."""

    python: str
    directory: Path
    target: str
    log: Path
    assignment: Assignment
    data: Path
    """Where the bot keeps files of its own."""
    env_file: Path | None = None
    """The file with more of its environment."""


class Child(Protocol):
    """A worker's process: see `process.Process` and `process.Adopted`."""

    @property
    def pid(self) -> int: ...
    @property
    def started(self) -> int: ...
    def signal(self, number: signal.Signals) -> bool: ...
    def let_go(self) -> None: ...


class Platform(msgspec.Struct, frozen=True):
    """`wall` and `mono` tell ns. `spawn` starts a worker and calls back with its exit status, negative for a signal.

    `adopt(pid, started, on_exit)` watches one that runs already, and calls back when it has ended (how, is not known);
    it raises ProcessLookupError when that very process does not run. `end_group(worker, pid, started)` ends what a
    worker that has ended left behind. `doing` tells what the process with a pid is
    doing.
    """

    wall: Callable[[], int]
    mono: Callable[[], int]
    scheduler: Scheduler
    spawn: Callable[[Launch, Callable[[int], None]], Child]
    adopt: Callable[[int, int, Callable[[None], None]], Child]
    doing: Callable[[int], ProcessActivity | None] = doing
    end_group: Callable[[str, int, int], None] = lambda worker, pid, started: None
