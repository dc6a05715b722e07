"""Limits: the rate of requests, and the number and silence of connections.

Idle connections cost an attacker nothing, so they must not block others. When all places are taken, a new connection
displaces the one that has been idle longest, first among those that never showed a valid token. So a client that opens
many idle connections only displaces its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

from aiohttp import web

__all__ = ["Bucket", "Buckets", "ConnectionLimits"]


class Bucket:
    """A token bucket: holds `burst` requests and refills at `rate` per second. `now` is monotonic seconds."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> float:
        """Take a request's place; return 0, or the seconds until there will be one."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class Buckets:
    """A bucket for each name; the least recently used names beyond `most` are forgotten."""

    def __init__(self, rate: float, burst: float, most: int = 1000) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str, now: float) -> float:
        """As `Bucket.take`, for the bucket of this name."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, self._burst, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return bucket.take(now)


_MOST = 512
_FIRST_REQUEST = 15.0


@dataclass
class _Connection:
    """The state of a connection."""

    connected: bool = False
    """Whether the server has seen it: before that it is in its handshake."""
    has_requested: bool = False
    """Whether a complete request has arrived."""
    running: int = 0
    """Requests in progress; a stream of events counts while it lasts."""
    trusted: bool = False
    """Whether it has shown a valid token."""


class ConnectionLimits:
    """Makes the protocol of each new connection: `server`'s, while there is room or room can be made."""

    def __init__(self, server: web.Server, most: int = _MOST, first_request: float = _FIRST_REQUEST) -> None:
        self._server = server
        self._most = most
        self._first_request = first_request
        self._connections: OrderedDict[asyncio.Protocol, _Connection] = OrderedDict()
        """The least recently active first."""
        self.turned_away = 0
        """How many new connections found no room."""
        self.displaced = 0
        """How many idle connections were closed for a new one."""

    def __call__(self) -> asyncio.Protocol:
        if len(self._connections) >= self._most:
            self._forget_closed()
        if len(self._connections) >= self._most and not self._make_room():
            self.turned_away += 1
            return _Refused()
        protocol = self._server()
        self._connections[protocol] = _Connection()
        asyncio.get_running_loop().call_later(self._first_request, self._check_silence, protocol)
        return protocol

    def begins(self, protocol: asyncio.Protocol) -> None:
        """A complete request has arrived on this connection."""
        connection = self._connections.get(protocol)
        if connection is not None:
            connection.has_requested = True
            connection.running += 1
            self._connections.move_to_end(protocol)

    def ends(self, protocol: asyncio.Protocol, *, trusted: bool) -> None:
        """A request was answered; `trusted` if it came with a valid token."""
        connection = self._connections.get(protocol)
        if connection is not None:
            connection.running -= 1
            connection.trusted = connection.trusted or trusted
            self._connections.move_to_end(protocol)

    def _make_room(self) -> bool:
        idle = [protocol for protocol, connection in self._connections.items() if not connection.running]
        untrusted = (protocol for protocol in idle if not self._connections[protocol].trusted)
        chosen = next(untrusted, idle[0] if idle else None)
        if chosen is None:
            return False
        self.displaced += 1
        self._cut_off(chosen)
        return True

    def _forget_closed(self) -> None:
        there = set(self._server.connections)
        for protocol, connection in list(self._connections.items()):
            if protocol in there:
                connection.connected = True
            elif connection.connected:
                del self._connections[protocol]

    def _check_silence(self, protocol: asyncio.Protocol) -> None:
        connection = self._connections.get(protocol)
        if connection is not None and not connection.has_requested:
            self._cut_off(protocol)

    def _cut_off(self, protocol: asyncio.Protocol) -> None:
        del self._connections[protocol]
        transport = cast("asyncio.Transport | None", getattr(protocol, "transport", None))
        if transport is not None:
            transport.abort()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()
