"""Limits the connections to a TCP port: in total, and from one address.

libzmq accepts every connection, and closes those that have not proven a key within the time for the handshake. So an
older connection belongs to a client with a key, and a younger one may be a stranger's. When there are too many, the
oldest of the young ones is closed: a client proves its key within milliseconds, and reconnects automatically.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

__all__ = ["HANDSHAKE_MS", "MOST", "MOST_FROM_ONE", "Connections"]

HANDSHAKE_MS = 5000
"""The time a client has to prove its key."""
MOST = 256
"""The most connections to one port."""
MOST_FROM_ONE = 64
"""The most connections to one port from one address."""


class _Connection(NamedTuple):
    address: str
    since: float


class Connections:
    """The connections to `port`, by their descriptors in this process. Calls `tell` when one was closed."""

    def __init__(
        self,
        port: int,
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        *,
        most: int = MOST,
        most_from_one: int = MOST_FROM_ONE,
    ) -> None:
        self._most = most
        self._most_from_one = most_from_one
        self._port = port
        self._tell = tell
        self._now = now
        self._there: dict[int, _Connection] = {}
        """Oldest first."""
        self._from: Counter[str] = Counter()
        self.ended = 0
        """How many connections were closed."""
        self._tell_at = 1

    def __len__(self) -> int:
        return len(self._there)

    def came(self, descriptor: int) -> None:
        """libzmq has accepted a connection."""
        self.went(descriptor)
        address = self._peer(descriptor)
        if not address:
            return
        self._there[descriptor] = _Connection(address, self._now())
        self._from[address] += 1
        if self._from[address] > self._most_from_one:
            self._make_room(descriptor, address)
        elif len(self._there) > self._most:
            self._make_room(descriptor, "")

    def went(self, descriptor: int) -> None:
        """A connection has ended."""
        found = self._there.pop(descriptor, None)
        if found is not None:
            self._from[found.address] -= 1
            if not self._from[found.address]:
                del self._from[found.address]

    def _make_room(self, newest: int, address: str) -> None:
        young = self._now() - HANDSHAKE_MS / 1000
        going = next(
            (
                descriptor
                for descriptor, connection in self._there.items()
                if connection.since >= young and address in ("", connection.address)
            ),
            newest,
        )
        peer = self._there[going].address
        self._end(going)
        self.went(going)
        self.ended += 1
        if self.ended >= self._tell_at:
            self._tell_at *= 10
            self._tell(
                f"too many connections to port {self._port}: closed a connection from {peer} that had proven no key "
                f"({self.ended} so far)"
            )

    def _end(self, descriptor: int) -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as ours:
            # libzmq owns the descriptor, and closes it when it finds that the connection has ended.
            ours.shutdown(socket.SHUT_RDWR)

    def _peer(self, descriptor: int) -> str:
        """The peer's address, "" when this is no longer a connection to the port."""
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as ours:
            if ours.getsockname()[1] == self._port:
                return str(ours.getpeername()[0])
        return ""
