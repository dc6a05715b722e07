"""The feed: a process of its own with the connection to the exchange. The bot's processes get what it publishes.

It publishes every trade once and in order, and every book without a hole. A websocket loses messages when it breaks, so the exchange numbers them. What is missing is asked for again: trades by
their numbers, a book by a new snapshot.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from candles import Trade
from orderbook import Delta, Snapshot

SYMBOLS = tuple(
    f"{coin}-USD"
    for coin in ["BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "LTC", "ADA", "DOT", "ATOM", "NEAR"]
)

Message = Trade | Snapshot | Delta


class History(msgspec.Struct, frozen=True, tag="history"):
    """The answer to a question for missing trades."""

    symbol: str
    trades: list[Trade]


RENEW = 1_000
"""After so many changes a book is replaced by a snapshot, for a bot that has missed some."""


class Feed(Protocol):
    """What neverblink passes to `market`. `resume` is what was passed last, also by the process before this one."""

    resume: Any

    def publish(self, data: Message, *, resume: Any) -> object: ...


class InOrder:
    """The trades of one symbol: those that come early wait for those that are missing."""

    def __init__(self, last: int) -> None:
        self.last = last
        """The last trade that was published; 0 before the first one."""
        self._early: dict[int, Trade] = {}

    def take(self, trade: Trade) -> list[Trade]:
        """The trades that are next, after this one has come."""
        if not self.last:
            self.last = trade.n - 1
        if trade.n > self.last:
            self._early[trade.n] = trade
        ready: list[Trade] = []
        while (following := self._early.pop(self.last + 1, None)) is not None:
            ready.append(following)
            self.last += 1
        return ready

    @property
    def incomplete(self) -> bool:
        return bool(self._early)


class Reader:
    """Reads one connection after another."""

    def __init__(self, feed: Feed) -> None:
        known: dict[str, int] = feed.resume or {}
        self._feed = feed
        self._trades = {symbol: InOrder(known.get(symbol, 0)) for symbol in SYMBOLS}
        self._books: dict[str, int] = {}
        """The number of the last change of each book that is complete."""
        self._asked: set[tuple[str, str]] = set()

    async def read(self, connection: ClientConnection) -> None:
        """Publish what one connection brings, until it breaks."""
        self._books.clear()
        self._asked.clear()
        await _send(connection, op="subscribe", symbols=SYMBOLS)
        for symbol, trades in self._trades.items():
            if trades.last:
                await self._ask(connection, "trades", symbol, after=trades.last)
        async for text in connection:
            match msgspec.json.decode(text, type=Message | History):
                case Trade() as trade:
                    await self._take_trades(connection, trade.symbol, [trade])
                case History() as history:
                    self._asked.discard(("trades", history.symbol))
                    await self._take_trades(connection, history.symbol, history.trades)
                case Snapshot() as snapshot:
                    self._asked.discard(("snapshot", snapshot.symbol))
                    self._books[snapshot.symbol] = snapshot.n
                    self._publish(snapshot)
                case Delta() as delta:
                    await self._take_delta(connection, delta)

    async def _take_trades(self, connection: ClientConnection, symbol: str, came: list[Trade]) -> None:
        trades = self._trades[symbol]
        for trade in came:
            for ready in trades.take(trade):
                self._publish(ready)
        if trades.incomplete:
            await self._ask(connection, "trades", symbol, after=trades.last)

    async def _take_delta(self, connection: ClientConnection, delta: Delta) -> None:
        known = self._books.get(delta.symbol)
        if known is not None and delta.n == known + 1:
            self._books[delta.symbol] = delta.n
            self._publish(delta)
        if known is None or delta.n > known + 1 or delta.n % RENEW == 0:
            await self._ask(connection, "snapshot", delta.symbol)

    def _publish(self, message: Message) -> None:
        self._feed.publish(message, resume={symbol: trades.last for symbol, trades in self._trades.items()})

    async def _ask(self, connection: ClientConnection, op: str, symbol: str, **more: int) -> None:
        if (op, symbol) not in self._asked:
            self._asked.add((op, symbol))
            await _send(connection, op=op, symbol=symbol, **more)


async def market(feed: Feed) -> None:
    """Listen for ever."""
    reader = Reader(feed)
    async for connection in connections():
        try:
            await reader.read(connection)
        except ConnectionClosed as problem:
            print(f"WARNING the market's connection broke: {problem}")


async def connections() -> AsyncIterator[ClientConnection]:
    """Connect, and connect again: websockets waits longer after each failure."""
    async for connection in connect(os.environ.get("MARKET_URL", "ws://127.0.0.1:8793")):
        yield connection
        await asyncio.sleep(0.1)


async def _send(connection: ClientConnection, **request: Any) -> None:
    await connection.send(msgspec.json.encode(request).decode())
