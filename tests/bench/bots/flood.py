"""The bot that is measured with many events: it counts them. It is fed by a task of its own.

Told by the environment: BENCH_RATE, events a second by the wall clock, under the same keys in each process; 0 for as
many as the bot takes.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import msgspec

from neverblink.worker import Event, Worker, join

RATE = int(os.environ.get("BENCH_RATE", "0"))
_BEGAN = 1_790_000_000
_AT_ONCE = 200
_WAITING = 2_000


class Book(msgspec.Struct):
    events: int = 0
    last: float = 0.0


class _Fed(Worker[Book]):
    tick = "10ms"

    async def on_start(self) -> None:
        self.feed = asyncio.create_task(feed(self))

    def on_command(self, name: str, args: dict[str, Any]) -> int:
        return self.state.events


class Each(_Fed):
    """A turn for each event."""

    def on_event(self, event: Event) -> None:
        book = self.state
        book.events += 1
        book.last = event.data["p"]


class Batches(_Fed):
    """A turn for all that wait."""

    def on_events(self, events: list[Event]) -> None:
        book = self.state
        for event in events:
            book.events += 1
            book.last = event.data["p"]


async def loop() -> None:
    """The same as a loop."""
    ticks = join(Book, tick="10ms")
    feeding = asyncio.create_task(feed(ticks))
    async for tick in ticks:
        for event in tick.events:
            tick.state.events += 1
            tick.state.last = event.data["p"]
        for command in tick.commands:
            tick.answers[command.key] = tick.state.events
    feeding.cancel()


async def feed(bot: Any) -> None:
    """Put events into the bot's inbox."""
    at = int((time.time() - _BEGAN) * RATE)
    while True:
        if RATE:
            await asyncio.sleep(0.001)
            until = int((time.time() - _BEGAN) * RATE)
        else:
            await asyncio.sleep(0)
            until = at + _AT_ONCE if bot.inbox.waiting < _WAITING else at
        for number in range(at, until):
            bot.inbox.put(str(number), {"s": "BTCUSDT", "p": 50000.5, "q": 0.1, "t": number})
        at = max(at, until)
