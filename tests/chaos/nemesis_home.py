"""Faults of what all processes of a bot share: disk, clock, sockets, logs, power."""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from neverblink.worker.io.descriptors import RESERVE

__all__ = [
    "STEPS_BY",
    "bare_of_descriptors",
    "crowd",
    "cut_power",
    "remove_logs",
    "remove_sockets",
    "tear_release",
]

_SECOND = 1_000_000_000
_ROOM = 60
_CROWD_EVERY = 0.002
_SHORT_OF = 8
_NOTICED_WITHIN = 3.0
STEPS_BY = {
    "+1h": 3600 * _SECOND,
    "-1h": -3600 * _SECOND,
    "+10y": 10 * 365 * 86_400 * _SECOND,
    "+2s": 2 * _SECOND,
    "-2s": -2 * _SECOND,
    "+300ms": 300_000_000,
}
"""How far each variant steps the wall clock, in ns."""


def bare_of_descriptors(pid: int, hidden: Path | None = None) -> Callable[[], None]:
    """Let the process open no further descriptor; return a function that lifts the limit.

    Its soft limit leaves no free number, so that the next `open` fails as in a process that leaks. A leader also has
    its reserve, and reaches its limit as with a leak: only after a turn in which it was short. `hidden` is the name
    to which its socket is renamed during such a turn.
    """
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def leave(room: int) -> None:
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd") if not _is_reserve(pid, name)}
        numbers = (number for number in range(before[1] + 1) if number not in used)
        free = next(itertools.islice(numbers, room, None), before[1])
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(free, before[1]), before[1]))

    if hidden is None:
        leave(0)
    else:
        leave(RESERVE + _SHORT_OF)
        until = time.monotonic() + _NOTICED_WITHIN
        while not hidden.exists() and time.monotonic() < until:
            time.sleep(0.0002)
        leave(RESERVE)

    def relent() -> None:
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    return relent


def _is_reserve(pid: int, name: str) -> bool:
    """Whether a descriptor is in a leader's reserve, or is closed already."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{name}") == "/"
    except OSError:
        return True


def crowd(pid: int, sockets: Path) -> Callable[[], None]:
    """Use up the process's descriptors with idle connections to a socket in `sockets`; return a function to undo it.

    Its soft limit leaves it `_ROOM` more than it has, so that it takes dozens of connections rather than thousands.
    """
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(used + _ROOM, before[1]), before[1]))
    over = threading.Event()
    idle: list[socket.socket] = []

    def connect() -> None:
        while not over.wait(_CROWD_EVERY) and len(idle) < 2 * _ROOM:
            with suppress(OSError):
                one = socket.socket(socket.AF_UNIX)
                idle.append(one)
                one.setblocking(False)
                one.connect(str(sockets / "requests.sock"))

    thread = threading.Thread(target=connect)
    thread.start()

    def hang_up() -> None:
        over.set()
        thread.join()
        for item in idle:
            item.close()
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    return hang_up


def remove_sockets(run: Path) -> int:
    """Remove every socket in `run`, as a cleaner of temporary files does; return their number."""
    removed = 0
    for path in list(run.iterdir()):
        with suppress(OSError):
            if path.is_socket():
                path.unlink()
                removed += 1
    return removed


def remove_logs(logs: Path) -> None:
    """Remove the log directory."""
    shutil.rmtree(logs, ignore_errors=True)


def cut_power(processes: Iterable[psutil.Process]) -> None:
    """Kill all of them at one moment: none sees another one's death."""
    there = list(processes)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in there:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                os.kill(process.pid, number)
    until = time.monotonic() + 10
    for process in there:
        with suppress(psutil.Error):
            while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
                time.sleep(0.001)


def tear_release(release: Path, chance: random.Random) -> Path | None:
    """Truncate a file of the release, as when its blocks never got to the disk; return its path."""
    files = sorted(path for path in release.glob("*.py") if path.stat().st_size)
    if not files:
        return None
    torn = chance.choice(files)
    size = torn.stat().st_size
    with torn.open("r+b") as file:
        file.truncate(chance.choice((0, size // 2)))
        if chance.random() < 0.5:
            # The length was on the disk, but the blocks were not.
            file.truncate(size)
    return torn
