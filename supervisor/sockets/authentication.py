"""Authenticates the peers of sockets that have keys, and logs failed handshakes.

ZeroMQ asks `ZapHandler` about each new connection, between the handshake and the first message (ZAP, RFC 27). An
accepted peer gets a name, which ZeroMQ attaches to each of its messages: the sender of a message is always known, and
no message of another peer is ever received. One handler serves all sockets of a context, each under a domain of its
own.

A peer that fails the handshake has sent no message, so only the number and the kind of failures are known.
`HandshakeMonitor` logs them at 1, 10, 100, …: a client that retries for ever does not fill the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from .connections import Connections
from .zmq_socket import ZmqSocket

__all__ = ["HandshakeMonitor", "Peer", "ZapHandler"]

_AT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_CAME = zmq.EVENT_ACCEPTED
_WENT = zmq.EVENT_DISCONNECTED
_PLAIN = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)


class Peer(NamedTuple):
    """A connecting peer: its public key, which it has proven to own, and its address."""

    key: bytes
    address: str

    @property
    def pid(self) -> int:
        """The process at the other end of a unix socket, as the kernel reports it; 0 when there is none."""
        numbers = self.address.rsplit(":", 3)[1:]
        return int(numbers[2]) if len(numbers) == 3 and all(map(str.isdecimal, numbers)) else 0


class ZapHandler:
    """Authenticates peers of the sockets of `context`; create it before them.

    A domain that is not open accepts no peer.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._name_of: dict[str, Callable[[Peer], str]] = {}
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(_AT)
        self._socket = ZmqSocket(socket, self._authenticate)

    def open(self, domain: str, name_of: Callable[[Peer], str]) -> None:
        """From now on `name_of` returns the name of a peer in this domain, "" to reject it."""
        self._name_of[domain] = name_of

    def close(self) -> None:
        """Accept no more peers."""
        self._socket.close()

    def _authenticate(self, frames: list[bytes]) -> None:
        if len(frames) < 8 or frames[2] != _VERSION:
            return
        connection, _, _, request, domain, address, _, mechanism, *credentials = frames
        name_of = self._name_of.get(domain.decode(errors="replace"))
        name = ""
        if name_of is not None and mechanism == b"CURVE" and len(credentials) == 1:
            name = name_of(Peer(credentials[0], address.decode(errors="replace")))
        verdict = (b"200", b"") if name else (b"400", b"not known here")
        self._socket.send([connection, b"", _VERSION, request, *verdict, name.encode(), b""])


class HandshakeMonitor:
    """Watches `socket` and calls `warn` with a line about failed handshakes; `name` is the socket's name in it.

    Connections that open and close are passed to `connections`. Close the monitor before the socket.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        name: str,
        warn: Callable[[str], None],
        connections: Connections | None = None,
    ) -> None:
        self.refused = 0
        """How many connections were refused."""
        self._socket = socket
        self._name = name
        self._warn = warn
        self._log_at = 1
        self._connections = connections
        events = _FAILED if connections is None else _FAILED | _CAME | _WENT
        self._monitor = ZmqSocket(socket.get_monitor_socket(events), self._received)

    def close(self) -> None:
        self._monitor.close()
        if not self._socket.closed:
            self._socket.disable_monitor()

    def _received(self, frames: list[bytes]) -> None:
        what = parse_monitor_message(frames)
        event = what["event"]
        if self._connections is not None and event & _CAME:
            self._connections.came(what["value"])
        elif self._connections is not None and event & _WENT:
            self._connections.went(what["value"])
        if not event & _FAILED:
            return
        self.refused += 1
        if self.refused < self._log_at:
            return
        self._log_at *= 10
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            why = "its key is not known here"
        elif what["value"] == _PLAIN:
            why = "it does not speak CURVE: no key, or an older neverblink"
        else:
            why = "its keys are not of this home, or it does not speak ZeroMQ"
        count = f" ({self.refused} so far)" if self.refused > 1 else ""
        self._warn(f"turned a connection to {self._name} away: {why}{count}")
