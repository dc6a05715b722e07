"""A worker's connection to one feed: it receives events into the bot's queue, and never waits.

The worker does not acknowledge anything. It says once, when it connects, up to where it has the feed. If the connection
ends, it connects again and says so again: a feed that was restarted, or a worker that was slow, is the same case.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from ...protocol.feed_queue import FeedQueue, FeedQueues
from ...protocol.feed_wire import (
    FeedDeclined,
    FeedEvents,
    FeedStream,
    FeedSubscribe,
    FeedWelcome,
    feed_codec,
    framed,
    subscriber_codec,
)
from ...protocol.wire import WireError
from ..io.output import report

__all__ = ["FeedSubscription", "directory_watch"]

_AT_ONCE = 256 * 1024
_RECEIVE_BUFFER = 1 << 20


class FeedSubscription:
    """Feed `name`, whose socket is at `path()`. Events go into `feeds`."""

    def __init__(
        self, name: str, subscriber: str, key: bytes, path: Callable[[], str], feeds: FeedQueues
    ) -> None:
        self.name = name
        self.fd = -1
        """The descriptor to watch, -1 while it is not connected."""
        self._subscriber = subscriber
        self._key = key
        self._path = path
        self._feeds = feeds
        self._queue: FeedQueue = feeds.queue(name)
        self._socket: socket.socket | None = None
        self._stream = FeedStream()
        self._run = 0
        self._problem = ""

    @property
    def full(self) -> bool:
        """Whether to receive no more until the bot has applied some of what is here."""
        return self._queue.full

    def connect(self) -> bool:
        """Try to connect, and subscribe; return whether that worked."""
        connection = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        received = self._queue.received
        message = FeedSubscribe(self._key, self._subscriber, received.run, received.n)
        try:
            connection.connect(self._path())
            # A socket that has just been connected has room for a message.
            connection.send(framed(subscriber_codec.encode(message)))
        except OSError:
            connection.close()
            return False
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket, self._stream, self._run = connection, FeedStream(), 0
        self.fd = connection.fileno()
        return True

    def receive(self) -> bool:
        """Receive what has arrived; return whether the connection goes on. If not, it has to be closed."""
        connection = self._socket
        if connection is None:
            return False
        try:
            data = connection.recv(_AT_ONCE)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            return False
        try:
            for body in self._stream.feed(data):
                self._on_message(body)
        except WireError as problem:
            self._say(problem.message)
            return False
        return True

    def close(self) -> None:
        self._queue.connected = False
        if self._socket is not None:
            self._socket.close()
        self._socket, self.fd = None, -1

    def _on_message(self, body: bytes) -> None:
        message = feed_codec.decode(body)
        match message:
            case FeedEvents(first=first, events=events):
                self._feeds.receive(self.name, self._run, first, events)
            case FeedWelcome(run=run, before=before):
                self._run = run
                self._queue.connected = True
                self._problem = ""
                if before is not None:
                    self._queue.ended(*before)
            case FeedDeclined(reason=reason):
                self._say(reason)
            case _:
                pass

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            report(f"WARNING: neverblink: feed {self.name}: {problem}")


def directory_watch(path: str) -> int:
    """A descriptor that is readable when a file is made in the directory; -1 when the kernel has none to give."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return -1
    moved_to, created = 0x80, 0x100
    if libc.inotify_add_watch(fd, os.fsencode(path), moved_to | created) < 0:
        os.close(fd)
        return -1
    return fd
