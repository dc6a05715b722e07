"""The bell: rings when something in a directory has changed.

The kernel tells (inotify), where there is such a thing. It is only a bell: whoever hears it looks at the file, and
looks now and then without having heard anything, since a network's file system rings for nobody, and the queue of what
has happened can overflow. So a ring that is lost costs a moment and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, cast

__all__ = ["Bell"]


class Bell:
    """Calls `ring` when the file `name` in `directory` was written or replaced; `say` is told when it can't.

    To be closed. `heard` tells whether the kernel rings it.
    """

    def __init__(
        self, directory: Path, name: str, ring: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.heard = False
        self._task: asyncio.Task[None] | None = None
        self._name = name
        self._ring = ring
        self._say = say
        try:
            library: Any = importlib.import_module("asyncinotify")
            inotify = cast("_Inotify", library.Inotify())
        except (ImportError, OSError) as problem:
            say(f"{name} is looked at now and then, since the kernel can't tell when it changes: {problem}")
            return
        mask = library.Mask.CLOSE_WRITE | library.Mask.MOVED_TO | library.Mask.CREATE
        try:
            inotify.add_watch(directory, mask)
        except OSError as problem:
            inotify.close()
            say(f"{name} is looked at now and then, since its directory can't be watched: {problem.strerror}")
            return
        self.heard = True
        self._task = asyncio.get_running_loop().create_task(self._listen(inotify))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, inotify: _Inotify) -> None:
        try:
            with inotify:
                while True:
                    event = await inotify.get()
                    # Without a name: the queue has overflowed, or the directory is gone.
                    if event.name is None or str(event.name) == self._name:
                        self._ring()
        except OSError as problem:
            self.heard = False
            self._say(f"{self._name} is looked at now and then from here on: {problem.strerror}")


class _Happened(Protocol):
    name: Path | None


class _Inotify(Protocol):
    """As much as we need of `asyncinotify.Inotify`."""

    def add_watch(self, path: Path, mask: Any) -> Any: ...
    async def get(self) -> _Happened: ...
    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any: ...
