"""A poller: what a bot without an event loop waits with."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from contextlib import suppress

from .precise_loop import AlarmSelector

__all__ = ["Poller"]


class Poller:
    """Calls back for readable descriptors, as an asyncio loop does, but only during `wait`."""

    def __init__(self) -> None:
        self.alarm = self._selector = AlarmSelector()

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> None:
        self.remove_reader(fd)
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int, /) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until a descriptor is readable, and call back for each that is."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def close(self) -> None:
        self._selector.close()
