"""Alarms by name: what the machines arm and disarm.

Durations come as nanoseconds; the loop comes by parameter, so a test rings its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["Handle", "Scheduler", "TimerSet"]


class Handle(Protocol):
    """An alarm that waits."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """What is needed of an event loop: `asyncio.AbstractEventLoop` has it."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Handle: ...


class TimerSet:
    """Calls `ring(name)` when an armed alarm has run out. Arming again starts it anew."""

    def __init__(self, scheduler: Scheduler, after: Mapping[str, int], ring: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._after = after
        self._ring = ring
        self._armed: dict[str, Handle] = {}

    def arm(self, name: str) -> None:
        self.disarm(name)
        self._armed[name] = self._scheduler.call_later(self._after[name] / 1e9, lambda: self._rung(name))

    def disarm(self, name: str) -> None:
        handle = self._armed.pop(name, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        for name in list(self._armed):
            self.disarm(name)

    def _rung(self, name: str) -> None:
        self._armed.pop(name, None)
        self._ring(name)
