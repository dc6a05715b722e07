"""The two files of one home: writes `status.json` and serves `control.json`, as configured.

`status.json` is replaced, never changed, so a reader always sees a complete file from one moment. It is written at a
fixed pace, and at once when an event happens, in a thread, one write after another. Events during a write go into the
next one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ...protocol.commands import Answer, Command
from ...protocol.events import Event, Heartbeat, StepOutput
from ...protocol.status import BotStatus
from ..config.config import FileLayer
from ..store.history_thread import HistoryThread
from ..system.poll_loop import PollLoop
from .json_shapes import VERSION, ControlSeen, StatusFile
from .request_files import RequestFiles

__all__ = ["CONTROL", "STATUS", "ControlFiles", "StatusFileWriter"]

STATUS = "status.json"
CONTROL = "control.json"


class ControlFiles:
    """The files in `home`. `status()` makes the status, `carry_out` must not raise, `now` returns wall ns."""

    def __init__(
        self,
        home: Path,
        config: FileLayer,
        history_thread: HistoryThread,
        *,
        status: Callable[[], BotStatus],
        carry_out: Callable[[Command, str], Awaitable[Answer]],
        now: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._config = config
        self._status = status
        self._now = now
        self._status_writer = (
            StatusFileWriter(home / STATUS, self._made, config.pace, say) if config.status else None
        )
        self._request_files: RequestFiles | None = None
        if config.control:
            self._request_files = RequestFiles(
                home / CONTROL,
                history_thread,
                carry_out,
                poll=config.poll,
                now=now,
                changed=self._changed,
                say=say,
            )

    async def begin(self) -> None:
        """Start writing `status.json` and reading `control.json`."""
        if self._status_writer is not None:
            self._status_writer.begin()
        if self._request_files is not None:
            await self._request_files.begin()

    def note(self, event: Event) -> None:
        """Write the status after an event, at once for all but the frequent ones."""
        if not isinstance(event, Heartbeat | StepOutput):
            self._changed()

    async def close(self) -> None:
        """Stop reading, and write the status a last time."""
        if self._request_files is not None:
            await self._request_files.close()
        if self._status_writer is not None:
            await self._status_writer.close()

    def _changed(self) -> None:
        if self._status_writer is not None:
            self._status_writer.poke()

    def _made(self, alive: bool) -> StatusFile:
        return StatusFile(
            version=VERSION,
            at=self._now(),
            pace=self._config.pace,
            alive=alive,
            status=self._status(),
            control=self._request_files.seen() if self._request_files is not None else ControlSeen(),
        )


_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FINISH_S = 2.0
_GAP_S = 0.01
"""Between two writes, at least."""


class StatusFileWriter:
    """Writes `make(alive)` to the file at `path`, at least every `pace` ns. `say` logs when that fails."""

    def __init__(
        self, path: Path, make: Callable[[bool], StatusFile], pace: int, say: Callable[[str], None]
    ) -> None:
        self._path = path
        self._new = path.with_name(f".{path.name}.new")
        self._make = make
        self._pace = pace / 1e9
        self._say = say
        self._poll_loop = PollLoop()
        self._trouble = ""
        self._closing = False
        self._last = False
        """Whether the last status is written."""
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start writing."""
        self._poll_loop.call()
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    def poke(self) -> None:
        """Write at once."""
        self._poll_loop.call()

    async def close(self) -> None:
        """Write a last time, with `alive` false."""
        task, self._task = self._task, None
        if task is not None:
            self._closing = True
            self._poll_loop.call()
            # A running write finishes first, so that two never overlap.
            _, late = await asyncio.wait({task}, timeout=_FINISH_S)
            for slow in late:
                slow.cancel()

    async def _write_on(self) -> None:
        now = asyncio.get_running_loop().time
        written = 0.0
        while not self._closing:
            await self._poll_loop.wait(self._pace)
            early = written + _GAP_S - now()
            if early > 0 and not self._closing:
                await asyncio.sleep(early)
            # First, so that no later event is missed.
            self._poll_loop.begin()
            await self._write(alive=not self._closing)
            written = now()
        if not self._last:
            await self._write(alive=False)

    async def _write(self, *, alive: bool) -> None:
        self._last = not alive
        try:
            data = msgspec.json.encode(self._make(alive), enc_hook=repr)
        except Exception as bug:
            # A bug must not end the writing.
            trouble = f"can't be made: {bug!r}"
        else:
            trouble = await asyncio.to_thread(self._replace, data)
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(f"{self._path.name} {trouble or 'is written again'}")

    def _replace(self, data: bytes) -> str:
        """Replace the file; return why that failed, "" when it did not."""
        try:
            try:
                file = os.open(self._new, _ANEW, 0o600)
            except FileExistsError:
                # Left by a supervisor that was killed during a write.
                self._new.unlink()
                file = os.open(self._new, _ANEW, 0o600)
            with open(file, "wb") as stream:
                stream.write(data)
                stream.write(b"\n")
            self._new.replace(self._path)
        except OSError as problem:
            return f"can't be written: {problem.strerror}"
        return ""
