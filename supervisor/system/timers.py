"""Named timers that can be armed and disarmed.

Durations are nanoseconds. The event loop is a parameter, so that a test can use its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["REPEAT_AFTER", "Handle", "Scheduler", "TimerSet"]


REPEAT_AFTER = 500_000_000
"""A message to a worker that has not been answered after so many ns is sent again."""


class Handle(Protocol):
    """A timer that is armed."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """What is needed of an event loop: `asyncio.AbstractEventLoop` has it."""

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
