"""A sniper: it buys each up/down contract once, in the last seconds before it closes.

Nine markets with two timeframes each. What it must not forget is in its state (`book.py`): averages, armed entries,
orders, positions. So new code goes on where the old code stopped, between two ticks and never inside a window.
"""

import os
from typing import Annotated, Any

import msgspec
from neverblink.worker import Event, InDoubt, Tick, Timer, Worker, command

import strategy
from book import Book, Report
from contracts import MARKETS, TIMEFRAMES, market_of, series
from exchange import Exchange, Rejected


class Limits(msgspec.Struct, frozen=True):
    """What an operator may change while the bot runs: `neverblink settings size=5`."""

    size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    max_open: Annotated[int, msgspec.Meta(ge=0)] = 36


class Sniper(Worker[Book]):
    tick = "250ms"
    windows = tuple(timeframe.window for timeframe in TIMEFRAMES.values())
    event_type = Report
    settings = Limits()

    async def on_start(self) -> None:
        self.exchange = Exchange(os.environ.get("MARKET_URL", "http://127.0.0.1:8790"))
        await self.exchange.connect()

    async def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        """A process that died may have sent an order without noting it: its decision's id tells."""
        for decision in in_doubt:
            if decision.name == "enter" and await self.exchange.has_order(decision.id):
                self.entered(decision.id, decision.args["contract"])

    def on_tick(self, tick: Tick[Book]) -> None:
        self.follow_prices(tick.due)
        for name, timeframe in TIMEFRAMES.items():
            opens = timeframe.window.next(tick.due).opens
            if self.state.armed_for.get(name) != opens:
                self.state.armed_for[name] = opens
                self.arm(timeframe.entries(tick.due), tick.due)

    def follow_prices(self, now: int) -> None:
        book = self.state
        for market, price in self.exchange.prices.items():
            book.averages[market] = strategy.follow(book.averages.get(market), price)
        trading = [timeframe.contract(market, now) for timeframe in TIMEFRAMES.values() for market in MARKETS]
        if book.opened.keys() != set(trading):
            book.opened = {
                contract: book.opened.get(contract, self.exchange.prices[market_of(contract)])
                for contract in trading
            }

    def arm(self, entries: dict[str, int], now: int) -> None:
        for contract, at in entries.items():
            if at > now:
                self.state.armed[contract] = at
                self.set_timer(f"enter {contract}", at=at)

    async def on_timer(self, timer: Timer) -> None:
        """An armed entry is due. It may have been armed by an earlier release, or by a process that died."""
        contract = timer.name.removeprefix("enter ")
        timeframe = TIMEFRAMES[series(contract).partition("-")[2]]
        if self.state.armed.pop(contract, None) is None:
            return
        if not timeframe.window.open_at(timer.due + timer.late):
            self.state.late += 1
            print(f"WARNING {contract} was due {timer.late / 1e9:.3f} s ago: too late")
        elif not self.paused and len(self.state.positions) < self.settings.max_open:
            await self.enter(contract)

    async def enter(self, contract: str) -> None:
        market = market_of(contract)
        direction = strategy.direction(
            self.state.opened[contract], self.exchange.prices[market], self.state.averages[market]
        )
        # From the decision to its record: no handoff interrupts this block.
        async with self.decision("enter", contract=contract) as d:
            try:
                await self.exchange.buy(d.id, contract, direction, self.settings.size)
            except Rejected as reason:
                print(f"WARNING {contract} not bought: {reason}")
            else:
                self.entered(d.id, contract)

    def entered(self, order: str, contract: str) -> None:
        self.state.armed.pop(contract, None)
        self.cancel_timer(f"enter {contract}")
        self.state.pending[order] = contract
        self.state.entered += 1

    def on_event(self, event: Event) -> None:
        self.state.apply(event.data)

    async def on_halt(self) -> list[str]:
        """`neverblink halt`: disarm everything, sell everything. The bot is paused already."""
        for contract in list(self.state.armed):
            del self.state.armed[contract]
            self.cancel_timer(f"enter {contract}")
        return [contract for contract in list(self.state.positions) if await self.leave(contract)]

    async def leave(self, contract: str) -> bool:
        async with self.decision("leave", contract=contract) as d:
            try:
                await self.exchange.sell(d.id, contract, self.state.positions[contract])
            except Rejected as reason:
                print(f"WARNING {contract} not sold: {reason}")
                return False
        return True

    @command
    def book(self) -> dict[str, Any]:
        """Show the book, and the profit so far."""
        profit = sum(result.profit for result in self.state.results.values())
        return {
            **msgspec.to_builtins(self.state),
            "results": len(self.state.results),
            "profit": round(profit, 2),
        }

    async def on_retire(self) -> None:
        """This process ends and the bot goes on: positions stay."""
        await self.exchange.close()

    async def on_stop(self) -> None:
        """The bot stops for good. Its contracts end by themselves within minutes, so it only disconnects."""
        await self.exchange.close()


if __name__ == "__main__":
    Sniper.run()  # alone, without a supervisor
