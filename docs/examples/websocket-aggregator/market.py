# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=14,<17"]
# ///
"""An exchange on this machine, to try the bot without an account: trades and order books on a websocket.

    uv run market.py [--port 8793] [--record record.jsonl] [--rate 60] [--speedup 60] [--drop 0.002] [--cut 20]

It listens on 127.0.0.1 and prints its address as a line of JSON. Its clock runs `--speedup` times faster, so that a candle
of a minute takes a second. As a bad line would, it drops messages, and cuts a connection about every `--cut` seconds. Every
trade goes into the record. A client sends

    {"op": "subscribe", "symbols": ["BTC-USD", …]}           and gets a snapshot of each book, then trades and deltas
    {"op": "trades", "symbol": "BTC-USD", "after": 17}       the trades from number 18 on, in one message
    {"op": "snapshot", "symbol": "BTC-USD"}
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

DEPTH = 10
SYMBOLS = [
    f"{coin}-USD"
    for coin in ["BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "LTC", "ADA", "DOT", "ATOM", "NEAR"]
]


class Symbol:
    """One symbol's trades and book. Prices are in cents, sizes in lots."""

    def __init__(self, name: str, price: int) -> None:
        self.name = name
        self.price = price
        self.trades: list[dict[str, Any]] = []
        self.n = 0
        self.sides: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}
        for step in range(1, 21):
            self.sides["bids"][price - step] = self.sides["asks"][price + step] = 10 * step

    def trade(self, at: int, chance: random.Random) -> dict[str, Any]:
        self.price = max(1_000, self.price + chance.randint(-3, 3))
        trade = {
            "type": "trade",
            "symbol": self.name,
            "n": len(self.trades) + 1,
            "at": at,
            "price": self.price,
            "size": chance.randint(1, 20),
        }
        self.trades.append(trade)
        return trade

    def change(self, chance: random.Random) -> dict[str, Any]:
        """Change a level or two of the book."""
        self.n += 1
        changes: dict[str, list[tuple[int, int]]] = {"bids": [], "asks": []}
        for side in chance.sample(["bids", "asks"], chance.randint(1, 2)):
            level = chance.choice(list(self.sides[side]))
            # A level that empties makes room for one further out, so that the depth stays.
            further = min(self.sides[side]) - 1 if side == "bids" else max(self.sides[side]) + 1
            for price, size in ((level, chance.choice((0, 5, 50))), (further, 7)):
                if price == further and level in self.sides[side]:
                    continue
                changes[side].append((price, size))
                self.sides[side][price] = size
                if not size:
                    del self.sides[side][price]
        return {"type": "delta", "symbol": self.name, "n": self.n, **changes, "checksum": self._checksum()}

    def snapshot(self) -> dict[str, Any]:
        bids, asks = self._sorted()
        return {"type": "snapshot", "symbol": self.name, "n": self.n, "bids": bids, "asks": asks}

    def _sorted(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.sides["bids"].items(), reverse=True), sorted(self.sides["asks"].items())

    def _checksum(self) -> int:
        levels = [f"{price}:{size}" for side in self._sorted() for price, size in side[:DEPTH]]
        return zlib.crc32("|".join(levels).encode())


class Market:
    def __init__(self, options: argparse.Namespace) -> None:
        self._chance = random.Random(options.seed)
        self._symbols = {name: Symbol(name, self._chance.randint(5_000, 9_000_000)) for name in SYMBOLS}
        self._options = options
        self._record = options.record.open("a", encoding="utf-8")
        self._clients: dict[ServerConnection, set[str]] = {}
        self._began = time.time()

    async def run(self) -> None:
        """Trade for ever: each symbol trades at random, and its book changes twice as often."""
        began, done = time.monotonic(), 0
        while True:
            while done < (time.monotonic() - began) * self._options.rate:
                done += 1
                symbol = self._chance.choice(list(self._symbols.values()))
                at = self._began + (time.monotonic() - began) * self._options.speedup
                trade = symbol.trade(int(at * 1000), self._chance)
                self._record.write(json.dumps(trade) + "\n")
                self._record.flush()
                for message in (trade, symbol.change(self._chance), symbol.change(self._chance)):
                    self._tell(symbol.name, message)
            await asyncio.sleep(0.005)

    def _tell(self, symbol: str, message: dict[str, Any]) -> None:
        hearing = [
            client
            for client, symbols in self._clients.items()
            if symbol in symbols and self._chance.random() >= self._options.drop
        ]
        broadcast(hearing, json.dumps(message))

    async def cut(self) -> None:
        while self._options.cut:
            await asyncio.sleep(self._chance.expovariate(1 / self._options.cut))
            if self._clients:
                self._chance.choice(list(self._clients)).transport.abort()

    async def serve(self, client: ServerConnection) -> None:
        try:
            async for text in client:
                request = json.loads(text)
                match request["op"]:
                    case "subscribe":
                        self._clients[client] = set(request["symbols"])
                        for name in request["symbols"]:
                            broadcast([client], json.dumps(self._symbols[name].snapshot()))
                    case "trades":
                        found = self._symbols[request["symbol"]].trades[request["after"] :]
                        history = {"type": "history", "symbol": request["symbol"], "trades": found}
                        broadcast([client], json.dumps(history))
                    case "snapshot":
                        broadcast([client], json.dumps(self._symbols[request["symbol"]].snapshot()))
                    case unknown:
                        await client.close(1008, f"unknown op {unknown!r}")
        except ConnectionClosed:
            # Cut, or the client's process has died.
            pass
        finally:
            self._clients.pop(client, None)


async def main(options: argparse.Namespace) -> None:
    market = Market(options)
    async with serve(market.serve, "127.0.0.1", options.port) as server:
        working = [asyncio.create_task(market.run()), asyncio.create_task(market.cut())]
        port = next(iter(server.sockets)).getsockname()[1]
        sys.stdout.write(json.dumps({"url": f"ws://127.0.0.1:{port}", "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
        for task in working:
            task.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Trades and order books of twelve symbols on a websocket.")
    parser.add_argument("--port", type=int, default=8793, help="0: any that is free")
    parser.add_argument("--record", type=Path, default=Path("record.jsonl"))
    parser.add_argument("--rate", type=float, default=60, help="trades a second, of all symbols together")
    parser.add_argument("--speedup", type=float, default=60)
    parser.add_argument("--drop", type=float, default=0.002, help="the share of messages that get lost")
    parser.add_argument("--cut", type=float, default=20, help="seconds between two cut connections; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(main(parser.parse_args()))
