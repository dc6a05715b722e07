"""The socket on which a worker's followers connect, and the times at which they can.

libzmq aborts the process when `accept` fails on a Unix socket because no descriptor is left. So no connection may
arrive while descriptors may run out: the file of the listening socket is renamed (hidden), and a follower that tries to
connect is refused and tries again within milliseconds. There are three cases:

- No follower is expected, and the leader has enough descriptors: the socket has its name. (A supervisor of an older
  release does not announce followers.)
- No follower is expected, and the leader is short of descriptors: the socket is hidden.
- The supervisor has announced a follower, or the leader has just taken over and the old leader will follow it: the
  socket has its name between turns, when no code of the bot can take the last descriptor. If the leader is short of
  descriptors, the reserve is released at that time.

The same holds for a lost connection to the supervisor: the reserve is released between turns, so that libzmq can
connect again.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import zmq

from ...protocol.link import DescriptorsLeft
from .descriptors import Descriptors
from .zmq_channel import ZmqChannel

__all__ = ["FollowerSocket"]

_EXPECTED_FOR = 2_000_000_000
"""How long an announcement is valid, ns. The supervisor repeats it until the follower has rehearsed."""
_WAITS_AFTER = 300_000_000
_TRIES_WITHIN_MS = 50
"""A follower that was refused tries again after 20 to 40 ms."""
_ACCEPTED_WITHIN_MS = 20
_BACKLOG = 16
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_ACCEPTS = 4
"""Free descriptors needed before a follower may connect: each connection takes one."""


class FollowerSocket:
    """Listens for followers on the Unix socket `path`, for the ROUTER of `channel`; `descriptors` are this process's.

    `hidden` is the path while no connection is accepted. On a full disk the bot leads without the socket's file, and
    `restore` makes it later. Raises `OSError` and `zmq.ZMQError` when listening fails for another reason.
    """

    def __init__(
        self,
        channel: ZmqChannel,
        path: str,
        hidden: str,
        descriptors: Descriptors,
        mono: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._path = path
        self._hidden = hidden
        self._descriptors = descriptors
        self._mono = mono
        self._channel = channel
        self._expected_until = 0
        self._announced = False
        """Whether the expected follower was announced by the supervisor."""
        self._wait_at = 0
        self._leads = False
        self._shown = True
        self._connected = True
        self.watchful = False
        """Whether `begin_turn` and `end_turn` must be called."""
        self.in_turn: Callable[[], bool] = lambda: False
        """Whether the bot's code is running."""
        self._pending = select.poll()
        self._file: tuple[int, int] | None = None
        """Device and inode of the socket's file, None when it could not be made."""
        try:
            self._listen()
        except OSError as problem:
            if problem.errno not in _NO_ROOM:
                raise

    def restore(self) -> None:
        """Listen again if the socket's file was removed or could not be made. Raises as the constructor."""
        if self._file is not None and _file_at(self._path if self._shown else self._hidden) == self._file:
            return
        with self._descriptors.spare():
            self._listen()
        if not self._shown:
            os.rename(self._path, self._hidden)

    # --- `DescriptorsLike`, for the engine -------------------------------------------------------------------------

    def keep(self) -> None:
        """Begin to lead: hold a reserve, and expect the former leader to connect."""
        self._leads = True
        self._expected_until = self._mono() + _EXPECTED_FOR
        self._descriptors.keep()
        self._adjust()

    def release(self) -> None:
        """Stop leading, and release the reserve: the bot's code no longer runs in turns."""
        self._leads = False
        self._descriptors.release()
        self._adjust()

    def spare(self) -> AbstractContextManager[None]:
        """Release the reserve inside this context."""
        return self._descriptors.spare()

    def begin_turn(self) -> None:
        """The bot's code is about to run."""
        self._close()

    def end_turn(self) -> None:
        """The bot's code has run."""
        self._adjust()
        if self._announced and self._mono() >= self._wait_at:
            self._wait()

    def report(self) -> DescriptorsLeft | None:
        """The descriptors left of a leader; None if this worker does not lead."""
        if not self._leads:
            return None
        self._adjust()
        left, limit = self._descriptors.left()
        return DescriptorsLeft(left, limit, self._descriptors.held)

    def expect(self) -> None:
        """The supervisor has announced a follower."""
        now = self._mono()
        self._expected_until = now + _EXPECTED_FOR
        if not self._announced:
            self._announced, self._wait_at = True, now + _WAITS_AFTER
        self._adjust()

    # --- events -----------------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """A follower has connected."""
        if self._expected_until:
            self._expected_until = 0
            self._announced = False
            self._adjust()

    def connection(self, connected: bool) -> None:
        """The connection to the supervisor was made, or lost."""
        if connected != self._connected:
            self._connected = connected
            self._adjust()

    # --- parts ------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        listening = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        with listening:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            listening.bind(self._path)
            listening.listen(_BACKLOG)
            # libzmq accepts on it, and closes it with the ROUTER.
            router = self._channel.socket
            router.setsockopt(zmq.USE_FD, listening.fileno())
            router.bind(f"ipc://{self._path}")
            router.setsockopt(zmq.USE_FD, -1)
            # Using the socket may have reset its descriptor.
            self._channel.on_readable()
            self._pending.register(listening.detach(), select.POLLIN)
        self._file = _file_at(self._path)

    def _adjust(self) -> None:
        if not self._leads:
            self.watchful = False
            self._show()
            return
        if self._expected_until and self._mono() >= self._expected_until:
            self._expected_until = 0
            self._announced = False
        expected = bool(self._expected_until)
        short = self._descriptors.short()
        self.watchful = expected or (short and not self._connected)
        if not short and not (self.watchful and self.in_turn()):
            self._descriptors.keep()
            self._show()
        elif not self.watchful or self.in_turn():
            self._close()
        else:
            self._descriptors.release()
            if self._descriptors.left()[0] < _ACCEPTS:
                # None were left when it began to lead, so the reserve is empty too.
                self._hide()
            elif expected:
                self._show()

    def _wait(self) -> None:
        """Give a follower time to connect, also under a bot that is always in a turn."""
        self._wait_at = self._mono() + _WAITS_AFTER
        self._channel.wait(_TRIES_WITHIN_MS)

    def _close(self) -> None:
        self._hide()
        self._descriptors.keep()

    def _hide(self) -> None:
        """Refuse new connections, and wait until pending ones are accepted: each takes a descriptor."""
        if not self._shown:
            return
        with suppress(OSError):
            os.rename(self._path, self._hidden)
        self._shown = False
        until = self._mono() + _ACCEPTED_WITHIN_MS * 1_000_000
        while self._pending.poll(0) and self._mono() < until:
            time.sleep(50e-6)

    def _show(self) -> None:
        if self._shown:
            return
        with suppress(OSError):
            os.rename(self._hidden, self._path)
        self._shown = True


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
