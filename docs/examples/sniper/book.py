"""The book: the state of the bot, and what the exchange reports about the account."""

from typing import Literal

import msgspec
from neverblink.worker import Table

from strategy import Direction


class Filled(msgspec.Struct, frozen=True, tag="filled"):
    """An order was executed. `client_id` is the id of the bot's decision; `n` counts the account's reports from 1."""

    n: int
    client_id: str
    contract: str
    side: Literal["buy", "sell"]
    direction: Direction
    size: int
    price: float


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """A contract in which the account held something has ended; each winning share pays 1."""

    n: int
    contract: str
    outcome: Direction
    payout: float


Report = Filled | Settled


class Position(msgspec.Struct, frozen=True):
    direction: Direction
    size: int
    cost: float


class Result(msgspec.Struct, frozen=True):
    contract: str
    direction: Direction
    profit: float


class Book(msgspec.Struct):
    averages: dict[str, float] = {}
    """Each market's moving average."""
    opened: dict[str, float] = {}
    """The price at which each contract opened that trades now."""
    armed: dict[str, int] = {}
    """The contracts that will be bought, and when (ns). A timer of the same name goes off then, in any process."""
    armed_for: dict[str, int] = {}
    """The last window, by its opening, whose entries each timeframe has armed."""
    pending: dict[str, str] = {}
    """Orders that are not filled: the decision's id, and the contract."""
    positions: dict[str, Position] = {}
    results: Table[str, Result] = msgspec.field(default_factory=Table)
    """What ended, by contract. It grows, so it is a Table: only new rows are sent to a follower."""
    entered: int = 0
    late: int = 0
    """Entries that came too late, because no process could run them in time."""
    reports: int = 0
    """The number of the last report that was applied."""
    skipped_reports: int = 0
    """Reports whose numbers never came. It stays 0."""

    def apply(self, report: Report) -> None:
        if report.n <= self.reports:
            # A feed that was killed may publish its last event again.
            return
        self.skipped_reports += report.n - self.reports - 1
        self.reports = report.n
        if isinstance(report, Settled):
            self._settle(report.contract, report.payout)
        elif report.side == "buy":
            self.pending.pop(report.client_id, None)
            self.positions[report.contract] = Position(
                report.direction, report.size, report.size * report.price
            )
        else:
            self._settle(report.contract, report.size * report.price)

    def _settle(self, contract: str, income: float) -> None:
        if position := self.positions.pop(contract, None):
            self.results[contract] = Result(contract, position.direction, income - position.cost)
            while len(self.results) > 5_000:
                del self.results[next(iter(self.results))]
