"""The gate: who is let in on a socket that has keys.

ZeroMQ asks it for each new connection, between the handshake and the first message (ZAP, RFC 27). A visitor that is let
in gets a name, which ZeroMQ puts on every message that comes from it: the sender of a message is never in doubt, and no
message of anybody else's is ever seen.

One gate serves all sockets of a context, each under a domain of its own.
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
    """Who wants in: the public key that it has proven to have the secret half of, and from where it comes."""

    key: bytes
    address: str

    @property
    def pid(self) -> int:
        """The process at the other end of a unix socket, by the word of the kernel; 0 when there is none."""
        numbers = self.address.rsplit(":", 3)[1:]
        return int(numbers[2]) if len(numbers) == 3 and all(map(str.isdecimal, numbers)) else 0


class ZapHandler:
    """Answers for the sockets of `context`; make it before them. Nobody gets in under a domain that is not open."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._judges: dict[str, Callable[[Peer], str]] = {}
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(_AT)
        self._box = ZmqSocket(socket, self._asked, loop)

    def open(self, domain: str, judge: Callable[[Peer], str]) -> None:
        """From now on `judge` says the name under which a visitor is let in; "" for one that is not."""
        self._judges[domain] = judge

    def close(self) -> None:
        """Let nobody in any more."""
        self._box.close()

    def _asked(self, frames: list[bytes]) -> None:
        if len(frames) < 8 or frames[2] != _VERSION:
            return
        asker, _, _, request, domain, address, _, mechanism, *credentials = frames
        judge = self._judges.get(domain.decode(errors="replace"))
        name = ""
        if judge is not None and mechanism == b"CURVE" and len(credentials) == 1:
            name = judge(Peer(credentials[0], address.decode(errors="replace")))
        verdict = (b"200", b"") if name else (b"400", b"not known here")
        self._box.send([asker, b"", _VERSION, request, *verdict, name.encode(), b""])
