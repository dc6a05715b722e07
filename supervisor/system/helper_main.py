"""The other side of `helper_process`: the main loop of a helper, gone with its supervisor."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .helper_process import ALIVE, ALIVE_EVERY
from .permissions import privately

__all__ = ["run_helper", "say"]

_NICE = 10
_MOST_FILES = 1024
"""The last bound on connections: also those that are still shaking hands count."""


def run_helper(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `serve(until)`; `until` is set when the helper is to leave. What it raises is the caller's."""
    _step_back()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        until = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, until.set)
        # Its end cannot fail to come, however the supervisor ended.
        loop.add_reader(0, lambda: os.read(0, 4096) or until.set())
        loop.call_soon(_alive, loop)
        await serve(until)

    with privately():
        asyncio.run(run())


def say(text: str) -> None:
    """Have the supervisor tell people this, as a line of its own."""
    with suppress(OSError):
        os.write(1, f"{text}\n".replace("\n", " ", text.count("\n")).encode(errors="replace"))


def _alive(loop: asyncio.AbstractEventLoop) -> None:
    """Tell the supervisor every few seconds that this loop runs."""
    # When the supervisor has ended, the end of standard input shows it.
    with suppress(OSError):
        os.write(1, ALIVE)
    loop.call_later(ALIVE_EVERY, _alive, loop)


def _step_back() -> None:
    """Strangers can wait, a tick can't: it gets what others leave, and interrupts no process when it wakes."""
    try:
        os.nice(_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = _MOST_FILES if most == resource.RLIM_INFINITY else min(_MOST_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
