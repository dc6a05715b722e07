"""The exchange's prices and orders. What happens to the account comes from the feed (`feeds.py`)."""

import asyncio

import aiohttp
import msgspec

from book import Position
from strategy import Direction


class Rejected(Exception):
    """The exchange refused an order."""


class Exchange:
    """The newest prices, and orders."""

    def __init__(self, url: str) -> None:
        self.prices: dict[str, float] = {}
        self._url = url
        self._known = asyncio.Event()

    async def connect(self) -> None:
        """Listen to prices, which every process may do. When this returns, they are known."""
        self._http = aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=2))
        self._listening = asyncio.create_task(self._listen())
        await self._known.wait()

    async def close(self) -> None:
        self._listening.cancel()
        await self._http.close()

    async def buy(self, client_id: str, contract: str, direction: Direction, size: int) -> None:
        """Raises `Rejected`."""
        await self._order(client_id, contract, "buy", direction, size)

    async def sell(self, client_id: str, contract: str, position: Position) -> None:
        """Raises `Rejected`."""
        await self._order(client_id, contract, "sell", position.direction, position.size)

    async def has_order(self, client_id: str) -> bool:
        """Whether an order with this id reached the exchange."""
        async with self._http.get(f"/orders/{client_id}") as answer:
            return answer.status == 200

    async def _order(self, client_id: str, contract: str, side: str, direction: str, size: int) -> None:
        order = {
            "client_id": client_id,
            "contract": contract,
            "side": side,
            "direction": direction,
            "size": size,
        }
        async with self._http.post("/orders", json=order) as answer:
            if answer.status != 201:
                raise Rejected(await answer.text())

    async def _listen(self) -> None:
        while True:
            try:
                async with self._http.ws_connect("/prices", heartbeat=5) as stream:
                    async for message in stream:
                        self.prices = msgspec.json.decode(message.data, type=dict[str, float])
                        self._known.set()
            except (aiohttp.ClientError, TimeoutError) as problem:
                print(f"WARNING prices: {problem}")
            await asyncio.sleep(0.5)
