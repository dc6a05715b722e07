# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp>=3.10,<4", "msgspec>=0.19"]
# ///
"""A small exchange on this machine, to try the bot without an account. It knows nothing of the bot.

    uv run market.py [--port 8790] [--record record.jsonl] [--speedup 60]

It listens on 127.0.0.1 and prints its address as a line of JSON. Contracts on up or down trade for nine markets in two
timeframes; `--speedup 60` makes five minutes last five seconds. Every order, fill and settlement goes into the record.

    GET  /prices            a websocket: {"BTC": 64123.5, …} ten times a second
    GET  /account           a websocket: reports (fills and settlements), numbered from 1
    GET  /reports?after=7   the reports from number 8 on
    POST /orders            {"client_id", "contract", "side", "direction", "size"}: 201, 409 (id taken), 422 (refused)
    GET  /orders/ID         200 or 404, by client id
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

PRICES = {
    "BTC": 64000.0, "ETH": 3100.0, "SOL": 150.0, "XRP": 0.6, "DOGE": 0.15, "AVAX": 36.0, "LINK": 14.0, "LTC": 80.0,
    "ADA": 0.45,
}  # fmt: skip
MINUTES = {"5m": 5, "15m": 15}


class NewOrder(msgspec.Struct, frozen=True):
    client_id: str
    contract: str
    side: str
    direction: str
    size: int


class Exchange:
    def __init__(self, record: Path, speedup: int, chance: random.Random) -> None:
        self.periods = {name: minutes * 60_000_000_000 // speedup for name, minutes in MINUTES.items()}
        self.prices = dict(PRICES)
        self.opened: dict[str, float] = {}
        self.orders: dict[str, NewOrder] = {}
        self.reports: list[dict[str, Any]] = []
        self.held: dict[str, dict[str, int]] = {}
        self._record = record.open("a", encoding="utf-8")
        self._chance = chance
        self._price_listeners: set[web.WebSocketResponse] = set()
        self._account_listeners: set[web.WebSocketResponse] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/prices", self._watch_prices),
                web.get("/account", self._watch_account),
                web.get("/reports", self._list_reports),
                web.post("/orders", self._take_order),
                web.get("/orders/{client_id}", self._find_order),
            ]
        )
        application.cleanup_ctx.append(self._running)
        return application

    async def _running(self, application: web.Application) -> AsyncIterator[None]:
        self._start(self._trade())
        yield
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # prices and settlements

    async def _trade(self) -> None:
        while True:
            now = time.time_ns()
            for market, price in self.prices.items():
                self.prices[market] = round(price * (1 + self._chance.gauss(0, 0.0004)), 6)
            trading = {
                f"{market}-{name}-{now // period}"
                for name, period in self.periods.items()
                for market in self.prices
            }
            for contract in self.opened.keys() - trading:
                self._settle(contract, now)
            for contract in trading - self.opened.keys():
                self.opened[contract] = self.prices[contract.partition("-")[0]]
                self._note(now, "opened", contract=contract)
            await self._tell(self._price_listeners, self.prices)
            await asyncio.sleep(0.1)

    def _settle(self, contract: str, now: int) -> None:
        price = self.prices[contract.partition("-")[0]]
        outcome = "up" if price > self.opened.pop(contract) else "down"
        self._note(now, "ended", contract=contract, outcome=outcome)
        held = self.held.pop(contract, None)
        if held is not None and any(held.values()):
            payout = float(held.get(outcome, 0))
            self._report(now, type="settled", contract=contract, outcome=outcome, payout=payout)

    # orders

    async def _take_order(self, request: web.Request) -> web.Response:
        order = msgspec.json.decode(await request.read(), type=NewOrder)
        now = time.time_ns()
        await asyncio.sleep(self._chance.uniform(0.001, 0.004))
        problem, status = self._problem(order)
        if problem:
            self._note(now, "refused", client_id=order.client_id, contract=order.contract, reason=problem)
            return web.Response(text=problem, status=status)
        self.orders[order.client_id] = order
        self._note(now, "accepted", **msgspec.structs.asdict(order))
        self._start(self._fill(order))
        return web.json_response({"client_id": order.client_id}, status=201)

    def _problem(self, order: NewOrder) -> tuple[str, int]:
        if order.client_id in self.orders:
            return f"the client id {order.client_id} is taken", 409
        if order.contract not in self.opened:
            return f"{order.contract} does not trade now", 422
        if order.side == "sell" and self.held.get(order.contract, {}).get(order.direction, 0) < order.size:
            return f"less than {order.size} is held", 422
        return "", 0

    async def _fill(self, order: NewOrder) -> None:
        await asyncio.sleep(self._chance.uniform(0.001, 0.03))
        held = self.held.setdefault(order.contract, {})
        held[order.direction] = held.get(order.direction, 0) + (
            order.size if order.side == "buy" else -order.size
        )
        price = round(self._chance.uniform(0.4, 0.6), 2)
        self._report(time.time_ns(), type="filled", price=price, **msgspec.structs.asdict(order))

    async def _find_order(self, request: web.Request) -> web.Response:
        found = self.orders.get(request.match_info["client_id"])
        return web.Response(status=404) if found is None else web.json_response(msgspec.structs.asdict(found))

    # reports

    def _report(self, now: int, **report: Any) -> None:
        report["n"] = len(self.reports) + 1
        self.reports.append(report)
        self._note(now, "reported", n=report["n"], contract=report["contract"])
        self._start(self._tell(self._account_listeners, report))

    async def _list_reports(self, request: web.Request) -> web.Response:
        return web.json_response(self.reports[int(request.query["after"]) :])

    async def _watch_prices(self, request: web.Request) -> web.WebSocketResponse:
        return await self._listen(request, self._price_listeners)

    async def _watch_account(self, request: web.Request) -> web.WebSocketResponse:
        return await self._listen(request, self._account_listeners)

    async def _listen(
        self, request: web.Request, listeners: set[web.WebSocketResponse]
    ) -> web.WebSocketResponse:
        stream = web.WebSocketResponse(heartbeat=5)
        await stream.prepare(request)
        listeners.add(stream)
        try:
            if listeners is self._price_listeners:
                await stream.send_json(self.prices)
            async for message in stream:
                if message.type == WSMsgType.ERROR:
                    break
        finally:
            listeners.discard(stream)
        return stream

    async def _tell(self, listeners: set[web.WebSocketResponse], message: Any) -> None:
        for stream in list(listeners):
            try:
                await stream.send_json(message)
            except ConnectionError:
                listeners.discard(stream)

    def _note(self, at: int, what: str, **more: Any) -> None:
        self._record.write(msgspec.json.encode({"at": at, "what": what, **more}).decode() + "\n")
        self._record.flush()


async def serve(options: argparse.Namespace) -> None:
    exchange = Exchange(options.record, options.speedup, random.Random(options.seed))
    runner = web.AppRunner(exchange.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    sys.stdout.write(msgspec.json.encode({"url": url, "pid": os.getpid()}).decode() + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A small exchange for up/down contracts.")
    parser.add_argument("--port", type=int, default=8790, help="0: any that is free")
    parser.add_argument("--record", type=Path, default=Path("record.jsonl"))
    parser.add_argument("--speedup", type=int, default=int(os.environ.get("SPEEDUP", "1")))
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(serve(parser.parse_args()))
