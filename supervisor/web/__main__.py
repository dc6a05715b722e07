"""`python -m neverblink.supervisor.web SETTINGS`: started by the supervisor, and gone with it.

Standard input is a pipe that the supervisor holds open for as long as it lives; its end is the word to leave, and
cannot fail to come, however the supervisor ended.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from ..home import Home
from ..privacy import privately
from ..system.streams import complete_streams
from .keeper import ALIVE_EVERY, Told

__all__ = ["main"]

_NICE = 10
_MOST_FILES = 1024
"""The last bound on connections: also those that are still shaking hands count."""


def main() -> int:
    complete_streams()
    told = msgspec.json.decode(sys.argv[1], type=Told)
    _step_back()
    from .server import CannotListen, serve

    async def run() -> None:
        loop = asyncio.get_running_loop()
        until = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, until.set)
        loop.add_reader(0, lambda: os.read(0, 4096) or until.set())
        loop.call_soon(_alive, loop)
        await serve(Home(Path(told.home)), told.bot, told.settings, told.version, until, told.log)

    try:
        with privately():
            asyncio.run(run())
    except CannotListen as problem:
        print(problem.message, file=sys.stderr)
        return 2
    return 0


def _alive(loop: asyncio.AbstractEventLoop) -> None:
    """Whoever started us wants to hear now and then that this loop turns."""
    # When nobody listens any more, the end of standard input says so.
    with suppress(OSError):
        os.write(1, b".")
    loop.call_later(ALIVE_EVERY, _alive, loop)


def _step_back() -> None:
    """A browser can wait, a tick can't: this process gets what others leave, and interrupts nobody when it wakes."""
    try:
        os.nice(_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = _MOST_FILES if most == resource.RLIM_INFINITY else min(_MOST_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


if __name__ == "__main__":
    sys.exit(main())
