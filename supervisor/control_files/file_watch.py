"""The bell: rings when something in a directory has changed.

The kernel tells (inotify), where there is such a thing. It is only a signal to look at the file, and the caller
looks now and then without having heard anything, since a network file system sends no signal, and the queue of what
has happened can overflow. So a ring that is lost costs a moment and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

__all__ = ["FileWatch"]

_HEAD = struct.Struct("iIII")
"""Of each event: which watch, what happened, a cookie, and the length of the name after it."""
_MOST = 65536
"""Bytes read at once; what is left rings again."""


class FileWatch:
    """Calls `ring` when the file `name` in `directory` was written or replaced; `say` is told when it can't.

    To be closed. `heard` tells whether the kernel rings it.
    """

    def __init__(
        self, directory: Path, name: str, ring: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.heard = False
        self._inotify: _Inotify | None = None
        self._name = name
        self._file = os.fsencode(name)
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
        self._inotify = inotify
        asyncio.get_running_loop().add_reader(inotify.fd, self._listen, inotify)

    async def close(self) -> None:
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            asyncio.get_running_loop().remove_reader(inotify.fd)
            inotify.close()

    def _listen(self, inotify: _Inotify) -> None:
        """Read what has happened: each time that our own status is written something has, in the same directory."""
        try:
            data = os.read(inotify.fd, _MOST)
        except BlockingIOError:
            return
        except OSError as problem:
            self.heard = False
            asyncio.get_running_loop().remove_reader(inotify.fd)
            self._say(f"{self._name} is looked at now and then from here on: {problem.strerror}")
            return
        # Without a name: the queue has overflowed, or the directory is gone.
        if any(not name or name == self._file for name in _names(data)):
            self._ring()


def _names(data: bytes) -> Iterator[bytes]:
    """The names in what the kernel tells, see inotify(7)."""
    at = 0
    while at < len(data):
        *_, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield data[at : at + length].rstrip(b"\0")
        at += length


class _Inotify(Protocol):
    """As much as we need of `asyncinotify.Inotify`."""

    @property
    def fd(self) -> int: ...
    def add_watch(self, path: Path, mask: Any) -> Any: ...
    def close(self) -> None: ...
