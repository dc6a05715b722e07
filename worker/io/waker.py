"""What wakes a worker: an alarm that rings on time, and a bell that any thread may ring."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from .clock import TimerFd
from .precise_loop import AlarmSelector

__all__ = ["Reactor", "Waker"]


class Reactor(Protocol):
    """Calls back when a descriptor becomes readable: an asyncio loop, or a `Poller`."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...


class Waker:
    """An alarm and a bell. Raises `AlarmError` where the kernel has none."""

    def __init__(self) -> None:
        self._alarm = TimerFd()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reactor: Reactor | None = None
        self._selector: AlarmSelector | None = None
        self.arm = self._alarm.arm

    def open(
        self,
        reactor: Reactor,
        rang: Callable[[], None],
        woken: Callable[[], None],
        nears: Callable[[], None],
    ) -> None:
        """From now on call `rang()` when the alarm rings, and `woken()` after `wake`; `nears()` as a selector's."""

        def on_alarm() -> None:
            self._alarm.drain()
            rang()

        def on_bell() -> None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            woken()

        self._reactor = reactor
        reactor.add_reader(self._bell, on_bell)
        selector = getattr(reactor, "alarm", None)
        if isinstance(selector, AlarmSelector) and selector.can_ring:
            self._selector = selector
            selector.rings = rang
            selector.nears = nears
            self.arm = selector.arm
        else:
            reactor.add_reader(self._alarm.fileno(), on_alarm)

    def wake(self) -> None:
        """Ring the bell; from any thread, and from a signal handler."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        if self._reactor is not None:
            self._reactor.remove_reader(self._bell)
            if self._selector is not None:
                self._selector.disarm()
            else:
                self._reactor.remove_reader(self._alarm.fileno())
            self._reactor = None
        self._alarm.close()
        bell, self._bell = self._bell, -1
        if bell >= 0:
            os.close(bell)
