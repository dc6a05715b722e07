"""A ZeroMQ socket on an asyncio loop: calls back for each message, and sends at once or not at all.

`zmq.asyncio` wraps every receive in a future and a task. The supervisor only needs a callback for each message, and
never waits for a send. The rules of the socket's file descriptor are easy to break, so they are in one place. The
descriptor only shows that EVENTS may have changed. It is edge-triggered, and reading EVENTS or *sending* consumes the
edge. So EVENTS is read again after each send, and messages are read until none is left, at most 64 at a time, so that a
busy peer does not block the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import zmq

__all__ = ["EncryptedSocket", "ZmqSocket"]

_BATCH = 64
_READABLE = int(zmq.POLLIN)


class ZmqSocket:
    """Reads `socket` while it is open and passes each message, as its list of frames, to `receive`.

    `receive` must not raise. Create it in the loop's own thread.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        receive: Callable[[list[bytes]], None],
    ) -> None:
        self._socket = socket
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._looking = False
        self._closed = False
        self._loop.add_reader(self._fd, self._look)
        # A message that came before the reader was added has used up its edge.
        self._look_soon()

    def send(self, frames: Sequence[bytes]) -> bool:
        """Send without waiting; return False when the peer is unknown or gone, or its queue is full."""
        if self._closed:
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        finally:
            if not self._socket.closed:
                self._look_soon()
        return True

    def drain(self) -> None:
        """Read all messages that have arrived."""
        while not self._closed and self._read_one():
            pass

    def close(self, linger: int = 0) -> None:
        """Stop reading and close the socket; unsent messages get `linger` ms."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._socket.close(linger)

    def _look_soon(self) -> None:
        if not self._looking and not self._closed:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        for _ in range(_BATCH):
            if self._closed or not self._read_one():
                return
        self._look_soon()

    def _read_one(self) -> bool:
        if not self._is_there():
            return False
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        self._receive(frames)
        return True

    def _is_there(self) -> bool:
        """Whether there is a message. Checking costs less than the exception for none."""
        try:
            return bool(int(self._socket.getsockopt(zmq.EVENTS)) & _READABLE)
        except zmq.ZMQError:
            return False


class EncryptedSocket(ZmqSocket):
    """A socket with authenticated peers: each message comes with the name of its sender."""

    def __init__(self, socket: zmq.Socket[bytes], receive: Callable[[list[bytes], str], None]) -> None:
        super().__init__(socket, lambda frames: receive(frames, ""))
        self._receive_from = receive

    def _read_one(self) -> bool:
        if not self._is_there():
            return False
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            frames = [frame.bytes]
            while frame.more:
                # All parts of a message arrive together.
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
                frames.append(frame.bytes)
        except zmq.ZMQError:
            return False
        try:
            name = str(frame.get("User-Id"))
        except zmq.ZMQError:
            name = ""
        self._receive_from(frames, name)
        return True
