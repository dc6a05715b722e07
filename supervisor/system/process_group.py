"""Ends what a worker started and left behind: the processes of its session.

A worker leads its own session, and what it starts (a subprocess, a pool, a pipeline in its own groups) is in it, unless
that calls setsid. When the worker has ended, in whatever way, the rest of the session gets
SIGTERM, and SIGKILL a moment later.

Numbers are reused. While any process is in a session, the kernel gives the session's number to no new process, so a
session that was the worker's stays the worker's as long as the same member is seen in it. If a process has the worker's
number and another start time, the number was reused, and nothing is ended. When no supervisor saw the worker's end, a
member must also carry the environment variable that the worker was started with.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...protocol.lease import started_of
from ...protocol.presence import field_of

__all__ = ["GRACE", "MARK", "ProcessGroups", "end_group", "mark_of"]

MARK = "NEVERBLINK_WORKER"
"""The environment variable that marks a worker's process and everything it starts."""
GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""
_LOOK_EVERY = 0.05


class ProcessGroups:
    """Ends groups in threads. Logs with `say` which processes had to be ended."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._tasks: set[asyncio.Task[None]] = set()

    def end(self, worker: str, pid: int, started: int, mark: str = "") -> None:
        """End what is left of the group of process `pid`, which was `worker` and has ended. See `end_group`."""
        task = asyncio.get_running_loop().create_task(self._end(worker, pid, started, mark))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until all of them have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _end(self, worker: str, pid: int, started: int, mark: str) -> None:
        ended = await asyncio.to_thread(end_group, pid, started, mark)
        if ended:
            are = "a process" if ended == 1 else f"{ended} processes"
            self._say(f"ended {are} that worker {worker} had started and left behind")


def end_group(pid: int, started: int, mark: str = "") -> int:
    """End the session that process `pid` led, which has ended; return how many processes were in it.

    `started` is the start time of that process. With a `mark`, only when a member carries it. Waits at most twice
    `GRACE` seconds.
    """
    known = first = _members(pid, started)
    if not known or (mark and not any(_carries(pid, mark) for pid in known)):
        return 0
    _signal(known, signal.SIGTERM)
    until = time.monotonic() + GRACE
    number = signal.SIGTERM
    while number != signal.SIGKILL or time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
        left = _members(pid, started)
        if not left or not left.items() & known.items():
            return len(first)
        if number != signal.SIGKILL and time.monotonic() >= until:
            number, until = signal.SIGKILL, until + GRACE
        # Members that were started meanwhile get SIGTERM too.
        _signal(left if number == signal.SIGKILL else dict(left.items() - known.items()), number)
        known = known | left
    return len(first)


def mark_of(worker: str, run: str) -> str:
    """The value of `MARK` in a worker whose home has its sockets in `run`."""
    return f"{worker}@{run}"


def _members(leader: int, started: int) -> dict[int, int]:
    """The processes in the session that `leader` led, with their start times; none when its number was reused."""
    found: dict[int, int] = {}
    number = str(leader).encode()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            stat = Path("/proc", name, "stat").read_bytes()
            # Fields 3 and 6: the state and the session (proc(5)).
            if field_of(stat, 6) != number:
                continue
            began = started_of(stat)
            if int(name) == leader:
                if began != started:
                    return {}
            elif field_of(stat, 3) not in (b"Z", b"X"):
                found[int(name)] = began
        except (OSError, ValueError, IndexError):
            continue
    return found


def _carries(pid: int, mark: str) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in variables


def _signal(members: dict[int, int], number: signal.Signals) -> None:
    for pid, began in members.items():
        with suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                # The number may have been reused.
                if started_of(Path(f"/proc/{pid}/stat").read_bytes()) == began:
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)
