"""The supervisor's unix sockets, which stay reachable: each is bound again when its file is gone.

A cleaner of temporary files, or a person, removes `run/*.sock`. A socket lives on without its file and all that are
connected stay so, but nobody can connect any more: no command arrives, and a new worker never reports.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import zmq

from ..home import Sockets

__all__ = ["Bindings"]


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

    def bind(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Bind `socket` to the name. Raises `zmq.ZMQError`, `EndpointError` and `HomeError`."""
        socket.bind(self._sockets.endpoint(name))
        self._bound.append(_Bound(socket, name, self._file(name)))

    def restore(self) -> list[str]:
        """Bind those again whose files are gone; return their names. Raises what `bind` raises."""
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

    def _file(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.lstat(Path(self._sockets.directory, name))
        except OSError:
            return None
        return found.st_dev, found.st_ino
