"""Named timers that can be armed and disarmed, and waiting for a condition without polling.

Durations are nanoseconds. The event loop is a parameter, so that a test can use its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["REPEAT_AFTER", "Conditions", "Handle", "Scheduler", "TimerSet"]

REPEAT_AFTER = 500_000_000
"""After so many ns without an answer a message to a worker is sent again."""


class Handle(Protocol):
    """An armed timer."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """The part of an event loop that timers use, as `asyncio.AbstractEventLoop` has it."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Handle: ...


class TimerSet:
    """Calls `expired(name)` when an armed timer runs out. Arming it again restarts it."""

    def __init__(
        self, scheduler: Scheduler, after: Mapping[str, int], expired: Callable[[str], None]
    ) -> None:
        self._scheduler = scheduler
        self._after = after
        self._expired = expired
        self._armed: dict[str, Handle] = {}

    def arm(self, name: str) -> None:
        self.disarm(name)
        self._armed[name] = self._scheduler.call_later(self._after[name] / 1e9, lambda: self._expire(name))

    def disarm(self, name: str) -> None:
        handle = self._armed.pop(name, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        for name in list(self._armed):
            self.disarm(name)

    def _expire(self, name: str) -> None:
        self._armed.pop(name, None)
        self._expired(name)


class Conditions:
    """Coroutines that wait for conditions over the state of one bot."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: set[asyncio.Future[None]] = set()

    def stir(self) -> None:
        """Make every waiting coroutine check its condition again."""
        for waiter in self._waiters:
            _wake(waiter)

    async def until(self, condition: Callable[[], object], within: int | None = None) -> bool:
        """Wait until `condition()` is true; return False when it is still false after `within` ns."""
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            self.stir()

        timer = None if within is None else self._scheduler.call_later(within / 1e9, expire)
        try:
            while not condition():
                if late:
                    return False
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.discard(waiter)
            return True
        finally:
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
