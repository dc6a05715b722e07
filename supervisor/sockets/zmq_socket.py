"""A ZeroMQ socket on an asyncio loop: calls back for each message, and sends at once or not at all.

`zmq.asyncio` wraps every receive in a future and a task. The supervisor only needs a callback for each message, and
never waits for a send. The rules of the socket's file descriptor are easy to break, which is why they are kept in one
place: it only says that EVENTS may have changed, it is edge-triggered, and reading EVENTS or *sending* uses the edge
up. So EVENTS is read again after each send, and messages are read until there are none left, at most 64 at a time,
because one busy peer must not keep the loop from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import zmq

__all__ = ["EncryptedSocket", "ZmqSocket"]

_BITE = 64
_THERE = int(zmq.POLLIN)


class ZmqSocket:
    """Reads `socket` for as long as it is open and hands each message, as its list of frames, to `receive`.

    `receive` must not raise. Must be made in the loop's own thread.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        receive: Callable[[list[bytes]], None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._socket = socket
        self._receive = receive
        self._loop = loop or asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._looking = False
        self._closed = False
        if receive is not None:
            self._loop.add_reader(self._fd, self._look)
            # What came before the reader was there has used up its edge.
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
            if self._receive is not None and not self._socket.closed:
                self._look_soon()
        return True

    def drain(self) -> None:
        """Take in now what has arrived, as far as it is here already."""
        while not self._closed and self._read_one():
            pass

    def close(self, linger: int = 0) -> None:
        """Stop reading and close the socket; unsent messages get `linger` ms."""
        if self._closed:
            return
        self._closed = True
        if self._receive is not None:
            self._loop.remove_reader(self._fd)
        self._socket.close(linger)

    def _look_soon(self) -> None:
        if not self._looking and not self._closed:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        for _ in range(_BITE):
            if self._closed or not self._read_one():
                return
        self._look_soon()

    def _read_one(self) -> bool:
        if self._receive is None or not self._is_there():
            return False
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        self._receive(frames)
        return True

    def _is_there(self) -> bool:
        """Whether there is a message: to ask costs less than to be told that there is none by an exception."""
        try:
            return bool(int(self._socket.getsockopt(zmq.EVENTS)) & _THERE)
        except zmq.ZMQError:
            return False


class EncryptedSocket(ZmqSocket):
    """A socket with authenticated peers: each message comes with the name of its sender."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        receive: Callable[[list[bytes], str], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._receive_from = receive
        super().__init__(socket, _nothing, loop)

    def _read_one(self) -> bool:
        if not self._is_there():
            return False
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            frames = [frame.bytes]
            while frame.more:
                # All of a message is there when its first part is.
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


def _nothing(frames: list[bytes]) -> None:
    """Never called: its presence makes the base class read the socket."""
