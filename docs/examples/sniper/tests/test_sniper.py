"""The bot's tests: time is simulated, so fifteen minutes pass at once."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from neverblink.worker.testing import CommandFailed, Simulation

from book import Book, Filled, Settled
from bot import Sniper
from contracts import MARKETS, TIMEFRAMES

START = datetime(2026, 1, 5, 12, 1, tzinfo=UTC)


class FakeExchange:
    """Accepts orders, and dies in the middle of one if a test says so."""

    def __init__(self) -> None:
        self.prices = dict.fromkeys(MARKETS, 100.0)
        self.orders: dict[str, tuple[str, str, str]] = {}
        self.die: Callable[[], object] | None = None

    async def buy(self, client_id: str, contract: str, direction: str, size: int) -> None:
        assert client_id not in self.orders
        self.orders[client_id] = ("buy", contract, direction)
        if self.die is not None:
            self.die()

    async def sell(self, client_id: str, contract: str, position: object) -> None:
        self.orders[client_id] = ("sell", contract, "")

    async def has_order(self, client_id: str) -> bool:
        return client_id in self.orders

    async def close(self) -> None:
        """There is no connection."""

    @property
    def bought(self) -> list[str]:
        return [contract for side, contract, _ in self.orders.values() if side == "buy"]


@pytest.fixture
def exchange() -> FakeExchange:
    return FakeExchange()


@pytest.fixture
def bot(exchange: FakeExchange) -> type[Sniper]:
    class Tested(Sniper):
        async def on_start(self) -> None:
            self.exchange = exchange  # type: ignore[assignment]

    return Tested


def fill(bot: Simulation[Book], exchange: FakeExchange) -> None:
    """Report every order that was not reported."""
    for n, (client_id, (side, contract, direction)) in enumerate(exchange.orders.items(), 1):
        if n > bot.state.reports:
            report = Filled(n, client_id, contract, side, direction or "up", 3, 0.5)  # type: ignore[arg-type]
            bot.publish("account", report)


def test_each_contract_is_bought_once_in_its_window(bot: type[Sniper], exchange: FakeExchange) -> None:
    with Simulation(bot, at=START) as run:
        run.advance("3m15s")  # five seconds before the window of the 5m contracts
        assert exchange.bought == []
        run.advance("1m")
        assert len(exchange.bought) == len(set(exchange.bought)) == len(MARKETS)
        run.advance("15m")
        assert len(exchange.bought) == len(set(exchange.bought)) == len(MARKETS) * 5  # four of 5m, one of 15m


def test_a_release_in_between_takes_over_armed_entries_after_the_window(
    bot: type[Sniper], exchange: FakeExchange
) -> None:
    class NewCode(bot):
        pass

    with Simulation(bot, at=START) as run:
        run.advance("3m30s")  # inside the window, some entries are done
        begun = len(exchange.bought)
        assert 0 < begun < len(MARKETS)
        run.hand_over(NewCode)
        assert len(exchange.bought) == len(MARKETS)  # it waited until the window had closed
        armed = dict(run.state.armed)
        assert len(armed) == 2 * len(MARKETS)
        run.advance("5m")
        assert isinstance(run.leader, NewCode)
        assert len(exchange.bought) == len(set(exchange.bought)) == 2 * len(MARKETS)


def test_an_order_is_not_sent_twice_though_its_process_died_before_noting_it(
    bot: type[Sniper], exchange: FakeExchange
) -> None:
    with Simulation(bot, at=START) as run:
        run.stand_by()
        exchange.die = run.kill
        run.advance("3m21s")
        [order] = exchange.orders
        assert run.state.pending == {order: exchange.bought[0]}
        exchange.die = None
        run.advance("1m")
        assert len(exchange.bought) == len(set(exchange.bought)) == len(MARKETS)


def test_fills_and_settlements_make_the_result(bot: type[Sniper], exchange: FakeExchange) -> None:
    with Simulation(bot, at=START) as run:
        run.advance("4m")
        fill(run, exchange)
        assert run.state.pending == {}
        assert len(run.state.positions) == len(MARKETS)
        n = run.state.reports
        for contract in list(run.state.positions):
            n += 1
            run.publish("account", Settled(n, contract, "up", 3.0))
        assert run.state.positions == {}
        assert run.send("book")["profit"] == round(len(MARKETS) * 1.5, 2)
        assert run.state.skipped_reports == 0


def test_a_paused_bot_buys_nothing(bot: type[Sniper], exchange: FakeExchange) -> None:
    with Simulation(bot, at=START) as run:
        run.pause()
        run.advance("15m")
        assert exchange.orders == {}


def test_halting_disarms_and_sells(bot: type[Sniper], exchange: FakeExchange) -> None:
    with Simulation(bot, at=START) as run:
        run.advance("4m")
        fill(run, exchange)
        held = set(run.state.positions)
        assert set(run.halt()) == held
        assert run.state.armed == {}
        run.advance("15m")
        assert len(exchange.bought) == len(MARKETS)


def test_the_limits_hold(bot: type[Sniper], exchange: FakeExchange) -> None:
    with Simulation(bot, at=START) as run:
        run.set(max_open=0)
        run.advance("4m")
        assert exchange.orders == {}
        with pytest.raises(CommandFailed, match="size"):
            run.set(size=0)


def test_windows_end_before_the_contracts_do() -> None:
    for timeframe in TIMEFRAMES.values():
        span = timeframe.window.next(timeframe.period * 7)
        assert timeframe.contract("BTC", span.opens) == timeframe.contract("BTC", span.closes)
