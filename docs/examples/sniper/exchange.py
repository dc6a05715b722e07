"""The connection to the exchange: two streams that reconnect by themselves, and orders."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from book import Position, Report
from strategy import Direction


class Rejected(Exception):
    """The exchange refused an order."""


class Exchange:
    """Prices, what happens to the account (passed to `on_report`), and orders."""

    def __init__(self, url: str, on_report: Callable[[Report], None]) -> None:
        self.prices: dict[str, float] = {}
        self._url = url
        self._on_report = on_report
        self._last_report = 0
        self._streams: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Open both streams. When this returns, prices are known and no report is missed from then on."""
        self._http = aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=2))
        ready = [asyncio.Event(), asyncio.Event()]
        self._streams = [
            asyncio.create_task(self._listen("/prices", self._take_prices, ready[0])),
            asyncio.create_task(self._listen("/account", self._take_report, ready[1])),
        ]
        for stream in ready:
            await stream.wait()

    async def close(self) -> None:
        for stream in self._streams:
            stream.cancel()
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

    async def catch_up(self, last: int) -> None:
        """Pass on every report after number `last`: what happened while no process listened."""
        async with self._http.get("/reports", params={"after": last}) as answer:
            answer.raise_for_status()
            for report in msgspec.json.decode(await answer.read(), type=list[Report]):
                self._pass_on(report)

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

    async def _listen(self, path: str, take: Callable[[bytes], Any], ready: asyncio.Event) -> None:
        """Keep a stream open. After it broke, fetch the reports that came meanwhile."""
        while True:
            try:
                async with self._http.ws_connect(path, heartbeat=5) as stream:
                    if ready.is_set():
                        await self.catch_up(self._last_report)
                    ready.set()
                    async for message in stream:
                        take(message.data)
            except (aiohttp.ClientError, TimeoutError) as problem:
                print(f"WARNING {path}: {problem}")
            await asyncio.sleep(0.5)

    def _take_prices(self, message: bytes) -> None:
        self.prices = msgspec.json.decode(message, type=dict[str, float])

    def _take_report(self, message: bytes) -> None:
        self._pass_on(msgspec.json.decode(message, type=Report))

    def _pass_on(self, report: Report) -> None:
        self._last_report = max(self._last_report, report.n)
        self._on_report(report)
