"""The supervisor's unix sockets, which stay reachable: each is bound again when its file is gone.

A cleaner of temporary files, or a person, removes `run/*.sock`. A socket lives on without its file and all that are
connected stay so, but nobody can connect any more: no command arrives, and a new worker never reports.

libzmq ends the process when it can't accept a connection on a unix socket for want of a descriptor. So while the
supervisor is short of descriptors nobody can connect: the files of the sockets are renamed, and are in their place
again when there is room. Who is connected stays so, and who tries is refused, and tries again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from ..home import Sockets
from ..system.descriptors import left

__all__ = ["ROOM", "Bindings"]

ROOM = 64
"""With fewer descriptors left nobody can connect, until there are twice as many."""
_LOOK_EVERY = 0.05
_HIDDEN = ".full"
"""What is put behind the name of a socket to which nobody can connect."""


class _Bound(msgspec.Struct):
    socket: zmq.Socket[bytes]
    name: str
    file: tuple[int, int] | None
    """Device and inode of its file, as it was bound last."""


class Bindings:
    """Binds sockets to names in a directory, and looks after their files."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._bound: list[_Bound] = []
        self._hidden = False
        self._next: asyncio.TimerHandle | None = None

    def bind(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Bind `socket` to the name. Raises `zmq.ZMQError`, `EndpointError` and `HomeError`."""
        socket.bind(self._sockets.endpoint(name))
        self._bound.append(_Bound(socket, name, self._file(name)))

    def keep_room(self, tell: Callable[[str], None], descriptors: Callable[[], int] = left) -> None:
        """Let nobody connect while hardly any `descriptors` are left, from now on; `tell` says when that changes."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            self._next = loop.call_later(_LOOK_EVERY, look)
            free = descriptors()
            if free < ROOM and not self._hidden:
                self._rename("", _HIDDEN)
                tell(
                    f"only {free} file descriptors are left: nobody can connect until clients have gone, or the limit "
                    "is raised (LimitNOFILE= in the unit)"
                )
            elif free >= 2 * ROOM and self._hidden:
                self._rename(_HIDDEN, "")
                tell("there are file descriptors again: clients can connect")

        look()

    def close(self) -> None:
        """Look no more. The sockets are their owners' to close."""
        if self._next is not None:
            self._next.cancel()

    def restore(self) -> list[str]:
        """Bind those again whose files are gone; return their names. Raises what `bind` raises."""
        if self._hidden:
            return []
        lost = [
            one
            for one in self._bound
            if not one.socket.closed and (one.file is None or self._file(one.name) != one.file)
        ]
        if lost:
            self._sockets.refresh()
        for one in lost:
            # Not unbound before: ZeroMQ would remove the new file then, later and by name.
            one.socket.bind(self._sockets.endpoint(one.name))
            one.file = self._file(one.name)
        return [one.name for one in lost]

    def _rename(self, before: str, after: str) -> None:
        for one in self._bound:
            path = Path(self._sockets.directory, one.name)
            # One that was removed meanwhile is bound again by `restore`.
            with suppress(OSError):
                path.with_name(one.name + before).rename(path.with_name(one.name + after))
        self._hidden = bool(after)

    def _file(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.lstat(Path(self._sockets.directory, name))
        except OSError:
            return None
        return found.st_dev, found.st_ino
