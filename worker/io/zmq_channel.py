"""ZeroMQ sockets of a worker: a channel that is read only when needed, and the watch on a connection.

ZeroMQ's descriptor is edge-triggered: it becomes readable once when something arrives, and any use of the socket may
reset it. So a channel remembers that it may be readable: from the beginning, after its descriptor was readable, and
after something was sent on it. Reading an empty socket takes three system calls, and a worker has three sockets:
without this flag they were the largest part of the cost of a tick.

A peer that fails ZeroMQ's handshake is disconnected without a message and tries again for ever. So a worker watches its
own handshakes, and with them whether the connection exists.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

__all__ = ["SupervisorConnection", "ZmqChannel"]

_QUEUE = 4096
_RECONNECT_MS = 20
# As plain numbers, because arithmetic on pyzmq's enums is slow.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK) | int(zmq.SNDMORE)


class ZmqChannel:
    """A socket of `kind` that receives messages of at most `largest` bytes; a ROUTER knows it by `identity`.

    No method but `wait` blocks. Only `bind` and `connect` raise `zmq.ZMQError`.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, identity: bytes, largest: int
    ) -> None:
        self.socket = socket = context.socket(kind)
        """For setting options. Only this channel sends and receives on it."""
        self.maybe_readable = True
        """A message may have arrived that was not received."""
        socket.setsockopt(zmq.IDENTITY, identity)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.RCVHWM, _QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, largest)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.setsockopt(zmq.LINGER, 0)
        if kind == zmq.ROUTER:
            # Sending to an absent peer fails, and a peer that reconnects replaces its own dead connection.
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.connect = socket.connect
        self.bind = socket.bind

    def fileno(self) -> int:
        """The descriptor to watch; call `on_readable` when it is readable."""
        return int(self.socket.getsockopt(zmq.FD))

    def on_readable(self) -> None:
        """Record that a message may have arrived."""
        self.maybe_readable = True

    def send(self, data: bytes) -> bool:
        """Send a message; return whether ZeroMQ accepted it."""
        self.maybe_readable = True
        try:
            self.socket.send(data, _NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def send_to(self, peer: bytes, data: bytes) -> bool:
        """Send a message to one peer of a ROUTER; return whether ZeroMQ accepted it."""
        self.maybe_readable = True
        try:
            self.socket.send(peer, _NOBLOCK_MORE)
            self.socket.send(data, _NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def receive(self) -> bytes | None:
        """The next message, None when there is none."""
        if not self.maybe_readable:
            return None
        try:
            return self.socket.recv(_NOBLOCK)
        except zmq.ZMQError:
            # An empty read resets the descriptor: the next message makes it readable again.
            self.maybe_readable = False
            return None

    def receive_from(self) -> list[bytes] | None:
        """The parts of a ROUTER's next message, the peer first; None when there is none."""
        if not self.maybe_readable:
            return None
        try:
            return self.socket.recv_multipart(_NOBLOCK)
        except zmq.ZMQError:
            self.maybe_readable = False
            return None

    def wait(self, within_ms: int) -> None:
        """Wait until a message arrives, for at most `within_ms`. This may reset the descriptor."""
        self.maybe_readable = True
        self.socket.poll(within_ms)

    def close(self, linger_ms: int) -> None:
        self.socket.close(linger_ms)


_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
"""After one of these events ZeroMQ does not try again."""


_CUT_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


_MADE = zmq.EVENT_HANDSHAKE_SUCCEEDED


_LOST = zmq.EVENT_DISCONNECTED


_ENOUGH = 3
"""A single handshake may also fail because the other side has just died."""


class SupervisorConnection:
    """Watches the connection of `socket` to the supervisor until `close`. Make it before the socket connects.

    `changed(connected)` is called when it is lost, and when it is made again.
    """

    def __init__(self, socket: zmq.Socket[bytes], changed: Callable[[bool], object]) -> None:
        self._socket = socket
        self._changed = changed
        self._failures = 0
        self._certain = False
        self._monitor = socket.get_monitor_socket(_REFUSED | _CUT_OFF | _MADE | _LOST)
        self.fd = int(self._monitor.getsockopt(zmq.FD))
        """The descriptor to watch; call `on_readable` when it is readable."""
        self.maybe_readable = True
        """There may be events that `look` has not read."""

    def on_readable(self) -> None:
        self.maybe_readable = True

    def admitted(self) -> None:
        """Record that the supervisor has sent a message: later failures of the handshake do not count."""
        self._certain = True

    def look(self) -> bool:
        """Read the events; return whether the supervisor certainly refuses this worker. True only once."""
        with suppress(zmq.ZMQError):
            while True:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
                if event & (_MADE | _LOST):
                    self._changed(bool(event & _MADE))
                    continue
                self._failures += _ENOUGH if event & _REFUSED else 1
                if not self._certain and self._failures >= _ENOUGH:
                    self._certain = True
                    return True
        self.maybe_readable = False
        return False

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
