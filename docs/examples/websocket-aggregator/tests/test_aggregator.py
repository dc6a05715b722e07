"""The bot's tests: time is simulated, and messages come when a test says so."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from neverblink.worker.testing import Simulation

from bot import Aggregator
from candles import Trade
from feeds import InOrder, Message, Reader
from orderbook import Book, Delta, Snapshot, checksum

MINUTE = 60_000


def trade(n: int, at: int, price: int = 100, symbol: str = "BTC-USD") -> Trade:
    return Trade(symbol, n, at, price, 1)


def test_trades_become_candles() -> None:
    with Simulation(Aggregator) as run:
        run.publish(
            "market", trade(1, 0, 100), trade(2, 30_000, 120), trade(3, 59_999, 90), trade(4, MINUTE, 95)
        )
        candle = run.state.complete[1]
        assert (candle.timeframe, candle.open, candle.high, candle.low, candle.close) == (
            "1m",
            100,
            120,
            90,
            90,
        )
        assert (candle.volume, candle.first, candle.last) == (3, 1, 3)
        assert run.send("candles", symbol="BTC-USD")["open"] == 95
        assert run.send("candles", symbol="BTC-USD", timeframe="5m")["high"] == 120


def test_a_candle_that_one_release_began_is_completed_by_the_next() -> None:
    class NewCode(Aggregator):
        pass

    with Simulation(Aggregator) as run:
        run.publish("market", trade(1, 0), trade(2, 1_000))
        run.hand_over(NewCode)
        run.publish("market", trade(3, 2_000), trade(4, MINUTE))
        assert isinstance(run.leader, NewCode)
        assert (run.state.complete[1].first, run.state.complete[1].last, run.state.lost) == (1, 3, 0)


def test_a_book_follows_its_changes() -> None:
    bids, asks = ((99, 5), (98, 5)), ((101, 5),)
    after = Book(8, ((98, 7),), ((101, 5), (102, 1)))
    change = Delta("BTC-USD", 8, ((99, 0), (98, 7)), ((102, 1),), checksum(after.bids, after.asks))
    with Simulation(Aggregator) as run:
        run.publish("market", Snapshot("BTC-USD", 7, bids, asks), change)
        assert run.state.books["BTC-USD"] == after
        run.publish("market", Snapshot("BTC-USD", 6, (), ()))  # older than what is known
        assert run.state.books["BTC-USD"] == after
        run.publish("market", Delta("BTC-USD", 9, ((97, 1),), (), 0))
        assert run.send("counts")["wrong_checksums"] == 1
        run.publish("market", Delta("BTC-USD", 11, ((97, 1),), (), 0))
        assert run.send("book", symbol="BTC-USD") is None


def test_a_client_gets_the_candles_that_it_does_not_have() -> None:
    with Simulation(Aggregator) as run:
        run.publish("market", *(trade(n, n * MINUTE) for n in range(1, 5)))
        bot = run.leader
        assert isinstance(bot, Aggregator)
        assert [numbered.n for numbered in bot.candles_after(1)] == [2, 3]


def test_early_trades_wait_for_missing_ones() -> None:
    trades = InOrder(last=10)
    assert trades.take(trade(12, 0)) == []
    assert trades.incomplete
    assert [ready.n for ready in trades.take(trade(11, 0))] == [11, 12]
    assert trades.take(trade(11, 0)) == []
    assert not trades.incomplete


class FakeConnection:
    """Gives the reader messages, and keeps what it asks for."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.requests: list[dict[str, Any]] = []
        self._messages = messages

    async def send(self, text: str) -> None:
        self.requests.append(json.loads(text))

    async def __aiter__(self) -> AsyncIterator[str]:
        for message in self._messages:
            yield json.dumps(message)


class FakeFeed:
    def __init__(self, resume: dict[str, int] | None = None) -> None:
        self.resume: Any = resume
        self.published: list[Message] = []

    def publish(self, data: Message, *, resume: Any) -> None:
        self.published.append(data)
        self.resume = resume


def read(feed: FakeFeed, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Read these messages; return what was asked for after subscribing."""
    connection = FakeConnection(*messages)
    asyncio.run(Reader(feed).read(connection))  # type: ignore[arg-type]
    return connection.requests[1:]


def raw(kind: str, n: int) -> dict[str, Any]:
    if kind == "trade":
        return {"type": kind, "symbol": "BTC-USD", "n": n, "at": 0, "price": 1, "size": 1}
    return {"type": kind, "symbol": "BTC-USD", "n": n, "bids": [], "asks": [], "checksum": 0}


def test_missing_trades_are_asked_for_once() -> None:
    feed = FakeFeed({"BTC-USD": 4})
    history = {"type": "history", "symbol": "BTC-USD", "trades": [raw("trade", n) for n in (5, 6, 7)]}
    requests = read(feed, raw("trade", 6), raw("trade", 7), history, raw("trade", 8))
    assert requests == [{"op": "trades", "symbol": "BTC-USD", "after": 4}]
    assert [message.n for message in feed.published] == [5, 6, 7, 8]
    assert feed.resume["BTC-USD"] == 8


def test_a_book_with_a_hole_is_replaced() -> None:
    feed = FakeFeed()
    messages = [raw("delta", 4), raw("delta", 6), raw("delta", 7), raw("snapshot", 7), raw("delta", 8)]
    assert read(feed, raw("snapshot", 3), *messages) == [{"op": "snapshot", "symbol": "BTC-USD"}]
    assert [message.n for message in feed.published] == [3, 4, 7, 8]
