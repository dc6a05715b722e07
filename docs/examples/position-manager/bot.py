"""A position manager: it guards positions that a trader opens, with stops, trailing stops and time exits.

Three threads ask the exchange for fills, prices and open positions, in the process that leads and in no other. They put
what they learn into the inbox; only turns change the book and send orders.
"""

import time
from threading import Event as ThreadEvent
from typing import Any

from neverblink.worker import Event, InDoubt, Tick, Timer, Worker, command, data_directory

import rules
from book import Account, Book, Fill, Position, Report, Unanswered
from exchange import Exchange, Rejected
from rules import Limits
from trades import TradeLog

SECOND = 1_000_000_000


class PositionManager(Worker[Book]):
    tick = "100ms"
    event_type = Report
    settings = Limits()

    def on_start(self) -> None:
        self.exchange = Exchange()
        self.prices = self.exchange.prices()

    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        self.trades = TradeLog(data_directory() / "trades.db")
        for decision in in_doubt:
            # The process that sent this order died before it noted the outcome. The exchange knows it.
            self.state.unanswered[decision.args["position"]] = Unanswered(
                decision.id, decision.args["reason"]
            )
        self.settle_unanswered()
        self.while_leading(self.watch_fills)
        self.while_leading(self.watch_prices)
        self.while_leading(self.reconcile)

    # threads: they read the exchange and put events, and touch neither the state nor orders

    def watch_fills(self, ended: ThreadEvent) -> None:
        last = self.state.fills
        while not ended.is_set():
            for fill in self.exchange.fills(after=last):
                self.inbox.put(f"fill {fill.n}", fill, stream="fills", n=fill.n)
                last = fill.n

    def watch_prices(self, ended: ThreadEvent) -> None:
        while not ended.wait(0.05):
            self.prices = self.exchange.prices()

    def reconcile(self, ended: ThreadEvent) -> None:
        while not ended.wait(2):
            self.inbox.put(f"account {time.time_ns()}", self.exchange.account(), stream="account")

    # turns

    def on_event(self, event: Event) -> None:
        report: Report = event.data
        match report:
            case Fill():
                self.apply(report)
            case Account():
                self.compare(report)

    def apply(self, fill: Fill) -> None:
        book = self.state
        book.skipped_fills += fill.n - book.fills - 1
        book.fills = fill.n
        if fill.side == "buy":
            book.positions[fill.position] = Position(fill.market, fill.size, fill.price, fill.price, fill.at)
            self.set_timer(f"expire {fill.position}", at=fill.at + self.settings.max_age * SECOND)
        elif fill.position in book.positions and fill.position not in book.unanswered:
            print(f"{fill.position} was not closed by this bot")
            self.forget(fill.position)

    def compare(self, account: Account) -> None:
        """Correct the book by what the exchange has, unless one of them is ahead of the other."""
        if account.n != self.state.fills or self.state.unanswered:
            return
        for position in self.state.positions.keys() - set(account.positions):
            print(f"WARNING {position} is not open at the exchange")
            self.state.mismatches += 1
            self.forget(position)

    def on_tick(self, tick: Tick[Book]) -> None:
        self.settle_unanswered()
        for name, position in list(self.state.positions.items()):
            price = self.prices[position.market]
            position.best = max(position.best, price)
            if reason := rules.why_leave(position, price, self.settings):
                self.leave(name, reason)

    def on_timer(self, timer: Timer) -> None:
        """A position is too old. The timer is part of the state: it may have been set by an earlier release."""
        position = timer.name.removeprefix("expire ")
        if position in self.state.positions:
            self.leave(position, "too old")

    def leave(self, position: str, reason: str) -> bool:
        """Close a position; return whether it is closed now."""
        if position in self.state.unanswered:
            return False
        # From the decision to its record: no handoff interrupts this block.
        with self.decision("leave", position=position, reason=reason) as d:
            try:
                order = self.exchange.sell(d.id, position)
            except Rejected as problem:
                print(f"WARNING {position} not closed: {problem}")
                return False
            except OSError as problem:
                # The answer is lost, but perhaps not the order: ask before selling again.
                print(f"WARNING {position}: {problem}")
                self.state.unanswered[position] = Unanswered(d.id, reason)
                return False
            self.left(d.id, position, reason, order.price)
        return True

    def settle_unanswered(self) -> None:
        """Ask about each order whose answer is missing; send one that did not arrive again, under a new id."""
        for name, sent in list(self.state.unanswered.items()):
            try:
                order = self.exchange.order(sent.decision)
            except OSError:
                return
            del self.state.unanswered[name]
            if order is not None:
                self.left(sent.decision, name, sent.reason, order.price)
            elif name in self.state.positions:
                self.leave(name, sent.reason)

    def left(self, decision: str, name: str, reason: str, price: int) -> None:
        position = self.forget(name)
        if position is not None:
            self.state.closed += 1
            self.state.profit += position.size * (price - position.entry)
            self.trades.add(
                decision, name, position.market, reason, position.size, position.entry, price, time.time_ns()
            )

    def forget(self, position: str) -> Position | None:
        self.cancel_timer(f"expire {position}")
        return self.state.positions.pop(position, None)

    # operators

    def on_settings(self, old: Limits, new: Limits) -> None:
        for name, position in self.state.positions.items():
            self.set_timer(f"expire {name}", at=position.opened + new.max_age * SECOND)

    def on_halt(self) -> dict[str, bool]:
        """`neverblink halt`: close everything now. The answer says which positions were closed."""
        return {position: self.leave(position, "halt") for position in list(self.state.positions)}

    @command
    def book(self) -> dict[str, Any]:
        """Show every position with its stop."""
        return {
            name: {
                "market": position.market,
                "entry": position.entry,
                "price": self.prices[position.market],
                "stop": rules.stop_of(position, self.settings),
            }
            for name, position in self.state.positions.items()
        }

    @command
    def totals(self) -> dict[str, int]:
        """Show how many fills and positions there were, the profit, and what did not fit together."""
        book = self.state
        return {
            "open": len(book.positions),
            "fills": book.fills,
            "closed": book.closed,
            "profit": book.profit,
            "skipped_fills": book.skipped_fills,
            "mismatches": book.mismatches,
        }

    @command
    def newest(self, count: int = 10) -> list[tuple[str, str, str, int]]:
        """Show the newest trades: position, market, reason, profit in cents."""
        return self.trades.newest(count)


if __name__ == "__main__":
    PositionManager.run()  # alone, without a supervisor
