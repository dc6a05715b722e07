"""Writes `status.json`, the status as a file.

The file is replaced, never changed, so a reader always has a whole one, of one moment. It is written at a pace, and at
once when an event happens, in a thread beside the supervisor's loop, one write after another. What happens during a
write goes into the next one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..system.poll_loop import PollLoop
from .json_shapes import StatusFile

__all__ = ["StatusFileWriter"]

_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FINISH_S = 2.0
_GAP_S = 0.01
"""Between two writes, however much happens."""


class StatusFileWriter:
    """Keeps the file at `path` as `make(alive)` says, at least every `pace` ns. `say` is told when it can't."""

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
        """The last word is written."""
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Write it from here on."""
        self._poll_loop.call()
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    def poke(self) -> None:
        """Something has happened: write it at once."""
        self._poll_loop.call()

    async def close(self) -> None:
        """Write it once more, as that of a supervisor that has ended."""
        task, self._task = self._task, None
        if task is not None:
            self._closing = True
            self._poll_loop.call()
            # A write that has begun is finished first: two would meet.
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
            # First, so that what happens from here on is not missed.
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
            # A fault of ours must not end the writing.
            trouble = f"can't be made: {bug!r}"
        else:
            trouble = await asyncio.to_thread(self._replace, data)
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(f"{self._path.name} {trouble or 'is written again'}")

    def _replace(self, data: bytes) -> str:
        """Put it in the place of the one that is there; return why that is not possible."""
        try:
            try:
                file = os.open(self._new, _ANEW, 0o600)
            except FileExistsError:
                # Of a supervisor that was killed while it wrote.
                self._new.unlink()
                file = os.open(self._new, _ANEW, 0o600)
            with open(file, "wb") as stream:
                stream.write(data)
                stream.write(b"\n")
            self._new.replace(self._path)
        except OSError as problem:
            return f"can't be written: {problem.strerror}"
        return ""
