"""What is done about once a second, and at once on request.

Several parts read or write a file each second. They do it at the same moment, so that an idle supervisor is woken once
for all of them; and a round that was not requested costs neither an exception nor a task.
"""

from __future__ import annotations

import asyncio

__all__ = ["PollLoop"]

_TOGETHER = 0.5
"""Seconds. A wait that may be longer than this ends at a multiple of it, on the loop's clock."""


class PollLoop:
    """What one task waits for between two of its rounds. Anybody in its loop may call for the next."""

    def __init__(self) -> None:
        self._called = False
        self._waiter: asyncio.Future[None] | None = None

    def call(self) -> None:
        """Have the next round begin at once."""
        self._called = True
        self._over()

    def begin(self) -> bool:
        """Begin a round: who calls from now on calls for the next one. Return whether anybody called for this one."""
        called, self._called = self._called, False
        return called

    async def wait(self, within: float) -> None:
        """Wait for a request, or for `within` seconds, or somewhat less: until the others' round."""
        if self._called:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        if within > _TOGETHER:
            until -= until % _TOGETHER
        self._waiter = loop.create_future()
        alarm = loop.call_at(until, self._over)
        try:
            await self._waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def _over(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
