"""Authenticates the peers of sockets that have keys.

ZeroMQ asks for each new connection, between the handshake and the first message (ZAP, RFC 27). A peer that is accepted
gets a name, which ZeroMQ attaches to each of its messages: the sender of a message is always known, and no message of
any other peer is ever received.

One handler serves all sockets of a context, each under a domain of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import zmq

from .zmq_socket import ZmqSocket

__all__ = ["Peer", "ZapHandler"]

_AT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class Peer(NamedTuple):
    """A peer that wants to connect: its public key, whose secret half it has proven to have, and its address."""

    key: bytes
    address: str

    @property
    def pid(self) -> int:
        """The process at the other end of a unix socket, as the kernel reports it; 0 when there is none."""
        numbers = self.address.rsplit(":", 3)[1:]
        return int(numbers[2]) if len(numbers) == 3 and all(map(str.isdecimal, numbers)) else 0


class ZapHandler:
    """Authenticates for the sockets of `context`; make it before them. A domain that is not open accepts no peer."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._name_of: dict[str, Callable[[Peer], str]] = {}
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(_AT)
        self._socket = ZmqSocket(socket, self._asked, loop)

    def open(self, domain: str, name_of: Callable[[Peer], str]) -> None:
        """From now on `name_of` returns the name of a peer in this domain, "" to reject it."""
        self._name_of[domain] = name_of

    def close(self) -> None:
        """Accept no more peers."""
        self._socket.close()

    def _asked(self, frames: list[bytes]) -> None:
        if len(frames) < 8 or frames[2] != _VERSION:
            return
        asker, _, _, request, domain, address, _, mechanism, *credentials = frames
        name_of = self._name_of.get(domain.decode(errors="replace"))
        name = ""
        if name_of is not None and mechanism == b"CURVE" and len(credentials) == 1:
            name = name_of(Peer(credentials[0], address.decode(errors="replace")))
        verdict = (b"200", b"") if name else (b"400", b"not known here")
        self._socket.send([asker, b"", _VERSION, request, *verdict, name.encode(), b""])
