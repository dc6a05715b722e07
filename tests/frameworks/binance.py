"""A part of Binance's REST API on the loopback interface, as far as a dry run of freqtrade (by ccxt) asks for it.

Candles of one minute are made of the clock, and every pair always trades at 100. An order of a dry run never reaches
the exchange, so what the bot has done comes by freqtrade's webhook.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from aiohttp import web

from .driver import Done

__all__ = ["Binance"]

_MINUTE = 60
_PRICE = "100.00"


class Binance:
    """The exchange with these `coins`, each with a pair against USDT. Use it with `with`.

    The bot is to enter each pair once with each candle: the candle's minute is the number of the message.
    """

    def __init__(self, coins: Sequence[str]) -> None:
        self._coins = coins
        self._done: list[Done] = []
        self._first = 0
        self._last = 0
        self.asked: list[str] = []
        """The paths of all requests."""
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def __enter__(self) -> Binance:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def environment(self) -> Mapping[str, str]:
        return {}

    def sent(self) -> Sequence[tuple[str, int]]:
        """Each pair's candles, from the first one that it was entered with to the last complete one."""
        if not self._done:
            return []
        first = min(each.number for each in self._done) + 1
        last = self._last or int(time.time()) // _MINUTE
        return [(f"{coin}/USDT", minute) for minute in range(first, last) for coin in self._coins]

    def done(self) -> Sequence[Done]:
        return list(self._done)

    def fall_silent(self) -> None:
        """The present minute is the first one that does not count."""
        self._last = int(time.time()) // _MINUTE

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        app = web.Application()
        app.router.add_get("/api/v3/ping", _nothing)
        app.router.add_get("/api/v3/time", self._time)
        app.router.add_get("/api/v3/exchangeInfo", self._markets)
        app.router.add_get("/api/v3/klines", self._candles)
        app.router.add_get("/api/v3/ticker/bookTicker", self._prices)
        app.router.add_get("/api/v3/ticker/24hr", self._prices)
        app.router.add_get("/api/v3/ticker/price", self._prices)
        app.router.add_get("/api/v3/depth", self._book)
        app.router.add_post("/webhook", self._webhook)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._begun.set()
        await self._ended.wait()
        await runner.cleanup()

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": int(time.time() * 1000)})

    async def _markets(self, request: web.Request) -> web.Response:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "100000", "stepSize": "0.0001"},
            {"filterType": "NOTIONAL", "minNotional": "5", "maxNotional": "9000000"},
        ]
        symbols = [
            {
                "symbol": f"{coin}USDT",
                "status": "TRADING",
                "baseAsset": coin,
                "baseAssetPrecision": 8,
                "quoteAsset": "USDT",
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "orderTypes": ["LIMIT", "MARKET"],
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "permissions": ["SPOT"],
                "permissionSets": [["SPOT"]],
                "filters": filters,
            }
            for coin in self._coins
        ]
        return web.json_response(
            {"timezone": "UTC", "serverTime": int(time.time() * 1000), "symbols": symbols}
        )

    async def _candles(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "500"))
        now = int(time.time()) // _MINUTE
        since = int(request.query["startTime"]) // 60_000 if "startTime" in request.query else now - limit + 1
        candles = [
            [
                minute * 60_000,
                _PRICE,
                "100.50",
                "99.50",
                _PRICE,
                "10",
                minute * 60_000 + 59_999,
                "1000",
                5,
                "5",
                "500",
                "0",
            ]
            for minute in range(since, min(now, since + limit - 1) + 1)
        ]
        return web.json_response(candles)

    async def _prices(self, request: web.Request) -> web.Response:
        def price(symbol: str) -> dict[str, object]:
            names = (
                "lastPrice",
                "price",
                "openPrice",
                "highPrice",
                "lowPrice",
                "weightedAvgPrice",
                "prevClosePrice",
            )
            return {
                "symbol": symbol,
                "bidPrice": _PRICE,
                "bidQty": "1000",
                "askPrice": _PRICE,
                "askQty": "1000",
                **dict.fromkeys(names, _PRICE),
                "priceChange": "0",
                "priceChangePercent": "0",
                "volume": "10000",
                "quoteVolume": "1000000",
                "openTime": int(time.time() * 1000) - 86_400_000,
                "closeTime": int(time.time() * 1000),
            }

        if "symbol" in request.query:
            return web.json_response(price(request.query["symbol"]))
        return web.json_response([price(f"{coin}USDT") for coin in self._coins])

    async def _book(self, request: web.Request) -> web.Response:
        return web.json_response({"lastUpdateId": 1, "bids": [[_PRICE, "1000"]], "asks": [[_PRICE, "1000"]]})

    async def _webhook(self, request: web.Request) -> web.Response:
        said = await request.json()
        if said["kind"] == "entry":
            at = datetime.fromisoformat(said["at"])
            self._done.append(Done(said["pair"], int(at.timestamp()) // _MINUTE, time.monotonic()))
        return web.json_response({})

    async def _unknown(self, request: web.Request) -> web.Response:
        self.asked.append(str(request.rel_url))
        return web.json_response({"code": -1, "msg": f"{request.path} is not simulated"}, status=404)


async def _nothing(request: web.Request) -> web.Response:
    return web.json_response({})
