"""The fan-out of a feed: its replay buffer, and the connections that are served from it.

An event goes out in the thread that publishes it, to every subscriber that has everything before it: that is one system
call each, and the fastest way. Everything else is done by a thread of its own: connecting, catching up from the replay
buffer, reports. So a feed's own code may block for as long as it likes, and only its own events wait. When events come
faster than they can be sent one by one, they go out in batches.

No send waits. A subscriber whose socket is full is served again when it is writable, from the replay buffer.
"""

from __future__ import annotations

import hmac
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ...protocol.errors import NeverblinkError
from ...protocol.feed_ring import FeedRing
from ...protocol.feed_wire import (
    SUBSCRIBER_LIMIT,
    FeedDeclined,
    FeedReport,
    FeedStream,
    FeedSubscribe,
    FeedWatch,
    FeedWelcome,
    encode_events,
    feed_codec,
    framed,
    subscriber_codec,
)
from ...protocol.wire import WireError
from ..io.output import report_exception

__all__ = ["BoundListener", "FanOut"]

_BATCH = 256 * 1024
_ONE_BY_ONE = 100_000
"""The shortest time between two events that are sent each by itself, ns. Events that come sooner go out together,"""
_TOGETHER = 64
"""at most so many."""
_REPORT_EVERY = 0.2
_MOST_CONNECTIONS = 64
_SUBSCRIBE_WITHIN = 5.0
_SEND_BUFFER = 1 << 20
_IN = select.EPOLLIN
_BOTH = select.EPOLLIN | select.EPOLLOUT


class _Connection:
    """A connected process."""

    __slots__ = ("blocked", "delivered", "name", "next", "opened", "rest", "socket", "stream", "watches")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.stream = FeedStream(SUBSCRIBER_LIMIT)
        self.name = ""
        self.next = 0
        """The number to send next; 0 for one that has not subscribed."""
        self.delivered = 0
        """Up to which number everything has left this process."""
        self.rest = b""
        """The unsent part of a message."""
        self.blocked = False
        """Its socket is full; it is served when that is writable."""
        self.watches = False
        self.opened = time.monotonic()


class FanOut:
    """Serves `ring` on the socket that `listen()` makes, and makes again when its file is gone.

    `describe()` returns the report but for what only this object knows. `look_after()` is called a few times a second.
    """

    def __init__(
        self,
        ring: FeedRing,
        listen: Callable[[], BoundListener],
        key: bytes,
        before: tuple[int, int] | None,
        describe: Callable[[], FeedReport],
        look_after: Callable[[], None],
    ) -> None:
        self.lock = threading.RLock()
        self.overrun = 0
        self._ring = ring
        self._listen = listen
        self._bound = listen()
        self._key = key
        self._before = before
        self._describe = describe
        self._look_after = look_after
        self._connections: dict[int, _Connection] = {}
        self._sent = 0
        """Up to which number everything was sent to everyone who could take it."""
        self._sent_at = 0
        self._woken = False
        self._closing = False
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, _IN)
        self._epoll.register(self._bound.socket.fileno(), _IN)
        self._thread = threading.Thread(target=self._run, name="feed-fan-out", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # the publishing thread; the caller holds the lock

    def added(self, *, at_once: bool) -> None:
        """An event was added to the ring: send it, now or, without `at_once`, with those that follow soon."""
        now = time.monotonic_ns()
        if at_once or now - self._sent_at >= _ONE_BY_ONE or self._ring.last - self._sent >= _TOGETHER:
            self._flush(now)
        elif not self._woken:
            self._woken = True
            os.eventfd_write(self._wake_fd, 1)

    @property
    def delivered(self) -> int:
        """Up to which number every subscriber was sent everything; the last number when there is no subscriber."""
        ends = [connection.delivered for connection in self._connections.values() if connection.next]
        return min(ends, default=self._ring.last)

    def drain(self, within: float) -> None:
        """Send what is left, for at most so many seconds."""
        until = time.monotonic() + within
        while True:
            with self.lock:
                self._flush(time.monotonic_ns())
                late = any(
                    connection.rest or (connection.next and connection.next <= self._ring.last)
                    for connection in self._connections.values()
                )
            if not late or time.monotonic() >= until:
                return
            time.sleep(0.001)

    def close(self) -> None:
        """End all connections. What was sent can still be read."""
        with self.lock:
            self._closing = True
            os.eventfd_write(self._wake_fd, 1)
        self._thread.join(2)
        with self.lock:
            for connection in list(self._connections.values()):
                self._drop(connection)
            self._bound.socket.close()

    # both threads, with the lock

    def _flush(self, now: int) -> None:
        self._sent_at = now
        self._sent = last = self._ring.last
        for connection in list(self._connections.values()):
            if connection.next and not connection.blocked and connection.next <= last:
                self._serve(connection)

    def _serve(self, connection: _Connection) -> None:
        """Send what the subscriber has not been sent, as far as its socket takes it."""
        ring = self._ring
        while not connection.blocked and connection.next <= ring.last:
            first, entries = ring.batch(connection.next, _BATCH)
            self.overrun += first - connection.next
            connection.next = first + len(entries)
            self._send(connection, encode_events(first, entries))

    def _send(self, connection: _Connection, data: bytes) -> None:
        connection.rest = connection.rest + data if connection.rest else data
        self._send_rest(connection)

    def _send_rest(self, connection: _Connection) -> None:
        try:
            while connection.rest:
                sent = connection.socket.send(connection.rest)
                connection.rest = connection.rest[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        blocked = bool(connection.rest)
        if not blocked and connection.next:
            connection.delivered = connection.next - 1
        if blocked != connection.blocked:
            connection.blocked = blocked
            with suppress(OSError):
                self._epoll.modify(connection.socket.fileno(), _BOTH if blocked else _IN)

    def _drop(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        if number >= 0:
            self._connections.pop(number, None)
            with suppress(OSError):
                self._epoll.unregister(number)
            connection.socket.close()
        connection.rest, connection.next, connection.blocked = b"", 0, True

    # the thread

    def _run(self) -> None:
        report_at = 0.0
        while True:
            try:
                ready = self._epoll.poll(max(0.0, report_at - time.monotonic()) + 0.001)
                with self.lock:
                    if self._closing:
                        return
                    for number, _ in ready:
                        self._on_ready(number)
                    if self._sent < self._ring.last:
                        self._flush(time.monotonic_ns())
                    if time.monotonic() >= report_at:
                        report_at = time.monotonic() + _REPORT_EVERY
                        self._on_time()
            except Exception as problem:
                # One connection must not end the feed.
                report_exception(problem)
                time.sleep(0.1)

    def _on_ready(self, number: int) -> None:
        if number == self._wake_fd:
            with suppress(BlockingIOError):
                os.eventfd_read(number)
            self._woken = False
        elif number == self._bound.socket.fileno():
            self._accept()
        elif (connection := self._connections.get(number)) is not None:
            if connection.blocked:
                self._send_rest(connection)
                if not connection.blocked and connection.next:
                    self._serve(connection)
            self._receive(connection)

    def _accept(self) -> None:
        try:
            connected, _ = self._bound.socket.accept()
        except OSError:
            return
        if len(self._connections) >= _MOST_CONNECTIONS or _user_of(connected) not in (0, os.geteuid()):
            connected.close()
            return
        connected.setblocking(False)
        with suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._connections[connected.fileno()] = _Connection(connected)
        self._epoll.register(connected.fileno(), _IN)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        try:
            for message in connection.stream.feed(data):
                self._on_message(connection, message)
        except WireError as problem:
            self._decline(connection, problem.message)

    def _on_message(self, connection: _Connection, body: bytes) -> None:
        message = subscriber_codec.decode(body)
        if not hmac.compare_digest(message.key, self._key):
            self._decline(
                connection, "the key is not that of this feed: it belongs to another home, or another run"
            )
            return
        ring = self._ring
        match message:
            case FeedSubscribe(subscriber=name, run=run, n=n):
                connection.name = name
                connection.next = ring.start_for(run, n)
                connection.delivered = connection.next - 1
                welcome = FeedWelcome(ring.run, connection.next, ring.last, self._before)
                self._send(connection, framed(feed_codec.encode(welcome)))
                if not connection.blocked:
                    self._serve(connection)
            case FeedWatch():
                connection.watches = True
                self._send(connection, self._report())

    def _decline(self, connection: _Connection, reason: str) -> None:
        self._send(connection, framed(feed_codec.encode(FeedDeclined(reason))))
        self._drop(connection)

    def _on_time(self) -> None:
        self._restore()
        self._look_after()
        watching = [connection for connection in self._connections.values() if connection.watches]
        if watching:
            report = self._report()
            for connection in watching:
                if not connection.rest:
                    self._send(connection, report)
        for connection in list(self._connections.values()):
            silent = not connection.next and not connection.watches
            if silent and time.monotonic() - connection.opened > _SUBSCRIBE_WITHIN:
                self._drop(connection)

    def _restore(self) -> None:
        """Listen again when the socket's file was removed. Connections that exist go on."""
        if self._bound.in_place:
            return
        try:
            bound = self._listen()
        except (OSError, NeverblinkError):
            # Its directory is gone as well: a supervisor makes that again.
            return
        self._epoll.unregister(self._bound.socket.fileno())
        self._bound.socket.close()
        self._bound = bound
        self._epoll.register(bound.socket.fileno(), _IN)

    def _report(self) -> bytes:
        ring = self._ring
        subscribed = [connection for connection in self._connections.values() if connection.next]
        report = self._describe()
        report = FeedReport(
            report.feed,
            report.pid,
            report.release,
            ring.run,
            ring.last,
            report.at,
            report.began,
            ring.size,
            ring.first,
            tuple(connection.name for connection in subscribed),
            max((ring.last + 1 - connection.next for connection in subscribed), default=0),
            self.overrun,
            report.refused,
            report.blackout,
        )
        return framed(feed_codec.encode(report))


class BoundListener:
    """A listening socket at `path`, which replaces the one of an earlier process. Raises `OSError`."""

    def __init__(self, path: str, temporary: str) -> None:
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        before = os.umask(0o177)
        try:
            self.socket.bind(temporary)
        finally:
            os.umask(before)
        self.socket.listen(_MOST_CONNECTIONS)
        self.socket.setblocking(False)
        self._file = os.stat(temporary).st_ino
        os.rename(temporary, path)

    @property
    def in_place(self) -> bool:
        """Whether its file is still there."""
        try:
            return os.stat(self._path).st_ino == self._file
        except OSError:
            return False


def _user_of(connected: socket.socket) -> int:
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1]
