"""The bot's connection to the exchange: two feeds that reconnect by themselves, and orders in two steps."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec
from book import Fill

ACCOUNT = "demo"


class Rejected(Exception):
    """The exchange refused an order."""


class Exchange:
    """Current prices, fills (passed to `on_fill`), and orders."""

    def __init__(self, url: str, on_fill: Callable[[Fill], None]) -> None:
        self.prices: Mapping[str, float] = {}
        self._url = url
        self._on_fill = on_fill
        self._next_fill = ""
        self._feeds: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Open both feeds. When this returns, prices are known and no fill is missed from then on."""
        self._http = aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=5))
        ready = [asyncio.Event(), asyncio.Event()]
        self._feeds = [
            asyncio.create_task(self._listen("/prices", self._take_prices, ready[0])),
            asyncio.create_task(self._listen("/account", self._take_fills, ready[1])),
        ]
        for feed in ready:
            await feed.wait()

    async def close(self) -> None:
        for feed in self._feeds:
            feed.cancel()
        await self._http.close()

    async def order(self, client_id: str, contract: str, side: str, direction: str, size: int) -> None:
        """Reserve an order, then confirm it. Raises `Rejected`."""
        order = {"contract": contract, "side": side, "direction": direction, "size": size}
        async with self._http.post(
            "/orders", json={"account": ACCOUNT, "client_id": client_id, **order}
        ) as answer:
            answered = await answer.json()
            if answer.status != 201:
                raise Rejected(answered["error"])
        await self._confirm(answered["order"])

    async def finish(self, client_id: str) -> bool:
        """Confirm an order if it was begun; return whether it was."""
        async with self._http.get("/orders", params={"account": ACCOUNT, "client_id": client_id}) as answer:
            if answer.status != 200:
                return False
            answered = await answer.json()
        await self._confirm(answered["order"])
        return True

    async def _confirm(self, order: str) -> None:
        async with self._http.post(f"/orders/{order}/confirm") as answer:
            answer.raise_for_status()

    async def _listen(self, path: str, take: Callable[[Any], None], ready: asyncio.Event) -> None:
        """Keep a feed open. After a disconnect, fills continue where they stopped."""
        while True:
            with suppress(aiohttp.ClientError, OSError):
                parameters = {"account": ACCOUNT, "from": self._next_fill}
                async with self._http.ws_connect(path, params=parameters) as feed:
                    async for message in feed:
                        take(message.json())
                        ready.set()
            await asyncio.sleep(0.1)

    def _take_prices(self, answered: Any) -> None:
        self.prices = answered["prices"]

    def _take_fills(self, answered: Any) -> None:
        self._next_fill = str(answered["next"])
        for fill in answered["fills"]:
            self._on_fill(msgspec.convert(fill, Fill))
