"""A channel: a ZeroMQ socket that is looked into only when something may have come.

ZeroMQ's descriptor rings once when something arrives, and using the socket may use that ring up. So a channel remembers
that it is to be looked into: from the beginning, when its descriptor rang, and when something was sent on it. Looking
into a socket that is empty takes three system calls, and a worker has three sockets: without the memory that was the
largest part of what a tick cost.
"""

from __future__ import annotations

import zmq

__all__ = ["ZmqChannel"]

_QUEUE = 4096
_RECONNECT_MS = 20
# Plain numbers: pyzmq's are enums, whose arithmetic takes longer than what it is for.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK) | int(zmq.SNDMORE)


class ZmqChannel:
    """A socket of `kind` whose messages are at most `largest` bytes; `identity` is what a ROUTER knows it by.

    Nothing waits. Raises `zmq.ZMQError` only from `bind` and `connect`.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, identity: bytes, largest: int
    ) -> None:
        self.socket = socket = context.socket(kind)
        """To be set up by; what comes and goes is this channel's."""
        self.may_have = True
        """Something may have come that was not received."""
        socket.setsockopt(zmq.IDENTITY, identity)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.RCVHWM, _QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, largest)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.setsockopt(zmq.LINGER, 0)
        if kind == zmq.ROUTER:
            # A peer that is not there is an answer, and one that reconnects displaces its own dead connection.
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.connect = socket.connect
        self.bind = socket.bind

    def fileno(self) -> int:
        """The descriptor that rings; call `rang` when it does."""
        return int(self.socket.getsockopt(zmq.FD))

    def rang(self) -> None:
        """Something may have come."""
        self.may_have = True

    def send(self, data: bytes) -> bool:
        """Send a message; return whether it was taken."""
        self.may_have = True
        try:
            self.socket.send(data, _NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def send_to(self, peer: bytes, data: bytes) -> bool:
        """Send a message to one peer of a ROUTER; return whether it was taken."""
        self.may_have = True
        try:
            self.socket.send(peer, _NOBLOCK_MORE)
            self.socket.send(data, _NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def receive(self) -> bytes | None:
        """The next message that has come, None when there is none."""
        if not self.may_have:
            return None
        try:
            return self.socket.recv(_NOBLOCK)
        except zmq.ZMQError:
            # Finding nothing takes in all that rang before: what comes from here on rings anew.
            self.may_have = False
            return None

    def receive_from(self) -> list[bytes] | None:
        """The parts of the next message that has come to a ROUTER, the peer first; None when there is none."""
        if not self.may_have:
            return None
        try:
            return self.socket.recv_multipart(_NOBLOCK)
        except zmq.ZMQError:
            self.may_have = False
            return None

    def wait(self, within_ms: int) -> None:
        """Wait until something has come, or for `within_ms`. What comes uses up its ring."""
        self.may_have = True
        self.socket.poll(within_ms)

    def close(self, linger_ms: int) -> None:
        self.socket.close(linger_ms)
