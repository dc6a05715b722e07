"""The file descriptors of a worker: how many are left, and a reserve for what must not fail for want of one.

A bot that leaks descriptors ticks on at its limit. What cures it is a deployment, and a handoff needs descriptors in
the old leader: for the follower's connection, the final-frame socket, a segment of the journal. So a leader holds some
open that nothing uses, and closes them at the moment when neverblink itself needs one.

libzmq ends the process when it can't accept a connection on a unix socket. A leader that is short of descriptors
therefore accepts none while its bot's code runs: see `follower_socket`.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Protocol

from ...protocol.link import DescriptorsLeft

__all__ = ["RESERVE", "Descriptors", "DescriptorsLike", "NoDescriptors", "raise_limit"]

RESERVE = 16
"""About twice what a handoff opens in the old leader."""
_SHORT = 32
"""A leader with fewer left than this, beside its reserve, is short of them."""
_MOST = 1 << 20
"""Some container engines set a hard limit of 2^30, and programs that close every possible descriptor take hours."""
_OPEN = "/proc/self/fd"


class DescriptorsLike(Protocol):
    """See `Descriptors`."""

    watchful: bool

    def keep(self) -> None: ...
    def release(self) -> None: ...
    def spare(self) -> AbstractContextManager[None]: ...
    def expect(self) -> None: ...
    def begin_turn(self) -> None: ...
    def end_turn(self) -> None: ...
    def report(self) -> DescriptorsLeft | None: ...


class NoDescriptors:
    """For a place without sockets: there is nothing to keep any for."""

    watchful = False

    def keep(self) -> None: ...
    def release(self) -> None: ...
    def expect(self) -> None: ...
    def begin_turn(self) -> None: ...
    def end_turn(self) -> None: ...

    def spare(self) -> AbstractContextManager[None]:
        return nullcontext()

    def report(self) -> DescriptorsLeft | None:
        return None


class Descriptors:
    """This process's descriptors. The reserve is empty until `keep`."""

    def __init__(self, reserve: int = RESERVE) -> None:
        self._size = reserve
        self._held: list[int] = []

    def keep(self) -> None:
        """Fill the reserve, as far as that is possible now."""
        try:
            while len(self._held) < self._size:
                # A descriptor of its own costs the kernel no file.
                self._held.append(os.dup(self._held[0]) if self._held else _placeholder())
        except OSError:
            pass

    def release(self) -> None:
        """Empty the reserve: from now on anything in this process may take what was in it."""
        held, self._held = self._held, []
        for descriptor in held:
            with suppress(OSError):
                os.close(descriptor)

    @contextmanager
    def spare(self) -> Generator[None]:
        """What is opened in here finds the reserve; what is left of it afterwards is kept again."""
        kept = bool(self._held)
        self.release()
        try:
            yield
        finally:
            if kept:
                self.keep()

    @property
    def held(self) -> int:
        """How many of the reserve could be opened again: fewer than it has when the limit was lowered meanwhile."""
        return min(len(self._held), max(0, self._room()[0]))

    def left(self) -> tuple[int, int]:
        """How many can still be opened, the reserve not included, and how many may be open at once."""
        room, limit = self._room()
        return max(0, room - len(self._held)), limit

    def short(self) -> bool:
        """The bot has hardly any left, or the reserve could not be filled."""
        return self.left()[0] + self.held < _SHORT + self._size

    def close(self) -> None:
        self.release()

    def _room(self) -> tuple[int, int]:
        """How many could be opened if the reserve were empty, and the limit."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return limit - _count_open() + len(self._held), limit


def raise_limit(usual: int = 0) -> None:
    """Let this process open as many descriptors as it may at all; one that it forks gets the `usual` limit back.

    0: the limit that this process has now. A program that it *starts* (subprocess) gets the new limit: there is no
    place to set it back without slowing each start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    before = usual or soft
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if before >= most:
        return

    def set_back() -> None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))

    os.register_at_fork(after_in_child=set_back)


def _placeholder() -> int:
    return os.open("/", os.O_PATH | os.O_CLOEXEC)


def _count_open() -> int:
    """How many descriptors are open. Needs none itself where the kernel says the number (Linux 6.2 and later)."""
    try:
        if count := os.stat(_OPEN).st_size:
            return count
        return len(os.listdir(_OPEN))
    except OSError:
        # Not even the directory can be opened.
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
