"""Sends messages to one target through a child process, started when there is a message and ended when idle.

Nothing here waits for a target: a request is written into a pipe that has room for it, and its result is read later. A
process that does not answer ends itself (see `apprise_sender`), or is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

import msgspec

from ...protocol.wire import UNDECODABLE
from ..system.process import Process, describe_exit
from ..system.sd_notify import VARIABLES
from .apprise_sender import SendRequest, SendResult
from .queue import QueuedMessage

__all__ = ["COMMAND", "WITHIN", "SenderProcess"]

WITHIN = 30
"""The time limit for one message, seconds."""

COMMAND = (sys.executable, "-P", "-m", "neverblink.supervisor.notify.apprise_sender")

_GRACE = 150.0
"""How much later a process that does not end itself is killed, seconds."""
_IDLE = 60.0
_READ = 64 * 1024


class SenderProcess:
    """Sends messages. Calls `done(result)` in the loop for each. To be closed."""

    def __init__(
        self,
        environment: Mapping[str, str],
        done: Callable[[SendResult], None],
        *,
        within: int = WITHIN,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._environment = {name: value for name, value in environment.items() if name not in VARIABLES}
        self._done = done
        self._within = within
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._run: _Run | None = None
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The pid of the process, 0 when none runs."""
        return self._run.process.pid if self._run is not None else 0

    def send(self, message: QueuedMessage, url: str) -> None:
        """Have a message sent; not before the one before it is done."""
        assert not self._waiting
        try:
            run = self._write(message, url)
        except OSError as problem:
            reason = f"nothing can be sent from here: {problem.strerror}"
            self._loop.call_soon(self._done, SendResult(False, reason))
            return
        self._waiting = True
        self._in(self._within + _GRACE, lambda: run.process.signal(signal.SIGKILL))

    async def close(self, last: QueuedMessage | None, url: str, within: float) -> None:
        """Send a last message, wait for the process for so many seconds, then leave it to finish alone."""
        try:
            run = self._run if last is None else self._write(last, url)
        except OSError:
            run = self._run
        self._dismiss()
        if run is not None:
            try:
                async with asyncio.timeout(within):
                    await run.gone.wait()
            except TimeoutError:
                run.forget()

    def _write(self, message: QueuedMessage, url: str) -> _Run:
        if self._run is None:
            self._run = _Run(self._command, self._environment, self._loop, self._answered, self._ended)
        self._run.write(SendRequest(url, message.title, message.text, message.level, self._within))
        return self._run

    def _answered(self, run: _Run, result: SendResult) -> None:
        if run is self._run and self._waiting:
            self._waiting = False
            self._in(_IDLE, self._dismiss)
            self._done(result)

    def _ended(self, run: _Run, code: int) -> None:
        if run is not self._run:
            return
        self._run = None
        if self._waiting:
            self._waiting = False
            self._cancel()
            late = code in (-signal.SIGALRM, -signal.SIGKILL)
            how = (
                f"no answer within {self._within} s"
                if late
                else f"the sender ended with {describe_exit(code)}"
            )
            self._done(SendResult(False, how))

    def _dismiss(self) -> None:
        """Close its input: it ends after the last request."""
        self._cancel()
        run, self._run = self._run, None
        if run is not None:
            run.end()

    def _in(self, seconds: float, act: Callable[[], object]) -> None:
        self._cancel()
        self._timer = self._loop.call_later(seconds, act)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Run:
    """One sender process, watched and reaped until its end."""

    def __init__(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        loop: asyncio.AbstractEventLoop,
        answered: Callable[[_Run, SendResult], None],
        ended: Callable[[_Run, int], None],
    ) -> None:
        self.gone = asyncio.Event()
        self._answered = answered
        self._on_end = ended
        self._loop = loop
        self._partial = b""
        self._child = subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What a library prints there may have a URL in it.
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self.process = Process(self._child, self._ended, loop)
        loop.add_reader(self._stdout.fileno(), self._read)

    def write(self, request: SendRequest) -> None:
        """Write a request, which is far smaller than a pipe's buffer. Raises OSError."""
        os.write(self._stdin.fileno(), msgspec.json.encode(request) + b"\n")

    def end(self) -> None:
        self._stdin.close()

    def forget(self) -> None:
        """Stop watching the process, which runs on."""
        self.process.let_go()
        self._close()
        # Otherwise Popen warns that its child still runs.
        self._child.returncode = 0

    def _read(self) -> None:
        try:
            piece = os.read(self._stdout.fileno(), _READ)
        except BlockingIOError:
            return
        if not piece:
            self._loop.remove_reader(self._stdout.fileno())
            return
        *lines, self._partial = (self._partial + piece).split(b"\n")
        for line in lines:
            try:
                result = msgspec.json.decode(line, type=SendResult)
            except UNDECODABLE:
                continue
            self._answered(self, result)

    def _ended(self, code: int) -> None:
        # Its last answer may still be in the pipe.
        self._read()
        self._close()
        self.gone.set()
        self._on_end(self, code)

    def _close(self) -> None:
        self._loop.remove_reader(self._stdout.fileno())
        self._stdin.close()
        self._stdout.close()
