"""What wakes a worker: an alarm that rings on time, and a bell that any thread may ring."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from .clock import TimerFd
from .precise_loop import AlarmSelector

__all__ = ["Reactor", "Waker", "no_alarm"]


class Reactor(Protocol):
    """Calls back when a descriptor becomes readable: an asyncio loop, or a `Poller`."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...


class Waker:
    """A bell, and from `open` on an alarm: the reactor's own where it has one, else a timer descriptor."""

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reactor: Reactor | None = None
        self._alarm: AlarmSelector | TimerFd | None = None

    def open(
        self,
        reactor: Reactor,
        on_alarm: Callable[[], None],
        on_bell: Callable[[], None],
        before_alarm: Callable[[], None],
    ) -> Callable[[int, int], None]:
        """Call `on_alarm()` when the alarm rings and `on_bell()` after `wake`, until `close`. Returns what sets the
        alarm.

        `before_alarm` is for an `AlarmSelector`. Raises `TimerFdError` when the alarm can't be made.
        """

        def on_wake() -> None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            on_bell()

        self._reactor = reactor
        reactor.add_reader(self._bell, on_wake)
        selector = getattr(reactor, "alarm", None)
        if isinstance(selector, AlarmSelector) and selector.can_ring:
            selector.rings = on_alarm
            selector.nears = before_alarm
            self._alarm = selector
            return selector.arm
        timer = self._alarm = TimerFd()

        def on_timer() -> None:
            timer.drain()
            on_alarm()

        reactor.add_reader(timer.fileno(), on_timer)
        return timer.arm

    def wake(self) -> None:
        """Ring the bell; from any thread, and from a signal handler."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        reactor, self._reactor = self._reactor, None
        if reactor is not None:
            reactor.remove_reader(self._bell)
        alarm, self._alarm = self._alarm, None
        if isinstance(alarm, TimerFd):
            if reactor is not None:
                reactor.remove_reader(alarm.fileno())
            alarm.close()
        elif alarm is not None:
            alarm.disarm()
        bell, self._bell = self._bell, -1
        if bell >= 0:
            os.close(bell)


def no_alarm(at: int, lead: int) -> None:
    """Stands for what sets the alarm, until `Waker.open` has returned it."""
