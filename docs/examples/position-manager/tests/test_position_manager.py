"""The bot's tests: time is simulated, so a minute passes at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from neverblink.worker.testing import Simulation

from book import Account, Book, Fill
from bot import SECOND, PositionManager
from exchange import Order, Rejected


class FakeExchange:
    """Holds prices that a test sets, and closes positions."""

    def __init__(self) -> None:
        self.price = 10_000
        self.orders: dict[str, Order] = {}
        self.fails = False
        self.after_order: Callable[[], object] | None = None

    def prices(self) -> dict[str, int]:
        return {"BTC": self.price}

    def fills(self, after: int) -> list[Fill]:
        raise NotImplementedError("threads do not run in a simulation: the tests put fills into the inbox")

    def account(self) -> Account:
        raise NotImplementedError

    def sell(self, client_id: str, position: str) -> Order:
        assert client_id not in self.orders
        if any(order.position == position for order in self.orders.values()):
            raise Rejected(f"{position} is not open")
        self.orders[client_id] = Order(client_id, position, self.price)
        if self.after_order is not None:
            self.after_order()
        if self.fails:
            raise TimeoutError("no answer")
        return self.orders[client_id]

    def order(self, client_id: str) -> Order | None:
        return self.orders.get(client_id)

    @property
    def closed(self) -> list[str]:
        return [order.position for order in self.orders.values()]


@pytest.fixture
def exchange() -> FakeExchange:
    return FakeExchange()


@pytest.fixture
def bot(exchange: FakeExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[PositionManager]:
    monkeypatch.setenv("NEVERBLINK_DATA", str(tmp_path))

    class Tested(PositionManager):
        def on_start(self) -> None:
            self.exchange = exchange  # type: ignore[assignment]
            self.prices = exchange.prices()

        def on_tick(self, tick: object) -> None:
            self.prices = exchange.prices()
            super().on_tick(tick)  # type: ignore[arg-type]

    return Tested


def opened(run: Simulation[Book], n: int) -> None:
    """The trader opens position `p{n}` at 100.00."""
    fill = Fill(n, f"p{n}", "BTC", "buy", 2, 10_000, run.now)
    run.put(f"fill {n}", fill, stream="fills", n=n)


def test_a_position_is_closed_at_its_stop(bot: type[PositionManager], exchange: FakeExchange) -> None:
    with Simulation(bot) as run:
        opened(run, 1)
        exchange.price = 9_970
        run.ticks(5)
        assert exchange.closed == []
        exchange.price = 9_890
        run.ticks(5)
        assert exchange.closed == ["p1"]
        assert (run.state.positions, run.state.closed, run.state.profit) == ({}, 1, -220)
        assert run.send("newest") == [("p1", "BTC", "stop", -220)]


def test_the_stop_follows_the_price_up_also_over_a_release(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    class NewCode(bot):
        pass

    with Simulation(bot) as run:
        opened(run, 1)
        exchange.price = 11_000
        run.ticks(2)
        exchange.price = 10_970
        run.hand_over(NewCode)
        run.ticks(2)
        assert run.send("book")["p1"]["stop"] == 10_956
        exchange.price = 10_950
        run.ticks(1)
        assert exchange.closed == ["p1"]
        assert run.send("newest") == [("p1", "BTC", "trailing stop", 1900)]


def test_a_position_that_an_older_release_saw_open_is_closed_in_time(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    class NewCode(bot):
        pass

    with Simulation(bot) as run:
        opened(run, 1)
        run.advance("30s")
        run.hand_over(NewCode)
        run.conclude()
        run.advance("29s")
        assert exchange.closed == []
        run.advance("2s")
        assert exchange.closed == ["p1"]


def test_settings_hold_for_positions_that_are_open(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    with Simulation(bot) as run:
        opened(run, 1)
        opened(run, 2)
        run.advance("10s")
        run.set(max_age=5)
        run.ticks(1)
        assert exchange.closed == ["p1", "p2"]


def test_a_position_is_closed_once_though_the_process_died_before_it_knew(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    with Simulation(bot) as run:
        run.stand_by()
        opened(run, 1)
        exchange.after_order = run.kill
        exchange.price = 9_000
        run.ticks(1)
        exchange.after_order = None
        run.ticks(20)
        assert exchange.closed == ["p1"]
        assert (run.state.positions, run.state.closed) == ({}, 1)
        assert len(run.send("newest")) == 1


def test_an_order_whose_answer_is_lost_is_asked_about_before_another_is_sent(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    with Simulation(bot) as run:
        opened(run, 1)
        exchange.fails = True
        exchange.price = 9_000
        run.ticks(20)
        assert exchange.closed == ["p1"]
        assert (run.state.unanswered, run.state.closed) == ({}, 1)


def test_a_position_that_was_closed_by_hand_is_forgotten(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    with Simulation(bot) as run:
        opened(run, 1)
        opened(run, 2)
        run.put("fill 3", Fill(3, "p1", "BTC", "sell", 2, 10_000, run.now), stream="fills", n=3)
        assert set(run.state.positions) == {"p2"}
        run.put("account 1", Account(2, []), stream="account")  # older than what the book knows
        assert set(run.state.positions) == {"p2"}
        run.put("account 2", Account(3, []), stream="account")
        assert (run.state.positions, run.state.mismatches) == ({}, 1)
        run.advance("2m")
        assert exchange.orders == {}


def test_halting_closes_everything(bot: type[PositionManager], exchange: FakeExchange) -> None:
    with Simulation(bot) as run:
        opened(run, 1)
        opened(run, 2)
        assert run.halt() == {"p1": True, "p2": True}
        assert exchange.closed == ["p1", "p2"]


def test_a_trade_is_logged_once_however_often_it_is_written(
    bot: type[PositionManager], exchange: FakeExchange
) -> None:
    with Simulation(bot) as run:
        assert isinstance(run.leader, PositionManager)
        trades = run.leader.trades
        for _ in range(2):
            trades.add("1-2-3", "p9", "BTC", "stop", 1, 100, 90, 5 * SECOND)
        assert trades.newest(10) == [("p9", "BTC", "stop", -10)]
