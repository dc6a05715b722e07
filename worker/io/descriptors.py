"""The file descriptors of a worker: how many are left, and a reserve for what must not fail when they run out.

A bot that leaks descriptors ticks on at its limit. A deployment cures it, but a handoff needs descriptors in the old
leader: for the follower's connection, the final-frame socket, a segment of the journal. So a leader holds some unused
descriptors open, and closes them when neverblink itself needs one.

libzmq ends the process when it can't accept a connection on a Unix socket. So a leader that is short of descriptors
accepts no connection while the bot's code runs: see `follower_socket`.
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
"""About twice as many as a handoff opens in the old leader."""
_SHORT = 32
"""A leader with fewer left than this, besides its reserve, is short of descriptors."""
_MOST = 1 << 20
"""Some container engines set a hard limit of 2^30, with which programs that close every descriptor take hours."""
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
    """For a worker without sockets, which needs no reserve."""

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
    """The descriptors of this process. The reserve is empty until `keep`."""

    def __init__(self, reserve: int = RESERVE) -> None:
        self._size = reserve
        self._held: list[int] = []

    def keep(self) -> None:
        """Fill the reserve as far as possible."""
        try:
            while len(self._held) < self._size:
                # A duplicate costs the kernel no open file.
                self._held.append(os.dup(self._held[0]) if self._held else _placeholder())
        except OSError:
            pass

    def release(self) -> None:
        """Empty the reserve: anything in this process may take its descriptors now."""
        held, self._held = self._held, []
        for descriptor in held:
            with suppress(OSError):
                os.close(descriptor)

    @contextmanager
    def spare(self) -> Generator[None]:
        """Release the reserve inside this context; fill it again afterwards, as far as possible."""
        kept = bool(self._held)
        self.release()
        try:
            yield
        finally:
            if kept:
                self.keep()

    @property
    def held(self) -> int:
        """How much of the reserve is usable: less than its size after the limit was lowered."""
        return min(len(self._held), max(0, self._room()[0]))

    def left(self) -> tuple[int, int]:
        """How many can still be opened, the reserve not included, and how many may be open at once."""
        room, limit = self._room()
        return max(0, room - len(self._held)), limit

    def short(self) -> bool:
        """Whether the bot has hardly any left, or the reserve could not be filled."""
        return self.left()[0] + self.held < _SHORT + self._size

    def close(self) -> None:
        self.release()

    def _room(self) -> tuple[int, int]:
        """How many could be opened if the reserve were empty, and the limit."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return limit - _count_open() + len(self._held), limit


def raise_limit(usual: int = 0) -> None:
    """Raise this process's limit of open descriptors to the maximum; a forked child gets the `usual` limit back.

    `usual` 0 means the present limit. A program that the process *starts* (subprocess) keeps the raised limit:
    resetting it would slow down each start.
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
    """The number of open descriptors. Needs no descriptor itself on Linux 6.2 and later."""
    try:
        if count := os.stat(_OPEN).st_size:
            return count
        return len(os.listdir(_OPEN))
    except OSError:
        # Not even the directory can be opened.
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
