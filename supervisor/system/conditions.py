"""Waiting for a condition without polling.

After a change of the supervisor's state, `stir()` makes every waiting coroutine check its condition again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .timers import Scheduler

__all__ = ["Conditions"]


class Conditions:
    """Where coroutines wait for conditions over the state of one bot."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: set[asyncio.Future[None]] = set()

    def stir(self) -> None:
        """Something has changed: everyone who waits looks again."""
        for waiter in self._waiters:
            _wake(waiter)

    async def until(self, condition: Callable[[], object], within: int | None = None) -> bool:
        """Wait until `condition()` is true; return False when it has not become so `within` ns."""
        late = False

        def run_out() -> None:
            nonlocal late
            late = True
            self.stir()

        alarm = None if within is None else self._scheduler.call_later(within / 1e9, run_out)
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
            if alarm is not None:
                alarm.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
