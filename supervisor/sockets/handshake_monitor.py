"""Counts failed handshakes on a socket that has keys, and logs them at 1, 10, 100, …

A peer that fails the handshake has sent no message, so there is only the number and the kind of the failure. Logging
at powers of ten keeps a client that retries for ever from filling the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from .connections import Connections
from .zmq_socket import ZmqSocket

__all__ = ["HandshakeMonitor"]

_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_CAME = zmq.EVENT_ACCEPTED
_WENT = zmq.EVENT_DISCONNECTED
_PLAIN = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)


class HandshakeMonitor:
    """Watches `socket`, which messages call `name`; calls `tell` with a line about failed handshakes.

    Connections that open and close are passed to `connections`. Close it before the socket.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        name: str,
        tell: Callable[[str], None],
        loop: asyncio.AbstractEventLoop | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.turned_away = 0
        """Connections, so far."""
        self._socket = socket
        self._name = name
        self._tell = tell
        self._tell_at = 1
        self._connections = connections
        events = _FAILED if connections is None else _FAILED | _CAME | _WENT
        self._box = ZmqSocket(socket.get_monitor_socket(events), self._happened, loop)

    def close(self) -> None:
        self._box.close()
        if not self._socket.closed:
            self._socket.disable_monitor()

    def _happened(self, frames: list[bytes]) -> None:
        what = parse_monitor_message(frames)
        event = what["event"]
        if self._connections is not None and event & _CAME:
            self._connections.came(what["value"])
        elif self._connections is not None and event & _WENT:
            self._connections.went(what["value"])
        if not event & _FAILED:
            return
        self.turned_away += 1
        if self.turned_away < self._tell_at:
            return
        self._tell_at *= 10
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            why = "it has no key that is known here"
        elif what["value"] == _PLAIN:
            why = "it does not speak CURVE: no key, or an older neverblink"
        else:
            why = "its keys are not of this home, or it does not speak ZeroMQ"
        count = f" ({self.turned_away} so far)" if self.turned_away > 1 else ""
        self._tell(f"turned a connection to {self._name} away: {why}{count}")
