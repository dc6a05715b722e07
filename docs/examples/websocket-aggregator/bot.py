"""A websocket aggregator: trades and order books of many symbols in, candles out.

The feed (`feeds.py`) has the connection; this bot gets its messages as events, each once and in order, whatever happens
to its processes. It has no ticks: a turn begins when messages arrive. A candle is complete when its symbol's next trade belongs to a
later one, so candles depend on the trades alone, and not on when they arrived.
"""

from typing import Any

import msgspec
from neverblink.worker import Event, Table, Worker, command

from candles import TIMEFRAMES, Candle, Trade, begin, belongs
from feeds import Message
from orderbook import Book, Delta, Snapshot
from serving import CandleServer, Numbered

KEEP = 5_000
"""How many complete candles a client can still ask for."""


class Market(msgspec.Struct):
    trades: dict[str, int] = {}
    """The number of each symbol's last trade."""
    lost: int = 0
    """Trades whose numbers never came. It stays 0."""
    open: dict[str, Candle] = {}
    """By symbol and timeframe."""
    complete: Table[int, Candle] = msgspec.field(default_factory=Table)
    """The newest complete candles, by number. Only new rows are sent to a follower."""
    count: int = 0
    """How many candles are complete; the number of the last one."""
    books: Table[str, Book] = msgspec.field(default_factory=Table)
    wrong_checksums: int = 0
    """How often a book was not the exchange's. It stays 0."""


class Aggregator(Worker[Market]):
    tick = None
    event_type = Message

    async def on_start(self) -> None:
        """Every process listens on the socket; only the leader gets connections."""
        self.server = CandleServer(self.candles_after)
        await self.server.start(self.sockets["candles"])

    def candles_after(self, n: int) -> list[Numbered]:
        complete = self.state.complete
        return [Numbered(at, complete[at]) for at in range(n + 1, self.state.count + 1) if at in complete]

    def on_events(self, events: list[Event]) -> None:
        before = self.state.count
        for event in events:
            message: Message = event.data
            match message:
                case Trade():
                    self.trade(message)
                case Snapshot():
                    self.replace_book(message)
                case Delta():
                    self.change_book(message)
        if self.state.count > before:
            self.server.publish()

    def trade(self, trade: Trade) -> None:
        market = self.state
        if trade.n <= market.trades.get(trade.symbol, trade.n - 1):
            # A feed that was killed may publish its last event again.
            return
        market.lost += trade.n - market.trades.get(trade.symbol, trade.n - 1) - 1
        market.trades[trade.symbol] = trade.n
        for timeframe in TIMEFRAMES:
            key = f"{trade.symbol} {timeframe}"
            candle = market.open.get(key)
            if candle is not None and belongs(trade, candle):
                market.open[key] = candle.add(trade)
                continue
            if candle is not None:
                self.complete(candle)
            market.open[key] = begin(trade, timeframe)

    def complete(self, candle: Candle) -> None:
        market = self.state
        market.count += 1
        market.complete[market.count] = candle
        market.complete.pop(market.count - KEEP, None)

    def replace_book(self, snapshot: Snapshot) -> None:
        book = self.state.books.get(snapshot.symbol)
        if book is None or book.n < snapshot.n:
            self.state.books[snapshot.symbol] = Book(snapshot.n, snapshot.bids, snapshot.asks)

    def change_book(self, delta: Delta) -> None:
        book = self.state.books.get(delta.symbol)
        if book is None or delta.n <= book.n:
            return
        if delta.n > book.n + 1:
            # This bot was behind by more than the feed keeps: no book is better than a wrong one.
            del self.state.books[delta.symbol]
            return
        book = self.state.books[delta.symbol] = book.apply(delta)
        self.state.wrong_checksums += book.checksum != delta.checksum

    @command
    def candles(self, symbol: str, timeframe: str = "1m") -> Any:
        """Show the candle that is open now."""
        return msgspec.to_builtins(self.state.open.get(f"{symbol} {timeframe}"))

    @command
    def book(self, symbol: str) -> Any:
        """Show an order book."""
        return msgspec.to_builtins(self.state.books.get(symbol))

    @command
    def counts(self) -> dict[str, int]:
        """Show how much was taken, and that nothing is missing."""
        market = self.state
        return {
            "trades": sum(market.trades.values()),
            "candles": market.count,
            "books": len(market.books),
            "lost": market.lost,
            "wrong_checksums": market.wrong_checksums,
        }

    def on_yield(self) -> None:
        """Another process leads: its clients shall go there."""
        self.server.send_away()

    async def on_retire(self) -> None:
        await self.server.close()

    async def on_stop(self) -> None:
        await self.on_retire()


if __name__ == "__main__":
    Aggregator.run()  # alone, without a supervisor
