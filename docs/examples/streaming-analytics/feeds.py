"""The stream of quotes: a source that sends again whatever is asked for, such as Kafka or this example's market."""

import asyncio
import json
import os
from collections.abc import Callable

import msgspec

from analytics import Quote


async def listen(after: int, take: Callable[[Quote], None]) -> None:
    """Pass on every quote after number `after`, for ever. When the connection breaks, go on where it broke."""
    host, _, port = os.environ.get("MARKET_URL", "tcp://127.0.0.1:8792").rpartition("/")[2].partition(":")
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(json.dumps({"after": after}).encode() + b"\n")
                while line := await reader.readline():
                    quote = msgspec.json.decode(line, type=Quote)
                    take(quote)
                    after = quote.n
            finally:
                writer.close()
        except OSError as problem:
            print(f"WARNING quotes: {problem}")
        await asyncio.sleep(0.5)
