"""The feed: a process of its own that listens to the stream of quotes. It outlives deployments and crashes of the bot.

The source sends again whatever is asked for, such as Kafka or this example's market.
"""

import asyncio
import json
import os
from typing import Any, Protocol

import msgspec

from analytics import Quote


class Feed(Protocol):
    """What neverblink passes to `quotes`. `resume` is what was passed last, also by the process before this one."""

    resume: Any

    def publish(self, data: Quote, *, resume: int) -> object: ...


async def quotes(feed: Feed) -> None:
    """Publish every quote after the last one, for ever. When the connection breaks, go on where it broke."""
    host, _, port = os.environ.get("MARKET_URL", "tcp://127.0.0.1:8792").rpartition("/")[2].partition(":")
    while True:
        try:
            await listen(feed, *await asyncio.open_connection(host, int(port)))
        except OSError as problem:
            print(f"WARNING quotes: {problem}")
        await asyncio.sleep(0.5)


async def listen(feed: Feed, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(json.dumps({"after": feed.resume or 0}).encode() + b"\n")
        while line := await reader.readline():
            quote = msgspec.json.decode(line, type=Quote)
            feed.publish(quote, resume=quote.n)
    finally:
        writer.close()
