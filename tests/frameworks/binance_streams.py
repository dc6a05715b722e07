"""A part of Binance on the loopback interface, as ccxt.pro uses it: streams of trades by websocket, and orders.

Each pair has numbered trades, from the first subscription on. The bot is to place one order for each trade, and to name
the trade in the order's client id, which the exchange accepts once.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Mapping, Sequence

from aiohttp import web

from .driver import Done

__all__ = ["BinanceStreams"]


class BinanceStreams:
    """The exchange with these `coins`, each with a pair against USDT that trades `rate` times a second.

    Use it with `with`.
    """

    def __init__(self, coins: Sequence[str], rate: float = 20.0) -> None:
        self.port = 0
        self.sessions = 0
        """The websockets that were opened."""
        self.most_sessions = 0
        """The most of them at one time."""
        self.refused = 0
        """Orders whose client id the exchange had accepted before."""
        self._coins, self._rate = coins, rate
        self._sockets: dict[web.WebSocketResponse, set[str]] = {}
        self._sent: list[tuple[str, int]] = []
        self._orders: set[str] = set()
        self._done: list[Done] = []
        self._silent = threading.Event()
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> BinanceStreams:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def environment(self) -> Mapping[str, str]:
        return {"EXCHANGE": f"127.0.0.1:{self.port}"}

    def sent(self) -> list[tuple[str, int]]:
        return list(self._sent)

    def done(self) -> list[Done]:
        return list(self._done)

    def fall_silent(self) -> None:
        self._silent.set()

    # --- the server -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended, self._asked = asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/stream/{stream}", self._stream)
        app.router.add_get("/api/v3/exchangeInfo", self._markets)
        app.router.add_post("/api/v3/order", self._order)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._begun.set()
        trading = asyncio.create_task(self._trade())
        await self._ended.wait()
        trading.cancel()
        await runner.cleanup()

    async def _trade(self) -> None:
        wanted = {f"{coin.lower()}usdt@trade" for coin in self._coins}
        while not wanted <= set().union(*self._sockets.values()):
            self._asked.clear()
            await self._asked.wait()
        for number in itertools.count(1):
            await asyncio.sleep(1 / self._rate)
            if self._silent.is_set():
                return
            for coin in self._coins:
                await self._send_trade(f"{coin}USDT", number)

    async def _send_trade(self, symbol: str, number: int) -> None:
        now = int(time.time() * 1000)
        trade = {
            "e": "trade",
            "E": now,
            "s": symbol,
            "t": number,
            "p": f"{100 + number % 7}.00",
            "q": "0.5",
            "T": now,
            "m": True,
        }
        self._sent.append((symbol, number))
        for socket, streams in list(self._sockets.items()):
            if f"{symbol.lower()}@trade" in streams:
                await socket.send_json(trade)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sessions += 1
        streams = self._sockets[socket] = set()
        self.most_sessions = max(self.most_sessions, len(self._sockets))
        try:
            async for message in socket:
                asked = message.json()
                streams.update(asked["params"])
                self._asked.set()
                await socket.send_json({"result": None, "id": asked["id"]})
        finally:
            del self._sockets[socket]
        return socket

    async def _markets(self, request: web.Request) -> web.Response:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "100000", "stepSize": "0.0001"},
        ]
        symbols = [
            {
                "symbol": f"{coin}USDT",
                "status": "TRADING",
                "baseAsset": coin,
                "quoteAsset": "USDT",
                "orderTypes": ["LIMIT", "MARKET"],
                "isSpotTradingAllowed": True,
                "permissionSets": [["SPOT"]],
                "filters": filters,
            }
            for coin in self._coins
        ]
        return web.json_response({"timezone": "UTC", "symbols": symbols})

    async def _order(self, request: web.Request) -> web.Response:
        asked = {**request.query, **await request.post()}
        client_id = str(asked["newClientOrderId"])
        if client_id in self._orders:
            self.refused += 1
            return web.json_response({"code": -2010, "msg": "Duplicate order sent."}, status=400)
        self._orders.add(client_id)
        symbol, _, number = client_id.partition("-")
        self._done.append(Done(symbol, int(number), time.monotonic()))
        order = {
            "symbol": symbol,
            "orderId": len(self._orders),
            "clientOrderId": client_id,
            "transactTime": int(time.time() * 1000),
            "price": "0",
            "origQty": "1",
            "executedQty": "1",
            "cummulativeQuoteQty": "100",
            "status": "FILLED",
            "type": "MARKET",
            "side": "BUY",
        }
        return web.json_response(order)
