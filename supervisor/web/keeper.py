"""The supervisor's side of the web process: starts it, starts it again when it ends, and takes it along when it leaves.

The two share nothing but two pipes. One says nothing, and when it is closed, by us or by our death, the other process
leaves. On the other comes a dot every few seconds: a process that is there and does not do its work is ended too.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import msgspec

from ..config import Logging
from ..home import Home
from ..process import Process, describe_exit
from ..spawn import last_line
from ..system.install_hint import install_command
from ..system.log_file import open_for_child
from .settings import Settings

__all__ = ["ALIVE_EVERY", "Keeper", "Told"]

_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
_SETTLED = 30.0
_LEAVE_WITHIN = 2.0
ALIVE_EVERY = 2.0
"""Seconds between two signs of life."""
_SILENT_FOR = 30.0
LIBRARY = "aiohttp"


class Told(msgspec.Struct, frozen=True):
    """What the process is told on its command line; nothing of it is a secret."""

    home: str
    bot: str
    version: str
    settings: Settings
    log: Logging = Logging()


class Keeper:
    """Keeps a web process with these `settings`; `tell` is told what people should know. To be closed."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        bot: str,
        version: str,
        tell: Callable[[str], None],
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "neverblink.supervisor.web"),
        silent_for: float = _SILENT_FOR,
        log: Logging | None = None,
    ) -> None:
        self._settings = settings
        self._log = home.logs / "http.err"
        self._told = Told(str(home.path), bot, version, settings, log or Logging())
        self._tell = tell
        self._command = command
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
        if importlib.util.find_spec(LIBRARY) is None:
            # A page must never be what keeps a bot from running.
            self._tell(
                f"no web page: [web] is configured, and its library is missing: `{install_command('web')}`"
            )
            return
        self._start()
        self._tell(
            f"web page on {settings.url} (`neverblink token add NAME --role operator` lets somebody in)"
        )

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
                    [*self._command, msgspec.json.encode(self._told).decode()],
                    cwd=self._told.home,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as problem:
            self._failed(f"it can't be started: {problem}")
            return
        self._child = child
        self._process = Process(child, self._ended, self._loop)
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        self._loop.add_reader(child.stdout.fileno(), self._heard, child.stdout.fileno())
        self._listen()

    def _heard(self, pipe: int) -> None:
        if os.read(pipe, 4096):
            self._listen()
        else:
            self._loop.remove_reader(pipe)

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
            self._tell(f"the web process ended ({why}), and is started again; the bot is not touched by that")
        self._failures += 1
        self._again = self._loop.call_later(pause, self._start)
