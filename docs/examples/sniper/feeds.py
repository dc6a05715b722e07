"""The feed: a process of its own that hears what happens to the account. It outlives deployments and crashes of the bot.

Exchanges allow few such connections for each key, often one. The bot's processes get what this one publishes.
"""

import asyncio
import os
from typing import Any, Protocol

import aiohttp
import msgspec

from book import Report


class Feed(Protocol):
    """What neverblink passes to `account`. `resume` is what was passed last, also by the process before this one."""

    resume: Any

    def publish(self, data: Report, *, resume: int) -> object: ...


async def account(feed: Feed) -> None:
    """Publish every report after the last one, for ever. When the connection breaks, fetch those that came meanwhile."""
    url = os.environ.get("MARKET_URL", "http://127.0.0.1:8790")
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=2)) as http:
        while True:
            try:
                async with http.ws_connect("/account", heartbeat=5) as stream:
                    await catch_up(feed, http)
                    async for message in stream:
                        report = msgspec.json.decode(message.data, type=Report)
                        if report.n == (feed.resume or 0) + 1:
                            feed.publish(report, resume=report.n)
                        elif report.n > (feed.resume or 0):
                            await catch_up(feed, http)
            except (aiohttp.ClientError, TimeoutError) as problem:
                print(f"WARNING account: {problem}")
            await asyncio.sleep(0.5)


async def catch_up(feed: Feed, http: aiohttp.ClientSession) -> None:
    async with http.get("/reports", params={"after": feed.resume or 0}) as answer:
        answer.raise_for_status()
        for report in msgspec.json.decode(await answer.read(), type=list[Report]):
            feed.publish(report, resume=report.n)
