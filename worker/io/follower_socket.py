"""The socket on which a worker's followers connect, and the times at which they can.

libzmq aborts the process when `accept` fails on a unix socket for want of a descriptor. So no connection may arrive
while there may be none left: the file of the listening socket is renamed, and a follower that tries then is refused and
tries again within milliseconds. Three cases:

- No follower is expected, and the leader has descriptors to spare: the socket is under its name. (A supervisor of an
  older release does not announce followers.)
- No follower is expected, and the leader is short of descriptors: the socket is renamed.
- The supervisor has announced a follower, or the leader has just taken over and the old one will follow it: the socket
  is under its name between two turns, when no code of the bot runs that could take the last descriptor. If the leader
  is short of descriptors, the reserve is empty then.

The same holds for the connection to the supervisor: when that is lost, the reserve is empty between turns, so that
libzmq can connect again.
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
"""The supervisor repeats its announcement for as long as the follower has not rehearsed."""
_WAITS_AFTER = 300_000_000
_TRIES_WITHIN_MS = 50
"""A follower that was refused tries again after 20 to 40 ms."""
_ACCEPTED_WITHIN_MS = 20
_BACKLOG = 16
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_ACCEPTS = 4
"""Descriptors that have to be there before anybody may connect: each that does takes one."""


class FollowerSocket:
    """Listens for followers on the unix socket `path`, for the ROUTER of `channel`; `descriptors` are this process's.

    A disk without room for the socket's file keeps no bot from leading: then `restore` makes it later.

    Raises `OSError` and `zmq.ZMQError` when that can't be done.
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
        """It is the supervisor who says that a follower is expected."""
        self._wait_at = 0
        self._leads = False
        self._shown = True
        self._connected = True
        self.watchful = False
        """`begin_turn` and `end_turn` are to be called."""
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
        """Listen anew if the socket's file was removed, or could not be made: no follower could connect.

        Raises as the constructor.
        """
        if self._file is not None and _file_at(self._path if self._shown else self._hidden) == self._file:
            return
        with self._descriptors.spare():
            self._listen()
        if not self._shown:
            os.rename(self._path, self._hidden)

    # --- as the engine's `Outside.descriptors` ---------------------------------------------------------------------

    def keep(self) -> None:
        """This worker leads: hold a reserve. The worker that led before may connect."""
        self._leads = True
        self._expected_until = self._mono() + _EXPECTED_FOR
        self._descriptors.keep()
        self._adjust()

    def release(self) -> None:
        """This worker does not lead: no code of the bot's runs in turns that could take what a handoff needs."""
        self._leads = False
        self._descriptors.release()
        self._adjust()

    def spare(self) -> AbstractContextManager[None]:
        """What is opened in here finds the reserve."""
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
        """What is left, of a leader; None of any other worker."""
        if not self._leads:
            return None
        self._adjust()
        left, limit = self._descriptors.left()
        return DescriptorsLeft(left, limit, self._descriptors.held)

    def expect(self) -> None:
        """The supervisor says that a follower is about to connect."""
        now = self._mono()
        self._expected_until = now + _EXPECTED_FOR
        if not self._announced:
            self._announced, self._wait_at = True, now + _WAITS_AFTER
        self._adjust()

    # --- what happens -----------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """A follower has connected."""
        if self._expected_until:
            self._expected_until = 0
            self._announced = False
            self._adjust()

    def connection(self, there: bool) -> None:
        """The connection to the supervisor is there, or lost."""
        if there != self._connected:
            self._connected = there
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
            # Using the socket may have used up what rang before.
            self._channel.rang()
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
                # It had none left when it came to lead, so that the reserve is empty too.
                self._hide()
            elif expected:
                self._show()

    def _wait(self) -> None:
        """Give a follower the time to connect that a bot does not leave which is always in a turn."""
        self._wait_at = self._mono() + _WAITS_AFTER
        self._channel.wait(_TRIES_WITHIN_MS)

    def _close(self) -> None:
        self._hide()
        self._descriptors.keep()

    def _hide(self) -> None:
        """Refuse connections, and wait until those under way are accepted: each takes a descriptor."""
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
