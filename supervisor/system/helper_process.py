"""A helper process of the supervisor: starts it, starts it again when it ends, and takes it along when it leaves.

What strangers can reach (a web page, a TCP port) lives in such a process: whatever they do to it, the supervisor goes
on. The two share nothing but two pipes. The helper's standard input says nothing; when it is closed, by us or by our
death, the helper leaves. Its standard output carries a sign of life every few seconds, so that a helper that hangs is
ended too, and lines for people. See `helper_main` for the other side.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .log_file import bound_file, open_for_child
from .process import Process, describe_exit
from .worker_log import last_line

__all__ = ["ALIVE", "ALIVE_EVERY", "HelperProcess"]

_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
_SETTLED = 30.0
_LEAVE_WITHIN = 2.0
ALIVE_EVERY = 2.0
"""Seconds between two signs of life."""
ALIVE = b"."
SILENT_FOR = 30.0
"""Seconds without a sign of life, after which a helper is ended and started again."""
_LONGEST_LINE = 4096
_LONGEST_LOG = 1024 * 1024
"""Bytes of standard error that are kept."""


class HelperProcess:
    """Keeps `command` running in the directory `home`; what it writes to standard error goes to the file `log`.

    `name` is what people call it; `tell` is told what they should know. To be closed.
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
        """The process's, 0 when there is none."""
        return self._process.pid if self._process is not None and self._process.running else 0

    async def close(self) -> None:
        """End the process, and wait until it has."""
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
        said = last_line(self._log)
        self._failed(f"{describe_exit(code)}{f': {said}' if said else ''}")

    def _failed(self, why: str) -> None:
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        if not self._failures or pause == _PAUSES[-1]:
            self._tell(
                f"the {self._name} ended ({why}), and is started again; the bot is not touched by that"
            )
        self._failures += 1
        self._again = self._loop.call_later(pause, self._start)
