"""The final-frame socket: the shortest way for the final frame from the old leader to its successor.

Everything a leader sends goes through ZeroMQ, where each message wakes two threads and a process; on many machines that
is the larger part of a blackout. So just before the boundary the leader has its successor brace itself: it makes a
socket of its own and polls it for a few milliseconds, while the leader still ticks. The final frame then goes straight
from one process into the other, which is awake and finds it within microseconds.

It is a unix datagram socket in the home's `run/`, for this user only. A datagram is a message, in full or not at all. A
frame that is too large, or finds no socket, goes through ZeroMQ as before. Where no core is free a successor does not
poll, which would only be in the leader's way; the socket wakes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from select import POLLIN, poll
from socket import AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, socket
from time import monotonic_ns, sleep
from typing import Protocol

from ...protocol.endpoint import EndpointError
from ...protocol.process_stat import field_of

__all__ = ["FinalFrameSocket", "FinalFrameSocketLike", "NoFinalFrameSocket"]

_LOOKS_FOR = 5_000_000
"""Several times what a leader needs to learn that its successor is ready, and to come to a boundary."""
_GOES_OUT_WITHIN = 200_000
"""The thread that sends the leader the awaited answer may need the core on which the successor polls."""
_ANOTHER_PROCESS = 1_000_000
"""A process that was kept from polling for this long shares its core, and sleeps: the kernel prefers a process that
wakes to one that has used up its time."""
_STANDS_STILL = 500e-6
"""What an old leader still has to do can wait until the successor leads: they share caches and cores."""
_LARGEST = 1 << 18
"""Bytes; somewhat more than Linux lets a datagram have, unless it is told otherwise."""


class FinalFrameSocketLike(Protocol):
    """See `FinalFrameSocket`."""

    def expect(self) -> None: ...
    def relax(self) -> None: ...
    def reach(self, worker: str, pid: int) -> None: ...
    def hand(self, data: bytes) -> bool: ...


class NoFinalFrameSocket:
    """For a worker without a successor, or without this way to it."""

    def expect(self) -> None: ...
    def relax(self) -> None: ...
    def reach(self, worker: str, pid: int) -> None: ...

    def hand(self, data: bytes) -> bool:
        return False


class FinalFrameSocket:
    """Both ends of it, for worker `me`. `path_of(name)` is where a socket of that name is, short enough to be bound.

    What is opened within `spare()` finds a descriptor that was kept for it.
    """

    def __init__(
        self,
        me: str,
        path_of: Callable[[str], str],
        spare: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._me = me
        self._path_of = path_of
        self._spare = spare
        self._ours: socket | None = None
        self._theirs: socket | None = None
        self._buffer = bytearray()
        self._until = 0

    # the successor's end

    def expect(self) -> None:
        """Be there for it, and look for it for a moment. Where that cannot be, it will not come this way."""
        if self._ours is None:
            self._ours = self._bound()
            self._buffer = bytearray(_LARGEST)
        if self._ours is not None:
            self._until = monotonic_ns() + (_LOOKS_FOR if _a_core_is_free() else 0)

    def relax(self) -> None:
        """It need not be looked for any more."""
        self._until = 0

    @property
    def expected(self) -> bool:
        """It is to be looked for, by `wait`."""
        return self._until != 0

    def wait(self, others: Iterable[int]) -> bytes | None:
        """Look for it, without sleeping; return it.

        Empty when one of the descriptors `others` is readable before it has come, None when the moment is over in which
        it is looked for.
        """
        elsewhere = poll()
        for fd in others:
            elsewhere.register(fd, POLLIN)
        until, found, receive = self._until, elsewhere.poll, self.receive
        gone_out = until - _LOOKS_FOR + _GOES_OUT_WITHIN
        now = before = monotonic_ns()
        while True:
            if data := receive():
                return data
            if found(0):
                return b""
            if now < gone_out:
                os.sched_yield()
            before, now = now, monotonic_ns()
            if now >= until or now - before > _ANOTHER_PROCESS:
                self._until = 0
                return None

    def receive(self) -> bytes | None:
        """What was handed over, None when nothing was."""
        if self._ours is None:
            return None
        try:
            size = self._ours.recv_into(self._buffer)
        except OSError:
            return None
        return bytes(memoryview(self._buffer)[:size])

    def fileno(self) -> int:
        """The descriptor that is readable when something was; -1 while there is none."""
        return self._ours.fileno() if self._ours is not None else -1

    def forget(self) -> None:
        """Nothing is to come this way any more; what has come and was not looked at was another leader's."""
        self._until = 0
        ours, self._ours = self._ours, None
        self._buffer = bytearray()
        if ours is not None:
            ours.close()
            with suppress(OSError):
                os.unlink(self._path_of(_name_of(self._me)))

    # the leader's end

    def reach(self, worker: str, pid: int) -> None:
        """Make ready to hand it to `worker`, which is process `pid`."""
        self._let_go()
        _leave_core_of(pid)
        try:
            with self._spare():
                theirs = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK)
        except OSError:
            return
        try:
            theirs.connect(self._path_of(_name_of(worker)))
        except (OSError, EndpointError):
            theirs.close()
        else:
            self._theirs = theirs

    def hand(self, data: bytes) -> bool:
        """Hand `data` over to whom `reach` has reached, and leave the machine to it; return whether it has it."""
        if self._theirs is None or len(data) > _LARGEST:
            return False
        try:
            self._theirs.send(data)
        except OSError:
            return False
        sleep(_STANDS_STILL)
        return True

    def close(self) -> None:
        self._let_go()
        self.forget()

    def _let_go(self) -> None:
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            theirs.close()

    def _bound(self) -> socket | None:
        try:
            with self._spare():
                ours = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK)
        except OSError:
            return None
        # The mode of the file is the umask's to say, and the directory is this user's alone in any case.
        before = os.umask(0o177)
        try:
            path = self._path_of(_name_of(self._me))
            with suppress(FileNotFoundError):
                # Of a worker of this name that was killed.
                os.unlink(path)
            ours.bind(path)
        except (OSError, EndpointError):
            ours.close()
            return None
        finally:
            os.umask(before)
        return ours


def _leave_core_of(pid: int) -> None:
    """Go on on another core than the one where `pid` runs: it looks for what we are about to hand over."""
    try:
        # The core it ran on last.
        core = int(field_of(Path(f"/proc/{pid}/stat").read_bytes(), 39))
        allowed = os.sched_getaffinity(0)
        if others := allowed - {core}:
            os.sched_setaffinity(0, others)
            # It was moved, if need be, and does not move back by itself.
            os.sched_setaffinity(0, allowed)
    except (OSError, ValueError, IndexError):
        pass


def _a_core_is_free() -> bool:
    """Whether this process can use a core all the time and no other process waits for it.

    As of now: the supervisor keeps a new worker to some of the cores until it has rehearsed.
    """
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            # Field 4: those that run or could, of all there are (proc_loadavg(5)).
            running = int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return running <= len(os.sched_getaffinity(0)) != 1


def _name_of(worker: str) -> str:
    """The name of a worker's socket in `run/`."""
    return f"{worker}.final.sock"
