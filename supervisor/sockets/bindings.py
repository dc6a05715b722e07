"""The supervisor's unix sockets. Each is bound again when its file is gone.

A cleaner of temporary files, or a person, may remove `run/*.sock`. A socket keeps its connections without its file, but
no new connection can be made: no command arrives, and a new worker never reports.

libzmq ends the process when it cannot accept a connection on a unix socket because no descriptor is left. So while the
supervisor is short of descriptors, new connections are prevented: the files of the sockets are renamed, and get their
names back when there is room. Existing connections stay; a new client is refused and tries again. Clients are refused
first: a worker that is started while many clients are connected must still reach its supervisor.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from ..store.state_dir import Sockets
from ..system.open_files import left, limit

__all__ = ["Bindings", "room_within"]

_MOST_ROOM = 2048
_ROOM_FOR_WORKERS = 16
"""With fewer left, workers can't connect either."""
_FASTEST = 50_000
"""Connections that libzmq can accept in a second: twice the measured number."""
_LOOK_EVERY_AT_LEAST, _LOOK_EVERY_AT_MOST = 0.004, 0.1
_BACKLOG = 16
"""How many connections may be accepted after the file was renamed. libzmq's default is 100."""
_HIDDEN = ".full"
"""Appended to the name of a socket while no connection to it is possible."""


class _Bound(msgspec.Struct):
    socket: zmq.Socket[bytes]
    name: str
    file: tuple[int, int] | None
    """Device and inode of its file when it was last bound."""
    for_workers: bool
    hidden: bool = False


def room_within(limit: int) -> int:
    """With fewer descriptors left, clients can't connect until there are a quarter more."""
    return min(_MOST_ROOM, limit // 2)


class Bindings:
    """Binds sockets to names in a directory, and keeps their files in place."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._bound: list[_Bound] = []
        self._next: asyncio.TimerHandle | None = None

    def bind(self, socket: zmq.Socket[bytes], name: str, *, for_workers: bool = False) -> None:
        """Bind `socket` to the name. Raises `zmq.ZMQError`, `EndpointError` and `HomeError`."""
        socket.setsockopt(zmq.BACKLOG, _BACKLOG)
        socket.bind(self._sockets.endpoint(name))
        self._bound.append(_Bound(socket, name, self._file(name), for_workers))

    def keep_room(
        self,
        tell: Callable[[str], None],
        descriptors: Callable[[], int] = left,
        most: Callable[[], int] = limit,
    ) -> None:
        """From now on, prevent connections while few `descriptors` are left. Calls `tell` when that changes.

        `most` is how many may be open at once.
        """
        loop = asyncio.get_running_loop()

        def look() -> None:
            free, room = descriptors(), room_within(most())
            # Sooner than a burst of connections can use up the rest.
            pause = min(_LOOK_EVERY_AT_MOST, max(_LOOK_EVERY_AT_LEAST, free / _FASTEST))
            self._next = loop.call_later(pause, look)
            for peer, workers, least in (("client", False, room), ("worker", True, _ROOM_FOR_WORKERS)):
                if free < least:
                    if self._rename(workers, hidden=True):
                        tell(
                            f"only {free} file descriptors are left: no {peer} can connect until clients have gone, or "
                            "the limit is raised (LimitNOFILE= in the unit)"
                        )
                elif free >= least + least // 4 and self._rename(workers, hidden=False):
                    tell(f"there are file descriptors again: {peer}s can connect")

        look()

    def close(self) -> None:
        """Stop looking. The owners of the sockets close them."""
        if self._next is not None:
            self._next.cancel()

    def restore(self) -> list[str]:
        """Bind the sockets again whose files are gone; return their names. Raises what `bind` raises."""
        lost = [
            bound
            for bound in self._bound
            if not bound.socket.closed
            and not bound.hidden
            and (bound.file is None or self._file(bound.name) != bound.file)
        ]
        if lost:
            self._sockets.refresh()
        for bound in lost:
            # Don't unbind before: ZeroMQ would remove the new file later, by name.
            bound.socket.bind(self._sockets.endpoint(bound.name))
            bound.file = self._file(bound.name)
        return [bound.name for bound in lost]

    def _rename(self, for_workers: bool, *, hidden: bool) -> bool:
        """Hide or show the sockets of workers, or those of clients; return whether that changed one."""
        changed = [
            bound for bound in self._bound if (bound.for_workers, bound.hidden) == (for_workers, not hidden)
        ]
        for bound in changed:
            bound.hidden = hidden
            path = Path(self._sockets.directory, bound.name)
            names = path, path.with_name(bound.name + _HIDDEN)
            # `restore` binds a removed one again.
            with suppress(OSError):
                names[not hidden].rename(names[hidden])
        return bool(changed)

    def _file(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.lstat(Path(self._sockets.directory, name))
        except OSError:
            return None
        return found.st_dev, found.st_ino
