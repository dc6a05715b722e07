"""A helper process of the supervisor: starts it, restarts it when it ends, and stops it with the supervisor.

What the network can reach (a web page, a TCP port) runs in such a process: whatever happens to it, the supervisor runs
on. The two share only two pipes. The helper's standard input carries nothing; when it is closed, by the supervisor or
by its death, the helper ends. Its standard output carries a heartbeat every few seconds, so that a helper that hangs is
ended too, and lines for the log. `helper_main` is the helper's side.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from .log_file import bound_file, open_for_child
from .permissions import privately
from .process import Process, describe_exit
from .tail import last_line

__all__ = ["ALIVE", "ALIVE_EVERY", "HelperProcess", "run_helper", "say"]

_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
_SETTLED = 30.0
_LEAVE_WITHIN = 2.0
ALIVE_EVERY = 2.0
"""Seconds between two heartbeats."""
ALIVE = b"."
SILENT_FOR = 30.0
"""Seconds without a heartbeat after which a helper is killed and restarted."""
_LONGEST_LINE = 4096
_LONGEST_LOG = 1024 * 1024
"""How much of standard error is kept, bytes."""


class HelperProcess:
    """Keeps `command` running in the directory `home`; what it writes to standard error goes to the file `log`.

    `name` is its name in messages; `tell` logs a line. To be closed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        home: Path,
        log: Path,
        tell: Callable[[str], None],
        silent_for: float = SILENT_FOR,
    ) -> None:
        self._name = name
        self._command = command
        self._home = home
        self._log = log
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._child: subprocess.Popen[bytes] | None = None
        self._process: Process | None = None
        self._gone = asyncio.Event()
        self._again: asyncio.TimerHandle | None = None
        self._silent_for = silent_for
        self._silence: asyncio.TimerHandle | None = None
        self._failures = 0
        self._since = 0.0
        self._closed = False
        self._line = b""
        self._start()

    @property
    def pid(self) -> int:
        """The pid of the process, 0 when none runs."""
        return self._process.pid if self._process is not None and self._process.running else 0

    async def close(self) -> None:
        """End the process, and wait for its end."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        process, child = self._process, self._child
        if process is None or child is None or not process.running:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(_LEAVE_WITHIN):
                await self._gone.wait()
        except TimeoutError:
            process.signal(signal.SIGKILL)
            await self._gone.wait()

    def _start(self) -> None:
        self._again = None
        self._gone.clear()
        self._since = self._loop.time()
        try:
            with open_for_child(self._log, self._tell, fresh=True) as log:
                child = subprocess.Popen(
                    list(self._command),
                    cwd=self._home,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            process = Process(child, self._ended, self._loop)
        except OSError as problem:
            self._failed(f"it can't be started: {problem}")
            return
        self._child = child
        self._process = process
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        self._loop.add_reader(child.stdout.fileno(), self._heard, child.stdout.fileno())
        self._listen()

    def _heard(self, pipe: int) -> None:
        data = os.read(pipe, 4096)
        if not data:
            self._loop.remove_reader(pipe)
            return
        self._listen()
        bound_file(self._log, _LONGEST_LOG)
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line.lstrip(ALIVE)[:_LONGEST_LINE]
        for line in lines:
            if text := line.lstrip(ALIVE).decode(errors="replace").strip():
                self._tell(text)

    def _listen(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._loop.call_later(self._silent_for, self._hung)

    def _hung(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    def _ended(self, code: int) -> None:
        self._gone.set()
        if self._silence is not None:
            self._silence.cancel()
        child = self._child
        if child is not None and child.stdin is not None and child.stdout is not None:
            self._loop.remove_reader(child.stdout.fileno())
            child.stdin.close()
            child.stdout.close()
        if self._closed:
            return
        if self._loop.time() - self._since > _SETTLED:
            self._failures = 0
        last = last_line(self._log)
        self._failed(f"{describe_exit(code)}{f': {last}' if last else ''}")

    def _failed(self, why: str) -> None:
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        if not self._failures or pause == _PAUSES[-1]:
            self._tell(
                f"the {self._name} ended ({why}), and is started again; the bot is not touched by that"
            )
        self._failures += 1
        self._again = self._loop.call_later(pause, self._start)


_NICE = 10
_MOST_FILES = 1024
"""The last limit on connections: those still in their handshake count too."""


def run_helper(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `serve(until)`; `until` is set when the helper has to end. Exceptions of `serve` propagate."""
    _step_back()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        until = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, until.set)
        # Standard input ends with the supervisor, however that ended.
        loop.add_reader(0, lambda: os.read(0, 4096) or until.set())
        loop.call_soon(_alive, loop)
        await serve(until)

    with privately():
        asyncio.run(run())


def say(text: str) -> None:
    """Send the supervisor a line to log."""
    with suppress(OSError):
        os.write(1, f"{text}\n".replace("\n", " ", text.count("\n")).encode(errors="replace"))


def _alive(loop: asyncio.AbstractEventLoop) -> None:
    """Send the supervisor a heartbeat every few seconds."""
    # When the supervisor has ended, the end of standard input shows it.
    with suppress(OSError):
        os.write(1, ALIVE)
    loop.call_later(ALIVE_EVERY, _alive, loop)


def _step_back() -> None:
    """Lower this process's priority: requests from outside must not delay a tick."""
    try:
        os.nice(_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = _MOST_FILES if most == resource.RLIM_INFINITY else min(_MOST_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
