"""The loop: asyncio's own, with an alarm in the very place where it waits.

A timer's descriptor (`clock.TimerFd`) works in any loop. It costs each tick a system call to set it, one to drain it,
and asyncio's way from a ready descriptor to a call-back. In a loop of our own the selector itself waits until the alarm
is due, and calls back: one system call, and nothing in between. It waits with `select` for the descriptor of its epoll,
which is readable when any of those in it is: the time-out of `epoll_wait` is in whole milliseconds, that of `select` is
as exact as the kernel's timers, give or take a thousandth of the time.

Waking up takes a while, and what runs then finds nothing in the processor's caches. So an alarm may be armed with a
lead: the selector wakes that much earlier, or less where it mostly wakes sooner, calls `nears`, and waits for the
moment awake.
"""

from __future__ import annotations

import asyncio
import ctypes
import select
import warnings
from collections.abc import Callable
from contextlib import suppress
from selectors import EpollSelector, SelectorKey
from time import monotonic_ns
from typing import Any

__all__ = ["AlarmSelector", "PreciseLoop", "runs_in_ours"]

_PR_SET_TIMERSLACK = 29
_LONG = 20_000_000
"""A wait longer than this is ended early and continued: a thousandth of what is left is exact enough."""
_FD_SETSIZE = 1024
_SLOW_AT_FIRST = 100_000
_LEAD_FOR_SLOW = 2
"""So many times what being woken takes lately is enough for it and for making ready."""


class AlarmSelector(EpollSelector):
    """A selector that also waits for a moment, and then calls back. One that `can_ring`."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: Callable[[], None] = _nothing
        """Called when the alarm is due, within `select`."""
        self.nears: Callable[[], None] = _nothing
        """Called before that, when there is time: the alarm rings at once after it, and nothing runs in between."""
        self.failed: Callable[[Exception], None] | None = None
        """Called with what that raised; without it, `select` raises it."""
        self.slow = _SLOW_AT_FIRST
        """How long after it was to wake it has woken, ns: nearer to the worst than to the least of late."""
        self._at = 0
        self._early = 0
        """When to wake for it."""
        self._fd = self.fileno()
        self.can_ring = self._fd < _FD_SETSIZE
        """`select` takes descriptors up to a bound."""
        if self.can_ring:
            _be_exact()

    def arm(self, at: int, lead: int = 0) -> None:
        """Ring at monotonic time `at` (ns), instead of any moment set before; at once when that is past.

        Wake before, by at most `lead` ns, and wait for the moment awake: the loop does nothing else in that time.
        """
        self._at = max(at, 1)
        self._early = self._at - min(lead, _LEAD_FOR_SLOW * self.slow)

    def disarm(self) -> None:
        """Do not ring."""
        self._at = 0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """What is ready, after at most `timeout` seconds. When the alarm rang there may be nothing."""
        at = self._at
        if not at or (timeout is not None and timeout <= 0):
            found = super().select(timeout)
            if at and monotonic_ns() >= at:
                self._ring()
            return found
        now, until = monotonic_ns(), self._early
        if now >= at:
            # It was due before anybody waited: what is ready must have its turn too, however often that is so.
            self._ring()
            return super().select(0)
        if timeout is not None:
            until = min(until, now + int(timeout * 1e9))
        while now < until:
            left = until - now
            wait = left if left < _LONG else left - left // 100
            if select.select((self._fd,), (), (), wait / 1e9)[0]:
                return super().select(0)
            now = monotonic_ns()
            if now >= until:
                # Quickly up and slowly down again: it settles at what seven of eight stay below.
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
        self.call_exception_handler({"message": "what an alarm had called raised", "exception": problem})


def runs_in_ours() -> bool:
    """Whether asyncio's default kind of loop is in force."""
    get_policy: Any = getattr(asyncio, "get_event_loop_policy", None)  # Python 3.16 has no policies any more.
    if get_policy is None:
        return True
    with warnings.catch_warnings():
        # Deprecated since 3.14. A bot that turns warnings into errors did not ask for this.
        warnings.simplefilter("ignore", DeprecationWarning)
        return type(get_policy()) is getattr(asyncio, "DefaultEventLoopPolicy")  # noqa: B009


def _be_exact() -> None:
    """Have this thread woken when it is time, and not up to 50 µs later to save a wake-up."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


def _nothing() -> None:
    """Stands for a call-back that was not set."""
