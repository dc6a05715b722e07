"""The final-frame socket: the fastest way for the final frame from the old leader to its successor.

A leader's other messages go through ZeroMQ, where each wakes two threads and a process; on many machines that would be
the larger part of a blackout. So just before the boundary the leader lets its successor prepare (brace): the successor
makes a socket and polls it for a few milliseconds, while the leader still ticks. The final frame then goes directly
from one process to the other, which is awake and receives it within microseconds.

It is a Unix datagram socket in the home's `run/`, for this user only. A datagram arrives whole or not at all. A frame
that is too large, or finds no socket, goes through ZeroMQ. Without a free core a successor does not poll, because that
would slow the leader down; the socket wakes it.
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
from ...protocol.presence import field_of

__all__ = ["FinalFrameSocket", "FinalFrameSocketLike", "NoFinalFrameSocket"]

_POLLS_FOR = 5_000_000
"""How long a successor polls, ns: several times what its leader needs until the boundary."""
_YIELDS_FOR = 200_000
"""At first the successor yields its core, ns: the thread that sends its answer to the leader may need it."""
_PREEMPTED = 1_000_000
"""A process that could not poll for this long, ns, shares its core. It then sleeps, because the kernel prefers a
process that wakes to one that has used up its time slice."""
_PAUSE = 500e-6
"""The old leader pauses for this long, s, because the successor may share its caches and cores."""
_LARGEST = 1 << 18
"""Bytes; somewhat more than the default limit of a datagram in Linux."""


class FinalFrameSocketLike(Protocol):
    """See `FinalFrameSocket`."""

    def expect(self) -> None: ...
    def relax(self) -> None: ...
    def reach(self, worker: str, pid: int) -> None: ...
    def hand(self, data: bytes) -> bool: ...


class NoFinalFrameSocket:
    """For a worker that never hands over."""

    def expect(self) -> None: ...
    def relax(self) -> None: ...
    def reach(self, worker: str, pid: int) -> None: ...

    def hand(self, data: bytes) -> bool:
        return False


class FinalFrameSocket:
    """Both ends of the socket, for worker `me`. `path_of(name)` is the path of a socket, short enough to be bound.

    Sockets are opened within `spare()`, which frees reserved descriptors.
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
        """Open the socket, and poll it for a while. If that fails, the frame comes through ZeroMQ."""
        if self._ours is None:
            self._ours = self._bound()
            self._buffer = bytearray(_LARGEST)
        if self._ours is not None:
            self._until = monotonic_ns() + (_POLLS_FOR if _a_core_is_free() else 0)

    def relax(self) -> None:
        """Stop polling."""
        self._until = 0

    @property
    def expected(self) -> bool:
        """Whether `wait` should be called to poll."""
        return self._until != 0

    def wait(self, others: Iterable[int]) -> bytes | None:
        """Poll for the final frame, without sleeping, and return it.

        Returns b"" when one of the descriptors `others` is readable first, None when the time for polling is over.
        """
        elsewhere = poll()
        for fd in others:
            elsewhere.register(fd, POLLIN)
        until, found, receive = self._until, elsewhere.poll, self.receive
        yield_until = until - _POLLS_FOR + _YIELDS_FOR
        now = before = monotonic_ns()
        while True:
            if data := receive():
                return data
            if found(0):
                return b""
            if now < yield_until:
                os.sched_yield()
            before, now = now, monotonic_ns()
            if now >= until or now - before > _PREEMPTED:
                self._until = 0
                return None

    def receive(self) -> bytes | None:
        """The final frame, None when it has not arrived."""
        if self._ours is None:
            return None
        try:
            size = self._ours.recv_into(self._buffer)
        except OSError:
            return None
        return bytes(memoryview(self._buffer)[:size])

    def fileno(self) -> int:
        """The descriptor of the open socket, -1 when there is none."""
        return self._ours.fileno() if self._ours is not None else -1

    def forget(self) -> None:
        """Close the socket. An unread frame is dropped: it came from an earlier leader."""
        self._until = 0
        ours, self._ours = self._ours, None
        self._buffer = bytearray()
        if ours is not None:
            ours.close()
            with suppress(OSError):
                os.unlink(self._path_of(_name_of(self._me)))

    # the leader's end

    def reach(self, worker: str, pid: int) -> None:
        """Prepare to send the final frame to `worker`, which is process `pid`."""
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
        """Send `data` to the worker given to `reach`, then pause; return whether it was sent."""
        if self._theirs is None or len(data) > _LARGEST:
            return False
        try:
            self._theirs.send(data)
        except OSError:
            return False
        sleep(_PAUSE)
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
        # The umask sets the mode of the file; the directory is for this user only in any case.
        before = os.umask(0o177)
        try:
            path = self._path_of(_name_of(self._me))
            with suppress(FileNotFoundError):
                # Left by a worker of this name that was killed.
                os.unlink(path)
            ours.bind(path)
        except (OSError, EndpointError):
            ours.close()
            return None
        finally:
            os.umask(before)
        return ours


def _leave_core_of(pid: int) -> None:
    """Move to another core than that of process `pid`, which polls for the final frame."""
    try:
        # Field 39: the core that it last ran on.
        core = int(field_of(Path(f"/proc/{pid}/stat").read_bytes(), 39))
        allowed = os.sched_getaffinity(0)
        if others := allowed - {core}:
            os.sched_setaffinity(0, others)
            # This has moved the process if necessary; restoring the set does not move it back.
            os.sched_setaffinity(0, allowed)
    except (OSError, ValueError, IndexError):
        pass


def _a_core_is_free() -> bool:
    """Whether this process can use a core by itself, with no other process waiting for it.

    Read each time, because the supervisor restricts a new worker to some of the cores until it has rehearsed.
    """
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            # Field 4: runnable tasks / all tasks (proc_loadavg(5)).
            running = int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return running <= len(os.sched_getaffinity(0)) != 1


def _name_of(worker: str) -> str:
    """The name of a worker's socket in `run/`."""
    return f"{worker}.final.sock"
