"""The files that `init` writes: a small working bot with configuration, a market, a test and a page on what to do next.

With a template they are those of an example: `docs/examples` in a checkout, `examples` in an installation.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from ... import protocol
from ..release.copy_tree import LEFT_OUT

__all__ = ["files", "template_files", "templates"]


def files(name: str, *, pushed: bool = False) -> dict[str, str]:
    """The files of a new project for the bot `name`: path to text. `pushed`: there is a repository to push to."""
    deploys = _PUSH if pushed else _DEPLOY
    web = _WEB if importlib.util.find_spec("aiohttp") is not None else _NO_WEB
    return {
        "neverblink.toml": _CONFIG.format(name=name, web=web),
        "pyproject.toml": _PYPROJECT.format(name=_distribution(name)),
        "bot.py": _BOT,
        "exchange.py": _EXCHANGE,
        "test_bot.py": _TEST,
        "README.md": _README.format(name=name, underline="=" * len(name), deploys=deploys),
        ".gitignore": _IGNORE,
    }


def templates() -> list[str]:
    """The names of the examples that `init` can copy."""
    found = _examples()
    if found is None:
        return []
    return sorted(path.name for path in found.iterdir() if (path / "pyproject.toml").is_file())


def template_files(template: str, name: str) -> dict[str, str]:
    """The files of an example, with the bot's name in its configuration: path to text."""
    found = _examples()
    assert found is not None
    place = found / template
    texts: dict[str, str] = {}
    for path in sorted(place.rglob("*")):
        inside = path.relative_to(place)
        if path.is_file() and not LEFT_OUT.intersection(inside.parts):
            texts[str(inside)] = path.read_text(encoding="utf-8")
    for file, new in (("neverblink.toml", name), ("pyproject.toml", _distribution(name))):
        if file in texts:
            texts[file] = re.sub(
                r'^name = ".*?"', f'name = "{new}"', texts[file], count=1, flags=re.MULTILINE
            )
    texts.setdefault(".gitignore", _IGNORE)
    return texts


def _examples() -> Path | None:
    top = Path(protocol.__file__).parent.parent
    return next((place for place in (top / "examples", top / "docs" / "examples") if place.is_dir()), None)


def _distribution(name: str) -> str:
    return name.lower().strip("._-")


_CONFIG = """\
name = "{name}"
bot = "bot:Starter"           # MODULE:NAME
standby = 1                   # gives: no tick is missed if the leader dies. Costs: the memory of a second process

# python = "python3.13"       # an existing interpreter; by default the bot gets an environment built from its
                              # pyproject.toml, uv.lock or requirements.txt
# env_file = ".env"           # NAME=VALUE lines for the bot: keys and passwords, never copied into a release
# durability = "process"      # process: survives a killed process | interval, always: a power loss too

[handoff]
probation = "2s"              # how long the old worker stays ready to take the bot back; use minutes with real money

[feeds.prices]                # a process of its own that has the one connection, and outlives deployments
run = "exchange:prices"

{web}

# All keys: docs/configuration.md
"""

_WEB = """\
[web]
listen = "127.0.0.1:8780"     # the web page: `neverblink token add me --role operator` prints what it asks for"""

_NO_WEB = """\
# [web]                       # the web page needs neverblink[web]
# listen = "127.0.0.1:8780\""""

_PYPROJECT = """\
# The bot's dependencies: each release gets its own environment with these, neverblink and msgspec.
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = []

# [dependency-groups]         # for tests and [deploy] check only
# dev = ["pytest"]            # then `neverblink test` runs pytest
"""

_IGNORE = """\
.env
.neverblink/
.venv/
__pycache__/
.pytest_cache/
"""

_EXCHANGE = '''\
"""A simulated exchange. Replace it by your client library: it needs no connection, and keeps its orders in a file."""

import asyncio
import math
import sqlite3
import time
from pathlib import Path
from typing import Any


def price_at(market: str, at: int) -> float:
    """The price at a time, in nanoseconds."""
    return round(100 + 5 * math.sin(at / 1e10 + len(market)), 2)


async def prices(feed: Any) -> None:
    """The feed `prices`: your connection to the exchange, which must exist once. It publishes what it receives."""
    while True:
        feed.publish({"market": "BTC", "price": price_at("BTC", time.time_ns())})
        await asyncio.sleep(1)


class Exchange:
    def __init__(self, path: str | Path) -> None:
        self.orders = sqlite3.connect(path, isolation_level=None)
        self.orders.execute("create table if not exists orders (id text primary key, side, market, price real)")

    async def send(self, id: str, side: str, market: str, price: float) -> float:
        """Fill an order; return its price. The same client order id is never filled twice, as at most exchanges."""
        self.orders.execute("insert or ignore into orders values (?, ?, ?, ?)", (id, side, market, price))
        found = await self.order(id)
        assert found is not None
        return found[2]

    async def order(self, id: str) -> tuple[str, str, float] | None:
        """The side, market and price of an order, None when it never arrived."""
        found = self.orders.execute("select side, market, price from orders where id = ?", (id,)).fetchone()
        return None if found is None else (found[0], found[1], found[2])

    async def open_markets(self) -> set[str]:
        """The markets with more orders to buy than to sell."""
        held = "select market from orders group by market having sum(iif(side = 'buy', 1, -1)) > 0"
        return {market for (market,) in self.orders.execute(held)}

    def ids(self) -> set[str]:
        return {id for (id,) in self.orders.execute("select id from orders")}

    def close(self) -> None:
        self.orders.close()
'''

_BOT = '''\
"""A starting point for your bot: it watches a price, and near the end of each minute it decides whether to buy."""

import asyncio
from typing import Annotated

import msgspec
from neverblink.worker import Event, InDoubt, Tick, Timer, Window, Worker, data_directory

from exchange import Exchange, price_at


class Position(msgspec.Struct, frozen=True):
    order: str
    price: float


class Book(msgspec.Struct):
    """The whole state. It is passed from process to process, so new code continues where the old code stopped."""

    price: float = 100.0
    high: float = 100.0
    positions: dict[str, Position] = {}
    bought: int = 0


class Limits(msgspec.Struct, frozen=True):
    """What an operator may change while the bot runs: `neverblink settings most=2`."""

    most: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1


class Starter(Worker[Book]):
    tick = "1s"
    settings = Limits()
    # The last 15 to the last 5 seconds of each minute: no handoff begins then.
    windows = [Window("1m", opens="-15s", closes="-5s", name="minute")]

    async def on_start(self) -> None:
        """Runs first in every process: connect and warm up. There is no state yet, and the bot must not act."""
        self.exchange = self.connect()
        self.while_leading(self.compare)

    def connect(self) -> Exchange:
        return Exchange(data_directory() / "exchange.db")

    async def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        """This process leads now. `in_doubt` are orders of a process that died before it noted their outcome: ask."""
        for decision in in_doubt:
            order = await self.exchange.order(decision.id)
            if order is not None:
                self.note(decision.id, *order)
                print(f"order {decision.id} had arrived", flush=True)

    async def on_event(self, event: Event) -> None:
        """What the feed `prices` in neverblink.toml publishes: exactly once, also while the code changes."""
        self.state.price = event.data["price"]

    async def on_tick(self, tick: Tick[Book]) -> None:
        book = self.state
        if "prices" not in self.feeds:
            book.price = price_at("BTC", tick.due)  # `neverblink run` has no feeds
        elif self.feeds["prices"].stale:
            return  # open nothing on old prices
        book.high = max(book.high, book.price)
        room = len(book.positions) < self.settings.most
        if tick.window("minute") and room and "BTC" not in book.positions and not self.paused:
            await self.buy("BTC")

    async def on_timer(self, timer: Timer) -> None:
        """A timer is part of the state: it was armed in `note`, perhaps by an older release."""
        match timer.name.split():
            case ["sell", market] if market in self.state.positions:
                await self.sell(market)
            case _:
                pass

    async def buy(self, market: str) -> None:
        # No handoff interrupts this block, and d.id is a client order id that no other process will ever use.
        async with self.decision("buy", market=market) as d:
            price = await self.exchange.send(d.id, "buy", market, self.state.price)
            self.note(d.id, "buy", market, price)
            print(f"bought {d.id} at {price}", flush=True)

    async def sell(self, market: str) -> None:
        async with self.decision("sell", market=market) as d:
            price = await self.exchange.send(d.id, "sell", market, self.state.price)
            position = self.state.positions[market]
            self.note(d.id, "sell", market, price)
            print(f"sold {d.id}, bought at {position.price}, now {price}", flush=True)

    def note(self, id: str, side: str, market: str, price: float) -> None:
        """Enter an order into the book."""
        if side == "buy":
            self.state.positions[market] = Position(id, price)
            self.state.bought += 1
            self.set_timer(f"sell {market}", after="20s")
        else:
            self.state.positions.pop(market, None)

    async def compare(self) -> None:
        """A task that only the leader runs: it compares the book with the exchange, and changes nothing."""
        while True:
            await asyncio.sleep(10)
            held, booked = await self.exchange.open_markets(), set(self.state.positions)
            if held != booked:
                print(f"the exchange has {sorted(held)}, the book has {sorted(booked)}", flush=True)

    async def on_halt(self) -> list[str]:
        """`neverblink halt`: the bot is paused, and closes its positions now."""
        sold = list(self.state.positions)
        for market in sold:
            self.cancel_timer(f"sell {market}")
            await self.sell(market)
        return sold

    async def on_command(self, name: str, args: dict[str, object]) -> object:
        """`neverblink send book` shows the state."""
        if name == "book":
            return msgspec.to_builtins(self.state)
        raise ValueError(f"unknown command {name!r}: this bot knows `book`")

    async def on_retire(self) -> None:
        """This process ends, and the bot goes on in another one: close connections, touch no position."""
        self.exchange.close()


if __name__ == "__main__":
    Starter.run()  # alone, without a supervisor
'''

_TEST = '''\
"""The bot's tests: `neverblink test`. Time is simulated, so a minute passes at once."""

import unittest
from datetime import UTC, datetime

from neverblink.worker.testing import Simulation

from bot import Starter
from exchange import Exchange

# Ten seconds before the window opens (15 seconds before the end of the minute).
START = datetime(2026, 1, 5, 12, 0, 35, tzinfo=UTC)


def pass_time(bot: Simulation, seconds: int) -> None:
    """Let time pass, with a price each second."""
    for _ in range(seconds):
        bot.publish("prices", {"market": "BTC", "price": 101.5})
        bot.ticks(1)


class StarterTest(unittest.TestCase):
    def setUp(self) -> None:
        exchange = Exchange(":memory:")

        class Tested(Starter):
            def connect(self) -> Exchange:
                return exchange

            async def on_retire(self) -> None:
                """The exchange outlives the processes of the test."""

        self.bot_type = Tested
        self.exchange = exchange

    def tearDown(self) -> None:
        self.exchange.close()

    def test_it_buys_once_in_the_window_and_sells_20_seconds_later(self) -> None:
        with Simulation(self.bot_type, at=START) as bot:
            pass_time(bot, 10)
            assert bot.state.bought == 0
            pass_time(bot, 10)
            assert bot.state.bought == 1
            assert "BTC" in bot.state.positions
            pass_time(bot, 11)
            assert bot.state.bought == 1
            assert bot.state.positions == {}

    def test_it_keeps_its_positions_when_the_code_changes(self) -> None:
        class NewCode(self.bot_type):
            """The release that `neverblink deploy` would start."""

        with Simulation(self.bot_type, at=START) as bot:
            pass_time(bot, 12)
            held = bot.state.positions["BTC"]
            bot.hand_over(NewCode)  # happens when the window has closed
            assert isinstance(bot.leader, NewCode)
            assert bot.state.positions == {"BTC": held}
            pass_time(bot, 11)  # the timer armed by the old code goes off in the new code
            assert bot.state.positions == {}
            assert bot.state.bought == 1

    def test_an_order_is_known_though_its_process_died_before_it_was_noted(self) -> None:
        send = self.exchange.send
        with Simulation(self.bot_type, at=START) as bot:

            async def fill_and_die(id: str, side: str, market: str, price: float) -> float:
                await send(id, side, market, price)
                self.exchange.send = send
                bot.kill()
                return price

            bot.stand_by()
            self.exchange.send = fill_and_die
            pass_time(bot, 11)
            assert bot.state.positions["BTC"].order in self.exchange.ids()
            pass_time(bot, 21)
            assert bot.state.positions == {}

    def test_it_buys_nothing_while_it_is_paused_or_its_limit_is_0(self) -> None:
        with Simulation(self.bot_type, at=START) as bot:
            bot.set(most=0)
            pass_time(bot, 20)
            assert bot.state.bought == 0
            bot.set(most=1)
            bot.pause()
            pass_time(bot, 60)
            assert bot.state.bought == 0

    def test_it_buys_nothing_on_old_prices(self) -> None:
        with Simulation(self.bot_type, at=START) as bot:
            bot.ticks(20)
            assert bot.state.bought == 0

    def test_a_halt_sells_everything(self) -> None:
        with Simulation(self.bot_type, at=START) as bot:
            pass_time(bot, 12)
            assert bot.halt() == ["BTC"]
            assert bot.send("book")["positions"] == {}


if __name__ == "__main__":
    unittest.main()
'''

_DEPLOY = "    neverblink deploy .       # hand the bot over to the new code, between two ticks"
_PUSH = """\
    git commit -am "..."
    git push live main        # hand the bot over to the new code, between two ticks"""

_README = """\
{name}
{underline}

A bot that neverblink keeps running while its code changes. `bot.py` is the bot, `exchange.py` simulates an exchange.

    neverblink test           # run its tests
    neverblink check          # check whether it can run
    neverblink run            # try it alone, until Ctrl-C
    neverblink up             # start it; it runs in this terminal

and in a second terminal, with the bot running:

    neverblink status
    neverblink send book      # show its state
    neverblink settings most=2
    $EDITOR bot.py            # change something
{deploys}
    neverblink rollback       # back to the old code, with the current state
    neverblink logs -f
    neverblink halt           # close its positions and pause it
    neverblink down           # stop the bot for good

Your editor finds `neverblink` and the bot's libraries with this Python interpreter:

    neverblink env --path
"""
