"""Watches one file in a directory with inotify, where the kernel offers it.

The watch is only a hint to look at the file. The caller polls as well, because a network file system sends no events
and the kernel's queue can overflow: a lost event costs a delay and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncinotify import Inotify

__all__ = ["FileWatch"]


class FileWatch:
    """Calls `changed` when the file `name` in `directory` was written or replaced. `say` logs why, when it cannot. To
    be closed."""

    def __init__(
        self, directory: Path, name: str, changed: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self._name = name
        self._changed = changed
        self._say = say
        self._inotify: Inotify | None = None
        try:
            from asyncinotify import Inotify, Mask

            # Without a timeout, iteration would wait for the next event.
            inotify = Inotify(sync_timeout=0)
        except (ImportError, OSError) as problem:
            say(f"{name} is polled, since inotify is not available: {problem}")
            return
        try:
            mask = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.CREATE
            # Its `os.PathLike` lacks the type of the path.
            inotify.add_watch(directory, mask)  # pyright: ignore[reportUnknownMemberType]
        except OSError as problem:
            inotify.close()
            say(f"{name} is polled, since its directory cannot be watched: {problem.strerror}")
            return
        self._inotify = inotify
        asyncio.get_running_loop().add_reader(inotify.fd, self._read, inotify)

    def close(self) -> None:
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            asyncio.get_running_loop().remove_reader(inotify.fd)
            inotify.close()

    def _read(self, inotify: Inotify) -> None:
        """Read the waiting events. Each write of `status.json`, in the same directory, causes some too."""
        try:
            names = [event.name for event in inotify]
        except OSError as problem:
            self.close()
            self._say(f"{self._name} is polled from here on: {problem.strerror}")
            return
        # An event without a name: the queue overflowed, or the directory was removed.
        if any(name is None or name.name == self._name for name in names):
            self._changed()
