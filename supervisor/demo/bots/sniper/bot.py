"""A sniper: buys each up/down contract once, in the last moments of its period, and sells it a little later.

Your own bot would be written the same way. Everything it must remember is in its state (`book.py`), so new code
continues where the old code stopped: windows traded, positions, armed timers, booked fills. Its strategy is in
`strategy.py`, and the connection to the exchange in `exchange.py`.
"""

import os
from typing import Any

import msgspec
import strategy
from book import SCHEMA, Book, Fill
from exchange import Exchange, Rejected

from neverblink.worker import Event, InDoubt, Tick, Timer, Window, Worker

MARKETS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "MATIC", "SPX")

# The demo's clock is compressed: what is called 5m lasts 4 s, and 15m lasts 12 s.
PERIODS = {"5m": 4_000_000_000, "15m": 12_000_000_000}
FIVE = Window("4s", opens="-1200ms", closes="-200ms", name="5m")
FIFTEEN = Window("12s", opens="-2200ms", closes="-1300ms", name="15m")


class Sniper(Worker[Book]):
    tick = "20ms"
    windows = [FIVE, FIFTEEN]  # no handoff begins in one
    schema = SCHEMA
    event_type = Fill

    async def on_start(self) -> None:
        self.exchange = Exchange(os.environ["EXCHANGE_URL"], lambda fill: self.inbox.put(fill.fill, fill))
        await self.exchange.connect()
        await strategy.warm_up()

    async def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        """A decision whose process died in it. Its id is the client order id, so the exchange knows the outcome."""
        for decision in in_doubt:
            contract = decision.args["contract"]
            if await self.exchange.finish(decision.id):
                self.cancel_timer(f"exit {contract}")
                if decision.name == "enter":
                    self.entered(contract)
        if not self.state.beats:
            self.set_timer("heartbeat", every="1s")

    async def on_tick(self, tick: Tick[Book]) -> None:
        strategy.follow(self.state.trend, self.exchange.prices)
        self.arm(tick.due)
        if tick.window("5m"):
            # One order per tick: nine orders take nine ticks, and no tick is late.
            for contract in contracts("5m", tick.due):
                if self.may_enter(contract):
                    await self.enter(contract)
                    break

    def arm(self, now: int) -> None:
        """Arm the 15m entries, each at its own time. The process that leads then will buy."""
        opens = FIFTEEN.next(now).opens
        if self.state.armed_for != opens:
            self.state.armed_for = opens
            for place, contract in enumerate(contracts("15m", opens)):
                self.set_timer(f"enter {contract}", at=opens + place * 50_000_000)

    async def on_timer(self, timer: Timer) -> None:
        match timer.name.split():
            case ["enter", contract] if self.may_enter(contract):
                await self.enter(contract)
            case ["exit", contract]:
                await self.exit(contract)
            case ["heartbeat"]:
                self.state.beats += 1
                print(
                    f"beat {self.state.beats}: {self.state.applied} fills, {len(self.state.positions)} positions"
                )
            case _:
                pass

    async def on_event(self, event: Event) -> None:
        """A fill. Both the old and the new process receive it; it is applied once."""
        self.state.apply(event.data)

    def may_enter(self, contract: str) -> bool:
        return not self.paused and self.state.entered.get(series(contract)) != contract

    async def enter(self, contract: str) -> None:
        market = contract.split("-")[0]
        direction = strategy.direction(self.exchange.prices[market], self.state.trend[market])
        # Both halves of the order and its record: no handoff interrupts this block.
        async with self.decision("enter", contract=contract) as d:
            try:
                await self.exchange.order(d.id, contract, "buy", direction, self.state.lots)
            except Rejected as reason:
                print(f"{contract} not bought: {reason}")
            self.entered(contract)

    def entered(self, contract: str) -> None:
        self.state.entered[series(contract)] = contract
        self.set_timer(f"exit {contract}", after="2s")

    async def exit(self, contract: str) -> None:
        if held := self.state.held(contract):
            async with self.decision("exit", contract=contract) as d:
                await self.exchange.order(d.id, contract, "sell", *held)

    async def on_command(self, name: str, args: dict[str, Any]) -> Any:
        """`neverblink send book` shows the state."""
        if name != "book":
            raise ValueError(f"unknown command {name!r}: this bot knows `book`")
        return msgspec.to_builtins(self.state)

    async def on_retire(self) -> None:
        """This process ends and the bot continues: close connections, keep positions."""
        await self.exchange.close()

    async def on_stop(self) -> None:
        """The bot stops for good."""
        for contract in tuple(self.state.positions):
            await self.exit(contract)
        await self.exchange.close()


def contracts(timeframe: str, now: int) -> list[str]:
    """The contracts that trade at `now`, such as BTC-5m-447012345."""
    return [f"{market}-{timeframe}-{now // PERIODS[timeframe]}" for market in MARKETS]


def series(contract: str) -> str:
    """A contract's market and timeframe, such as BTC-5m."""
    return contract.rpartition("-")[0]


if __name__ == "__main__":
    Sniper.run()  # alone, without a supervisor
