"""Waking a worker on time: an event loop whose selector has an alarm, the same without asyncio, and the waker.

A timer descriptor (`clock.TimerFd`) works in any loop. It costs each tick a system call to set it, one to drain it, and
asyncio's path from a ready descriptor to a callback. In `PreciseLoop` the selector itself waits until the alarm is due,
and calls back: one system call, and nothing in between. It waits with `select` for the descriptor of its epoll, which
is readable when any descriptor in it is: the time-out of `epoll_wait` is in whole milliseconds, that of `select` as
exact as the kernel's timers, within a thousandth of the time.

Waking up takes a while, and the code that runs then finds the processor's caches cold. So an alarm may be armed with a
lead: the selector wakes earlier by that much, or by less if it mostly wakes on time, calls `nears`, and spins until the
alarm is due.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import selectors
import warnings
from collections.abc import Callable
from contextlib import suppress
from selectors import EpollSelector, SelectorKey
from time import monotonic_ns
from typing import Any, Protocol

from .clock import TimerFd

__all__ = [
    "AlarmSelector",
    "Poller",
    "PreciseLoop",
    "Reactor",
    "Waker",
    "default_policy_in_force",
    "no_alarm",
]

_PR_SET_TIMERSLACK = 29
_LONG = 20_000_000
"""A wait longer than this is ended early and continued: a thousandth of what is left is exact enough."""
_FD_SETSIZE = 1024
_SLOW_AT_FIRST = 100_000
_LEAD_FOR_SLOW = 2
"""The lead is at most the recent wake-up latency times this."""


class AlarmSelector(EpollSelector):
    """A selector with an alarm: it also waits for a time, and then calls back. Only if `can_ring`."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: Callable[[], None] = _nothing
        """Called when the alarm is due, within `select`."""
        self.nears: Callable[[], None] = _nothing
        """Called shortly before `rings`, when there is time. Nothing runs between the two."""
        self.failed: Callable[[Exception], None] | None = None
        """Called with an exception of `rings`; without it, `select` raises the exception."""
        self.slow = _SLOW_AT_FIRST
        """The recent wake-up latency, ns: about the seventh of eight, from best to worst."""
        self._at = 0
        self._early = 0
        """When to wake for the alarm."""
        self._fd = self.fileno()
        self.can_ring = self._fd < _FD_SETSIZE
        """`select` accepts only descriptors below a limit."""
        if self.can_ring:
            _be_exact()

    def arm(self, at: int, lead: int = 0) -> None:
        """Fire at monotonic time `at` (ns), instead of any time set before; at once when that is past.

        Wake up to `lead` ns earlier and spin until then: the loop does nothing else in that time.
        """
        self._at = max(at, 1)
        self._early = self._at - min(lead, _LEAD_FOR_SLOW * self.slow)

    def disarm(self) -> None:
        """Do not fire."""
        self._at = 0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """The ready descriptors, after at most `timeout` seconds. May be empty when the alarm has fired."""
        at = self._at
        if not at or (timeout is not None and timeout <= 0):
            found = super().select(timeout)
            if at and monotonic_ns() >= at:
                self._ring()
            return found
        now, until = monotonic_ns(), self._early
        if now >= at:
            # The alarm is overdue. Ready descriptors are returned too, so that they do not starve if it always is.
            self._ring()
            return super().select(0)
        if timeout is not None:
            until = min(until, now + int(timeout * 1e9))
        while now < until:
            remaining = until - now
            wait = remaining if remaining < _LONG else remaining - remaining // 100
            if select.select((self._fd,), (), (), wait / 1e9)[0]:
                return super().select(0)
            now = monotonic_ns()
            if now >= until:
                # Rises quickly and falls slowly: it settles where seven of eight latencies are below.
                apart = now - until - self.slow
                self.slow += apart // 4 if apart > 0 else apart // 32
        if now >= self._early:
            if now < at:
                self.nears()
                while monotonic_ns() < at:
                    pass
            self._ring()
        return []

    def _ring(self) -> None:
        self._at = 0
        try:
            self.rings()
        except Exception as problem:
            if self.failed is None:
                raise
            self.failed(problem)


class PreciseLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose selector is `alarm`."""

    def __init__(self) -> None:
        self.alarm = AlarmSelector()
        super().__init__(self.alarm)
        self.alarm.failed = self._failed

    def _failed(self, problem: Exception) -> None:
        self.call_exception_handler({"message": "the callback of an alarm raised", "exception": problem})


def default_policy_in_force() -> bool:
    """Whether asyncio uses its default event loop policy."""
    get_policy: Any = getattr(asyncio, "get_event_loop_policy", None)  # Python 3.16 has no policies.
    if get_policy is None:
        return True
    with warnings.catch_warnings():
        # Deprecated since 3.14; must not fail in a bot that turns warnings into errors.
        warnings.simplefilter("ignore", DeprecationWarning)
        return type(get_policy()) is getattr(asyncio, "DefaultEventLoopPolicy")  # noqa: B009


def _be_exact() -> None:
    """Set this thread's timer slack to 1 ns. The default lets the kernel wake it up to 50 µs late."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


def _nothing() -> None:
    """The callback when none was set."""


class Reactor(Protocol):
    """Calls back when a descriptor becomes readable: an asyncio loop, or a `Poller`."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...


class Waker:
    """An event descriptor that any thread can signal and, from `open` on, an alarm.

    The alarm is the reactor's own `AlarmSelector` if it has one, else a timer descriptor.
    """

    def __init__(self) -> None:
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reactor: Reactor | None = None
        self._alarm: AlarmSelector | TimerFd | None = None

    def open(
        self,
        reactor: Reactor,
        on_alarm: Callable[[], None],
        on_wake: Callable[[], None],
        before_alarm: Callable[[], None],
    ) -> Callable[[int, int], None]:
        """Call `on_alarm()` when the alarm fires and `on_wake()` after `wake`, until `close`.

        Returns the function that arms the alarm. `before_alarm` is for an `AlarmSelector`. Raises `TimerFdError` when
        the alarm can't be made.
        """

        def on_event() -> None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._event_fd)
            on_wake()

        self._reactor = reactor
        reactor.add_reader(self._event_fd, on_event)
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
        """Wake the loop; callable from any thread and from a signal handler."""
        if self._event_fd >= 0:
            os.eventfd_write(self._event_fd, 1)

    def close(self) -> None:
        reactor, self._reactor = self._reactor, None
        if reactor is not None:
            reactor.remove_reader(self._event_fd)
        alarm, self._alarm = self._alarm, None
        if isinstance(alarm, TimerFd):
            if reactor is not None:
                reactor.remove_reader(alarm.fileno())
            alarm.close()
        elif alarm is not None:
            alarm.disarm()
        event_fd, self._event_fd = self._event_fd, -1
        if event_fd >= 0:
            os.close(event_fd)


def no_alarm(at: int, lead: int) -> None:
    """Does nothing; used for arming before `Waker.open` has returned the real function."""


class Poller:
    """The wait of a bot without an event loop: calls back for readable descriptors, only during `wait`."""

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
