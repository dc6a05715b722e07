"""The bound on a process's end.

An interpreter does not exit while a non-daemon thread runs, while a thread of an executor is blocked, while a task does
not end although it was cancelled, or while an exit hook sleeps. A worker that has finished must not wait for any of
these, because the supervisor, and a `down`, wait for it. So it arms this deadline with its last message.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["ExitDeadline"]

_MOST = 5
"""How many of the threads and tasks that still run are listed."""
_TELL_WITHIN = 200_000_000
_ACTS_AT_MOST = 500_000_000
"""How long a process that has left may keep the lease because a task of the bot still runs, ns. The supervisor gives a
successor 2 s to take the lease."""


class ExitDeadline:
    """Ends this process `within` ns after `arm`, unless it has ended by itself.

    `last()` is called right before that, to clean up; it must not block.
    """

    def __init__(self, within: int, last: Callable[[], None]) -> None:
        self._within = within
        self._last = last
        self._armed = False
        self._status = 1

    def arm(self, status: int) -> None:
        """Start the deadline, once; the process will end with exit status `status`. Called in the main thread."""
        if self._armed:
            return
        self._armed = True
        self._status = status
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        # Where no thread can be started, the supervisor ends the process, a little later.
        with suppress(RuntimeError):
            _start(self._log_and_exit, status, loop)
            _start(self._exit, status)

    def arm_early(self, acting: Callable[[], object]) -> None:
        """End the process soon if `acting()` still holds then: a successor waits for the lease that it keeps."""
        with suppress(RuntimeError):
            _start(self._exit_if, acting)

    def _exit_if(self, acting: Callable[[], object]) -> None:
        time.sleep(_ACTS_AT_MOST / 1e9)
        if acting():
            self._end(
                f"neverblink: tasks of the bot still ran {_ACTS_AT_MOST / 1e9:g} s after they were told to end, so the "
                "process was ended\n",
                self._status,
            )

    def _log_and_exit(self, status: int, loop: asyncio.AbstractEventLoop | None) -> None:
        time.sleep(self._within / 1e9)
        message = (
            f"neverblink: this process still ran {self._within / 1e9:g} s after its end had begun "
            f"({_what_runs(loop)}), and was ended\n"
        )
        self._end(message, status)

    def _end(self, message: str, status: int) -> None:
        with suppress(Exception):
            self._last()
        with suppress(Exception):
            sys.stderr.write(message)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status)

    def _exit(self, status: int) -> None:
        """Exit without a log line: a thread blocked in a write may hold the stream's lock, so writing may never end."""
        time.sleep((self._within + _TELL_WITHIN) / 1e9)
        os._exit(status)


def _start(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, name="neverblink-exit-deadline", daemon=True).start()


def _what_runs(loop: asyncio.AbstractEventLoop | None) -> str:
    threads = [
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    tasks = [f"task {_name_of(task)}" for task in asyncio.all_tasks(loop)] if loop is not None else []
    found = [*threads, *tasks]
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return ", ".join(found[:_MOST]) + more if found else "its main thread: an exit hook, or a blocked call"


def _name_of(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", "") or task.get_name()
