"""The aggregator: whatever happens to its processes and its connection, a client has every candle once and in order."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..ports import free_port
from ..whole.live import Live
from .example import Example, Record

MINUTE = 60_000
Candle = dict[str, Any]


class Client:
    """Takes candles for as long as it runs, and connects again whenever it has to."""

    def __init__(self, url: str) -> None:
        self.candles: list[Candle] = []
        self.connections = 0
        self.problems: list[str] = []
        self._url = url
        self._ended = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with connect(self._url) as server:
                    self.connections += 1
                    server.send(json.dumps({"after": len(self.candles)}))
                    while not self._ended.is_set():
                        self._take(server.recv(timeout=0.2))
            except TimeoutError:
                continue
            except ConnectionClosed as problem:
                if problem.rcvd is not None and problem.rcvd.code not in (1001, 1012):
                    self.problems.append(str(problem))

    def _take(self, text: str | bytes) -> None:
        numbered = json.loads(text)
        if numbered["n"] != len(self.candles) + 1:
            self.problems.append(f"candle {numbered['n']} came after {len(self.candles)}")
        self.candles.append(numbered["candle"])


def judge(record: list[Record], candles: list[Candle]) -> None:
    """Every complete candle is there once and in order, with exactly the trades that the exchange has recorded."""
    trades: dict[str, list[Record]] = defaultdict(list)
    for trade in record:
        trades[trade["symbol"]].append(trade)
    found: dict[tuple[str, str], list[Candle]] = defaultdict(list)
    for candle in candles:
        found[candle["symbol"], candle["timeframe"]].append(candle)
    assert len(found) == 2 * len(trades)
    for (symbol, timeframe), made in found.items():
        length = MINUTE * (5 if timeframe == "5m" else 1)
        first, last = made[0]["first"], made[-1]["last"]
        expected: list[Candle] = []
        for trade in trades[symbol][first - 1 : last]:
            opens = trade["at"] // length * length
            if not expected or expected[-1]["opens"] != opens:
                expected.append(
                    {
                        "symbol": symbol,
                        "timeframe": timeframe,
                        "opens": opens,
                        "open": trade["price"],
                        "high": trade["price"],
                        "low": trade["price"],
                        "volume": 0,
                        "first": trade["n"],
                    }
                )
            candle = expected[-1]
            candle["high"] = max(candle["high"], trade["price"])
            candle["low"] = min(candle["low"], trade["price"])
            candle |= {"close": trade["price"], "last": trade["n"]}
            candle["volume"] += trade["size"]
        assert [
            {key: candle[key] for key in one} for candle, one in zip(made, expected, strict=True)
        ] == expected


@pytest.mark.deep
def test_a_client_has_every_candle_once_through_deployments_a_rollback_and_deaths(
    live: Live, start_example: Callable[..., Example]
) -> None:
    port = free_port()
    example = start_example(
        "websocket-aggregator", "--rate", "120", "--speedup", "120", "--drop", "0.01", "--cut", "4"
    )
    example.edit("neverblink.toml", "127.0.0.1:8794", f"127.0.0.1:{port}")
    example.up()
    client = Client(f"ws://127.0.0.1:{port}")
    try:
        _through_everything(live, example, client)
    finally:
        client.close()
    counts = example.ask("counts")
    live.down()
    example.close_market()
    assert client.problems == []
    assert client.connections > 4
    assert (counts["lost"], counts["wrong_checksums"], counts["books"]) == (0, 0, 12)
    judge(example.record, client.candles)
    report = live.audit()
    assert report["doubled"] == 0, report


def _through_everything(live: Live, example: Example, client: Client) -> None:
    def candles(more: int) -> None:
        wanted = len(client.candles) + more
        example.until(lambda: len(client.candles) >= wanted)

    candles(24)
    # A new field, which a volume-weighted price needs.
    example.edit("candles.py", "    volume: int\n", "    volume: int\n    turnover: int = 0\n")
    added = "            volume=self.volume + trade.size,\n"
    turnover = "            turnover=self.turnover + trade.price * trade.size,\n"
    example.edit("candles.py", added, added + turnover)
    example.deploy()
    candles(24)
    # Without naming it, the new field's values are not given up.
    live.ask("rollback", wait=True, drop=["open.turnover", "complete.turnover"])
    candles(24)
    example.deploy()
    candles(24)
    example.kill()
    candles(24)
    assert live.run("feed", "restart", "market").code == 0
    candles(24)
    example.deploy()
    example.kill(standby=False)
    candles(24)
    example.kill_feed("market")
    candles(80)


def test_the_judgement_finds_a_trade_that_is_missing_or_doubled() -> None:
    record: list[Record] = [
        {"symbol": "A", "n": n, "at": n * MINUTE // 2, "price": 100 + n, "size": n} for n in range(1, 30)
    ]
    candles: list[Candle] = []
    for timeframe, length in (("1m", MINUTE), ("5m", 5 * MINUTE)):
        for opens in range(0, 10 * MINUTE, length):
            inside = [trade for trade in record if opens <= trade["at"] < opens + length]
            prices = [trade["price"] for trade in inside]
            candles.append(
                {
                    "symbol": "A",
                    "timeframe": timeframe,
                    "opens": opens,
                    "open": prices[0],
                    "high": max(prices),
                    "low": min(prices),
                    "close": prices[-1],
                    "volume": sum(trade["size"] for trade in inside),
                    "first": inside[0]["n"],
                    "last": inside[-1]["n"],
                }
            )
    judge(record, candles)
    for wrong in (
        [candle for candle in candles if candle != candles[3]],
        [*candles[:4], candles[3], *candles[4:]],
        [candles[1], candles[0], *candles[2:]],
        [candles[0] | {"volume": candles[0]["volume"] + 1}, *candles[1:]],
    ):
        with pytest.raises((AssertionError, ValueError)):
            judge(record, wrong)
