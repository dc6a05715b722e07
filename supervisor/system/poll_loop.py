"""A loop that runs about once a second, and at once on request.

Several parts read or write a file each second. They run at the same moment, so that an idle supervisor wakes up once
for all of them. A round that was not requested costs neither an exception nor a task.
"""

from __future__ import annotations

import asyncio

__all__ = ["PollLoop"]

_TOGETHER = 0.5
"""Seconds. A wait longer than this ends at a multiple of it, on the loop's clock."""


class PollLoop:
    """What one task waits for between two rounds. Other tasks of its event loop may request a round."""

    def __init__(self) -> None:
        self._called = False
        self._waiter: asyncio.Future[None] | None = None

    def call(self) -> None:
        """Start the next round at once."""
        self._called = True
        self._over()

    def begin(self) -> bool:
        """Begin a round; return whether it was requested. Later calls request the next round."""
        called, self._called = self._called, False
        return called

    async def wait(self, within: float) -> None:
        """Wait for a request, or for about `within` seconds: rounds of several loops are aligned."""
        if self._called:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        if within > _TOGETHER:
            until -= until % _TOGETHER
        self._waiter = loop.create_future()
        timer = loop.call_at(until, self._over)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _over(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
