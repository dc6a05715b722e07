"""The exchange as a bot meets it: a real process, over HTTP and websockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from neverblink.supervisor.demo.exchange import LEDGER
from neverblink.supervisor.demo.ledger import Filled, Repeated, read_ledger

Json = Any
Client = aiohttp.ClientSession
PERIOD = 3_600_000_000_000


class Running:
    """An exchange's process."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "neverblink.supervisor.demo.exchange",
                "--home",
                str(home),
                "--with-stdin",
                *options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.first_line = msgspec.json.decode(self.process.stdout.readline())
        self.url: str = self.first_line["url"]

    def end(self) -> int:
        """Close its stdin, which it does not outlive; return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, "--timeframe", "5m=1h")
    yield running
    running.end()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One exchange for all tests that change nothing there."""
    running = Running(tmp_path_factory.mktemp("untouched"), "--timeframe", "5m=1h")
    yield running
    running.end()


def test_the_exchange_prints_its_address_and_ends_with_its_stdin(tmp_path: Path) -> None:
    running = Running(tmp_path / "new" / "home")
    assert running.first_line["pid"] == running.process.pid
    assert running.url.startswith("http://127.0.0.1:")
    assert running.end() == 0


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        asked = [
            sys.executable,
            "-m",
            "neverblink.supervisor.demo.exchange",
            "--home",
            tmp_path,
            "--port",
            str(port),
        ]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(port) in done.stderr
    assert "already in use" in done.stderr


def test_an_order_is_two_steps_and_its_fills_reach_every_connection(exchange: Running) -> None:
    async def act(http: Client) -> None:
        feeds = [await http.ws_connect("/account", params={"account": "demo"}) for _ in range(2)]
        status, order = await post(http, "/orders", buy("one", size=5))
        assert (status, order["status"]) == (201, "reserved")
        assert await ask(http, "/fills", account="demo") == []
        status, confirmed = await post(http, f"/orders/{order['order']}/confirm")
        assert (status, confirmed["status"]) == (200, "confirmed")
        seen = [await fills_of(feed, 5) for feed in feeds]
        assert seen[0] == seen[1] == await ask(http, "/fills", account="demo")
        assert [fill["n"] for fill in seen[0]] == list(range(len(seen[0])))
        again, _ = await post(http, f"/orders/{order['order']}/confirm")
        assert again == 200
        assert (await ask(http, "/orders", account="demo", client_id="one"))["status"] == "confirmed"
        for feed in feeds:
            await feed.close()

    run(exchange, act)


def test_some_orders_have_two_fills_and_every_fill_has_its_own_id(exchange: Running) -> None:
    async def act(http: Client) -> list[Json]:
        feed = await http.ws_connect("/account", params={"account": "demo"})
        for number in range(20):
            await trade(http, buy(f"n{number}", size=4))
        fills = await fills_of(feed, 80)
        await feed.close()
        return fills

    fills = run(exchange, act)
    assert len({fill["fill"] for fill in fills}) == len(fills)
    assert 20 < len(fills) < 40


def test_a_connection_can_resume_where_the_last_one_ended(exchange: Running) -> None:
    async def act(http: Client) -> None:
        feed = await http.ws_connect("/account", params={"account": "demo"})
        await trade(http, buy("one", size=1))
        first = await fills_of(feed, 1)
        await feed.close()
        await trade(http, buy("two", size=2))
        asked = {"account": "demo", "from": first[-1]["n"] + 1}
        feed = await http.ws_connect("/account", params=asked)
        rest = await fills_of(feed, 2)
        assert [fill["order"] for fill in rest] == ["o-2"] * len(rest)
        await feed.close()

    run(exchange, act)


def test_a_client_order_id_is_accepted_once(exchange: Running) -> None:
    async def act(http: Client) -> Json:
        await trade(http, buy("one"))
        status, answer = await post(http, "/orders", buy("one"))
        assert status == 409
        assert answer["order"] == "o-1"
        return await ask(http, "/verdict")

    verdict = run(exchange, act)
    assert verdict["duplicates"] == ["one"]
    assert verdict["ok"] is False
    assert [type(record) for record in read_ledger(exchange.home / LEDGER)].count(Repeated) == 1


def test_of_simultaneous_requests_with_one_id_only_one_is_accepted(exchange: Running) -> None:
    async def act(http: Client) -> list[int]:
        return [
            status
            for status, _ in await asyncio.gather(*(post(http, "/orders", buy("one")) for _ in range(10)))
        ]

    assert sorted(run(exchange, act)) == [201] + [409] * 9


def test_only_open_markets_can_be_bought_and_only_positions_sold(exchange: Running) -> None:
    async def act(http: Client) -> Json:
        feed = await http.ws_connect("/account", params={"account": "demo"})
        past = f"BTC-5m-{time.time_ns() // PERIOD - 1}"
        assert (await post(http, "/orders", buy("late") | {"contract": past}))[0] == 422
        assert (await post(http, "/orders", buy("bare") | {"side": "sell"}))[0] == 422
        order = buy("one", size=3)
        await trade(http, order)
        await fills_of(feed, 3)
        sell = order | {"client_id": "two", "side": "sell"}
        assert (await post(http, "/orders", sell | {"direction": "down"}))[0] == 422
        await trade(http, sell | {"client_id": "three"})
        await fills_of(feed, 3)
        await feed.close()
        return await ask(http, "/verdict")

    verdict = run(exchange, act)
    assert verdict["open"] == {}
    assert len(verdict["refused"]) == 3


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"size": 0}, "size"),
        ({"size": "3"}, "size"),
        ({"client_id": "ä b"}, "client_id"),
        ({"side": "hold"}, "side"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_the_error_for_a_malformed_order_names_the_field(
    untouched: Running, change: dict[str, Any], part: str
) -> None:
    status, answer = run(untouched, lambda http: post(http, "/orders", buy("one") | change))
    assert status == 400
    assert part in answer["error"]


def test_prices_are_sent_to_every_subscriber(untouched: Running) -> None:
    async def act(http: Client) -> None:
        async with http.ws_connect("/prices") as feed:
            messages = [await feed.receive_json() for _ in range(3)]
        assert all(len(message["prices"]) == 9 for message in messages)
        assert messages[0]["prices"] != messages[2]["prices"]

    run(untouched, act)


def test_the_session_contains_the_expected_windows(exchange: Running) -> None:
    async def act(http: Client) -> tuple[Json, Json]:
        start = (await post(http, "/session/start"))[1]["at"]
        await trade(http, buy("one"))
        end = (await post(http, "/session/end"))[1]["at"]
        assert (await ask(http, "/verdict"))["since"] == start
        assert (await ask(http, "/verdict"))["until"] == end
        period = start // PERIOD * PERIOD
        empty = await ask(http, "/verdict", since=period - PERIOD, until=period)
        return empty, await ask(http, "/verdict", since=period, until=period + PERIOD)

    before, during = run(exchange, act)
    assert before["windows"] == {"expected": 9, "traded": 0, "doubled": 0, "never": 9}
    assert during["windows"] == {"expected": 9, "traded": 1, "doubled": 0, "never": 8}


def test_a_stream_of_fills_begins_with_the_account_and_ends_with_the_session(tmp_path: Path) -> None:
    async def act(http: Client) -> tuple[list[Json], list[Json], float]:
        assert await ask(http, "/fills", account="demo") == []
        began = time.monotonic()
        feeds = [await http.ws_connect("/account", params={"account": "demo", "from": 0}) for _ in range(2)]
        seen = [fill for _ in range(301) for fill in (await feeds[0].receive_json())["fills"]]
        other = [fill for _ in range(301) for fill in (await feeds[1].receive_json())["fills"]]
        took = time.monotonic() - began
        await post(http, "/session/end")
        fills = await ask(http, "/fills", account="demo")
        for feed in feeds:
            await feed.close()
        assert seen[:300] == other[:300]
        return seen[:300], fills, took

    running = Running(tmp_path, "--fills-per-second", "1000", "--timeframe", "5m=1s")
    try:
        seen, fills, took = run(running, act)
    finally:
        running.end()
    assert seen == fills[:300]
    assert 0.25 < took < 5
    assert fills == msgspec.to_builtins([r for r in read_ledger(tmp_path / LEDGER) if isinstance(r, Filled)])


def run(exchange: Running, act: Callable[[Client], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with asyncio.timeout(20), aiohttp.ClientSession(exchange.url) as http:
            return await act(http)

    return asyncio.run(inside())


def buy(client_id: str, size: int = 3) -> dict[str, Any]:
    return {
        "account": "demo",
        "client_id": client_id,
        "contract": f"BTC-5m-{time.time_ns() // PERIOD}",
        "side": "buy",
        "direction": "up",
        "size": size,
    }


async def post(http: Client, path: str, body: Json = None) -> tuple[int, Json]:
    async with http.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def ask(http: Client, path: str, **query: Any) -> Json:
    async with http.get(path, params=query) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def trade(http: Client, order: Json) -> None:
    status, answer = await post(http, "/orders", order)
    assert status == 201, answer
    assert (await post(http, f"/orders/{answer['order']}/confirm"))[0] == 200


async def fills_of(feed: aiohttp.ClientWebSocketResponse, size: int) -> list[Json]:
    """The next fills, until they come to `size` lots."""
    fills: list[Json] = []
    while sum(fill["size"] for fill in fills) < size:
        fills += (await feed.receive_json())["fills"]
    return fills
