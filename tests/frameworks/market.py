"""A simulated market on the loopback interface: numbered trades by websocket and by polling, and orders by HTTP.

A bot is to place one order for each trade, and to name the trade in it. So the market knows what was lost, doubled or
reordered. It accepts an order's client id once, as exchanges do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence

from aiohttp import web

from .driver import Done

__all__ = ["Market"]


class Market:
    """Trades of each symbol at `rate` a second, from the first client on. Use it with `with`.

    GET /ws is a websocket of trades; GET /trades?since=N has those from number N on; POST /orders takes an order
    {"id", "symbol", "n"}. A trade is {"symbol", "n", "price", "at"}.
    """

    def __init__(self, symbols: Sequence[str] = ("BTC", "ETH"), rate: float = 20.0) -> None:
        self._symbols, self._rate = symbols, rate
        self._trades: list[dict[str, object]] = []
        self._orders: dict[str, dict[str, object]] = {}
        self._done: list[Done] = []
        self._clients: set[web.WebSocketResponse] = set()
        self._silent = threading.Event()
        self._wanted = threading.Event()
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0
        self.sessions = 0
        """The websockets that were opened."""

    def __enter__(self) -> Market:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def environment(self) -> Mapping[str, str]:
        return {"MARKET": f"127.0.0.1:{self.port}"}

    def sent(self) -> Sequence[tuple[str, int]]:
        return [(str(trade["symbol"]), int(str(trade["n"]))) for trade in list(self._trades)]

    def done(self) -> Sequence[Done]:
        return list(self._done)

    def fall_silent(self) -> None:
        self._silent.set()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        app = web.Application()
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/trades", self._since)
        app.router.add_post("/orders", self._order)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._begun.set()
        trading = asyncio.create_task(self._trade())
        await self._ended.wait()
        trading.cancel()
        await runner.cleanup()

    async def _trade(self) -> None:
        n = 0
        while not self._silent.is_set():
            await asyncio.sleep(1 / self._rate)
            if not self._wanted.is_set() or self._silent.is_set():
                continue
            n += 1
            for symbol in self._symbols:
                trade: dict[str, object] = {
                    "symbol": symbol,
                    "n": n,
                    "price": 100.0 + n % 7,
                    "at": time.time(),
                }
                self._trades.append(trade)
                for client in list(self._clients):
                    try:
                        await client.send_json(trade)
                    except (ConnectionError, RuntimeError):
                        self._clients.discard(client)

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sessions += 1
        self._clients.add(socket)
        self._wanted.set()
        try:
            async for _ in socket:
                pass
        finally:
            self._clients.discard(socket)
        return socket

    async def _since(self, request: web.Request) -> web.Response:
        self._wanted.set()
        since = int(request.query.get("since", "0"))
        return web.json_response([trade for trade in self._trades if int(str(trade["n"])) >= since])

    async def _order(self, request: web.Request) -> web.Response:
        order = await request.json()
        if order["id"] in self._orders:
            return web.json_response({"error": "duplicate", "order": self._orders[order["id"]]}, status=409)
        self._orders[order["id"]] = order
        self._done.append(Done(order["symbol"], order["n"], time.monotonic()))
        return web.json_response(order)
